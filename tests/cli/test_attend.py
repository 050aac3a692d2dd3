#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_attend.py RAPT reference|device: `rapt attend` against attention written out in Python.

The same cases run on the host reference and on the device.
"""
import json
import math
import struct
import sys

sys.dont_write_bytecode = True
from attending import RAPT, WHERE, attend, batch, causal, compare, run_tests, save, save_raw
from command import Numbers, attention, bf16_bits, flat, rounded, run, safetensors_bytes


def test_plain():
    q, k, v, cu_q, cu_kv = batch(1, [7], [11])
    files = ["--q", save(q), "--k", save(k), "--v", save(v)]
    compare("one sequence", attend(*files)[0], attention(q, k, v, cu_q, cu_kv), (7, 4, 16))
    compare("causal", attend(*files, "--causal")[0], attention(q, k, v, cu_q, cu_kv, allows=causal))
    compare("npy versions", attend("--q", save(q, version=2), "--k", save(k, version=3), "--v", save(v))[0],
            attention(q, k, v, cu_q, cu_kv))
    compare("--name=value", attend(f"--q={files[1]}", *files[2:], "--causal")[0],
            attention(q, k, v, cu_q, cu_kv, allows=causal))


def test_ragged():
    q, k, v, cu_q, cu_kv = batch(2, [5, 0, 1, 3], [9, 4, 20, 0])
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--cu-q", save(cu_q, "i4"), "--cu-kv", save(cu_kv, "i4")]
    want = attention(q, k, v, cu_q, cu_kv, allows=causal)
    compare("ragged", attend(*files, "--causal")[0], want, (9, 4, 16))
    compare("splits", attend(*files, "--causal", "--splits", 3)[0], want)
    compare("fixed split", attend(*files, "--causal", "--fixed-split", 8)[0], want)
    compare("slices", attend(*files, "--causal", "--slices", 3, "--splits", 2)[0], want)
    if WHERE == "device":
        for size in (1, 8):
            compare(f"pages of {size}", attend(*files, "--causal", "--page-size", size)[0], want)
        compare("linear pages", attend(*files, "--causal", "--page-size", 4, "--page-order", "linear")[0], want)
        compare("hnd pages", attend(*files, "--causal", "--page-size", 4, "--kv-layout", "hnd")[0], want)
        compare("interleaved pages",
                attend(*files, "--causal", "--page-size", 4, "--kv-layout", "interleaved")[0], want)
        compare("--disable", attend(*files, "--causal", "--disable", "cpu_rows,subgroup")[0], want)


def transpose(tensor):
    """[T][H][D] -> [H][T][D]"""
    return [[token[h] for token in tensor] for h in range(len(tensor[0]))]


def test_layouts():
    q, k, v, cu_q, cu_kv = batch(3, [3, 3], [5, 5])
    want = attention(q, k, v, cu_q, cu_kv, allows=causal)
    four = [save([t[:len(t) // 2], t[len(t) // 2:]]) for t in (q, k, v)]
    compare("[B,T,H,D]", attend("--q", four[0], "--k", four[1], "--v", four[2], "--causal")[0], want, (2, 3, 4, 16))
    turned = [save([transpose(t[:len(t) // 2]), transpose(t[len(t) // 2:])]) for t in (q, k, v)]
    (shape, out), (lse_shape, lse), maxima = attend("--layout", "bhsd", "--q", turned[0], "--k", turned[1], "--v",
                                                    turned[2], "--causal")[0]
    assert tuple(shape) == (2, 4, 3, 16) and tuple(lse_shape) == (2, 4, 3), (shape, lse_shape)

    def back(numbers, width):
        return [numbers[((b * 4 + h) * 3 + t) * width + d]
                for b in range(2) for t in range(3) for h in range(4) for d in range(width)]
    compare("[B,H,T,D]", [((6, 4, 16), back(out, 16)), ((6, 4), back(lse, 1)), ((6, 4), back(maxima[1], 1))], want)
    q_rows, k, v, _, cu_kv = batch(4, [1, 1, 1], [4, 9, 2])
    compare("decode without --cu-q",
            attend("--q", save(q_rows), "--k", save(k), "--v", save(v), "--cu-kv", save(cu_kv, "i4"))[0],
            attention(q_rows, k, v, [0, 1, 2, 3], cu_kv), (3, 4, 16))


def test_padded():
    q, k, v, cu_q, cu_kv = batch(5, [2, 3], [4, 6])
    nan = float("nan")

    def pad(tensor, cu, length):
        blank = [[nan] * 16 for _ in tensor[0]]
        return save([tensor[cu[b]:cu[b + 1]] + [blank] * (length - cu[b + 1] + cu[b]) for b in range(2)])
    results = attend("--q", pad(q, cu_q, 4), "--k", pad(k, cu_kv, 7), "--v", pad(v, cu_kv, 7), "--cu-q",
                     save(cu_q, "i4"), "--cu-kv", save(cu_kv, "i4"), "--causal")[0]
    want = attention(q, k, v, cu_q, cu_kv, allows=causal)

    def spread(numbers, width, fill):
        rows = []
        for b in range(2):
            rows += numbers[cu_q[b] * 4 * width:cu_q[b + 1] * 4 * width]
            rows += [fill] * ((4 - cu_q[b + 1] + cu_q[b]) * 4 * width)
        return rows
    compare("padded", results, (spread(want[0], 16, 0), spread(want[1], 1, -math.inf), spread(want[2], 1, -math.inf)),
            (2, 4, 4, 16))


def test_types():
    q, k, v, cu_q, cu_kv = batch(6, [4], [9], dim_v=24)
    for dtype in ("f16", "bf16"):
        def stored(tensor):
            return [[[rounded(x, dtype) for x in row] for row in token] for token in tensor]
        want = attention(stored(q), stored(k), stored(v), cu_q, cu_kv, allows=causal)
        compare(f"converted to {dtype}, D 16, Dv 24",
                attend("--q", save(q), "--k", save(k), "--v", save(v), "--q-dtype", dtype, "--kv-dtype", dtype,
                       "--causal")[0], want, (4, 4, 24))
    half = [[[[rounded(x, "f16") for x in row] for row in token] for token in t] for t in (q, k, v)]
    files = ["--q", save(half[0], "f2"), "--k", save(half[1], "f2"), "--v", save(half[2], "f2")]
    results = attend(*files, "--out-dtype", "f16")[0]
    compare("f2 files, f16 out", results, attention(*half, cu_q, cu_kv), limit=4e-4)
    for x in results[0][1]:
        assert rounded(x, "f16") == x, f"{x} is no f16"
    results = attend(*files, "--out-dtype", "bf16")[0]
    for x in results[0][1]:
        assert rounded(x, "bf16") == x, f"{x} is no bf16"
    bits = [b"".join(struct.pack("<H", bf16_bits(x)) for x in flat(t)) for t in (q, k, v)]
    model = save_raw(safetensors_bytes({"a.q": ("BF16", (4, 4, 16), bits[0]), "a:k": ("BF16", (9, 2, 16), bits[1]),
                                        "v": ("BF16", (9, 2, 24), bits[2])}), "safetensors")
    bf = [[[[rounded(x, "bf16") for x in row] for row in token] for token in t] for t in (q, k, v)]
    compare("safetensors", attend("--q", f"{model}:a.q", "--k", f"{model}:a:k", "--v", f"{model}:v")[0],
            attention(*bf, cu_q, cu_kv))


def test_pools():
    nan = float("nan")
    q, k, v, cu_q, cu_kv = batch(7, [2, 1, 1], [6, 4, 0])
    size, tables = 4, [[5, 1], [3], []]
    want = attention(q, k, v, cu_q, cu_kv, allows=causal)

    def pool(tensor):
        pages = [[[[nan] * 16 for _ in range(2)] for _ in range(size)] for _ in range(7)]
        for b, pages_of in enumerate(tables):
            for j in range(cu_kv[b + 1] - cu_kv[b]):
                pages[pages_of[j // size]][j % size] = tensor[cu_kv[b] + j]
        return pages
    common = ["--q", save(q), "--cu-q", save(cu_q, "i4"), "--causal",
              "--page-indptr", save([0, 2, 3, 3], "u4"), "--page-indices", save([5, 1, 3], "i4"),
              "--last-page-len", save([2, 4, 0], "u4")]
    k_pool, v_pool = pool(k), pool(v)
    compare("raw pool", attend(*common, "--k-pool", save(k_pool), "--v-pool", save(v_pool))[0], want)
    compare("raw pool, hnd",
            attend(*common, "--kv-layout", "hnd", "--k-pool", save([transpose(page) for page in k_pool]),
                   "--v-pool", save([transpose(page) for page in v_pool]))[0], want)
    both = [[[row for h in range(2) for row in (kt[h], vt[h])] for kt, vt in zip(kp, vp)]
            for kp, vp in zip(k_pool, v_pool)]
    compare("raw pool, interleaved", attend(*common, "--kv-layout", "interleaved", "--k-pool", save(both))[0], want)


def test_logits():
    q, k, v, cu_q, cu_kv = batch(8, [5], [9])
    numbers = Numbers(80)
    files = ["--q", save(q), "--k", save(k), "--v", save(v)]
    slopes, sinks = [0.5, 0.25, 0.125, 0.0625], numbers.array(4)
    bias = numbers.array(4, 5, 9)
    bias[1][2][3] = bias[0][0][0] = -math.inf
    bias[2][1] = [-math.inf] * 9
    cases = [
        ("scale", ["--scale", "0.5"], {"scale": 0.5}),
        ("negative scale", ["--scale", "-0.25"], {"scale": -0.25}),
        ("softcap", ["--softcap", "2"], {"softcap": 2}),
        ("alibi", ["--alibi", save(slopes), "--causal"], {"slopes": slopes, "allows": causal}),
        ("sinks", ["--sinks", save(sinks)], {"sinks": sinks}),
        ("bias per head", ["--bias", save(bias)], {"bias": bias}),
        ("bias shared", ["--bias", save(bias[0])], {"bias": [bias[0]] * 4}),
        ("unnormalised", ["--unnormalised"], {"unnormalised": True}),
        ("unnormalised, sinks", ["--unnormalised", "--sinks", save(sinks)], {"unnormalised": True, "sinks": sinks}),
        ("fixed maximum", ["--max-logit-const", "1.5"], {"max_const": 1.5}),
        ("all of it", ["--scale", "0.4", "--softcap", "3", "--alibi", save(slopes), "--bias", save(bias), "--sinks",
                       save(sinks), "--causal"],
         {"scale": 0.4, "softcap": 3, "slopes": slopes, "bias": bias, "sinks": sinks, "allows": causal}),
    ]
    for name, arguments, terms in cases:
        compare(name, attend(*files, *arguments)[0], attention(q, k, v, cu_q, cu_kv, **terms))
    halves = [[[rounded(x, "f16") for x in row] for row in head] for head in bias]
    compare("bias f2", attend(*files, "--bias", save(halves, "f2"))[0],
            attention(q, k, v, cu_q, cu_kv, bias=halves))


def test_masks():
    q, k, v, cu_q, cu_kv = batch(9, [6, 3], [12, 7])
    prefix = [5, 2]
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--cu-q", save(cu_q, "i4"), "--cu-kv", save(cu_kv, "i4")]
    cases = [
        ("full", ["--mask", "full"], lambda b, h, p, j: True),
        ("window", ["--window", "3,1"], lambda b, h, p, j: p - 3 <= j <= p + 1),
        ("window, open", ["--window", "2,-1"], lambda b, h, p, j: p - 2 <= j),
        ("sliding window", ["--causal", "--window", "3,0"], lambda b, h, p, j: p - 3 <= j <= p),
        ("chunked", ["--mask", "causal & chunked(4)"], lambda b, h, p, j: j <= p and j // 4 == p // 4),
        ("prefix", ["--mask", "prefix", "--prefix", save(prefix, "i4")], lambda b, h, p, j: j < prefix[b]),
        ("sink tokens", ["--mask", "sink_tokens(3)", "--causal"], lambda b, h, p, j: j < 3 and j <= p),
        ("joined", ["--mask", "(window(4, -1) & causal)", "--causal", "--window", "-1,0"],
         lambda b, h, p, j: p - 4 <= j <= p),
    ]
    for name, arguments, allows in cases:
        compare(name, attend(*files, *arguments)[0], attention(q, k, v, cu_q, cu_kv, allows=allows))


def test_positions():
    q, k, v, cu_q, cu_kv = batch(10, [4, 2], [9, 5])
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--cu-q", save(cu_q, "i4"), "--cu-kv", save(cu_kv, "i4"),
             "--causal"]
    scattered = [8, 2, 5, -1, 4, 0]
    compare("q_pos0", attend(*files, "--q-pos0", save([2, 1], "i4"))[0],
            attention(q, k, v, cu_q, cu_kv, allows=causal, q_pos=[2, 3, 4, 5, 1, 2]))
    compare("q_pos", attend(*files, "--q-pos", save(scattered, "i4"))[0],
            attention(q, k, v, cu_q, cu_kv, allows=causal, q_pos=scattered))
    compare("kv_pos0", attend(*files, "--kv-pos0", save([3, -2], "i4"), "--q-pos0", save([6, 0], "i4"))[0],
            attention(q, k, v, cu_q, cu_kv, allows=causal, q_pos=[6, 7, 8, 9, 0, 1], kv_pos0=[3, -2]))


def test_empty():
    q, k, v, cu_q, cu_kv = batch(11, [0], [3])
    (shape, out), (_, lse), _ = attend("--q", save([], shape=(0, 4, 16)), "--k", save(k), "--v", save(v))[0]
    assert tuple(shape) == (0, 4, 16) and out == [] and lse == []
    q, _, _, cu_q, _ = batch(11, [2], [0])
    none = save([], shape=(0, 2, 16))
    (_, out), (_, lse), (_, maxima) = attend("--q", save(q), "--k", none, "--v", none)[0]
    assert out == [0] * 128 and lse == [-math.inf] * 8 and maxima == [-math.inf] * 8
    sinks = [0.5, -1.0, 2.0, 0.0]
    (_, out), (_, lse), _ = attend("--q", save(q), "--k", none, "--v", none, "--sinks", save(sinks))[0]
    assert out == [0] * 128 and max(abs(x - y) for x, y in zip(lse, sinks * 2)) <= 1e-6, lse
    print("ok empty sequences")


def test_check():
    q, k, v, cu_q, cu_kv = batch(12, [3], [8])
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--causal", "--check"]
    want = attention(q, k, v, cu_q, cu_kv, allows=causal)
    results, stdout = attend(*files)
    compare("--check", results, want)
    assert "check:" in stdout and ": ok" in stdout, stdout
    # Exit 5 still writes what was computed: it is there to be looked at.
    results, stdout = attend(*files, "--check-limit", "1e-30", expect=5)
    compare("--check-limit", results, want)
    assert "FAILED" in stdout, stdout
    _, stdout = attend(*files, "--repeat", 5, "--warmup", 1, "--json")
    report = json.loads(stdout)
    assert report["repeats"] == 5 and report["check"]["ok"] is True and report["median_seconds"] > 0, report
    assert report["least_seconds"] <= report["median_seconds"] <= report["most_seconds"], report
    if WHERE == "device":
        # The three rows see 6, 7 and 8 keys.
        assert report["pairs"] == 21 and report["flops"] == 4 * 16 * 21 * 4, report
        assert report["path"] in ("portable", "cpu") and report["kernels"]["prefill"], report
    print("ok --json")


def test_paths():
    q, k, v, cu_q, cu_kv = batch(13, [3], [8])
    files = ["--q", save(q), "--k", save(k), "--v", save(v)]
    for path in ("coopmat", "coopmat2"):
        code, stdout, stderr = run(RAPT, "attend", *files, "--path", path)
        assert code == 3 and stderr.count("\n") == 1 and path in stderr and not stdout, (code, stdout, stderr)
    code, _, stderr = run(RAPT, "attend", *files, "--device", "no such device")
    assert code == 3 and stderr.count("\n") == 1, (code, stderr)
    for knob, value in (("--block-q", 65535), ("--block-kv", 3)):
        code, _, stderr = run(RAPT, "attend", *files, knob, value)
        assert code == 2 and stderr.count("\n") == 1, (knob, code, stderr)
    compare("portable", attend(*files, "--path", "portable")[0], attention(q, k, v, cu_q, cu_kv))
    first, second = attend(*files)[0], attend(*files)[0]
    assert first == second, "two runs differ"
    print("ok paths")


run_tests(globals(), device_only=("test_paths",))
