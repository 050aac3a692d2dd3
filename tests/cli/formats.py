# SPDX-License-Identifier: Apache-2.0
"""Quantized K/V formats and rotary embedding, written out from their definitions."""
import math
import struct

from command import bf16_bits, rounded

KINDS = ("int8", "fp8_e4m3", "int4", "q8_0", "q4_0")
FP8 = [(8 + m) * 2.0 ** (e - 10) if e else m * 2.0 ** -9 for e in range(16) for m in range(8)][:0x7f]


def f32(x):
    return rounded(x, "f32")


def f16(x):
    return rounded(x, "f16")


def fp8_code(x):
    """Nearest E4M3 number, ties to the even code, saturating."""
    code = min(range(0x7f), key=lambda c: (abs(FP8[c] - abs(x)), c & 1))
    return code | (0x80 if math.copysign(1, x) < 0 else 0)


def fp8_value(code):
    return math.copysign(FP8[code & 0x7f], -1 if code & 0x80 else 1)


def away(x):
    """Nearest whole number, halves away from zero."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def clamp(x, most):
    return max(-most, min(most, x))


def absmax(row):
    return max(abs(x) for x in row)


def scale_of(row, kind, scale_type="f32"):
    return rounded(f32(absmax(row) / {"int8": 127, "fp8_e4m3": 448}[kind]), scale_type)


def encode(row, kind, scale=None, scale_type="f32"):
    """(bytes of the row, its own scales, the values it reads back as). A scale that is given is kept by
    whoever gave it."""
    if kind in ("f32", "f16", "bf16"):
        values = [rounded(x, kind) for x in row]
        if kind == "bf16":
            return struct.pack(f"<{len(row)}H", *map(bf16_bits, row)), [], values
        return struct.pack(f"<{len(row)}{'f' if kind == 'f32' else 'e'}", *values), [], values
    if kind in ("int8", "fp8_e4m3"):
        own = [] if scale is not None else [scale_of(row, kind, scale_type)]
        scale = scale if own == [] else own[0]
        codes = [f32(x / scale) if scale else 0.0 for x in row]
        if kind == "int8":
            codes = [clamp(round(c), 127) for c in codes]
            return struct.pack(f"<{len(row)}b", *codes), own, [f32(c * scale) for c in codes]
        codes = [fp8_code(c) for c in codes]
        return bytes(codes), own, [f32(fp8_value(c) * scale) for c in codes]
    raw, scales, values = b"", [], []
    for first in range(0, len(row), 32):
        group = row[first:first + 32]
        if kind == "int4":
            d = f16(f32(absmax(group) / 7))
            codes = [clamp(round(f32(x / d)), 7) if d else 0 for x in group]
            raw += bytes((codes[i] & 15) | (codes[i + 1] & 15) << 4 for i in range(0, 32, 2))
            scales.append(d)
        elif kind == "q8_0":
            d = f32(absmax(group) / 127)
            codes = [away(f32(x * f32(1 / d))) if d else 0 for x in group]
            raw += struct.pack("<e32b", d, *codes)
        else:
            d = f32(max(group, key=abs) / -8)
            codes = [min(15, int(f32(f32(x * f32(1 / d)) + 8.5))) - 8 if d else 0 for x in group]
            raw += struct.pack("<e", d) + bytes(codes[i] + 8 | codes[i + 16] + 8 << 4 for i in range(16))
        values += [f32(c * f16(d)) for c in codes]
    return raw, scales, values


def stored(row, kind, **more):
    """The row as it reads back."""
    return encode(row, kind, **more)[2]


def stored_all(tensor, kind, **more):
    return [[stored(row, kind, **more) for row in token] for token in tensor]


def rotate(row, position, *, neox, theta=10000.0, dim=None, offset=0, scale=None, factor=1.0, table=None):
    dim = dim or len(row) - offset
    out = list(row)
    for i in range(dim // 2):
        angle = position * theta ** (-2 * i / dim) * (scale[i] if scale else 1)
        c, s = math.cos(angle), math.sin(angle)
        if table:
            c, s = table[position][i], table[position][dim // 2 + i]
        a, b = (offset + i, offset + i + dim // 2) if neox else (offset + 2 * i, offset + 2 * i + 1)
        out[a], out[b] = (row[a] * c - row[b] * s) * factor, (row[b] * c + row[a] * s) * factor
    return out


def rotate_all(tensor, positions, **how):
    return [[rotate(row, position, **how) for row in token] for token, position in zip(tensor, positions)]
