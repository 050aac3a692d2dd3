#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_usage.py RAPT MAN-PAGE VERSION: help, version, and a man page that knows every option."""
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from command import run

RAPT, PAGE, VERSION = os.path.abspath(sys.argv[1]), *sys.argv[2:4]
COMMANDS = ["info", "check", "attend", "append", "mask", "merge", "moba", "topk", "tune", "demo"]
LATER = ["gmm"]

code, stdout, stderr = run(RAPT, "--version")
assert (code, stdout, stderr) == (0, f"rapt {VERSION}\n", ""), (code, stdout, stderr)

code, stdout, stderr = run(RAPT)
assert code == 2 and not stdout and stderr.count("\n") == 1, (code, stdout, stderr)

code, top, stderr = run(RAPT, "--help")
assert code == 0 and not stderr, (code, stderr)
if re.search(r"^  bench ", top, re.M):
    COMMANDS.append("bench")
for command in COMMANDS:
    assert re.search(rf"^  {command} ", top, re.M), f"rapt --help does not list {command}"
for command in LATER:
    assert re.search(rf"yet:.* {command}\b", top), f"rapt --help does not name {command}"

with open(PAGE, encoding="ascii") as file:
    page = file.read()
plain = page.replace("\\-", "-")
assert f'"rapt {VERSION}"' in page, "the man page is of another version"
for command in COMMANDS:
    assert f"rapt {command}" in plain, f"the man page lacks {command}"
    for flag in ("--help", "-h"):
        code, text, stderr = run(RAPT, command, flag)
        assert code == 0 and not stderr and text.startswith(f"usage: rapt {command}"), (command, code, stderr)
    # --help wins over whatever else is wrong.
    code, _, stderr = run(RAPT, command, "--nonsense", "--help")
    assert code == 0 and not stderr, (command, code, stderr)
    long_lines = [line for line in text.splitlines() if len(line) > 100]
    assert not long_lines, long_lines
    options = re.findall(r"^  (--[a-z0-9-]+)", text, re.M)
    assert options, f"rapt {command} --help lists no options"
    if command != "bench":
        for option in options:
            assert option in plain, f"the man page lacks {option} of {command}"

# Lines a formatter would read as requests they are not, and characters it would drop.
for number, line in enumerate(page.splitlines(), 1):
    if line.startswith(("'", ".")):
        request = line.split()[0]
        assert request in (".\\\"", ".TH", ".SH", ".SS", ".PP", ".TP", ".TQ", ".B", ".BI", ".RB", ".RI", ".IR", ".I",
                           ".br", ".nf", ".fi"), f"{PAGE}:{number}: {request}"
    assert len(line) <= 120 and line == line.rstrip(), f"{PAGE}:{number}: long, or blanks at its end"
assert page.count("\n.nf") == page.count("\n.fi"), ".nf and .fi do not pair up"
if shutil.which("groff"):
    result = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z", PAGE], capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, f"groff: {result.stderr}"
    print("rendered by groff without a warning")
print("ok")
