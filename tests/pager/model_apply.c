/* SPDX-License-Identifier: Apache-2.0 */
/* One call: what goes before it, the call itself, what it did to the model. */
#include "model.h"

#include <string.h>

static int has_unwritten(const struct model *model, const struct model_seq *seq, int whole_only)
{
    uint32_t n_pages = whole_only ? seq->n_tokens / model->config.page_size : seq->n_table;
    for (uint32_t g = 0; g < model->config.n_groups; g++)
        for (uint32_t i = 0; i < n_pages; i++)
            if (model->groups[g].pages[seq->table[g][i]].n_unwritten)
                return 1;
    return 0;
}

/* A caller runs a step on the device before it asks for what needs the step's rows: before more is
 * appended to a sequence, a branch is kept, or whole pages go to the prefix cache. */
static void step_before(struct model *model, const struct op *op)
{
    int flush = 0;
    for (uint32_t i = 0; i < op->n_seqs; i++) {
        const struct model_seq *seq = &model->seqs[op->slots[i]];
        if (!seq->handle)
            continue;
        switch (op->kind) {
        case OP_APPEND:
        case OP_BATCH:
        case OP_RESERVE:
        case OP_TREE_APPEND:
        case OP_TREE_COMMIT:
            flush |= has_unwritten(model, seq, 0);
            break;
        case OP_CLOSE:
        case OP_UNPIN:
        case OP_TRUNCATE:
            flush |= has_unwritten(model, seq, 1);
            break;
        default:
            break;
        }
    }
    if (flush)
        model_flush(model);
}

static rapt_status issue(struct model *model, struct op *op)
{
    rapt_pager *pager = model->pager;
    const struct model_image *image = &model->images[op->image];
    rapt_seq_params params = {.struct_size = sizeof params,
                              .tokens = op->ids,
                              .n_tokens = op->n_tokens[0],
                              .extra_key = op->extra_key};
    rapt_seq_image seq_image = {.struct_size = sizeof seq_image,
                                .n_tokens = image->n_tokens,
                                .n_known = image->n_known,
                                .extra_key = image->extra_key,
                                .tokens = image->ids};
    switch (op->kind) {
    case OP_OPEN:
        return rapt_pager_open(pager, op->n_tokens[0] || op->extra_key ? &params : NULL,
                               &op->out_seq, &op->out_n);
    case OP_CLOSE:
        return rapt_pager_close(pager, op->seqs[0]);
    case OP_APPEND:
        return rapt_pager_append(pager, op->seqs[0], op->n_tokens[0], op->ids);
    case OP_BATCH:
        return rapt_pager_append_batch(pager, op->n_seqs, op->seqs, op->n_tokens, op->ids);
    case OP_RESERVE:
        return rapt_pager_reserve(pager, op->seqs[0], op->n_tokens[0]);
    case OP_TRUNCATE:
        return rapt_pager_truncate(pager, op->seqs[0], op->n_tokens[0]);
    case OP_FORK:
        return rapt_pager_fork(pager, op->seqs[0], &op->out_seq);
    case OP_PIN:
        return rapt_pager_pin(pager, op->seqs[0], op->n_tokens[0], &op->out_seq);
    case OP_UNPIN:
        return rapt_pager_unpin(pager, op->seqs[0]);
    case OP_TREE_APPEND:
        return rapt_pager_tree_append(pager, op->seqs[0], op->n_tokens[0], op->parents, op->ids);
    case OP_TREE_COMMIT:
        return rapt_pager_tree_commit(pager, op->seqs[0], op->n_path, op->path);
    case OP_DROP_CACHE:
        rapt_pager_drop_cache(pager);
        return RAPT_OK;
    case OP_IMPORT:
        return rapt_pager_import(pager, &seq_image, op->capacity, op->fills, &op->out_n,
                                 &op->out_seq);
    default:
        return RAPT_OK;
    }
}

/* With allocations failing one after the other until it goes through. */
static rapt_status attempt(struct model *model, struct op *op)
{
    long budget = model->fail_allocs ? 0 : -1;
    for (;; budget++) {
        model->alloc.budget = budget;
        rapt_status status = issue(model, op);
        long left = model->alloc.budget;
        model->alloc.budget = -1;
        if (status != RAPT_ERROR_HOST_MEMORY)
            return status;
        CHECK(model, budget >= 0 && left == 0);
        model_dump(model, 1);
        model_compare_dumps(model);
        CHECK(model, rapt_pager_check(model->pager) == RAPT_OK);
        model->n_injected++;
    }
}

static unsigned bit_of(rapt_status status)
{
    switch (status) {
    case RAPT_OK:
        return MAY_BE_OK;
    case RAPT_ERROR_ARGUMENT:
        return MAY_BE_ARGUMENT;
    case RAPT_ERROR_PAGES:
        return MAY_BE_PAGES;
    case RAPT_ERROR_CAPACITY:
        return MAY_BE_CAPACITY;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------ what it has done
 */

static struct model_seq *new_seq(struct model *model, const struct op *op)
{
    struct model_seq *seq = &model->seqs[model_free_slot(model)];
    CHECK(model, op->out_seq != 0 && op->out_seq != seq->closed);
    for (uint32_t s = 0; s < model->config.max_seqs; s++)
        CHECK(model, model->seqs[s].handle != op->out_seq);
    seq->handle = op->out_seq;
    seq->is_pin = 0;
    seq->story = op->story;
    seq->extra_key = op->extra_key;
    seq->n_tokens = seq->n_known = seq->n_tree = seq->n_table = 0;
    memset(seq->null_end, 0, sizeof seq->null_end);
    memset(seq->n_reserved, 0, sizeof seq->n_reserved);
    return seq;
}

static void set_window(struct model *model, struct model_seq *seq, uint32_t n_tokens)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++)
        seq->null_end[g] = model_window_page(model, g, n_tokens);
}

static void did_open(struct model *model, struct op *op, uint32_t least, uint32_t most)
{
    uint32_t page_size = model->config.page_size, n = op->out_n;
    CHECK(model, n % page_size == 0 && n / page_size >= least && n / page_size <= most);
    struct model_seq *seq = new_seq(model, op);
    memcpy(seq->ids, op->ids, n * sizeof *op->ids);
    model_stamp_known(op->extra_key, op->ids, n, seq->stamps);
    seq->n_known = n;
    set_window(model, seq, n);
    model->round++;
    model_absorb(model, seq, n, ABSORB_MATCHED);
    seq->n_tokens = n;
    for (uint32_t g = 0; g < model->config.n_groups; g++)
        model->groups[g].n_hits += n / page_size;
    model_check_seq(model, seq);
}

/* What n more tokens take of the reserved pages. */
static void use_reserved(struct model *model, struct model_seq *seq, uint32_t n)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        int copies = model_needs_copy(model, seq, g);
        uint32_t spare = seq->n_reserved[g];
        uint32_t taken = model_pages_of(model, seq->n_tokens + n) - seq->n_table + (copies != 0);
        seq->n_before[g] = seq->n_table + spare - (copies && spare);
        seq->n_reserved[g] = taken < spare ? spare - taken : 0;
    }
}

static void append_to(struct model *model, struct model_seq *seq, uint32_t n, const int32_t *ids)
{
    uint32_t from = seq->n_tokens, to = from + n;
    use_reserved(model, seq, n);
    model_absorb(model, seq, to, ABSORB_COPY);
    if (ids) {
        memcpy(seq->ids + from, ids, n * sizeof *ids);
        if (seq->n_known == from)
            seq->n_known = to;
    }
    seq->n_tokens = to;
    model_stamp_tokens(model, seq, from, to);
    model_mark_unwritten(model, seq, from, to);
    model_register_pages(model, seq, from, 1);
    model_check_seq(model, seq);
}

static void did_append(struct model *model, struct op *op)
{
    const int32_t *ids = op->ids;
    for (uint32_t i = 0; i < op->n_seqs; i++)
        model_release_front(model, &model->seqs[op->slots[i]]);
    for (uint32_t i = 0; i < op->n_seqs; i++) {
        append_to(model, &model->seqs[op->slots[i]], op->n_tokens[i], ids);
        ids = ids ? ids + op->n_tokens[i] : NULL;
    }
}

static void did_reserve(struct model *model, struct op *op)
{
    struct model_seq *seq = &model->seqs[op->slots[0]];
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        uint32_t n = model_pages_of(model, seq->n_tokens + op->n_tokens[0]) - seq->n_table;
        n += op->n_tokens[0] && model_needs_copy(model, seq, g);
        if (n > seq->n_reserved[g])
            seq->n_reserved[g] = n;
    }
    model_absorb(model, seq, seq->n_tokens, 0);
    model_check_seq(model, seq);
    CHECK(model, model_n_reserved_tokens(model, seq) >= op->n_tokens[0]);
}

static void did_truncate(struct model *model, struct op *op)
{
    struct model_seq *seq = &model->seqs[op->slots[0]];
    uint32_t n = op->n_tokens[0], index = n / model->config.page_size;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        seq->n_reserved[g] = 0;
        /* The page may be forgotten now, or when the next token is written into it. */
        if (n % model->config.page_size && n < seq->n_tokens)
            model->groups[g].pages[seq->table[g][index]].sure = 0;
    }
    model_absorb(model, seq, n, 0);
    seq->n_tokens = n;
    if (seq->n_known > n)
        seq->n_known = n;
    model_check_seq(model, seq);
}

static void copy_tokens(struct model_seq *to, const struct model_seq *from, uint32_t n)
{
    memcpy(to->ids, from->ids, n * sizeof *to->ids);
    memcpy(to->stamps, from->stamps, n * sizeof *to->stamps);
    to->n_tokens = n;
    to->n_known = from->n_known < n ? from->n_known : n;
    to->extra_key = from->extra_key;
    to->story = from->story;
}

static void did_fork(struct model *model, struct op *op)
{
    const struct model_seq *parent = &model->seqs[op->slots[0]];
    struct model_seq *child = new_seq(model, op);
    copy_tokens(child, parent, parent->n_tokens);
    model_share_table(model, child, parent);
    model_absorb(model, child, child->n_tokens, 0);
    model_check_seq(model, child);
    model_check_seq(model, parent);
}

static void did_pin(struct model *model, struct op *op)
{
    const struct model_seq *seq = &model->seqs[op->slots[0]];
    struct model_seq *pin = new_seq(model, op);
    uint32_t n_pages = op->n_tokens[0] / model->config.page_size;
    copy_tokens(pin, seq, n_pages * model->config.page_size);
    pin->is_pin = 1;
    pin->n_table = n_pages;
    model_pin_table(model, pin, seq);
    model_check_seq(model, seq);
}

static void did_close(struct model *model, struct op *op)
{
    struct model_seq *seq = &model->seqs[op->slots[0]];
    model_release_tables(model, seq);
    seq->closed = seq->handle;
    seq->handle = 0;
}

static void did_tree_append(struct model *model, struct op *op)
{
    struct model_seq *seq = &model->seqs[op->slots[0]];
    uint32_t from = seq->n_tokens, n = op->n_tokens[0];
    uint64_t root = from ? seq->stamps[from - 1] : model_first_stamp(seq->extra_key);
    model_release_front(model, seq);
    use_reserved(model, seq, n);
    model_absorb(model, seq, from + n, ABSORB_COPY);
    seq->n_tree = n;
    seq->tree_known = op->ids && seq->n_known == from;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = seq->tree_known ? (uint32_t)op->ids[i] : ++model->unique << 32;
        seq->parents[i] = op->parents[i];
        seq->ids[from + i] = op->ids ? op->ids[i] : 0;
        seq->stamps[from + i] =
            model_stamp(op->parents[i] < 0 ? root : seq->stamps[from + op->parents[i]], word);
    }
    model_mark_unwritten(model, seq, from, from + n);
    model_check_seq(model, seq);
}

static void did_tree_commit(struct model *model, struct op *op)
{
    struct model_seq *seq = &model->seqs[op->slots[0]];
    uint32_t from = seq->n_tokens, to = from + op->n_path;
    model_absorb(model, seq, to, 0);
    /* Pages that were reserved before the tree took them are reserved again. */
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        uint32_t n_before = seq->n_before[g];
        seq->n_reserved[g] = n_before > seq->n_table ? n_before - seq->n_table : 0;
    }
    /* path[i] >= i: each is read before it is written over. */
    for (uint32_t i = 0; i < op->n_path; i++) {
        seq->ids[from + i] = seq->ids[from + op->path[i]];
        seq->stamps[from + i] = seq->stamps[from + op->path[i]];
    }
    if (seq->tree_known)
        seq->n_known = to;
    seq->n_tokens = to;
    seq->n_tree = 0;
    model_register_pages(model, seq, from, 1);
    model_check_seq(model, seq);
}

static void did_drop_cache(struct model *model)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        struct model_group *group = &model->groups[g];
        rapt_pager_stats stats = {.struct_size = sizeof stats};
        CHECK(model, rapt_pager_get_stats(model->pager, g, &stats) == RAPT_OK);
        CHECK(model, stats.n_cached == 0);
        for (uint32_t p = 0; p < group->n_pages; p++) {
            if (group->pages[p].n_refs > 0 || !group->pages[p].content)
                continue;
            group->pages[p].sure = 0;
            if (model->n_pending == 0) /* a copy may hold it */
                group->pages[p].content = 0;
        }
    }
}

static void did_image(struct model *model, struct op *op)
{
    const struct model_seq *seq = &model->seqs[op->slots[0]];
    struct model_image *image = &model->images[op->image];
    if (!seq->handle || seq->is_pin || seq->n_tokens == 0)
        return;
    image->n_tokens = seq->n_tokens;
    image->n_known = seq->n_known;
    image->story = seq->story;
    image->extra_key = seq->extra_key;
    memcpy(image->ids, seq->ids, seq->n_tokens * sizeof *seq->ids);
    memcpy(image->stamps, seq->stamps, seq->n_tokens * sizeof *seq->stamps);
}

/* The caller brings the contents at once, before any copy that still waits. */
static void fill_pages(struct model *model, const struct model_seq *seq, const struct op *op)
{
    uint32_t page_size = model->config.page_size;
    for (uint32_t f = 0; f < op->out_n; f++) {
        const rapt_page_fill *fill = &op->fills[f];
        CHECK(model, fill->index < seq->n_table);
        CHECK(model, seq->table[fill->group][fill->index] == fill->page);
        uint32_t left = seq->n_tokens - fill->index * page_size;
        memcpy(model->groups[fill->group].slots + (size_t)fill->page * page_size,
               seq->stamps + (size_t)fill->index * page_size,
               (left < page_size ? left : page_size) * sizeof *seq->stamps);
    }
}

static void did_import(struct model *model, struct op *op)
{
    const struct model_image *image = &model->images[op->image];
    struct model_seq *seq = new_seq(model, op);
    CHECK(model, op->out_n <= op->capacity);
    model->round++;
    for (uint32_t f = 0; f < op->out_n; f++) {
        CHECK(model, op->fills[f].group < model->config.n_groups);
        struct model_group *group = &model->groups[op->fills[f].group];
        CHECK(model, op->fills[f].page < group->n_pages);
        CHECK(model, group->pages[op->fills[f].page].round != model->round);
        group->pages[op->fills[f].page].round = model->round;
    }
    memcpy(seq->ids, image->ids, image->n_tokens * sizeof *seq->ids);
    memcpy(seq->stamps, image->stamps, image->n_tokens * sizeof *seq->stamps);
    seq->n_known = image->n_known;
    seq->story = image->story;
    seq->extra_key = image->extra_key;
    set_window(model, seq, image->n_tokens);
    model_absorb(model, seq, image->n_tokens, ABSORB_MATCHED);
    seq->n_tokens = image->n_tokens;
    fill_pages(model, seq, op);
    model_register_pages(model, seq, 0, 1);
    model_check_seq(model, seq);
}

static void did(struct model *model, struct op *op)
{
    switch (op->kind) {
    case OP_APPEND:
    case OP_BATCH:
        did_append(model, op);
        break;
    case OP_RESERVE:
        did_reserve(model, op);
        break;
    case OP_TRUNCATE:
        did_truncate(model, op);
        break;
    case OP_FORK:
        did_fork(model, op);
        break;
    case OP_PIN:
        did_pin(model, op);
        break;
    case OP_CLOSE:
    case OP_UNPIN:
        did_close(model, op);
        break;
    case OP_TREE_APPEND:
        did_tree_append(model, op);
        break;
    case OP_TREE_COMMIT:
        did_tree_commit(model, op);
        break;
    case OP_DROP_CACHE:
        did_drop_cache(model);
        break;
    case OP_IMAGE:
        did_image(model, op);
        break;
    case OP_IMPORT:
        did_import(model, op);
        break;
    default:
        break;
    }
}

/* ------------------------------------------------------------------------------------------------
 */

/* Whether admission says that there is room; what it counts is right. */
static int ask_admission(struct model *model, const struct op *op, unsigned allowed)
{
    rapt_pager_fit fit = {.struct_size = sizeof fit};
    struct model_need needs[MODEL_MAX_GROUPS];
    rapt_status status = rapt_pager_can_fit(model->pager, op->n_seqs, op->seqs, op->n_tokens, &fit);
    if (allowed == MAY_BE_ARGUMENT) {
        /* 0 stands for a new sequence there. */
        for (uint32_t i = 0; i < op->n_seqs; i++)
            if (op->seqs[i] == 0)
                return 0;
        CHECK(model, status == RAPT_ERROR_ARGUMENT);
        return 0;
    }
    CHECK(model, status == RAPT_OK);
    model_count_need(model, op, needs);
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        CHECK(model, fit.n_needed[g] == needs[g].needed);
        CHECK(model, fit.n_available[g] >= needs[g].idle);
        CHECK(model, fit.n_available[g] <= needs[g].idle + needs[g].given);
        CHECK(model, model->n_pending || fit.n_available[g] == needs[g].idle + needs[g].given);
    }
    return fit.fits;
}

static void step_of(struct model *model, const struct op *op)
{
    if (op->kind == OP_STEP)
        model_flush(model);
    else if (op->kind == OP_TAKE)
        model_take_copies(model);
    else
        model_check_all(model);
    model_after(model);
    model->n_ops++;
}

void model_apply(struct model *model, struct op *op)
{
    uint32_t least = 0, most = 0, n_match = 0;
    if (op->kind == OP_STEP || op->kind == OP_TAKE || op->kind == OP_CHECK) {
        step_of(model, op);
        return;
    }
    step_before(model, op);
    unsigned allowed = model_expect(model, op);
    int appends = op->kind == OP_APPEND || op->kind == OP_BATCH;
    int fits = appends && ask_admission(model, op, allowed);
    if (op->kind == OP_OPEN) {
        rapt_seq_params params = {.struct_size = sizeof params,
                                  .tokens = op->ids,
                                  .n_tokens = op->n_tokens[0],
                                  .extra_key = op->extra_key};
        model_match_bounds(model, op, &least, &most);
        CHECK(model, rapt_pager_match(model->pager, &params, &n_match) == RAPT_OK);
    }
    if (allowed != MAY_BE_OK || model->fail_allocs)
        model_dump(model, 0);
    rapt_status status = attempt(model, op);
    if (!(allowed & bit_of(status)))
        fprintf(stderr, "op %d: %s, but bits %u allowed\n", (int)op->kind,
                rapt_status_string(status), allowed);
    CHECK(model, allowed & bit_of(status));
    CHECK(model, !appends || allowed == MAY_BE_ARGUMENT || fits == (status == RAPT_OK));
    if (status == RAPT_OK && op->kind == OP_OPEN) {
        CHECK(model, op->out_n == n_match);
        did_open(model, op, least, most);
    } else if (status == RAPT_OK) {
        did(model, op);
    } else {
        model_dump(model, 1);
        model_compare_dumps(model);
        model->n_failed_ops++;
    }
    model_after(model);
    model->n_ops++;
}
