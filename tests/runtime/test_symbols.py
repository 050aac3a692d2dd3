#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rapt.symbols, the public headers and the built library name the same functions."""
import argparse
import pathlib
import re
import subprocess
import sys


def nm(tool, *args):
    out = subprocess.run([tool, "--defined-only", *args], check=True, stdout=subprocess.PIPE,
                         text=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return [(row[-2], row[-1]) for row in rows if len(row) >= 3]


def compare(what, have, listed, errors):
    errors += [f"{what} has {s}, rapt.symbols does not" for s in sorted(have - listed)]
    errors += [f"rapt.symbols has {s}, {what} does not" for s in sorted(listed - have)]


def main():
    parser = argparse.ArgumentParser()
    for name in ("nm", "list", "headers", "shared"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--static")
    args = parser.parse_args()
    lines = pathlib.Path(args.list).read_text().splitlines()
    names = [s.strip() for s in lines if s.strip() and not s.startswith("#")]
    listed, errors = set(names), []
    if names != sorted(listed):
        errors.append("rapt.symbols is not sorted, or has a name twice")

    # Version nodes (RAPT_0) are absolute symbols of type A.
    shared = {name.split("@")[0] for kind, name in nm(args.nm, "-D", args.shared) if kind != "A"}
    compare("the shared library", shared, listed, errors)

    declared = set()
    for header in pathlib.Path(args.headers).glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^#.*$", "", text, flags=re.M)
        declared |= set(re.findall(r"RAPT_API\s[^;(]*?\b(\w+)\s*\(", text))
    compare("include/rapt", declared, listed, errors)

    if args.static:
        # A program may have a Vulkan loader of its own: nothing of ours may be called vk*.
        errors += [f"the static library defines {name}, outside the rapt_ prefix"
                   for kind, name in nm(args.nm, "-g", args.static) if not name.startswith("rapt_")]
    print("\n".join(errors) if errors else f"{len(listed)} symbols")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
