#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md from the files of `rapt bench --json` in bench/results, and its picture.

    bench/report.py [RESULTS-FOLDER] > docs/performance.md
    bench/report.py --plot [RESULTS-FOLDER] > docs/peers.svg

Whoever changes one of the files runs both; script/check compares."""
import json
import pathlib
import sys

sys.dont_write_bytecode = True
import plot

HEAD = """# Performance

Made by `bench/report.py` from the files in `bench/results`; do not edit. Machine: {machine}.

Times are medians of repeats on the device's own clock, with half the distance of the quartiles as the
spread. FLOPs are 4 * D per allowed pair of query and key and query head. The ceilings are measured in
the same run on the same device: multiply-adds in registers, a copy (bytes read and written), a read.
Every row is checked against the float64 reference on sampled rows before it counts. The three-pass
baseline stores the scores in memory between three plain kernels (`easy/three_pass.c`).

The commands, one file each:

{commands}
"""


def seconds(value):
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def spread(times):
    return f"{50 * (times['p75'] - times['p25']) / times['median']:.0f} %"


def mib(value):
    return f"{value / 2**20:.0f} MiB"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def plain_rows(data):
    rows = []
    for row in data["rows"]:
        if "peer" in row:
            continue
        if "skipped" in row:
            rows.append([row["name"], f"skipped: {row['skipped']}"] + [""] * 6)
        elif row["kind"] not in ("host", "pager", "append", "table", "choose") and not row["name"].endswith(("flash", "three-pass")) \
                and "of_f16" not in row and "of_other" not in row:
            rows.append([row["name"], seconds(row["seconds"]["median"]), spread(row["seconds"]),
                         f"{row['gflops']:.1f}", f"{100 * row['of_multiply_add_ceiling']:.0f} %",
                         f"{row['kv_gbytes_per_second']:.2f}", mib(row["peak_device_bytes"]),
                         row["kernels"]])
    head = ["row", "time", "spread", "GFLOP/s", "of multiply-add", "K/V GB/s", "memory", "kernels"]
    return table(head, rows) if rows else []


def kind_rows(data):
    rows = [[row["name"], seconds(row["seconds"]["median"]), f"{row['of_f16']:.2f}",
             f"{row['kv_gbytes_per_second']:.2f}", f"{row['error']:.1e}"]
            for row in data["rows"] if "of_f16" in row]
    head = ["K/V kind", "time", "of f16's, run by turns", "K/V GB/s", "error"]
    return table(head, rows) if rows else []


def mask_rows(data):
    rows = [[row["name"], seconds(row["seconds"]["median"]), row["other"], f"{row['of_other']:.3f}",
             f"{row['pairs_of_other']:.3f}", f"{row['gflops']:.1f}", f"{row['error']:.1e}"]
            for row in data["rows"] if "of_other" in row]
    head = ["mask", "time", "beside", "of its time, run by turns", "of its pairs", "GFLOP/s", "error"]
    lines = table(head, rows) if rows else []
    for row in data["rows"]:
        if row["kind"] == "table" and "seconds" in row:
            lines += [f"Block table on one core: {row['name']}, {seconds(row['seconds']['median'])}.", ""]
    return lines


def cache_rows(data):
    rows = [[row["name"], seconds(row["seconds"]["median"]), spread(row["seconds"]),
             f"{row['gbytes_per_second']:.2f}" if "gbytes_per_second" in row else "", row.get("kernels", "")]
            for row in data["rows"] if row["kind"] in ("pager", "append") and "seconds" in row]
    head = ["cache", "time", "spread", "GB/s read and written", "kernel"]
    return table(head, rows) if rows else []


def choice_rows(data):
    rows = [[row["name"], seconds(row["seconds"]["median"]), seconds(row["attention_seconds"]["median"]),
             f"{100 * row['of_attention']:.1f} %"]
            for row in data["rows"] if row["kind"] == "choose" and "seconds" in row]
    head = ["chosen on the device", "choosing", "attention to it", "of its time"]
    return table(head, rows) if rows else []


def paper_rows(data):
    """Flash and three-pass side by side, where both were measured in the run."""
    by_name = {row["name"]: row for row in data["rows"] if "seconds" in row}
    rows = []
    for name, flash in by_name.items():
        other = by_name.get(name[:-len("flash")] + "three-pass") if name.endswith("flash") else None
        if not other:
            continue
        t, u = flash["seconds"]["median"], other["seconds"]["median"]
        rows.append([name[:-len(" flash")], seconds(t), seconds(u), f"{u / t:.1f}x",
                     f"{flash['tokens_per_second']:.0f}", f"{other['tokens_per_second']:.0f}",
                     mib(flash["peak_device_bytes"]), mib(other["peak_device_bytes"])])
    head = ["shape", "flash", "three-pass", "ratio", "flash tokens/s", "three-pass tokens/s",
            "flash memory", "three-pass memory"]
    return table(head, rows) if rows else []


def peer_cell(row):
    if row is None:
        return ""
    if "skipped" in row:
        return f"not measured: {row['skipped']}"
    return f"{seconds(row['seconds']['median'])}, {row['times_of_rapt']:.2f}"


def peer_rows(data):
    """One line for each shape, a column for each contestant; then who they are and how exact."""
    if "peers" not in data:
        return []
    there = [peer["name"] for peer in data["peers"] if "about" in peer]
    by_name, errors = {}, {}
    for row in data["rows"]:
        if "peer" in row:
            by_name.setdefault(row["name"], {})[row["peer"]] = row
            errors[row["peer"]] = max(errors.get(row["peer"], 0), row.get("error", 0))
    rows = []
    for name, of in by_name.items():
        ours = of["rapt"]
        if "skipped" in ours:
            rows.append([name.removeprefix("peers "), f"skipped: {ours['skipped']}", "", ""] + [""] * len(there))
            continue
        rows.append([name.removeprefix("peers "), seconds(ours["seconds"]["median"]), f"{ours['gflops']:.1f}",
                     f"{100 * ours['of_multiply_add_ceiling']:.0f} %"] + [peer_cell(of.get(peer)) for peer in there])
    lines = ["Beside others, run by turns (`docs/peers.md` says how): the time of each, and how many times as long as "
             "ours it is, the median over rounds.", ""]
    lines += table(["shape", "rapt", "GFLOP/s", "of multiply-add"] + there, rows)
    lines += ["Largest errors against the reference: " +
              ", ".join(f"{name} {errors[name]:.1e}" for name in ["rapt"] + there if name in errors) + ".", ""]
    for peer in data["peers"]:
        lines.append(f"* `{peer['name']}`: {peer.get('about') or 'not measured: ' + peer['not_measured']}")
    return lines + [""]


def has_peers(data):
    return sum("peer" in row and "seconds" in row for row in data["rows"])


def plotted(results):
    """The result the picture shows: the one with most rows beside peers, or None."""
    best = max(results, key=lambda result: has_peers(result[1]), default=None)
    return best if best and has_peers(best[1]) else None


def host_rows(data):
    lines = []
    for row in data["rows"]:
        if row["kind"] == "host" and "prepare_seconds" in row:
            lines += [f"Host, 256 sequences over pages: prepare "
                      f"{seconds(row['prepare_seconds']['median'])}, record "
                      f"{seconds(row['record_seconds']['median'])}.", ""]
    return lines


def goal_rows(data):
    rows = []
    for goal in data["goals"]:
        if goal["met"] in (True, False):
            rows.append([goal["id"], goal["what"], f"{goal['bound']} {goal['target']:g} {goal['unit']}",
                         f"{goal['got']:.3g}", "met" if goal["met"] else "**not met**"])
    return table(["goal", "what", "target", "got", ""], rows) if rows else []


def section(path, data, is_plotted):
    ceilings = data["ceilings"]
    lines = [f"## {data['device']['name']}, {data['suite']} suite", "",
             f"`{path.name}`. Ceilings: multiply-add {ceilings['multiply_add_gflops']:.0f} GFLOP/s, "
             f"copy {ceilings['copy_gbytes_per_second']:.1f} GB/s, "
             f"read {ceilings['read_gbytes_per_second']:.1f} GB/s.", ""]
    lines += plain_rows(data) + kind_rows(data) + mask_rows(data) + cache_rows(data)
    lines += choice_rows(data) + paper_rows(data)
    lines += host_rows(data) + peer_rows(data)
    if is_plotted:
        lines += ["![Speed against length, each peer a line](peers.svg)", ""]
    if "memory_exponent_flash" in data:
        lines += [f"Device memory grows with length to the power {data['memory_exponent_flash']:.2f} "
                  f"in prefill (three-pass: {data.get('memory_exponent_three_pass', 0):.2f}).", ""]
    lines += goal_rows(data)
    missing = [goal for goal in data["goals"] if goal["id"].startswith("peers-") and
               goal["met"] == "not measured"]
    if missing:
        lines += ["Not measured: " + "; ".join(f"{goal['id']} ({goal['reason']})" for goal in missing) + ".", ""]
    return lines


def main():
    here = pathlib.Path(__file__).resolve().parent
    arguments = sys.argv[1:]
    picture = arguments[:1] == ["--plot"]
    folder = pathlib.Path(arguments[-1]) if arguments[picture:] else here / "results"
    files = sorted(folder.glob("*.json"))
    if not files:
        sys.exit(f"report.py: no .json in {folder}")
    results = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in files]
    chosen = plotted(results)
    if picture:
        if not chosen:
            sys.exit(f"report.py: no file in {folder} has rows beside peers")
        print(plot.svg(chosen[1]))
        return
    commands = (folder / "COMMANDS").read_text(encoding="utf-8").rstrip()
    machine = (folder / "MACHINE").read_text(encoding="utf-8").strip()
    lines = HEAD.format(machine=machine, commands=commands).split("\n")
    for path, data in results:
        lines += section(path, data, chosen is not None and chosen[0] == path)
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
