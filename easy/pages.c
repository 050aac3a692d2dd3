/* SPDX-License-Identifier: Apache-2.0 */
/* Packed K/V into a page pool: the block tables. */
#include "job.h"

#include <rapt/pager.h>

#include <string.h>

static uint64_t next_random(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void shuffle(uint32_t *indices, uint32_t n, uint64_t seed)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(next_random(&seed) % i), swap = indices[i - 1];
        indices[i - 1] = indices[j];
        indices[j] = swap;
    }
}

/* The pager hands out the pages, as it would to a server; the tables are its own. */
static rapt_status ask_pager(const rapt_easy_job *job, struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    const rapt_allocator *allocator = job->easy->allocator;
    uint32_t n_seqs = problem->n_seqs;
    const rapt_pager_group group = {.n_pages = pages->n_pages ? pages->n_pages : 1};
    const rapt_pager_params params = {.struct_size = sizeof params,
                                      .allocator = allocator,
                                      .page_size = problem->page_size,
                                      .groups = &group,
                                      .n_groups = 1,
                                      .max_seqs = n_seqs,
                                      .no_prefix_cache = 1};
    rapt_pager *pager = NULL;
    rapt_seq *seqs = rapt_alloc(allocator, n_seqs, sizeof *seqs);
    uint32_t *lengths = rapt_alloc(allocator, n_seqs, sizeof *lengths);
    rapt_status status = RAPT_OK;
    if (!seqs || !lengths)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
    if (status == RAPT_OK)
        status = rapt_pager_create(&params, &pager);
    for (uint32_t b = 0; status == RAPT_OK && b < n_seqs; b++) {
        lengths[b] = (uint32_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]);
        status = rapt_pager_open(pager, NULL, &seqs[b], NULL);
    }
    if (status == RAPT_OK)
        status = rapt_pager_append_batch(pager, n_seqs, seqs, lengths, NULL);
    rapt_block_tables tables = {.struct_size = sizeof tables,
                                .page_indptr = pages->indptr,
                                .page_indices = pages->indices,
                                .last_page_len = pages->last_len,
                                .capacity = pages->n_pages};
    if (status == RAPT_OK)
        status = rapt_pager_tables(pager, 0, n_seqs, seqs, &tables);
    rapt_pager_destroy(&pager);
    rapt_free(allocator, lengths);
    rapt_free(allocator, seqs);
    return status;
}

/* Moves every page to a random place of the pool. */
static rapt_status scatter(const rapt_easy_job *job, struct job_pages *pages)
{
    uint32_t *place = rapt_alloc(job->easy->allocator, pages->n_pages, sizeof *place);
    if (!place)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
    for (uint32_t p = 0; p < pages->n_pages; p++)
        place[p] = p;
    shuffle(place, pages->n_pages, job->problem.page_seed);
    for (uint32_t i = 0; i < pages->n_pages; i++)
        pages->indices[i] = place[pages->indices[i]];
    rapt_free(job->easy->allocator, place);
    return RAPT_OK;
}

rapt_status rapt_job_pages_make(rapt_easy_job *job, struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    const rapt_allocator *allocator = job->easy->allocator;
    uint32_t size = problem->page_size, n_seqs = problem->n_seqs;
    memset(pages, 0, sizeof *pages);
    uint64_t n = 0;
    for (uint32_t b = 0; b < n_seqs; b++)
        n += ((uint64_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]) + size - 1) / size;
    pages->n_pages = (uint32_t)n; /* lengths are int32, so this fits */
    pages->indptr = rapt_alloc(allocator, (size_t)n_seqs + 1, sizeof *pages->indptr);
    pages->indices = rapt_alloc(allocator, pages->n_pages, sizeof *pages->indices);
    pages->last_len = rapt_alloc(allocator, n_seqs, sizeof *pages->last_len);
    rapt_status status = RAPT_OK;
    if (!pages->indptr || !pages->indices || !pages->last_len)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
    if (status == RAPT_OK)
        status = ask_pager(job, pages);
    if (status == RAPT_OK && problem->page_order == RAPT_PAGE_ORDER_SHUFFLED)
        status = scatter(job, pages);
    if (status != RAPT_OK)
        rapt_job_pages_finish(job, pages);
    return status;
}

void rapt_job_pages_finish(rapt_easy_job *job, struct job_pages *pages)
{
    rapt_free(job->easy->allocator, pages->indptr);
    rapt_free(job->easy->allocator, pages->indices);
    rapt_free(job->easy->allocator, pages->last_len);
    memset(pages, 0, sizeof *pages);
}
