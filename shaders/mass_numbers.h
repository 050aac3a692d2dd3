/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_MASS_NUMBERS_H
#define SHADERS_MASS_NUMBERS_H

/* How a score becomes a share of its row's mass, for the host (base/mass.c) and the kernels
 * (lib/mass.glsl), which must choose the same blocks. Weights are whole numbers, the largest 2^31 (or, of
 * plain scores, 2^30 to 2^31), so that sums of them do not depend on an order and no device rounds them.
 *
 * exp(-x), x >= 0, is 0 from RAPT_MASS_FAR on. Otherwise x becomes a multiple of 2^-27, rounded down;
 * times log2(e), which is RAPT_MASS_LOG2E / 2^31, it is y, a multiple of 2^-26; its fraction in 32 bits is
 * g, and h = 2^32 - g. 2^(h / 2^32) is Taylor's polynomial of nine terms in 32-bit fractions, each product
 * cut to its upper word, better than 1e-8. */

#define RAPT_MASS_FAR 22.0
#define RAPT_MASS_LOG2E 3098164009u
#define RAPT_MASS_C1 2977044472u /* ln(2)^k / k! * 2^32 */
#define RAPT_MASS_C2 1031764991u
#define RAPT_MASS_C3 238388332u
#define RAPT_MASS_C4 41309550u
#define RAPT_MASS_C5 5726720u
#define RAPT_MASS_C6 661577u
#define RAPT_MASS_C7 65510u
#define RAPT_MASS_C8 5676u
#define RAPT_MASS_C9 437u

#define RAPT_MASS_ONE 65536u /* a share of 1, as thresholds count */
#define RAPT_MASS_MOST_BLOCKS 65536u /* of a row: sums of weights stay below 2^48 */

#endif
