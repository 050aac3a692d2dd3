/* SPDX-License-Identifier: Apache-2.0 */
/* Block tables to spans: counted first, so that memory is taken once. */
#include "spans.h"

#include "error.h"

#include <string.h>

#define KIND_BITS 2

/* Spans of one list; with `out` NULL they are only counted. */
static uint32_t join(const struct rapt_spans_source *source, uint32_t list, uint32_t n_keys,
                     struct rapt_span *out, uint32_t *out_keys)
{
    uint32_t n = 0, keys = 0, kind = KIND_BITS, next = UINT32_MAX;
    for (uint32_t i = source->indptr[list]; i < source->indptr[list + 1]; i++) {
        uint32_t index = source->indices[i];
        uint32_t begin = index * source->block_kv;
        uint32_t end = n_keys - begin < source->block_kv ? n_keys : begin + source->block_kv;
        keys += end - begin;
        int joins = index == next && source->kinds[i] == kind && kind != KIND_BITS;
        kind = source->kinds[i];
        next = index + 1;
        if (joins) {
            if (out)
                out[n - 1].end = end;
            continue;
        }
        if (out)
            out[n] = (struct rapt_span){begin, end, kind, kind == KIND_BITS ? source->tiles[i] : 0};
        n++;
    }
    *out_keys = keys;
    return n;
}

rapt_status rapt_spans_build(const struct rapt_spans_source *source,
                             const rapt_allocator *allocator, struct rapt_spans *out_spans)
{
    uint32_t n_lists = source->n_sets * source->n_rows, n = 0;
    struct rapt_spans spans = {0};
    memset(out_spans, 0, sizeof *out_spans);
    spans.indptr = rapt_alloc(allocator, (size_t)n_lists + 1, sizeof *spans.indptr);
    spans.keys = rapt_alloc(allocator, (size_t)n_lists + 1, sizeof *spans.keys);
    for (int pass = 0; spans.indptr && spans.keys && pass < 2; pass++) {
        n = 0;
        for (uint32_t list = 0, b = 0; list < n_lists; list++) {
            uint32_t row = list % source->n_rows;
            for (b = row == 0 ? 0 : b; row >= source->row_first[b + 1];)
                b++;
            spans.indptr[list] = n;
            n += join(source, list, (uint32_t)(source->cu_kv[b + 1] - source->cu_kv[b]),
                      pass ? spans.spans + n : NULL, &spans.keys[list]);
        }
        spans.indptr[n_lists] = n;
        if (pass == 0)
            spans.spans = rapt_alloc(allocator, (size_t)n + 1, sizeof *spans.spans);
        if (!spans.spans)
            break;
    }
    spans.n_spans = n;
    if (!spans.spans) {
        rapt_spans_finish(&spans, allocator);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the spans of %u lists", n_lists);
    }
    *out_spans = spans;
    return RAPT_OK;
}

void rapt_spans_finish(struct rapt_spans *spans, const rapt_allocator *allocator)
{
    rapt_free(allocator, spans->indptr);
    rapt_free(allocator, spans->keys);
    rapt_free(allocator, spans->spans);
    memset(spans, 0, sizeof *spans);
}
