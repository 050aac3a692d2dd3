/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of a work item of few packed rows by a workgroup: LANES lanes share a key, a lane group takes
 * KEYS keys that follow each other at a time, and a lane has its part of the dims of all BLOCK_Q rows.
 * lib/tiled.glsl does the same for more rows; shaders/tiles.h has the tile numbers.
 *
 *   scores   K from memory to registers, Q from shared memory once for all keys; the sums of a lane group
 *            are added by butterflies that leave a quarter of them in each lane of a quad
 *   weights  a lane does those of its own scores alone, and gives them to its quad
 *   output   V from memory to registers, sums in registers: of the same lane group's keys
 *
 * Keys are counted from `base`, the largest logit of the subgroup's row when some logit was SLACK above the
 * one before: sums are seldom rescaled. Sums of f32 lose digits when they grow long: every FOLD_PASSES passes
 * those of the subgroup's lane groups are added up, each keeping a part, and join the whole. Subgroups know
 * nothing of each other until the end.
 *
 * All loads of K of a pass are under way at once, then all of V while scores become weights; a subgroup that
 * waits leaves the others of its SIMD at work. The table of pages is read a pass ahead. */
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_quad : require
#include "step.glsl"
#include "spans.glsl"
#include "storage.glsl"
#include "kv.glsl"
#include "logits.glsl"
#include "output.glsl"
#include "item.glsl"

layout(constant_id = RAPT_SPEC_SUBGROUP) const uint SUBGROUP = 32;

const uint KEYS = TILE_A, LANES = TILE_B;
const bool WORDS_ALONE = TILE_C != 0; /* the driver makes wide loads of words at any place */
const uint SUBGROUPS = WG_SIZE / SUBGROUP, GROUPS = SUBGROUP / LANES; /* of the workgroup, of a subgroup */
const uint SCORES = BLOCK_Q * KEYS, OWN = SCORES / 4;                 /* of a lane group, of a lane */
const uint OWN_ROWS = BLOCK_Q > 4 ? BLOCK_Q / 4 : 1;
const uint ROW_LANES = BLOCK_Q > 4 ? 4 : BLOCK_Q; /* lanes equal modulo this have the same rows */
const uint FOLD_PASSES = 64 / KEYS;
#define SLACK (8.0 / LOGIT_LOG2)
#define LEAST_FLOAT -3.402823466e38

const uint K_UNIT = 8, V_UNIT = 8; /* dims that a lane fetches at once */
const uint K_UNITS = (D / K_UNIT + LANES - 1) / LANES, V_UNITS = (DV / V_UNIT + LANES - 1) / LANES;
const uint ROW_SIZE = V_UNITS * V_UNIT, O_SIZE = BLOCK_Q * ROW_SIZE; /* of a lane */
const uint SPREAD = GROUPS < 8 ? GROUPS : 8;                         /* lane groups that keep other parts */
const uint WHOLE_SIZE = O_SIZE / SPREAD;
const uint Q_PITCH = K_UNITS * LANES * K_UNIT / 4; /* vec4s of a row of Q */
const uint OUT_PITCH = LANES * ROW_SIZE; /* floats of a row of output */

shared vec4 q_tile[BLOCK_Q * Q_PITCH];
shared float parts[SUBGROUPS * BLOCK_Q * OUT_PITCH]; /* of the output, at the end */
shared float subgroup_tops[SUBGROUPS * BLOCK_Q], subgroup_sums[SUBGROUPS * BLOCK_Q];

float o[O_SIZE], whole[WHOLE_SIZE];
float score[SCORES]; /* the first OWN of them when they are added up */
float top[OWN_ROWS], base[OWN_ROWS], whole_base[OWN_ROWS], l[OWN_ROWS], l_whole[OWN_ROWS];
ivec2 seen[OWN_ROWS];
logit_row logit_rows[OWN_ROWS];
uint quad_place, own_first; /* which quarter of the scores a lane has, and its first */

/* ---- between lanes */

float of_quad(float x, uint place)
{
    /* `place` counts as butterflies leave the scores: lanes 0, 2, 1, 3 */
    if (place == 0)
        return subgroupQuadBroadcast(x, 0);
    if (place == 1)
        return subgroupQuadBroadcast(x, 2);
    if (place == 2)
        return subgroupQuadBroadcast(x, 1);
    return subgroupQuadBroadcast(x, 3);
}

/* What a lane knows of row r of the tile, for all of its quad. */
float of_row(float x[OWN_ROWS], uint r)
{
    return of_quad(x[r % OWN_ROWS], r * 4 / BLOCK_Q);
}

/* A score's row, of the lane's own, and key. */
uint row_of(uint i)
{
    return i / KEYS;
}

uint key_of(uint i)
{
    return (own_first + i) % KEYS;
}

/* Of `count` values a lane keeps half and gives half to the lane whose number has another bit there. */
#define HALVE(x, count, bit, SWAP) \
    { \
        bool upper = (gl_SubgroupInvocationID & (bit)) != 0; \
        [[unroll]] for (uint i = 0; i < (count) / 2; i++) { \
            float keep = upper ? x[i + (count) / 2] : x[i]; \
            float give = upper ? x[i] : x[i + (count) / 2]; \
            x[i] = keep + SWAP; \
        } \
    }
#define BY_XOR(bit) subgroupShuffleXor(give, bit)

void gather_scores()
{
    HALVE(score, SCORES, 1, subgroupQuadSwapHorizontal(give))
    HALVE(score, SCORES / 2, 2, subgroupQuadSwapVertical(give))
#define ADD(bit) \
    if (LANES > (bit)) \
        [[unroll]] for (uint i = 0; i < OWN; i++) \
            score[i] += subgroupShuffleXor(score[i], bit);
    ADD(4)
    ADD(8)
    ADD(16)
    ADD(32)
#undef ADD
}

float max_of_row(float x)
{
    if (ROW_LANES <= 1)
        x = max(x, subgroupQuadSwapHorizontal(x));
    if (ROW_LANES <= 2)
        x = max(x, subgroupQuadSwapVertical(x));
    for (uint bit = 4; bit < SUBGROUP; bit *= 2)
        x = max(x, subgroupShuffleXor(x, bit));
    return x;
}

/* Other quads of a lane group have the same scores. */
float sum_of_row(float x)
{
    if (ROW_LANES <= 1)
        x += subgroupQuadSwapHorizontal(x);
    if (ROW_LANES <= 2)
        x += subgroupQuadSwapVertical(x);
    for (uint bit = LANES; bit < SUBGROUP; bit *= 2)
        x += subgroupShuffleXor(x, bit);
    return x;
}

/* Row r's weight of key n of the run. */
float weight_of_key(uint r, uint n)
{
    uint at = r * KEYS + n;
    return of_quad(score[at % OWN], at / OWN);
}

/* ---- memory to registers */

/* Of this item's K and V: where key 0 lies, and a page is added; elements from a page, a key to the next. */
uvec2 origin, page_strides, strides;
uint page_table, last_entry, last_page, page_shift, page_mask; /* words; the last that count */
bvec2 aligned; /* K's rows, V's rows: for wide loads */

/* Without pages all keys lie in page 0 of a table that holds some number. */
void find_pages()
{
    bool paged = wants(RAPT_FEAT_PAGED);
    key_place first = place_in(item.seq, item.kv_head, 0, 0);
    origin = first.element;
    strides = uvec2(header.k_token_stride, header.v_token_stride);
    page_strides = uvec2(header.k_page_stride_lo, header.v_page_stride_lo);
    page_table = paged ? header.pages_word + step_words[item.seq + SEQ_PAGE_FIRST] : 0;
    last_entry = paged ? max(step_words[item.seq + SEQ_N_PAGES], 1u) - 1u : 0;
    last_page = paged ? max(header.n_pages, 1u) - 1u : 0;
    page_shift = paged ? header.page_shift : 0;
    page_mask = paged ? header.page_mask : ~0u;
}

/* The keys a lane group takes at a time: they lie one behind the other, in one page. */
struct key_run {
    uint first;       /* key of the sequence; may lie past the last */
    uint from;        /* the one that is read first */
    uint page;        /* its entry of the table */
    uvec2 at;         /* elements of its rows of K and V */
    uint least, most; /* keys behind that one that may be read */
    bool is_cut;      /* they are not all */
};

uint key_in_run(key_run run, uint n)
{
    return min(max(n, run.least), run.most);
}

/* Of unit c of a lane, four dims from y on. */
vec4 q_of(uint r, uint c, uint y)
{
    return q_tile[r * Q_PITCH + (c * LANES + lane % LANES) * (K_UNIT / 4) + y / 4];
}

#include "lane_floats.glsl"

/* Keys before the item's first and after the tile's last are never read. */
key_run begin_run(key_tile keys)
{
    key_run run;
    run.first = keys.begin + lane / LANES * KEYS;
    run.from = min(run.first, (keys.end - 1) & ~(KEYS - 1));
    run.least = max(item.kv_begin, run.from) - run.from;
    run.most = min(keys.end - 1 - run.from, KEYS - 1);
    run.is_cut = run.least != 0 || run.most != KEYS - 1;
    run.page = 0;
    if ((FEATURES & RAPT_FEAT_PAGED) != 0)
        run.page = step_words[page_table + min(run.from >> page_shift, last_entry)];
    return run;
}

/* Once the entry of the table is there. */
void find_run(inout key_run run)
{
    uint from = run.from;
    run.at = origin;
    if ((FEATURES & RAPT_FEAT_PAGED) != 0) {
        uint page = min(run.page, last_page);
        run.at += page * page_strides;
        from &= page_mask;
    }
    run.at += from * strides;
}

/* ---- an item */
void load_q()
{
    float scale = header.scale * (PLAIN_LOGITS ? LOG2E : 1.0);
    const uint eights = K_UNIT / 8, row = K_UNITS * LANES * eights;
    for (uint t = lane; t < BLOCK_Q * row; t += WG_SIZE) {
        vec4 a, b;
        uint e = t % row, unit = e / eights;
        read_q(row_in_item(t / row), k_dim(unit, e % eights * 8), a, b);
        q_tile[2 * t] = unit < D / K_UNIT ? a * scale : vec4(0.0);
        q_tile[2 * t + 1] = unit < D / K_UNIT ? b * scale : vec4(0.0);
    }
    barrier();
}

float first_base()
{
    float most = PLAIN_LOGITS ? header.max_logit_const * LOG2E : header.max_logit_const;
    return wants(RAPT_FEAT_CONST_MAX) ? most : LEAST_FLOAT;
}

void start_rows()
{
    uint quad_lane = gl_SubgroupInvocationID & 3u;
    quad_place = (quad_lane & 1u) * 2 + (quad_lane >> 1);
    own_first = quad_place * OWN;
    float most = first_base();
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        packed_row row = row_in_item(own_first / KEYS + i);
        seen[i] = row_keys(item.seq, row_position(item.seq, row.token), item.kv_begin, item.kv_end);
        top[i] = NEG_INF;
        base[i] = whole_base[i] = most;
        l[i] = l_whole[i] = 0.0;
        if (!PLAIN_LOGITS)
            logit_rows[i] = load_logit_row(item.seq, row);
    }
    [[unroll]] for (uint i = 0; i < O_SIZE; i++)
        o[i] = 0.0;
    [[unroll]] for (uint i = 0; i < WHOLE_SIZE; i++)
        whole[i] = 0.0;
}

/* ---- a pass */

void mask_scores(key_tile keys, key_run run)
{
    ivec2 sees[OWN_ROWS];
    uint bits[OWN_ROWS];
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        sees[i] = seen[i];
        bits[i] = 0;
        if (LISTS) {
            uint r = min(own_first / KEYS + i, item.n_rows - 1);
            see_span(keys, item.row_first + r, sees[i], bits[i]);
            sees[i].x = max(sees[i].x, int(item.kv_begin));
        }
    }
    [[unroll]] for (uint i = 0; i < OWN; i++) {
        int key = int(run.first + key_of(i));
        ivec2 range = sees[row_of(i)];
        float s = score[i];
        if (!PLAIN_LOGITS)
            s = finish_logit(s, logit_rows[row_of(i)], clamp(uint(key), item.kv_begin, keys.end - 1));
        bool sees_it = key >= range.x && key <= range.y;
        if (LISTS && has_bits(keys) && sees_it)
            sees_it = bit_of(bits[row_of(i)], key);
        score[i] = sees_it ? s : NEG_INF;
    }
}

void rescale(float most[OWN_ROWS])
{
    float keep[OWN_ROWS];
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        float now = max(max_of_row(most[i]), base[i]);
        keep[i] = exp2((base[i] - now) * LOGIT_LOG2);
        base[i] = now;
        l[i] *= keep[i];
    }
    [[unroll]] for (uint r = 0; r < BLOCK_Q; r++) {
        float factor = of_row(keep, r);
        [[unroll]] for (uint i = 0; i < ROW_SIZE; i++)
            o[r * ROW_SIZE + i] *= factor;
    }
}

void weigh_scores()
{
    float most[OWN_ROWS];
    bool above = false;
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        most[i] = score[i * KEYS % OWN];
        [[unroll]] for (uint n = 1; n < OWN / OWN_ROWS; n++)
            most[i] = max(most[i], score[i * KEYS % OWN + n]);
        top[i] = max(top[i], most[i]);
        above = above || most[i] > base[i] + SLACK;
    }
    if (!wants(RAPT_FEAT_CONST_MAX) && subgroupAny(above))
        rescale(most);
    [[unroll]] for (uint i = 0; i < OWN; i++) {
        score[i] = exp2((score[i] - base[row_of(i)]) * LOGIT_LOG2);
        l[row_of(i)] += score[i];
    }
}

/* Of the elements of o a lane keeps those from here on. */
uint whole_first()
{
    uint group = gl_SubgroupInvocationID / LANES;
    return (group & 1u) * (SPREAD > 1 ? O_SIZE / 2 : 0) + (group >> 1 & 1u) * (SPREAD > 2 ? O_SIZE / 4 : 0) +
           (group >> 2 & 1u) * (SPREAD > 4 ? O_SIZE / 8 : 0);
}

/* Sums of the subgroup's lane groups join the whole. */
void fold()
{
    float keep[OWN_ROWS], factor[BLOCK_Q];
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        keep[i] = exp2((whole_base[i] - base[i]) * LOGIT_LOG2);
        whole_base[i] = base[i];
        l_whole[i] = l_whole[i] * keep[i] + l[i];
        l[i] = 0.0;
    }
    [[unroll]] for (uint r = 0; r < BLOCK_Q; r++)
        factor[r] = of_row(keep, r);
#define SPREAD_BY(n) \
    if (SPREAD > (n)) \
        HALVE(o, O_SIZE / (n), LANES * (n), BY_XOR(LANES * (n)))
    SPREAD_BY(1)
    SPREAD_BY(2)
    SPREAD_BY(4)
#define ADD(n) \
    if (GROUPS > (n)) \
        [[unroll]] for (uint i = 0; i < WHOLE_SIZE; i++) \
            o[i] += subgroupShuffleXor(o[i], LANES * (n));
    ADD(8)
    ADD(16)
#undef ADD
    uint first = whole_first();
    [[unroll]] for (uint i = 0; i < WHOLE_SIZE; i++) {
        float by = factor[0];
        [[unroll]] for (uint r = 1; r < BLOCK_Q; r++)
            by = (first + i) / ROW_SIZE == r ? factor[r] : by;
        whole[i] = whole[i] * by + o[i];
    }
    [[unroll]] for (uint i = 0; i < O_SIZE; i++)
        o[i] = 0.0;
}

void work_tiles(key_tile keys)
{
    bool more;
    keys.begin &= ~(KEYS - 1);
    key_run run = begin_run(keys);
    do {
        uint pass = 0;
        do {
            key_tile next = keys;
            find_run(run);
            fetch_k(run);
            more = next_tile(next, BLOCK_KV, item.kv_begin, item.kv_end);
            next.begin &= ~(KEYS - 1);
            key_run next_run = begin_run(next);
            add_scores(run);
            fetch_v(run);
            gather_scores();
            mask_scores(keys, run);
            weigh_scores();
            add_values(run);
            keys = next;
            run = next_run;
            pass++;
        } while (more && pass < FOLD_PASSES);
        fold();
    } while (more);
}

/* ---- results */

/* The largest logit of row r in all subgroups, as its weights are counted from. */
float top_of_row(uint r)
{
    float most = subgroup_tops[r];
    [[unroll]] for (uint s = 1; s < SUBGROUPS; s++)
        most = max(most, subgroup_tops[s * BLOCK_Q + r]);
    return most;
}

/* What sums of a lane's own row are multiplied by, to be counted from the largest of all subgroups. */
float factor_of_subgroup(uint i, float most)
{
    if (wants(RAPT_FEAT_CONST_MAX))
        return 1.0;
    return exp2((base[i] - (most == NEG_INF ? 0.0 : most)) * LOGIT_LOG2);
}

void join_subgroups()
{
    float factor[OWN_ROWS], by[BLOCK_Q];
    uint first_row = own_first / KEYS;
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        float most = max_of_row(top[i]);
        if (gl_SubgroupInvocationID < ROW_LANES)
            subgroup_tops[gl_SubgroupID * BLOCK_Q + first_row + i] = most;
    }
    barrier();
    [[unroll]] for (uint i = 0; i < OWN_ROWS; i++) {
        factor[i] = factor_of_subgroup(i, top_of_row(first_row + i));
        float sum = sum_of_row(l_whole[i]) * factor[i];
        if (gl_SubgroupInvocationID < ROW_LANES)
            subgroup_sums[gl_SubgroupID * BLOCK_Q + first_row + i] = sum;
    }
    [[unroll]] for (uint r = 0; r < BLOCK_Q; r++)
        by[r] = of_row(factor, r);
    uint first = whole_first(), to = gl_SubgroupID * BLOCK_Q * OUT_PITCH;
    [[unroll]] for (uint i = 0; i < WHOLE_SIZE; i++) {
        float x = by[0];
        uint e = first + i, r = e / ROW_SIZE, unit = e % ROW_SIZE / V_UNIT * LANES + lane % LANES;
        [[unroll]] for (uint y = 1; y < BLOCK_Q; y++)
            x = r == y ? by[y] : x;
        parts[to + r * OUT_PITCH + v_dim(unit, e % V_UNIT)] = whole[i] * x;
    }
    barrier();
}

void store_rows()
{
    for (uint t = lane; t < item.n_rows * (DV / 4); t += WG_SIZE) {
        uint r = t / (DV / 4), d = t % (DV / 4) * 4;
        float most = top_of_row(r), highest = most * LOGIT_NATURAL, l = 0.0, factor = 1.0;
        vec4 x = vec4(0.0);
        [[dont_unroll]] for (uint s = 0; s < SUBGROUPS; s++) {
            uint at = (s * BLOCK_Q + r) * OUT_PITCH + d;
            l += subgroup_sums[s * BLOCK_Q + r];
            x += vec4(parts[at], parts[at + 1], parts[at + 2], parts[at + 3]);
        }
        packed_row row = row_in_item(r);
        if (item.partial == RAPT_DIRECT) {
            float m = wants(RAPT_FEAT_CONST_MAX) ? header.max_logit_const : highest;
            factor = finish_row(row.head, m, l);
            if (d == 0)
                store_statistics(item.seq, row, m, l, highest);
        } else if (d == 0) {
            uint ml = push.work_base + header.partial_ml_word + 2 * (item.partial + r);
            work_floats[ml] = highest;
            work_floats[ml + 1] = l;
        }
        store_row4(r, d, x * factor);
    }
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    load_item(push.first + index);
    lane = gl_SubgroupID * SUBGROUP + gl_SubgroupInvocationID;
    aligned = rows_aligned(item.seq, item.kv_head, LOW_BITS);
    find_pages();
    load_q();
    start_rows();
    key_tile keys;
    if (first_tile(push.first + index, item.kv_begin, item.kv_end, keys))
        work_tiles(keys);
    join_subgroups();
    store_rows();
}
