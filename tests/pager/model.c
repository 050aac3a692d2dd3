/* SPDX-License-Identifier: Apache-2.0 */
/* The model's arrays: stamps, references, the simulated device. */
#include "model.h"

#include "random.h"

#include <stdlib.h>
#include <string.h>

void model_fail(const struct model *model, const char *file, int line, const char *what)
{
    fflush(stdout);
    fprintf(stderr,
            "%s:%d: does not hold: %s\n  after %llu ops; last error: %s\n  repeat with: %s\n", file,
            line, what, (unsigned long long)model->n_ops, rapt_last_error(),
            model->repro ? model->repro : "this input");
    fflush(stderr);
    abort();
}

uint64_t model_stamp(uint64_t before, uint64_t word)
{
    uint64_t z = random_mix((before ^ word * RANDOM_STEP) + 0x632be59bd9b4e019u);
    return z ? z : 1;
}

uint64_t model_first_stamp(uint64_t extra_key)
{
    return model_stamp(0x7e57, extra_key);
}

void model_stamp_known(uint64_t extra_key, const int32_t *ids, uint32_t n, uint64_t *out_stamps)
{
    uint64_t stamp = model_first_stamp(extra_key);
    for (uint32_t i = 0; i < n; i++)
        out_stamps[i] = stamp = model_stamp(stamp, (uint32_t)ids[i]);
}

void model_stamp_tokens(struct model *model, struct model_seq *seq, uint32_t from, uint32_t to)
{
    uint64_t stamp = from ? seq->stamps[from - 1] : model_first_stamp(seq->extra_key);
    for (uint32_t i = from; i < to; i++) {
        uint64_t word = i < seq->n_known ? (uint32_t)seq->ids[i] : ++model->unique << 32;
        seq->stamps[i] = stamp = model_stamp(stamp, word);
    }
}

int32_t model_word(const struct model *model, uint32_t story, uint32_t position)
{
    uint32_t alike = story * (2 * model->config.page_size + 1);
    if (story && position < alike)
        story = 0;
    return (int32_t)(position * 2654435761u + story * 40503u);
}

uint32_t model_pages_of(const struct model *model, uint32_t n_tokens)
{
    return (n_tokens + model->config.page_size - 1) / model->config.page_size;
}

uint32_t model_window_page(const struct model *model, uint32_t group, uint32_t position)
{
    uint32_t window = model->groups[group].window, reach = window + model->config.undo_tokens - 1;
    return window == 0 || position <= reach ? 0 : (position - reach) / model->config.page_size;
}

int model_page_shared(const struct model *model, uint32_t group, uint32_t page)
{
    return model->groups[group].pages[page].n_refs > 1;
}

int model_needs_copy(const struct model *model, const struct model_seq *seq, uint32_t group)
{
    uint32_t index = seq->n_tokens / model->config.page_size;
    return index < seq->n_table && model_page_shared(model, group, seq->table[group][index]);
}

uint32_t model_n_reserved_tokens(const struct model *model, const struct model_seq *seq)
{
    uint32_t page_size = model->config.page_size, least = UINT32_MAX;
    uint32_t used = (seq->n_tokens + seq->n_tree) % page_size, room = used ? page_size - used : 0;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        uint32_t spare = seq->n_reserved[g], n = 0;
        if (!room || !model_needs_copy(model, seq, g))
            n = room + spare * page_size;
        else if (spare > 0)
            n = room + (spare - 1) * page_size;
        least = n < least ? n : least;
    }
    return least;
}

uint32_t model_live_slots(const struct model *model, int pins, uint32_t *out_slots)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < model->config.max_seqs; s++)
        if (model->seqs[s].handle && model->seqs[s].is_pin == pins)
            out_slots[n++] = s;
    return n;
}

uint32_t model_free_slot(const struct model *model)
{
    uint32_t s = 0;
    while (s < model->config.max_seqs && model->seqs[s].handle)
        s++;
    return s;
}

/* ------------------------------------------------------------------------------- birth and death
 */

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n ? n : 1, size);
    if (!memory) {
        fprintf(stderr, "no memory for the model\n");
        exit(EXIT_FAILURE);
    }
    return memory;
}

static void create_group(struct model *model, uint32_t g)
{
    const rapt_pager_group *params = &model->config.groups[g];
    struct model_group *group = &model->groups[g];
    size_t n_slots = (size_t)params->n_pages * model->config.page_size;
    group->n_pages = params->n_pages;
    group->window = params->window;
    group->sink_tokens = params->window ? params->sink_tokens : 0;
    group->n_sink_pages = model_pages_of(model, group->sink_tokens);
    group->first_page = params->window ? 1 : 0;
    group->slots = allocate(n_slots, sizeof *group->slots);
    group->unwritten = allocate(n_slots, 1);
    group->reader = allocate(n_slots, sizeof *group->reader);
    group->writer = allocate(n_slots, sizeof *group->writer);
    group->pages = allocate(params->n_pages, sizeof *group->pages);
}

void model_create(struct model *model, const struct model_config *config)
{
    model->config = *config;
    model->alloc.budget = -1;
    model->allocator = fail_allocator(&model->alloc);
    rapt_pager_params params = {.struct_size = sizeof params,
                                .allocator = &model->allocator,
                                .page_size = config->page_size,
                                .groups = config->groups,
                                .n_groups = config->n_groups,
                                .max_seqs = config->max_seqs,
                                .undo_tokens = config->undo_tokens,
                                .no_prefix_cache = config->no_prefix_cache,
                                .hash_seed = config->hash_seed};
    for (long budget = model->fail_allocs ? 0 : -1;; budget++) {
        model->alloc.budget = budget;
        rapt_status status = rapt_pager_create(&params, &model->pager);
        if (status == RAPT_OK)
            break;
        CHECK(model, status == RAPT_ERROR_HOST_MEMORY && budget >= 0 && model->alloc.budget == 0);
        CHECK(model, model->pager == NULL && model->alloc.n_alive == 0);
        model->n_injected++;
    }
    model->alloc.budget = -1;
    if (config->hashes_meet)
        model_make_hashes_meet(model->pager);
    CHECK(model, rapt_pager_page_size(model->pager) == config->page_size);
    CHECK(model, rapt_pager_n_groups(model->pager) == config->n_groups);
    for (uint32_t g = 0; g < config->n_groups; g++)
        create_group(model, g);
    model->max_tokens = (MODEL_MAX_TABLE - 1) * config->page_size;
    if (config->page_size < MODEL_MAX_TREE)
        model->max_tokens = (MODEL_MAX_TABLE - MODEL_MAX_TREE) * config->page_size;
    for (uint32_t s = 0; s < config->max_seqs; s++) {
        model->seqs[s].ids = allocate(model->max_tokens + MODEL_MAX_TREE, sizeof(int32_t));
        model->seqs[s].stamps = allocate(model->max_tokens + MODEL_MAX_TREE, sizeof(uint64_t));
    }
    for (uint32_t i = 0; i < MODEL_N_IMAGES; i++) {
        model->images[i].ids = allocate(model->max_tokens, sizeof(int32_t));
        model->images[i].stamps = allocate(model->max_tokens, sizeof(uint64_t));
    }
    model->copies = allocate(MODEL_MAX_COPIES, sizeof *model->copies);
    model_after(model);
}

void model_destroy(struct model *model)
{
    rapt_pager_destroy(&model->pager);
    CHECK(model, model->pager == NULL);
    CHECK(model, model->alloc.n_alive == 0);
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        struct model_group *group = &model->groups[g];
        free(group->slots);
        free(group->unwritten);
        free(group->reader);
        free(group->writer);
        free(group->pages);
    }
    for (uint32_t s = 0; s < model->config.max_seqs; s++) {
        free(model->seqs[s].ids);
        free(model->seqs[s].stamps);
    }
    for (uint32_t i = 0; i < MODEL_N_IMAGES; i++) {
        free(model->images[i].ids);
        free(model->images[i].stamps);
    }
    free(model->copies);
    free(model->dump[0]);
    free(model->dump[1]);
}

/* ---------------------------------------------------------------------------------------- tables
 */

/* A page it reads may be given away only when nobody wants the copy any more. */
static void note_copy(struct model *model, uint32_t group, uint32_t from, uint32_t to)
{
    CHECK(model, model->n_copies < MODEL_MAX_COPIES);
    model->copies[model->n_copies++] = (struct model_copy){group, from, to, 0};
}

static void note_fresh(struct model *model, uint32_t group, uint32_t page)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < model->n_copies; c++) {
        struct model_copy copy = model->copies[c];
        if (copy.group == group && copy.to == page)
            continue;
        copy.lost |= copy.group == group && copy.from == page;
        model->copies[n++] = copy;
    }
    model->n_copies = n;
}

static void reference(struct model *model, uint32_t g, uint32_t page)
{
    model->groups[g].pages[page].n_refs++;
}

static void unreference(struct model *model, uint32_t g, uint32_t page)
{
    struct model_page *p = &model->groups[g].pages[page];
    CHECK(model, p->n_refs > 0);
    if (--p->n_refs == 0 && model->config.no_prefix_cache)
        p->content = 0;
}

static int is_null(const struct model *model, const struct model_seq *seq, uint32_t g,
                   uint32_t index)
{
    return model->groups[g].window && seq->table[g][index] == 0;
}

static int was_given_back(const struct model *model, const struct model_seq *seq, uint32_t g,
                          uint32_t index)
{
    return model->groups[g].window && index >= model->groups[g].n_sink_pages &&
           index < seq->null_end[g];
}

/* The sequence got a page nobody has. */
static void take_fresh(struct model *model, uint32_t g, uint32_t page)
{
    struct model_group *group = &model->groups[g];
    struct model_page *p = &group->pages[page];
    uint32_t page_size = model->config.page_size;
    CHECK(model, p->n_refs == 0);
    note_fresh(model, g, page);
    if (p->n_unwritten)
        memset(group->unwritten + (size_t)page * page_size, 0, page_size);
    p->n_unwritten = 0;
    p->content = 0;
    p->sure = 0;
}

static void absorb_entry(struct model *model, struct model_seq *seq, uint32_t g, uint32_t index,
                         uint32_t page, int flags)
{
    struct model_group *group = &model->groups[g];
    uint32_t page_size = model->config.page_size, *entry = &seq->table[g][index];
    if (was_given_back(model, seq, g, index)) {
        CHECK(model, page == 0);
        *entry = 0;
        return;
    }
    CHECK(model, page >= group->first_page && page < group->n_pages);
    if (index < seq->n_table) {
        if (!(flags & ABSORB_COPY) || index != seq->n_tokens / page_size ||
            !model_page_shared(model, g, *entry)) {
            CHECK(model, page == *entry);
            return;
        }
        CHECK(model, page != *entry);
        take_fresh(model, g, page);
        note_copy(model, g, *entry, page);
        unreference(model, g, *entry);
    } else if ((flags & ABSORB_MATCHED) && group->pages[page].round != model->round) {
        CHECK(model, (index + 1) * page_size <= seq->n_known);
        CHECK(model, group->pages[page].content == seq->stamps[(index + 1) * page_size - 1]);
    } else {
        take_fresh(model, g, page);
    }
    *entry = page;
    reference(model, g, page);
}

void model_absorb(struct model *model, struct model_seq *seq, uint32_t n_slots, int flags)
{
    uint32_t page_size = model->config.page_size, n_table = model_pages_of(model, n_slots);
    uint32_t indptr[2], indices[MODEL_MAX_TABLE], last = 99;
    CHECK(model, n_table <= MODEL_MAX_TABLE);
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        rapt_block_tables tables = {.struct_size = sizeof tables,
                                    .page_indptr = indptr,
                                    .page_indices = indices,
                                    .last_page_len = &last,
                                    .capacity = MODEL_MAX_TABLE};
        CHECK(model, rapt_pager_tables(model->pager, g, 1, &seq->handle, &tables) == RAPT_OK);
        CHECK(model, tables.n_pages == n_table && indptr[0] == 0 && indptr[1] == n_table);
        CHECK(model, last == (n_slots ? (n_slots - 1) % page_size + 1 : 0));
        for (uint32_t i = n_table; i < seq->n_table; i++)
            if (!is_null(model, seq, g, i))
                unreference(model, g, seq->table[g][i]);
        for (uint32_t i = 0; i < n_table; i++)
            absorb_entry(model, seq, g, i, indices[i], flags);
        if (seq->null_end[g] > n_table)
            seq->null_end[g] = n_table;
    }
    seq->n_table = n_table;
}

void model_release_front(struct model *model, struct model_seq *seq)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        uint32_t end = model_window_page(model, g, seq->n_tokens);
        for (uint32_t i = model->groups[g].n_sink_pages; i < end; i++) {
            if (i < seq->null_end[g])
                continue;
            unreference(model, g, seq->table[g][i]);
            seq->table[g][i] = 0;
        }
        if (end > seq->null_end[g])
            seq->null_end[g] = end;
    }
}

void model_share_table(struct model *model, struct model_seq *seq, const struct model_seq *from)
{
    seq->n_table = from->n_table;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        seq->null_end[g] = from->null_end[g];
        for (uint32_t i = 0; i < seq->n_table; i++) {
            seq->table[g][i] = from->table[g][i];
            if (!is_null(model, seq, g, i))
                reference(model, g, seq->table[g][i]);
        }
    }
}

/* A pin holds, of every page that a sequence going on behind it can see, the sequence's own or one
 * with the same contents that the prefix cache knows. */
void model_pin_table(struct model *model, struct model_seq *pin, const struct model_seq *from)
{
    uint32_t page_size = model->config.page_size;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        const struct model_group *group = &model->groups[g];
        model_peek_pin(model->pager, pin->handle, g, pin->n_table, pin->table[g]);
        for (uint32_t i = 0; i < pin->n_table; i++) {
            uint32_t page = pin->table[g][i], own = from->table[g][i];
            int seen = i < group->n_sink_pages || i >= model_window_page(model, g, pin->n_tokens);
            CHECK(model, page < group->n_pages);
            if (is_null(model, pin, g, i)) {
                CHECK(model, !seen || is_null(model, from, g, i));
                continue;
            }
            CHECK(model, seen);
            if (page != own) {
                CHECK(model, (i + 1) * page_size <= pin->n_known);
                CHECK(model, group->pages[page].content == pin->stamps[(i + 1) * page_size - 1]);
            }
            reference(model, g, page);
        }
    }
}

void model_release_tables(struct model *model, struct model_seq *seq)
{
    for (uint32_t g = 0; g < model->config.n_groups; g++)
        for (uint32_t i = 0; i < seq->n_table; i++)
            if (!is_null(model, seq, g, i))
                unreference(model, g, seq->table[g][i]);
    seq->n_table = 0;
}

void model_mark_unwritten(struct model *model, struct model_seq *seq, uint32_t from, uint32_t to)
{
    uint32_t page_size = model->config.page_size;
    for (uint32_t g = 0; g < model->config.n_groups; g++) {
        struct model_group *group = &model->groups[g];
        for (uint32_t i = from; i < to; i++) {
            uint32_t page = seq->table[g][i / page_size];
            struct model_page *p = &group->pages[page];
            uint8_t *flag = &group->unwritten[(size_t)page * page_size + i % page_size];
            CHECK(model, p->n_refs == 1 && page >= group->first_page);
            p->content = 0;
            p->sure = 0;
            p->n_unwritten += !*flag;
            *flag = 1;
        }
    }
}

static int known_elsewhere(const struct model_group *group, uint32_t page, uint64_t content)
{
    for (uint32_t p = 0; p < group->n_pages; p++)
        if (p != page && group->pages[p].content == content)
            return 1;
    return 0;
}

void model_register_pages(struct model *model, struct model_seq *seq, uint32_t from, int sure)
{
    uint32_t page_size = model->config.page_size;
    if (model->config.no_prefix_cache)
        return;
    for (uint32_t i = from / page_size; (i + 1) * page_size <= seq->n_known; i++) {
        uint64_t content = seq->stamps[(i + 1) * page_size - 1];
        for (uint32_t g = 0; g < model->config.n_groups; g++) {
            struct model_page *p = &model->groups[g].pages[seq->table[g][i]];
            if (is_null(model, seq, g, i) || p->content == content)
                continue;
            p->content = content;
            p->sure = sure && !known_elsewhere(&model->groups[g], seq->table[g][i], content);
        }
    }
}
