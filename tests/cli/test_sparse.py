#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_sparse.py RAPT device: `rapt moba` and `rapt topk`: what is chosen against a choice written out
plainly (whole numbers, so that ties are exact), what is attended to by --check, and bad input."""
import os
import re
import sys

sys.dont_write_bytecode = True
from attending import RAPT, folder, run_tests, save
from command import Numbers, read_npy_as, run

HEADS, KV_HEADS, D = 4, 2, 16
Q_LENS, KV_LENS = [20, 0, 7], [50, 9, 7]
NONE = 0xFFFFFFFF


def numbers(seed, n, span=2):
    r = Numbers(seed).random
    return [float(r.randint(-span, span)) for _ in range(n)]


def cumulative(lengths):
    return [sum(lengths[:i]) for i in range(len(lengths) + 1)]


CU_Q, CU_KV = cumulative(Q_LENS), cumulative(KV_LENS)
Q = numbers(1, CU_Q[-1] * HEADS * D)
K = numbers(2, CU_KV[-1] * KV_HEADS * D)
V = numbers(3, CU_KV[-1] * KV_HEADS * D)


def tensors():
    return ["--q", save(Q, shape=(CU_Q[-1], HEADS, D)), "--k", save(K, shape=(CU_KV[-1], KV_HEADS, D)),
            "--v", save(V, shape=(CU_KV[-1], KV_HEADS, D)), "--cu-q", save(CU_Q, "i4"), "--cu-kv",
            save(CU_KV, "i4")]


def call(command, *arguments, expect=0):
    code, stdout, stderr = run(RAPT, command, *arguments)
    assert code == expect, f"exit {code}, expected {expect}: rapt {command} {arguments}\n{stderr}"
    return stdout, stderr


def queries():
    for b, (q_len, kv_len) in enumerate(zip(Q_LENS, KV_LENS)):
        for i in range(q_len):
            yield b, CU_Q[b] + i, kv_len - q_len + i


def best(scores, k, forced=None):
    order = sorted(range(len(scores)), key=lambda c: (c != forced, -scores[c], c))[:k]
    return sorted(order) + [NONE] * (k - len(order))


def dot(a, i, b, j):
    return sum(a[i * D + d] * b[j * D + d] for d in range(D))


def test_moba():
    chunk, k = 16, 2
    paths = [os.path.join(folder.name, name) for name in ("out.npy", "gates.npy", "choices.npy")]
    stdout, _ = call("moba", *tensors(), "--chunk", str(chunk), "--top-k", str(k), "--block-q", "16", "--check",
                     "--out", paths[0], "--gates", paths[1], "--choices", paths[2])
    assert ": ok" in stdout, stdout
    (n_q, heads, n_chunks), gates, _ = read_npy_as(paths[1])
    assert (n_q, heads, n_chunks) == (CU_Q[-1], HEADS, 4), (n_q, heads, n_chunks)
    shape, choices, _ = read_npy_as(paths[2])
    assert tuple(shape) == (CU_Q[-1], HEADS, k), shape
    for b, row, position in queries():
        for h in range(HEADS):
            at, kv = row * HEADS + h, h // (HEADS // KV_HEADS)
            want = []
            for c in range(position // chunk + 1):
                keys = range(c * chunk, min(c * chunk + chunk, KV_LENS[b]))
                want.append(sum(dot(Q, at, K, (CU_KV[b] + j) * KV_HEADS + kv) for j in keys) / len(keys))
            got = gates[at * n_chunks:(at + 1) * n_chunks]
            assert all(abs(x - y) <= 1e-5 * (1 + abs(y)) for x, y in zip(got, want)), (row, h, got, want)
            assert all(x == float("-inf") for x in got[len(want):]), (row, h, got)
            chosen = choices[at * k:(at + 1) * k]
            assert chosen == best(want, k, position // chunk), (row, h, chosen, want)


def test_topk():
    heads, dim, k = 3, 8, 6
    qi, ki = numbers(4, CU_Q[-1] * heads * dim, 1), numbers(5, CU_KV[-1] * dim, 1)
    w = numbers(6, CU_Q[-1] * heads, 1)
    path = os.path.join(folder.name, "lists.npy")
    stdout, _ = call("topk", *tensors(), "--qi", save(qi, "f2", (CU_Q[-1], heads, dim)), "--ki",
                     save(ki, "f4", (CU_KV[-1], dim)), "--weights", save(w, "f4", (CU_Q[-1], heads)), "--top-k",
                     str(k), "--check", "--lists", path)
    assert ": ok" in stdout, stdout
    shape, lists, _ = read_npy_as(path)
    assert tuple(shape) == (CU_Q[-1], k), shape
    for b, row, position in queries():
        scores = []
        for j in range(min(position + 1, KV_LENS[b])):
            dots = [sum(qi[(row * heads + h) * dim + d] * ki[(CU_KV[b] + j) * dim + d] for d in range(dim))
                    for h in range(heads)]
            scores.append(sum(w[row * heads + h] * max(0.0, dots[h]) for h in range(heads)))
        got = lists[row * k:(row + 1) * k]
        assert got == best(scores, k), (row, got, scores)


def block_rows(size):
    for h in range(KV_HEADS):
        r = 0
        for b, (q_len, kv_len) in enumerate(zip(Q_LENS, KV_LENS)):
            for first in range(0, q_len, size):
                last = min(first + size, q_len) - 1 + kv_len - q_len
                yield h, r, min(last // size + 1, -(-kv_len // size))
                r += 1


def choose_mass(scores, share):
    weights = [max(0.0, x) for x in scores]
    order, got, chosen = sorted(range(len(scores)), key=lambda c: (-scores[c], c)), 0.0, set()
    for c in order:
        if sum(weights) > 0 and got >= share * sum(weights):
            break
        got += weights[c]
        chosen.add(c)
    return chosen


def test_topk_blocks():
    size, n_rows, n_keys = 16, 3, 5
    scores = numbers(7, KV_HEADS * n_rows * n_keys)
    path = os.path.join(folder.name, "listed.npy")
    given = ["--block-scores", save(scores, "f4", (KV_HEADS, n_rows, n_keys)), "--block-q", str(size),
             "--block-kv", str(size), "--check", "--listed", path]
    for how in ("top-k", "mass", "kept"):
        options = {"top-k": ["--top-k", "2"], "mass": ["--mass", "0.5", "--plain-mass"],
                   "kept": ["--top-k", "1", "--keep", "1,1"]}[how]
        stdout, _ = call("topk", *tensors(), *given, *options)
        assert ": ok" in stdout, stdout
        shape, listed, _ = read_npy_as(path)
        assert tuple(shape) == (KV_HEADS, n_rows, n_keys), shape
        for h, r, n in block_rows(size):
            at = (h * n_rows + r) * n_keys
            row = scores[at:at + n]
            want = {"top-k": set(best(row, 2)) - {NONE}, "mass": choose_mass(row, 0.5),
                    "kept": {0, n - 1}}[how]
            got = {c for c in range(n_keys) if listed[at + c]}
            assert got == want, (how, h, r, got, want, row)


def test_validation_messages():
    """Exit 4, and so no file, where the layers say anything. Advice, which is asked for here, they always have."""
    advised = {"RAPT_VALIDATION": "1", "VK_LAYER_VALIDATE_BEST_PRACTICES": "1",
               "VK_LAYER_ENABLES": "VK_VALIDATION_FEATURE_ENABLE_BEST_PRACTICES_EXT",
               # the layers are unloaded before the end: what they leak has no name to leave out by
               "ASAN_OPTIONS": ":".join([os.environ.get("ASAN_OPTIONS", ""), "detect_leaks=0"]).strip(":")}
    out = os.path.join(folder.name, "never.npy")
    scores = save([0.0] * (HEADS * 2 * 4), shape=(HEADS, 2, 4))
    one = ["--q", save(Q[:20 * HEADS * D], shape=(20, HEADS, D)), "--k", save(K[:50 * KV_HEADS * D], shape=(50, KV_HEADS, D)),
           "--v", save(V[:50 * KV_HEADS * D], shape=(50, KV_HEADS, D)), "--out", out]
    for line in (["attend"], ["moba", "--chunk", "16", "--top-k", "1"],
                 ["topk", "--block-scores", scores, "--top-k", "1", "--block-q", "16", "--block-kv", "16"]):
        code, _, stderr = run(RAPT, *line, *one, env=advised)
        if line == ["attend"] and code == 0:
            print(f"not looked at: no layers here, or none that advises: {stderr.strip()}")
            return
        assert code == 4 and "the validation layers wrote" in stderr, (line, code, stderr)
        assert not os.path.exists(out), line
    print("ok validation messages")


def test_bad_input():
    scores = save([0.0] * 12, "f4", (3, 4))
    for command, arguments, words in (
            ("moba", [], "--chunk is missing"),
            ("moba", ["--chunk", "16"], "--top-k is missing"),
            ("moba", ["--chunk", "24", "--top-k", "1"], "chunk is 24: expected a multiple of 16"),
            ("moba", ["--chunk", "16", "--top-k", "1", "--block-q", "48"], "block_q is 48"),
            ("topk", [], "--top-k is missing"),
            ("topk", ["--top-k", "3"], "--qi is missing"),
            ("topk", ["--top-k", "3", "--qi", save([0.0] * 8, shape=(1, 1, 8)), "--ki",
                      save([0.0] * 8, shape=(1, 8)), "--weights", save([1.0], shape=(1, 1))],
             "--qi has the shape"),
            ("topk", ["--top-k", "3", "--mask", "!causal"], "closed form"),
            ("topk", ["--block-scores", scores], "--top-k or --mass is missing"),
            ("topk", ["--block-scores", scores, "--top-k", "1", "--mass", "1"], "choose one"),
            ("topk", ["--block-scores", scores, "--mass", "1.5"], "no share"),
            ("topk", ["--block-scores", scores, "--top-k", "1", "--plain-mass"], "needs --mass"),
            ("topk", ["--block-scores", scores, "--top-k", "1", "--keep", "-1,0"], "0 or more"),
            ("topk", ["--block-scores", scores, "--top-k", "1"], r"has the shape \[3, 4\]: expected \[2,1\]"),
            ("topk", ["--block-scores", scores, "--top-k", "1", "--qi", scores], "--qi is of an indexer"),
            ("topk", ["--top-k", "1", "--keep", "1,1"], "--keep needs --block-scores"),
            ("topk", ["--block-scores", scores, "--top-k", "1", "--block-q", "16", "--block-kv", "24"],
             "block_kv is 24")):
        _, stderr = call(command, *tensors(), *arguments, expect=2)
        assert re.search(words, stderr) and stderr.count("\n") == 1, (command, arguments, stderr)


run_tests(globals())
