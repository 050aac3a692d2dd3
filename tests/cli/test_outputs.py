# SPDX-License-Identifier: Apache-2.0
"""What names of outputs may stand for: files, links, folders, pipes, and a stdout that is full; inputs that
are pipes. Run as TEST.py RAPT."""
import os
import stat
import subprocess
import sys
import threading

from refusing import GOOD, RAPT, finish, put, refused

CALL = [word for pair in GOOD.items() for word in pair] + ["--path", "reference"]


def attend(*arguments, q=GOOD["--q"]):
    call = [q if word == GOOD["--q"] else word for word in CALL]
    return subprocess.run([RAPT, "attend", *call, *arguments], capture_output=True, timeout=60)


def expect(what, good, *shown):
    print(f"{'ok' if good else 'FAIL:'} {what}", *([] if good else shown))
    if not good:
        sys.exit(1)


def leftovers():
    return [name for name in os.listdir(".") if ".part" in name]


os.mkdir("folder")
refused("a folder as an output", r"--out folder: cannot be written", *CALL, "--out", "folder")
refused("a folder as the second output", r"--lse folder: cannot be written", *CALL, "--out", "o.npy", "--lse", "folder")
refused("a folder for JSON", r"--json folder: cannot be written", "--json", "folder", command="check")

result = attend("--out", "plain.npy")
expect("a file", result.returncode == 0, result)
want = open("plain.npy", "rb").read()

# A link is followed, not replaced.
put("target.npy", b"old")
for name, target in (("link.npy", "target.npy"), ("dangling.npy", "new.npy")):
    os.symlink(target, name)
    result = attend("--out", name)
    expect(f"{name} stays a link", result.returncode == 0 and os.path.islink(name), result)
    expect(f"{target} is written", open(target, "rb").read() == want)

# A pipe is written to and stays what it is; so does a device.
os.mkfifo("pipe")
read = []
reader = threading.Thread(target=lambda: read.append(open("pipe", "rb").read()), daemon=True)
reader.start()
result = attend("--out", "pipe")
expect("the pipe stays a pipe", stat.S_ISFIFO(os.stat("pipe").st_mode), result)
reader.join(60)
expect("a pipe", result.returncode == 0 and read == [want], result)
if os.path.exists("/proc/self/fd/1"):  # what /dev/stdout is a link to
    os.symlink("/proc/self/fd/1", "stdout")
    result = attend("--out", "stdout")
    expect("/dev/stdout", result.returncode == 0 and want in result.stdout and os.path.islink("stdout"), result)

# What comes through a pipe is read once, from its beginning to its end.
os.mkfifo("queries")
queries = open(GOOD["--q"], "rb").read()
writer = threading.Thread(target=lambda: open("queries", "wb").write(queries), daemon=True)
writer.start()
result = attend("--out", "piped.npy", q="queries")
writer.join(60)
expect("queries from a pipe", result.returncode == 0 and open("piped.npy", "rb").read() == want, result)

# Where stdout cannot be written nothing is, and what was there before stays.
if os.path.exists("/dev/full"):
    for extra in ([], ["--json"]):
        put("kept.npy", b"old")
        with open("/dev/full", "w") as full:
            result = subprocess.run([RAPT, "attend", *CALL, "--out", "kept.npy", *extra], stdout=full,
                                    stderr=subprocess.PIPE, timeout=60)
        expect("a full stdout", result.returncode == 2 and b"standard output" in result.stderr, result)
        expect("leaves files alone", open("kept.npy", "rb").read() == b"old")
expect("nothing is left behind", not leftovers(), leftovers())
finish()
