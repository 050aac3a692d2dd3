#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_demo.py RAPT HAVE-CAIRO: the demo passes its own checks and draws a picture with something in it."""
import os
import re
import struct
import sys
import tempfile
import zlib

sys.dont_write_bytecode = True
from command import require_device, run

RAPT, CAIRO = os.path.abspath(sys.argv[1]), sys.argv[2] == "yes"
require_device(RAPT)


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


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "attention.png")
    more = ["--out", path] if CAIRO else []
    code, stdout, stderr = run(RAPT, "demo", *more, cwd=folder,
                               env={"RAPT_CACHE_DIR": os.environ.get("RAPT_CACHE_DIR", folder + "/cache")})
    assert code == 0 and not stderr, (code, stdout, stderr)
    errors = re.findall(r"error (\S+) .*?\(bound (\S+)\): ok", stdout)
    # Three models; and the two pictures' weights.
    assert len(errors) == (5 if CAIRO else 3), stdout
    for error, bound in errors:
        assert 0 < float(error) <= float(bound) <= 1e-3, (error, bound)
    if not CAIRO:
        assert "no cairo" in stdout, stdout
        assert not os.path.exists(path)
        print("ok, without a picture")
        sys.exit(0)
    rows = list(png_rows(path))
    assert len(rows) >= 500 and len(rows[0]) >= 3 * 1000, (len(rows), len(rows[0]) // 3)
    colors = {row[x:x + 3] for row in rows[::3] for x in range(0, len(row), 9)}
    dark = sum(1 for row in rows[::3] for x in range(0, len(row), 9) if sum(row[x:x + 3]) < 200)
    assert len(colors) > 100, f"{len(colors)} colours only"
    assert dark > 0.15 * len(rows[::3]) * len(rows[0]) / 9, "hardly anything is drawn"
    print(f"ok, {len(rows[0]) // 3} x {len(rows)} pixels")
