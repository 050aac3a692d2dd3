#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_snapshot_kill.py WRITER [--kills N] [--seed N]: the writer of snapshots is killed at random
moments; the file at its place is always a whole one, never older than the last it was said to be, and
nothing but that file and one partial one is left in the folder."""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("writer")
parser.add_argument("--kills", type=int, default=200)
parser.add_argument("--seed", type=int, default=int(time.time()))
args = parser.parse_args()
random.seed(args.seed)
print(f"{args.kills} kills, seed {args.seed}")

n_partial = n_new = n_old = 0
wrote, pace = 0, 0.01
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "conversation.snapshot")
    for kill in range(args.kills + 1):
        process = subprocess.Popen([args.writer, path], stdout=subprocess.PIPE, text=True)
        words = process.stdout.readline().split()
        if len(words) != 2 or words[0] not in ("whole", "none"):
            process.kill()
            sys.exit(f"FAIL: after kill {kill}, with {wrote} written: {' '.join(words)}")
        found = int(words[1])
        # What was said is there; the one begun after it may be.
        if not wrote <= found <= wrote + 1:
            process.kill()
            sys.exit(f"FAIL: after kill {kill}: {found} is there, {wrote} was written last")
        n_new += found > wrote
        n_old += found == wrote
        start = time.monotonic()
        time.sleep(random.random() * 2.5 * pace)
        process.kill()
        out = process.communicate()[0].split("\n")
        lines = [line for line in out if line]
        if process.returncode != -9 or not all(line.startswith("wrote ") for line in lines):
            sys.exit(f"FAIL: it did not live until it was killed: {process.returncode}, {lines[-1:]}")
        wrote = int(lines[-1].split()[1]) if lines else found
        # Kills come during the first few writes, whatever this disk takes for one.
        if lines:
            pace += 0.1 * ((time.monotonic() - start) / len(lines) - pace)
        names = sorted(os.listdir(folder))
        n_partial += "conversation.snapshot.partial" in names
        if not set(names) <= {"conversation.snapshot", "conversation.snapshot.partial"}:
            sys.exit(f"FAIL: it leaves {names} behind")

print(f"{wrote} snapshots written; {n_partial} kills during a write, {n_new} between the new file and "
      f"word of it, {n_old} otherwise; {pace * 1e3:.1f} ms a write")
if n_partial < args.kills // 10:
    sys.exit("FAIL: too few of the kills came during a write")
