/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MASS_H
#define BASE_MASS_H

/* Scores as kernels order and weigh them, bit for bit (shaders/mass.h). */

#include <stdint.h>

/* Compares as the scores do: NaN least of all, -0 as 0. */
uint32_t rapt_score_order(float score);
/* The weight of a score in a row whose largest order is `top`: of exp(score - largest) with
 * `softmax`, else of the score itself, where what is not positive weighs nothing. NaN weighs
 * nothing. */
uint32_t rapt_score_weight(float score, uint32_t top, int softmax);
/* A share in (0, 1] in 65536ths, rounded up. */
uint32_t rapt_mass_share(float mass);
/* The share of a sum of weights, rounded up. */
uint64_t rapt_mass_of(uint64_t sum, uint32_t share);

#endif
