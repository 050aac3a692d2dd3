# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: running it, .npy files, and attention written out plainly.

Only Python's standard library; the attention below is written from the definition, not from the library.
"""
import json
import math
import os
import random
import struct
import subprocess
import sys
import zlib

SIZES = {"f4": "f", "f2": "e", "i4": "i", "u4": "I", "u1": "B", "b1": "?", "f8": "d", "i8": "q"}


def flat(values):
    """Numbers of nested lists, in C order."""
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from flat(value)
    else:
        yield values


def shape_of(values):
    shape = []
    while isinstance(values, (list, tuple)):
        shape.append(len(values))
        if not values:
            break
        values = values[0]
    return tuple(shape)


def npy_bytes(values, dtype="f4", shape=None, version=1, descr=None, order="False", header=None):
    data = list(flat(values))
    shape = shape_of(values) if shape is None else shape
    if header is None:
        descr = ("|" if dtype in ("u1", "b1") else "<") + dtype if descr is None else descr
        header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape!r}, }}"
    prefix = 10 if version == 1 else 12
    text = header.encode() if isinstance(header, str) else header
    text += b" " * (-(prefix + len(text) + 1) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + struct.pack(f"<{len(data)}{SIZES[dtype]}", *data)


def read_npy(path):
    """(shape, flat numbers) of an f4 .npy file."""
    with open(path, "rb") as file:
        raw = file.read()
    assert raw[:8] == b"\x93NUMPY\x01\x00", f"{path}: not .npy version 1"
    (length,) = struct.unpack("<H", raw[8:10])
    assert (10 + length) % 64 == 0, f"{path}: header not padded to 64 bytes"
    header = eval(raw[10 : 10 + length], {"__builtins__": {}}, {})  # a literal of our own writing
    assert header["descr"] == "<f4" and header["fortran_order"] is False, header
    count = math.prod(header["shape"])
    assert len(raw) == 10 + length + 4 * count, f"{path}: size disagrees with shape {header['shape']}"
    return header["shape"], list(struct.unpack(f"<{count}f", raw[10 + length :]))


def read_npy_as(path):
    """(shape, flat numbers, raw bytes) of an .npy file of any dtype the command writes."""
    with open(path, "rb") as file:
        raw = file.read()
    assert raw[:8] == b"\x93NUMPY\x01\x00", f"{path}: not .npy version 1"
    (length,) = struct.unpack("<H", raw[8:10])
    header = eval(raw[10 : 10 + length], {"__builtins__": {}}, {})  # a literal of our own writing
    dtype, count = header["descr"][1:], math.prod(header["shape"])
    assert header["descr"][0] == ("|" if dtype in ("u1", "b1") else "<"), header
    data = raw[10 + length :]
    return header["shape"], list(struct.unpack(f"<{count}{SIZES[dtype]}", data)), data


def png_rows(path):
    """Rows of an 8-bit RGB PNG."""
    with open(path, "rb") as file:
        raw = file.read()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(raw):
        length, kind = struct.unpack(">I4s", raw[at:at + 8])
        body = raw[at + 8:at + 8 + length]
        assert struct.unpack(">I", raw[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
            assert (depth, color) == (8, 2), (depth, color)
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    data, stride, before = zlib.decompress(data), width * 3, bytearray(width * 3)
    for y in range(height):
        kind, row = data[y * (stride + 1)], bytearray(data[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            a, b, c = row[x - 3] if x > 2 else 0, before[x], before[x - 3] if x > 2 else 0
            if kind == 4:
                p = a + b - c
                a = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[x] = row[x] + (0, a, b, (a + b) // 2, a)[kind] & 255
        before = row
        yield bytes(row)


def bf16_bits(x):
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def rounded(x, dtype):
    """x as a storage type holds it."""
    if dtype == "f16":
        return struct.unpack("<e", struct.pack("<e", x))[0]
    if dtype == "bf16":
        return struct.unpack("<f", struct.pack("<I", bf16_bits(x) << 16))[0]
    return struct.unpack("<f", struct.pack("<f", x))[0]


def safetensors_bytes(tensors, header=None):
    """tensors: {name: (dtype, shape, bytes)}"""
    described, data = {"__metadata__": {"made": "by a test"}}, b""
    for name, (dtype, shape, raw) in tensors.items():
        described[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(described).encode() if header is None else header
    return struct.pack("<Q", len(text)) + text + data


class Numbers:
    """Reproducible arrays as nested lists, already f32."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def array(self, *shape, scale=1.0):
        if not shape:
            return rounded(self.random.gauss(0, scale), "f32")
        return [self.array(*shape[1:], scale=scale) for _ in range(shape[0])]


def attention(q, k, v, cu_q, cu_kv, *, scale=None, softcap=0, slopes=None, bias=None, sinks=None, allows=None,
              q_pos=None, kv_pos0=None, unnormalised=False, max_const=None):
    """q [total][H][D], k, v [total][Hkv][D]: (out, lse, max_logit) as flat lists of [total, H(, D)].

    allows(b, h, P, J); bias[h][p][j]; q_pos: position per row, default: the last query at the last key.
    """
    out, lses, maxima = [], [], []
    head_dim = len(q[0][0]) if q else 0
    scale = 1 / math.sqrt(head_dim) if scale is None and q else scale
    for b in range(len(cu_q) - 1):
        first, n_kv = cu_kv[b], cu_kv[b + 1] - cu_kv[b]
        n_q, pos0 = cu_q[b + 1] - cu_q[b], kv_pos0[b] if kv_pos0 else 0
        for i in range(n_q):
            row = cu_q[b] + i
            position = q_pos[row] if q_pos else n_kv - n_q + pos0 + i
            for h, query in enumerate(q[row]):
                group = len(q[row]) // len(k[0]) if k else 1
                scores = []
                for j in range(n_kv):
                    if allows and not allows(b, h, position, pos0 + j):
                        continue
                    s = scale * math.fsum(x * y for x, y in zip(query, k[first + j][h // group]))
                    if softcap:
                        s = softcap * math.tanh(s / softcap)
                    if slopes:
                        s += slopes[h] * (pos0 + j - position)
                    if bias:
                        s += bias[h][i][j]
                    if s > -math.inf:
                        scores.append((s, v[first + j][h // group]))
                maximum = max((s for s, _ in scores), default=-math.inf)
                top = max(maximum, sinks[h]) if sinks else maximum
                top = max_const if max_const is not None else top
                total = math.fsum(math.exp(s - top) for s, _ in scores)
                total += math.exp(sinks[h] - top) if sinks else 0
                width = len(v[0][0]) if v else head_dim
                divisor = 1 if unnormalised else total
                for d in range(width):
                    weighted = math.fsum(math.exp(s - top) * value[d] for s, value in scores)
                    out.append(weighted / divisor if scores else 0)
                lses.append(top + math.log(total) if total > 0 else -math.inf)
                maxima.append(maximum)
    return out, lses, maxima


def error_of(got, want):
    """(relative Frobenius error, largest difference over largest value); infinities must agree."""
    assert len(got) == len(want), f"{len(got)} numbers, expected {len(want)}"
    difference = norm = largest = largest_want = 0.0
    for i, (x, y) in enumerate(zip(got, want)):
        if math.isinf(y) or math.isnan(x):
            assert x == y, f"number {i} is {x}, expected {y}"
            continue
        difference += (x - y) ** 2
        norm += y * y
        largest, largest_want = max(largest, abs(x - y)), max(largest_want, abs(y))
    if norm == 0:
        return math.sqrt(difference), largest
    return math.sqrt(difference / norm), largest / largest_want


def run(rapt, *arguments, env=None, cwd=None):
    """(exit status, stdout, stderr)"""
    result = subprocess.run([rapt, *map(str, arguments)], capture_output=True, text=True, cwd=cwd,
                            env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
    assert result.returncode >= 0, f"died of signal {-result.returncode}: {arguments}\n{result.stderr}"
    return result.returncode, result.stdout, result.stderr


def require_device(rapt):
    """Ends the test as skipped (or failed, with RAPT_REQUIRE_DEVICE) where there is no Vulkan device."""
    code, _, stderr = run(rapt, "info", "--json")
    if code == 3:
        if os.environ.get("RAPT_REQUIRE_DEVICE", "") not in ("", "0"):
            print(f"FAIL: no Vulkan device, and RAPT_REQUIRE_DEVICE is set: {stderr.strip()}", file=sys.stderr)
            sys.exit(1)
        print(f"SKIP: no Vulkan device: {stderr.strip()}")
        sys.exit(77)
    assert code == 0, f"rapt info: exit {code}: {stderr}"
