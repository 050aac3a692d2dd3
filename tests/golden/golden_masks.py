# SPDX-License-Identifier: Apache-2.0
"""Masks of golden vectors, from their definitions element by element: what a query at position p and
row i sees of a key at position j and index n."""
import re

import torch

LEAVES = ("full causal window chunked prefix sink_tokens segments bidirectional dilated bitmap blocks "
          "tree").split()


class Arrays:
    """What the leaves of a case's masks read, drawn at random, and as the file holds it."""

    def __init__(self, text, q_len, kv_len, heads, positions, generator, by_head):
        def draw(n, *shape):
            return torch.randint(n, shape, generator=generator)

        self.by_head, total_q, total_kv = by_head, sum(q_len), sum(kv_len)
        self.out, self.numbers, self.text = [], {}, text
        n_sets = heads if by_head else 1
        if "segments" in text:  # 0 is nobody's
            self.ids_q, self.ids_kv = draw(4, total_q), draw(4, total_kv)
            self.out += [("segments_q", "i32", self.ids_q), ("segments_kv", "i32", self.ids_kv)]
        if "bidirectional" in text:
            self.flags = (draw(4, total_kv) > 0).to(torch.uint8)
            self.out.append(("bidirectional", "u8", self.flags))
        if "bitmap" in text:
            self.bits, flat, offsets = [], [], []
            per_head = sum(a * b for a, b in zip(q_len, kv_len))
            for a, b in zip(q_len, kv_len):
                offsets.append(sum(x.numel() for x in self.bits) // n_sets)
                self.bits.append(draw(2, n_sets, a, b))
            for h in range(n_sets):
                flat += [x[h].flatten() for x in self.bits]
            flat = torch.cat(flat + [torch.zeros(-sum(len(x) for x in flat) % 8, dtype=torch.int64)])
            weights = 2 ** torch.arange(8)
            self.out += [("bitmap", "u8", (flat.view(-1, 8) * weights).sum(1).to(torch.uint8)),
                         ("bitmap_offsets", "u64", torch.tensor(offsets))]
            if by_head:
                self.numbers["bitmap_head_stride"] = per_head
        if "blocks" in text:
            self.shape = (5, 7)
            n_q, n_k = (int(x.max()) // s + 1 for x, s in zip(positions, self.shape))
            self.map = draw(2, n_sets, n_q, n_k)
            self.out.append(("blocks", "u8", self.map.to(torch.uint8)))
            self.numbers |= {"n_block_heads": n_sets, "n_q_blocks": n_q, "n_k_blocks": n_k,
                             "map_block_q": self.shape[0], "map_block_kv": self.shape[1]}
        if "tree" in text:  # the last keys, at most as many as there are queries
            sizes = [min(a, b) for a, b in zip(q_len, kv_len)]
            self.trees = [[int(draw(t + 1, 1)) - 1 for t in range(n)] for n in sizes]
            self.out += [("parents", "i32", torch.tensor(sum(self.trees, []))),
                         ("tree_indptr", "i32", torch.tensor([0] + sizes).cumsum(0))]


class Sequence:
    """One sequence of a case under one head's mask."""

    def __init__(self, arrays, b, h, at_q, at_kv, pos, key, prefix):
        self.a, self.b, self.h, self.prefix = arrays, b, h if arrays and arrays.by_head else 0, prefix
        self.p, self.j = pos[:, None], key[None, :]
        self.rows, self.keys = slice(at_q, at_q + len(pos)), slice(at_kv, at_kv + len(key))
        self.key0 = int(key[0]) if len(key) else 0

    def leaf(self, name, a):
        p, j, arrays = self.p, self.j, self.a
        everything = torch.ones(p.shape[0], j.shape[1], dtype=torch.bool)
        if name == "full":
            return everything
        if name == "causal":
            return j <= p
        if name == "window":
            return (everything if a[0] < 0 else j >= p - a[0]) & (everything if a[1] < 0 else j <= p + a[1])
        if name == "chunked":
            return torch.div(p, a[0], rounding_mode="floor") == torch.div(j, a[0], rounding_mode="floor")
        if name == "prefix":
            return (j < self.prefix) & everything
        if name == "sink_tokens":
            return (j < a[0]) & everything
        if name == "dilated":
            return (p - j >= 0) & (p - j < a[0] * a[1]) & ((p - j) % a[1] == 0)
        if name == "segments":
            ids = arrays.ids_q[self.rows][:, None]
            return (ids == arrays.ids_kv[self.keys][None, :]) & (ids != 0)
        if name == "bitmap":
            return arrays.bits[self.b][self.h] > 0
        if name == "blocks":
            q, k = p.expand(everything.shape), j.expand(everything.shape)
            inside = (q >= 0) & (k >= 0)
            at = (q.clamp(min=0) // arrays.shape[0], k.clamp(min=0) // arrays.shape[1])
            return inside & (arrays.map[self.h][at] > 0)
        return self.bidirectional() if name == "bidirectional" else self.tree()

    def bidirectional(self):
        flags, result = self.a.flags[self.keys].tolist(), torch.zeros(len(self.p), self.j.shape[1])
        for i, p in enumerate((self.p[:, 0] - self.key0).tolist()):
            if 0 <= p < len(flags) and flags[p]:
                first = last = p
                while first > 0 and flags[first - 1]:
                    first -= 1
                while last + 1 < len(flags) and flags[last + 1]:
                    last += 1
                result[i, first:last + 1] = 1
        return result > 0

    def tree(self):
        parents = self.a.trees[self.b]
        n_q, n_kv, result = len(self.p), self.j.shape[1], torch.zeros(len(self.p), self.j.shape[1])
        for i in range(n_q):
            result[i, :n_kv - len(parents)] = 1
            node = len(parents) - n_q + i
            while node >= 0:
                result[i, n_kv - len(parents) + node] = 1
                node = parents[node]
        return result > 0

    def expression(self, text):
        """`!` before `&` before `|`, and parentheses."""
        self.tokens = re.findall(r"\w+|-\d+|[!&|(),]", text)
        result = self.union()
        assert not self.tokens, text
        return result

    def union(self):
        result = self.intersection()
        while self.tokens and self.tokens[0] == "|":
            self.tokens.pop(0)
            result = result | self.intersection()
        return result

    def intersection(self):
        result = self.single()
        while self.tokens and self.tokens[0] == "&":
            self.tokens.pop(0)
            result = result & self.single()
        return result

    def single(self):
        token, arguments = self.tokens.pop(0), []
        if token == "!":
            return ~self.single()
        if token == "(":
            result = self.union()
            assert self.tokens.pop(0) == ")"
            return result
        assert token in LEAVES, token
        if self.tokens and self.tokens[0] == "(":
            while self.tokens.pop(0) != ")":
                if self.tokens[0] not in ",)":
                    arguments.append(int(self.tokens[0]))
        return self.leaf(token, arguments)
