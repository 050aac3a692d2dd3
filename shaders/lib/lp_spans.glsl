/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of an item on the CPU driver, span by span (struct rapt_step_span; without lists the whole
 * range is the only one). A kernel's loop over steps of keys is
 *
 *   uint j = first_keys(item);
 *   if (j < span_end)
 *       do {
 *           start_fold(j, FOLD);
 *           do {
 *               ... keys j, j + 1, ... as far as the rows see them
 *               next_keys(item, j, keys of a step);
 *           } while (j < stop);
 *       } while (j < span_end);
 *
 * so there is one copy of the step, and sums are folded by the number of keys, not by span. What a span
 * tells about a row becomes its interval [lo, hi] while the span lasts, and a word of bits where it has
 * them. After lp_rows.glsl; TILE_B is the number of a lane's rows. */

const bool LISTS = (FEATURES & RAPT_FEAT_BLOCKS) != 0;

lp_row rows[TILE_B];
uint span_end, span_test, stop, fold_end; /* keys */
uint span_word, n_spans, last_span; /* the list beyond the span at hand */
uint span_ahead; /* where that begins */
int lo[TILE_B], hi[TILE_B];
int all_lo, all_hi; /* every row sees [all_lo, all_hi], if the span has no bits; for prefill */
int item_lo, item_hi; /* as far as intervals go, for all of the item */
uint row_bits[TILE_B], bits_mask;

#define SPAN_HAS_BITS ((span_test & 3u) == RAPT_SPAN_BITS)

void enter_span()
{
    uint kind = span_test & 3u, word = span_test >> 2, shift = HEADER(block_kv_shift);
    bool by_interval = kind == RAPT_SPAN_CLOSED || kind == RAPT_SPAN_ROWS;
    int last = int(span_end) - 1;
    bits_mask = (1u << shift) - 1u;
    [[unroll]] for (uint r = 0; r < TILE_B; r++) {
        uint token = rows[r].token & ((1u << HEADER(block_q_shift)) - 1u);
        lo[r] = by_interval ? rows[r].lo : 0;
        hi[r] = by_interval ? min(rows[r].hi, last) : last;
        row_bits[r] = word + (token << (max(shift, 5u) - 5u));
        if (kind == RAPT_SPAN_ROWS)
            hi[r] = (STEP(word + (token >> 5)) >> (token & 31u) & 1u) != 0u ? hi[r] : -1;
    }
    all_lo = by_interval ? item_lo : 0;
    all_hi = by_interval ? min(item_hi, last) : last;
    if (kind == RAPT_SPAN_ROWS)
        all_hi = -1;
}

/* Key of the next span that has some in the item; 0, and a span that ends there, if there is none. */
uint take_span(lp_item item)
{
    uint j = 0;
    span_end = 0;
    if (n_spans > 0)
        do {
            span_word = min(span_word, last_span); /* see lp_common.glsl */
            j = max(STEP(span_word), item.kv_begin);
            span_end = min(STEP(span_word + 1), item.kv_end);
            span_test = STEP(span_word + 2);
            span_word += RAPT_STEP_SPAN_WORDS;
            n_spans--;
        } while (n_spans > 0 && j >= span_end);
    span_ahead = j;
    if (n_spans > 0)
        span_ahead = max(STEP(span_word), item.kv_begin);
    if (j < span_end)
        enter_span();
    else
        j = span_end = 0;
    return j;
}

/* The rows' intervals must be in item_lo and item_hi, where the kernel uses all_lo and all_hi. */
uint first_keys(lp_item item)
{
    span_end = item.kv_end;
    span_test = RAPT_SPAN_CLOSED;
    n_spans = 0;
    [[unroll]] for (uint r = 0; r < TILE_B; r++) {
        lo[r] = rows[r].lo;
        hi[r] = rows[r].hi;
    }
    all_lo = item_lo;
    all_hi = item_hi;
    if (!wants(RAPT_FEAT_BLOCKS))
        return item.kv_begin;
    n_spans = item.n_blocks;
    span_word = item.block_first;
    if (n_spans == RAPT_LIST_ON_DEVICE)
        n_spans = STEP(span_word - 1);
    last_span = span_word + (max(n_spans, 1u) - 1u) * RAPT_STEP_SPAN_WORDS;
    return take_span(item);
}

void start_fold(uint j, uint n_keys)
{
    fold_end = j + n_keys;
    stop = min(span_end, fold_end);
}

void next_keys(lp_item item, inout uint j, uint step_keys)
{
    j += step_keys;
    if (LISTS && j >= span_end) {
        uint left = fold_end - min(fold_end, j);
        j = take_span(item);
        fold_end = j + left;
        stop = min(span_end, fold_end);
    }
}

/* Where the step after the one at j begins, for asking for its keys ahead. */
uint keys_ahead(uint j, uint step_keys)
{
    return LISTS && j + step_keys >= span_end ? span_ahead : j + step_keys;
}

/* Where SPAN_HAS_BITS: bit n tells whether row r sees key j + n, of keys in the same 32. */
uint step_bits(uint r, uint j)
{
    uint i = j & bits_mask;
    return STEP(row_bits[r] + (i >> 5)) >> (i & 31u);
}

bool sees(uint r, uint j)
{
    bool inside = int(j) >= lo[r] && int(j) <= hi[r];
    if (LISTS && SPAN_HAS_BITS)
        inside = inside && (step_bits(r, j) & 1u) != 0u;
    return inside;
}
