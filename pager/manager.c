/* SPDX-License-Identifier: Apache-2.0 */
/* A pager comes and goes. */
#include "inside.h"

static rapt_status check_params(const rapt_pager_params *params)
{
    uint32_t page_size = params->page_size;
    if (page_size > 256 || (page_size & (page_size - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "params.page_size is %u: it must be a power of two from 1 to 256",
                         page_size);
    if (!params->groups)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "params.groups is NULL");
    if (params->n_groups == 0 || params->n_groups > RAPT_PAGER_MAX_GROUPS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "params.n_groups is %u: it must be 1 to %u",
                         params->n_groups, RAPT_PAGER_MAX_GROUPS);
    if (params->max_seqs >= PAGER_NONE)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "params.max_seqs is %u: it must be less",
                         params->max_seqs);
    const rapt_allocator *allocator = params->allocator;
    if (allocator && (!allocator->alloc || !allocator->free))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "params.allocator lacks %s",
                         allocator->alloc ? "free" : "alloc");
    for (uint32_t g = 0; g < params->n_groups; g++) {
        const rapt_pager_group *group = &params->groups[g];
        if (group->n_pages == 0 || group->n_pages > 0x7fffffffu)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "params.groups[%u].n_pages is %u: it must be 1 to 2147483647", g,
                             group->n_pages);
        if (group->window == 0 && group->sink_tokens > 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "params.groups[%u].sink_tokens is %u, window is 0: only a windowed "
                             "group has sinks",
                             g, group->sink_tokens);
        if (group->reserved != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "params.groups[%u].reserved is %u: it must be 0",
                             g, group->reserved);
    }
    return RAPT_OK;
}

static rapt_status fill_in(rapt_pager *pager, const rapt_pager_params *params)
{
    while (1u << pager->page_shift < pager->page_size)
        pager->page_shift++;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        rapt_status status = rapt_pool_init(pager, g, &params->groups[g]);
        if (status != RAPT_OK)
            return status;
        pager->has_windows |= params->groups[g].window > 0;
    }
    pager->seqs = rapt_alloc(pager->allocator, pager->max_seqs, sizeof *pager->seqs);
    pager->seats =
        rapt_alloc(pager->allocator, pager->max_seqs, pager->n_groups * sizeof *pager->seats);
    pager->tails =
        rapt_alloc(pager->allocator, pager->max_seqs, pager->page_size * sizeof *pager->tails);
    if (!pager->seqs || !pager->seats || !pager->tails)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %u sequences", pager->max_seqs);
    for (uint32_t s = pager->max_seqs; s-- > 0;) {
        pager->seqs[s].next_closed = pager->closed_first;
        pager->closed_first = s;
    }
#if defined(RAPT_DEBUG_ABORT)
    uint64_t n_pages = 0;
    for (uint32_t g = 0; g < pager->n_groups; g++)
        n_pages += pager->pools[g].n_pages;
    rapt_pager_check_every(pager, (uint32_t)(1 + n_pages / 4096));
#endif
    return rapt_links_init(pager);
}

rapt_status rapt_pager_create(const rapt_pager_params *caller, rapt_pager **out_pager)
{
    rapt_pager_params params;
    if (!out_pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_pager is NULL");
    *out_pager = NULL;
    rapt_status status = rapt_params_read("rapt_pager_params", caller, &params, sizeof params);
    if (status == RAPT_OK)
        status = check_params(&params);
    if (status != RAPT_OK)
        return status;
    rapt_pager *pager = rapt_alloc(params.allocator, 1, sizeof *pager);
    if (!pager)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a pager");
    if (params.allocator) {
        pager->own_allocator = *params.allocator;
        pager->allocator = &pager->own_allocator;
    }
    pager->page_size = params.page_size ? params.page_size : 16;
    pager->n_groups = params.n_groups;
    pager->max_seqs = params.max_seqs ? params.max_seqs : 1024;
    pager->undo_tokens = params.undo_tokens;
    pager->caches = !params.no_prefix_cache;
    pager->hash_seed = params.hash_seed;
    pager->closed_first = PAGER_NONE;
    status = fill_in(pager, &params);
    if (status == RAPT_OK)
        *out_pager = pager;
    else
        rapt_pager_destroy(&pager);
    return status;
}

void rapt_pager_destroy(rapt_pager **inout_pager)
{
    if (!inout_pager || !*inout_pager)
        return;
    rapt_pager *pager = *inout_pager;
    for (uint32_t s = 0; pager->seqs && s < pager->max_seqs; s++) {
        rapt_free(pager->allocator, pager->seqs[s].memory);
        rapt_free(pager->allocator, pager->seqs[s].tree);
    }
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        rapt_free(pager->allocator, pager->pools[g].refs);
        rapt_free(pager->allocator, pager->pools[g].pages);
    }
    rapt_links_finish(pager);
    rapt_free(pager->allocator, pager->copies);
    rapt_free(pager->allocator, pager->seqs);
    rapt_free(pager->allocator, pager->seats);
    rapt_free(pager->allocator, pager->tails);
    /* The allocator lies in the pager itself. */
    rapt_allocator allocator = pager->own_allocator;
    rapt_free(pager->allocator ? &allocator : NULL, pager);
    *inout_pager = NULL;
}

uint32_t rapt_pager_page_size(const rapt_pager *pager)
{
    return pager ? pager->page_size : 0;
}

uint32_t rapt_pager_n_groups(const rapt_pager *pager)
{
    return pager ? pager->n_groups : 0;
}

void rapt_pager_drop_cache(rapt_pager *pager)
{
    if (!pager)
        return;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        while (pager->pools[g].n_cached > 0)
            rapt_pool_forget_oldest(pager, g);
    }
    rapt_pager_end(pager, RAPT_OK);
}

void rapt_pager_check_every(rapt_pager *pager, uint32_t n_calls)
{
    pager->check_every = pager->check_in = n_calls;
}

rapt_status rapt_pager_end(rapt_pager *pager, rapt_status status)
{
    if (pager->check_every == 0 || --pager->check_in > 0)
        return status;
    pager->check_in = pager->check_every;
    rapt_status check = rapt_pager_check(pager);
    return check != RAPT_OK ? check : status;
}
