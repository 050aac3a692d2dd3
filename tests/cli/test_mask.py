#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_mask.py RAPT HAVE-CAIRO: `rapt mask` counts what a pair by pair evaluation counts, and draws it."""
import json
import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True
from command import npy_bytes, png_rows, run
from masking import (bidirectional, bitmap, blocks, both, causal, chunked, dilated, either, full, no,
                     per_head, prefix, segments, sink_tokens, tree, window)

RAPT, CAIRO = os.path.abspath(sys.argv[1]), sys.argv[2] == "yes"
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
names = 0
EMPTY, FULL, ALLOWED, REFUSED = (241, 241, 244), (33, 84, 153), (232, 122, 23), (251, 217, 163)


def save(values, dtype):
    global names
    names += 1
    with open(f"in{names}.npy", "wb") as file:
        file.write(npy_bytes(values, dtype))
    return f"in{names}.npy"


def mask(*arguments):
    code, stdout, stderr = run(RAPT, "mask", *arguments)
    assert code == 0 and not stderr, (arguments, code, stderr)
    return stdout


def evaluate(allows, n_q, n_kv, head, q_pos0, kv_pos0, block):
    """{(row, column): number of pairs}, pairs of whole blocks"""
    counts, whole = {}, {}
    for i in range(n_q):
        for j in range(n_kv):
            at = i // block[0], j // block[1]
            whole[at] = whole.get(at, 0) + 1
            if allows(0, head, i, q_pos0 + i, j, kv_pos0 + j):
                counts[at] = counts.get(at, 0) + 1
    return counts, whole


def check(name, arguments, allows, n_q, n_kv, heads=1, q_pos0=None, kv_pos0=0, block=(16, 16)):
    line = ["--q", n_q, "--kv", n_kv, "--heads", heads, "--block-q", block[0], "--block-kv", block[1], *arguments]
    line += ["--kv-pos0", kv_pos0] if kv_pos0 else []
    line += ["--q-pos0", q_pos0] if q_pos0 is not None else []
    q_pos0 = n_kv - n_q + kv_pos0 if q_pos0 is None else q_pos0
    report = json.loads(mask(*line, "--json"))
    assert (report["q_pos0"], report["kv_pos0"]) == (q_pos0, kv_pos0), report
    assert sorted(h for one in report["sets"] for h in one["heads"]) == list(range(heads)), report
    total = {"allowed_pairs": 0, "dense_pairs": 0, "listed_pairs": 0}
    for one in report["sets"]:
        for head in one["heads"]:
            counts, whole = evaluate(allows, n_q, n_kv, head, q_pos0, kv_pos0, block)
            wholly = sum(counts[at] == whole[at] for at in counts)
            listed = sum(whole[at] for at in counts)
            assert one["allowed_pairs"] == sum(counts.values()), (name, one, sum(counts.values()))
            assert one["listed"] == one["full"] + one["partial"] == len(whole) - one["empty"], (name, one)
            assert (one["listed"], one["full"]) == (len(counts), wholly), (name, one, len(counts), wholly)
            assert one["listed_pairs"] == listed, (name, one, listed)
            for key in total:
                total[key] += one[key]
    for key, value in total.items():
        assert report["all_heads"][key] == value, (name, key, value, report["all_heads"])
    assert total["dense_pairs"] == heads * n_q * n_kv
    speed = total["dense_pairs"] / total["listed_pairs"] if total["listed_pairs"] else None
    got = report["predicted_speedup"]
    assert got == speed or abs(got - speed) < 1e-6 * speed, (name, got, speed)
    print(f"ok {name}: {total['allowed_pairs']} pairs")
    return report


def test_closed_forms():
    numbers = random.Random(1)
    cases = [("full", full), ("causal", causal), ("window(20, 3)", window(20, 3)),
             ("causal & window(31,-1)", both(causal, window(31, -1))), ("chunked(24)", chunked(24)),
             ("causal & chunked(16)", both(causal, chunked(16))), ("sink_tokens(5)", sink_tokens(5)),
             ("sink_tokens(0)", sink_tokens(0)), ("window(0,0) & causal", both(window(0, 0), causal))]
    for text, allows in cases:
        for n_q, n_kv in ((64, 64), (37, 83), (83, 37), (1, 65), (65, 1)):
            more = {"kv_pos0": numbers.randint(-40, 40), "q_pos0": numbers.randint(-40, 60)} if n_q == 37 else {}
            report = check(f"{text} {n_q}x{n_kv}", ["--expr", text], allows, n_q, n_kv, **more)
            assert report["needs_table"] is False and report["bit_tiles"] == 0, report
    check("prefix", ["--expr", "prefix", "--prefix", save([23], "i4")], prefix([23]), 50, 70)
    check("blocks of 64 x 32", ["--expr", "causal"], causal, 150, 170, block=(64, 32))


def test_language():
    numbers = random.Random(2)
    ids = sorted(numbers.choices(range(5), k=70))
    flags = [numbers.random() < 0.8 for _ in range(70)]
    bits = [[[numbers.random() < 0.3 for _ in range(70)] for _ in range(50)] for _ in range(3)]
    maps = [[[numbers.random() < 0.4 for _ in range(5)] for _ in range(8)] for _ in range(3)]
    parents = [-1] + [numbers.randrange(-1, i) for i in range(1, 50)]
    more = [-1] + [numbers.randrange(-1, i) for i in range(1, 60)]
    cases = [
        ("causal & (window(9,0) | sink_tokens(4))", [], both(causal, either(window(9, 0), sink_tokens(4)))),
        ("!causal", [], no(causal)),
        ("!(causal | sink_tokens(3)) & window(-1, 30)", [],
         both(no(either(causal, sink_tokens(3))), window(-1, 30))),
        ("sink_tokens(3) | !window(9, 9) & causal", [],
         either(sink_tokens(3), both(no(window(9, 9)), causal))),
        ("segments & causal", ["--segments-q", save(ids[20:], "i4"), "--segments-kv", save(ids, "i4")],
         both(segments([ids[20:]], [ids]), causal)),
        ("causal | bidirectional", ["--bidirectional", save(flags, "b1")],
         either(causal, bidirectional([flags]))),
        ("dilated(6, 5)", [], dilated(6, 5)),
        ("bitmap", ["--bitmap", save(bits[0], "u1")], bitmap(bits[:1])),
        ("bitmap & causal", ["--heads", 3, "--bitmap", save(bits, "b1")], both(bitmap(bits), causal)),
        ("blocks & causal", ["--blocks", save(maps[0], "u1"), "--block-shape", "9,16"],
         both(blocks(maps[:1], 9, 16), causal)),
        ("blocks", ["--heads", 3, "--blocks", save(maps, "b1"), "--block-shape", "16,16"], blocks(maps, 16, 16)),
        ("tree", ["--parents", save(parents, "i4")], tree([parents], [50], [70])),
        ("tree", ["--parents", save(more, "i4")], tree([more], [50], [70])),
    ]
    for text, arguments, allows in cases:
        heads = 3 if "--heads" in arguments else 1
        arguments = arguments[2:] if heads > 1 else arguments
        check(text, ["--expr", text, *arguments], allows, 50, 70, heads=heads)


def test_heads():
    heads = {2: window(8, 0), 3: window(8, 0), 5: sink_tokens(4)}
    report = check("heads", ["--expr", "causal", "--mask-head", "h2-h3: window(8, 0)", "--mask-head=h5:sink_tokens(4)"],
                   per_head(heads, causal), 40, 90, heads=7)
    assert sorted(one["heads"] for one in report["sets"]) == [[0, 1, 4, 6], [2, 3], [5]], report
    report = check("equal heads", ["--expr", "causal", "--mask-head", " h1 - h2 : full & causal"], causal, 40, 90, heads=4)
    assert len(report["sets"]) == 1 and report["needs_table"] is False, report
    check("others are full", ["--mask-head", "h0: causal"], per_head({0: causal}, full), 40, 90, heads=2)


def test_lines():
    lines = mask("--expr", "causal & (window(15, 0) | sink_tokens(4))", "--q", 128).splitlines()
    assert "128 queries from position 0, 128 keys from 0, 1 head" in lines[0], lines
    assert any("4 of 4 blocks" in line or "3 of 4 blocks" in line for line in lines), lines
    assert any(line.startswith("predicted speed-up: ") for line in lines), lines
    assert any("need no table" in line for line in mask("--expr", "causal", "--q", 64).splitlines())
    assert "nothing is listed" in mask("--expr", "sink_tokens(0)", "--q", 64)


def draw(*arguments):
    mask(*arguments, "--png", "mask.png")
    rows = list(png_rows("mask.png"))
    os.remove("mask.png")
    return [[tuple(row[x:x + 3]) for x in range(0, len(row), 3)] for row in rows]


def near(a, b):
    return all(abs(x - y) <= 2 for x, y in zip(a, b))


def count(picture, color):
    return sum(near(pixel, color) for row in picture for pixel in row)


def test_picture():
    if not CAIRO:
        code, _, stderr = run(RAPT, "mask", "--expr", "causal", "--q", 64, "--png", "mask.png")
        assert code == 2 and "no cairo" in stderr and not os.path.exists("mask.png"), (code, stderr)
        return
    picture = draw("--expr", "causal", "--q", 1024, "--block-q", 128, "--block-kv", 128)
    counts = [count(picture, color) for color in (EMPTY, FULL, ALLOWED, REFUSED)]
    assert counts[0] > 50000 and counts[1] > 50000 and counts[2] > 10000 and counts[3] > 10000, counts
    # One key of 40000, seen or not: it still shows in every row of the map, where pixels are several blocks.
    for text, usual in (("sink_tokens(1)", EMPTY), ("!sink_tokens(1)", FULL)):
        picture = draw("--expr", text, "--q", 1000, "--kv", 40000, "--block-q", 16, "--block-kv", 16)
        rows = [row for row in picture if sum(near(pixel, usual) for pixel in row) > 900]
        assert len(rows) > 50, (text, len(rows))
        first = min(x for x in range(len(rows[0])) if near(rows[0][x], usual))
        other = [row[first - 1] for row in rows]
        assert all(max(abs(a - b) for a, b in zip(pixel, usual)) > 20 for pixel in other), (text, other)
    picture = draw("--expr", "causal", "--mask-head", "h1: window(20, 0)", "--heads", 2, "--q", 100, "--kv", 700)
    assert len(picture[0]) > 1100, "two maps side by side"
    for n_q, n_kv in ((1, 1), (1, 100000), (3000, 1)):
        picture = draw("--expr", "full", "--q", n_q, "--kv", n_kv)
        assert count(picture, FULL) > 3000 and len(picture[0]) < 2500 and len(picture) < 2500, (n_q, n_kv)
    print("ok pictures")


for name, function in sorted(globals().copy().items()):
    if name.startswith("test_"):
        function()
os.chdir("/")
