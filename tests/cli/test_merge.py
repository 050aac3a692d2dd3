#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_merge.py RAPT reference|device: `rapt merge` against its formula in Python and against attention over
all the keys, its bad input; and shared prefixes of `rapt attend`."""
import json
import math
import os
import re
import sys

sys.dont_write_bytecode = True
from attending import PATH, RAPT, batch, folder, run_tests, save
from command import Numbers, error_of, flat, read_npy, run


def out_path(name):
    path = os.path.join(folder.name, name)
    if os.path.exists(path):
        os.remove(path)
    return path


def merge(*arguments, expect=0):
    """(shape, numbers) of out and lse, stdout, stderr"""
    out, lse = out_path("merged.npy"), out_path("merged_lse.npy")
    code, stdout, stderr = run(RAPT, "merge", *arguments, *PATH, "--out", out, "--lse", lse)
    assert code == expect, f"exit {code}, expected {expect}: {stdout}{stderr}"
    if code not in (0, 5):
        assert not os.path.exists(out) and not os.path.exists(lse) and stderr.count("\n") == 1, stderr
        return None, None, stdout, stderr
    return read_npy(out), read_npy(lse), stdout, stderr


def formula(parts, lses, n_heads, dim, sinks=None):
    out, lse = [], []
    for row in range(len(lses[0])):
        terms = [x[row] for x in lses] + ([sinks[row % n_heads]] if sinks else [])
        top = max(terms)
        weights = [math.exp(x - top) if x > -math.inf else 0.0 for x in terms] if top > -math.inf else [0.0]
        total = sum(weights)
        lse.append(top + math.log(total) if total else -math.inf)
        for d in range(dim):
            value = sum(w * p[row * dim + d] for w, p in zip(weights, parts) if w)
            out.append(value / total if total else 0.0)
    return out, lse


def make_parts(n_parts, n_rows, n_heads, dim, seed=1):
    numbers = Numbers(seed)
    parts = [list(flat(numbers.array(n_rows, n_heads, dim))) for _ in range(n_parts)]
    lses = [[5 * x for x in flat(numbers.array(n_rows, n_heads))] for _ in range(n_parts)]
    lses[0][3] = -math.inf  # a part without keys for that row, and a row without any
    for lse in lses:
        lse[5] = -math.inf
    return parts, lses


def files(parts, lses, shape):
    return ["--parts", ",".join(save(p, "f4", shape) for p in parts), "--lse-parts",
            ",".join(save(x, "f4", shape[:-1]) for x in lses)]


def test_formula():
    cases = ((1, (5, 2, 8), 0), (2, (5, 2, 8), 1), (7, (9, 4, 24), 0), (3, (2, 3, 4, 16), 1))
    for n_parts, shape, with_sinks in cases:
        n_heads, dim = shape[-2:]
        n_rows = math.prod(shape[:-2])
        parts, lses = make_parts(n_parts, n_rows, n_heads, dim)
        sinks = [0.5 * h - 1 for h in range(n_heads)] if with_sinks else None
        more = ["--sinks", save(sinks)] if sinks else []
        (out_shape, out), (lse_shape, lse), stdout, _ = merge(*files(parts, lses, shape), *more, "--check")
        assert "check: error" in stdout and ": ok" in stdout, stdout
        assert tuple(out_shape) == shape and tuple(lse_shape) == shape[:-1], (out_shape, lse_shape)
        want, want_lse = formula(parts, lses, n_heads, dim, sinks)
        e, largest = error_of(out, want)
        assert e < 5e-6 and largest < 4e-5, (n_parts, e, largest)
        assert all(x == y or abs(x - y) < 2e-5 for x, y in zip(lse, want_lse)), n_parts
        print(f"ok {n_parts} parts of {shape}: {e:.1e}")


def test_no_rows():
    (shape, out), (_, lse), _, _ = merge(*files([[], []], [[], []], (0, 2, 8)))
    assert tuple(shape) == (0, 2, 8) and not out and not lse
    print("ok no rows")


def test_attention_in_parts():
    """Attention over two halves of the keys, merged, is attention over all of them; the sinks join once."""
    q, k, v, _, _ = batch(5, [6], [40])
    sinks = save([0.3, -1.0, 2.0, 0.0])
    outs, lses = [], []
    for first, last in ((0, 24), (24, 40)):
        outs.append(out_path(f"o{first}.npy"))
        lses.append(out_path(f"l{first}.npy"))
        code, _, stderr = run(RAPT, "attend", "--q", save(q), "--k", save(k[first:last]), "--v", save(v[first:last]),
                              "--q-pos0", save([34], "i4"), "--kv-pos0", save([first], "i4"), "--causal", *PATH, "--out",
                              outs[-1], "--lse", lses[-1])
        assert code == 0, stderr
    want, want_lse = out_path("want.npy"), out_path("want_lse.npy")
    code, _, stderr = run(RAPT, "attend", "--q", save(q), "--k", save(k), "--v", save(v), "--causal", "--sinks", sinks,
                          *PATH, "--out", want, "--lse", want_lse)
    assert code == 0, stderr
    (_, out), (_, lse), _, _ = merge("--parts", ",".join(outs), "--lse-parts", ",".join(lses), "--sinks", sinks)
    e, _ = error_of(out, read_npy(want)[1])
    assert e < 5e-6 and all(abs(x - y) < 4e-5 for x, y in zip(lse, read_npy(want_lse)[1])), e
    print(f"ok attention in parts: {e:.1e}")


def test_check_fails():
    parts, lses = make_parts(2, 5, 2, 8)
    merge(*files(parts, lses, (5, 2, 8)), "--check", "--check-limit", 0, expect=5 if not PATH else 0)
    print("ok a check that fails")


def test_bad_input():
    parts, lses = make_parts(2, 5, 2, 8)
    good = files(parts, lses, (5, 2, 8))

    def refused(pattern, *arguments):
        _, _, _, stderr = merge(*arguments, expect=2)
        assert re.search(pattern, stderr), (pattern, stderr)

    refused(r"--parts is missing", *good[2:])
    refused(r"--lse-parts is missing", *good[:2])
    refused(r"names 2 files, --lse-parts 1", *good[:2], "--lse-parts", save(lses[0], "f4", (5, 2)))
    refused(r"--parts .*expected \[5, 2, 8\]", "--parts", save(parts[0], "f4", (5, 2, 8)) + "," +
            save(parts[1][:64], "f4", (4, 2, 8)), *good[2:])
    refused(r"--lse-parts .*expected \[5, 2\]", *good[:2], "--lse-parts", save(lses[0], "f4", (10,)))
    refused(r"expected \[rows,H,D\]", "--parts", save(parts[0], "f4", (5, 16)), *good[2:])
    refused(r"elements are f2", "--parts", save(parts[0], "f2", (5, 2, 8)), *good[2:])
    refused(r"no list of files", "--parts", good[1].split(",")[0] + ",,b.npy", *good[2:])
    refused(r"nowhere.npy", "--parts", "nowhere.npy", *good[2:])
    refused(r"--sinks .*expected \[2\]", *good, "--sinks", save([1.0]))
    refused(r"--check-limit needs --check", *good, "--check-limit", 1)
    refused(r"more than 64 parts", "--parts", ",".join([save(parts[0], "f4", (5, 2, 8))] * 65), *good[2:])
    code, _, stderr = run(RAPT, "merge", *good, "--out", "x.npy", "--lse", "x.npy")
    assert code == 2 and "same file" in stderr, stderr
    print("ok bad input")


def test_shared_prefixes():
    """Three sequences with 40 pages of 8 tokens in common, one page each of their own."""
    numbers = Numbers(9)
    pool = [save(numbers.array(44, 8, 2, 16)) for _ in range(2)]
    indices = [page for b in range(3) for page in [*range(40), 40 + b]]
    line = ["--q", save(numbers.array(3, 4, 16)), "--k-pool", pool[0], "--v-pool", pool[1], "--cu-q",
            save([0, 1, 2, 3], "i4"), "--page-indptr", save([0, 41, 82, 123], "u4"), "--page-indices",
            save(indices, "u4"), "--last-page-len", save([3, 8, 1], "u4"), "--causal", "--check"]
    code, stdout, stderr = run(RAPT, "attend", *line, "--share-prefix")
    assert code == 0 and ": ok" in stdout, stderr
    assert re.search(r"shared prefixes: 1 groups of 3 sequences, 2 levels; .* of K/V read instead of", stdout), stdout
    code, stdout, stderr = run(RAPT, "attend", *line, "--share-prefix", "--json")
    assert code == 0, stderr
    shared, row = json.loads(stdout)["shared_prefixes"], 2 * 16 * 2 * 4
    assert shared == {"levels": 2, "groups": 1, "sequences": 3, "kv_bytes": (320 + 12) * row,
                      "kv_bytes_alone": (960 + 12) * row}, shared
    code, _, stderr = run(RAPT, "attend", "--q", line[1], "--k", line[1], "--v", line[1], "--share-prefix")
    assert code == 2 and "--share-prefix needs --k-pool" in stderr, stderr
    code, _, stderr = run(RAPT, "attend", *line, "--share-prefix", "--unnormalised")
    assert code == 2 and "--share-prefix and --unnormalised exclude each other" in stderr, stderr
    print("ok shared prefixes")


run_tests(globals(), device_only=("test_shared_prefixes",))
