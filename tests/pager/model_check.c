/* SPDX-License-Identifier: Apache-2.0 */
/* What the pager says of itself, compared with the model; dumps for calls that change nothing. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

void model_check_seq(struct model *model, const struct model_seq *seq)
{
    rapt_seq_info info = {.struct_size = sizeof info};
    CHECK(model, rapt_pager_seq_get_info(model->pager, seq->handle, &info) == RAPT_OK);
    CHECK(model, info.n_tokens == seq->n_tokens && info.n_tree == seq->n_tree);
    CHECK(model, info.n_known == seq->n_known && info.extra_key == seq->extra_key);
    CHECK(model, info.n_reserved == model_n_reserved_tokens(model, seq));
}

static void check_tokens(struct model *model, const struct model_seq *seq)
{
    int32_t *ids = malloc((seq->n_known + 1) * sizeof *ids);
    uint32_t n = 99;
    CHECK(model, ids != NULL);
    CHECK(model,
          rapt_pager_seq_tokens(model->pager, seq->handle, seq->n_known, ids, &n) == RAPT_OK);
    CHECK(model, n == seq->n_known);
    CHECK(model, n == 0 || memcmp(ids, seq->ids, n * sizeof *ids) == 0);
    free(ids);
}

/* All tables in one call are the tables one by one. */
static void check_batch_tables(struct model *model)
{
    uint32_t slots[MODEL_MAX_SEQS], n = model_live_slots(model, 0, slots);
    uint32_t indptr[MODEL_MAX_SEQS + 1], last[MODEL_MAX_SEQS];
    static const uint32_t most = MODEL_MAX_SEQS * MODEL_MAX_TABLE;
    uint32_t indices[MODEL_MAX_SEQS * MODEL_MAX_TABLE], total = 0;
    rapt_seq handles[MODEL_MAX_SEQS];
    for (uint32_t i = 0; i < n; i++) {
        handles[i] = model->seqs[slots[i]].handle;
        total += model->seqs[slots[i]].n_table;
    }
    for (uint32_t g = 0; n > 0 && g < model->config.n_groups; g++) {
        rapt_block_tables tables = {.struct_size = sizeof tables,
                                    .page_indptr = indptr,
                                    .page_indices = indices,
                                    .last_page_len = last,
                                    .capacity = most};
        CHECK(model, rapt_pager_tables(model->pager, g, n, handles, &tables) == RAPT_OK);
        CHECK(model, tables.n_pages == total && indptr[0] == 0 && indptr[n] == total);
        for (uint32_t i = 0; i < n; i++) {
            const struct model_seq *seq = &model->seqs[slots[i]];
            CHECK(model, indptr[i + 1] - indptr[i] == seq->n_table);
            CHECK(model,
                  memcmp(indices + indptr[i], seq->table[g], seq->n_table * sizeof(uint32_t)) == 0);
        }
        tables.capacity = total ? total - 1 : 0;
        tables.n_pages = 0;
        rapt_status status = rapt_pager_tables(model->pager, g, n, handles, &tables);
        CHECK(model, status == (total ? RAPT_ERROR_CAPACITY : RAPT_OK) && tables.n_pages == total);
    }
}

/* Slots filled in pages somebody holds; the fullest holder of a shared one counts. */
static uint64_t count_filled(const struct model *model, uint32_t g)
{
    const struct model_group *group = &model->groups[g];
    uint32_t page_size = model->config.page_size;
    uint64_t n = 0;
    for (uint32_t p = group->first_page; p < group->n_pages; p++) {
        uint32_t most = 0;
        for (uint32_t s = 0; group->pages[p].n_refs && s < model->config.max_seqs; s++) {
            const struct model_seq *seq = &model->seqs[s];
            for (uint32_t i = 0; seq->handle && i < seq->n_table; i++) {
                uint32_t left = seq->n_tokens + seq->n_tree - i * page_size;
                left = left < page_size ? left : page_size;
                if (seq->table[g][i] == p && left > most)
                    most = left;
            }
        }
        n += most;
    }
    return n;
}

static void check_group(struct model *model, uint32_t g, int exactly)
{
    const struct model_group *group = &model->groups[g];
    const rapt_pager_stats *stats = &group->stats;
    uint32_t n_held = 0, n_shared = 0, n_sure = 0, n_possible = 0, n_reserved = 0, n_seqs = 0;
    for (uint32_t p = group->first_page; p < group->n_pages; p++) {
        const struct model_page *page = &group->pages[p];
        n_held += page->n_refs > 0;
        n_shared += page->n_refs > 1;
        n_sure += page->n_refs == 0 && page->sure;
        n_possible += page->n_refs == 0 && page->content;
    }
    for (uint32_t s = 0; s < model->config.max_seqs; s++) {
        n_seqs += model->seqs[s].handle != 0;
        n_reserved += model->seqs[s].handle ? model->seqs[s].n_reserved[g] : 0;
    }
    CHECK(model, stats->n_pages == group->n_pages - group->first_page);
    CHECK(model, stats->n_free + stats->n_cached + stats->n_used == stats->n_pages);
    CHECK(model, stats->n_seqs == n_seqs);
    CHECK(model, stats->n_used >= n_held + n_reserved && stats->n_shared >= n_shared);
    CHECK(model, stats->n_hit_pages == group->n_hits);
    CHECK(model, stats->n_hit_pages <= stats->n_lookup_pages);
    CHECK(model, stats->n_copies >= group->n_taken);
    if (model->n_pending == 0) {
        CHECK(model, stats->n_used == n_held + n_reserved && stats->n_shared == n_shared);
        CHECK(model, stats->n_cached >= n_sure && stats->n_cached <= n_possible);
        CHECK(model, !exactly || stats->n_tokens == count_filled(model, g));
    }
    double slots = (double)stats->n_used * model->config.page_size;
    double wasted = stats->n_used ? 1 - (double)stats->n_tokens / slots : 0;
    double off = stats->fragmentation - wasted;
    CHECK(model, off > -1e-9 && off < 1e-9);
}

void model_check_stats(struct model *model, int exactly)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++)
        check_group(model, g, exactly);
}

void model_after(struct model *model)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        struct model_group *group = &model->groups[g];
        rapt_pager_stats stats = {.struct_size = sizeof stats};
        CHECK(model, rapt_pager_get_stats(model->pager, g, &stats) == RAPT_OK);
        CHECK(model, stats.n_evicted >= group->stats.n_evicted);
        CHECK(model, stats.n_copies >= group->stats.n_copies);
        /* Which cached page had to go is the pager's choice. */
        if (stats.n_evicted != group->stats.n_evicted)
            for (uint32_t p = 0; p < group->n_pages; p++)
                if (group->pages[p].n_refs == 0)
                    group->pages[p].sure = 0;
        group->stats = stats;
    }
    uint32_t n = 0;
    rapt_status status = rapt_pager_take_copies(model->pager, 0, NULL, &n);
    CHECK(model, status == (n ? RAPT_ERROR_CAPACITY : RAPT_OK));
    model->n_pending = n;
    model_check_stats(model, 0);
}

void model_check_all(struct model *model)
{
    model_flush(model);
    CHECK(model, rapt_pager_check(model->pager) == RAPT_OK);
    model_check_stats(model, 1);
    uint32_t slots[MODEL_MAX_SEQS], n = model_live_slots(model, 0, slots);
    for (uint32_t i = 0; i < n; i++) {
        model_check_seq(model, &model->seqs[slots[i]]);
        check_tokens(model, &model->seqs[slots[i]]);
    }
    check_batch_tables(model);
}

/* ----------------------------------------------------------------------------------------- dumps
 */

static void put(struct model *model, int which, const void *data, size_t n_bytes)
{
    size_t at = model->dump_bytes[which];
    if (at + n_bytes > model->dump_capacity[which]) {
        model->dump_capacity[which] = 2 * (at + n_bytes) + 4096;
        model->dump[which] = realloc(model->dump[which], model->dump_capacity[which]);
        CHECK(model, model->dump[which] != NULL);
    }
    if (n_bytes)
        memcpy(model->dump[which] + at, data, n_bytes);
    model->dump_bytes[which] += n_bytes;
}

static void dump_seq(struct model *model, int which, rapt_seq seq)
{
    uint32_t indptr[2], last, indices[MODEL_MAX_TABLE], n = 0;
    rapt_seq_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    CHECK(model, rapt_pager_seq_get_info(model->pager, seq, &info) == RAPT_OK);
    put(model, which, &info, sizeof info);
    int32_t *ids = malloc((info.n_known + 1) * sizeof *ids);
    CHECK(model, ids != NULL);
    CHECK(model, rapt_pager_seq_tokens(model->pager, seq, info.n_known, ids, &n) == RAPT_OK);
    put(model, which, ids, n * sizeof *ids);
    free(ids);
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        rapt_block_tables tables = {.struct_size = sizeof tables,
                                    .page_indptr = indptr,
                                    .page_indices = indices,
                                    .last_page_len = &last,
                                    .capacity = MODEL_MAX_TABLE};
        CHECK(model, rapt_pager_tables(model->pager, g, 1, &seq, &tables) == RAPT_OK);
        put(model, which, indices, tables.n_pages * sizeof *indices);
        put(model, which, &last, sizeof last);
    }
}

void model_dump(struct model *model, int which)
{
    uint32_t n = 0;
    model->dump_bytes[which] = 0;
    for (uint32_t s = 0; s < model->config.max_seqs; s++)
        if (model->seqs[s].handle && !model->seqs[s].is_pin)
            dump_seq(model, which, model->seqs[s].handle);
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        rapt_pager_stats stats;
        memset(&stats, 0, sizeof stats);
        stats.struct_size = sizeof stats;
        CHECK(model, rapt_pager_get_stats(model->pager, g, &stats) == RAPT_OK);
        put(model, which, &stats, sizeof stats);
    }
    rapt_pager_take_copies(model->pager, 0, NULL, &n);
    put(model, which, &n, sizeof n);
}

void model_compare_dumps(struct model *model)
{
    CHECK(model, model->dump_bytes[0] == model->dump_bytes[1]);
    CHECK(model, memcmp(model->dump[0], model->dump[1], model->dump_bytes[0]) == 0);
}
