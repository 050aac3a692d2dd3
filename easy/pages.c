/* SPDX-License-Identifier: Apache-2.0 */
/* Packed K/V into a page pool: the block tables. */
#include "job.h"

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
    if (!pages->indptr || !pages->indices || !pages->last_len) {
        rapt_job_pages_finish(job, pages);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
    }
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint32_t len = (uint32_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]);
        pages->indptr[b + 1] = pages->indptr[b] + (len + size - 1) / size;
        pages->last_len[b] = len == 0 ? 0 : (len - 1) % size + 1;
    }
    for (uint32_t i = 0; i < pages->n_pages; i++)
        pages->indices[i] = i;
    if (problem->page_order == RAPT_PAGE_ORDER_SHUFFLED)
        shuffle(pages->indices, pages->n_pages, problem->page_seed);
    return RAPT_OK;
}

void rapt_job_pages_finish(rapt_easy_job *job, struct job_pages *pages)
{
    rapt_free(job->easy->allocator, pages->indptr);
    rapt_free(job->easy->allocator, pages->indices);
    rapt_free(job->easy->allocator, pages->last_len);
    memset(pages, 0, sizeof *pages);
}
