#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_demo.py RAPT HAVE-CAIRO: the demo passes its own checks and draws a picture with something in it."""
import os
import re
import sys
import tempfile

sys.dont_write_bytecode = True
from command import png_rows, require_device, run

RAPT, CAIRO = os.path.abspath(sys.argv[1]), sys.argv[2] == "yes"
require_device(RAPT)


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
