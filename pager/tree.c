/* SPDX-License-Identifier: Apache-2.0 */
/* Token trees: a draft takes slots, then one branch of it stays. */
#include "inside.h"

static rapt_status check_tree(const struct sequence *seq, uint32_t n_nodes, const int32_t *parents)
{
    if (seq->n_tree > 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "seq has a tree of %u nodes: commit it first",
                         seq->n_tree);
    if (n_nodes == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_nodes is 0: a tree has at least one");
    if (!parents)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "parents is NULL");
    for (uint32_t i = 0; i < n_nodes; i++)
        if (parents[i] < -1 || parents[i] >= (int64_t)i)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "parents[%u] is %d: it must be -1 or a node before %u", i, parents[i],
                             i);
    return RAPT_OK;
}

/* Counts, and reserves all that appending the tree and committing it will need. */
static rapt_status prepare_tree(rapt_pager *pager, const struct batch *batch, struct sequence *seq)
{
    struct needs needs;
    uint32_t n_nodes = batch->n_tokens[0];
    rapt_grow_count(batch, &needs);
    rapt_status status = rapt_grow_afford(pager, &needs);
    if (status == RAPT_OK)
        status = rapt_seqs_grow(pager, seq, pages_of(pager, seq->n_tokens + n_nodes));
    if (status == RAPT_OK)
        status = rapt_copies_reserve(pager, pager->n_groups);
    if (status != RAPT_OK)
        return status;
    seq->tree = rapt_alloc(pager->allocator, n_nodes, 2 * sizeof *seq->tree);
    if (!seq->tree)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a tree of %u nodes", n_nodes);
    return RAPT_OK;
}

rapt_status rapt_pager_tree_append(rapt_pager *pager, rapt_seq handle, uint32_t n_nodes,
                                   const int32_t *parents, const int32_t *tokens)
{
    struct sequence *seq = NULL;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    const struct batch batch = {pager, 1, &handle, &n_nodes};
    rapt_status status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status == RAPT_OK)
        status = check_tree(seq, n_nodes, parents);
    if (status == RAPT_OK)
        status = rapt_grow_check(&batch, 0);
    if (status == RAPT_OK)
        status = prepare_tree(pager, &batch, seq);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    uint32_t n_used = pages_of(pager, seq->n_tokens);
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        /* What is reserved stays so, but for a page that becomes the copy of the last one. */
        struct seat *seat = seat_of(pager, seq, g);
        int copies = (seq->n_tokens & (pager->page_size - 1)) > 0 &&
                     pager->pools[g].refs[table_of(seq, g)[n_used - 1]] > 1;
        seat->n_before = seat->n_held - (copies && seat->n_held > n_used);
    }
    rapt_grow_release(pager, seq);
    rapt_grow_take(pager, seq, n_nodes);
    seq->n_tree = n_nodes;
    seq->tree_known = tokens != NULL;
    memcpy(seq->tree, parents, n_nodes * sizeof *parents);
    if (tokens)
        memcpy(seq->tree + n_nodes, tokens, n_nodes * sizeof *tokens);
    return rapt_pager_end(pager, RAPT_OK);
}

static rapt_status check_path(const struct sequence *seq, uint32_t n_path, const uint32_t *path)
{
    if (seq->n_tree == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "seq has no tree");
    if (n_path > seq->n_tree)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_path is %u: the tree has %u nodes", n_path,
                         seq->n_tree);
    if (n_path > 0 && !path)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "path is NULL");
    for (uint32_t j = 0; j < n_path; j++) {
        int64_t before = j > 0 ? (int64_t)path[j - 1] : -1;
        if (path[j] >= seq->n_tree)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "path[%u] is %u: the tree has %u nodes", j,
                             path[j], seq->n_tree);
        if (seq->tree[path[j]] != before)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "path[%u] is %u, a child of %d: it must be %s %lld", j, path[j],
                             seq->tree[path[j]], j > 0 ? "a child of" : "a root, child of",
                             (long long)before);
    }
    return RAPT_OK;
}

/* The longest piece of the path from node j on that moves as one copy. */
static uint32_t piece_at(const rapt_pager *pager, const struct sequence *seq, uint32_t n_path,
                         const uint32_t *path, uint32_t j)
{
    uint32_t page_size = pager->page_size, from = seq->n_tokens + path[j];
    uint32_t to = seq->n_tokens + j, n = 1;
    uint32_t room_from = page_size - from % page_size, room_to = page_size - to % page_size;
    uint32_t most = room_from < room_to ? room_from : room_to;
    /* No copy overlaps itself: it would depend on the order of its tokens. */
    if (from / page_size == to / page_size && from - to < most)
        most = from - to;
    while (n < most && j + n < n_path && path[j + n] == path[j] + n)
        n++;
    return n;
}

/* Counts the copies of a commit, or asks for them. */
static uint32_t move_path(rapt_pager *pager, struct sequence *seq, uint32_t n_path,
                          const uint32_t *path, uint32_t group, int add)
{
    uint32_t n_copies = 0, chain = PAGER_NONE, page_size = pager->page_size;
    const uint32_t *table = table_of(seq, group);
    for (uint32_t j = 0, n; j < n_path; j += n) {
        n = 1;
        if (path[j] == j)
            continue;
        n = piece_at(pager, seq, n_path, path, j);
        n_copies++;
        uint32_t from = seq->n_tokens + path[j], to = seq->n_tokens + j;
        if (add)
            chain = rapt_copies_add(pager,
                                    &(rapt_page_copy){.group = group,
                                                      .from_page = table[from / page_size],
                                                      .from_token = from % page_size,
                                                      .to_page = table[to / page_size],
                                                      .to_token = to % page_size,
                                                      .n_tokens = n},
                                    chain);
    }
    return n_copies;
}

/* Token ids of the branch, which lie apart. */
static void commit_tokens(rapt_pager *pager, struct sequence *seq, uint32_t n_path,
                          const uint32_t *path, const int32_t *tokens)
{
    for (uint32_t j = 0; j < n_path; j++)
        rapt_grow_tokens(pager, seq, 1, tokens ? &tokens[path[j]] : NULL);
}

rapt_status rapt_pager_tree_commit(rapt_pager *pager, rapt_seq handle, uint32_t n_path,
                                   const uint32_t *path)
{
    struct sequence *seq = NULL;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    rapt_status status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status == RAPT_OK)
        status = check_path(seq, n_path, path);
    if (status == RAPT_OK)
        status = rapt_copies_reserve(pager, (uint64_t)move_path(pager, seq, n_path, path, 0, 0) *
                                                pager->n_groups);
    if (status == RAPT_OK)
        status = rapt_grow_reserve_links(pager, n_path, 1);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    for (uint32_t g = 0; g < pager->n_groups; g++)
        move_path(pager, seq, n_path, path, g, 1);
    int32_t *tree = seq->tree;
    const int32_t *tokens = seq->tree_known ? tree + seq->n_tree : NULL;
    seq->n_tree = 0;
    seq->tree = NULL;
    commit_tokens(pager, seq, n_path, path, tokens);
    rapt_free(pager->allocator, tree);
    uint32_t n_pages = pages_of(pager, seq->n_tokens);
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        struct seat *seat = seat_of(pager, seq, g);
        uint32_t n_kept = seat->n_before > n_pages ? seat->n_before : n_pages;
        while (seat->n_held > n_kept)
            rapt_seqs_drop_page(pager, seq, g, --seat->n_held);
    }
    return rapt_pager_end(pager, RAPT_OK);
}
