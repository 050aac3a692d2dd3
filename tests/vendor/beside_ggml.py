#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our attention kernels beside ggml's on every chip, as their compilers see them (README.md).

  beside_ggml.py run --registers PROGRAM --ggml PROGRAM --stubs FOLDER --texts FOLDER --out FILE
                     [--chips A,B]
      compiles both on the stubs and writes a line of numbers for each kernel
  beside_ggml.py docs TABLE      docs/beside-ggml.md, on standard output

Exit 77, with the reason, where ggml's Vulkan back end is not installed.
"""
import argparse
import datetime
import pathlib
import re
import subprocess
import sys

import chips
import loops

OURS = {  # use, group -> what plans are asked for, and what ggml is
    ("prefill", 0): ("packed", "mask"),
    ("decode", 1): ("paged", "dense"),
    ("decode", 4): ("paged", "dense"),
    ("decode", 8): ("paged", "dense"),
}
COLUMNS = ["chip", "use", "group", "whose", "kernel", "lanes", "rows", "keys", "subgroup", "registers",
           "spills", "fills", "shared_bytes", "waves", "instructions", "cycles", "counted",
           "least_instructions", "most_instructions", "least_cycles", "most_cycles"]
DIM = 128


def compile_one(arguments, chip, program, key, *more):
    """The line of a pipeline, or None; what went wrong."""
    command = [chips.HERE / "on-chip", arguments.stubs, chip, program, chip, "--texts", arguments.texts,
               "--only", key, *more]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [x for x in result.stdout.splitlines() if x.startswith(f"{chip},{key},")]
    heads = [x for x in result.stdout.splitlines() if x.startswith("# ")]
    told = [x for x in result.stderr.splitlines() if x.startswith(chip + ": ")]
    row = dict(zip(chips.COLUMNS, lines[0].split(","))) if lines else None
    return row, heads[0] if heads else "", result.returncode, told


def measure(arguments, row):
    """Adds what a pass of the key loop takes, for a thousand multiply-adds that are of use."""
    folder = pathlib.Path(arguments.texts)
    name = "-".join(row[x].replace("/", "-") for x in chips.KEY)
    text = (folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace")
    lanes, rows, keys, subgroup = (int(row[x]) for x in ("lanes", "rows", "keys", "subgroup"))
    tile = re.match(r"# tile (\d+) \d+ (\d+)", text)
    outer = {}
    if tile and row["kernel"].endswith(("_pt", "_ptd")):  # slices of Q K, parts of P V; see shaders/lib/tiled.glsl
        outer = {DIM // 4: DIM // int(tile[1]), keys // 4: keys // int(tile[2])}
    n_subgroups = lanes / subgroup
    share = rows * keys * 2 * DIM / n_subgroups
    found = loops.read_pass(text, row["chip"], subgroup, share, outer)
    if found is None:
        sys.exit(f"{name}: no key loop was found")
    # on matrix units, some subgroups may wait while others work on the scores
    most = 2.6 if row["kernel"].endswith("_cm") else 1.4
    if not 0.75 < found.macs / share < most:
        sys.exit(f"{name}: {found.macs / share:.2f} of the tile's multiply-adds were found in its loop")
    used = rows if row["use"] == "prefill" else min(rows, int(row["group"]))
    thousands = used * keys * 2 * DIM / n_subgroups / 1000
    row["counted"] = f"{found.macs / share:.2f}"
    for number in ("least_n", "most_n", "least_cycles", "most_cycles"):
        column = number.replace("_n", "_instructions")
        row[column] = f"{getattr(found, number) / thousands:.2f}"


def write_table(path, columns, compilers, rows):
    """The columns' names, the day and what compiled, a line for each row."""
    with open(path, "w", encoding="utf-8") as out:
        out.write(",".join(columns) + "\n")
        out.write(f"# {datetime.date.today()}: {compilers}\n")
        for row in rows:
            out.write(",".join(row[x] for x in columns) + "\n")


def run(arguments):
    version = driver = ""
    rows = []
    for chip in arguments.chips.split(",") if arguments.chips else chips.CHIPS:
        for (use, group), (our_how, ggml_how) in OURS.items():
            for whose, program, how in (("rapt", arguments.registers, our_how),
                                        ("ggml", arguments.ggml, ggml_how)):
                key = f"{use},f16,{DIM}/{DIM},{group},{how}"
                row, head, status, told = compile_one(arguments, chip, program, key)
                if status == 77:
                    print("\n".join(told))
                    return 77
                if row is None:
                    print("\n".join(told) or f"{chip}: {key}: nothing was compiled")
                    return 1
                if whose == "ggml":
                    version = head.split(": ")[1].split(" | ")[0]
                else:
                    driver = head.split(" | ")[-1]
                row["whose"] = whose
                measure(arguments, row)
                rows.append(row)
    write_table(arguments.out, COLUMNS, f"{version}, {driver}", rows)
    return 0


# ------------------------------------------------------------------------------------------------ docs

HEAD = """# Beside ggml's kernels, as compilers see them

Made by `tests/vendor/beside_ggml.py docs tests/vendor/beside-ggml.csv`; %s.
**Nothing ran on a device.** Both are compiled by the same driver with a stub in place of the card
([tests/vendor](../tests/vendor/README.md)): f16, head dim 128, 8 KV heads, 4096 keys; ours are the kernels
the library chooses (prefill: packed; decode: pages of 16), ggml's those its own host code asks the driver
for, with its constants.

For 1000 multiply-adds that are of use (rows that hold queries, times keys, times 256), of one pass of the
loop over keys: **cycles** one SIMD is kept busy, by the table in tests/vendor/README.md, with memory free of
charge; first of what always runs, then with every branch taken (masks on the diagonal, new maxima, keys past
the last). Comparable within a row of the table only. Spills: of the whole pipeline. Occupancy: in the
driver's unit (docs/devices.md).

"""


def cell(row, mark):
    numbers = f"{float(row['least_cycles']):.1f} to {float(row['most_cycles']):.1f}"
    numbers = f"**{numbers}**" if mark else numbers
    spills = int(row["spills"] or 0) + int(row["fills"] or 0)
    told = row["spills"] + " / " + row["fills"] if spills else "0"
    return (f"{row['rows']} x {row['keys']}, {row['subgroup']} | {row['registers']} | {told} "
            f"| {row['waves'] or '-'} | {numbers}")


def docs(arguments):
    lines = pathlib.Path(arguments.table).read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(COLUMNS, x.split(","))) for x in lines[2:]]
    print(HEAD % lines[1][2:], end="")
    for use, group in OURS:
        chosen = [r for r in rows if r["use"] == use and r["group"] == str(group)]
        title = "Prefill, causal" if use == "prefill" else f"Decode, {group} query heads to a KV head"
        print(f"## {title}\n")
        print("| chip | kernel | rows x keys, subgroup | registers | spills / fills | occupancy | cycles | "
              "ours / ggml's |\n|---|---|---|---|---|---|---|---|")
        for ours, theirs in zip(chosen[::2], chosen[1::2]):
            ratio = float(ours["least_cycles"]) / float(theirs["least_cycles"])
            most = float(ours["most_cycles"]) / float(theirs["most_cycles"])
            print(f"| {ours['chip']} | {ours['kernel']} | {cell(ours, ratio <= 1)} "
                  f"| {ratio:.2f} to {most:.2f} |\n"
                  f"| | {theirs['kernel']} | {cell(theirs, ratio > 1)} | |")
        print()
    notes = chips.HERE / "beside-ggml.notes"
    print(notes.read_text(encoding="utf-8"), end="")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("run")
    for name in ("--registers", "--ggml", "--stubs", "--texts", "--out"):
        sub.add_argument(name, required=True)
    sub.add_argument("--chips", default="")
    sub = commands.add_parser("docs")
    sub.add_argument("table")
    arguments = parser.parse_args()
    sys.exit({"run": run, "docs": docs}[arguments.command](arguments))


if __name__ == "__main__":
    main()
