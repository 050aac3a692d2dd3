/* SPDX-License-Identifier: Apache-2.0 */
/* What choosing on the device costs beside the attention it serves: a prefill of 4096 tokens through lists
 * that are made from scores or ids, by MoBA, or by an indexer. */
#include "bench.h"
#include "cli.h"

#include <rapt/sparse.h>

#include <stdlib.h>
#include <string.h>

#define N_TOKENS 4096
#define N_HEADS 4
#define N_KV_HEADS 2
#define DIM 128
#define BLOCK 64
#define N_BLOCKS (N_TOKENS / BLOCK)
#define N_INDEX_HEADS 4
#define INDEX_DIM 32
#define INDEX_KEYS 256
#define MAX_TIMES 60

enum { TABLES, WORKSPACE, Q, K, V, OUT, INPUT, INPUT2, INPUT3, CHOICE_WORK, LISTS, COUNTS, N_BUFFERS };

struct choosing {
    rapt_easy *easy;
    enum bench_choice choice;
    rapt_plan *plan;
    rapt_step step;
    rapt_device_lists room;
    rapt_block_lists *blocks;
    rapt_moba *moba;
    rapt_indexer *indexer;
    rapt_easy_buffer *buffers[N_BUFFERS];
    double seconds[2][MAX_TIMES]; /* choosing, attending */
};

static const rapt_moba_params moba = {.struct_size = sizeof moba, .chunk = 256, .top_k = 4};
static const rapt_indexer_params indexer = {.struct_size = sizeof indexer,
                                            .n_heads = N_INDEX_HEADS,
                                            .head_dim = INDEX_DIM,
                                            .q_type = RAPT_TYPE_F16,
                                            .k_type = RAPT_TYPE_F16,
                                            .top_k = INDEX_KEYS};

static rapt_block_lists_params block_params(enum bench_choice choice)
{
    rapt_block_lists_params p = {.struct_size = sizeof p, .source = RAPT_BLOCKS_SEGMENTS};
    if (choice == BENCH_CHOICE_SEGMENTS)
        return p;
    p.source = choice == BENCH_CHOICE_TOP_K ? RAPT_BLOCKS_TOP_K : RAPT_BLOCKS_MASS;
    p.top_k = choice == BENCH_CHOICE_TOP_K ? 8 : 0;
    p.mass = choice == BENCH_CHOICE_TOP_K ? 0 : 0.5f;
    p.keep_first = 1;
    p.keep_last = 1;
    return p;
}

static rapt_buffer range(const struct choosing *c, int which)
{
    return rapt_easy_buffer_range(c->buffers[which]);
}

static rapt_status make_plan(struct choosing *c)
{
    const int by_tokens = c->choice == BENCH_CHOICE_INDEXER;
    rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = N_HEADS,
        .n_kv_heads = N_KV_HEADS,
        .head_dim = DIM,
        .q_type = RAPT_TYPE_F16,
        .kv_type = RAPT_TYPE_F16,
        .out_type = RAPT_TYPE_F32,
        .flags = by_tokens ? RAPT_PLAN_TOKEN_LISTS : RAPT_PLAN_BLOCKS,
        .max_total_q = N_TOKENS,
        .max_kv_len = N_TOKENS,
        .n_steps_in_flight = 1,
    };
    rapt_status status = RAPT_OK;
    c->room.struct_size = sizeof c->room;
    if (c->choice == BENCH_CHOICE_MOBA) {
        params.head_group = 1;
        status = rapt_moba_device_lists(&moba, N_HEADS, 1, N_TOKENS, N_TOKENS, BLOCK, &c->room,
                                        &params.max_spans);
    } else if (!by_tokens) {
        const rapt_block_lists_params p = block_params(c->choice);
        const uint32_t n_sets = c->choice == BENCH_CHOICE_SEGMENTS ? 1 : N_KV_HEADS;
        status = rapt_block_lists_device_lists(&p, n_sets, 1, N_TOKENS, N_TOKENS, BLOCK, BLOCK,
                                               &c->room, &params.max_spans);
    }
    params.max_bit_words = c->room.bit_words;
    return status ? status : rapt_plan_create(rapt_easy_device(c->easy), &params, &c->plan);
}

static rapt_status put(struct choosing *c, int which, uint64_t bytes, const void *data)
{
    rapt_status status = rapt_easy_buffer_create(c->easy, bytes ? bytes : 4, "bench choose",
                                                 which == TABLES, &c->buffers[which]);
    return status || !data ? status : rapt_easy_upload(c->easy, c->buffers[which], 0, data, bytes);
}

static rapt_status put_random(struct choosing *c, int which, uint64_t n, int halves)
{
    float *numbers = malloc(n * sizeof *numbers);
    uint16_t *small = malloc(n * sizeof *small);
    rapt_status status = numbers && small ? RAPT_OK : RAPT_ERROR_HOST_MEMORY;
    if (!status)
        case_random((uint64_t)which + 1, numbers, n);
    for (uint64_t i = 0; !status && i < n; i++)
        small[i] = rapt_f16_from_f32(numbers[i]);
    if (!status)
        status = put(c, which, n * (halves ? 2 : 4), halves ? (void *)small : (void *)numbers);
    free(numbers);
    free(small);
    return status;
}

/* Documents of 100 to 1000 tokens. */
static rapt_status put_ids(struct choosing *c)
{
    int32_t *ids = calloc(N_TOKENS, sizeof *ids);
    uint32_t seed = 5, left = 0;
    for (int32_t i = 0, id = 0; ids && i < N_TOKENS; i++, left--) {
        if (left == 0) {
            seed = seed * 1664525u + 1013904223u;
            left = 100 + (seed >> 16) % 900;
            id++;
        }
        ids[i] = id;
    }
    rapt_status status = ids ? put(c, INPUT, N_TOKENS * 4, ids) : RAPT_ERROR_HOST_MEMORY;
    if (!status)
        status = put(c, INPUT2, N_TOKENS * 4, ids);
    free(ids);
    return status;
}

static rapt_status make_chooser(struct choosing *c)
{
    const rapt_block_lists_params p = block_params(c->choice);
    uint64_t work = 0;
    rapt_status status = RAPT_OK;
    if (c->choice == BENCH_CHOICE_MOBA) {
        status = rapt_moba_create(c->plan, &moba, &c->moba);
        work = rapt_moba_workspace_bytes(c->moba, 1, N_TOKENS, N_TOKENS, N_TOKENS);
    } else if (c->choice == BENCH_CHOICE_INDEXER) {
        status = rapt_indexer_create(c->plan, &indexer, &c->indexer);
        work = rapt_indexer_workspace_bytes(c->indexer, 1, N_TOKENS, N_TOKENS);
        if (!status)
            status = put_random(c, INPUT, (uint64_t)N_TOKENS * N_INDEX_HEADS * INDEX_DIM, 1);
        if (!status)
            status = put_random(c, INPUT2, (uint64_t)N_TOKENS * INDEX_DIM, 1);
        if (!status)
            status = put_random(c, INPUT3, (uint64_t)N_TOKENS * N_INDEX_HEADS, 0);
        if (!status)
            status = put(c, LISTS, 4ull * N_TOKENS * INDEX_KEYS, NULL);
        if (!status)
            status = put(c, COUNTS, 4ull * N_TOKENS, NULL);
    } else {
        status = rapt_block_lists_create(c->plan, &p, &c->blocks);
        work = rapt_block_lists_workspace_bytes(c->blocks, 1, N_TOKENS, BLOCK);
        if (!status)
            status = c->choice == BENCH_CHOICE_SEGMENTS
                         ? put_ids(c)
                         : put_random(c, INPUT, (uint64_t)N_KV_HEADS * N_BLOCKS * N_BLOCKS, 0);
    }
    return status ? status : put(c, CHOICE_WORK, work, NULL);
}

static rapt_status prepare(struct choosing *c)
{
    static const int32_t cu[2] = {0, N_TOKENS};
    const uint64_t q = (uint64_t)N_TOKENS * N_HEADS * DIM, k = (uint64_t)N_TOKENS * N_KV_HEADS * DIM;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_mask *causal = NULL;
    rapt_plan_sizes(c->plan, &sizes);
    rapt_status status = put(c, TABLES, sizes.table_bytes, NULL);
    if (!status)
        status = put(c, WORKSPACE, sizes.workspace_bytes, NULL);
    if (!status)
        status = put_random(c, Q, q, 1);
    if (!status)
        status = put_random(c, K, k, 1);
    if (!status)
        status = put_random(c, V, k, 1);
    if (!status)
        status = put(c, OUT, 4 * q, NULL);
    if (!status)
        status = rapt_mask_parse(NULL, "causal", NULL, &causal);
    if (status)
        return status;
    const rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = range(c, TABLES),
        .tables_mapped = rapt_easy_buffer_mapped(c->buffers[TABLES]),
        .workspace = range(c, WORKSPACE),
    };
    const rapt_step_params params = {
        .struct_size = sizeof params,
        .n_seqs = 1,
        .cu_q = cu,
        .cu_kv = cu,
        .mask = causal,
        .device_lists = c->choice == BENCH_CHOICE_INDEXER ? NULL : &c->room,
    };
    c->step.struct_size = sizeof c->step;
    status = rapt_plan_bind(c->plan, &memory);
    if (!status)
        status = rapt_plan_prepare(c->plan, &params, &c->step);
    rapt_mask_destroy(&causal);
    return status;
}

static rapt_status record_choice(struct choosing *c, VkCommandBuffer commands)
{
    if (c->moba) {
        const rapt_moba_record_params record = {
            .struct_size = sizeof record,
            .command_buffer = commands,
            .step = &c->step,
            .q = range(c, Q),
            .k = range(c, K),
            .workspace = range(c, CHOICE_WORK),
            .lists = 1,
        };
        return rapt_moba_record(c->moba, &record);
    }
    if (c->indexer) {
        const rapt_indexer_record_params record = {
            .struct_size = sizeof record,
            .command_buffer = commands,
            .step = &c->step,
            .q = range(c, INPUT),
            .k = range(c, INPUT2),
            .weights = range(c, INPUT3),
            .workspace = range(c, CHOICE_WORK),
            .lists = range(c, LISTS),
            .counts = range(c, COUNTS),
        };
        return rapt_indexer_record(c->indexer, &record);
    }
    const int ids = c->choice == BENCH_CHOICE_SEGMENTS;
    const rapt_buffer none = {0};
    const rapt_block_lists_record_params record = {
        .struct_size = sizeof record,
        .command_buffer = commands,
        .step = &c->step,
        .workspace = range(c, CHOICE_WORK),
        .scores = ids ? none : range(c, INPUT),
        .score_stride = N_BLOCKS,
        .segments_q = ids ? range(c, INPUT) : none,
        .segments_kv = ids ? range(c, INPUT2) : none,
    };
    return rapt_block_lists_record(c->blocks, &record);
}

static rapt_status run_once(struct choosing *c, int attend, double *out_seconds)
{
    rapt_record_params record = {
        .struct_size = sizeof record,
        .step = &c->step,
        .q = range(c, Q),
        .k = range(c, K),
        .v = range(c, V),
        .out = range(c, OUT),
    };
    if (c->indexer) {
        record.token_lists = range(c, LISTS);
        record.token_counts = range(c, COUNTS);
        record.token_list_stride = INDEX_KEYS;
    }
    rapt_plan_slot_done(c->plan, 0);
    rapt_status status = rapt_easy_begin(c->easy, &record.command_buffer);
    if (status)
        return status;
    status = attend ? rapt_plan_record(c->plan, &record) : record_choice(c, record.command_buffer);
    rapt_status submitted = rapt_easy_submit_wait(c->easy, out_seconds);
    return status ? status : submitted;
}

static rapt_status measure(struct bench *bench, struct choosing *c, struct bench_row *row)
{
    double start = cli_seconds();
    rapt_status status = make_plan(c);
    if (!status)
        status = prepare(c);
    if (!status)
        status = make_chooser(c);
    for (int attend = 0; attend < 2 && !status; attend++) /* the lists are there, and warm */
        status = run_once(c, attend, NULL);
    row->first_seconds = cli_seconds() - start;
    uint32_t n = 0, most = bench->n_repeats ? bench->n_repeats : 10;
    most = most < MAX_TIMES ? most : MAX_TIMES;
    for (; n < most && !status; n++) { /* by turns */
        status = run_once(c, 0, &c->seconds[0][n]);
        if (!status)
            status = run_once(c, 1, &c->seconds[1][n]);
    }
    if (status)
        return status;
    row->times = bench_times_of(c->seconds[0], n);
    row->record_times = bench_times_of(c->seconds[1], n);
    row->tokens = N_TOKENS;
    row->ok = 1;
    return RAPT_OK;
}

int bench_run_choice(struct bench *bench, struct bench_row *row)
{
    struct choosing *c = calloc(1, sizeof *c);
    if (!c)
        return cli_fail(CLI_DEVICE, "out of memory");
    c->easy = bench->easy;
    c->choice = row->spec.choice;
    int code = 0;
    rapt_status status = measure(bench, c, row);
    if (rapt_status_group(status) == RAPT_STATUS_GROUP_CAPABILITY)
        snprintf(row->skipped, sizeof row->skipped, "%s", rapt_last_error());
    else if (status)
        code = cli_fail_status(status, row->spec.name);
    rapt_block_lists_destroy(&c->blocks);
    rapt_moba_destroy(&c->moba);
    rapt_indexer_destroy(&c->indexer);
    rapt_plan_destroy(&c->plan);
    for (int i = 0; i < N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&c->buffers[i]);
    free(c);
    return code;
}
