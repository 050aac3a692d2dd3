#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_attend_kv.py RAPT reference|device: quantized keys and values, and rotary embedding, of
`rapt attend` against formats and formulas written out in Python."""
import json
import math
import sys

sys.dont_write_bytecode = True
from attending import WHERE, attend, batch, causal, compare, run_tests, save
from command import Numbers, attention
from formats import KINDS, f32, rotate_all, scale_of, stored, stored_all

# --- the cases

LENGTHS = [5, 0, 1, 3], [40, 4, 33, 3]


def ragged(seed, dim=32, dim_v=None):
    q, k, v, cu_q, cu_kv = batch(seed, *LENGTHS, dim=dim, dim_v=dim_v)
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--cu-q", save(cu_q, "i4"), "--cu-kv", save(cu_kv, "i4"),
             "--causal", "--check"]
    return q, k, v, cu_q, cu_kv, files


def exact():
    """Portable arithmetic, whatever the device could do faster."""
    return ["--integer-dot", "never"]


def test_kinds():
    for seed, kind in enumerate(KINDS):
        q, k, v, cu_q, cu_kv, files = ragged(20 + seed, dim_v=64)
        want = attention(q, stored_all(k, kind), stored_all(v, kind), cu_q, cu_kv, allows=causal)
        files += ["--kv-dtype", kind, *exact()]
        compare(f"{kind}, packed", attend(*files)[0], want)
        compare(f"{kind}, pages of 16", attend(*files, "--page-size", 16)[0], want)
        compare(f"{kind}, appended", attend(*files, "--append", "--page-size", 8)[0], want)
        compare(f"{kind}, pages of 1, hnd", attend(*files, "--page-size", 1, "--kv-layout", "hnd")[0], want)
        q, k, v, cu_q, cu_kv, files = ragged(30 + seed, dim=64)
        want = attention(q, stored_all(k, kind), stored_all(v, kind), cu_q, cu_kv, allows=causal)
        compare(f"{kind}, interleaved", attend(*files, *exact(), "--kv-dtype", kind, "--page-size", 4, "--kv-layout",
                                               "interleaved")[0], want)
        if kind in ("q8_0", "q4_0"):  # rows of 34 and 18 bytes: V's begin at a whole word behind them
            q, k, v, cu_q, cu_kv, files = ragged(90 + seed)
            want = attention(q, stored_all(k, kind), stored_all(v, kind), cu_q, cu_kv, allows=causal)
            for more in ([], ["--append"]):
                compare(f"{kind}, interleaved, odd rows", attend(*files, *exact(), *more, "--kv-dtype", kind,
                                                                 "--page-size", 4, "--kv-layout", "interleaved")[0], want)


def test_padded_and_pools():
    q, k, v, cu_q, cu_kv = batch(40, [2, 1], [6, 3], dim=32)
    nan = float("nan")
    blank = [[nan] * 32] * 2
    want = attention(q, stored_all(k, "int8"), stored_all(v, "int8"), cu_q, cu_kv, allows=causal)

    def padded(tensor):
        return save([tensor[cu_kv[b]:cu_kv[b + 1]] + [blank] * (7 - cu_kv[b + 1] + cu_kv[b])
                     for b in range(2)])
    common = ["--q", save(q), "--cu-q", save(cu_q, "i4"), "--causal", "--kv-dtype", "int8", *exact()]
    compare("int8 of padded rows",
            attend(*common, "--k", padded(k), "--v", padded(v), "--cu-kv", save(cu_kv, "i4"))[0], want)

    def pool(tensor):
        pages = [[blank for _ in range(4)] for _ in range(5)]
        for b, pages_of in enumerate([[4, 0], [2]]):
            for j in range(cu_kv[b + 1] - cu_kv[b]):
                pages[pages_of[j // 4]][j % 4] = tensor[cu_kv[b] + j]
        return save(pages)
    pools = ["--k-pool", pool(k), "--v-pool", pool(v), "--page-indptr", save([0, 2, 3], "u4"), "--page-indices",
             save([4, 0, 2], "u4"), "--last-page-len", save([2, 3], "u4")]
    compare("int8 of a ready pool", attend(*common, *pools)[0], want)
    # A pool's keys are rotated already: only the queries turn.
    positions = [4, 5, 2]
    want = attention(rotate_all(q, positions, neox=True), k, v, cu_q, cu_kv, allows=causal)
    compare("rope over a ready pool",
            attend("--q", save(q), "--cu-q", save(cu_q, "i4"), "--causal", *pools, "--rope", "neox")[0], want)


def test_scales():
    q, k, v, cu_q, cu_kv, files = ragged(50)
    k_scale, v_scale = [f32(0.02), f32(0.03)], [f32(0.025)]
    for kind in ("int8", "fp8_e4m3"):
        def static(tensor, scales):
            return [[stored(row, kind, scale=scales[h % len(scales)]) for h, row in enumerate(token)]
                    for token in tensor]
        want = attention(q, static(k, k_scale), static(v, v_scale), cu_q, cu_kv, allows=causal)
        arguments = [*files, *exact(), "--kv-dtype", kind, "--k-scale", save(k_scale), "--v-scale", save(v_scale)]
        compare(f"{kind}, static scales", attend(*arguments)[0], want)
        compare(f"{kind}, static scales, pages", attend(*arguments, "--page-size", 8)[0], want)
        want = attention(q, stored_all(k, kind, scale_type="f16"), stored_all(v, kind, scale_type="f16"), cu_q, cu_kv,
                         allows=causal)
        compare(f"{kind}, f16 scales",
                attend(*files, *exact(), "--kv-dtype", kind, "--scale-dtype", "f16", "--page-size", 4)[0], want)
    one = [f32(0.03)]
    want = attention(q, stored_all(k, "int8", scale=one[0]), stored_all(v, "int8", scale=one[0]), cu_q, cu_kv,
                     allows=causal)
    compare("int8, one scale for all", attend(*files, *exact(), "--kv-dtype", "int8", "--k-scale", save(one),
                                              "--v-scale", save(one))[0], want)

    def per_token(tensor):
        return [[stored(row, "int8", scale=scale_of([x for r in token for x in r], "int8", "f32")) for row in token]
                for token in tensor]
    want = attention(q, per_token(k), per_token(v), cu_q, cu_kv, allows=causal)
    for more in ([], ["--page-size", "16"]):
        compare("int8, one scale per token", attend(*files, *exact(), "--kv-dtype", "int8", "--scale-per", "token",
                                                    *more)[0], want)


def test_integer_dot():
    """Coarser where the device has it; --check knows by how much."""
    for kind in ("int8", "q8_0"):
        q, k, v, cu_q, cu_kv, files = ragged(60, dim=64)
        for choice in ("auto", "never", "always"):
            arguments = [*files, "--kv-dtype", kind, "--integer-dot", choice, "--json"]
            results, stdout = attend(*arguments)
            report = json.loads(stdout)
            assert report["check"]["ok"], report
            if WHERE == "device" and choice == "never":
                assert report["integer_dot"] is False, report
            want = attention(q, stored_all(k, kind), stored_all(v, kind), cu_q, cu_kv, allows=causal)
            coarse = report.get("integer_dot")
            compare(f"{kind}, integer dot {choice}", results, want, limit=1e-2 if coarse else 5e-6,
                    stat_limit=0.1 if coarse else 2e-5)


def test_rope():
    q, k, v, cu_q, cu_kv, files = ragged(70, dim=64)
    q_pos = [p for b in range(4) for p in range(LENGTHS[1][b] - LENGTHS[0][b], LENGTHS[1][b])]
    k_pos = [p for b in range(4) for p in range(LENGTHS[1][b])]
    numbers = Numbers(71)
    scale = [f32(abs(x)) for x in numbers.array(16)]
    table = numbers.array(40, 32)

    def expect(q_at=q_pos, k_at=k_pos, **how):
        return attention(rotate_all(q, q_at, **how), rotate_all(k, k_at, **how), v, cu_q, cu_kv,
                         allows=causal)
    far_q, far_k = [p + 100000 for p in q_pos], [p * 7 - 50 for p in k_pos]
    cases = [
        ("neox", ["--rope", "neox"], {"neox": True}),
        ("gptj, theta", ["--rope", "gptj", "--rope-theta", "500000"], {"neox": False, "theta": 500000}),
        ("partial", ["--rope", "neox", "--rope-dim", "32", "--rope-offset", "24"],
         {"neox": True, "dim": 32, "offset": 24}),
        ("behind an offset", ["--rope", "gptj", "--rope-offset", "16"], {"neox": False, "dim": 48, "offset": 16}),
        ("scale, factor", ["--rope", "gptj", "--rope-dim", "32", "--rope-scale", save(scale), "--rope-factor", "1.25"],
         {"neox": False, "dim": 32, "scale": scale, "factor": 1.25}),
        ("table", ["--rope", "neox", "--rope-dim", "32", "--rope-table", save(table)],
         {"neox": True, "dim": 32, "table": table}),
        ("positions of their own", ["--rope", "neox", "--rope-pos", save(far_q, "i4"), "--rope-kv-pos",
                                    save(far_k, "i4")], {"neox": True, "q_at": far_q, "k_at": far_k}),
    ]
    for name, arguments, how in cases:
        compare(f"rope: {name}", attend(*files, *arguments)[0], expect(**how))
    for more in (["--page-size", 16], ["--page-size", 2, "--kv-layout", "hnd"],
                 ["--page-size", 4, "--kv-layout", "interleaved"], ["--splits", 3]):
        compare(f"rope: {' '.join(map(str, more))}", attend(*files, "--rope", "neox", *more)[0], expect(neox=True))


def test_rope_with_fewer_keys():
    """Queries that no key belongs to, and keys that the device writes all the same."""
    q, k, v, cu_q, cu_kv = batch(72, [5, 40, 3], [3, 0, 33], dim=64)
    at = [kv - n + i for n, kv in zip((5, 40, 3), (3, 0, 33)) for i in range(n)]
    keys = [j for n in (3, 0, 33) for j in range(n)]
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--cu-q", save(cu_q, "i4"), "--cu-kv", save(cu_kv, "i4")]
    compare("fewer keys, appended", attend(*files, "--append", "--page-size", 4)[0], attention(q, k, v, cu_q, cu_kv))
    want = attention(rotate_all(q, at, neox=True), rotate_all(k, keys, neox=True), v, cu_q, cu_kv,
                     allows=causal)
    for more in ([], ["--page-size", 16]):
        compare("fewer keys, rotated", attend(*files, "--rope", "neox", "--causal", *more)[0], want)


def llama3(dim, theta, factor, low, high, context):
    """Of the published model code: long waves are stretched, short ones stay, between them both are mixed."""
    scales = []
    for i in range(dim // 2):
        wavelength = 2 * math.pi * theta ** (2 * i / dim)
        mix = min(1, max(0, (context / wavelength - low) / (high - low)))
        scales.append(f32((1 - mix) / factor + mix))
    return scales


def yarn(dim, theta, factor, context, fast=32, slow=1):
    def dim_of(turns):
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))
    first, last = max(math.floor(dim_of(fast)), 0), min(math.ceil(dim_of(slow)), dim - 1)
    ramps = [min(1, max(0, (i - first) / (last - first))) for i in range(dim // 2)]
    return [f32(ramp / factor + 1 - ramp) for ramp in ramps], f32(0.1 * math.log(factor) + 1)


def test_many_steps():
    """More keys than one append takes, of sequences that end inside of one."""
    numbers = Numbers(95)
    cu_kv = [0, 255, 256, 700]
    q, k, v = numbers.array(3, 2, 32), numbers.array(700, 1, 32), numbers.array(700, 1, 32)
    positions = [cu_kv[b + 1] - cu_kv[b] - 1 for b in range(3)]
    k_at = [j for b in range(3) for j in range(cu_kv[b + 1] - cu_kv[b])]
    files = ["--q", save(q), "--k", save(k), "--v", save(v), "--cu-q", save([0, 1, 2, 3], "i4"), "--cu-kv",
             save(cu_kv, "i4"), "--check"]
    want = attention(rotate_all(q, positions, neox=True), rotate_all(k, k_at, neox=True), v,
                     [0, 1, 2, 3], cu_kv)
    for more in ([], ["--page-size", "16"], ["--fixed-split", "64"]):
        compare(f"rope in many steps {' '.join(more)}", attend(*files, "--rope", "neox", *more)[0], want)
    want = attention(q, stored_all(k, "int8"), stored_all(v, "int8"), [0, 1, 2, 3], cu_kv)
    compare("int8 in many steps", attend(*files, *exact(), "--kv-dtype", "int8", "--append")[0], want)


def test_long_context_formulas():
    q, k, v, cu_q, cu_kv, files = ragged(80, dim=64)
    at = [p + 3000 for p in range(9)], [p + 2000 for p in range(80)]
    files += ["--rope-pos", save(at[0], "i4"), "--rope-kv-pos", save(at[1], "i4")]

    def expect(**how):
        return attention(rotate_all(q, at[0], **how), rotate_all(k, at[1], **how), v, cu_q, cu_kv,
                         allows=causal)
    scale = llama3(64, 500000.0, 8, 1, 4, 2048)
    assert len(set(scale)) > 3, scale
    compare("Llama 3", attend(*files, "--rope", "neox", "--rope-theta", "500000", "--rope-llama3", "8,1,4,2048")[0],
            expect(neox=True, theta=500000.0, scale=scale))
    scale, factor = yarn(64, 10000.0, 4, 1024)
    assert len(set(scale)) > 3 and factor > 1, (scale, factor)
    compare("YaRN", attend(*files, "--rope", "gptj", "--rope-yarn", "4,1024")[0],
            expect(neox=False, scale=scale, factor=factor))
    scale, _ = yarn(64, 10000.0, 4, 1024, 16, 2)
    compare("YaRN, betas, factor", attend(*files, "--rope", "gptj", "--rope-yarn", "4,1024,16,2", "--rope-factor",
                                          "0.75")[0], expect(neox=False, scale=scale, factor=0.75))


def test_rotated_and_quantized():
    """The order is rotate, then quantize. A key an ulp off may fall on another code, so no file is compared
    here: --check is, which rotates as the device does."""
    _, _, _, _, _, files = ragged(90, dim=64)
    for kind in (*KINDS, "f16", "bf16"):
        _, stdout = attend(*files, *(exact() if kind in ("int8", "q8_0") else []), "--kv-dtype", kind, "--rope",
                           "neox", "--page-size", 16, "--json")
        report = json.loads(stdout)
        assert report["check"]["ok"] and report["check"]["bound"] == 5e-6, report
        if WHERE == "device":
            assert report["kernels"]["append"], report
    print("ok rotated and quantized")


run_tests(globals())
