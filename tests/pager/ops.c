/* SPDX-License-Identifier: Apache-2.0 */
#include "ops.h"

#include "random.h"

#include <stdlib.h>
#include <string.h>

static uint32_t next_byte(struct op_source *source)
{
    if (!source->endless)
        return source->at < source->n_bytes ? source->data[source->at++] : 0;
    if (source->n_bits == 0) {
        source->bits = random_u64(&source->state);
        source->n_bits = 64;
    }
    uint32_t byte = source->bits & 255;
    source->bits >>= 8;
    source->n_bits -= 8;
    return byte;
}

static uint32_t next_two(struct op_source *source)
{
    uint32_t low = next_byte(source);
    return low + 256 * next_byte(source);
}

static int at_end(const struct op_source *source)
{
    return !source->endless && source->at >= source->n_bytes;
}

/* ------------------------------------------------------------------------------------ the pager */

static const struct model_config configs[] = {
    {16, 1, 6, 0, {{.n_pages = 24}}, 0, 1},
    {1, 1, 5, 0, {{.n_pages = 40}}, 0, 2},
    {4, 2, 6, 0, {{.n_pages = 24}, {.n_pages = 16, .window = 10}}, 0, 3},
    {4, 2, 8, 3, {{.n_pages = 20}, {.n_pages = 20, .window = 9, .sink_tokens = 5}}, 0, 4},
    {8, 1, 4, 2, {{.n_pages = 8, .window = 1}}, 0, 5},
    {256, 1, 4, 0, {{.n_pages = 7}}, 0, 6},
    {2,
     3,
     7,
     4,
     {{.n_pages = 30},
      {.n_pages = 24, .window = 5},
      {.n_pages = 30, .window = 16, .sink_tokens = 3}},
     0,
     7},
    {4, 2, 6, 1, {{.n_pages = 18}, {.n_pages = 14, .window = 12}}, 1, 8},
    {64, 2, 4, 100, {{.n_pages = 9}, {.n_pages = 8, .window = 70, .sink_tokens = 64}}, 0, 9},
    {2, 1, 16, 0, {{.n_pages = 60}}, 0, 10},
};
enum { N_CONFIGS = sizeof configs / sizeof configs[0] };

static struct model_config read_config(struct op_source *source)
{
    uint32_t which = next_byte(source) % (2 * N_CONFIGS);
    int hashes_meet = next_byte(source) % 8 == 0;
    struct model_config config = {0};
    if (which < N_CONFIGS) {
        config = configs[which];
        config.hashes_meet = hashes_meet;
        return config;
    }
    config.hashes_meet = hashes_meet;
    config.page_size = 1u << next_byte(source) % 9;
    config.n_groups = 1 + next_byte(source) % MODEL_MAX_GROUPS;
    config.max_seqs = 1 + next_byte(source) % MODEL_MAX_SEQS;
    config.undo_tokens = next_byte(source) % 4 ? 0 : next_byte(source) % (3 * config.page_size);
    config.no_prefix_cache = next_byte(source) % 8 == 0;
    config.hash_seed = next_byte(source);
    for (uint32_t g = 0; g < config.n_groups; g++) {
        rapt_pager_group *group = &config.groups[g];
        group->n_pages = 2 + next_byte(source) % 40;
        if (next_byte(source) % 2)
            continue;
        group->window = 1 + next_byte(source) % (4 * config.page_size);
        if (next_byte(source) % 2)
            group->sink_tokens = next_byte(source) % (3 * config.page_size);
    }
    return config;
}

/* ------------------------------------------------------------------------------------- the calls
 */

/* Which call, out of so many. */
static const struct {
    enum op_kind kind;
    uint32_t share;
} shares[] = {
    {OP_STEP, 24},  {OP_TAKE, 8},         {OP_OPEN, 28},        {OP_CLOSE, 34},     {OP_APPEND, 40},
    {OP_BATCH, 30}, {OP_RESERVE, 8},      {OP_TRUNCATE, 16},    {OP_FORK, 16},      {OP_PIN, 6},
    {OP_UNPIN, 8},  {OP_TREE_APPEND, 12}, {OP_TREE_COMMIT, 12}, {OP_DROP_CACHE, 1}, {OP_IMAGE, 4},
    {OP_IMPORT, 8}, {OP_CHECK, 1},
};

static enum op_kind read_kind(struct op_source *source)
{
    uint32_t byte = next_byte(source);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        if (byte < shares[i].share)
            return shares[i].kind;
        byte -= shares[i].share;
    }
    return OP_STEP;
}

/* A length, mostly short, sometimes some pages. */
static uint32_t read_length(struct op_source *source, uint32_t page_size)
{
    uint32_t byte = next_byte(source), more = next_byte(source);
    if (byte < 96)
        return 1 + byte % 3;
    if (byte < 192)
        return 1 + more % page_size;
    return 1 + (more + 256 * (byte & 3)) % (4 * page_size);
}

static int choose_slot(struct op_source *source, const struct model *model, int pin, struct op *op,
                       uint32_t at)
{
    uint32_t slots[MODEL_MAX_SEQS], byte = next_byte(source);
    uint32_t n = model_live_slots(model, pin, slots);
    /* Anything: empty slots, the wrong kind, handles that are no more. */
    if (byte >= 252 || (n == 0 && byte >= 224)) {
        op->slots[at] = next_byte(source) % model->config.max_seqs;
        const struct model_seq *seq = &model->seqs[op->slots[at]];
        op->seqs[at] = byte == 252 ? seq->closed : byte == 253 ? 0 : seq->handle;
        return 1;
    }
    if (n == 0)
        return 0;
    op->slots[at] = slots[byte % n];
    op->seqs[at] = model->seqs[op->slots[at]].handle;
    return 1;
}

/* Usually the sequence's story goes on, sometimes another does. */
static void read_ids(struct op_source *source, const struct model *model, struct op *op,
                     uint32_t slot, uint32_t n)
{
    const struct model_seq *seq = &model->seqs[slot];
    uint32_t byte = next_byte(source), story = byte < 224 ? seq->story : byte % 4;
    for (uint32_t i = 0; i < n; i++)
        op->ids[op->n_ids++] = model_word(model, story, seq->n_tokens + i);
}

static void read_append(struct op_source *source, const struct model *model, struct op *op,
                        uint32_t n_wanted)
{
    int known = next_byte(source) < 224;
    op->n_seqs = 0;
    for (uint32_t i = 0; i < n_wanted; i++) {
        if (!choose_slot(source, model, 0, op, op->n_seqs))
            continue;
        uint32_t n = read_length(source, model->config.page_size), at = op->n_seqs;
        int twice = 0;
        for (uint32_t j = 0; j < at; j++)
            twice |= op->seqs[j] == op->seqs[at];
        if (twice && next_byte(source) < 250)
            continue;
        const struct model_seq *seq = &model->seqs[op->slots[at]];
        if (seq->n_tokens >= model->max_tokens)
            continue;
        if (n > model->max_tokens - seq->n_tokens)
            n = model->max_tokens - seq->n_tokens;
        op->n_tokens[at] = n;
        read_ids(source, model, op, op->slots[at], n);
        op->n_seqs++;
    }
    if (!known)
        op->ids = NULL;
}

static void read_open(struct op_source *source, const struct model *model, struct op *op)
{
    uint32_t byte = next_byte(source), page_size = model->config.page_size;
    op->story = byte % 4;
    op->extra_key = byte % 64 < 48 ? 0 : byte / 64;
    if (byte >= 240)
        return;
    op->n_tokens[0] = next_two(source) % (8 * page_size);
    if (op->n_tokens[0] > model->max_tokens)
        op->n_tokens[0] = model->max_tokens;
    for (uint32_t i = 0; i < op->n_tokens[0]; i++)
        op->ids[i] = model_word(model, op->story, i);
}

static int read_tree(struct op_source *source, const struct model *model, struct op *op)
{
    const struct model_seq *seq = &model->seqs[op->slots[0]];
    uint32_t n = 1 + next_byte(source) % MODEL_MAX_TREE, shape = next_byte(source);
    if (seq->n_tokens >= model->max_tokens)
        return 0;
    if (n > model->max_tokens - seq->n_tokens)
        n = model->max_tokens - seq->n_tokens;
    op->n_tokens[0] = n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t byte = next_byte(source);
        op->parents[i] = (shape & 1) ? (int32_t)i - 1 : (int32_t)(byte % (i + 1)) - 1;
        if (byte == 255 && shape > 192)
            op->parents[i] = byte & 64 ? (int32_t)i : -2;
        op->ids[i] = model_word(model, (byte / 16) % 4, seq->n_tokens + i);
    }
    if (shape >= 224)
        op->ids = NULL;
    return 1;
}

static void read_path(struct op_source *source, const struct model *model, struct op *op)
{
    const struct model_seq *seq = &model->seqs[op->slots[0]];
    uint32_t byte = next_byte(source), branch[MODEL_MAX_TREE], n = 0;
    if (!seq->n_tree || byte < 32)
        return;
    for (int32_t node = (int32_t)(next_byte(source) % seq->n_tree); node >= 0;
         node = seq->parents[node])
        branch[n++] = (uint32_t)node;
    op->n_path = n;
    for (uint32_t i = 0; i < n; i++)
        op->path[i] = branch[n - 1 - i];
    if (byte >= 250)
        op->path[byte % n] = next_byte(source) % (seq->n_tree + 1);
}

/* Whether there is a call to make. */
static int read_op(struct op_source *source, const struct model *model, struct op *op)
{
    op->kind = read_kind(source);
    op->n_seqs = 1;
    int chooses = op->kind == OP_RESERVE || op->kind == OP_TRUNCATE || op->kind == OP_PIN ||
                  op->kind == OP_TREE_APPEND || op->kind == OP_TREE_COMMIT ||
                  op->kind == OP_CLOSE || op->kind == OP_FORK || op->kind == OP_IMAGE ||
                  op->kind == OP_UNPIN;
    if (chooses && !choose_slot(source, model, op->kind == OP_UNPIN, op, 0))
        return 0;
    switch (op->kind) {
    case OP_OPEN:
        read_open(source, model, op);
        break;
    case OP_APPEND:
        read_append(source, model, op, 1);
        break;
    case OP_BATCH:
        read_append(source, model, op, MODEL_MAX_BATCH);
        break;
    case OP_RESERVE:
        op->n_tokens[0] = read_length(source, model->config.page_size);
        break;
    case OP_TRUNCATE:
    case OP_PIN: {
        uint32_t n = model->seqs[op->slots[0]].n_tokens, byte = next_byte(source);
        uint32_t most = op->kind == OP_PIN || byte >= 192 ? n : byte % 8;
        op->n_tokens[0] = most < n ? n - most : 0;
        if (byte >= 192)
            op->n_tokens[0] = next_two(source) % (n + 2);
        else if (op->kind == OP_PIN)
            op->n_tokens[0] = n;
        break;
    }
    case OP_TREE_APPEND:
        return read_tree(source, model, op);
    case OP_TREE_COMMIT:
        for (uint32_t s = 0; s < model->config.max_seqs && op->seqs[0]; s++) {
            /* One that has a tree, if any has. */
            if (!model->seqs[s].handle || !model->seqs[s].n_tree)
                continue;
            op->slots[0] = s;
            op->seqs[0] = model->seqs[s].handle;
        }
        read_path(source, model, op);
        break;
    case OP_CLOSE:
    case OP_FORK:
    case OP_IMAGE:
        op->image = next_byte(source) % MODEL_N_IMAGES;
        break;
    case OP_IMPORT: {
        uint32_t byte = next_byte(source);
        op->image = byte % MODEL_N_IMAGES;
        op->capacity = byte < 224 ? MODEL_MAX_GROUPS * MODEL_MAX_TABLE : byte % 32;
        return model->images[op->image].n_tokens > 0;
    }
    default:
        break;
    }
    return op->n_seqs > 0;
}

static void print_op(const struct model *model, const struct op *op)
{
    static const char *const names[N_OP_KINDS] = {
        "step",        "take",       "open",  "close",  "append", "batch",
        "reserve",     "truncate",   "fork",  "pin",    "unpin",  "tree_append",
        "tree_commit", "drop_cache", "image", "import", "check"};
    printf("%5llu %-12s", (unsigned long long)model->n_ops, names[op->kind]);
    for (uint32_t i = 0; i < op->n_seqs; i++)
        printf(" slot %u (%llx) n %u", op->slots[i], (unsigned long long)op->seqs[i],
               op->n_tokens[i]);
    printf(" path %u%s\n", op->n_path, op->ids ? "" : " unknown");
    fflush(stdout);
}

void episode_run(struct op_source *source, uint64_t max_ops, struct episode *episode)
{
    struct model_config config = read_config(source);
    struct model *model = calloc(1, sizeof *model);
    struct op *op = calloc(1, sizeof *op);
    uint64_t every = episode->every ? (uint64_t)episode->every : 64;
    if (!model || !op)
        exit(EXIT_FAILURE);
    model->repro = episode->repro;
    model->fail_allocs = episode->fail_allocs;
    model_create(model, &config);
    int32_t *ids =
        calloc((size_t)MODEL_MAX_BATCH * (model->max_tokens + MODEL_MAX_TREE), sizeof *ids);
    if (!ids)
        exit(EXIT_FAILURE);
    while (model->n_ops < max_ops && !at_end(source)) {
        memset(op, 0, offsetof(struct op, fills));
        op->ids = ids;
        if (!read_op(source, model, op))
            op->kind = OP_STEP;
        if (episode->trace)
            print_op(model, op);
        model_apply(model, op);
        if (model->n_ops % every == 0)
            model_check_all(model);
    }
    model_check_all(model);
    episode->n_ops += model->n_ops;
    episode->n_failed += model->n_failed_ops;
    episode->n_injected += model->n_injected;
    for (uint32_t g = 0; g < config.n_groups; g++) {
        episode->n_evicted += model->groups[g].stats.n_evicted;
        episode->n_copies += model->groups[g].stats.n_copies;
        episode->n_hits += model->groups[g].stats.n_hit_pages;
    }
    model_destroy(model);
    free(ids);
    free(op);
    free(model);
}
