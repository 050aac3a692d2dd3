/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of one work item by a workgroup: BLOCK_Q packed rows against tiles of BLOCK_KV keys, with
 * the running softmax of Milakov and Gimelshein (2018), tiled as in FlashAttention. Prefill and
 * decode differ in their tile numbers alone (shaders/tiles.h has the formula of shared memory).
 *
 * The workgroup is a grid of TX x TY lanes. Lane (tx, ty) owns rows ty, ty + TY, ... and of the scores
 * keys tx, tx + TX, ..., of the output vec4s tx, tx + TX, ...: neighbours in tx read neighbouring
 * shared memory, all rows of a lane share what it reads.
 *
 *   scores   K (and Q, unless it stays: TILE_D) through shared memory in slices of TILE_A dims
 *   maxima   of a row across its TX lanes: one shared array
 *   weights  overwrite the slices of Q and K, which are done with
 *   output   V through shared memory in slices of TILE_C keys
 *
 * While a slice is worked on, the next one is on its way from memory into registers. Sums of f32 lose
 * digits when they grow long: every FOLD_KEYS keys the part sums are added to the whole ones, so a
 * million keys are as exact as a few hundred. */
#extension GL_EXT_control_flow_attributes : require
#ifdef INTEGER_DOT
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "step.glsl"
#include "spans.glsl"
#include "storage.glsl"
#include "kv.glsl"
#include "logits.glsl"
#include "output.glsl"
#include "item.glsl"

const uint FOLD_KEYS = 256;
const uint TX = TILE_B, TY = WG_SIZE / TX;
const uint RM = BLOCK_Q / TY, RN = BLOCK_KV / TX;     /* rows, keys of a lane */
const uint DN = (DV + 4 * TX - 1) / (4 * TX);         /* vec4s of output of a lane and row */
const uint SLICE = TILE_A, N_SLICES = (D + SLICE - 1) / SLICE;
const uint PITCH = SLICE / 4 + 1;                     /* vec4s; odd, so that rows change banks */
const uint Q_PITCH = TILE_D * (N_SLICES - 1) * (SLICE / 4) + PITCH;
const uint P_PITCH = BLOCK_KV / 4 + 1;
const uint V_KEYS = TILE_C, V_PITCH = DN * TX;
const uint K_EIGHTS = SLICE / 8, V_EIGHTS = DV / 8;
const uint Q_LOADS = (BLOCK_Q * K_EIGHTS + WG_SIZE - 1) / WG_SIZE;

const uint Q_PART = (1 - TILE_D) * BLOCK_Q * PITCH;   /* the Q slice, then the K slice */
const uint SCORES_VEC4S = Q_PART + BLOCK_KV * PITCH;
const uint WEIGHTS_VEC4S = BLOCK_Q * P_PITCH;
const uint TILE_VEC4S = SCORES_VEC4S > WEIGHTS_VEC4S ? SCORES_VEC4S : WEIGHTS_VEC4S;

#ifdef INTEGER_DOT
shared vec4 tile[WEIGHTS_VEC4S];
#else
shared vec4 tile[TILE_VEC4S];
shared vec4 whole_q[1 + TILE_D * BLOCK_Q * Q_PITCH];
#endif
shared vec4 v_tile[V_KEYS * V_PITCH];
shared vec4 lanes_of_row[BLOCK_Q * TX / 4];

uint tx, ty;
bvec2 aligned; /* K's rows, V's rows: for wide loads */

float score[RM * RN];
vec4 o_part[RM * DN], o_whole[RM * DN];
float top[RM], l_part[RM], l_whole[RM], m_whole[RM];
logit_row logit_rows[RM];

uint row_of(uint i)
{
    return i * TY + ty;
}

/* ---- memory to registers to shared memory */

#if KV_TYPE <= RAPT_STORE_BF16
#include "tile_floats.glsl"
#else
#include "tile_quantized.glsl"
#endif

#ifdef INTEGER_DOT
#include "tile_dot.glsl"
#else
/* A slice of Q, times the scale of the logits as they are kept. */
void load_q(uint slice)
{
    float scale = header.scale * (PLAIN_LOGITS ? LOG2E : 1.0);
    [[unroll]] for (uint n = 0; n < Q_LOADS; n++) {
        uint t = n * WG_SIZE + lane, d = slice * SLICE + t % K_EIGHTS * 8;
        packed_row row = row_in_item(min(t / K_EIGHTS, BLOCK_Q - 1));
        vec4 a, b;
        read_q(row, d, a, b);
        a = d < D ? a * scale : vec4(0.0);
        b = d < D ? b * scale : vec4(0.0);
        if (t < BLOCK_Q * K_EIGHTS) {
            uint to = t / K_EIGHTS * Q_PITCH + t % K_EIGHTS * 2;
            if (TILE_D != 0) {
                whole_q[to + slice * (SLICE / 4)] = a;
                whole_q[to + slice * (SLICE / 4) + 1] = b;
            } else {
                tile[to] = a;
                tile[to + 1] = b;
            }
        }
    }
}
#endif

/* ---- the four parts of a tile */

#ifndef INTEGER_DOT
void add_scores(uint slice)
{
    uint q_at = TILE_D * slice * (SLICE / 4);
    [[dont_unroll]] for (uint c = 0; c < SLICE / 4; c++) {
        vec4 q[RM];
        [[unroll]] for (uint i = 0; i < RM; i++) {
            uint at = row_of(i) * Q_PITCH + q_at + c;
            if (TILE_D != 0)
                q[i] = whole_q[at];
            else
                q[i] = tile[at];
        }
        [[unroll]] for (uint n = 0; n < RN; n++) {
            vec4 k = tile[Q_PART + (n * TX + tx) * PITCH + c];
            [[unroll]] for (uint i = 0; i < RM; i++) {
                float s = score[i * RN + n];
                s += q[i].x * k.x;
                s += q[i].y * k.y;
                s += q[i].z * k.z;
                s += q[i].w * k.w;
                score[i * RN + n] = s;
            }
        }
    }
}
#endif

#ifdef TOKEN_LISTS
/* Biases of the keys that are named, and which of those the rows may see. */
void mask_scores(key_tile keys)
{
    [[unroll]] for (uint n = 0; n < RN; n++) {
        uint entry = keys.begin + n * TX + tx, key = listed_key(min(entry, keys.end - 1));
        [[unroll]] for (uint i = 0; i < RM; i++) {
            ivec2 seen = keys_of_row[row_of(i)];
            float s = score[i * RN + n];
            if (!PLAIN_LOGITS)
                s = finish_logit(s, logit_rows[i], key_that_exists(item.seq, key));
            bool sees = entry < keys.end && int(key) >= seen.x && int(key) <= seen.y;
            score[i * RN + n] = sees ? s : NEG_INF;
        }
    }
}
#else
void mask_scores(key_tile keys)
{
    uint j = keys.begin;
    if (!PLAIN_LOGITS)
        [[unroll]] for (uint i = 0; i < RM; i++)
            [[unroll]] for (uint n = 0; n < RN; n++)
                score[i * RN + n] = finish_logit(score[i * RN + n], logit_rows[i],
                                                 min(j + n * TX + tx, keys.end - 1));
    if (some_unseen(keys, latest_first, earliest_last))
        [[unroll]] for (uint i = 0; i < RM; i++) {
            ivec2 seen = keys_of_row[row_of(i)];
            uint bits = 0;
            if (LISTS)
                see_span(keys, item.row_first + min(row_of(i), item.n_rows - 1), seen, bits);
            [[unroll]] for (uint n = 0; n < RN; n++) {
                int key = int(j + n * TX + tx);
                bool sees = key >= seen.x && key <= seen.y;
                if (LISTS && has_bits(keys))
                    sees = sees && bit_of(bits, key);
                score[i * RN + n] = sees ? score[i * RN + n] : NEG_INF;
            }
        }
}
#endif

void finish_scores(key_tile keys)
{
    mask_scores(keys);
    [[unroll]] for (uint i = 0; i < RM; i++) {
        float most = score[i * RN];
        [[unroll]] for (uint n = 1; n < RN; n++)
            most = max(most, score[i * RN + n]);
        uint at = row_of(i) * TX + tx;
        lanes_of_row[at >> 2][at & 3] = most;
    }
}

/* m of what is kept: the largest logit, or the caller's. -inf becomes 0, which every weight of such
 * a row (they are all 0) survives. */
float base_of(float most)
{
    if (wants(RAPT_FEAT_CONST_MAX))
        return PLAIN_LOGITS ? header.max_logit_const * LOG2E : header.max_logit_const;
    return most == NEG_INF ? 0.0 : most;
}

void weigh_scores()
{
    [[unroll]] for (uint i = 0; i < RM; i++) {
        float most = top[i];
        [[unroll]] for (uint x = 0; x < TX / 4; x++) {
            vec4 four = lanes_of_row[row_of(i) * (TX / 4) + x];
            most = max(most, max(max(four.x, four.y), max(four.z, four.w)));
        }
        float base = base_of(most);
        float keep = wants(RAPT_FEAT_CONST_MAX) ? 1.0 : exp2((top[i] - base) * LOGIT_LOG2);
        top[i] = most;
        float sum = 0.0;
        [[unroll]] for (uint n = 0; n < RN; n++) {
            float p = exp2((score[i * RN + n] - base) * LOGIT_LOG2);
            uint at = n * TX + tx;
            tile[row_of(i) * P_PITCH + (at >> 2)][at & 3] = p;
            sum += p;
        }
        l_part[i] = l_part[i] * keep + sum;
        [[unroll]] for (uint c = 0; c < DN; c++)
            o_part[i * DN + c] *= keep;
    }
}

void add_values(uint first)
{
    [[dont_unroll]] for (uint k = 0; k < V_KEYS; k += 4) {
        vec4 p[RM];
        [[unroll]] for (uint i = 0; i < RM; i++)
            p[i] = tile[row_of(i) * P_PITCH + ((first + k) >> 2)];
        [[unroll]] for (uint c = 0; c < DN; c++)
            [[unroll]] for (uint y = 0; y < 4; y++) {
                vec4 v = v_tile[(k + y) * V_PITCH + c * TX + tx];
                [[unroll]] for (uint i = 0; i < RM; i++)
                    o_part[i * DN + c] += p[i][y] * v;
            }
    }
}

void fold()
{
    [[unroll]] for (uint i = 0; i < RM; i++) {
        float keep =
            wants(RAPT_FEAT_CONST_MAX) ? 1.0 : exp2((m_whole[i] - base_of(top[i])) * LOGIT_LOG2);
        m_whole[i] = top[i];
        l_whole[i] = l_whole[i] * keep + l_part[i];
        l_part[i] = 0.0;
        [[unroll]] for (uint c = 0; c < DN; c++) {
            o_whole[i * DN + c] = o_whole[i * DN + c] * keep + o_part[i * DN + c];
            o_part[i * DN + c] = vec4(0.0);
        }
    }
}

/* ---- an item */

void start_rows()
{
    tx = lane % TX;
    ty = lane / TX;
    aligned = rows_aligned(item.seq, item.kv_head, LOW_BITS);
    find_intervals();
    [[unroll]] for (uint i = 0; i < RM; i++) {
        top[i] = m_whole[i] = NEG_INF;
        l_part[i] = l_whole[i] = 0.0;
        [[unroll]] for (uint c = 0; c < DN; c++)
            o_part[i * DN + c] = o_whole[i * DN + c] = vec4(0.0);
        if (!PLAIN_LOGITS)
            logit_rows[i] = load_logit_row(item.seq, row_in_item(row_of(i)));
    }
}

/* Pools in pieces: every fetch is written four times over, so there is one of K and one of V, and none
 * ahead of its use. */
#ifdef SEGMENTS
#define FETCHED_LATE(first) true
#define AHEAD(x)
#define LATE(x) x
#else
#define FETCHED_LATE(first) first > 0
#define AHEAD(x) x
#define LATE(x)
#endif

void work_tiles(key_tile keys)
{
    uint turn = 0, since_fold = 0;
    bool more;
    find_keys(keys, 0);
    if (TILE_D != 0)
        for (uint slice = 0; slice < N_SLICES; slice++)
            load_q(slice);
    barrier();
    AHEAD(fetch_k(0, 0));
    do {
        key_tile next = keys;
        [[unroll]] for (uint i = 0; i < RM * RN; i++)
            score[i] = 0.0;
        more = next_tile(next, BLOCK_KV, item.kv_begin, item.kv_end);
        find_keys(next, turn ^ 1);
        for (uint slice = 0; slice < N_SLICES; slice++) {
            if (slice > 0)
                barrier();
            if (TILE_D == 0)
                load_q(slice);
            LATE(fetch_k(slice, turn));
            commit_k(slice, turn);
            barrier();
            if (slice + 1 < N_SLICES) {
                AHEAD(fetch_k(slice + 1, turn));
            } else {
                AHEAD(fetch_v(0, turn));
            }
            add_scores(slice);
        }
        finish_scores(keys);
        barrier();
        weigh_scores();
        AHEAD(commit_v(0, turn));
        barrier();
        uint end = min(BLOCK_KV, keys.end - keys.begin);
        for (uint first = 0; first < end; first += V_KEYS) {
            LATE(fetch_v(first, turn));
            if (FETCHED_LATE(first)) {
                barrier();
                commit_v(first, turn);
                barrier();
            }
            if (first + V_KEYS < end) {
                AHEAD(fetch_v(first + V_KEYS, turn));
            } else {
                AHEAD(fetch_k(0, turn ^ 1));
            }
            add_values(first);
        }
        turn ^= 1;
        since_fold += BLOCK_KV;
        if (since_fold >= FOLD_KEYS) {
            fold();
            since_fold = 0;
        }
        keys = next;
        barrier();
    } while (more);
    fold();
}

void store_row(uint i, float l)
{
    uint r = row_of(i);
    packed_row row = find_row(item.head_first, item.row_first + r);
    float highest = top[i] * LOGIT_NATURAL;
    uint partial = item.partial + r, to;
    float factor = 1.0;
    if (item.partial == RAPT_DIRECT) {
        float m = wants(RAPT_FEAT_CONST_MAX) ? header.max_logit_const : highest;
        factor = finish_row(row.head, m, l);
        if (tx == 0)
            store_statistics(item.seq, row, m, l, highest);
        to = out_index(item.seq, row);
    } else {
        uint ml = push.work_base + header.partial_ml_word + 2 * partial;
        if (tx == 0) {
            work_floats[ml] = highest;
            work_floats[ml + 1] = l;
        }
        to = push.work_base + header.partial_o_word + partial * DV;
    }
    [[unroll]] for (uint c = 0; c < DN; c++) {
        uint d = 4 * (c * TX + tx);
        vec4 x = o_whole[i * DN + c] * factor;
        if (d < DV) {
            if (item.partial == RAPT_DIRECT)
                store_out4(to + d, x);
            else
                [[unroll]] for (uint y = 0; y < 4; y++)
                    work_floats[to + d + y] = x[y];
        }
    }
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    load_item(push.first + index);
    start_rows();
    key_tile keys;
    if (first_tile(push.first + index, item.kv_begin, item.kv_end, keys))
        work_tiles(keys);
    [[unroll]] for (uint i = 0; i < RM; i++) {
        uint at = row_of(i) * TX + tx;
        lanes_of_row[at >> 2][at & 3] = l_whole[i];
    }
    barrier();
    [[unroll]] for (uint i = 0; i < RM; i++) {
        float l = 0.0;
        [[unroll]] for (uint x = 0; x < TX / 4; x++)
            l += dot(lanes_of_row[row_of(i) * (TX / 4) + x], vec4(1.0));
        if (row_of(i) < item.n_rows)
            store_row(i, l);
    }
}
