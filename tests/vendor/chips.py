#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tables of what compilers make of kernels, per chip (README.md).

  chips.py run --registers PROGRAM --stubs FOLDER --out FILE [--jobs N] [--chips A,B] [ARGUMENTS...]
      runs the program on the stubs; ARGUMENTS are handed on (--validate, --all, --only TEXT)
  chips.py compare TABLE NEW     exit 1 where NEW spills or occupies a device less than TABLE
  chips.py docs TABLE EXECUTED   docs/devices.md, on standard output
"""
import argparse
import collections
import concurrent.futures
import datetime
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Stable order: vendor, then age.
CHIPS = {
    "polaris10": "AMD GCN 4 (RX 480)", "vega10": "AMD GCN 5 (RX Vega)",
    "navi10": "AMD RDNA 1 (RX 5700)", "navi21": "AMD RDNA 2 (RX 6800)",
    "navi31": "AMD RDNA 3 (RX 7900)", "navi33": "AMD RDNA 3 (RX 7600)",
    "phoenix": "AMD RDNA 3 (Ryzen 7040)", "gfx1150": "AMD RDNA 3.5 (Strix Point)",
    "gfx1151": "AMD RDNA 3.5 (Strix Halo)", "gfx1200": "AMD RDNA 4 (RX 9060)",
    "gfx1201": "AMD RDNA 4 (RX 9070)",
    "tgl": "Intel Xe-LP (Tiger Lake)", "a770": "Intel Xe-HPG (Arc A770)",
    "mtl": "Intel Xe-LPG (Meteor Lake)", "arl-h": "Intel Xe-LPG+ (Arrow Lake H)",
    "lnl": "Intel Xe2 (Lunar Lake)", "b580": "Intel Xe2 (Arc B580)",
    "tu102": "NVIDIA Turing (RTX 2080 Ti)", "ga102": "NVIDIA Ampere (RTX 3090)",
    "ad102": "NVIDIA Ada (RTX 4090)", "gb202": "NVIDIA Blackwell (RTX 5090)",
    "a730": "Qualcomm Adreno 730", "a740": "Qualcomm Adreno 740", "a750": "Qualcomm Adreno 750",
}
KEY = ["chip", "use", "kv", "dims", "group", "how"]
CHOICE = ["kernel", "lanes", "rows", "keys", "tile_b"]
NUMBERS = ["subgroup", "registers", "spills", "fills", "moved", "scratch_bytes", "shared_bytes", "waves",
           "instructions", "cycles"]
COLUMNS = KEY + CHOICE + NUMBERS


def run_chip(arguments, chip):
    """Lines of one chip, what it says of itself first; its complaints."""
    command = [HERE / "on-chip", arguments.stubs, chip, arguments.registers, chip]
    result = subprocess.run(command + arguments.rest, capture_output=True, text=True, check=False)
    # Stubs and drivers are talkative; the program's own lines begin with the chip.
    complaints = [line for line in result.stderr.splitlines() if line.startswith(chip + ": ")]
    if result.returncode != 0 and not complaints:
        complaints = [f"{chip}: ended with status {result.returncode}"]
        complaints += result.stderr.splitlines()[-3:]
    return result.stdout, complaints


def run(arguments):
    chips = arguments.chips.split(",") if arguments.chips else list(CHIPS)
    failed = False
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        # The slow compilers first, so that none is left to run alone; written in the order of CHIPS.
        order = sorted(chips, key=lambda c: not re.search("Intel|NVIDIA", CHIPS[c]))
        futures = {chip: pool.submit(run_chip, arguments, chip) for chip in order}
        with open(arguments.out, "w", encoding="utf-8") as out:
            out.write(",".join(COLUMNS) + "\n")
            out.write(f"# made: {datetime.date.today()}\n")
            for chip in chips:
                text, complaints = futures[chip].result()
                out.write(text)
                failed = failed or bool(complaints)
                for line in complaints:
                    print(line)
    return 1 if failed else 0


def read(path):
    """{key: row}, {chip: its description}, the day it was made. Numbers a driver does not tell are None."""
    rows, chips = {}, collections.OrderedDict()
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("# "):
            chip, description = line[2:].split(": ", 1)
            chips[chip] = description
            continue
        row = dict(zip(COLUMNS, line.split(",")))
        for name in NUMBERS:
            row[name] = int(row[name]) if row[name] else None
        rows[tuple(row[name] for name in KEY)] = row
    return rows, chips, chips.pop("made")


def spilled(row):
    return sum(row[name] or 0 for name in ("spills", "fills", "scratch_bytes"))


def per_simd(row):
    return row["waves"] if row["waves"] is not None else 0


def compare(arguments):
    old, old_chips, _ = read(arguments.table)
    new, new_chips, _ = read(arguments.new)
    status = 0
    changed = [c for c in new_chips if c in old_chips and new_chips[c] != old_chips[c]]
    for chip in changed:
        print(f"{chip} is another driver now: {new_chips[chip]}; it was {old_chips[chip]}")
    for chip in old_chips:
        if chip not in new_chips:
            print(f"{chip}: nothing was compiled")
            status = 1
    worse = moved = 0
    for key, row in new.items():
        was = old.get(key)
        before = spilled(was) if was else 0
        if spilled(row) > before:
            print(f"{' '.join(key)}: {row['kernel']} spills {row['spills']} and fills {row['fills']}, "
                  f"{'it did not' if before == 0 else 'more than before'}")
            worse += 1
        # Another compiler may trade registers for occupancy; that it does is said above.
        elif was and per_simd(row) < per_simd(was) and key[0] not in changed:
            print(f"{' '.join(key)}: {row['kernel']} occupies {row['waves']} waves, "
                  f"it was {was['waves']}")
            worse += 1
        elif was != row:
            moved += 1
    for key in old:
        moved += key not in new
    print(f"{len(new)} pipelines on {len(new_chips)} chips: {worse} worse, "
          f"{moved} changed otherwise, {sum(spilled(r) > 0 for r in new.values())} spill")
    return 1 if worse else status


def executed_devices(path):
    """Rows of executed.txt: what ran, by which driver, when, what."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.split("|")] for line in lines
            if line.strip() and not line.startswith("#")]


def worst(rows):
    row = max(rows, key=spilled)
    if spilled(row) == 0:
        return "0"
    return f"{row['spills'] or 0} / {row['fills'] or 0} ({row['kv']} {row['dims']})"


def lowest(rows):
    told = [r for r in rows if r["waves"] is not None]
    if not told:
        return "not told"
    row = min(told, key=per_simd)
    return f"{row['waves']} ({row['kv']} {row['dims']})"


def docs(arguments):
    rows, chips, made = read(arguments.table)
    print("# Devices\n\n"
          "Made by `tests/vendor/chips.py docs` from `tests/vendor/chips.csv` and "
          "`tests/vendor/executed.txt`.\n\n## Executed\n\n"
          "| device | driver | last | what ran |\n|---|---|---|---|")
    for cells in executed_devices(arguments.executed):
        print("| " + " | ".join(cells) + " |")
    print(f"\n## Compiled only\n\n"
          f"By the vendor's real compiler with a stub in place of the card "
          f"([tests/vendor](../tests/vendor/README.md)), {made}. Nothing ran: these numbers say "
          f"that kernels compile, what they spill, and how many subgroups the compiler expects to run at "
          f"once, not that results are right.\n\n"
          f"Spills / fills: of the worst pipeline. Occupancy: of the lowest, in the driver's own unit "
          f"(AMD: waves per SIMD, on RDNA one of 64 lanes counts as two; NVIDIA: warps per multiprocessor; "
          f"Qualcomm: waves per core; Intel's driver does not tell).\n\n"
          f"| chip | driver | pipelines | prefill: spills / fills | prefill: occupancy "
          f"| decode: spills / fills | decode: occupancy | all others: spills |\n"
          f"|---|---|---|---|---|---|---|---|")
    for chip, description in chips.items():
        own = [row for row in rows.values() if row["chip"] == chip]
        prefill = [row for row in own if row["use"] == "prefill"]
        decode = [row for row in own if row["use"] == "decode"]
        others = [row for row in own if row not in prefill and row not in decode]
        driver = description.split(" | ")[-1] + ", " + description.split(" | ")[-2]
        print(f"| {CHIPS[chip]}, {chip} | {driver} | {len(own)} | {worst(prefill)} | {lowest(prefill)} "
              f"| {worst(decode)} | {lowest(decode)} | {worst(others)} |")
    print("\n## Never\n\nEvery other device. Kernel selection has made-up and read-out snapshots of more of "
          "them ([tests/runtime/devices](../tests/runtime/devices/README.md)), which says that a kernel "
          "fits their limits, no more.")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("run")
    sub.add_argument("--registers", required=True)
    sub.add_argument("--stubs", required=True)
    sub.add_argument("--out", required=True)
    sub.add_argument("--jobs", type=int, default=2)
    sub.add_argument("--chips", default="")
    sub = commands.add_parser("compare")
    sub.add_argument("table")
    sub.add_argument("new")
    sub = commands.add_parser("docs")
    sub.add_argument("table")
    sub.add_argument("executed")
    arguments, arguments.rest = parser.parse_known_args()
    if arguments.rest and arguments.command != "run":
        parser.error(f"what is {arguments.rest[0]}?")
    sys.exit({"run": run, "compare": compare, "docs": docs}[arguments.command](arguments))


if __name__ == "__main__":
    main()
