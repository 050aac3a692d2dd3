/* SPDX-License-Identifier: Apache-2.0 */
/* What a call must answer, before it is made. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

static const struct model_seq *find_seq(const struct model *model, const struct op *op, uint32_t i)
{
    const struct model_seq *seq = &model->seqs[op->slots[i]];
    return seq->handle && seq->handle == op->seqs[i] && !seq->is_pin ? seq : NULL;
}

/* ------------------------------------------------------------------------------------------ room
 */

/* References that earlier sequences of the batch let go of, by page. */
struct letting_go {
    uint8_t n[4096];
};

static uint32_t count_given_back(const struct model *model, const struct model_seq *seq, uint32_t g,
                                 struct letting_go *gone)
{
    const struct model_group *group = &model->groups[g];
    uint32_t n = 0, end = model_window_page(model, g, seq->n_tokens);
    uint32_t begin =
        group->n_sink_pages > seq->null_end[g] ? group->n_sink_pages : seq->null_end[g];
    for (uint32_t i = begin; i < end; i++) {
        uint32_t page = seq->table[g][i];
        n += ++gone->n[page] == group->pages[page].n_refs;
    }
    return n;
}

static uint32_t count_taken(const struct model *model, const struct model_seq *seq, uint32_t g,
                            uint32_t n_tokens, struct letting_go *gone)
{
    uint32_t index = seq->n_tokens / model->config.page_size;
    uint32_t n = model_pages_of(model, seq->n_tokens + n_tokens) - seq->n_table;
    if (index < seq->n_table) {
        uint32_t page = seq->table[g][index];
        if (model->groups[g].pages[page].n_refs > 1u + gone->n[page]) {
            gone->n[page]++;
            n++;
        }
    }
    return n;
}

void model_count_need(const struct model *model, const struct op *op, struct model_need *out_needs)
{
    struct letting_go gone;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        const struct model_group *group = &model->groups[g];
        struct model_need *need = &out_needs[g];
        memset(gone.n, 0, group->n_pages);
        *need = (struct model_need){.idle = group->stats.n_free + group->stats.n_cached};
        for (uint32_t i = 0; i < op->n_seqs && op->kind != OP_RESERVE; i++)
            need->given += count_given_back(model, find_seq(model, op, i), g, &gone);
        for (uint32_t i = 0; i < op->n_seqs; i++) {
            const struct model_seq *seq = find_seq(model, op, i);
            uint32_t taken = count_taken(model, seq, g, op->n_tokens[i], &gone);
            need->needed += taken > seq->n_reserved[g] ? taken - seq->n_reserved[g] : 0;
        }
    }
}

static unsigned expect_room(const struct model *model, const struct op *op)
{
    struct model_need needs[MODEL_MAX_GROUPS];
    unsigned allowed = MAY_BE_OK;
    model_count_need(model, op, needs);
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        if (needs[g].needed > needs[g].idle + needs[g].given)
            return MAY_BE_PAGES;
        if (needs[g].needed > needs[g].idle && model->n_pending)
            allowed |= MAY_BE_PAGES;
    }
    return allowed;
}

static unsigned expect_append(const struct model *model, const struct op *op)
{
    for (uint32_t i = 0; i < op->n_seqs; i++) {
        const struct model_seq *seq = find_seq(model, op, i);
        if (!seq || seq->n_tree)
            return MAY_BE_ARGUMENT;
        for (uint32_t j = 0; j < i; j++)
            if (op->seqs[j] == op->seqs[i])
                return MAY_BE_ARGUMENT;
    }
    return expect_room(model, op);
}

static int has_room_for_seq(const struct model *model)
{
    return model_free_slot(model) < model->config.max_seqs;
}

/* ---------------------------------------------------------------------------------- other calls */

static unsigned expect_truncate(const struct model *model, const struct op *op)
{
    const struct model_seq *seq = find_seq(model, op, 0);
    uint32_t n = op->n_tokens[0], page_size = model->config.page_size;
    if (!seq || seq->n_tree || n > seq->n_tokens)
        return MAY_BE_ARGUMENT;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        const struct model_group *group = &model->groups[g];
        if (!group->window)
            continue;
        /* The next token's keys, and the page it goes to, must still be there. */
        uint32_t first = (n < group->window ? 0 : n - group->window + 1) / page_size;
        uint32_t end = model_pages_of(model, n);
        for (uint32_t i = first; i < end; i++)
            if (i >= group->n_sink_pages && i < seq->null_end[g])
                return MAY_BE_ARGUMENT;
    }
    return MAY_BE_OK;
}

static unsigned expect_tree_append(const struct model *model, const struct op *op)
{
    for (uint32_t i = 0; i < op->n_tokens[0]; i++)
        if (op->parents[i] < -1 || op->parents[i] >= (int32_t)i)
            return MAY_BE_ARGUMENT;
    return expect_append(model, op);
}

static unsigned expect_tree_commit(const struct model *model, const struct op *op)
{
    const struct model_seq *seq = find_seq(model, op, 0);
    if (!seq || !seq->n_tree)
        return MAY_BE_ARGUMENT;
    for (uint32_t i = 0; i < op->n_path; i++) {
        if (op->path[i] >= seq->n_tree)
            return MAY_BE_ARGUMENT;
        if (seq->parents[op->path[i]] != (i ? (int32_t)op->path[i - 1] : -1))
            return MAY_BE_ARGUMENT;
    }
    return MAY_BE_OK;
}

static int has_content(const struct model *model, uint32_t g, uint64_t content, int sure)
{
    const struct model_group *group = &model->groups[g];
    for (uint32_t p = group->first_page; p < group->n_pages; p++)
        if (group->pages[p].content == content && (!sure || group->pages[p].sure))
            return 1;
    return 0;
}

static int is_needed(const struct model *model, uint32_t g, uint32_t index, uint32_t position)
{
    return index < model->groups[g].n_sink_pages || index >= model_window_page(model, g, position);
}

static unsigned expect_import(const struct model *model, const struct op *op)
{
    const struct model_image *image = &model->images[op->image];
    uint32_t n_table = model_pages_of(model, image->n_tokens), total = 0, least_total = 0;
    unsigned allowed = MAY_BE_OK;
    if (!has_room_for_seq(model))
        return MAY_BE_CAPACITY;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        uint32_t available = model->groups[g].stats.n_free + model->groups[g].stats.n_cached;
        uint32_t n = 0, n_found = 0;
        for (uint32_t i = 0; i < n_table; i++) {
            if (!is_needed(model, g, i, image->n_tokens))
                continue;
            uint32_t end = (i + 1) * model->config.page_size;
            n_found += end <= image->n_known && has_content(model, g, image->stamps[end - 1], 0);
            n++;
        }
        total += n;
        least_total += n - n_found;
        if (n > available)
            allowed |= MAY_BE_PAGES;
        if (n - n_found > available)
            allowed &= ~(unsigned)MAY_BE_OK;
    }
    if (op->capacity < total)
        allowed |= MAY_BE_CAPACITY;
    if (op->capacity < least_total)
        allowed &= ~(unsigned)MAY_BE_OK;
    return allowed;
}

void model_match_bounds(const struct model *model, const struct op *op, uint32_t *out_least,
                        uint32_t *out_most)
{
    uint32_t page_size = model->config.page_size, n = op->n_tokens[0];
    uint64_t *stamps = malloc((n + 1) * sizeof *stamps);
    CHECK(model, stamps != NULL);
    model_stamp_known(op->extra_key, op->ids, n, stamps);
    uint32_t found[2] = {0, 0};
    for (int sure = 0; sure < 2; sure++) {
        for (uint32_t n_pages = n ? (n - 1) / page_size : 0; n_pages && !found[sure]; n_pages--) {
            /* Where no key is needed (a window of 1) that is no hit yet: a page must be known. */
            int all = !sure;
            for (uint32_t g = 0; g < model->config.n_groups; g++)
                all |= has_content(model, g, stamps[n_pages * page_size - 1], 1);
            for (uint32_t g = 0; g < model->config.n_groups; g++)
                for (uint32_t i = 0; all && i < n_pages; i++)
                    all = !is_needed(model, g, i, n_pages * page_size) ||
                          has_content(model, g, stamps[(i + 1) * page_size - 1], sure);
            if (all)
                found[sure] = n_pages;
        }
    }
    free(stamps);
    *out_least = found[1];
    *out_most = found[0];
}

unsigned model_expect(const struct model *model, const struct op *op)
{
    const struct model_seq *seq = find_seq(model, op, 0);
    const struct model_seq *slot = &model->seqs[op->slots[0]];
    switch (op->kind) {
    case OP_OPEN:
        return has_room_for_seq(model) ? MAY_BE_OK : MAY_BE_CAPACITY;
    case OP_CLOSE:
        return seq ? MAY_BE_OK : MAY_BE_ARGUMENT;
    case OP_UNPIN:
        return slot->handle && slot->handle == op->seqs[0] && slot->is_pin ? MAY_BE_OK
                                                                           : MAY_BE_ARGUMENT;
    case OP_APPEND:
    case OP_BATCH:
    case OP_RESERVE:
        return expect_append(model, op);
    case OP_TRUNCATE:
        return expect_truncate(model, op);
    case OP_FORK:
        if (!seq || seq->n_tree)
            return MAY_BE_ARGUMENT;
        return has_room_for_seq(model) ? MAY_BE_OK : MAY_BE_CAPACITY;
    case OP_PIN:
        if (!seq || op->n_tokens[0] > seq->n_tokens)
            return MAY_BE_ARGUMENT;
        return has_room_for_seq(model) ? MAY_BE_OK : MAY_BE_CAPACITY;
    case OP_TREE_APPEND:
        return expect_tree_append(model, op);
    case OP_TREE_COMMIT:
        return expect_tree_commit(model, op);
    case OP_IMPORT:
        return expect_import(model, op);
    default:
        return MAY_BE_OK;
    }
}
