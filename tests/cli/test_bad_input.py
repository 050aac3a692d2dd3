#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_bad_input.py RAPT: every wrong input is answered with exit 2, one line on stderr and no file.

All of it on the host reference, so that no device is needed: what is wrong must be found before one is.
"""
import json
import os
import struct
import sys

sys.dont_write_bytecode = True
from command import npy_bytes, run, safetensors_bytes
from refusing import ALWAYS, GOOD, RAPT, attend, finish, put, refused, table, tensor

# The call everything below changes must itself be good.
code, _, stderr = run(RAPT, "attend", *[word for pair in GOOD.items() for word in pair], *ALWAYS)
assert code == 0, stderr
os.remove("out.npy"), os.remove("lse.npy")

# --- options
attend("unknown", r"unknown option '--nonsense'", "--nonsense")
attend("unknown prefix", r"unknown option '--caus'", "--caus")
attend("positional", r"unexpected argument 'q2.npy'", "q2.npy")
attend("single dash", r"unexpected argument '-q'", "-q")
attend("given twice", r"--causal is given twice", "--causal", "--causal")
attend("value given twice", r"--scale is given twice", "--scale", "1", "--scale", "1")
attend("no value", r"--mask needs a value", "--mask")
attend("option as value", r"--mask needs a value", "--mask", "--causal")
attend("empty value", r"--mask: the value is empty", "--mask=")
attend("value for a flag", r"--causal takes no value", "--causal=yes")
attend("missing --q", r"--q is missing", q=None)
attend("missing --k", r"--k is missing", k=None)
attend("missing --v", r"--v is missing", v=None)
refused("one file for two outputs", r"--out and --lse name the same file", "--q", "q.npy", "--k", "k.npy", "--v",
        "v.npy", "--out", "o.npy", "--lse", "o.npy")
refused("output in no folder", r"--out none/o.npy: cannot be written", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy",
        "--path", "reference", "--out", "none/o.npy")
refused("an output fails after another", r"--lse none/l.npy: cannot be written", "--q", "q.npy", "--k", "k.npy", "--v",
        "v.npy", "--path", "reference", "--out", "o.npy", "--lse", "none/l.npy")

# --- numbers
for option in ("--scale", "--softcap", "--max-logit-const"):
    for value in ("nan", "inf", "-inf", "1e999", "1e39", "x", "1x", " 1", "0x10", "1,5", "--"):
        attend("junk number", rf"{option}(: '.*' is not a finite number| needs a value)", option, value)
attend("zero scale", r"--scale: 0", "--scale", "0")
attend("zero softcap", r"--softcap: '0'", "--softcap", "0")
attend("negative softcap", r"--softcap: '-1'", "--softcap", "-1")
for option in ("--splits", "--fixed-split", "--block-q", "--block-kv", "--slices", "--repeat"):
    for value in ("0", "-1", "1.5", "x", "1x", "", "99999999999999999999", "4611686018427387904"):
        attend("junk count", rf"{option}: ", f"{option}={value}")
attend("junk warmup", r"--warmup: ", "--warmup", "-1")
for value in ("3", "3,", "3,x", "x,3", "3,4,5", "3 4", "9999999999,0", "-2,0", "0,-2"):
    attend("junk window", r"window", "--window", value)
attend("--check-limit alone", r"--check-limit needs --check", "--check-limit", "1")
attend("negative --check-limit", r"--check-limit: '-1'", "--check", "--check-limit", "-1")
attend("NaN --check-limit", r"--check-limit: 'nan'", "--check", "--check-limit", "nan")

# --- words
for option, value in (("--layout", "bdsh"), ("--path", "fast"), ("--q-dtype", "f64"), ("--out-dtype", "int8"),
                      ("--kv-dtype", "f8"), ("--disable", "f16,warp")):
    if option == "--path":
        refused("junk word", rf"{option}: '{value}'", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", option, value)
    else:
        attend("junk word", rf"{option}: .*'?(warp|{value})'?", option, value)

# --- later work
refused("later", r"gmm is not in this build yet", command="gmm")

# --- files
attend("no such file", r"--q none.npy: cannot be opened", q="none.npy")
attend("no such file with a colon", r"--q none.st:x: cannot be opened", q="none.st:x")
attend("a folder", r"--q .: not an .npy file", q=".")
attend("empty file", r"not an .npy file", q=put("empty.npy", b""))
attend("no .npy", r"not an .npy file", q=put("text.npy", b"hello world, this is text"))
good = npy_bytes([0.5] * (6 * 4 * 16), "f4", (6, 4, 16))
for length in (7, 9, 20, 100, 128, 129, len(good) - 1):
    attend("truncated", r"truncated", q=put("short.npy", good[:length]))
attend("trailing junk", r"bytes behind", q=put("long.npy", good + b"\0"))
attend("Fortran order", r"Fortran order", q=tensor("fortran.npy", 6, 4, 16, order="True"))
attend("big endian", r"big endian", q=tensor("big.npy", 6, 4, 16, descr=">f4"))
for dtype in ("f8", "i8", "i4", "u1", "b1"):
    attend("wrong dtype", r"expected f4", q=tensor("wrong.npy", 6, 4, 16, dtype=dtype, value=1))
for descr in ("<c8", "|O", "|V4", "<U3", "f4", "", "<f4 "):
    attend("wrong descr", r"elements are|plain elements", q=tensor("descr.npy", 6, 4, 16, descr=descr))
for version, minor in ((0, 0), (4, 0), (1, 1)):
    attend("unknown version", r"\.npy version", q=put("ver.npy", good[:6] + bytes([version, minor]) + good[8:]))
HEADERS = ["", "{", "{}", "[]", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4, 16)",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4, 16)} x",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4, -16)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4 16)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': 384}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (384)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,6,4,16)}",
           "{'descr': '<f4', 'fortran_order': 0, 'shape': (6, 4, 16)}",
           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6, 4, 16)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4, 16), 'more': 1}",
           "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6, 4, 16)}",
           "{'descr': '<f4, 'fortran_order': False, 'shape': (6, 4, 16)}",
           b"{'descr': '<f4', \0'fortran_order': False, 'shape': (6, 4, 16)}"]
for header in HEADERS:
    attend("junk header", r"header is not", q=put("header.npy", npy_bytes([0.5] * 384, "f4", header=header)))
attend("huge header", r"header claims", q=put("huge.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 99))
for shape in ((2**62,), (2**31, 2**31, 16), (2**62, 4, 16), (0, 2**62, 16), (2**63, 2, 1), (10**30, 1, 1)):
    attend("absurd shape", r"absurdly large", q=put("absurd.npy", npy_bytes([], "f4", shape)))
attend("large shape, short file", r"truncated", q=put("sparse.npy", npy_bytes([1.0], "f4", (2**31, 64, 128))))

# --- safetensors
raw = struct.pack("<384f", *[0.5] * 384)
attend("no such tensor", r"no tensor of that name",
       q=put("a.safetensors", safetensors_bytes({"q": ("F32", (6, 4, 16), raw)})) + ":k")
attend("metadata is no tensor", r"no tensor of that name", q="a.safetensors:__metadata__")
attend("no name", r"not an .npy file", q="a.safetensors")
attend("empty name", r"no tensor of that name", q="a.safetensors:")
BAD_TENSORS = [
    ("F64", [6, 4, 16], [0, 3072], "not read"),
    ("I32", [6, 4, 16], [0, 1536], "expected f4"),
    (None, [6, 4, 16], [0, 1536], "not read"),
    ("F32", [6, 4, 16], [0, 1535], "data_offsets"),
    ("F32", [6, 4, 16], [1536, 0], "data_offsets"),
    ("F32", [6, 4, 16], [-1, 1535], "data_offsets"),
    ("F32", [6, 4, 16], [0.5, 1536.5], "data_offsets"),
    ("F32", [6, 4, 16], [0], "data_offsets"),
    ("F32", [6, 4, 16], "0", "data_offsets"),
    ("F32", [6, 4, 16], [1000, 2536], "truncated"),
    ("F32", [6, 4, 16], [2**53, 2**53 + 1536], "data_offsets|truncated"),
    ("F32", [6, 4, -16], [0, 1536], "shape"),
    ("F32", [6.5, 4, 16], [0, 1536], "shape"),
    ("F32", "6", [0, 1536], "shape"),
    ("F32", [1] * 9, [0, 4], "shape"),
    ("F32", [2**52, 2**52], [0, 1536], "absurdly large"),
    ("F32", [2**62, 4], [0, 1536], "shape"),
]
for dtype, shape, offsets, pattern in BAD_TENSORS:
    text = json.dumps({"q": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    attend("bad tensor", pattern, q=put("bad.safetensors", struct.pack("<Q", len(text)) + text + raw) + ":q")
for text in (b"", b"{", b"[]", b"nonsense", b'{"q": 3}', b"[" * 100000):
    attend("bad safetensors header", r"safetensors|no tensor",
           q=put("bad.safetensors", struct.pack("<Q", len(text)) + text) + ":q")
attend("huge safetensors header", r"no safetensors", q=put("bad.safetensors", struct.pack("<Q", 2**62) + raw) + ":q")
attend("truncated safetensors header", r"truncated", q=put("bad.safetensors", struct.pack("<Q", 99999) + raw) + ":q")

# --- shapes
attend("one axis", r"shape \[6\]", q=tensor("r1.npy", 6))
attend("no axis", r"shape \[\]", q=tensor("r0.npy"))
attend("five axes", r"expected \[total,H,D\]", q=tensor("r5.npy", 1, 1, 6, 4, 16))
attend("bhsd of three axes", r"expected \[B,H,T,D\]", "--layout", "bhsd")
attend("no heads", r"only the number of tokens", q=tensor("h0.npy", 6, 0, 16))
attend("no dims", r"only the number of tokens", q=tensor("d0.npy", 6, 4, 0))
attend("no batch", r"only the number of tokens", q=tensor("b0.npy", 0, 6, 4, 16))
attend("heads not divisible", r"heads", q=tensor("h3.npy", 6, 3, 16))
attend("head dims differ", r"--q has head dim 24, --k 16", q=tensor("d24.npy", 6, 4, 24))
for dim in (4, 12, 15, 584):
    attend("impossible head dim", rf"{dim}", q=tensor("qd.npy", 6, 4, dim), k=tensor("kd.npy", 10, 2, dim),
           v=tensor("vd.npy", 10, 2, dim))
attend("impossible head dim of V", r"584", v=tensor("vd.npy", 10, 2, 584))
attend("K and V differ in tokens", r"only the last axis", v=tensor("v9.npy", 9, 2, 16))
attend("K and V differ in heads", r"only the last axis", v=tensor("vh.npy", 10, 4, 16))
attend("batches differ", r"--q has 2 sequences, --k has 3", q=tensor("q4.npy", 2, 3, 4, 16), k=tensor("k4.npy", 3, 5, 2, 16),
       v=tensor("v4.npy", 3, 5, 2, 16))

# --- lengths and positions
attend("cu of two axes", r"expected \[B\+1\]", "--cu-q", table("cu.npy", [0, 6], shape=(1, 2)))
attend("cu of one entry", r"1 to 65535 sequences", "--cu-q", table("cu.npy", [0]))
attend("empty cu", r"1 to 65535 sequences", "--cu-q", table("cu.npy", []))
attend("cu of floats", r"expected i4", "--cu-q", table("cu.npy", [0.0, 6.0], "f4"))
attend("cu of 64 bits", r"expected i4", "--cu-q", table("cu.npy", [0, 6], "i8"))
attend("cu does not begin at 0", r"cu_q", "--cu-q", table("cu.npy", [1, 6]))
attend("cu decreases", r"cu_q", "--cu-q", table("cu.npy", [0, 5, 3, 6]), "--cu-kv", table("cukv.npy", [0, 3, 6, 10]))
attend("cu negative", r"cu_q", "--cu-q", table("cu.npy", [0, -1]))
attend("cu huge", r"cu_q|--cu-q", "--cu-q", table("cu.npy", [0, 2**31 - 1]))
attend("cu_q beyond q", r"--cu-q ends with 7 tokens, --q has 6", "--cu-q", table("cu.npy", [0, 7]))
attend("cu_kv beyond k", r"--cu-kv ends with 11 tokens, --k has 10", "--cu-kv", table("cu.npy", [0, 11]))
attend("batches of cu differ", r"--cu-q has 2 sequences, --cu-kv has 1", "--cu-q", table("cu.npy", [0, 3, 6]),
       "--cu-kv", table("cukv.npy", [0, 10]))
attend("tokens not divisible", r"--k has 10 tokens for 3 sequences", "--cu-q", table("cu.npy", [0, 2, 4, 6]))
attend("padded too short", r"sequence 1 has 4 tokens, --q has room for 3", "--cu-q", table("cu.npy", [0, 2, 6]),
       q=tensor("q4.npy", 2, 3, 4, 16))
attend("q_pos0 length", r"--q has 1 sequence, --q-pos0 has 2", "--q-pos0", table("p.npy", [0, 1]))
attend("q_pos length", r"one position per query", "--q-pos", table("p.npy", [0, 1, 2]))
attend("q_pos twice", r"exclude", "--q-pos", table("p.npy", [0] * 6), "--q-pos0", table("p0.npy", [0]))
attend("positions too large", r"q_pos", "--q-pos0", table("p.npy", [2**30]))
attend("positions too small", r"q_pos", "--q-pos", table("p.npy", [0, 0, 0, 0, 0, -(2**30)]))
attend("kv_pos0 length", r"--q has 1 sequence, --kv-pos0 has 2", "--kv-pos0", table("p.npy", [0, 1]))

# --- logits
attend("slopes length", r"one number per query head", "--alibi", tensor("s.npy", 3))
attend("slopes shape", r"one number per query head", "--alibi", tensor("s.npy", 1, 4))
attend("slopes dtype", r"expected f4", "--alibi", tensor("s.npy", 4, dtype="f2"))
attend("slopes NaN", r"slopes", "--alibi", tensor("s.npy", 4, value=float("nan")))
attend("sinks length", r"one number per query head", "--sinks", tensor("s.npy", 5))
attend("sinks NaN", r"sinks", "--sinks", tensor("s.npy", 4, value=float("nan")))
attend("bias shape", r"expected \[6, 10\] or \[4, 6, 10\]", "--bias", tensor("bias.npy", 10, 6))
attend("bias heads", r"expected \[6, 10\] or \[4, 6, 10\]", "--bias", tensor("bias.npy", 2, 6, 10))
attend("bias axes", r"expected \[6, 10\] or", "--bias", tensor("bias.npy", 60))
attend("bias dtype", r"expected f4 or f2", "--bias", tensor("bias.npy", 6, 10, dtype="i4", value=1))
attend("bias of two sequences", r"--bias is for one sequence", "--bias", tensor("bias.npy", 6, 10), "--cu-q",
       table("cu.npy", [0, 3, 6]))

# --- pages
for value in ("0", "3", "512", "x"):
    attend("page size", r"--page-size", "--page-size", value)
attend("page order", r"--page-order: 'random'", "--page-size", "4", "--page-order", "random")
attend("page order alone", r"--page-order needs --page-size", "--page-order", "linear")
attend("kv layout", r"--kv-layout: 'dhn'", "--page-size", "4", "--kv-layout", "dhn")
attend("kv layout alone", r"--kv-layout needs", "--kv-layout", "hnd")
attend("interleaved, Dv differs", r"interleaved", "--page-size", "4", "--kv-layout", "interleaved",
       v=tensor("v24.npy", 10, 2, 24))
POOL = {"k": None, "v": None, "k_pool": tensor("kp.npy", 5, 4, 2, 16), "v_pool": tensor("vp.npy", 5, 4, 2, 16),
        "page_indptr": table("indptr.npy", [0, 3], "u4"), "page_indices": table("indices.npy", [4, 0, 2], "u4"),
        "last_page_len": table("last.npy", [2], "u4")}
for name in ("k_pool", "v_pool", "page_indptr", "page_indices", "last_page_len"):
    attend("pool incomplete", r"needs|is missing", **{**POOL, name: None})
attend("pool and tensor", r"exclude", **{**POOL, "k": "k.npy"})
attend("pool and cu", r"exclude", "--cu-kv", table("cu.npy", [0, 10]), **POOL)
attend("pool and append", r"--append and --k-pool exclude", "--append", **POOL)
attend("pool and order", r"exclude|needs", "--page-size", "4", "--page-order", "linear", **POOL)
attend("page size differs", r"--page-size is 8", "--page-size", "8", **POOL)
attend("pool axes", r"four axes", **{**POOL, "k_pool": tensor("bad.npy", 5, 4, 32)})
attend("pools differ", r"only the last axis", **{**POOL, "v_pool": tensor("bad.npy", 4, 4, 2, 16)})
attend("pool page size", r"power of two", **{**POOL, "k_pool": tensor("bad.npy", 5, 3, 2, 16)})
attend("empty pool", r"may be 0", **{**POOL, "k_pool": tensor("bad.npy", 0, 4, 2, 16)})
attend("pool head dim", r"--k-pool 24", **{**POOL, "k_pool": tensor("bad.npy", 5, 4, 2, 24)})
attend("interleaved odd heads", r"even number of heads", "--kv-layout", "interleaved",
       **{**POOL, "v_pool": None, "k_pool": tensor("bad.npy", 5, 4, 3, 16)})
attend("interleaved v_pool", r"interleaved pool", "--kv-layout", "interleaved", **POOL)
attend("page outside the pool", r"page_indices", **{**POOL, "page_indices": table("bad.npy", [4, 0, 5], "u4")})
attend("negative page", r"page_indices", **{**POOL, "page_indices": table("bad.npy", [4, 0, -1], "i4")})
attend("indptr beyond indices", r"page_indptr\[1\] is 4", **{**POOL, "page_indptr": table("bad.npy", [0, 4], "u4")})
attend("indptr begins", r"page_indptr", **{**POOL, "page_indptr": table("bad.npy", [1, 3], "u4")})
attend("indptr decreases", r"page_indptr", "--cu-q", table("cu.npy", [0, 3, 6]),
       **{**POOL, "page_indptr": table("bad.npy", [0, 3, 2], "u4"), "last_page_len": table("last2.npy", [1, 1], "u4")})
for value in (0, 5, 2**31):
    attend("last page length", r"last_page_len", **{**POOL, "last_page_len": table("bad.npy", [value], "u4")})
attend("last page of no pages", r"last_page_len", "--cu-q", table("cu.npy", [0, 6, 6]),
       **{**POOL, "page_indptr": table("bad.npy", [0, 3, 3], "u4"), "last_page_len": table("last2.npy", [2, 1], "u4")})
attend("indices of two axes", r"one axis", **{**POOL, "page_indices": table("bad.npy", [4, 0, 2], "u4", (1, 3))})
attend("table of floats", r"expected i4 or u4", **{**POOL, "page_indices": table("bad.npy", [4, 0, 2], "f4")})

# --- quantized keys and values
INT8 = ["--kv-dtype", "int8"]
for kind in ("int4", "q8_0", "q4_0"):
    attend("16 dims in groups of 32", rf"head_dim is 16: kv_type {kind} needs a multiple of 32", "--kv-dtype", kind)
attend("48 dims of V in groups of 32", r"head_dim_v is 48", "--kv-dtype", "int4", q=tensor("q32.npy", 6, 4, 32),
       k=tensor("k32.npy", 10, 2, 32), v=tensor("v48.npy", 10, 2, 48))
for option, value in (("--k-scale", "s.npy"), ("--v-scale", "s.npy"), ("--scale-dtype", "f16"), ("--scale-per", "head")):
    for kind in ("f16", "q8_0", "int4"):
        attend("scales of a kind without", rf"{option} needs --kv-dtype int8 or fp8_e4m3", "--kv-dtype", kind, option,
               value)
    attend("scales of no kind", rf"{option} needs --kv-dtype", option, value)
attend("k_scale alone", r"--k-scale needs --v-scale", *INT8, "--k-scale", tensor("s1.npy", 1))
attend("v_scale alone", r"--v-scale needs --k-scale", *INT8, "--v-scale", "s1.npy")
for shape in ((3,), (4,), (1, 2), (0,), ()):
    attend("scale shape", r"--k-scale .* expected \[1\], or one number per K/V head, \[2\]", *INT8, "--k-scale",
           tensor("bad.npy", *shape), "--v-scale", "s1.npy")
attend("scale dtype", r"expected f4", *INT8, "--k-scale", tensor("bad.npy", 2, dtype="f2"), "--v-scale", "s1.npy")
for value in (0, -1, float("nan"), float("inf"), 1e-40):
    attend("scale value", r"v_scale\[0\] is .*: expected a finite number above 0", *INT8, "--k-scale", "s1.npy",
           "--v-scale", tensor("bad.npy", 2, value=value))
attend("scale beyond f16", r"k_scale\[0\] is 70000: .*f16 can hold", *INT8, "--scale-dtype", "f16", "--k-scale",
       tensor("bad.npy", 1, value=70000), "--v-scale", "s1.npy")
attend("--scale-dtype", r"--scale-dtype: 'bf16' is none of f32, f16", *INT8, "--scale-dtype", "bf16")
attend("--scale-per", r"--scale-per: 'page' is none of head, token", *INT8, "--scale-per", "page")
attend("one fp8 scale per token", r"--scale-per token needs --kv-dtype int8", "--kv-dtype", "fp8_e4m3", "--scale-per",
       "token")
attend("two kinds of scales", r"exclude", *INT8, "--scale-per", "head", "--k-scale", "s1.npy", "--v-scale", "s1.npy")
attend("--integer-dot", r"--integer-dot: 'yes' is none of auto, never, always", *INT8, "--integer-dot", "yes")
for kind in ("f16", "fp8_e4m3", "int4", "q4_0"):
    attend("integer dots of floats", r"--integer-dot always needs --kv-dtype int8 or q8_0", "--kv-dtype", kind,
           "--integer-dot", "always")

# --- rotary embedding
NEOX = ["--rope", "neox"]
attend("pairing", r"--rope: 'llama' is none of neox, gptj", "--rope", "llama")
for option, value in (("--rope-theta", "10000"), ("--rope-dim", "8"), ("--rope-offset", "8"), ("--rope-scale", "s.npy"),
                      ("--rope-factor", "2"), ("--rope-llama3", "8,1,4,8192"), ("--rope-yarn", "4,4096"),
                      ("--rope-table", "t.npy"), ("--rope-pos", "p.npy"), ("--rope-kv-pos", "p.npy")):
    attend("without --rope", rf"{option} needs --rope", option, value)
for value in ("0", "-1"):
    attend("theta", r"--rope-theta: .* is not above 0", *NEOX, "--rope-theta", value)
attend("factor", r"--rope-factor: 0 is no factor", *NEOX, "--rope-factor", "0")
for more in (["--rope-dim", "7"], ["--rope-dim", "18"], ["--rope-offset", "16"], ["--rope-offset", "9"],
             ["--rope-dim", "8", "--rope-offset", "10"]):
    attend("dims", r"--rope-dim is \d+ and --rope-offset \d+: an even number of the head's 16", *NEOX, *more)
attend("no dims", r"--rope-dim: '0' is not a whole number", *NEOX, "--rope-dim", "0")
for value in ("8,1,4", "8,1,4,8192,1", "8,1,4,x", "8,1,4,", ",8,1,4", "8;1;4;8192", "nan,1,4,8192"):
    attend("Llama 3", r"--rope-llama3: .* is not 4 numbers", *NEOX, "--rope-llama3", value)
for value in ("8,4,1,8192", "8,0,4,8192", "0,1,4,8192", "-8,1,4,8192", "8,1,4,0", "8,1,4,1.5", "8,1,4,1e30"):
    attend("Llama 3", r"--rope-llama3: ", *NEOX, "--rope-llama3", value)
for value in ("4", "4,4096,32", "4,4096,32,1,1", "4 4096"):
    attend("YaRN", r"--rope-yarn: .* is not 2 or more numbers", *NEOX, "--rope-yarn", value)
for value in ("0,4096", "4,0", "4,4096,1,32", "4,-1"):
    attend("YaRN", r"--rope-yarn: ", *NEOX, "--rope-yarn", value)
for a, b in (("--rope-llama3=8,1,4,8192", "--rope-yarn=4,4096"), ("--rope-scale=s.npy", "--rope-yarn=4,4096"),
             ("--rope-table=t.npy", "--rope-theta=5"), ("--rope-table=t.npy", "--rope-factor=5"),
             ("--rope-table=t.npy", "--rope-yarn=4,4096")):
    attend("one frequency scale too many", r"exclude", *NEOX, a, b)
attend("scale shape", r"--rope-scale bad.npy has the shape \[16\]: expected \[8\]", *NEOX, "--rope-scale",
       tensor("bad.npy", 16))
attend("scale value", r"rope.frequency_scale\[0\]", *NEOX, "--rope-scale", tensor("bad.npy", 8, value=float("inf")))
for shape in ((10, 8), (16,), (0, 16)):
    attend("table shape", r"--rope-table .* expected \[positions, 16\]", *NEOX, "--rope-table", tensor("bad.npy", *shape))
attend("table too short", r"query 5 is rotated at position 9: rope.table has positions 0 to 8", *NEOX, "--rope-table",
       tensor("bad.npy", 9, 16))
attend("rope_pos length", r"--rope-pos .* one position per query token, \[6\]", *NEOX, "--rope-pos",
       table("p.npy", [0] * 5))
attend("rope_kv_pos length", r"--rope-kv-pos .* one position per key, \[10\]", *NEOX, "--rope-kv-pos",
       table("p.npy", [0] * 9))
attend("rope_pos dtype", r"expected i4", *NEOX, "--rope-pos", table("p.npy", [0] * 6, "i8"))
attend("rope_pos too large", r"query 5 is rotated at position 1073741824", *NEOX, "--rope-pos",
       table("p.npy", [0] * 5 + [2**30]))
attend("keys of a pool", r"--rope-kv-pos and --k-pool exclude", *NEOX, "--rope-kv-pos", "p.npy", **POOL)

# --- the other commands
refused("no command option", r"unknown option '--nope'", "--nope", command="info")
refused("info twice", r"--json is given twice", "--json", "--json", command="info")
refused("check --json", r"--json needs a value", "--json", command="check")
refused("check --json nowhere", r"cannot be written", "--json", "none/x.json", command="check")
refused("check --disable", r"--disable: .*warp", "--disable", "warp", command="check")
refused("demo", r"exclude", "--no-picture", "--out", "x.png", command="demo")
refused("unknown command", r"unknown command 'nonsense'", command="nonsense")
refused("line breaks in an argument stay one line", r"unexpected argument 'a\?b'", "a\nb", command="info")

finish()
