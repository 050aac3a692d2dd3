#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_attend_masks.py RAPT reference|device: `rapt attend` under every leaf and operator of the mask language,
against attention written out in Python, pair by pair."""
import math
import random
import sys

sys.dont_write_bytecode = True
from attending import WHERE, attend, batch, compare, run_tests, save
from command import attention
from masking import (bidirectional, bitmap, blocks, both, causal, chunked, dilated, either, full, no,
                     per_head, prefix, segments, sink_tokens, tree, window)

Q_LENS, KV_LENS = [21, 0, 3, 1], [37, 5, 3, 18]


def places(allows, q_lens, kv_lens, q_pos0=None, kv_pos0=None):
    """What `attention` asks, of a mask of masking.py."""
    def asked(b, h, P, J):
        first = kv_pos0[b] if kv_pos0 else 0
        row = q_pos0[b] if q_pos0 else kv_lens[b] - q_lens[b] + first
        return allows(b, h, P - row, P, J - first, J)
    return asked


def parts(values, lens):
    at = [sum(lens[:b]) for b in range(len(lens) + 1)]
    return [values[at[b]:at[b + 1]] for b in range(len(lens))]


def ragged(seed, q_lens=Q_LENS, kv_lens=KV_LENS):
    q, k, v, cu_q, cu_kv = batch(seed, q_lens, kv_lens)
    files = ["--q", save(q, shape=(cu_q[-1], 4, 16)), "--k", save(k), "--v", save(v), "--cu-q", save(cu_q, "i4"),
             "--cu-kv", save(cu_kv, "i4")]
    return files, (q, k, v, cu_q, cu_kv)


def arrays(seed, q_lens=Q_LENS, kv_lens=KV_LENS):
    """Options of the leaves that need arrays, for a ragged batch; and the leaves."""
    numbers = random.Random(seed)
    ids_q = [numbers.randrange(4) for _ in range(sum(q_lens))]
    ids_kv = [numbers.randrange(4) for _ in range(sum(kv_lens))]
    flags = [numbers.random() < 0.7 for _ in range(sum(kv_lens))]
    lengths = [numbers.randrange(n + 3) for n in kv_lens]
    parents = [numbers.randrange(-1, i) if i else -1 for n in q_lens for i in range(n)]
    maps = [[[numbers.random() < 0.5 for _ in range(6)] for _ in range(9)] for _ in range(4)]
    return {
        "prefix": (["--prefix", save(lengths, "i4")], prefix(lengths)),
        "segments": (["--segments-q", save(ids_q, "i4"), "--segments-kv", save(ids_kv, "i4")],
                     segments(parts(ids_q, q_lens), parts(ids_kv, kv_lens))),
        "bidirectional": (["--bidirectional", save(flags, "b1")], bidirectional(parts(flags, kv_lens))),
        "tree": (["--parents", save(parents, "i4")], tree(parts(parents, q_lens), q_lens, kv_lens)),
        "blocks": (["--blocks", save(maps[0], "u1"), "--block-shape", "5,7"], blocks(maps[:1], 5, 7)),
        "blocks per head": (["--blocks", save(maps, "b1"), "--block-shape", "5,7"], blocks(maps, 5, 7)),
    }


def test_operators():
    files, numbers = ragged(21)
    cases = [
        ("!causal", no(causal)),
        ("causal | sink_tokens(2)", either(causal, sink_tokens(2))),
        ("causal & (window(5,0) | sink_tokens(4))", both(causal, either(window(5, 0), sink_tokens(4)))),
        ("!causal | causal & window(1, 0)", either(no(causal), both(causal, window(1, 0)))),
        ("!(!causal | chunked(7))", both(causal, no(chunked(7)))),
        ("dilated(3, 4)", dilated(3, 4)),
        ("dilated(2, 3) | window(1, 1) & !sink_tokens(9)", either(dilated(2, 3),
                                                                   both(window(1, 1), no(sink_tokens(9))))),
        ("causal & !full", no(full)),
    ]
    for text, allows in cases:
        compare(text, attend(*files, "--mask", text)[0],
                attention(*numbers, allows=places(allows, Q_LENS, KV_LENS)), (25, 4, 16))
    allows = places(both(either(sink_tokens(3), window(2, 2)), causal, window(9, 1)), Q_LENS, KV_LENS)
    compare("shorthands", attend(*files, "--mask", "sink_tokens(3) | window(2, 2)", "--causal", "--window", "9,1")[0],
            attention(*numbers, allows=allows))


def test_arrays():
    files, numbers = ragged(22)
    leaves = arrays(220)
    for name, (options, leaf) in leaves.items():
        word = name.split()[0]
        for text, allows in ((word, leaf), (f"causal & !{word}", both(causal, no(leaf))),
                             (f"causal | {word}", either(causal, leaf))):
            compare(f"{name}: {text}", attend(*files, "--mask", text, *options)[0],
                    attention(*numbers, allows=places(allows, Q_LENS, KV_LENS)))
    options = leaves["segments"][0] + leaves["bidirectional"][0] + leaves["prefix"][0]
    allows = either(both(causal, leaves["segments"][1]), leaves["bidirectional"][1], leaves["prefix"][1])
    compare("several", attend(*files, "--mask", "causal & segments | bidirectional | prefix", *options)[0],
            attention(*numbers, allows=places(allows, Q_LENS, KV_LENS)))


def test_one_sequence():
    q_lens, kv_lens = [11], [26]
    files, numbers = ragged(23, q_lens, kv_lens)
    random_numbers = random.Random(230)
    bits = [[[random_numbers.random() < 0.4 for _ in range(26)] for _ in range(11)] for _ in range(4)]
    bits[2][3] = [False] * 26
    for name, some, dtype in (("shared", bits[0], "u1"), ("per head", bits, "b1")):
        leaf = bitmap(bits[:1] if name == "shared" else bits)
        for text, allows in (("bitmap", leaf), ("bitmap & causal", both(leaf, causal)), ("!bitmap", no(leaf))):
            compare(f"bitmap {name}: {text}", attend(*files, "--mask", text, "--bitmap", save(some, dtype))[0],
                    attention(*numbers, allows=places(allows, q_lens, kv_lens)))
    parents = [-1, 0, 0, 1, 1, 2, -1, 6, 7, 7, 3, 4, 5, 9, 12, 14]
    compare("tree of more nodes than queries",
            attend(*files, "--mask", "tree", "--parents", save(parents, "i4"))[0],
            attention(*numbers, allows=places(tree([parents], q_lens, kv_lens), q_lens, kv_lens)))
    compare("tree of fewer", attend(*files, "--mask", "tree", "--parents", save(parents[:4], "i4"))[0],
            attention(*numbers, allows=places(tree([parents[:4]], q_lens, kv_lens), q_lens, kv_lens)))


def test_heads():
    files, numbers = ragged(24)
    leaves = arrays(240)
    options = leaves["segments"][0]
    heads = {0: window(3, 0), 1: window(3, 0), 3: both(leaves["segments"][1], causal)}
    allows = places(per_head(heads, causal), Q_LENS, KV_LENS)
    compare("a mask per head", attend(*files, "--causal", "--mask-head", "h0-h1: window(3, 0)", "--mask-head",
                                      "h3: segments & causal", *options)[0], attention(*numbers, allows=allows))
    allows = places(per_head({1: causal, 2: sink_tokens(1)}, full), Q_LENS, KV_LENS)
    compare("others are full", attend(*files, "--mask-head=h1:causal", "--mask-head= 2 :sink_tokens(1)")[0],
            attention(*numbers, allows=allows))
    allows = places(causal, Q_LENS, KV_LENS)
    compare("all heads", attend(*files, "--mask", "sink_tokens(0)", "--mask-head", "0-h3: causal & full")[0],
            attention(*numbers, allows=allows))


def test_positions():
    files, numbers = ragged(25)
    leaves = arrays(250)
    q_pos0, kv_pos0 = [14, 3, 0, 40], [4, 0, -2, 20]
    options = ["--q-pos0", save(q_pos0, "i4"), "--kv-pos0", save(kv_pos0, "i4")]
    rows = [q_pos0[b] + i for b, n in enumerate(Q_LENS) for i in range(n)]
    for text, allows in (("causal & (window(5,0) | sink_tokens(6))", both(causal, either(window(5, 0), sink_tokens(6)))),
                         ("causal & segments", both(causal, leaves["segments"][1])),
                         ("blocks | chunked(9)", either(leaves["blocks"][1], chunked(9)))):
        more = [word for name in ("segments", "blocks") if name in text for word in leaves[name][0]]
        compare(f"positions: {text}", attend(*files, *options, "--mask", text, *more)[0],
                attention(*numbers, allows=places(allows, Q_LENS, KV_LENS, q_pos0, kv_pos0), q_pos=rows,
                          kv_pos0=kv_pos0))


def test_pools():
    """Arrays of keys count through, sequence after sequence, whatever pages they lie in."""
    q_lens, kv_lens, size, pages = [2, 1, 3], [6, 0, 9], 4, [[5, 1], [], [3, 0, 6]]
    q, k, v, cu_q, cu_kv = batch(28, q_lens, kv_lens)

    def pool(tensor):
        filled = [[[[math.nan] * 16 for _ in range(2)] for _ in range(size)] for _ in range(7)]
        for b, pages_of in enumerate(pages):
            for j in range(kv_lens[b]):
                filled[pages_of[j // size]][j % size] = tensor[cu_kv[b] + j]
        return save(filled)
    files = ["--q", save(q), "--cu-q", save(cu_q, "i4"), "--k-pool", pool(k), "--v-pool", pool(v), "--page-indptr",
             save([0, 2, 2, 5], "u4"), "--page-indices", save([5, 1, 3, 0, 6], "u4"), "--last-page-len",
             save([2, 0, 1], "u4")]
    leaves = arrays(280, q_lens, kv_lens)
    for word in ("segments", "bidirectional", "prefix"):
        options, leaf = leaves[word]
        compare(f"a ready pool: {word}", attend(*files, "--mask", f"{word} | !causal", *options)[0],
                attention(q, k, v, cu_q, cu_kv, allows=places(either(leaf, no(causal)), q_lens, kv_lens)))


def test_nothing():
    files, numbers = ragged(26)
    sinks = [0.5, -1.0, 2.0, 0.0]
    (_, out), (_, lse), (_, maxima) = attend(*files, "--mask", "!full")[0]
    assert out == [0] * (25 * 4 * 16) and lse == maxima == [-math.inf] * 100
    (_, out), (_, lse), _ = attend(*files, "--mask", "causal & !causal", "--sinks", save(sinks))[0]
    assert out == [0] * (25 * 4 * 16) and max(abs(x - y) for x, y in zip(lse, sinks * 25)) <= 1e-6, lse
    print("ok masks without a key")


def test_beside_other_options():
    files, numbers = ragged(27)
    leaves = arrays(270)
    options, allows = leaves["segments"][0], both(causal, leaves["segments"][1])
    want = attention(*numbers, allows=places(allows, Q_LENS, KV_LENS))
    mask = ["--mask", "causal & segments", *options]
    compare("checked", attend(*files, *mask, "--check")[0], want)
    if WHERE != "device":
        return
    for more in (["--page-size", 4], ["--page-size", 16, "--kv-layout", "hnd"], ["--splits", 3], ["--fixed-split", 16],
                 ["--slices", 2], ["--disable", "cpu_rows,subgroup"], ["--path", "portable"]):
        compare(f"with {' '.join(map(str, more))}", attend(*files, *mask, *more, "--check")[0], want)
    slopes = [0.5, 0.25, 0.125, 0.0625]
    compare("with alibi and softcap", attend(*files, *mask, "--alibi", save(slopes), "--softcap", "2", "--check")[0],
            attention(*numbers, allows=places(allows, Q_LENS, KV_LENS), slopes=slopes, softcap=2))
    first, second = attend(*files, *mask)[0], attend(*files, *mask)[0]
    assert first == second, "two runs differ"


run_tests(globals())
