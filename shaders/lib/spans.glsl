/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of an item, tile by tile: its whole range, or the spans of its list (struct rapt_step_span).
 * Tiles never cross the end of a span. After step.glsl. */

const bool LISTS = (FEATURES & RAPT_FEAT_BLOCKS) != 0;

/* Keys [begin, end) of a span; a tile is the first of them, `end` their end. */
struct key_tile {
    uint begin, end, test;
};

uint span_word, spans_end; /* words of the list not yet worked off */

/* The next span that has keys in the item; without one `tile` stays as it is. */
bool next_span(inout key_tile tile, uint kv_begin, uint kv_end)
{
    bool found = false;
    while (!found && span_word < spans_end) {
        uint begin = max(step_words[span_word], kv_begin);
        uint end = min(step_words[span_word + 1], kv_end);
        found = begin < end;
        if (found)
            tile = key_tile(begin, end, step_words[span_word + 2]);
        span_word += RAPT_STEP_SPAN_WORDS;
    }
    return found;
}

bool first_tile(uint item_index, uint kv_begin, uint kv_end, out key_tile tile)
{
    tile = key_tile(kv_begin, kv_end, RAPT_SPAN_CLOSED);
    span_word = spans_end = 0;
    if (!wants(RAPT_FEAT_BLOCKS))
        return kv_begin < kv_end;
    uint w = header.items_word + item_index * RAPT_STEP_ITEM_WORDS;
    uint n = step_words[w + 10];
    span_word = step_words[w + 9];
    if (n == RAPT_LIST_ON_DEVICE)
        n = step_words[span_word - 1];
    spans_end = span_word + n * RAPT_STEP_SPAN_WORDS;
    return next_span(tile, kv_begin, kv_end);
}

/* The tile after this one, `size` keys on or in the next span; without one `tile` stays as it is. */
bool next_tile(inout key_tile tile, uint size, uint kv_begin, uint kv_end)
{
    if (tile.begin + size < tile.end) {
        tile.begin += size;
        return true;
    }
    return LISTS && next_span(tile, kv_begin, kv_end);
}

/* Whether some row may not see some key of a tile as large as they get, where all rows' intervals
 * cover [first, last]. */
bool some_unseen(key_tile tile, int first, int last)
{
    int begin = int(tile.begin), tile_last = begin + int(BLOCK_KV - 1);
    bool outside = begin < first || tile_last > last;
    if (!LISTS)
        return outside;
    uint kind = tile.test & 3u;
    return tile_last >= int(tile.end) || kind >= RAPT_SPAN_BITS ||
           (kind == RAPT_SPAN_CLOSED && outside);
}

bool has_bits(key_tile tile)
{
    return (tile.test & 3u) == RAPT_SPAN_BITS;
}

/* What packed row r sees of a span: `seen` is its interval, and becomes what the span leaves of it or
 * says instead; where the span has bits, `bits` is the word of the first of the row's. */
void see_span(key_tile tile, uint r, inout ivec2 seen, out uint bits)
{
    uint kind = tile.test & 3u, word = tile.test >> 2;
    uint token = r / header.group & ((1u << header.block_q_shift) - 1u);
    int last = int(tile.end) - 1;
    bits = word + (token << max(header.block_kv_shift, 5u) - 5u);
    if (kind == RAPT_SPAN_FULL || kind == RAPT_SPAN_BITS)
        seen = ivec2(0, last);
    else if (kind == RAPT_SPAN_ROWS && (step_words[word + (token >> 5)] >> (token & 31u) & 1u) == 0u)
        seen = ivec2(0, -1);
    else
        seen.y = min(seen.y, last);
}

/* `bits` as see_span gave it; a key of the span, or within a tile past its end. */
bool bit_of(uint bits, int key)
{
    uint i = uint(key) & ((1u << header.block_kv_shift) - 1u);
    return (step_words[bits + (i >> 5)] >> (i & 31u) & 1u) != 0u;
}
