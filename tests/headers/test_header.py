#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_header.py HEADER -- COMPILER...: the header compiles with nothing before it, twice in a row."""
import subprocess
import sys

header, command = sys.argv[1], sys.argv[3:]
source = f"#include <{header}>\n#include <{header}>\nint main(void) {{ return 0; }}\n"
result = subprocess.run(command + ["-Wall", "-Wextra", "-pedantic-errors", "-Werror", "-fsyntax-only", "-"],
                        input=source, text=True)
sys.exit(result.returncode)
