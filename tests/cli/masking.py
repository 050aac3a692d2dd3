# SPDX-License-Identifier: Apache-2.0
"""The mask language written out plainly, pair by pair, from its definition: what tests of masks compare
with. A mask is a function of (sequence, head, query i, its position P, key j, its position J)."""


def both(*masks):
    return lambda *pair: all(mask(*pair) for mask in masks)


def either(*masks):
    return lambda *pair: any(mask(*pair) for mask in masks)


def no(mask):
    return lambda *pair: not mask(*pair)


def full(b, h, i, P, j, J):
    return True


def causal(b, h, i, P, j, J):
    return J <= P


def window(left, right):
    return lambda b, h, i, P, j, J: (left == -1 or P - left <= J) and (right == -1 or J <= P + right)


def chunked(size):
    return lambda b, h, i, P, j, J: P // size == J // size


def prefix(lengths):
    return lambda b, h, i, P, j, J: J < lengths[b]


def sink_tokens(n):
    return lambda b, h, i, P, j, J: J < n


def segments(ids_q, ids_kv):
    """ids of each sequence"""
    return lambda b, h, i, P, j, J: ids_q[b][i] == ids_kv[b][j] != 0


def bidirectional(flags, kv_pos0=0):
    """flags of each sequence"""
    def allows(b, h, i, P, j, J):
        first, last = sorted((P - kv_pos0, j))
        return 0 <= first and last < len(flags[b]) and all(flags[b][first:last + 1])
    return allows


def dilated(width, rate):
    return lambda b, h, i, P, j, J: 0 <= P - J < width * rate and (P - J) % rate == 0


def bitmap(bits):
    """of one sequence, [head][query][key], or one head for all"""
    return lambda b, h, i, P, j, J: bool(bits[h if len(bits) > 1 else 0][i][j])


def blocks(maps, block_q, block_kv):
    def allows(b, h, i, P, j, J):
        rows = maps[h if len(maps) > 1 else 0]
        row, column = P // block_q, J // block_kv
        return 0 <= row < len(rows) and 0 <= column < len(rows[0]) and bool(rows[row][column])
    return allows


def tree(parents, q_lens, kv_lens):
    """parents of each sequence's nodes, its last keys"""
    def allows(b, h, i, P, j, J):
        first = kv_lens[b] - len(parents[b])
        node, wanted = len(parents[b]) - q_lens[b] + i, j - first
        if wanted < 0:
            return True
        while node >= 0:
            if node == wanted:
                return True
            node = parents[b][node]
        return False
    return allows


def per_head(masks, otherwise):
    return lambda b, h, *rest: masks.get(h, otherwise)(b, h, *rest)
