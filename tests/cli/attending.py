# SPDX-License-Identifier: Apache-2.0
"""What the tests of `rapt attend` share, run as TEST.py RAPT reference|device: files, the call itself,
and what its results are measured by."""
import os
import sys
import tempfile

from command import Numbers, error_of, npy_bytes, read_npy, require_device, run

RAPT, WHERE = os.path.abspath(sys.argv[1]), sys.argv[2]
PATH = ["--path", "reference"] if WHERE == "reference" else []
LIMIT = 5e-6
folder = tempfile.TemporaryDirectory()
names = 0


def save(values, dtype="f4", shape=None, **more):
    """Writes an .npy file and returns its name."""
    global names
    names += 1
    path = os.path.join(folder.name, f"in{names}.npy")
    with open(path, "wb") as file:
        file.write(npy_bytes(values, dtype, shape, **more))
    return path


def save_raw(raw, ending):
    global names
    names += 1
    path = os.path.join(folder.name, f"in{names}.{ending}")
    with open(path, "wb") as file:
        file.write(raw)
    return path


def attend(*arguments, expect=0):
    """(shape and numbers of out, lse, max_logit), stdout"""
    paths = [os.path.join(folder.name, name) for name in ("out.npy", "lse.npy", "max.npy")]
    for path in paths:
        if os.path.exists(path):
            os.remove(path)
    line = [*arguments, *PATH, "--out", paths[0], "--lse", paths[1], "--max-logit", paths[2]]
    code, stdout, stderr = run(RAPT, "attend", *line)
    assert code == expect, f"exit {code}, expected {expect}: rapt attend {' '.join(map(str, line))}\n{stderr}"
    left = [name for name in os.listdir(folder.name) if ".part" in name]
    assert not left, f"left behind: {left}"
    return [read_npy(path) for path in paths], stdout


def compare(name, results, want, shape=None, limit=LIMIT, stat_limit=2e-5):
    (out_shape, out), (lse_shape, lse), (_, maxima) = results
    if shape:
        assert tuple(out_shape) == tuple(shape), f"{name}: shape {out_shape}, expected {shape}"
        assert tuple(lse_shape) == tuple(shape[:-1]), f"{name}: lse shape {lse_shape}"
    e, largest = error_of(out, want[0])
    assert e <= limit and largest <= 8 * limit, f"{name}: error {e:.1e}, largest {largest:.1e}, limit {limit:.1e}"
    for what, got, expected in (("lse", lse, want[1]), ("max_logit", maxima, want[2])):
        assert len(got) == len(expected), f"{name}: {what} has {len(got)} numbers"
        for x, y in zip(got, expected):
            assert x == y or abs(x - y) <= stat_limit, f"{name}: {what} {x}, expected {y}"
    print(f"ok {name}: {e:.1e}")


def batch(seed, q_lens, kv_lens, heads=(4, 2), dim=16, dim_v=None):
    numbers = Numbers(seed)
    cu_q, cu_kv = [0], [0]
    for n_q, n_kv in zip(q_lens, kv_lens):
        cu_q.append(cu_q[-1] + n_q)
        cu_kv.append(cu_kv[-1] + n_kv)
    return (numbers.array(cu_q[-1], heads[0], dim), numbers.array(cu_kv[-1], heads[1], dim),
            numbers.array(cu_kv[-1], heads[1], dim_v or dim), cu_q, cu_kv)


def causal(b, h, p, j):
    return j <= p


def run_tests(tests, device_only=()):
    """Every test_ function of a module's globals()."""
    if WHERE == "device":
        require_device(RAPT)
        os.environ.setdefault("RAPT_CACHE_DIR", os.path.join(folder.name, "cache"))
    for name, function in sorted(tests.items()):
        if name.startswith("test_") and (name not in device_only or WHERE == "device"):
            function()
