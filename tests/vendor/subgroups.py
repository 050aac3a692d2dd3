#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The portable kernels in subgroups of every size a chip has (README.md).

  subgroups.py run --registers PROGRAM --stubs FOLDER --texts FOLDER --out FILE [--chips A,B]
  subgroups.py docs TABLE      docs/subgroups.md, on standard output
"""
import argparse
import pathlib
import sys

import beside_ggml
import chips

# Chips that have several; the others of a family are compiled alike.
SIZES = {"navi10": (32, 64), "navi21": (32, 64), "navi31": (32, 64), "gfx1150": (32, 64),
         "gfx1201": (32, 64), "tgl": (8, 16, 32), "a770": (8, 16, 32), "mtl": (8, 16, 32),
         "b580": (16, 32)}
KEYS = {
    "prefill f32": "prefill,f32,128/128,0,paged",
    "prefill int8": "prefill,int8,128/128,0,exact",
    "decode f16, group 1": "decode,f16,128/128,1,paged",
    "decode f16, group 8": "decode,f16,128/128,8,paged",
    "decode int8, group 8": "decode,int8,128/128,8,paged",
}
COLUMNS = ["chip", "what", "chosen", "kernel", "lanes", "rows", "keys", "subgroup", "registers", "spills",
           "fills", "scratch_bytes", "waves", "counted", "least_instructions", "most_instructions",
           "least_cycles", "most_cycles"]


def run(arguments):
    rows = []
    for chip in arguments.chips.split(",") if arguments.chips else SIZES:
        for what, key in KEYS.items():
            row, _, _, told = beside_ggml.compile_one(arguments, chip, arguments.registers, key,
                                                      "--portable")
            if row is None:
                print("\n".join(told) or f"{chip}: {key}: nothing was compiled")
                return 1
            chosen = row["subgroup"]
            for size in SIZES[chip]:
                row, head, _, told = beside_ggml.compile_one(arguments, chip, arguments.registers, key,
                                                             "--portable", "--subgroup", str(size))
                if row is None or row["subgroup"] != str(size):
                    print("\n".join(told) or f"{chip}: {key}: no subgroups of {size}")
                    return 1
                beside_ggml.measure(arguments, row)
                row.update(what=what.replace(",", ""), chosen="1" if row["subgroup"] == chosen else "0")
                rows.append(row)
    beside_ggml.write_table(arguments.out, COLUMNS, head.split(" | ")[-1], rows)
    return 0


HEAD = """# Sizes of subgroups

Made by `tests/vendor/subgroups.py docs tests/vendor/subgroups.csv`; %s. Compiled with a stub
in place of the card ([tests/vendor](../tests/vendor/README.md)); **nothing ran**. Head dim 128, the kernels
without matrix units and the tiles the library chooses for them on the chip. Bold: the size the library
takes.

Cycles one SIMD is kept busy for 1000 multiply-adds of one pass of the loop over keys, least and most, as in
[beside-ggml.md](beside-ggml.md). Occupancy: AMD: waves per SIMD, one of 64 lanes counts as two; Intel does
not tell.

| chip | kernel | subgroup | registers | spills / fills | occupancy | cycles |
|---|---|---|---|---|---|---|
"""


def docs(arguments):
    lines = pathlib.Path(arguments.table).read_text(encoding="utf-8").splitlines()
    print(HEAD % lines[1][2:], end="")
    before = None
    for line in lines[2:]:
        row = dict(zip(COLUMNS, line.split(",")))
        name = f"{row['chip']} | {row['what']}"
        size = f"**{row['subgroup']}**" if row["chosen"] == "1" else row["subgroup"]
        spills = f"{row['spills'] or 0} / {row['fills'] or 0}" if row["spills"] not in ("", "0") else "0"
        print(f"| {name if name != before else ' | '} | {size} | {row['registers']} | {spills} "
              f"| {row['waves'] or '-'} | {float(row['least_cycles']):.0f} to {float(row['most_cycles']):.0f} |")
        before = name
    print((chips.HERE / "subgroups.notes").read_text(encoding="utf-8"), end="")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("run")
    for name in ("--registers", "--stubs", "--texts", "--out"):
        sub.add_argument(name, required=True)
    sub.add_argument("--chips", default="")
    sub = commands.add_parser("docs")
    sub.add_argument("table")
    arguments = parser.parse_args()
    sys.exit({"run": run, "docs": docs}[arguments.command](arguments))


if __name__ == "__main__":
    main()
