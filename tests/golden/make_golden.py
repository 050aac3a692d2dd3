#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: attention computed by PyTorch in float64, an implementation that shares nothing
with this library. Writes cases/NAME.golden beside this file; see README.md for how and with what.

Every case is computed from the definition with plain tensor operations. Where PyTorch's own
scaled_dot_product_attention can express it, that must agree first, or no file is written."""
import math
import pathlib
import re
import sys
from decimal import Decimal, getcontext

import torch
import torch.nn.functional as F

from golden_masks import Arrays, Sequence

FOLDER = pathlib.Path(__file__).resolve().parent / "cases"
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
INF = math.inf
getcontext().prec = 60
TWO_PI = 2 * Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640629")


def allowed(case, b, at_q, at_kv, pos, key, prefix):
    """Boolean [heads, queries, keys]."""
    texts = [case.mask_heads.get(h, case.mask) for h in range(case.heads)]
    return torch.stack([Sequence(case.arrays, b, h, at_q, at_kv, pos, key, prefix).expression(text)
                        for h, text in enumerate(texts)])


def f32(x):
    """A number as the library's float parameters hold it."""
    return float(torch.tensor(x, dtype=torch.float32))


class Case:
    """Defaults of a case; keywords replace them. Lengths are per sequence."""

    def __init__(self, name, **changes):
        self.name = name
        self.heads, self.kv_heads, self.dim, self.dim_v = 2, 1, 16, None
        self.q_len, self.kv_len = [5], [9]
        self.q_given = self.kv_given = "f32"  # how the arrays are stored
        self.q_type = self.kv_type = None  # what they are rounded to first
        self.mask, self.prefix = "full", None
        self.mask_heads, self.by_head, self.arrays = {}, False, None
        self.scale, self.softcap = 0.0, 0.0
        self.alibi = self.sinks = self.unnormalised = False
        self.bias, self.bias_per_head, self.bias_lowest = None, False, False
        self.q_pos0 = self.q_pos = self.kv_pos0 = None
        self.page_size = 0
        self.scale_kind, self.scale_type, self.static = None, None, None  # of int8 and fp8_e4m3
        self.rope = None  # pairing, and what Rope takes
        self.rope_pos = self.rope_kv_pos = None
        self.data, self.sink_values = "normal", None
        for key, value in changes.items():
            if not hasattr(self, key):
                raise AttributeError(key)
            setattr(self, key, value)
        self.dim_v = self.dim_v or self.dim
        self.rope = Rope(self.dim, **self.rope) if self.rope else None


class Rope:
    """Rotary embedding as its papers have it: RoFormer (Su et al. 2021) in both pairings, Llama 3.1's
    stretched frequencies, YaRN (Peng et al. 2023) with its temperature."""

    def __init__(self, head_dim, pairing, dim=None, offset=0, theta=10000.0, factor=1.0, llama3=None,
                 yarn=None, table=False):
        self.pairing, self.dim, self.offset = pairing, dim or head_dim, offset
        self.theta, self.factor, self.llama3, self.yarn, self.table = theta, factor, llama3, yarn, table
        half = self.dim // 2
        # Far from the origin doubles have no angle left, so frequencies are decimal.
        self.exact = [Decimal(theta) ** (Decimal(-2 * i) / self.dim) for i in range(half)]
        self.frequencies = torch.tensor([float(f) for f in self.exact], dtype=torch.float64)
        self.scale = None
        if llama3:
            stretch, low, high, context = llama3
            waves = context * self.frequencies / (2 * math.pi)  # in the original context
            blend = ((waves - low) / (high - low)).clamp(0, 1)
            self.scale = ((1 - blend) / stretch + blend).float()
        if yarn:
            stretch, context, fast, slow = yarn
            dim_of = [self.dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))
                      for turns in (fast, slow)]
            first, last = max(math.floor(dim_of[0]), 0), min(math.ceil(dim_of[1]), self.dim - 1)
            ramp = ((torch.arange(half, dtype=torch.float64) - first) / (last - first)).clamp(0, 1)
            self.scale = (ramp / stretch + 1 - ramp).float()
            self.factor = f32(0.1 * math.log(stretch) + 1)
        if self.scale is not None:
            self.exact = [f * Decimal(x) for f, x in zip(self.exact, self.scale.tolist())]
        self.rows = None
        if table:  # any numbers: cosines and sines of nothing
            self.rows = torch.randn(table, self.dim, generator=torch.Generator().manual_seed(9)).float()

    def __call__(self, x, positions):
        """x [tokens, heads, dim] in float64, rotated."""
        half = self.dim // 2
        if self.table:
            cos, sin = self.rows[positions].to(torch.float64).split(half, dim=1)
        else:
            angles = torch.tensor([[float(p * f % TWO_PI) for f in self.exact]
                                   for p in positions.tolist()], dtype=torch.float64)
            cos, sin = torch.cos(angles) * self.factor, torch.sin(angles) * self.factor
        cos, sin = cos[:, None], sin[:, None]
        x, part = x.clone(), x[..., self.offset:self.offset + self.dim]
        if self.pairing == "neox":
            x0, x1 = part[..., :half], part[..., half:]
            turned = torch.cat([x0 * cos - x1 * sin, x1 * cos + x0 * sin], dim=-1)
        else:
            x0, x1 = part[..., 0::2], part[..., 1::2]
            turned = torch.stack([x0 * cos - x1 * sin, x1 * cos + x0 * sin], dim=-1).flatten(-2)
        x[..., self.offset:self.offset + self.dim] = turned
        return x


def quantized(case, x, static):
    """f32 [tokens, heads, dim] as a quantized cache holds it, read back."""
    kind = case.kv_type
    if kind in ("int8", "fp8_e4m3"):
        limit = 127 if kind == "int8" else 448
        axes = (1, 2) if case.scale_kind == "token" else 2
        scale = static[None, :, None] if static is not None else x.abs().amax(axes, keepdim=True) / limit
        scale = scale.to(TYPES[case.scale_type or "f32"]).float()
        codes = (x / scale).clamp(-limit, limit)
        codes = codes.round() if kind == "int8" else codes.to(torch.float8_e4m3fn).float()
        return codes * scale
    groups = x.unflatten(2, (-1, 32))
    if kind == "int4":
        scale = (groups.abs().amax(3, keepdim=True) / 7).half().float()
        return ((groups / scale).round().clamp(-7, 7) * scale).flatten(2)
    if kind == "q8_0":
        d = groups.abs().amax(3, keepdim=True) / 127
        codes = (groups * (1 / d)).double()
        codes = torch.copysign((codes.abs() + 0.5).floor(), codes).float()
        return (codes * d.half().float()).flatten(2)
    d = groups.gather(3, groups.abs().argmax(3, keepdim=True)) / -8
    codes = ((groups * (1 / d)) + 8.5).trunc().clamp(max=15) - 8
    return (codes * d.half().float()).flatten(2)


def values(case, generator, n_tokens, n_heads, dim, what):
    x = torch.randn(n_tokens, n_heads, dim, generator=generator, dtype=torch.float64)
    if case.data == "equal keys" and what == "k" and n_tokens:
        x[:] = x[:1]
    if case.data == "dominant" and what == "k" and n_tokens > 3:
        x[3] *= 12
    if case.data == "offset" and what == "k":
        x += 30
    if case.data == "limit" and what == "v":
        x = torch.sign(x) * 65504
    if case.data == "denormal" and what == "v":
        x *= 2.0 ** -20
    return x


def tensors(case, generator):
    """Stored q, k, v and the float64 values the device works on."""
    stored, exact = {}, {}
    for what, lengths, heads, dim, given, kept in (
            ("q", case.q_len, case.heads, case.dim, case.q_given, case.q_type),
            ("k", case.kv_len, case.kv_heads, case.dim, case.kv_given, case.kv_type),
            ("v", case.kv_len, case.kv_heads, case.dim_v, case.kv_given, case.kv_type)):
        x = values(case, generator, sum(lengths), heads, dim, what).to(TYPES[given])
        stored[what] = x
        if kept in TYPES:
            x = x.to(TYPES[kept])
        exact[what] = x.to(torch.float64)
    return stored, exact


def positions(case):
    """Of the queries and of the keys, all sequences one after the other."""
    q, k, at = [], [], 0
    for b, (n_q, n_kv) in enumerate(zip(case.q_len, case.kv_len)):
        key0 = case.kv_pos0[b] if case.kv_pos0 else 0
        pos = (case.q_pos0[b] if case.q_pos0 else key0 + n_kv - n_q) + torch.arange(n_q)
        q.append(torch.tensor(case.q_pos[at:at + n_q]) if case.q_pos else pos)
        k.append(key0 + torch.arange(n_kv))
        at += n_q
    return torch.cat(q), torch.cat(k)


def store(case, stored, exact):
    """Rotates, then quantizes. Keys of a page pool are rotated in it."""
    statics = {}
    if case.rope:
        q_pos, k_pos = positions(case)
        if case.rope_pos:
            q_pos = torch.tensor(case.rope_pos)
        if case.rope_kv_pos:
            k_pos = torch.tensor(case.rope_kv_pos)
        exact["q"] = case.rope(exact["q"], q_pos)
        exact["k"] = case.rope(exact["k"], k_pos).float().to(torch.float64)
        if case.page_size:
            stored["k"] = exact["k"].float()
    for what in ("k", "v"):
        if case.scale_kind == "static":
            statics[what] = torch.tensor(case.static[what]).float()
        if case.kv_type and case.kv_type not in TYPES:
            exact[what] = quantized(case, exact[what].float(), statics.get(what)).to(torch.float64)
    return statics


def biases(case, generator):
    """Per sequence [heads or 1, queries, keys]; some forbid, some are merely very negative."""
    result = []
    for n_q, n_kv in zip(case.q_len, case.kv_len):
        x = torch.randn(case.heads if case.bias_per_head else 1, n_q, n_kv, generator=generator,
                        dtype=torch.float64)
        chance = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        x[chance < 0.2] = -INF
        if n_q > 2:
            x[:, 2, :] = -INF  # a row without keys
        if case.bias_lowest:
            x[chance > 0.9] = torch.finfo(TYPES[case.bias]).min
            x[:, 1, :] = torch.finfo(TYPES[case.bias]).min  # not forbidden, all of it
        result.append(x.to(TYPES[case.bias]))
    return result


def attention(case, q, k, v, pos, key, seen, slopes, sinks, bias):
    """One sequence: q [queries, heads, dim] and so on, float64. Returns o, lse, max_logit."""
    group = case.heads // case.kv_heads
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scale = f32(case.scale) if case.scale else case.dim ** -0.5
    s = torch.einsum("ihd,jhd->hij", q, k) * scale
    if case.softcap:
        cap = f32(case.softcap)
        s = cap * torch.tanh(s / cap)
    if slopes is not None:
        s = s + slopes.to(torch.float64)[:, None, None] * (key[None, :] - pos[:, None])
    if bias is not None:
        s = s + bias.to(torch.float64)
    s = s.masked_fill(~seen, -INF)
    none = torch.full((case.heads, len(pos), 1), -INF, dtype=torch.float64)
    max_logit = torch.cat([s, none], dim=2).amax(dim=2)
    if sinks is not None:  # one more column whose value is zero
        none = sinks.to(torch.float64)[:, None, None].expand(case.heads, len(pos), 1)
    s = torch.cat([s, none], dim=2)
    v = torch.cat([v, torch.zeros(1, case.heads, case.dim_v, dtype=torch.float64)])
    lse = torch.logsumexp(s, dim=2)
    weights = torch.nan_to_num(torch.softmax(s, dim=2), nan=0.0)  # NaN: a row without any column
    if case.unnormalised:
        weights = torch.nan_to_num(torch.exp(s - s.amax(dim=2, keepdim=True)), nan=0.0)
    o = torch.einsum("hij,jhd->ihd", weights, v)
    return o, lse.T, max_logit.T


def second_opinion(case, q, k, v, pos, key, seen, slopes, bias, o):
    """scaled_dot_product_attention, where it has the features; its rows without keys are NaN."""
    if case.softcap or case.sinks or case.unnormalised or not len(key) or not len(pos):
        return False
    add = torch.zeros(case.heads, len(pos), len(key), dtype=torch.float64)
    if slopes is not None:
        add += slopes.to(torch.float64)[:, None, None] * (key[None, :] - pos[:, None])
    if bias is not None:
        add += bias.to(torch.float64)
    add = add.masked_fill(~seen, -INF)
    theirs = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None],
        attn_mask=add[None], scale=f32(case.scale) if case.scale else None, enable_gqa=True)
    theirs = torch.nan_to_num(theirs[0].transpose(0, 1), nan=0.0)
    difference = (theirs - o).abs().max() / o.abs().max().clamp(min=1e-300)
    if difference > 1e-12:
        sys.exit(f"{case.name}: scaled_dot_product_attention is {difference:.3g} off")
    return True


def pages(case, generator, stored):
    """Puts packed k and v into a pool with NaN wherever no token lies."""
    size, indptr, last = case.page_size, [0], []
    for n in case.kv_len:
        indptr.append(indptr[-1] + -(-n // size))
        last.append((n - 1) % size + 1 if n else 0)
    n_pool = indptr[-1] + 2
    indices = torch.randperm(n_pool, generator=generator)[:indptr[-1]].tolist()
    for what in ("k", "v"):
        packed, at = stored[what], 0
        pool = torch.full((n_pool, size) + packed.shape[1:], math.nan, dtype=packed.dtype)
        for b, n in enumerate(case.kv_len):
            for j in range(n):
                pool[indices[indptr[b] + j // size], j % size] = packed[at + j]
            at += n
        stored[what] = pool
    return n_pool, indptr, indices, last


def raw(x, kind):
    """Little-endian bytes."""
    if kind in ("f16", "bf16"):
        return x.contiguous().view(torch.int16).numpy().astype("<i2").tobytes()
    return x.numpy().astype({"f32": "<f4", "f64": "<f8", "i32": "<i4", "u64": "<u8",
                              "u8": "u1"}[kind]).tobytes()


def make(case, seed):
    generator = torch.Generator().manual_seed(seed)
    stored, exact = tensors(case, generator)
    statics = store(case, stored, exact)
    all_q, all_k = positions(case)
    slopes = sinks = None
    if case.alibi:
        slopes = torch.tensor([2.0 ** (-8 * (h + 1) / case.heads) for h in range(case.heads)]).float()
    if case.sinks:
        sinks = torch.tensor(case.sink_values or
                             torch.randn(case.heads, generator=generator).tolist()).float()
    bias = biases(case, generator) if case.bias else None
    masks = " ".join([case.mask, *case.mask_heads.values()])
    case.arrays = Arrays(masks, case.q_len, case.kv_len, case.heads, (all_q, all_k), generator,
                         case.by_head)
    outputs, at_q, at_kv, agreed = ([], [], []), 0, 0, 0
    for b, (n_q, n_kv) in enumerate(zip(case.q_len, case.kv_len)):
        pos, key = all_q[at_q:at_q + n_q], all_k[at_kv:at_kv + n_kv]
        seen = allowed(case, b, at_q, at_kv, pos, key, case.prefix[b] if case.prefix else 0)
        part = [exact[w][a:a + n] for w, a, n in
                (("q", at_q, n_q), ("k", at_kv, n_kv), ("v", at_kv, n_kv))]
        own_bias = bias[b] if bias else None
        results = attention(case, *part, pos, key, seen, slopes, sinks, own_bias)
        agreed += second_opinion(case, *part, pos, key, seen, slopes, own_bias, results[0])
        for output, result in zip(outputs, results):
            output.append(result)
        at_q, at_kv = at_q + n_q, at_kv + n_kv
    arrays = [("o", "f64", torch.cat(outputs[0])), ("lse", "f64", torch.cat(outputs[1])),
              ("max_logit", "f64", torch.cat(outputs[2]))]
    assert not any(torch.isnan(a[2]).any() for a in arrays), case.name

    def add(name, kind, data):
        if data is not None:
            data = data if torch.is_tensor(data) else torch.tensor(data, dtype=torch.int64)
            arrays.append((name, kind, data))

    def cumulative(lengths):
        return [sum(lengths[:b]) for b in range(len(lengths) + 1)]

    numbers = {"n_seqs": len(case.q_len), "n_q_heads": case.heads, "n_kv_heads": case.kv_heads,
               "head_dim": case.dim, "head_dim_v": case.dim_v, "scale": f32(case.scale).hex(),
               "softcap": f32(case.softcap).hex(), "unnormalised": int(case.unnormalised)}
    add("cu_q", "i32", cumulative(case.q_len))
    if case.page_size:
        n_pool, indptr, indices, last = pages(case, generator, stored)
        numbers |= {"page_size": case.page_size, "n_pool_pages": n_pool}
        add("page_indptr", "i32", indptr)
        add("page_indices", "i32", indices)
        add("last_page_len", "i32", last)
    else:
        add("cu_kv", "i32", cumulative(case.kv_len))
    for name in ("q_pos0", "q_pos", "kv_pos0", "prefix"):
        add(name, "i32", getattr(case, name))
    for name, kind, data in case.arrays.out:
        add(name, kind, data)
    numbers |= case.arrays.numbers
    add("slopes", "f32", slopes)
    add("sinks", "f32", sinks)
    if bias and case.bias_per_head:  # one pair of strides for all sequences: padded
        shape = (len(bias), case.heads, max(case.q_len), max(case.kv_len))
        padded = torch.full(shape, math.nan, dtype=TYPES[case.bias])
        for b, x in enumerate(bias):
            padded[b, :, :x.shape[1], :x.shape[2]] = x
        numbers |= {"bias_row_stride": shape[3], "bias_head_stride": shape[2] * shape[3]}
        add("bias", case.bias, padded)
        add("bias_offsets", "u64", [b * shape[1] * shape[2] * shape[3] for b in range(shape[0])])
    elif bias:  # one behind the other, rows of kv_len
        add("bias", case.bias, torch.cat([x.flatten() for x in bias]))
        add("bias_offsets", "u64", cumulative([x.numel() for x in bias])[:-1])
    for what, scale in statics.items():
        add(what + "_scale", "f32", scale)
    if case.rope:
        add("frequency_scale", "f32", case.rope.scale)
        add("rope_table", "f32", case.rope.rows)
        add("rope_pos", "i32", case.rope_pos)
        add("k_rope_pos", "i32", case.rope_kv_pos)
    add("q", case.q_given, stored["q"])
    add("k", case.kv_given, stored["k"])
    add("v", case.kv_given, stored["v"])
    write(case, numbers, arrays)
    return agreed


def write(case, numbers, arrays):
    lines = ["rapt golden 1"] + [f"{key} {value}" for key, value in numbers.items()]
    lines.append("mask " + case.mask)
    lines += [f"mask_head {h} {text}" for h, text in case.mask_heads.items()]
    for key in ("q_type", "kv_type", "scale_kind", "scale_type"):
        if getattr(case, key):
            lines.append(f"{key} {getattr(case, key)}")
    if case.rope:
        rope = case.rope
        lines += [f"rope {rope.pairing}", f"rope_dim {rope.dim}", f"rope_offset {rope.offset}",
                  f"rope_theta {f32(rope.theta).hex()}", f"rope_factor {f32(rope.factor).hex()}"]
        for key in ("llama3", "yarn"):
            if getattr(rope, key):
                lines.append(f"rope_{key} " + " ".join(map(str, getattr(rope, key))))
    lines += [f"array {name} {kind} {x.numel()}" for name, kind, x in arrays] + ["end", ""]
    text = "\n".join(lines)
    text = text[:-1] + " " * (-len(text) % 8) + "\n"
    data = text.encode()
    for _, kind, x in arrays:
        data += raw(x, kind)
        data += b"\0" * (-len(data) % 8)
    (FOLDER / f"{case.name}.golden").write_bytes(data)


def cases():
    for dim in (8, 24, 40, 64, 72, 96, 128, 160, 256, 576):
        yield Case(f"dim_{dim}", dim=dim, q_len=[3], kv_len=[11], q_given="f16", kv_given="f16",
                   mask="causal")
    yield Case("mla_576_512", dim=576, dim_v=512, heads=4, q_len=[2], kv_len=[9], kv_given="bf16",
               q_given="bf16", mask="causal")
    yield Case("mla_192_128", dim=192, dim_v=128, heads=2, kv_heads=2, q_len=[7], kv_len=[7],
               q_given="f16", kv_given="f16", mask="causal")
    yield Case("dim_v_larger", dim=16, dim_v=80)
    yield Case("mha", heads=3, kv_heads=3, q_len=[9], kv_len=[20])
    yield Case("gqa_8_2", heads=8, kv_heads=2, q_len=[6], kv_len=[20], mask="causal")
    yield Case("mqa_7_1", heads=7, kv_heads=1, q_len=[4], kv_len=[18])
    yield Case("f16", q_given="f16", kv_given="f16", q_len=[20], kv_len=[40], mask="causal")
    yield Case("bf16", q_given="bf16", kv_given="bf16", q_len=[20], kv_len=[40], mask="causal")
    yield Case("mixed_types", q_given="f32", kv_given="bf16", q_len=[4], kv_len=[17])
    yield Case("rounded_f16", q_type="f16", kv_type="f16", q_len=[4], kv_len=[17])
    yield Case("rounded_bf16", q_type="bf16", kv_type="bf16", q_len=[4], kv_len=[17])
    yield Case("prefill_70", q_len=[70], kv_len=[70], mask="causal", q_given="f16", kv_given="f16")
    yield Case("more_queries_than_keys", q_len=[12], kv_len=[5], mask="causal")
    yield Case("window", q_len=[30], kv_len=[30], mask="causal & window(7, 0)")
    yield Case("window_both", q_len=[30], kv_len=[41], mask="window(3, 5)")
    yield Case("window_left_open", q_len=[9], kv_len=[41], mask="window(-1, 2)")
    yield Case("chunked", q_len=[30], kv_len=[30], mask="causal & chunked(8)")
    yield Case("chunked_7", q_len=[11], kv_len=[38], mask="chunked(7)", kv_pos0=[-9])
    yield Case("prefix", q_len=[10, 10], kv_len=[20, 24], mask="prefix", prefix=[6, 17])
    yield Case("prefix_empty", q_len=[3, 2], kv_len=[20, 4], mask="prefix", prefix=[0, 100])
    yield Case("sink_tokens", q_len=[20], kv_len=[20], mask="causal & sink_tokens(4)")
    yield Case("all_leaves", q_len=[25], kv_len=[25], prefix=[17],
               mask="causal & window(9, 0) & chunked(16) & prefix & sink_tokens(20) & full")
    yield Case("decode_long", heads=8, kv_heads=2, dim=64, q_len=[1], kv_len=[600], q_given="f16",
               kv_given="f16", mask="causal")
    yield Case("scale", scale=0.7, q_len=[6], kv_len=[20])
    yield Case("scale_negative", scale=-0.25, q_len=[6], kv_len=[20], mask="causal")
    yield Case("logits_10000", scale=2500.0, q_len=[6], kv_len=[20])
    yield Case("softcap_50", softcap=50.0, scale=5.0, q_len=[9], kv_len=[20], mask="causal")
    yield Case("gemma2", heads=4, kv_heads=2, dim=32, softcap=30.0, scale=4.0, q_len=[12, 1],
               kv_len=[20, 33], mask="causal & window(8, 0)", q_given="bf16", kv_given="bf16")
    yield Case("gpt_oss", heads=8, kv_heads=2, dim=64, sinks=True, q_len=[9, 1], kv_len=[9, 30],
               mask="causal & window(7, 0)", q_given="bf16", kv_given="bf16")
    yield Case("sinks", heads=4, kv_heads=2, sinks=True, q_len=[6], kv_len=[13], mask="causal",
               sink_values=[5.0, -3.0, -INF, 20.0])
    yield Case("alibi", heads=8, kv_heads=4, alibi=True, q_len=[12], kv_len=[30], mask="causal")
    yield Case("alibi_full", heads=3, kv_heads=3, alibi=True, q_len=[12], kv_len=[30])
    yield Case("bias_f32", bias="f32", q_len=[6, 4], kv_len=[13, 20])
    yield Case("bias_lowest_f32", bias="f32", bias_lowest=True, q_len=[6, 4], kv_len=[13, 20])
    yield Case("bias_lowest_f16", bias="f16", bias_lowest=True, q_len=[6, 4], kv_len=[13, 20])
    yield Case("bias_f16_heads", heads=4, kv_heads=2, bias="f16", bias_per_head=True, q_len=[6, 4],
               kv_len=[13, 20], mask="causal")
    yield Case("bias_softcap_alibi", heads=4, kv_heads=2, bias="f32", bias_per_head=True, alibi=True,
               softcap=3.0, q_len=[6], kv_len=[19], mask="causal & window(12, 0)")
    yield Case("no_keys", q_len=[3, 2], kv_len=[0, 6])
    yield Case("no_keys_sinks", sinks=True, q_len=[3, 2], kv_len=[0, 6], mask="sink_tokens(0)")
    yield Case("no_queries", q_len=[0, 4, 0], kv_len=[7, 9, 0])
    yield Case("ragged", heads=4, kv_heads=2, q_len=[1, 17, 0, 5, 1], kv_len=[33, 17, 8, 40, 1],
               q_given="f16", kv_given="f16", mask="causal")
    yield Case("kv_pos0", q_len=[5, 4], kv_len=[9, 12], kv_pos0=[100, -6],
               mask="causal & window(6, 0)")
    yield Case("q_pos0", q_len=[5, 4], kv_len=[19, 12], q_pos0=[3, -2], mask="causal", alibi=True)
    yield Case("q_pos_any_order", q_len=[6, 3], kv_len=[20, 9], mask="causal & window(10, 0)",
               q_pos=[19, 0, 7, 7, -4, 12, 8, 30, 2])
    yield Case("second_cache", q_len=[4], kv_len=[12], kv_pos0=[50], q_pos0=[55], mask="causal")
    yield Case("unnormalised", unnormalised=True, q_len=[5], kv_len=[14], mask="causal")
    yield Case("unnormalised_sinks", unnormalised=True, sinks=True, q_len=[5], kv_len=[14],
               sink_values=[9.0, -2.0])
    yield Case("pages_1", heads=4, kv_heads=2, page_size=1, q_len=[5, 1], kv_len=[13, 20],
               mask="causal")
    yield Case("pages_16", heads=4, kv_heads=2, dim=64, page_size=16, q_len=[5, 1, 2],
               kv_len=[32, 45, 0], q_given="f16", kv_given="f16", mask="causal")
    yield Case("pages_64", heads=4, kv_heads=4, dim=32, page_size=64, q_len=[9], kv_len=[70],
               q_given="bf16", kv_given="bf16", mask="causal & window(40, 0)", softcap=20.0,
               sinks=True)
    yield Case("equal_keys", data="equal keys", q_len=[4], kv_len=[50], mask="causal")
    yield Case("dominant_key", data="dominant", q_len=[4], kv_len=[50])
    yield Case("offset_keys", data="offset", q_len=[4], kv_len=[30])
    yield Case("f16_limit", data="limit", q_given="f16", kv_given="f16", q_len=[4], kv_len=[30])
    yield Case("f16_denormals", data="denormal", q_given="f16", kv_given="f16", q_len=[4],
               kv_len=[30])
    ragged = {"heads": 4, "kv_heads": 2, "q_len": [5, 1], "kv_len": [9, 21], "mask": "causal"}
    for kind in ("int8", "fp8_e4m3", "int4", "q8_0", "q4_0"):
        yield Case(f"kv_{kind}", **ragged, dim=64, dim_v=32, kv_type=kind)
        yield Case(f"kv_{kind}_pages", **ragged, dim=32, kv_given="f16", kv_type=kind, page_size=8)
    yield Case("kv_int8_token", **ragged, dim=40, kv_type="int8", scale_kind="token")
    yield Case("kv_int8_static", **ragged, dim=24, kv_type="int8", scale_kind="static",
               static={"k": [0.02, 0.03], "v": [0.025]})
    yield Case("kv_fp8_static_f16", **ragged, dim=24, kv_type="fp8_e4m3", scale_kind="static",
               scale_type="f16", static={"k": [0.01], "v": [0.005, 0.02]})
    yield Case("kv_int8_f16_scales", **ragged, dim=48, kv_type="int8", scale_type="f16", page_size=16)
    yield Case("rope_neox", **ragged, dim=64, rope={"pairing": "neox"})
    yield Case("rope_gptj", **ragged, dim=32, rope={"pairing": "gptj", "theta": 500000.0}, q_given="f16")
    yield Case("rope_partial", **ragged, dim=48, rope={"pairing": "neox", "dim": 20, "offset": 22})
    yield Case("rope_mla", heads=4, kv_heads=1, dim=96, dim_v=64, q_len=[3], kv_len=[20], mask="causal",
               rope={"pairing": "gptj", "dim": 32, "offset": 64})
    yield Case("rope_llama3", **ragged, dim=64, kv_pos0=[3000, 90000],
               rope={"pairing": "neox", "theta": 500000.0, "llama3": (8, 1, 4, 2048)})
    yield Case("rope_yarn", **ragged, dim=64, kv_pos0=[3000, 90000],
               rope={"pairing": "gptj", "yarn": (4, 1024, 32, 1)})
    yield Case("rope_table", **ragged, dim=32, rope={"pairing": "neox", "dim": 16, "table": 40})
    yield Case("rope_positions", heads=4, kv_heads=2, q_len=[4], kv_len=[12], mask="causal",
               rope={"pairing": "gptj", "factor": 1.5}, rope_pos=[7, 1000000, -5, 0],
               rope_kv_pos=[3 * j - 10 for j in range(12)])
    yield Case("rope_pool", **ragged, dim=32, rope={"pairing": "neox"}, page_size=16)
    yield Case("rope_pool_yarn", **ragged, dim=64, kv_pos0=[3000, 90000], page_size=4,
               rope={"pairing": "gptj", "yarn": (4, 1024, 16, 2)})
    yield Case("rope_pool_far", **ragged, dim=64, kv_pos0=[1000000, 20000000], page_size=4,
               rope={"pairing": "neox"})
    yield Case("rope_pool_int8", **ragged, dim=32, rope={"pairing": "gptj"}, page_size=16,
               kv_type="int8")
    yield from mask_cases()


def mask_cases():
    """No interval of keys: block tables. Lengths cross a block of 64."""
    shape = {"heads": 4, "kv_heads": 2, "q_len": [70, 1, 9], "kv_len": [70, 150, 20]}
    for name, mask in (("window_or_sinks", "causal & (window(20, 0) | sink_tokens(3))"),
                       ("not", "!causal & !window(5, 5)"), ("segments", "causal & segments"),
                       ("bidirectional", "causal | bidirectional"), ("dilated", "dilated(9, 4)"),
                       ("bitmap", "bitmap"), ("blocks", "blocks & causal"), ("tree", "tree"),
                       ("any", "(tree & !bitmap | blocks & segments) & !(dilated(5, 2) | chunked(3))"),
                       ("nothing", "!full")):
        yield Case(f"mask_{name}", **shape, mask=mask)
    yield Case("mask_prefix_or_causal", **shape, mask="causal | prefix", prefix=[30, 149, 0], sinks=True)
    yield Case("mask_by_head", **shape, mask="causal",
               mask_heads={1: "window(9, 9)", 2: "!causal", 3: "sink_tokens(4) | chunked(16)"})
    yield Case("mask_bitmap_by_head", **shape, mask="bitmap | blocks", by_head=True)
    yield Case("mask_positions", heads=2, q_len=[12], kv_len=[90], kv_pos0=[-7], page_size=16, kv_given="f16",
               mask="(causal | bidirectional) & !window(2, 0)",
               q_pos=[82, 0, 40, 40, -3, 71, 12, 13, 14, 15, 60, 500])


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.golden"):
        old.unlink()
    agreed = n = 0
    for n, case in enumerate(cases(), 1):
        agreed += make(case, 1000 + n) > 0
    print(f"PyTorch {torch.__version__}: {n} cases, {agreed} of them also by "
          "scaled_dot_product_attention")


if __name__ == "__main__":
    main()
