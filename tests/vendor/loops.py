# SPDX-License-Identifier: Apache-2.0
"""What one pass of a kernel's key loop takes, from the driver's text of its code.

The text becomes blocks with the cost of their instructions; loops are found in the graph of branches. The
key loop is the smallest one that holds (nearly) all multiply-adds; loops inside it run as often as the
multiply-adds of the tile ask for. Costs are issue cycles of one SIMD with nothing overlapping and memory
free of charge; README.md has the table.
"""
import re

MATRIX_MACS = 4096  # AMD: 16 x 16 x 16


class Block:
    def __init__(self):
        self.n = 0  # instructions
        self.cycles = 0.0
        self.macs = 0  # of a subgroup
        self.next = []  # successors, as names until all are known


# --------------------------------------------------------------------------------------------- vendors


def amd_instruction(name, text, chip, lanes):
    """(multiply-adds, cycles) of one of RADV's."""
    is_gcn = chip in ("polaris10", "vega10")
    if re.match("s_(delay_alu|clause|wait|nop|inst_prefetch|code_end|set_gpr_idx|sendmsg)", name):
        return None
    if name.startswith("v_wmma"):
        return MATRIX_MACS, 16 if chip in ("gfx1200", "gfx1201") else 32
    if not name.startswith("v_"):
        return 0, 1
    step = 4 if is_gcn else lanes / 32
    if re.match("v_s?_?(exp|log|rcp|rsq|sqrt|sin|cos)_", name):
        return 0, 4 * step
    macs = 0
    for part in re.findall(r"v_(?:dual_)?(\w+)", text.split(";")[0]):
        if re.match("(fma|fmac|mac|mad|fmaak|fmamk|madak|madmk)_f(32|16)|(fma|mad)_mix", part):
            macs += lanes
        elif re.match("pk_fma_f|dot2", part):
            macs += 2 * lanes
        elif part.startswith("dot4"):
            macs += 4 * lanes
    return macs, step


def amd(text, chip, lanes):
    blocks, name = {}, None
    for line in text.splitlines():
        label = re.match(r"(BB\d+):", line)
        if label:
            if name is not None:
                blocks[name].next.append(label[1])
            name = label[1]
            blocks[name] = Block()
            continue
        match = re.match(r"\s+([a-z]\w+)", line)
        if not match or name is None:
            continue
        block = blocks[name]
        what = amd_instruction(match[1], line, chip, lanes)
        if what is None:
            continue
        block.n += 1
        block.macs += what[0]
        block.cycles += what[1]
        target = re.search(r"s_c?branch\w* (BB\d+)", line)
        if target:
            block.next.append(target[1])
            ends = match[1] == "s_branch"
            name_after = f"{name}'" if ends else f"{name}+"
            blocks[name_after] = Block()
            if not ends:
                block.next.append(name_after)
            name = name_after
    return blocks


def intel_cost(name, text, width):
    """(multiply-adds, cycles); width: lanes of f32."""
    size = re.match(r"(?:\([^)]*\) ?)?[\w.]+\((\d+)\)", text)
    lanes = int(size[1]) if size else 1
    types = re.findall(r">(HF|F|DF|UQ|Q|UD|D|UW|W|UB|B)\b", text)
    wide = max((dict(DF=8, Q=8, UQ=8, F=4, D=4, UD=4).get(t, 2) for t in types), default=4)
    if name.startswith("dpas"):
        return 8 * lanes * 16, 8
    if name.startswith(("send", "sync", "nop")):
        return 0, 0 if name.startswith("sync") else 1
    cycles = max(1, lanes * wide / 4 / width)
    if name.startswith("math"):
        cycles *= 4
    if name.startswith("dp4a"):
        return 4 * lanes, cycles
    return (lanes if name.startswith(("mad", "mac")) and types[:1] in (["F"], ["HF"]) else 0), cycles


def intel(text, chip, _lanes):
    width = 16 if chip in ("lnl", "b580") else 8
    blocks, name, n = {"0": Block()}, "0", 0
    for line in text.splitlines():
        label = re.match(r"(LABEL\d+):", line)
        if label:
            blocks[label[1]] = Block()
            if name:
                blocks[name].next.append(label[1])
            name = label[1]
            continue
        match = re.match(r"(?:\([^)]*\) ?)?([a-z]\w*)", line)
        if not match:
            continue
        if name is None:
            n += 1
            name = f"dead{n}"
            blocks[name] = Block()
        block = blocks[name]
        macs, cycles = intel_cost(match[1], line, width)
        block.n += 1
        block.macs += macs
        block.cycles += cycles
        if match[1] in ("if", "else", "while", "break", "cont", "goto", "jmpi", "halt"):
            to = re.search(r"UIP:\s*(LABEL\d+)" if match[1] in ("break", "goto", "halt")
                           else r"JIP:\s*(LABEL\d+)", line)
            n += 1
            after = f"after{n}"
            blocks[after] = Block()
            if to:
                block.next.append(to[1])
            if match[1] not in ("else",):
                block.next.append(after)
            name = after
    return blocks


def nvidia(text, _chip, lanes):
    blocks, block = {}, None
    for line in text.splitlines():
        start = re.match(r"block(?:\.u)? (\d+) ", line)
        end = re.match(r"\} -> \[(.*)\]", line)
        if start:
            block = blocks[start[1]] = Block()
        elif end and block:
            block.next = [x.strip() for x in end[1].split(",") if x.strip()]
        elif block and "// delay=" in line:
            block.n += 1
            block.cycles += int(re.search(r"delay=(\d+)", line)[1])
            matrix = re.search(r"hmma\.m(\d+)n(\d+)k(\d+)", line)
            if matrix:
                block.macs += int(matrix[1]) * int(matrix[2]) * int(matrix[3])
            elif re.search(r"\bidp4", line):
                block.macs += 4 * lanes
            elif re.search(r"\bffma|\bhfma2", line):
                block.macs += lanes * (2 if "hfma2" in line else 1)
    return blocks


def qualcomm(text, _chip, lanes):
    blocks, name, n = {"0": Block()}, "0", 0
    for line in text.splitlines():
        label = re.match(r"(l\d+):", line)
        if label:
            blocks[label[1]] = Block()
            blocks[name].next.append(label[1])
            name = label[1]
            continue
        match = re.match(r"((?:\(\w+\))*)([a-z][\w.]*)", line)
        if not match:
            continue
        block, modes, op = blocks[name], match[1], match[2]
        repeat = re.search(r"\(rpt(\d)\)", modes)
        idle = re.search(r"\(nop(\d)\)", modes)
        times = 1 + (int(repeat[1]) if repeat else 0)
        step = max(1, lanes / 64)
        if re.match("(exp2|log2|rcp|rsq|sqrt|sin|cos)", op):
            step *= 4
        block.n += 1
        block.cycles += times * step + (int(idle[1]) if idle else 0)
        if re.match(r"mad\.f", op):
            block.macs += times * lanes
        target = re.search(r"#(l\d+)", line)
        if op in ("br", "jump", "bany", "ball", "getone", "shps", "predt", "predf") and target:
            n += 1
            after = f"after{n}"
            blocks[after] = Block()
            block.next.append(target[1])
            if op != "jump":
                block.next.append(after)
            name = after
    return blocks


def blocks_of(text, chip, lanes):
    vendor = intel
    if re.match("polaris|vega|navi|phoenix|gfx", chip):
        vendor = amd
    elif re.match("tu|ga|ad|gb", chip):
        vendor = nvidia
    elif re.match("a7[345]0$", chip):
        vendor = qualcomm
    blocks = vendor(text, chip, lanes)
    for block in blocks.values():
        block.next = [x for x in dict.fromkeys(block.next) if x in blocks]
    return blocks


# ----------------------------------------------------------------------------------------------- loops


def dominators(blocks):
    """{block: set of blocks every way to it goes through}, of blocks that can be reached."""
    first = next(iter(blocks))
    before = {name: [] for name in blocks}
    order, seen, stack = [], {first}, [(first, iter(blocks[first].next))]
    while stack:
        name, rest = stack[-1]
        to = next((x for x in rest if x not in seen), None)
        if to is None:
            order.append(name)
            stack.pop()
        else:
            seen.add(to)
            stack.append((to, iter(blocks[to].next)))
    order.reverse()
    for name in order:
        for to in blocks[name].next:
            before[to].append(name)
    dom = {first: {first}}
    changed = True
    while changed:
        changed = False
        for name in order[1:]:
            known = [dom[x] for x in before[name] if x in dom]
            new = set.intersection(*known) | {name} if known else {name}
            if dom.get(name) != new:
                dom[name], changed = new, True
    return dom, before


def find_loops(blocks, dom, before):
    """{header: blocks of the loop}"""
    loops = {}
    for name in dom:
        for to in blocks[name].next:
            if to not in dom[name]:
                continue
            body, todo = loops.setdefault(to, {to}), [name]
            while todo:
                x = todo.pop()
                if x not in body:
                    body.add(x)
                    todo += before[x]
    return loops


class Pass:
    """One pass of the key loop in a subgroup: what always runs with what multiplies, and all there is."""

    def __init__(self):
        self.least_n = self.least_cycles = self.most_n = self.most_cycles = 0.0
        self.macs = 0
        self.inner = []  # (times, multiply-adds) of loops inside


def times_of(macs, product):
    """How often a loop with so many multiply-adds runs for a product's: a power of two."""
    n = 1
    while macs and n < 64 and abs(2 * n * macs - product) < abs(n * macs - product):
        n *= 2
    return n


def loop_times(loops, inner, held, product, outer_times):
    """{loop: how often it runs in one of the loop around it}: as its multiply-adds ask for. Of two loops
    within each other the text says only how often both run; outer_times says how often the outer one may,
    given that number."""
    times = {}
    for h in sorted(inner, key=lambda x: len(loops[x])):
        within = [x for x in inner if loops[x] < loops[h] and held[x] >= 0.5 * held[h] > 0]
        if within:  # smaller, so known already
            leaf = max(within, key=lambda x: held[x])
            times[h] = min(outer_times.get(times[leaf], 1), times[leaf])
            times[leaf] //= times[h]
        else:
            times[h] = times_of(held[h], product) if held[h] else 1
    return times


def key_loop(blocks, loops, held):
    """The smallest loop with (nearly) all multiply-adds of that outermost one that has most."""
    outermost = [h for h in loops if not any(loops[h] < b for b in loops.values()) and held[h]]
    if not outermost:
        return None
    most = max(outermost, key=lambda h: held[h])
    own = [h for h in loops if loops[h] <= loops[most] and held[h] >= 0.8 * held[most]]
    return min(own, key=lambda h: len(loops[h]))


def cheapest_way(blocks, dom, body, header, kept, weights):
    """Blocks of the way around the loop that costs least where those of `kept` are free."""
    best, todo = {header: (0.0, ())}, [header]
    ends = []
    while todo:
        name = todo.pop()
        cost, way = best[name]
        for to in blocks[name].next:
            if to == header:
                ends.append(best[name])
            if to not in body or to in dom[name]:
                continue
            more = 0.0 if to in kept else weights[to] * blocks[to].cycles
            if to not in best or cost + more < best[to][0]:
                best[to] = (cost + more, way + (() if to in kept else (to,)))
                todo.append(to)
    return set(min(ends)[1]) if ends else set()


def read_pass(text, chip, lanes, share, outer_times):
    """share: multiply-adds that a subgroup at work on a tile does in a pass."""
    blocks = blocks_of(text, chip, lanes)
    dom, before = dominators(blocks)
    loops = find_loops(blocks, dom, before)
    held = {h: sum(blocks[x].macs for x in body) for h, body in loops.items()}
    header = key_loop(blocks, loops, held)
    if header is None:
        return None
    body = loops[header]
    inner = {h: b for h, b in loops.items() if b < body}
    times = loop_times(loops, inner, held, share / 2, outer_times)
    out = Pass()
    # what all ways around go through; of an inner loop, what all ways around it go through
    always = set.intersection(*(dom[x] for x in before[header] if x in body)) & body
    for h, b in sorted(inner.items(), key=lambda x: -len(x[1])):
        if h in always or held[h]:
            always |= set.intersection(*(dom[x] for x in before[h] if x in b)) & b
    weights = {}
    for x in body:
        weight = 1
        for h, b in inner.items():
            weight *= times[h] if x in b else 1
        block = blocks[x]
        out.most_n += weight * block.n
        out.most_cycles += weight * block.cycles
        out.macs += weight * block.macs
        weights[x] = weight
    kept = {x for x in body if x in always or blocks[x].macs}
    for x in kept | cheapest_way(blocks, dom, body, header, kept, weights):
        out.least_n += weights[x] * blocks[x].n
        out.least_cycles += weights[x] * blocks[x].cycles
    out.inner = sorted((times[h], held[h]) for h in inner)
    return out
