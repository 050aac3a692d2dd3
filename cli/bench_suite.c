/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <string.h>

const char *bench_suite_name(enum bench_suite suite)
{
    static const char *const names[] = {"quick", "paper", "full"};
    return names[suite];
}

const char *bench_kind_name(enum bench_kind kind)
{
    static const char *const names[] = {"prefill", "decode", "mixed",  "host",
                                        "pager",   "append", "shared", "table", "choose"};
    return names[kind];
}

/* Adds the row unless the filter leaves it out. */
static void add(struct bench *bench, const struct bench_spec *spec)
{
    if (bench->n_rows == BENCH_MAX_ROWS)
        return;
    if (bench->filter && !bench_filter_matches(bench->filter, spec->name))
        return;
    for (uint32_t i = 0; i < bench->n_rows; i++) {
        if (strcmp(bench->rows[i].spec.name, spec->name) == 0)
            return; /* suites overlap */
    }
    struct bench_row *row = &bench->rows[bench->n_rows++];
    memset(row, 0, sizeof *row);
    row->spec = *spec;
    row->spec.shape.name = row->spec.name;
}

/* One sequence; the name says everything that is not usual. */
static struct bench_spec one(enum bench_kind kind, int32_t q_len, int32_t kv_len,
                             uint32_t n_q_heads, uint32_t n_kv_heads, uint32_t head_dim,
                             rapt_type type)
{
    struct bench_spec spec = {.kind = kind};
    spec.shape = (struct case_spec){.n_q_heads = n_q_heads,
                                    .n_kv_heads = n_kv_heads,
                                    .head_dim = head_dim,
                                    .q_type = type,
                                    .kv_type = type,
                                    .n_seqs = 1,
                                    .q_len = {q_len},
                                    .kv_len = {kv_len},
                                    .mask = "causal",
                                    .check_rows = 256};
    snprintf(spec.name, sizeof spec.name, "%s %s%d %uq/%ukv d%u %s", bench_kind_name(kind),
             kind == BENCH_PREFILL ? "causal " : "", (int)kv_len, (unsigned)n_q_heads,
             (unsigned)n_kv_heads, (unsigned)head_dim, rapt_type_name(type));
    return spec;
}

static void name_more(struct bench_spec *spec, const char *more)
{
    size_t used = strlen(spec->name);
    snprintf(spec->name + used, sizeof spec->name - used, " %s", more);
}

static void add_batches(struct bench *bench)
{
    /* Prefill chunks beside decoding sequences over pages, as a server's step has them. */
    struct bench_spec mixed = {.kind = BENCH_MIXED,
                               .name = "mixed 2x256+6x1 of 8 32q/8kv d128 f16 paged"};
    mixed.shape = (struct case_spec){.n_q_heads = 32,
                                     .n_kv_heads = 8,
                                     .head_dim = 128,
                                     .q_type = RAPT_TYPE_F16,
                                     .kv_type = RAPT_TYPE_F16,
                                     .page_size = 16,
                                     .n_seqs = 8,
                                     .q_len = {256, 1, 1, 256, 1, 1, 1, 1},
                                     .kv_len = {256, 1777, 640, 1024, 33, 2048, 1200, 911},
                                     .mask = "causal",
                                     .check_rows = 256};
    add(bench, &mixed);
    struct bench_spec host = {.kind = BENCH_HOST,
                              .name = "host 256 sequences 32q/8kv d128 f16 paged"};
    add(bench, &host);
    struct bench_spec mixed_host = {.kind = BENCH_HOST,
                                    .name = "host 8x500+248x1 32q/8kv d128 f16 paged",
                                    .n_chunks = 8,
                                    .chunk = 500};
    add(bench, &mixed_host);
    struct bench_spec chunks = {.kind = BENCH_HOST,
                                .name = "host 256x32 32q/8kv d128 f16 paged",
                                .n_chunks = 256,
                                .chunk = 32};
    add(bench, &chunks);
}

static const rapt_type quantized[] = {RAPT_TYPE_INT8, RAPT_TYPE_FP8_E4M3, RAPT_TYPE_INT4,
                                      RAPT_TYPE_Q8_0, RAPT_TYPE_Q4_0};
#define N_QUANTIZED (sizeof quantized / sizeof quantized[0])

/* Decode over every quantized kind of K/V, by turns with f16. */
static void add_kv_kinds(struct bench *bench)
{
    for (size_t i = 0; i < N_QUANTIZED; i++) {
        struct bench_spec spec = one(BENCH_DECODE, 1, 32768, 32, 8, 128, quantized[i]);
        spec.shape.q_type = RAPT_TYPE_F16;
        spec.against = "f16";
        add(bench, &spec);
    }
}

/* The pager at a server's size, and new rows into pages. */
static void add_cache(struct bench *bench)
{
    static const char *const names[] = {"pager append one token to 1000x4096 page 16",
                                        "pager fork 4096 tokens page 16",
                                        "pager prefix lookup per page of 16"};
    for (int i = 0; i < 3; i++) {
        struct bench_spec spec = {.kind = BENCH_PAGER, .pager = (enum bench_pager)i};
        snprintf(spec.name, sizeof spec.name, "%s", names[i]);
        add(bench, &spec);
    }
    static const rapt_type types[] = {RAPT_TYPE_F16, RAPT_TYPE_INT8, RAPT_TYPE_Q8_0};
    for (int i = 0; i < 3; i++) {
        struct bench_spec spec = {.kind = BENCH_APPEND};
        spec.shape.kv_type = types[i];
        snprintf(spec.name, sizeof spec.name, "append 4x512 tokens 8kv d128 %s rope paged",
                 rapt_type_name(types[i]));
        add(bench, &spec);
    }
}

/* One prompt for 64 sequences that decode. */
static void add_shared(struct bench *bench)
{
    static const uint32_t n_q_heads[] = {8, 32};
    for (int i = 0; i < 2; i++) {
        struct bench_spec spec = {.kind = BENCH_SHARED};
        spec.shape = (struct case_spec){.n_q_heads = n_q_heads[i],
                                        .n_kv_heads = 8,
                                        .head_dim = 128,
                                        .q_type = RAPT_TYPE_F16,
                                        .kv_type = RAPT_TYPE_F16};
        snprintf(spec.name, sizeof spec.name, "shared prefix 8192x64 decode %uq/8kv d128 f16",
                 (unsigned)n_q_heads[i]);
        add(bench, &spec);
    }
}

/* A map of blocks, by turns with dense attention. */
static void add_sparse(struct bench *bench, int32_t n, uint32_t n_heads, uint32_t block,
                       uint32_t kept)
{
    struct bench_spec spec = one(BENCH_PREFILL, n, n, n_heads, n_heads, 128, RAPT_TYPE_F16);
    spec.shape.mask = "blocks";
    spec.shape.map_block = block;
    spec.shape.map_kept = kept;
    spec.against = "full";
    snprintf(spec.name, sizeof spec.name, "prefill blocks %u %d %uq/%ukv d128 f16 kept %u%%",
             (unsigned)block, (int)n, (unsigned)n_heads, (unsigned)n_heads, (unsigned)kept);
    add(bench, &spec);
}

/* Masks that leave most of the pairs out, by turns with one that leaves none or half. */
static void add_masks(struct bench *bench)
{
    static const uint32_t kept[] = {50, 25, 10, 5};
    struct bench_spec spec;
    for (int i = 0; i < 4; i++)
        add_sparse(bench, 4096, 2, 128, kept[i]);
    spec = one(BENCH_PREFILL, 4096, 4096, 2, 2, 128, RAPT_TYPE_F16);
    spec.against = "full";
    name_more(&spec, "of full");
    add(bench, &spec);
    spec = one(BENCH_PREFILL, 16384, 16384, 1, 1, 128, RAPT_TYPE_F16);
    spec.shape.mask = "causal & window(1023, 0)";
    spec.against = "causal";
    name_more(&spec, "window 1024");
    add(bench, &spec);
    struct bench_spec table = {.kind = BENCH_TABLE,
                               .name = "table causal window segments 131072 block 128"};
    add(bench, &table);
}

/* Lists made on the device, beside the attention through them. */
static void add_choices(struct bench *bench)
{
    static const char *const from[] = {"top 8 of blocks of 64", "half the mass of blocks of 64",
                                       "segments", "moba top 4 chunks of 256",
                                       "indexer top 256 keys"};
    for (int i = 0; i < 5; i++) {
        struct bench_spec spec = {.kind = BENCH_CHOOSE, .choice = (enum bench_choice)i};
        snprintf(spec.name, sizeof spec.name, "choose 4096 4q/2kv d128 f16 %s", from[i]);
        add(bench, &spec);
    }
}

static void add_quick(struct bench *bench)
{
    struct bench_spec spec = one(BENCH_PREFILL, 1024, 1024, 8, 8, 128, RAPT_TYPE_F16);
    add(bench, &spec);
    spec = one(BENCH_PREFILL, 4096, 4096, 8, 8, 128, RAPT_TYPE_F16);
    add(bench, &spec);
    spec = one(BENCH_DECODE, 1, 4096, 32, 8, 128, RAPT_TYPE_F16);
    add(bench, &spec);
    spec = one(BENCH_DECODE, 1, 32768, 32, 8, 128, RAPT_TYPE_F16);
    add(bench, &spec);
    add_kv_kinds(bench);
    add_batches(bench);
    add_cache(bench);
    add_shared(bench);
    add_masks(bench);
    add_choices(bench);
}

static void add_peer_row(struct bench *bench, struct bench_spec spec)
{
    char name[sizeof spec.name];
    snprintf(name, sizeof name, "peers %.80s", spec.name);
    memcpy(spec.name, name, sizeof name);
    spec.against = NULL;
    spec.peers = 1;
    if (spec.shape.kv_len[0] > 4096)
        spec.shape.check_rows = 64; /* the reference is slow */
    add(bench, &spec);
}

/* Fewer heads for longer prompts: the work then grows with the length, not with its square. */
static void add_peer_prefill(struct bench *bench, int32_t n, uint32_t dim, rapt_type type)
{
    uint32_t n_heads = n <= 2048 ? 8 : 16384 / (uint32_t)n;
    struct bench_spec spec = one(BENCH_PREFILL, n, n, n_heads, n_heads, dim, type);
    spec.shape.q_type = RAPT_TYPE_F16;
    add_peer_row(bench, spec);
}

static void add_peer_decode(struct bench *bench, int32_t n, rapt_type type)
{
    struct bench_spec spec = one(BENCH_DECODE, 1, n, 32, 8, 128, type);
    spec.shape.q_type = RAPT_TYPE_F16;
    add_peer_row(bench, spec);
}

/* A step of a server, without pages, which peers do not have. */
static void add_peer_mixed(struct bench *bench, const char *name, const int32_t *q_len,
                           rapt_type type)
{
    struct bench_spec spec = {.kind = BENCH_MIXED};
    spec.shape = (struct case_spec){.n_q_heads = 32,
                                    .n_kv_heads = 8,
                                    .head_dim = 128,
                                    .q_type = RAPT_TYPE_F16,
                                    .kv_type = type,
                                    .n_seqs = 8,
                                    .kv_len = {256, 1777, 640, 1024, 33, 2048, 1200, 911},
                                    .mask = "causal",
                                    .check_rows = 256};
    memcpy(spec.shape.q_len, q_len, 8 * sizeof *q_len);
    snprintf(spec.name, sizeof spec.name, "mixed %s of 8 32q/8kv d128 %s", name,
             rapt_type_name(type));
    add_peer_row(bench, spec);
}

static void add_peer_sparse(struct bench *bench, uint32_t kept)
{
    struct bench_spec spec = one(BENCH_PREFILL, 4096, 4096, 2, 2, 128, RAPT_TYPE_F16);
    spec.shape.mask = "blocks";
    spec.shape.map_block = 128;
    spec.shape.map_kept = kept;
    snprintf(spec.name, sizeof spec.name, "blocks 128 4096 2q/2kv d128 f16 kept %u%%",
             (unsigned)kept);
    add_peer_row(bench, spec);
}

static void add_peers(struct bench *bench, int full)
{
    static const uint32_t dims[] = {64, 128, 256};
    static const int32_t chunks[8] = {256, 1, 1, 256, 1, 1, 1, 1},
                         tokens[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (int i = 0; i < 3; i++) {
        for (int32_t n = 512; n <= 16384; n *= 2) {
            if (full || n == 1024 || (n == 4096 && dims[i] == 128))
                add_peer_prefill(bench, n, dims[i], RAPT_TYPE_F16);
        }
    }
    if (full)
        add_peer_prefill(bench, 1024, 128, RAPT_TYPE_Q8_0);
    for (int32_t n = 1024; n <= 131072; n *= 2) {
        for (int i = 0; i < 2; i++) {
            if (full || n == 4096 || n == 32768)
                add_peer_decode(bench, n, i ? RAPT_TYPE_Q8_0 : RAPT_TYPE_F16);
        }
    }
    add_peer_mixed(bench, "2x256+6x1", chunks, RAPT_TYPE_F16);
    if (full)
        add_peer_mixed(bench, "2x256+6x1", chunks, RAPT_TYPE_Q8_0);
    add_peer_mixed(bench, "8x1", tokens, RAPT_TYPE_F16);
    for (int i = 0; i < 3; i++) {
        static const uint32_t kept[] = {50, 25, 10};
        if (full || kept[i] == 25)
            add_peer_sparse(bench, kept[i]);
    }
}

/* Lengths x prefill and decode x the library's kernels and the three-pass baseline. */
static void add_paper(struct bench *bench)
{
    static const enum bench_kind kinds[] = {BENCH_PREFILL, BENCH_DECODE};
    for (int kind = 0; kind < 2; kind++) {
        for (int32_t n = 512; n <= 4096; n *= 2) {
            for (int three_pass = 0; three_pass < 2; three_pass++) {
                int prefill = kinds[kind] == BENCH_PREFILL;
                struct bench_spec spec =
                    one(kinds[kind], prefill ? n : 1, n, prefill ? 8 : 32, 8, 128, RAPT_TYPE_F16);
                spec.three_pass = three_pass;
                spec.length = (uint32_t)n;
                name_more(&spec, three_pass ? "three-pass" : "flash");
                add(bench, &spec);
            }
        }
    }
}

static void add_prefill_variants(struct bench *bench)
{
    add_sparse(bench, 1024, 8, 64, 25);
    add_sparse(bench, 4096, 2, 64, 10);
    struct bench_spec spec = one(BENCH_PREFILL, 1024, 1024, 8, 8, 128, RAPT_TYPE_F16);
    spec.shape.mask = NULL;
    snprintf(spec.name, sizeof spec.name, "prefill full 1024 8q/8kv d128 f16");
    add(bench, &spec);
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_BF16};
    for (int i = 0; i < 2; i++) {
        spec = one(BENCH_PREFILL, 1024, 1024, 8, 8, 128, types[i]);
        add(bench, &spec);
    }
    for (size_t i = 0; i < N_QUANTIZED; i++) {
        spec = one(BENCH_PREFILL, 1024, 1024, 8, 8, 128, quantized[i]);
        spec.shape.q_type = RAPT_TYPE_F16;
        spec.against = "f16";
        add(bench, &spec);
    }
    static const uint32_t dims[] = {64, 80, 96, 192, 256};
    for (int i = 0; i < 5; i++) {
        spec = one(BENCH_PREFILL, 1024, 1024, 8, 8, dims[i], RAPT_TYPE_F16);
        add(bench, &spec);
    }
    spec = one(BENCH_PREFILL, 1024, 1024, 32, 8, 128, RAPT_TYPE_F16);
    add(bench, &spec);
    spec = one(BENCH_PREFILL, 1024, 1024, 32, 8, 128, RAPT_TYPE_F16);
    spec.shape.page_size = 16;
    name_more(&spec, "paged");
    add(bench, &spec);
    spec = one(BENCH_PREFILL, 4096, 4096, 8, 8, 128, RAPT_TYPE_F16);
    spec.shape.mask = "causal & window(1023, 0)";
    spec.shape.softcap = 50;
    name_more(&spec, "window 1024 softcap");
    add(bench, &spec);
    spec = one(BENCH_PREFILL, 2048, 2048, 64, 8, 64, RAPT_TYPE_F16);
    spec.shape.mask = "causal & window(127, 0)";
    spec.shape.flags = CASE_SINKS;
    name_more(&spec, "window 128 sinks");
    add(bench, &spec);
}

static void add_decode_variants(struct bench *bench)
{
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_BF16};
    struct bench_spec spec;
    for (int i = 0; i < 2; i++) {
        spec = one(BENCH_DECODE, 1, 4096, 32, 8, 128, types[i]);
        add(bench, &spec);
    }
    spec = one(BENCH_DECODE, 1, 4096, 32, 8, 128, RAPT_TYPE_F16);
    spec.shape.page_size = 16;
    name_more(&spec, "paged");
    add(bench, &spec);
    spec = one(BENCH_DECODE, 1, 4096, 32, 32, 128, RAPT_TYPE_F16);
    add(bench, &spec);
    spec = one(BENCH_DECODE, 1, 4096, 32, 8, 64, RAPT_TYPE_F16);
    add(bench, &spec);
    spec = one(BENCH_DECODE, 1, 4096, 16, 1, 576, RAPT_TYPE_F16);
    spec.shape.head_dim_v = 512;
    name_more(&spec, "dv512");
    add(bench, &spec);
    spec = one(BENCH_DECODE, 8, 4096, 32, 8, 128, RAPT_TYPE_F16);
    name_more(&spec, "8 rows");
    add(bench, &spec);
    spec = one(BENCH_DECODE, 1, 2048, 32, 8, 128, RAPT_TYPE_F16);
    spec.shape.n_seqs = 8;
    for (int b = 0; b < 8; b++) {
        spec.shape.q_len[b] = 1;
        spec.shape.kv_len[b] = 2048;
    }
    name_more(&spec, "8 sequences");
    add(bench, &spec);
}

void bench_list(struct bench *bench)
{
    bench->n_rows = 0;
    if (bench->suite != BENCH_PAPER)
        add_quick(bench);
    if (bench->suite != BENCH_QUICK)
        add_paper(bench);
    if (bench->suite == BENCH_FULL) {
        add_prefill_variants(bench);
        add_decode_variants(bench);
    }
    if (bench->with_peers)
        add_peers(bench, bench->suite == BENCH_FULL);
}
