#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_tune.py RAPT: `rapt tune` keeps tiles that are candidates, `rapt info` and plans take them, a damaged
table is told and ignored. No test of speed."""
import glob
import json
import os
import re
import sys
import tempfile

sys.dont_write_bytecode = True
from command import npy_bytes, require_device, run

RAPT = os.path.abspath(sys.argv[1])
require_device(RAPT)
folder = tempfile.TemporaryDirectory()
cache = os.path.join(folder.name, "cache")
os.environ["RAPT_CACHE_DIR"] = cache


def put(name, data):
    path = os.path.join(folder.name, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def device_info(**env):
    code, stdout, stderr = run(RAPT, "info", "--json", env=env)
    assert code == 0 and not stderr, (code, stderr)
    devices = json.loads(stdout)["devices"]
    want = os.environ.get("RAPT_DEVICE")
    return next(d for d in devices if not want or want in (d["name"], str(d["index"])))


# --- bad input: a line on stderr that names file and line, and nothing stored
for line, words in (("prefil f16 4/2 64 8 8", "none of prefill, decode, speculate"), ("prefill f17 4/2 64 8 8", "no type"),
                    ("prefill f16 4/3 64 8 8", "multiple"), ("prefill f16 4/2 64/ 8 8", "head dims"),
                    ("prefill f16 4/2 64 9 8", "no fewer than queries"), ("decode f16 4/2 64 9 8", "1 to 8"),
                    ("decode f16 4/2 64 0 8", "1 to 8"), ("prefill f16 4/2 64 8", "expected OP"),
                    ("prefill f16 4/2 64 8 8 16 1", "expected OP"), ("prefill f16 4/2 0 8 8", "head dims"),
                    ("x" * 300, "254 characters")):
    code, stdout, stderr = run(RAPT, "tune", "--shapes", put("bad.txt", f"# first\n{line}\n".encode()))
    assert code == 2 and stderr.count("\n") == 1 and "bad.txt:2" in stderr and words in stderr, (line, stderr)
code, _, stderr = run(RAPT, "tune", "--shapes", put("none.txt", b"# nothing\n\n"))
assert code == 2 and "no shapes" in stderr, stderr
code, _, stderr = run(RAPT, "tune", "--shapes", os.path.join(folder.name, "nowhere"))
assert code == 2 and stderr.count("\n") == 1, stderr
code, _, stderr = run(RAPT, "tune", "--shapes", put("odd.txt", b"prefill f16 4/2 60 8 8\n"))
assert code == 2 and "head_dim" in stderr, (code, stderr)
shapes = put("shapes.txt", b"prefill f16 4/2 128 40 56 16  # paged\ndecode f16 4/2 128 2 48\nspeculate f16 4/1 128 2 48\n")
code, _, stderr = run(RAPT, "tune", "--shapes", shapes, env={"RAPT_CACHE_DIR": ""})
assert code == 2 and "RAPT_CACHE_DIR" in stderr, (code, stderr)
assert not glob.glob(os.path.join(cache, "tiles-*")), "something was stored"
print("ok refusals")

# --- the table before and after
before = device_info()
assert before["tiles"].startswith("none measured"), before["tiles"]
choice = before["choices"][0]
assert choice["prefill_tile"]["from"] in ("the rules", "the shipped table"), choice
assert len(choice["prefill_tile"]["numbers"]) == 7 and choice["prefill_tile"]["candidates"] >= 1, choice
small = put("small.txt", b"prefill f32 1/1 16 20 20\n")  # compiles in no time
code, stdout, stderr = run(RAPT, "tune", "--shapes", small, "--repeat", 1, "--dry-run")
assert code == 0 and not stderr and "nothing stored" in stdout, (code, stdout, stderr)
assert not glob.glob(os.path.join(cache, "tiles-*")), "a dry run stored something"
code, stdout, stderr = run(RAPT, "tune", "--shapes", shapes, "--repeat", 1)
assert code == 0 and not stderr, (code, stdout, stderr)
assert "WRONG" not in stdout and "failed:" not in stdout, stdout
assert "the rules' own" in stdout and re.search(r"kept: \d+", stdout), stdout
(table,) = glob.glob(os.path.join(cache, "tiles-*.txt"))
assert glob.glob(os.path.join(cache, "*.new")) == [], "a temporary file was left"
with open(table, "rb") as file:
    good = file.read()
lines = good.decode("ascii").splitlines()
assert lines[0] == "rapt tiles 1" and lines[-1].startswith("checksum "), lines
kernel = re.search(r"queries.*: (\w+), (\d+) candidates", stdout)
assert kernel, f"fewer than two candidates to prefill with: {stdout}"
entry = [line for line in lines if line.startswith(kernel.group(1) + " 128 128 0: ")]
assert len(entry) == 1, lines
numbers = [int(word) for word in entry[0].split(":")[1].split()]
after = device_info()
assert table in after["tiles"], after["tiles"]
taken = [c for c in after["choices"] if c["prefill"] == kernel.group(1) and "of 128" in c["shape"]]
assert taken, after["choices"]
for choice in taken:
    assert choice["prefill_tile"]["from"] == "the user's table", choice
    assert choice["prefill_tile"]["numbers"] == numbers, (choice, numbers)
code, text, _ = run(RAPT, "info")
assert "from the user's table" in text, text
print("ok kept and taken")

# --- plans of the easy tier run with it
ones = npy_bytes([0.5] * (5 * 4 * 128), "f4", (5, 4, 128))
q, k = put("q.npy", ones), put("k.npy", ones)
attend = ("attend", "--q", q, "--k", k, "--v", k, "--causal", "--q-dtype", "f16", "--kv-dtype", "f16", "--check")
code, _, stderr = run(RAPT, *attend)
assert code == 0 and not stderr, (code, stderr)

# --- damage is told, and ignored
for damaged, words in ((good[:-30], "truncated"), (good.replace(b"128 128", b"128 120", 1), "checksum"),
                       (b"", "no table"), (good.replace(b"tiles 1", b"tiles 7"), "format"), (b"\xff" * 4000, "no table"),
                       (b"x" * (2 << 20), "no table")):
    with open(table, "wb") as file:
        file.write(damaged)
    told = device_info()
    assert told["tiles"].startswith("ignored: ") and words in told["tiles"], (words, told["tiles"])
    assert [c["prefill_tile"] for c in told["choices"]] == [c["prefill_tile"] for c in before["choices"]], told
    code, _, stderr = run(RAPT, *attend, env={"RAPT_LOG": "warning"})
    assert code == 0 and "tiles" in stderr and words in stderr, (code, stderr)
    code, _, stderr = run(RAPT, *attend)
    assert code == 0 and not stderr, (code, stderr)
# The next run begins anew and says so.
code, stdout, stderr = run(RAPT, "tune", "--shapes", small, "--repeat", 1)
assert code == 0 and not stderr and "begun anew" in stdout, (code, stdout, stderr)
assert device_info()["tiles"].endswith(table)
print("ok damage")
