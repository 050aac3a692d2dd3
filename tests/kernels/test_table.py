#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernel table without a device: names are unique and say what they are, every .comp has a
row, every row's file and probe exist."""
import pathlib
import re
import sys

ROW = re.compile(r'^KERNEL\(\s*(\w+)\s*,\s*([\w.]+)\s*,\s*(\w+)\s*,([^,]*),([^,]*),\s*"([^"]*)"\s*\)$')


def main():
    shaders = pathlib.Path(sys.argv[1])
    errors, names, used = [], set(), set()
    for number, line in enumerate((shaders / "kernels.def").read_text().splitlines(), 1):
        if not line.strip().startswith("KERNEL("):
            continue
        row = ROW.match(line.strip())
        if not row:
            errors.append(f"kernels.def:{number}: not the six fields of a row on one line")
            continue
        name, file, probe = row.group(1), row.group(2), row.group(3)
        if name in names:
            errors.append(f"kernels.def:{number}: the name {name} appears twice")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            errors.append(f"kernels.def:{number}: {name} is not lower case with underscores")
        if not (shaders / file).is_file():
            errors.append(f"kernels.def:{number}: there is no shaders/{file}")
        if probe != "NONE" and not (shaders / "probes" / (probe + ".comp")).is_file():
            errors.append(f"kernels.def:{number}: there is no shaders/probes/{probe}.comp")
        names.add(name)
        used.add(file)
    errors += [f"shaders/{p.name} has no row" for p in sorted(shaders.glob("*.comp"))
               if p.name not in used]
    if not names:
        errors.append("kernels.def has no rows")
    print("\n".join(errors) if errors else f"{len(names)} rows, {len(used)} shaders")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
