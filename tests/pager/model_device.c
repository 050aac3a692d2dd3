/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated device: copies, new rows, and what the sequences then read. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#define SEVERAL UINT32_MAX

static void check_copy(const struct model *model, const rapt_page_copy *copy,
                       const rapt_page_copy *before)
{
    uint32_t page_size = model->config.page_size;
    CHECK(model, copy->group < model->config.n_groups && copy->n_tokens > 0);
    const struct model_group *group = &model->groups[copy->group];
    CHECK(model, copy->from_page < group->n_pages && copy->to_page < group->n_pages);
    CHECK(model, copy->from_page >= group->first_page && copy->to_page >= group->first_page);
    CHECK(model, copy->from_token + copy->n_tokens <= page_size);
    CHECK(model, copy->to_token + copy->n_tokens <= page_size);
    CHECK(model, copy->chained <= 1);
    CHECK(model, !copy->chained || (before && before->group == copy->group));
    /* Only chained ones go token by token. */
    CHECK(model, copy->chained || copy->from_page != copy->to_page ||
                     copy->from_token >= copy->to_token + copy->n_tokens ||
                     copy->to_token >= copy->from_token + copy->n_tokens);
    for (uint32_t c = 0; c < model->n_copies; c++) {
        const struct model_copy *noted = &model->copies[c];
        CHECK(model, !noted->lost || noted->group != copy->group ||
                         noted->from != copy->from_page || noted->to != copy->to_page);
    }
}

/* No slot that one chain writes is read or written by another. Chains count from 1. */
static void check_independent(const struct model *model, const rapt_page_copy *copies, uint32_t n)
{
    uint32_t chain = 0;
    for (uint32_t i = 0; i < n; i++) {
        const rapt_page_copy *copy = &copies[i];
        const struct model_group *group = &model->groups[copy->group];
        size_t from = (size_t)copy->from_page * model->config.page_size + copy->from_token;
        size_t to = (size_t)copy->to_page * model->config.page_size + copy->to_token;
        chain += !copy->chained;
        for (uint32_t t = 0; t < copy->n_tokens; t++) {
            uint32_t *reader = &group->reader[from + t];
            CHECK(model, !group->writer[from + t] || group->writer[from + t] == chain);
            *reader = *reader == 0 || *reader == chain ? chain : SEVERAL;
            reader = &group->reader[to + t];
            CHECK(model, *reader == 0 || *reader == chain);
            CHECK(model, !group->writer[to + t] || group->writer[to + t] == chain);
            group->writer[to + t] = chain;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const rapt_page_copy *copy = &copies[i];
        const struct model_group *group = &model->groups[copy->group];
        size_t from = (size_t)copy->from_page * model->config.page_size + copy->from_token;
        size_t to = (size_t)copy->to_page * model->config.page_size + copy->to_token;
        memset(group->reader + from, 0, copy->n_tokens * sizeof(uint32_t));
        memset(group->reader + to, 0, copy->n_tokens * sizeof(uint32_t));
        memset(group->writer + to, 0, copy->n_tokens * sizeof(uint32_t));
    }
}

static void run_copy(struct model *model, const rapt_page_copy *copy)
{
    uint64_t *slots = model->groups[copy->group].slots;
    size_t from = (size_t)copy->from_page * model->config.page_size + copy->from_token;
    size_t to = (size_t)copy->to_page * model->config.page_size + copy->to_token;
    for (uint32_t t = 0; t < copy->n_tokens; t++)
        slots[to + t] = slots[from + t];
    model->groups[copy->group].n_taken++;
}

/* The last chain first: their order must not matter. */
static void run_copies(struct model *model, const rapt_page_copy *copies, uint32_t n)
{
    for (uint32_t end = n; end > 0;) {
        uint32_t begin = end - 1;
        while (copies[begin].chained)
            begin--;
        for (uint32_t i = begin; i < end; i++)
            run_copy(model, &copies[i]);
        end = begin;
    }
}

void model_take_copies(struct model *model)
{
    uint32_t n = model->n_pending, taken = 0;
    rapt_page_copy *copies = malloc((n + 1) * sizeof *copies);
    CHECK(model, copies != NULL);
    if (n > 0) {
        CHECK(model,
              rapt_pager_take_copies(model->pager, n - 1, copies, &taken) == RAPT_ERROR_CAPACITY);
        CHECK(model, taken == n);
    }
    CHECK(model, rapt_pager_take_copies(model->pager, n, copies, &taken) == RAPT_OK && taken == n);
    for (uint32_t i = 0; i < n; i++)
        check_copy(model, &copies[i], i ? &copies[i - 1] : NULL);
    check_independent(model, copies, n);
    run_copies(model, copies, n);
    free(copies);
    model->n_pending = model->n_copies = 0;
}

static void write_page(struct model *model, const struct model_seq *seq, uint32_t g, uint32_t index)
{
    uint32_t page_size = model->config.page_size, page = seq->table[g][index];
    uint32_t first = index * page_size, n_slots = seq->n_tokens + seq->n_tree;
    struct model_group *group = &model->groups[g];
    for (uint32_t t = 0; t < page_size && first + t < n_slots; t++) {
        size_t slot = (size_t)page * page_size + t;
        if (!group->unwritten[slot])
            continue;
        group->slots[slot] = seq->stamps[first + t];
        group->unwritten[slot] = 0;
        group->pages[page].n_unwritten--;
    }
}

static void write_rows(struct model *model)
{
    uint32_t page_size = model->config.page_size;
    for (uint32_t s = 0; s < model->config.max_seqs; s++) {
        const struct model_seq *seq = &model->seqs[s];
        for (uint32_t g = 0; seq->handle && g < model->config.n_groups; g++)
            for (uint32_t i = 0; i < seq->n_table; i++)
                if (model->groups[g].pages[seq->table[g][i]].n_unwritten)
                    write_page(model, seq, g, i);
    }
    /* Rows of tokens that were taken back before they were written. */
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        struct model_group *group = &model->groups[g];
        for (uint32_t p = 0; p < group->n_pages; p++) {
            if (!group->pages[p].n_unwritten)
                continue;
            memset(group->unwritten + (size_t)p * page_size, 0, page_size);
            group->pages[p].n_unwritten = 0;
        }
    }
}

/* What it wrote is what it reads. */
static void read_seq(const struct model *model, const struct model_seq *seq)
{
    uint32_t page_size = model->config.page_size, n_slots = seq->n_tokens + seq->n_tree;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        const struct model_group *group = &model->groups[g];
        for (uint32_t i = 0; i < seq->n_table; i++) {
            uint32_t left = n_slots - i * page_size, n = left < page_size ? left : page_size;
            if (group->window && seq->table[g][i] == 0)
                continue;
            CHECK(model, memcmp(group->slots + (size_t)seq->table[g][i] * page_size,
                                seq->stamps + (size_t)i * page_size, n * sizeof(uint64_t)) == 0);
        }
    }
}

void model_flush(struct model *model)
{
    model_take_copies(model);
    write_rows(model);
    for (uint32_t s = 0; s < model->config.max_seqs; s++)
        if (model->seqs[s].handle)
            read_seq(model, &model->seqs[s]);
    for (uint32_t g = 0; g < model->config.n_groups; g++)
        for (uint32_t t = 0; model->groups[g].window && t < model->config.page_size; t++)
            CHECK(model, model->groups[g].slots[t] == 0);
    model_after(model);
}
