#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_bench.py RAPT GOALS: rows and filters of `rapt bench`, its JSON, and script/goals on it. What
is measured is not judged here: a loaded machine must not fail a test."""
import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from command import run

RAPT, GOALS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
failures = []


def expect(what, condition, detail=""):
    if not condition:
        failures.append(what)
        print(f"FAIL: {what} {detail}")


def names(*arguments):
    code, stdout, stderr = run(RAPT, "bench", "--list", *arguments)
    expect(f"--list {arguments} works", code == 0, stderr)
    return stdout.splitlines()


def check_lists():
    quick, paper, full = names(), names("--suite", "paper"), names("--suite=full")
    expect("the paper suite has both paths at four lengths, prefill and decode", len(paper) == 16,
           paper)
    expect("full holds the others", set(quick) | set(paper) <= set(full))
    expect("names are unique", len(set(full)) == len(full))
    for pattern in ("^decode", "flash$", "d(64|80)", "d64|d80", "1024.*f16", "q/[0-9]+kv d576", "x?d6[^0-3]",
                    "three-pass|^host", r"\+6x1", "[+]6x", "^(prefill|decode).*(1024|32768)",
                    "(^host|flash$)", "^((de|en)co)+d(e|x)( [0-9]+)+ ", "(1(6|2)?|3)8?4 |(pa|ge)*r a", "d(64|)$|()q8"):
        expected = [name for name in full if re.search(pattern, name)]
        expect(f"the filter {pattern} finds something", expected)
        got = names("--suite", "full", "--filter", pattern)
        expect(f"--filter {pattern} agrees with Python's", got == expected, (got, expected))


def check_peer_lists():
    """Rows beside other implementations are there when they are asked for."""
    quick, full = names("--peers"), names("--peers", "--suite", "full")
    expect("no peers unasked", not any(name.startswith("peers ") for name in names("--suite", "full")))
    quick, full = ([name for name in some if name.startswith("peers ")] for some in (quick, full))
    expect("the quick selection is one of the full", quick and set(quick) < set(full), quick)
    for dim in (64, 128, 256):
        lengths = [n for n in (512, 1024, 2048, 4096, 8192, 16384)
                   if any(re.match(f"peers prefill causal {n} .* d{dim} f16$", name) for name in full)]
        expect(f"prefill of d{dim} at six lengths", len(lengths) == 6, lengths)
    for kind in ("f16", "q8_0"):
        expect(f"decode over {kind} at eight lengths",
               sum(bool(re.match(f"peers decode .* {kind}$", name)) for name in full) == 8)


def check_refusals():
    for arguments, pattern in ((("--suite", "slow"), "none of quick, paper, full"),
                               (("--filter", "[a-"), "ends within"),
                               (("--filter", "*a"), "nothing to repeat"),
                               (("--filter", "a\\"), "ends within"),
                               (("--filter", "(a|b"), "is not closed"),
                               (("--filter", "a)|b"), "closes nothing"),
                               (("--filter", "a|^+"), "nothing to repeat"),
                               (("--filter", "(?:a)"), "nothing to repeat"),
                               (("--filter", "a" * 201), "longer than 200"),
                               (("--filter", "no such row"), "matches no row"),
                               (("--repeat", "0"), "whole number"),
                               (("--json", "no/such/folder/x.json"), "cannot be written")):
        code, stdout, stderr = run(RAPT, "bench", *arguments)
        expect(f"{arguments} is refused", code == 2 and re.search(pattern, stderr) and not stdout,
               (code, stderr))


def check_goals(*files, status):
    result = subprocess.run([sys.executable, GOALS, *files], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    expect(f"script/goals {files} exits {status}", result.returncode == status, result.stderr)
    return result.stdout


def check_run():
    code, stdout, stderr = run(RAPT, "bench", "--suite", "full", "--filter",
                               "^host|^decode 512|^table|blocks 64 1024|^choose.*segments", "--repeat", "2", "--json", "out.json")
    if code == 3:
        print(stderr)
        if os.environ.get("RAPT_REQUIRE_DEVICE", "0") in ("", "0"):
            return False
    expect("a run works", code == 0, stderr)
    if code:
        return True
    with open("out.json", encoding="utf-8") as file:
        data = json.load(file)
    rows = {row["name"]: row for row in data["rows"]}
    expect("eight rows", len(rows) == 8, list(rows))
    for name, row in rows.items():
        expect(f"{name} was not skipped", "skipped" not in row, row)
        if row["kind"] == "host":
            expect("prepare and record took time",
                   row["prepare_seconds"]["median"] > 0 and row["record_seconds"]["median"] > 0)
            continue
        times = row["seconds"]
        if row["kind"] == "table":
            expect("the table is right, and took time", row["ok"] and times["median"] > 0, row)
            expect("about a percent of the pairs is listed", 1e-3 < row["listed_pairs"] / 2**34 < 2e-2, row)
            continue
        if row["kind"] == "choose":
            ratio = times["median"] / row["attention_seconds"]["median"]
            expect("choosing and attending took time",
                   ratio > 0 and abs(row["of_attention"] / ratio - 1) < 1e-6, row)
            continue
        if "blocks" in name:
            expect(f"{name}: beside dense", row["other"] == "full" and row["of_other"] > 0, row)
            expect(f"{name}: a quarter of the pairs", row["pairs_of_other"] == 0.25, row)
            expect(f"{name}: FLOPs", row["flops"] == 4 * 128 * 1024**2 * 8 / 4, row)
            expect(f"{name}: within its bound", row["ok"] and row["error"] <= row["error_bound"])
            continue
        expect(f"{name}: times in order", 0 < times["min"] <= times["p25"] <= times["median"] <=
               times["p75"] <= times["max"] and times["n"] == 2, times)
        # one query, 512 keys, 32 heads of 128 dims; K and V are f16 on 8 heads
        expect(f"{name}: FLOPs", row["flops"] == 4 * 128 * 512 * 32, row["flops"])
        expect(f"{name}: bytes", row["kv_bytes"] == 2 * 512 * 8 * 128 * 2, row["kv_bytes"])
        expect(f"{name}: speed", abs(row["gflops"] * times["median"] * 1e9 / row["flops"] - 1) < 1e-6)
        expect(f"{name}: within its bound", row["ok"] and row["error"] <= row["error_bound"])
        expect(f"{name}: memory", row["peak_device_bytes"] > row["kv_bytes"])
    expect("ceilings", all(value > 0 for value in data["ceilings"].values()), data["ceilings"])
    goals = {goal["id"]: goal for goal in data["goals"]}
    for goal in goals.values():
        expect(f"goal {goal['id']} is complete",
               all(key in goal for key in ("target", "got", "met", "reason")), goal)
        expect(f"goal {goal['id']} says why", goal["met"] in (True, False) or goal["reason"], goal)
    expect("memory is not judged from one length",
           goals["memory-exponent-prefill"]["met"] == "not measured")
    expect("the host was judged", goals["host-prepare"]["met"] in (True, False))
    check_goals("out.json", status=1 if any(goal["met"] is False for goal in goals.values()) else 0)
    return True


def check_made_up_goals():
    def write(name, met, got):
        goal = {"id": "g", "what": "w", "unit": "u", "target": 2, "bound": "at least", "got": got,
                "met": met, "reason": "r"}
        with open(name, "w", encoding="utf-8") as file:
            json.dump({"device": {"name": "d"}, "goals": [goal]}, file)

    write("good.json", True, 3)
    write("bad.json", False, 1)
    write("none.json", "not measured", None)
    expect("met", "met: 1" in check_goals("good.json", status=0))
    expect("unmet", "not met: 1" in check_goals("bad.json", status=1))
    expect("not measured", "not measured: 1" in check_goals("none.json", status=0))
    expect("the last file counts", "not met: 0" in check_goals("bad.json", "good.json", "none.json",
                                                               status=0))
    with open("broken.json", "w", encoding="utf-8") as file:
        file.write("{")
    check_goals("broken.json", status=1)


check_lists()
check_peer_lists()
check_refusals()
check_made_up_goals()
ran = check_run()
os.chdir("/")
if failures:
    sys.exit(f"{len(failures)} failures")
if not ran:
    print("SKIP: no Vulkan device")
    sys.exit(77)
