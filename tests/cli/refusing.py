# SPDX-License-Identifier: Apache-2.0
"""What the tests of bad input share, run as TEST.py RAPT: files, and calls that must be refused."""
import os
import re
import sys
import tempfile

from command import npy_bytes, run

RAPT = os.path.abspath(sys.argv[1])
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
n_checked, failures = 0, []


def put(name, raw):
    with open(name, "wb") as file:
        file.write(raw)
    return name


def tensor(name, *shape, dtype="f4", value=0.5, **more):
    count = 1
    for n in shape:
        count *= n
    return put(name, npy_bytes([value] * count, dtype, shape, **more))


def table(name, values, dtype="i4", shape=None):
    return put(name, npy_bytes(values, dtype, (len(values),) if shape is None else shape))


def refused(what, pattern, *arguments, command="attend", status=2):
    """Runs a command that must be refused with a line that matches `pattern`."""
    global n_checked
    before = sorted(os.listdir("."))
    code, stdout, stderr = run(RAPT, command, *arguments)
    line = f"{what}: rapt {command} {' '.join(map(str, arguments))}\n{stderr}"
    wrongs = [(code != status, f"exit {code}, expected {status}"),
              (stderr.count("\n") != 1 or not stderr.endswith("\n"), "not one line"),
              (stdout, "wrote to stdout"),
              (not re.search(pattern, stderr), f"the line does not match /{pattern}/"),
              (sorted(os.listdir(".")) != before, "left files")]
    for wrong, why in wrongs:
        if wrong:
            failures.append(why)
            print(f"FAIL: {why}: {line[:800]}")
    for name in ("out.npy", "lse.npy"):
        if os.path.exists(name):
            os.remove(name)
    n_checked += 1


GOOD = {"--q": tensor("q.npy", 6, 4, 16), "--k": tensor("k.npy", 10, 2, 16), "--v": tensor("v.npy", 10, 2, 16)}
ALWAYS = ["--path", "reference", "--out", "out.npy", "--lse", "lse.npy"]


def attend(what, pattern, *more, **changes):
    """A good call but for `changes` (q=FILE replaces --q, None drops it) and `more`."""
    files = {**GOOD, **{"--" + name.replace("_", "-"): value for name, value in changes.items()}}
    given = [word for name, value in files.items() if value is not None for word in (name, value)]
    refused(what, pattern, *given, *more, *ALWAYS)


def finish():
    print(f"{n_checked} bad inputs, {len(failures)} not refused as they should be")
    sys.exit(bool(failures))
