#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_document.py DOCUMENT -- COMPILER...: its blocks of C, put together, are one file that compiles."""
import re
import subprocess
import sys

document, command = sys.argv[1], sys.argv[3:]
with open(document, encoding="utf-8") as file:
    blocks = re.findall(r"^```c\n(.*?)^```$", file.read(), re.M | re.S)
if not blocks:
    sys.exit(f"{document} has no blocks of C")
names = re.findall(r"^static [^\n=;]*?(\w+)\(", "".join(blocks), re.M)
# Something that uses all of it, so that nothing is unused.
uses = "".join(f"    (void){name};\n" for name in names)
source = "".join(blocks) + f"int main(void)\n{{\n{uses}    return 0;\n}}\n"
result = subprocess.run(command + ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-fsyntax-only",
                                   "-"], input=source, text=True)
print(f"{len(blocks)} blocks, functions {', '.join(names)}")
sys.exit(result.returncode)
