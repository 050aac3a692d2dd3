#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_peers.py RAPT: `rapt bench --peers`. First peers of our own making, which behave and misbehave as told;
then those that are installed, whose results must agree with the reference. No time is judged.

RAPT_REQUIRE_PEERS=ggml-vulkan,ggml-cpu: these must be there."""
import json
import os
import stat
import sys
import tempfile

sys.dont_write_bytecode = True
from command import run

RAPT = os.path.abspath(sys.argv[1])
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
failures = []
ROWS = "^peers prefill causal 512 .*d64|^peers decode 1024 .*q8_0"

# Attention by the book, in the standard library's floats. What else it does follows from the name of its
# folder, its kind and the row's length.
PEER = '''#!/usr/bin/env python3
import math, os, struct, sys
kind, out = sys.argv[1], sys.stdout.buffer
def say(text):
    out.write(text.encode() + b"\\n")
    out.flush()
def floats(n, code, size, wanted):
    data = sys.stdin.buffer.read(n * size)
    return struct.unpack(f"<{n}{code}", data) if wanted else ()
if os.path.dirname(os.path.abspath(__file__)).endswith("unwilling"):
    if kind == "vulkan":
        say("cannot for reasons of its own")
    raise SystemExit
say(f"peer {kind} of {sys.argv[2]}")
n_runs = 0
for line in iter(sys.stdin.buffer.readline, b""):
    word = line.split()[0]
    if word == b"case":
        hq, hkv, d, kv, mask, block, n_seqs, q_len, n = line.decode().split()[1:]
        hq, hkv, d, q_len, n = (int(x) for x in (hq, hkv, d, q_len, n))
        assert (kv, mask, n_seqs, q_len) == ("f16", "causal", "1", 1)
        q = floats(hq * d, "f", 4, True)
        k, v = (floats(n * hkv * d, "e", 2, n == 1024) for _ in range(2))
        result = [0.0] * (hq * d)
        for h in range(hq if n == 1024 else 0):
            g = h * hkv // hq
            row = q[h * d:h * d + d]
            s = [sum(map(float.__mul__, row, k[(j * hkv + g) * d:(j * hkv + g) * d + d])) / math.sqrt(d)
                 for j in range(n)]
            p = [math.exp(x - max(s)) for x in s]
            for i in range(d):
                result[h * d + i] = sum(map(float.__mul__, p, v[g * d + i::hkv * d])) / sum(p)
        if kind == "cpu" and n == 4096:
            result[8 * d] = float("nan")
        say("cannot do this" if kind == "cpu" and n == 2048 else "ready 0.5")
    elif word == b"result":
        if kind == "vulkan" and n == 4096:
            os.abort()
        say("result")
        out.write(struct.pack(f"<{len(result)}f", *result))
        out.flush()
    else:
        n_runs += 1
        if kind == "cpu" and n_runs == 2:
            os.abort()
        say("ran 0.25")
'''


def expect(what, condition, detail=""):
    if not condition:
        failures.append(what)
        print(f"FAIL: {what} {detail}")


def bench(filter_, n_repeats, **env):
    code, stdout, stderr = run(RAPT, "bench", "--peers", "--suite", "full", "--filter", filter_,
                               "--repeat", n_repeats, "--json", "out.json",
                               env={**os.environ, "RAPT_LOG": "", **env})
    if code == 3:
        return None, stderr
    expect(f"a run of {filter_} works", code == 0, (code, stderr))
    if code:
        sys.exit(1)
    with open("out.json", encoding="utf-8") as file:
        return json.load(file), stdout


def install(name):
    os.mkdir(name)
    with open(f"{name}/rapt-peer-ggml", "w", encoding="utf-8") as file:
        file.write(PEER)
    os.chmod(f"{name}/rapt-peer-ggml", stat.S_IRWXU)
    return os.path.abspath(name)


def check_made_up():
    """False without a device."""
    data, text = bench("^peers decode [124]0[0-9][0-9] .*f16$", 3, RAPT_PEERS_DIR=install("willing"))
    if data is None:
        return False
    peers = {peer["name"]: peer for peer in data["peers"]}
    rows = {(row["peer"], row["shape"]["kv_len"][0] if "shape" in row else row["name"].split()[2]): row
            for row in data["rows"]}
    rows = {(peer, int(length)): row for (peer, length), row in rows.items()}
    goals = {goal["id"]: goal for goal in data["goals"]}
    expect("three rows of ours and of both peers", len(rows) == 9, rows.keys())
    expect("ours are whole", all(rows["rapt", n]["ok"] and rows["rapt", n]["seconds"]["n"] == 3
                                 for n in (1024, 2048, 4096)), rows)
    expect("who it is", peers["ggml-vulkan"]["about"].startswith("vulkan of "), peers)
    expect("PyTorch is not in this folder", "RAPT_PEERS_DIR" in peers["torch-cpu-f32"]["not_measured"], peers)
    good, ours = rows["ggml-vulkan", 1024], rows["rapt", 1024]["seconds"]
    expect("a good one agrees, and has the times it said",
           good["ok"] and good["error"] < 1e-5 and good["seconds"]["median"] == 0.25 and
           good["first_use_seconds"] == 0.5, good)
    expect("in times of ours", 0.25 / ours["max"] <= good["times_of_rapt"] <= 0.25 / ours["min"], good)
    expect("a goal was judged", goals["peers-no-row-slower"]["met"] is True and
           goals["peers-no-row-slower"]["got"] == good["times_of_rapt"], goals)
    # The one that dies in a row is started again for the next.
    for peer, length, why in (("ggml-vulkan", 2048, "is off by 1"), ("ggml-vulkan", 4096, "ended unexpectedly"),
                              ("ggml-cpu", 1024, "ended unexpectedly"), ("ggml-cpu", 2048, "do this"),
                              ("ggml-cpu", 4096, "is off by inf")):
        row = rows[peer, length]
        expect(f"{peer}, {length}: the row says why", why in row.get("skipped", "") and "seconds" not in row, row)
        expect(f"{peer}, {length}: and so does the table", f"not measured: {row.get('skipped')}" in text, text)
    data, text = bench("^peers decode 1024 .*f16$", 1, RAPT_PEERS_DIR=install("unwilling"))
    peers = {peer["name"]: peer for peer in data["peers"]}
    expect("one that refuses", "reasons of its own" in peers["ggml-vulkan"]["not_measured"], peers)
    expect("one that says nothing", "ended unexpectedly" in peers["ggml-cpu"]["not_measured"], peers)
    expect("they have no rows", [row["peer"] for row in data["rows"]] == ["rapt"], data["rows"])
    return True


def check_installed():
    """Which of the installed peers took part."""
    built = os.path.join(os.path.dirname(RAPT), "..", "bench", "rapt-peer-ggml")
    required = [name for name in os.environ.get("RAPT_REQUIRE_PEERS", "").split(",") if name]
    if not required and not os.path.exists(built):
        return []
    env = {name: value for name, value in os.environ.items() if name != "RAPT_PEERS_DIR"}
    os.environ.clear()
    os.environ.update(env)
    data, text = bench(ROWS, 1)
    print(text.split("ceilings")[0])
    peers = {peer["name"]: peer for peer in data["peers"]}
    there = [name for name, peer in peers.items() if "about" in peer]
    for name in required:
        expect(f"{name} is here", name in there, peers.get(name))
    shapes = {row["name"] for row in data["rows"]}
    expect("two rows", len(shapes) == 2, shapes)
    for row in data["rows"]:
        expect(f"{row['peer']}, {row['name']}: agrees with the reference", row.get("ok"), row)
        expect(f"{row['peer']}, {row['name']}: to a few percent", row.get("error", 1) < 3e-2, row)
    for name in there:
        expect(f"{name} took part in every row", sum(row["peer"] == name for row in data["rows"]) == 2)
    return there


made_up = check_made_up()
installed = check_installed() if made_up else []
os.chdir("/")
if failures:
    sys.exit(f"{len(failures)} failures")
if not made_up:
    if os.environ.get("RAPT_REQUIRE_DEVICE", "0") not in ("", "0"):
        sys.exit("no Vulkan device")
    print("SKIP: no Vulkan device")
    sys.exit(77)
print(f"installed peers that agree: {', '.join(installed) or 'none, and none is built'}")
