# SPDX-License-Identifier: Apache-2.0
"""The rows beside peers of one result as an SVG: a panel for each head dim of prefill and each kind of K/V of
decode, speed against length, both axes logarithmic. Standard library only; the same input gives the same bytes."""
import math
import re
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 340, 250  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 38
COLUMNS, HEAD = 3, 62
# Okabe and Ito's colours: told apart by everybody; dashes for those who print.
STYLES = {
    "rapt": ("#0072b2", "", 2.6),
    "ggml-vulkan": ("#d55e00", "6 3", 1.8),
    "ggml-cpu": ("#e69f00", "2 3", 1.8),
    "torch-cpu-f32": ("#009e73", "8 3 2 3", 1.8),
    "torch-cpu-bf16": ("#56b4e9", "4 2", 1.8),
    "torch-flash": ("#cc79a7", "6 3", 1.8),
    "torch-cudnn": ("#666666", "2 3", 1.8),
    "torch-efficient": ("#999933", "8 3 2 3", 1.8),
}


def panels(data):
    """[(title, unit, {peer: [(length, speed)]}, ceiling or None)]"""
    found = {}
    for row in data["rows"]:
        if "peer" not in row or "seconds" not in row:
            continue
        prefill = re.match(r"peers prefill causal (\d+) \S+ d(\d+) f16$", row["name"])
        decode = re.match(r"peers decode (\d+) \S+ d\d+ (\S+)$", row["name"])
        if prefill:
            key = (0, int(prefill[2]), f"prefill, causal, head dim {prefill[2]}, f16", "GFLOP/s")
            point = int(prefill[1]), row["gflops"]
        elif decode:
            key = (1, 0, f"decode, 32 heads on 8, K/V {decode[2]}", "GB/s of K/V")
            point = int(decode[1]), row["kv_gbytes_per_second"]
        else:
            continue
        found.setdefault(key, {}).setdefault(row["peer"], []).append(point)
    ceilings = data["ceilings"]["multiply_add_gflops"], data["ceilings"]["read_gbytes_per_second"]
    return [(key[2], key[3], series, ceilings[key[0]]) for key, series in sorted(found.items())]


def length_text(n):
    return f"{n // 1024}k" if n >= 1024 else str(n)


def ticks(low, high):
    """1, 2 and 5 of every decade between the two."""
    values = [step * 10.0 ** e for e in range(-3, 6) for step in (1, 2, 5)]
    return [value for value in values if low <= value <= high]


class Panel:
    def __init__(self, x, y, series, ceiling):
        points = [point for some in series.values() for point in some]
        self.x, self.y = x, y
        self.x_low, self.x_high = (f(math.log2(n) for n, _ in points) for f in (min, max))
        if self.x_high == self.x_low:
            self.x_low, self.x_high = self.x_low - 1, self.x_high + 1
        self.low = min(speed for _, speed in points) / 1.3
        self.high = max([ceiling] + [speed for _, speed in points]) * 1.3

    def at(self, n, speed):
        across = (math.log2(n) - self.x_low) / (self.x_high - self.x_low)
        up = math.log(speed / self.low) / math.log(self.high / self.low)
        return (self.x + LEFT + across * (WIDTH - LEFT - RIGHT),
                self.y + HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))


def text(x, y, string, size=11, anchor="middle", colour="#333", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{more}>'
            f'{escape(string)}</text>')


def line(x1, y1, x2, y2, colour, width=1.0, dashes=""):
    dashes = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"{dashes}/>')


def draw_panel(x, y, title, unit, series, ceiling):
    panel = Panel(x, y, series, ceiling)
    left, right, bottom = x + LEFT, x + WIDTH - RIGHT, y + HEIGHT - BOTTOM
    lines = [text(left, y + 20, title, 12, "start", "#000"),
             text(x + 12, (y + TOP + bottom) / 2, unit, 10, "middle", "#333",
                  f' transform="rotate(-90 {x + 12:.1f} {(y + TOP + bottom) / 2:.1f})"')]
    for value in ticks(panel.low, panel.high):
        _, at = panel.at(2 ** panel.x_low, value)
        lines += [line(left, at, right, at, "#e4e4e4"), text(left - 5, at + 3.5, f"{value:g}", 10, "end")]
    for n in sorted({n for some in series.values() for n, _ in some}):
        at, _ = panel.at(n, panel.low)
        lines += [line(at, bottom, at, bottom + 4, "#333"), text(at, bottom + 16, length_text(n), 10)]
    lines += [line(left, bottom, right, bottom, "#333"),
              text((left + right) / 2, bottom + 31, "keys", 10)]
    _, at = panel.at(2 ** panel.x_low, ceiling)
    what = "multiply-add" if unit == "GFLOP/s" else "read"
    lines += [line(left, at, right, at, "#000", 1, "1 3"),
              text(right, at - 4, f"what the device can do: {what}, {ceiling:.3g}", 9, "end")]
    for name in (name for name in STYLES if name in series):
        colour, dashes, width = STYLES[name]
        points = [panel.at(n, speed) for n, speed in sorted(series[name])]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        dashes = f' stroke-dasharray="{dashes}"' if dashes else ""
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')
        lines += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}"/>' for px, py in points]
    return lines


def draw_legend(names):
    lines, x = [], 20.0
    for name in names:
        colour, dashes, width = STYLES[name]
        lines += [line(x, 46, x + 30, 46, colour, width, dashes), text(x + 36, 50, name, 12, "start", "#000")]
        x += 36 + 7.4 * len(name) + 22
    return lines


def svg(data):
    chosen = panels(data)
    names = [name for name in STYLES if any(name in series for _, _, series, _ in chosen)]
    columns = min(COLUMNS, max(len(chosen), 1))
    rows = -(-len(chosen) // columns)
    width, height = max(columns * WIDTH, 700), HEAD + rows * HEIGHT + 6
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" font-family="sans-serif">',
             f'<rect width="{width}" height="{height}" fill="#fff"/>',
             text(20, 24, f"Attention on {data['device']['name']}: higher is faster", 14, "start", "#000")]
    lines += draw_legend(names)
    for i, panel in enumerate(chosen):
        lines += draw_panel(i % columns * WIDTH, HEAD + i // columns * HEIGHT, *panel)
    return "\n".join(lines + ["</svg>"])
