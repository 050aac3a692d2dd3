/* SPDX-License-Identifier: Apache-2.0 */
#include "selection.h"

#include <math.h>
#include <stdlib.h>

#define TOLERANCE 1e-5

static double score_of(const struct rapt_selection_row *row, uint32_t index)
{
    double score = row->scores[index - row->first];
    if (index == row->forced)
        return INFINITY;
    return isnan(score) ? -INFINITY : score;
}

/* What a score is compared with; NaN comes after -inf. */
static int is_before(const struct rapt_selection_row *row, uint32_t a, uint32_t b)
{
    double x = score_of(row, a), y = score_of(row, b);
    int x_nan = a != row->forced && isnan(row->scores[a - row->first]);
    int y_nan = b != row->forced && isnan(row->scores[b - row->first]);
    if ((a == row->forced) != (b == row->forced))
        return a == row->forced;
    if (x != y)
        return x > y;
    return x_nan != y_nan ? y_nan : a < b;
}

/* The best k to the front of a heap whose root is the worst of them. */
static void sift_down(const struct rapt_selection_row *row, uint32_t *heap, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t worst = at, child = 2 * at + 1;
        for (uint32_t i = child; i < child + 2 && i < n; i++)
            if (is_before(row, heap[worst], heap[i]))
                worst = i;
        if (worst == at)
            return;
        uint32_t index = heap[at];
        heap[at] = heap[worst];
        heap[worst] = index;
        at = worst;
    }
}

static int compare_indices(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void rapt_selection_choose(const struct rapt_selection_row *row, uint32_t k, uint32_t *order,
                           uint32_t *out_choices)
{
    uint32_t n = k < row->n ? k : row->n;
    for (uint32_t i = 0; i < n; i++)
        order[i] = row->first + i;
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(row, order, n, i);
    for (uint32_t i = n; n > 0 && i < row->n; i++) {
        if (!is_before(row, row->first + i, order[0]))
            continue;
        order[0] = row->first + i;
        sift_down(row, order, n, 0);
    }
    qsort(order, n, sizeof *order, compare_indices);
    for (uint32_t i = 0; i < k; i++)
        out_choices[i] = i < n ? order[i] : RAPT_NO_INDEX;
}

void rapt_selection_compare(const struct rapt_selection_row *row, uint32_t k, uint64_t row_index,
                            const uint32_t *reference, const uint32_t *choices,
                            rapt_choice_error *error)
{
    uint32_t n = k < row->n ? k : row->n;
    double most = 0, kth = INFINITY, shortfall = 0;
    int wrong = 0, same = 1, has_forced = row->forced == RAPT_NO_INDEX;
    for (uint32_t i = 0; i < row->n; i++)
        if (isfinite(row->scores[i]))
            most = fmax(most, fabs(row->scores[i]));
    for (uint32_t i = 0; i < n; i++)
        kth = fmin(kth, score_of(row, reference[i]));
    for (uint32_t i = 0; i < k; i++) {
        uint32_t index = choices[i];
        same &= index == reference[i];
        if (i >= n) {
            wrong |= index != RAPT_NO_INDEX;
            continue;
        }
        if (index < row->first || index - row->first >= row->n ||
            (i > 0 && index <= choices[i - 1])) {
            wrong = 1;
            break;
        }
        has_forced |= index == row->forced;
        if (score_of(row, index) < kth)
            shortfall = fmax(shortfall, most > 0 ? (kth - score_of(row, index)) / most : INFINITY);
    }
    wrong |= (n > 0 && !has_forced) || shortfall > TOLERANCE;
    error->n_rows++;
    error->n_same += (uint64_t)(same && !wrong);
    error->worst = fmax(error->worst, shortfall);
    if (wrong && error->n_wrong++ == 0)
        error->first_wrong = row_index;
}
