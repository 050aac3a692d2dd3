#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_report.py RAPT: `rapt info` and `rapt check` say what they promise, in text and in JSON."""
import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True
from command import require_device, run

RAPT = os.path.abspath(sys.argv[1])
require_device(RAPT)
folder = tempfile.TemporaryDirectory()
os.environ.setdefault("RAPT_CACHE_DIR", os.path.join(folder.name, "cache"))

# --- info
code, text, stderr = run(RAPT, "info")
assert code == 0 and not stderr, (code, stderr)
code, stdout, stderr = run(RAPT, "info", "--json")
assert code == 0 and not stderr, (code, stderr)
report = json.loads(stdout)
assert report["devices"], "no devices in the JSON"
for device in report["devices"]:
    assert device["name"] in text, device["name"]
    for choice in device["choices"]:
        assert choice["path"] in ("portable", "cpu") and choice["prefill"], choice
        assert choice["why"], f"no reason why {choice['shape']} takes no faster path"
    names = [kernel["name"] for kernel in device["kernels"]]
    assert len(names) == len(set(names)) and names, names
    for kernel in device["kernels"]:
        assert kernel["name"] in text, f"{kernel['name']} is not in the text"
        reason = kernel["absent"] or kernel["unsupported"]
        assert kernel["usable"] == (reason is None), kernel
        assert not reason or reason in text, f"the text lacks the reason {reason}"

code, stdout, _ = run(RAPT, "info", "--json", "--disable", "subgroup,cpu_rows")
poorer = json.loads(stdout)["devices"][0]
assert "subgroup" not in poorer["features"] and "cpu_rows" not in poorer["features"], poorer["features"]
assert all(choice["path"] == "portable" for choice in poorer["choices"]), poorer["choices"]
missing = [kernel for kernel in poorer["kernels"] if kernel["name"] == "prefill_lp"]
assert not missing or missing[0]["unsupported"].startswith("needs "), missing
code, stdout, _ = run(RAPT, "info", "--json", env={"RAPT_DISABLE": "subgroup"})
assert "subgroup" in json.loads(stdout)["devices"][0]["switched_off"] + json.loads(stdout)["devices"][0]["lacking"]
for name in ("0", report["devices"][0]["name"][:5].upper()):
    code, stdout, _ = run(RAPT, "info", "--json", "--device", name)
    assert code == 0 and json.loads(stdout)["devices"][0]["index"] == 0, name
code, stdout, stderr = run(RAPT, "info", "--device", "no such device")
assert code == 3 and not stdout and stderr.count("\n") == 1, (code, stdout, stderr)
code, _, stderr = run(RAPT, "info", env={"RAPT_DISABLE": "warp"})
assert code == 2 and "RAPT_DISABLE" in stderr and stderr.count("\n") == 1, (code, stderr)
code, _, stderr = run(RAPT, "check", "--filter", "decode", env={"RAPT_LOG": "loud"})
assert code == 2 and "RAPT_LOG" in stderr and stderr.count("\n") == 1, (code, stderr)
# Where the loader finds no driver there is no device: a line, exit 3.
code, stdout, stderr = run(RAPT, "info", env={"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent",
                                             "VK_ADD_DRIVER_FILES": ""})
assert code == 3 and not stdout and stderr.count("\n") == 1, (code, stdout, stderr)
print("ok info")

# --- check
path = os.path.join(folder.name, "report.json")
code, text, stderr = run(RAPT, "check", "--filter", "decode f", "--json", path)
assert code == 0 and not stderr, (code, stderr, text)
assert "0 wrong, 0 errors" in text, text
with open(path, encoding="utf-8") as file:
    report = json.load(file)
assert report["wrong"] == 0 and report["errors"] == 0 and report["device"] in text, report
assert {row["case"] for row in report["rows"]} == {"decode f32", "decode f16"}, report["rows"]
assert len({row["pass"] for row in report["rows"]}) >= 2, "features were not switched off for a further pass"
for row in report["rows"]:
    assert row["verdict"] == "ok" and 0 < row["error"] <= row["bound"] <= 1e-3 and row["kernels"], row
    assert row["lse"] <= row["statistics_bound"] and row["reduction_ok"] and row["nans"] == 0, row
states = {kernel["name"]: kernel["state"] for kernel in report["kernels"]}
assert "checked" in states.values(), states
code, _, stderr = run(RAPT, "check", "--filter", "no such case", "--json", path + ".none")
assert code == 2 and stderr.count("\n") == 1 and not os.path.exists(path + ".none"), (code, stderr)
print("ok check")
