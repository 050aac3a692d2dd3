#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_example.py PROGRAM: an example runs, finds its results right, and says something."""
import os
import re
import subprocess
import sys

result = subprocess.run([sys.argv[1]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
print(result.stdout, end="")
print(result.stderr, end="", file=sys.stderr)
if result.returncode != 0 and re.search("no (usable )?Vulkan (device|driver|loader)", result.stderr):
    if os.environ.get("RAPT_REQUIRE_DEVICE", "0") in ("", "0"):
        print("SKIP: no Vulkan device")
        sys.exit(77)
if result.returncode != 0:
    sys.exit(f"FAIL: exit status {result.returncode}")
if not result.stdout.strip():
    sys.exit("FAIL: it printed nothing")
