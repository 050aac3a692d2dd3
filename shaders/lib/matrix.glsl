/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of one work item on matrix units: BLOCK_Q packed rows against tiles of BLOCK_KV keys, all
 * subgroups of a workgroup together. Vulkan does not tell which lane holds which element of a matrix, and
 * nothing here needs to know:
 *
 *   rows     a group of COLUMNS subgroups owns STRIPS * M rows. Of the scores each of them takes every
 *            COLUMNS-th column of N keys, of the output every COLUMNS-th column of N dims
 *   scores   K (and V) come through shared memory in slices of SLICE dims; sums stay in registers, and go
 *            to shared memory once, for lanes that know what they read: scale, mask, softmax by rows
 *   weights  f16, times 2^15: what is 2^-29 of the largest is still a normal number. The sum of a row
 *            adds what was rounded, so that a rounding all weights share divides out
 *   output   stays in registers from the first key to the last. A column of factors read with a stride of
 *            0 is a matrix of those factors, whatever its layout: O * keep is taken element by element, and
 *            not at all where every factor is 1. P V of a tile is summed from zero: units that cut digits off
 *            in a long sum have but a short one
 *
 * bf16 becomes f16 on its way into `stage`, times the power of two that brings the slice's largest into f16's
 * range: exact but for what is 2^-24 of that and smaller. Products of a slice are multiplied back when they
 * join the sums. Q of bf16 has one such power for all of the tile. Codes of quantized kinds are exact in f16;
 * where their scales go matrix_kv.glsl says.
 *
 * While a slice is worked on, the next one is on its way from memory into registers, and from there into
 * the other half of `stage`: one barrier a slice, two where it is scaled. A LEAN tile has no other half, and
 * two barriers; and where there are more columns than keys for them, PARTS of the subgroups take the same
 * keys and other dims of a slice. shaders/tiles.h has the tile numbers and what they take. */
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "step.glsl"
#include "spans.glsl"
#include "storage.glsl"
#include "kv.glsl"
#include "logits.glsl"
#include "output.glsl"
#define KEYED (KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3)
#define BLOCKED (KV_TYPE >= RAPT_STORE_INT4)
#if KV_TYPE > RAPT_STORE_BF16
#include "codes.glsl"
#endif
#include "item.glsl"

layout(constant_id = RAPT_SPEC_SUBGROUP) const uint SUBGROUP = 32;

const uint M = TILE_A & 0xffu, N = TILE_A >> 8 & 0xffu, K = TILE_A >> 16 & 0xffu;
const uint STRIPS = TILE_B & 0xffu, COLUMNS = TILE_B >> 8 & 0xffu;
const uint SLICE = TILE_C;
const bool LEAN = TILE_D != 0;

const uint K_SLICES = (D + SLICE - 1) / SLICE, V_SLICES = (DV + SLICE - 1) / SLICE;
const uint PARTS = TILE_D * COLUMNS * N > BLOCK_KV ? COLUMNS * N / BLOCK_KV : 1;
const uint KEY_COLUMNS = COLUMNS / PARTS, PART_STEPS = SLICE / K / PARTS;
const uint S_TILES = (BLOCK_KV / N + KEY_COLUMNS - 1) / KEY_COLUMNS; /* of a subgroup and strip */
const uint O_TILES = SLICE / N / COLUMNS;                    /* and slice of V */
/* What s_tile has room for: the keys, once for every part, or a column of output of every subgroup. */
const uint S_WIDTH = BLOCK_KV > COLUMNS * N ? BLOCK_KV : COLUMNS * N;
const uint KEY_STEPS = BLOCK_KV / K;

/* Rows of shared memory, in vectors of four: 16 bytes more than they hold, against bank conflicts. */
const uint Q_PITCH = K_SLICES * SLICE / 4 + 2, PITCH = SLICE / 4 + 2;
const uint S_PITCH = S_WIDTH / 4 + 1, P_PITCH = BLOCK_KV / 4 + 2;
const uint STAGE = BLOCK_KV * PITCH, HALVES = LEAN ? 1 : 2;

/* softmax: rows of a subgroup, lanes of a row, rows of a lane, vectors of four keys of a lane. Where the
 * keys are too few for all lanes, the last ones do the last row's again and keep it to themselves. */
const uint ROWS = STRIPS * M / COLUMNS;
const uint MOST_LANES = SUBGROUP > ROWS ? SUBGROUP / ROWS : 1;
const uint LANES = MOST_LANES < BLOCK_KV / 4 ? MOST_LANES : BLOCK_KV / 4;
const uint LANE_ROWS = ROWS * LANES > SUBGROUP ? ROWS * LANES / SUBGROUP : 1;
const uint QUADS = BLOCK_KV / 4 / LANES;
const bool IDLE_LANES = ROWS * LANES < SUBGROUP;

const uint EIGHTS = SLICE / 8, LOADS = (BLOCK_KV * EIGHTS + WG_SIZE - 1) / WG_SIZE;
const uint BLOCKS = SLICE / 32; /* of a slice, that have scales of their own */
const bool SCALED_K = KV_TYPE == RAPT_STORE_BF16, SCALED_V = SCALED_K || BLOCKED;
const bool SCALED_Q = Q_TYPE == RAPT_STORE_BF16;
const float WEIGHT_SHIFT = 15.0, WEIGHT_UNIT = 1.0 / 32768.0, LEAST_NORMAL = 1.0 / 16384.0;
/* What the output is counted in. Values of bf16 leave no room for 2^15. */
const float O_UNIT = SCALED_V || KEYED ? 1.0 : WEIGHT_UNIT;

#define A_MATRIX coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define B_MATRIX coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
#define C_MATRIX coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define BY_ROWS gl_CooperativeMatrixLayoutRowMajor
#define BY_COLUMNS gl_CooperativeMatrixLayoutColumnMajor

shared f16vec4 q_tile[BLOCK_Q * Q_PITCH];
shared f16vec4 stage[HALVES * STAGE];
shared vec4 s_tile[BLOCK_Q * S_PITCH]; /* at the end, tiles of the output on their way out */
shared f16vec4 p_tile[BLOCK_Q * P_PITCH];
shared vec4 factors[BLOCK_Q / 4];
#if BLOCKED
shared vec4 k_factors[HALVES * BLOCKS * BLOCK_KV / 4];
#endif

C_MATRIX score[STRIPS * S_TILES], o[STRIPS * V_SLICES * O_TILES];
A_MATRIX weight[STRIPS * KEY_STEPS];
float unit, next_unit, q_unit = 1.0; /* of what is staged, of what comes next, of Q */
bvec2 aligned;

uint column, first_row; /* of the subgroup: among its group, of its group's rows */
uint key_column, part;  /* of the scores: among those with other keys, among those with other dims */
float top[LANE_ROWS], base[LANE_ROWS], l[LANE_ROWS];
logit_row logit_rows[LANE_ROWS];

/* Row i of a lane. */
uint row_of(uint i)
{
    uint slot = gl_SubgroupInvocationID / LANES;
    if (IDLE_LANES)
        slot = min(slot, ROWS - 1);
    return first_row + column * ROWS + i * (SUBGROUP / LANES) + slot;
}

bool is_idle()
{
    return IDLE_LANES && gl_SubgroupInvocationID >= ROWS * LANES;
}

/* What one subgroup of a group wrote, all of them read. */
void group_barrier()
{
    if (COLUMNS > 1 || LEAN)
        barrier();
    else
        subgroupBarrier();
}

/* ---- memory to registers to shared memory */

#include "matrix_kv.glsl"

/* All of Q, without the logits' scale: what f16 holds is exact in f16. */
void load_q()
{
    const uint eights = K_SLICES * EIGHTS;
    float scale = 1.0;
    vec4 a, b;
    if (SCALED_Q) {
        float most = 0.0;
        for (uint t = lane; t < BLOCK_Q * D / 8; t += WG_SIZE) {
            read_q(row_in_item(t / (D / 8)), t % (D / 8) * 8, a, b);
            a = max(abs(a), abs(b));
            most = max(most, max(max(a.x, a.y), max(a.z, a.w)));
        }
        scale = common_scale(floatBitsToUint(most), q_unit);
    }
    for (uint t = lane; t < BLOCK_Q * eights; t += WG_SIZE) {
        uint d = t % eights * 8;
        read_q(row_in_item(t / eights), d, a, b);
        uint to = t / eights * Q_PITCH + t % eights * 2;
        q_tile[to] = f16vec4(d < D ? a * scale : vec4(0.0));
        q_tile[to + 1] = f16vec4(d < D ? b * scale : vec4(0.0));
    }
}

/* ---- the four parts of a tile */

/* With more columns than there are keys for, some subgroups wait, unless there are parts. */
bool has_keys()
{
    return BLOCK_KV == S_WIDTH || PARTS > 1 || column * N < BLOCK_KV;
}

/* Keys from which a subgroup's n-th tile of scores goes on. */
uint keys_of_tile(uint n)
{
    return (n * KEY_COLUMNS + key_column) * N;
}

void add_step(uint slice, uint half_at, uint k)
{
    A_MATRIX q[STRIPS];
    [[unroll]] for (uint r = 0; r < STRIPS; r++)
        coopMatLoad(q[r], q_tile, (first_row + r * M) * Q_PITCH + (slice * SLICE + k * K) / 4, Q_PITCH,
                    BY_ROWS);
    [[unroll]] for (uint n = 0; n < S_TILES; n++) {
        B_MATRIX keys;
        if (!has_keys())
            continue;
        coopMatLoad(keys, stage, half_at + keys_of_tile(n) * PITCH + k * (K / 4), PITCH, BY_COLUMNS);
        [[unroll]] for (uint r = 0; r < STRIPS; r++)
            score[r * S_TILES + n] = coopMatMulAdd(q[r], keys, score[r * S_TILES + n]);
    }
}

/* The sums of a slice, or of a block of one, begin at zero, and join the others with their factor. */
C_MATRIX whole[STRIPS * S_TILES];

void part_scores()
{
    [[unroll]] for (uint i = 0; i < STRIPS * S_TILES; i++) {
        whole[i] = score[i];
        score[i] = C_MATRIX(0.0);
    }
}

#if BLOCKED
void add_scores(uint slice, uint half_at)
{
    const uint run = min(32 / K, PART_STEPS); /* steps that have a scale in common */
    uint factors_at = half_at == 0 ? 0 : BLOCKS * BLOCK_KV;
    [[unroll]] for (uint i = 0; i < PART_STEPS; i += run) {
        uint first = part * PART_STEPS + i, block = first * K / 32;
        part_scores();
        [[unroll]] for (uint k = 0; k < run; k++)
            add_step(slice, half_at, first + k);
        [[unroll]] for (uint n = 0; n < S_TILES; n++) {
            C_MATRIX factor;
            if (!has_keys())
                continue;
            coopMatLoad(factor, k_factors, (factors_at + block * BLOCK_KV + keys_of_tile(n)) / 4, 0,
                        BY_ROWS);
            [[unroll]] for (uint r = 0; r < STRIPS; r++)
                score[r * S_TILES + n] = whole[r * S_TILES + n] + score[r * S_TILES + n] * factor;
        }
    }
}
#else
void add_scores(uint slice, uint half_at)
{
    if (SCALED_K)
        part_scores();
    [[unroll]] for (uint k = 0; k < PART_STEPS; k++)
        add_step(slice, half_at, part * PART_STEPS + k);
    /* By both units at once: K's alone could carry a score past what floats hold. */
    if (SCALED_K)
        [[unroll]] for (uint i = 0; i < STRIPS * S_TILES; i++)
            score[i] = whole[i] + score[i] * (unit * q_unit);
}
#endif

void store_scores()
{
    [[unroll]] for (uint r = 0; r < STRIPS; r++)
        [[unroll]] for (uint n = 0; n < S_TILES; n++)
            if (has_keys())
                coopMatStore(score[r * S_TILES + n], s_tile,
                             (first_row + r * M) * S_PITCH + (part * BLOCK_KV + keys_of_tile(n)) / 4,
                             S_PITCH, BY_ROWS);
}

/* Four keys of a row from j on, as logits. */
vec4 finish_four(vec4 s, uint i, uint j, uint last)
{
    if (!PLAIN_LOGITS)
        [[unroll]] for (uint y = 0; y < 4; y++)
            s[y] = finish_logit(s[y], logit_rows[i], min(j + y, last));
    return s;
}

vec4 see_four(vec4 s, int j, ivec2 seen, bool by_bits, uint bits)
{
    [[unroll]] for (uint y = 0; y < 4; y++) {
        int key = j + int(y);
        bool sees = key >= seen.x && key <= seen.y;
        if (LISTS && by_bits)
            sees = sees && bit_of(bits, key);
        s[y] = sees ? s[y] : NEG_INF;
    }
    return s;
}

void weigh_row(uint i, key_tile keys, bool masked, uint turn)
{
    uint r = row_of(i), lane_part = gl_SubgroupInvocationID % LANES;
    float scale = header.scale * (PLAIN_LOGITS ? LOG2E : 1.0) * (SCALED_K ? 1.0 : q_unit);
    vec4 s[QUADS], most4 = vec4(NEG_INF);
    ivec2 seen = keys_of_row[r];
    uint bits = 0;
    if (LISTS && masked)
        see_span(keys, item.row_first + min(r, item.n_rows - 1), seen, bits);
    [[unroll]] for (uint n = 0; n < QUADS; n++) {
        uint at = n * LANES + lane_part, j = keys.begin + 4 * at;
        s[n] = s_tile[r * S_PITCH + at];
        [[unroll]] for (uint x = 1; x < PARTS; x++)
            s[n] += s_tile[r * S_PITCH + x * (BLOCK_KV / 4) + at];
        s[n] *= scale;
#if KEYED
        s[n] *= k_scales[turn * BLOCK_KV / 4 + at];
#endif
        s[n] = finish_four(s[n], i, j, keys.end - 1);
        if (masked)
            s[n] = see_four(s[n], int(j), seen, has_bits(keys), bits);
        most4 = max(most4, s[n]);
    }
    float most = max(max(most4.x, most4.y), max(most4.z, most4.w));
    [[unroll]] for (uint x = 1; x < LANES; x *= 2)
        most = max(most, subgroupShuffleXor(most, x));
    most = max(most, top[i]);
    /* a whole power of two, where logits are kept as such: what is kept is exact, then */
    float next_base = PLAIN_LOGITS ? ceil(most) : most;
    next_base = most == NEG_INF ? 0.0 : next_base;
    float kept = top[i] == NEG_INF ? 0.0 : exp2((base[i] - next_base) * LOGIT_LOG2);
    top[i] = most;
    base[i] = next_base;
    float sum = 0.0;
    [[unroll]] for (uint n = 0; n < QUADS; n++) {
        uint at = n * LANES + lane_part;
        vec4 p = exp2((s[n] - next_base) * LOGIT_LOG2 + WEIGHT_SHIFT);
#if KEYED
        vec4 scales = v_scales[turn * BLOCK_KV / 4 + at] / unit;
        f16vec4 rounded = f16vec4(p * scales);
        /* what the sum takes of the weight is what V's scale left of it, where that is told exactly */
        p = mix(p, vec4(rounded) / scales, greaterThanEqual(abs(vec4(rounded)), vec4(LEAST_NORMAL)));
#else
        f16vec4 rounded = f16vec4(p);
        p = vec4(rounded);
#endif
        if (!is_idle())
            p_tile[r * P_PITCH + at] = rounded;
        sum += dot(p, vec4(1.0));
    }
    l[i] = l[i] * kept + sum;
    if (lane_part == 0 && !is_idle())
        factors[r >> 2][r & 3] = kept;
}

void load_weights()
{
    [[unroll]] for (uint r = 0; r < STRIPS; r++) {
        C_MATRIX keep;
        coopMatLoad(keep, factors, (first_row + r * M) / 4, 0, BY_COLUMNS);
        bool same = true;
        [[unroll]] for (int i = 0; i < keep.length(); i++)
            same = same && keep[i] == 1.0;
        if (subgroupBallot(!same) != uvec4(0))
            [[unroll]] for (uint t = 0; t < V_SLICES * O_TILES; t++)
                o[r * V_SLICES * O_TILES + t] = o[r * V_SLICES * O_TILES + t] * keep;
        [[unroll]] for (uint k = 0; k < KEY_STEPS; k++)
            coopMatLoad(weight[r * KEY_STEPS + k], p_tile,
                        (first_row + r * M) * P_PITCH + k * (K / 4), P_PITCH, BY_ROWS);
    }
}

void add_values(uint slice, uint half_at)
{
    [[unroll]] for (uint t = 0; t < O_TILES; t++) {
        uint d = (t * COLUMNS + column) * N;
        C_MATRIX sum[STRIPS];
        if (slice * SLICE + t * COLUMNS * N >= DV)
            continue;
        [[unroll]] for (uint r = 0; r < STRIPS; r++)
            sum[r] = C_MATRIX(0.0);
        [[unroll]] for (uint k = 0; k < KEY_STEPS; k++) {
            B_MATRIX values;
            coopMatLoad(values, stage, half_at + k * K * PITCH + d / 4, PITCH, BY_ROWS);
            [[unroll]] for (uint r = 0; r < STRIPS; r++)
                sum[r] = coopMatMulAdd(weight[r * KEY_STEPS + k], values, sum[r]);
        }
        [[unroll]] for (uint r = 0; r < STRIPS; r++) {
            uint at = (r * V_SLICES + slice) * O_TILES + t;
            if (SCALED_V || KEYED)
                sum[r] = sum[r] * (unit * WEIGHT_UNIT);
            o[at] = o[at] + sum[r];
        }
    }
}

/* ---- an item */

void start_rows()
{
    uint group = gl_SubgroupID / COLUMNS;
    column = gl_SubgroupID % COLUMNS;
    first_row = group * STRIPS * M;
    key_column = PARTS > 1 ? column % KEY_COLUMNS : column;
    part = PARTS > 1 ? column / KEY_COLUMNS : 0;
    aligned = rows_aligned(item.seq, item.kv_head, LOW_BITS);
    find_intervals();
    [[unroll]] for (uint i = 0; i < LANE_ROWS; i++) {
        top[i] = NEG_INF;
        base[i] = l[i] = 0.0;
        if (!PLAIN_LOGITS)
            logit_rows[i] = load_logit_row(item.seq, row_in_item(row_of(i)));
    }
    [[unroll]] for (uint i = 0; i < STRIPS * V_SLICES * O_TILES; i++)
        o[i] = C_MATRIX(0.0);
}

/* Where the next slice goes. In a LEAN tile all must have read the one that lies there, which those that look
 * for a common scale wait for anyway. */
uint next_half(uint half_at, bool waits)
{
    if (LEAN && waits)
        barrier();
    return LEAN ? 0 : STAGE - half_at;
}

void work_tiles(key_tile keys)
{
    uint turn = 0, half_at = 0;
    bool more;
    if (lane < 2)
        largest[lane] = 0;
#if KEYED
    if (lane < 2)
        largest_scale[lane] = 0;
#endif
    if (SCALED_Q || SCALED_V || KEYED)
        barrier();
    find_keys(keys, 0);
    load_q();
    barrier();
    fetch_k(0, 0);
    stage_k(0, 0, 0);
    barrier();
    unit = next_unit;
    do {
        key_tile next_keys = keys;
        more = next_tile(next_keys, BLOCK_KV, item.kv_begin, item.kv_end);
        find_keys(next_keys, turn ^ 1);
#if KEYED
        unit = unit_of_scales(turn);
#endif
        [[unroll]] for (uint i = 0; i < STRIPS * S_TILES; i++)
            score[i] = C_MATRIX(0.0);
        [[dont_unroll]] for (uint slice = 0; slice < K_SLICES; slice++) {
            bool last = slice + 1 == K_SLICES;
            if (last)
                fetch_v(0, turn);
            else
                fetch_k(slice + 1, turn);
            add_scores(slice, half_at);
            if (last)
                store_scores();
            half_at = next_half(half_at, last ? !SCALED_V : !SCALED_K);
            if (last)
                stage_v(0, half_at, turn);
            else
                stage_k(slice + 1, half_at, turn);
            if (!LEAN || !last) /* all have stored their scores, and V is waited for with the weights */
                barrier();
            if (!KEYED)
                unit = next_unit;
        }
        bool masked = some_unseen(keys, latest_first, earliest_last);
        [[unroll]] for (uint i = 0; i < LANE_ROWS; i++)
            weigh_row(i, keys, masked, turn);
        group_barrier();
        load_weights();
        [[unroll]] for (uint slice = 0; slice < V_SLICES; slice++) {
            bool last = slice + 1 == V_SLICES;
            if (last)
                fetch_k(0, turn ^ 1);
            else
                fetch_v(slice + 1, turn);
            add_values(slice, half_at);
#if KEYED
            if (slice == 0 && lane == 0) /* all have read it; the tile after the next adds to it */
                largest_scale[turn] = 0;
#endif
            half_at = next_half(half_at, last ? !SCALED_K : !SCALED_V);
            if (last)
                stage_k(0, half_at, turn ^ 1);
            else
                stage_v(slice + 1, half_at, turn);
            barrier();
            if (!KEYED)
                unit = next_unit;
        }
        turn ^= 1;
        keys = next_keys;
    } while (more);
}

/* Completes row i, and leaves what its output is to be multiplied with. */
void finish_lane_row(uint i)
{
    uint r = row_of(i);
    packed_row row = row_in_item(r);
    float sum = l[i], power = 1.0;
    [[unroll]] for (uint x = 1; x < LANES; x *= 2)
        sum += subgroupShuffleXor(sum, x);
    /* from multiples of 2^base to those of exp(m) */
    float highest = top[i] * LOGIT_NATURAL, m = highest;
    if (wants(RAPT_FEAT_CONST_MAX)) {
        m = header.max_logit_const;
        power = exp2(base[i] * LOGIT_LOG2 - m * LOG2E);
    } else if (PLAIN_LOGITS && top[i] != NEG_INF) {
        power = exp2(base[i] - top[i]);
    }
    bool owns = gl_SubgroupInvocationID % LANES == 0 && !is_idle(), writes = owns && r < item.n_rows;
    float factor = 1.0;
    sum *= power * WEIGHT_UNIT;
    if (item.partial == RAPT_DIRECT) {
        factor = finish_row(row.head, m, sum);
        if (writes)
            store_statistics(item.seq, row, m, sum, highest);
    } else if (writes) {
        uint ml = push.work_base + header.partial_ml_word + 2 * (item.partial + r);
        work_floats[ml] = highest;
        work_floats[ml + 1] = sum;
    }
    if (owns)
        factors[r >> 2][r & 3] = factor * power * O_UNIT;
}

/* The output leaves through s_tile, as many dims at a time as that holds. */
void write_rows()
{
    const uint blocks = V_SLICES * O_TILES, vectors = S_WIDTH / 4;
    const uint at_once = S_WIDTH / N / COLUMNS;
    [[dont_unroll]] for (uint c = 0; c * S_WIDTH < DV; c++) {
        [[unroll]] for (uint b = 0; b < blocks; b++)
            if (b / at_once == c)
                [[unroll]] for (uint r = 0; r < STRIPS; r++)
                    coopMatStore(o[r * blocks + b], s_tile,
                                 (first_row + r * M) * S_PITCH +
                                     (b % at_once * COLUMNS + column) * (N / 4),
                                 S_PITCH, BY_ROWS);
        barrier();
        for (uint t = lane; t < BLOCK_Q * vectors; t += WG_SIZE) {
            uint r = t / vectors, d = c * S_WIDTH + t % vectors * 4;
            if (r >= item.n_rows || d >= DV)
                continue;
            vec4 x = s_tile[r * S_PITCH + t % vectors] * factors[r >> 2][r & 3];
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
    [[unroll]] for (uint i = 0; i < LANE_ROWS; i++)
        finish_lane_row(i);
    write_rows();
}
