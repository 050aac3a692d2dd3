/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TOLERANCE_H
#define TESTS_TOLERANCE_H

/* How exact a result must be, in one place: no test has numbers of its own. e is the Frobenius norm
 * of the difference from float64 over that of the reference; F = max(1, S / 64) follows the largest
 * score S a problem can have, because rounding a large score moves its weight. */

#define TOLERANCE_E 5e-6       /* on e, times F */
#define TOLERANCE_STAT 2e-5    /* on lse and max_logit, absolute, times F */
#define TOLERANCE_INTEGER_DOT 1e-2 /* on e where keys are multiplied in integers: Q is rounded, too */
#define TOLERANCE_MATRIX_F16 6e-4 /* at least, on e of matrix units: weights are rounded to f16 */
#define TOLERANCE_MATRIX_STAT 2e-3 /* at least, on their lse and max_logit */
#define TOLERANCE_MAX_FACTOR 8 /* max |out - ref| / max |ref| may be so many times the bound on e */
#define TOLERANCE_OUT_F16 4e-4 /* added to the bound on e by what is stored */
#define TOLERANCE_OUT_BF16 3e-3

#endif
