/* SPDX-License-Identifier: Apache-2.0 */
/* A list of key blocks: its block of queries, their intervals in closed form, and what these say about a
 * block of keys. After step.glsl, sparse.glsl, sparse_rows.glsl. */

const uint MOST_TOKENS = 256;
/* Kinds of blocks: RAPT_SPAN_FULL, _CLOSED, _BITS (and 8 * the number of the tile), or */
const uint BLOCK_EMPTY = 4, BLOCK_OPEN = 5;

shared ivec2 interval_of[MOST_TOKENS]; /* first and last key of each query */
shared int shared_first, shared_last, shared_all_first, shared_all_last;
shared uint shared_gap;

struct list_row {
    uint list, set, b, seq, token, n_tokens, kv_len, n_blocks;
    int first, last;         /* keys some query may see lie in here */
    int all_first, all_last; /* each may see these */
    bool gaps;               /* and there may be keys between first and last that none may see */
};
list_row at;

/* Visible after this. */
void find_list(uint list)
{
    uint n_rows = work_words[blocks_before() + header.n_seqs], lane = gl_LocalInvocationIndex;
    at.list = list;
    at.set = list / n_rows;
    uint row = list - at.set * n_rows;
    at.b = find_in(blocks_before(), row);
    at.seq = seq_word(at.b);
    at.token = (row - work_words[blocks_before() + at.b]) << header.block_q_shift;
    at.n_tokens = min(1u << header.block_q_shift, step_words[at.seq + SEQ_Q_LEN] - at.token);
    at.kv_len = step_words[at.seq + SEQ_KV_LEN];
    at.n_blocks = (at.kv_len + (1u << header.block_kv_shift) - 1) >> header.block_kv_shift;
    if (lane == 0) {
        shared_first = shared_all_last = 0x7fffffff;
        shared_last = shared_all_first = -1;
        shared_gap = 0;
    }
    barrier();
    for (uint t = lane; t < at.n_tokens; t += WG_SIZE) {
        int position = row_position(at.seq, at.token + t);
        ivec2 keys = row_keys(at.seq, position, 0, at.kv_len);
        interval_of[t] = keys;
        atomicMax(shared_all_first, keys.x);
        atomicMin(shared_all_last, keys.y);
        if (keys.x <= keys.y) {
            atomicMin(shared_first, keys.x);
            atomicMax(shared_last, keys.y);
        }
        /* every interval has its position in it or at its end: those of neighbours touch */
        if (t > 0 && row_position(at.seq, at.token + t - 1) + 1 != position)
            atomicOr(shared_gap, 1);
    }
    barrier();
    at.first = shared_first;
    at.last = shared_last;
    at.all_first = shared_all_first;
    at.all_last = shared_all_last;
    at.gaps = shared_gap != 0;
}

/* Blocks [x, y) have every key that some query may see. */
uvec2 blocks_in_reach()
{
    if (at.first > at.last)
        return uvec2(0);
    return uvec2(uint(at.first) >> header.block_kv_shift, (uint(at.last) >> header.block_kv_shift) + 1);
}

uint closed_kind(uint block)
{
    int begin = int(block << header.block_kv_shift);
    int end = min(begin + (1 << header.block_kv_shift), int(at.kv_len)) - 1;
    if (begin > at.last || end < at.first)
        return BLOCK_EMPTY;
    if (begin >= at.all_first && end <= at.all_last)
        return RAPT_SPAN_FULL;
    if (!at.gaps)
        return RAPT_SPAN_CLOSED;
    for (uint t = 0; t < at.n_tokens; t++) {
        ivec2 keys = interval_of[t];
        if (keys.x <= end && keys.y >= begin && keys.x <= keys.y)
            return RAPT_SPAN_CLOSED;
    }
    return BLOCK_EMPTY;
}
