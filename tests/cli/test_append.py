#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_append.py RAPT device: `rapt append` against pools written byte by byte in Python, and its bad input."""
import os
import re
import struct
import sys

sys.dont_write_bytecode = True
from attending import RAPT, folder, run_tests, save
from command import Numbers, read_npy_as, run
from formats import KINDS, encode, f32, rotate_all, scale_of

SIZE, HEADS, PAGES = 4, 2, 7
TABLES = [[5, 1], [3], [0, 6]]  # three sequences of 7, 3 and 5 tokens after the append
LENGTHS, NEW = [7, 3, 5], [3, 3, 1]
DTYPES = {"f32": "f4", "f16": "f2"}


def tables():
    return ["--page-indptr", save([0, 2, 3, 5], "u4"), "--page-indices", save([5, 1, 3, 0, 6], "u4"), "--last-page-len",
            save([3, 3, 1], "u4"), "--cu-new", save([0, 3, 6, 7], "i4")]


def places():
    """(page, slot, position) of each new token."""
    for pages, length, new in zip(TABLES, LENGTHS, NEW):
        for j in range(length - new, length):
            yield pages[j // SIZE], j % SIZE, j


class Pool:
    """[PAGES][SIZE][HEADS] rows of bytes, and scales beside them; everything begins as noise."""

    def __init__(self, seed, row_bytes, n_scales, scale_type, kind):
        numbers = Numbers(seed).random
        self.kind, self.row_bytes, self.n_scales, self.scale_type = kind, row_bytes, n_scales, scale_type
        self.rows = [[[numbers.randbytes(row_bytes) for _ in range(HEADS)] for _ in range(SIZE)]
                     for _ in range(PAGES)]
        if kind in DTYPES:  # as numbers: a NaN's payload might not survive a file
            code = "f" if kind == "f32" else "e"
            dim = row_bytes // struct.calcsize(code)
            self.rows = [[[struct.pack(f"<{dim}{code}", *[float(numbers.randrange(100)) for _ in range(dim)])
                           for _ in range(HEADS)] for _ in range(SIZE)] for _ in range(PAGES)]
        self.scales = [[[float(numbers.randrange(100)) for _ in range(n_scales)] for _ in range(SIZE)]
                       for _ in range(PAGES)]

    def axes(self, layout):
        if layout == "hnd":
            return [[[page[t][h] for t in range(SIZE)] for h in range(HEADS)] for page in self.rows]
        return self.rows

    def file(self, layout, other=None):
        raw = b"".join(row for page in self.axes(layout) for line in page for row in line)
        if other:
            raw = b"".join(a + b for pa, pb in zip(self.rows, other.rows) for la, lb in zip(pa, pb)
                           for a, b in zip(la, lb))
        shape = [PAGES, SIZE, HEADS * (2 if other else 1)]
        if layout == "hnd":
            shape = [PAGES, HEADS, SIZE]
        dtype = DTYPES.get(self.kind, "u1")
        width = {"f4": 4, "f2": 2, "u1": 1}[dtype]
        values = struct.unpack(f"<{len(raw) // width}{ {4: 'f', 2: 'e', 1: 'B'}[width] }", raw)
        return save(values, dtype, (*shape, self.row_bytes // width)), raw

    def scale_file(self, shape):
        return save(self.scales, {"f32": "f4", "f16": "f2"}[self.scale_type], shape)

    def put(self, page, slot, rows, scales):
        self.rows[page][slot] = rows
        if scales:
            self.scales[page][slot] = scales


def token(rows, kind, per_token, static, scale_type):
    """Bytes of each head's row, and the token's scales."""
    scales, raws = [], []
    one = scale_of([x for row in rows for x in row], kind, scale_type) if per_token else None
    for h, row in enumerate(rows):
        given = one if per_token else static[h % len(static)] if static else None
        raw, own, _ = encode(row, kind, scale=given, scale_type=scale_type)
        raws.append(raw)
        scales += own
    return raws, [one] if per_token else scales


def append(name, kind, *more, dim=32, dim_v=64, layout="nhd", scale_type="f32", per_token=False, static=None, rope=None,
           seed=1):
    numbers = Numbers(seed)
    k, v = numbers.array(sum(NEW), HEADS, dim), numbers.array(sum(NEW), HEADS, dim_v)
    out = [os.path.join(folder.name, f"{x}.npy") for x in ("kp", "vp", "ks", "vs")]
    one = layout == "interleaved"
    pools = []
    arguments = ["--k-new", save(k), "--v-new", save(v), *tables(), "--kv-dtype", kind,
                 "--kv-layout", layout, "--check", "--k-pool-out", out[0], *more]
    for i, width in enumerate((dim, dim_v)):
        raw, scales = token([[0.5] * width] * HEADS, kind, per_token, static, scale_type)
        pools.append(Pool(seed + 10 + i, len(raw[0]), len(scales), "f16" if kind == "int4" else scale_type, kind))
    arguments += ["--k-pool", pools[0].file(layout, pools[1] if one else None)[0]]
    if not one:
        arguments += ["--v-pool", pools[1].file(layout)[0], "--v-pool-out", out[1]]
    if pools[0].n_scales:
        for i, (what, width) in enumerate((("k", dim), ("v", dim_v))):
            shape = (PAGES, SIZE) if per_token else (PAGES, SIZE, HEADS)
            shape += (width // 32,) if kind == "int4" else ()
            arguments += [f"--{what}-scale-pool", pools[i].scale_file(shape), f"--{what}-scale-out", out[2 + i]]
    code, stdout, stderr = run(RAPT, "append", *arguments)
    assert code == 0 and ": ok" in stdout, f"{name}: exit {code}: {stdout}{stderr}"
    where = list(places())
    k = rotate_all(k, [p for _, _, p in where], **rope) if rope else k
    for t, (page, slot, _) in enumerate(where):
        for pool, rows in zip(pools, (k, v)):
            pool.put(page, slot, *token(rows[t], kind, per_token, static, scale_type))
    for i in range(1 if one else 2):
        got = read_npy_as(out[i])[2]
        want = pools[i].file(layout, pools[1] if one else None)[1]
        close(name, got, want, kind, exact=not rope or i == 1)
    for i in range(2 if pools[0].n_scales else 0):
        _, numbers_got, _ = read_npy_as(out[2 + i])
        want = [x for page in pools[i].scales for line in page for x in line]
        assert len(numbers_got) == len(want), name
        assert all(x == y or (rope and abs(x - y) < 1e-6) for x, y in zip(numbers_got, want)), f"{name}: scales"
    print(f"ok {name}")


def close(name, got, want, kind, exact):
    """Rotation here is in doubles: a key may be an ulp off, and now and then on the code beside."""
    assert len(got) == len(want), f"{name}: {len(got)} bytes, expected {len(want)}"
    wrong = sum(x != y for x, y in zip(got, want))
    if exact:
        assert wrong == 0, f"{name}: {wrong} bytes of {len(want)} differ"
    elif kind == "f32":
        numbers = [struct.unpack(f"<{len(x) // 4}f", x) for x in (got, want)]
        assert all(abs(x - y) < 1e-5 for x, y in zip(*numbers)), name
    else:
        assert wrong <= len(want) // 200, f"{name}: {wrong} bytes of {len(want)} differ"


def test_kinds():
    for seed, kind in enumerate(("f32", "f16", "bf16", *KINDS)):
        for layout in ("nhd", "hnd"):
            append(f"{kind}, {layout}", kind, layout=layout, seed=seed)
        append(f"{kind}, interleaved", kind, layout="interleaved", dim=64, seed=seed)


def test_scales():
    append("f16 scales", "int8", "--scale-dtype", "f16", scale_type="f16")
    append("fp8, f16 scales", "fp8_e4m3", "--scale-dtype", "f16", scale_type="f16")
    append("one scale per token", "int8", "--scale-per", "token", per_token=True)
    static = [f32(0.02), f32(0.03)]
    append("static scales", "int8", "--k-scale", save(static), "--v-scale", save(static), static=static)
    append("one static scale", "fp8_e4m3", "--k-scale", save(static[:1]), "--v-scale", save(static[:1]),
           static=static[:1])


def test_rope():
    append("neox", "f32", "--rope", "neox", rope={"neox": True})
    append("gptj, partial", "f32", "--rope", "gptj", "--rope-dim", 16, "--rope-offset", 8, "--rope-theta", 500000,
           rope={"neox": False, "dim": 16, "offset": 8, "theta": 500000.0})
    for kind in KINDS:
        append(f"rotated, then {kind}", kind, "--rope", "neox", rope={"neox": True})


def test_new_pool():
    """Zeros but for the new rows; and what it makes, attention reads."""
    k = save(Numbers(3).array(7, HEADS, 16))
    out = os.path.join(folder.name, "new.npy")
    code, stdout, stderr = run(RAPT, "append", "--k-new", k, "--v-new", k, *tables(), "--pages", PAGES, "--page-size", SIZE,
                               "--k-pool-out", out, "--rope", "neox", "--check")
    assert code == 0, stderr
    shape, numbers, _ = read_npy_as(out)
    assert shape == (PAGES, SIZE, HEADS, 16), shape
    taken = {(page, slot) for page, slot, _ in places()}
    for page in range(PAGES):
        for slot in range(SIZE):
            first = (page * SIZE + slot) * HEADS * 16
            assert any(numbers[first:first + HEADS * 16]) == ((page, slot) in taken), (page, slot)
    print("ok new pool")


def test_large_pool():
    """More than the 128 MiB that some drivers bind at once: pages of 1 MiB, bound in pieces of 128."""
    k = save(Numbers(4).array(7, HEADS, 512))
    words = tables()
    words[3] = save([131, 1, 130, 0, 129], "u4")
    code, stdout, stderr = run(RAPT, "append", "--k-new", k, "--v-new", k, *words, "--pages", 132, "--page-size", 256,
                               "--check")
    assert code == 0, stderr
    assert "K 0, V 0" in stdout, stdout
    print("ok large pool")


def refused(pattern, *arguments, drop=()):
    k = save(Numbers(3).array(7, HEADS, 16))
    line = {"--k-new": k, "--v-new": k, "--pages": PAGES, "--page-size": SIZE}
    words = tables()
    line.update(zip(words[0::2], words[1::2]))
    line.update(zip(arguments[0::2], arguments[1::2]))
    given = [w for name, value in line.items() if name not in drop
             for w in ((name,) if value is None else (name, value))]
    before = sorted(os.listdir(folder.name))
    code, stdout, stderr = run(RAPT, "append", *given, "--k-pool-out", os.path.join(folder.name, "never.npy"))
    assert code == 2 and stderr.count("\n") == 1 and not stdout, (pattern, code, stdout, stderr)
    assert re.search(pattern, stderr), (pattern, stderr)
    assert sorted(os.listdir(folder.name)) == before, pattern


def test_bad_input():
    pool = save([0.0] * (PAGES * SIZE * HEADS * 16), "f4", (PAGES, SIZE, HEADS, 16))
    bytes_pool = save([0] * (PAGES * SIZE * HEADS * 16), "u1", (PAGES, SIZE, HEADS, 16))
    refused(r"--k-new is missing", drop=("--k-new",))
    refused(r"--last-page-len is missing", drop=("--last-page-len",))
    refused(r"--k-pool is missing", drop=("--pages",))
    refused(r"--k-pool and --pages exclude", "--k-pool", pool, "--v-pool", pool)
    refused(r"--k-pool needs --v-pool", "--k-pool", pool, drop=("--pages",))
    refused(r"--page-size: 3 is not a power of two", "--page-size", 3)
    refused(r"--page-size is 8, the pages of --k-pool hold 4", "--k-pool", pool, "--v-pool", pool, "--page-size", 8,
            drop=("--pages",))
    refused(r"raw bytes", "--k-pool", bytes_pool, "--v-pool", bytes_pool, drop=("--pages",))
    refused(r"elements are u1, expected f4", "--k-pool", bytes_pool, "--v-pool", bytes_pool, "--kv-dtype", "f32",
            drop=("--pages",))
    refused(r"expected \[7, 4, 2, 32\]", "--k-pool", bytes_pool, "--v-pool", bytes_pool, "--kv-dtype", "bf16",
            drop=("--pages",))
    refused(r"only the last axis", "--v-new", save(Numbers(1).array(6, HEADS, 16)))
    refused(r"they must be of one type", "--v-new", save(Numbers(1).array(7, HEADS, 16), "f2"))
    refused(r"expected \[total,H,D\]", "--k-new", save(Numbers(1).array(7, 32)))
    refused(r"--cu-new ends with 8 tokens, --k-new has 7", "--cu-new", save([0, 3, 6, 8], "i4"))
    refused(r"another batch", "--cu-new", save([0, 7], "i4"))
    refused(r"another batch", "--last-page-len", save([3, 3], "u4"))
    refused(r"--cu-new must say", drop=("--cu-new",))
    refused(r"sequence 1 has 4 new tokens and 3 tokens", "--cu-new", save([0, 2, 6, 7], "i4"))
    refused(r"cu_q", "--cu-new", save([0, 5, 3, 7], "i4"))
    refused(r"page_indices\[1\] is 7: the pool has 7 pages", "--page-indices", save([5, 7, 3, 0, 6], "u4"))
    refused(r"--page-indices has 4 entries", "--page-indices", save([5, 1, 3, 0], "u4"))
    refused(r"last_page_len\[2\] is 5", "--last-page-len", save([3, 3, 5], "u4"))
    refused(r"--kv-dtype: 'int2'", "--kv-dtype", "int2")
    refused(r"head_dim is 16: kv_type q4_0 needs a multiple of 32", "--kv-dtype", "q4_0")
    refused(r"need each other", "--kv-dtype", "int8", "--k-scale", save([1.0]))
    refused(r"static scales are for int8", "--k-scale", save([1.0]), "--v-scale", save([1.0]))
    refused(r"k_scale\[0\] is -1", "--kv-dtype", "int8", "--k-scale", save([-1.0]), "--v-scale", save([1.0]))
    refused(r"one scale per token is for int8", "--kv-dtype", "fp8_e4m3", "--scale-per", "token")
    refused(r"no scales in the pool", "--k-scale-out", os.path.join(folder.name, "never2.npy"))
    refused(r"--kv-layout: 'dnh'", "--kv-layout", "dnh")
    refused(r"--v-pool-out: an interleaved pool", "--kv-layout", "interleaved", "--v-pool-out",
            os.path.join(folder.name, "never2.npy"))
    refused(r"--rope-pos needs --rope", "--rope-pos", save([0] * 7, "i4"))
    refused(r"one position per new token", "--rope", "neox", "--rope-pos", save([0] * 6, "i4"))
    refused(r"--disable: .*warp", "--disable", "warp")
    refused(r"cannot be written", "--v-pool-out", os.path.join(folder.name, "none", "x.npy"))
    print("ok bad input")


run_tests(globals())
