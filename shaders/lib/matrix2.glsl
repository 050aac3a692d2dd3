/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of one work item on matrix units where VK_NV_cooperative_matrix2 tells more of matrices than
 * VK_KHR_cooperative_matrix does: functions of an element's row and column, sums and maxima of rows, sums
 * that become factors of the next product. Scores never leave registers, and the state of the rows is
 * matrices too: every column of `top` is the rows' largest logit, every column of `l` their sums.
 *
 *   TENSOR   matrices belong to the workgroup: BLOCK_Q rows each. K and V come through tensor layouts
 *   else     to a subgroup: M rows each, BLOCK_Q / M subgroups side by side
 *
 * Both are the same lines with other sizes: where the first would have one matrix the second has an array.
 * So a driver that has no tensors executes all of it but the loads.
 *
 * Numbers are those of matrix.glsl: weights are f16 times 2^15, their sum adds what was rounded, P V of a
 * tile is summed from zero, bases of exponents are whole numbers where they can be. K and V that f16 does not
 * hold are multiplied with a power of two by tile. shaders/tiles2.h has the tile numbers. */
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifdef TENSOR
#extension GL_EXT_buffer_reference : require
#endif
#include "step.glsl"
#include "spans.glsl"
#include "storage.glsl"
#include "kv.glsl"
#include "logits.glsl"
#include "output.glsl"
#include "item.glsl"

const uint M = TILE_A & 0xffu, N_S = TILE_A >> 8 & 0xffu; /* a matrix of scores */
const uint N_O = TILE_B & 0xffu, K_S = TILE_B >> 8 & 0xffu; /* columns of output, dims of Q at once */

const uint K_STEPS = (D + K_S - 1) / K_S, O_TILES = (DV + N_O - 1) / N_O;
const uint S_TILES = BLOCK_KV / N_S;

/* Rows of shared memory, in vectors of four: 16 bytes more than they hold, against bank conflicts. */
const uint Q_PITCH = K_STEPS * K_S / 4 + 2;
const uint WIDTH = N_O > N_S ? N_O : N_S, PITCH = WIDTH / 4 + 1;

const bool SCALED = KV_TYPE != RAPT_STORE_F16;
const float WEIGHT_SHIFT = 15.0, WEIGHT_UNIT = 1.0 / 32768.0;
const float O_UNIT = SCALED ? 1.0 : WEIGHT_UNIT; /* what the output is counted in */

#ifdef TENSOR
#define SCOPE gl_ScopeWorkgroup
#else
#define SCOPE gl_ScopeSubgroup
#endif
#define Q_MATRIX coopmat<float16_t, SCOPE, M, K_S, gl_MatrixUseA>
#define K_MATRIX coopmat<float16_t, SCOPE, K_S, N_S, gl_MatrixUseB>
#define S_MATRIX coopmat<float, SCOPE, M, N_S, gl_MatrixUseAccumulator>
#define P_MATRIX coopmat<float16_t, SCOPE, M, N_S, gl_MatrixUseA>
#define V_MATRIX coopmat<float16_t, SCOPE, N_S, N_O, gl_MatrixUseB>
#define O_MATRIX coopmat<float, SCOPE, M, N_O, gl_MatrixUseAccumulator>
#define BY_ROWS gl_CooperativeMatrixLayoutRowMajor
#define OF_ROW gl_CooperativeMatrixReduceRowNV

shared f16vec4 q_tile[BLOCK_Q * Q_PITCH];
shared vec4 out_tile[BLOCK_Q * PITCH]; /* matrices on their way out */
shared float factors[BLOCK_Q], tops[BLOCK_Q];
/* What rows see of the tile's span, and what they add to logits. */
shared ivec2 seen_of_row[LISTS ? BLOCK_Q : 1];
shared uint bits_of_row[LISTS ? BLOCK_Q : 1];
shared logit_row logit_of_row[PLAIN_LOGITS ? 1 : BLOCK_Q];

S_MATRIX score[S_TILES], top, l;
P_MATRIX weight[S_TILES];
O_MATRIX o[O_TILES], keep;
float q_unit = 1.0;  /* of what stands for Q */
uint first_row;      /* of the matrices' rows */
uint tile_keys;      /* that there are */
bvec2 aligned, direct; /* K, V: all rows on 16 bytes; those of the tile in equal steps, too */

#include "matrix2_kv.glsl"

/* ---- Q */

/* Without the logits' scale: what f16 holds is exact in f16. */
void load_q()
{
    const uint eights = K_STEPS * K_S / 8;
    float scale = 1.0;
    vec4 a, b;
    if (SCALED) {
        float most = 0.0;
        for (uint t = lane; t < BLOCK_Q * D / 8; t += WG_SIZE) {
            read_q(row_in_item(t / (D / 8)), t % (D / 8) * 8, a, b);
            a = max(abs(a), abs(b));
            most = max(most, max(max(a.x, a.y), max(a.z, a.w)));
        }
        if (lane == 0)
            largest[2] = 0;
        barrier();
        note_largest(2, floatBitsToUint(most));
        barrier();
        scale = scale_for(largest[2], q_unit);
    }
    for (uint t = lane; t < BLOCK_Q * eights; t += WG_SIZE) {
        uint d = t % eights * 8;
        read_q(row_in_item(t / eights), d, a, b);
        uint to = t / eights * Q_PITCH + t % eights * 2;
        q_tile[to] = f16vec4(d < D ? a * scale : vec4(0.0));
        q_tile[to + 1] = f16vec4(d < D ? b * scale : vec4(0.0));
    }
}

/* ---- what is done to elements and rows */

float max_of(const in float a, const in float b)
{
    return max(a, b);
}

float sum_of(const in float a, const in float b)
{
    return a + b;
}

/* Of numbers that are all the same: a row of one width becomes one of another. */
float any_of(const in float a, const in float b)
{
    return a;
}

float larger_of(const in uint row, const in uint col, const in float a, const in float b)
{
    return max(a, b);
}

/* A scaled dot product becomes a logit. */
float logit_of(const in uint row, const in uint col, const in float s, const in uint first,
               const in uint key, const in uint last)
{
    return finish_logit(s, logit_of_row[first + row], min(key + col, last));
}

float see_one(const in uint row, const in uint col, const in float s, const in uint first,
              const in uint key, const in uint test)
{
    int j = int(key + col);
    ivec2 seen = LISTS ? seen_of_row[LISTS ? first + row : 0] : keys_of_row[first + row];
    bool sees = j >= seen.x && j <= seen.y;
    if (LISTS && (test & 3u) == RAPT_SPAN_BITS)
        sees = sees && bit_of(bits_of_row[LISTS ? first + row : 0], j);
    return sees ? s : NEG_INF;
}

/* A whole power of two, where logits are kept as such: what is kept is exact, then. */
float base_of(float most)
{
    return most == NEG_INF ? 0.0 : PLAIN_LOGITS ? ceil(most) : most;
}

float keep_of(const in uint row, const in uint col, const in float before, const in float now)
{
    return before == NEG_INF ? 0.0 : exp2((base_of(before) - base_of(now)) * LOGIT_LOG2);
}

/* Rounded as the product will see it. */
float weigh(const in uint row, const in uint col, const in float s, const in float most)
{
    return float(float16_t(exp2((s - base_of(most)) * LOGIT_LOG2 + WEIGHT_SHIFT)));
}

/* ---- a tile */

/* Places of the keys, what rows see of them, powers of two. */
void prepare_tile(key_tile keys, bool masked)
{
    barrier(); /* the last tile's are no longer read */
    tile_keys = min(keys.end - keys.begin, BLOCK_KV);
    find_keys(keys, 0);
    if (LISTS && masked)
        for (uint r = lane; r < BLOCK_Q; r += WG_SIZE) {
            ivec2 seen = keys_of_row[r];
            uint bits;
            see_span(keys, item.row_first + min(r, item.n_rows - 1), seen, bits);
            seen_of_row[LISTS ? r : 0] = seen;
            bits_of_row[LISTS ? r : 0] = bits;
        }
    if (SCALED && lane < 2)
        largest[lane] = 0;
    barrier();
    /* one page or none: their steps are a token's */
    uint in_page = keys.begin & header.page_mask;
    bool together = !wants(RAPT_FEAT_PAGED) || in_page + tile_keys <= header.page_mask + 1;
    direct = bvec2(!SCALED && together && aligned.x, !SCALED && together && aligned.y);
}

/* What scores and products of the weights with V are to be multiplied with. */
void scale_tile(out float unit_k, out float unit_v)
{
    unit_k = unit_v = 1.0;
    if (!SCALED)
        return;
    note_tile();
    barrier();
    float k = scale_for(largest[0], unit_k), v = scale_for(largest[1], unit_v);
    if (lane == 0) {
        scale_k = k;
        scale_v = v;
    }
    barrier();
}

void find_scores(key_tile keys, bool masked, float unit_k)
{
    /* the units first: one may be as large as the other is small */
    float scale = unit_k * q_unit * (header.scale * (PLAIN_LOGITS ? LOG2E : 1.0));
    [[unroll]] for (uint n = 0; n < S_TILES; n++)
        score[n] = S_MATRIX(0.0);
    [[dont_unroll]] for (uint k = 0; k < K_STEPS; k++) {
        Q_MATRIX q;
        coopMatLoad(q, q_tile, first_row * Q_PITCH + k * (K_S / 4), Q_PITCH, BY_ROWS);
        [[unroll]] for (uint n = 0; n < S_TILES; n++) {
            K_MATRIX some;
            load_keys(some, n, k);
            score[n] = coopMatMulAdd(q, some, score[n]);
        }
    }
    [[unroll]] for (uint n = 0; n < S_TILES; n++) {
        uint begin = keys.begin + n * N_S;
        score[n] = score[n] * scale;
        if (!PLAIN_LOGITS)
            coopMatPerElementNV(score[n], score[n], logit_of, first_row, begin, keys.end - 1);
        if (masked)
            coopMatPerElementNV(score[n], score[n], see_one, first_row, begin, keys.test);
    }
}

void weigh_scores()
{
    S_MATRIX most = score[0], next_top, kept, sum = S_MATRIX(0.0), sums;
    [[unroll]] for (uint n = 1; n < S_TILES; n++)
        coopMatPerElementNV(most, most, larger_of, score[n]);
    coopMatReduceNV(next_top, most, OF_ROW, max_of);
    coopMatPerElementNV(next_top, next_top, larger_of, top);
    coopMatPerElementNV(kept, top, keep_of, next_top);
    top = next_top;
    [[unroll]] for (uint n = 0; n < S_TILES; n++) {
        coopMatPerElementNV(score[n], score[n], weigh, top);
        sum = sum + score[n];
        weight[n] = P_MATRIX(score[n]);
    }
    coopMatReduceNV(sums, sum, OF_ROW, sum_of);
    l = l * kept + sums;
    coopMatReduceNV(keep, kept, OF_ROW, any_of);
}

void add_values(float unit_v)
{
    [[unroll]] for (uint t = 0; t < O_TILES; t++) {
        O_MATRIX sum = O_MATRIX(0.0);
        [[unroll]] for (uint n = 0; n < S_TILES; n++) {
            V_MATRIX values;
            load_values(values, n, t);
            sum = coopMatMulAdd(weight[n], values, sum);
        }
        if (SCALED)
            sum = sum * (unit_v * WEIGHT_UNIT);
        o[t] = o[t] * keep + sum;
    }
}

/* ---- an item */

void start_rows()
{
#ifdef TENSOR
    first_row = 0;
#else
    first_row = gl_SubgroupID * M;
#endif
    aligned = rows_aligned(item.seq, item.kv_head, uvec2(7));
    find_intervals();
    if (!PLAIN_LOGITS)
        for (uint r = lane; r < BLOCK_Q; r += WG_SIZE)
            logit_of_row[PLAIN_LOGITS ? 0 : r] = load_logit_row(item.seq, row_in_item(r));
    top = S_MATRIX(NEG_INF);
    l = S_MATRIX(0.0);
    [[unroll]] for (uint t = 0; t < O_TILES; t++)
        o[t] = O_MATRIX(0.0);
}

void work_tiles(key_tile keys)
{
    float unit_k, unit_v;
    load_q();
    barrier(); /* what all rows may see is known */
    do {
        bool masked = some_unseen(keys, latest_first, earliest_last);
        prepare_tile(keys, masked);
        scale_tile(unit_k, unit_v);
        find_scores(keys, masked, unit_k);
        weigh_scores();
        add_values(unit_v);
    } while (next_tile(keys, BLOCK_KV, item.kv_begin, item.kv_end));
}

/* A number of every row, out of a matrix of equal columns. */
float row_number(uint r)
{
    return out_tile[r * PITCH].x;
}

/* Completes a row, and leaves what its output is to be multiplied with. */
void finish_one(uint r, float most, float sum)
{
    packed_row row = row_in_item(r);
    /* from multiples of 2^base to those of exp(m) */
    float highest = most * LOGIT_NATURAL, m = highest, power = 1.0, factor = 1.0;
    if (wants(RAPT_FEAT_CONST_MAX)) {
        m = header.max_logit_const;
        power = exp2(base_of(most) * LOGIT_LOG2 - m * LOG2E);
    } else if (PLAIN_LOGITS && most != NEG_INF) {
        power = exp2(base_of(most) - most);
    }
    sum *= power * WEIGHT_UNIT;
    if (item.partial == RAPT_DIRECT) {
        factor = finish_row(row.head, m, sum);
        if (r < item.n_rows)
            store_statistics(item.seq, row, m, sum, highest);
    } else if (r < item.n_rows) {
        uint ml = push.work_base + header.partial_ml_word + 2 * (item.partial + r);
        work_floats[ml] = highest;
        work_floats[ml + 1] = sum;
    }
    factors[r] = factor * power * O_UNIT;
}

void finish_rows()
{
    coopMatStore(top, out_tile, first_row * PITCH, PITCH, BY_ROWS);
    barrier();
    for (uint r = lane; r < BLOCK_Q; r += WG_SIZE)
        tops[r] = row_number(r);
    barrier();
    coopMatStore(l, out_tile, first_row * PITCH, PITCH, BY_ROWS);
    barrier();
    for (uint r = lane; r < BLOCK_Q; r += WG_SIZE)
        finish_one(r, tops[r], row_number(r));
    barrier();
}

/* A matrix at a time leaves through out_tile. */
void write_rows()
{
    const uint vectors = N_O / 4;
    [[unroll]] for (uint t = 0; t < O_TILES; t++) {
        coopMatStore(o[t], out_tile, first_row * PITCH, PITCH, BY_ROWS);
        barrier();
        for (uint i = lane; i < BLOCK_Q * vectors; i += WG_SIZE) {
            uint r = i / vectors, d = t * N_O + i % vectors * 4;
            if (r >= item.n_rows || d >= DV)
                continue;
            vec4 x = out_tile[r * PITCH + i % vectors] * factors[r];
            store_row4(r, d, x);
        }
        barrier();
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
    finish_rows();
    write_rows();
}
