/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_TURNS_H
#define SHADERS_TURNS_H

/* How an angle becomes a cosine and a sine, for the host (base/rope.c) and the kernels (lib/rope.glsl),
 * which must get the same bits: GLSL's own sin and cos need only be good to 2^-11, and an angle in
 * radians kept as a float is worth nothing at position 100 000.
 *
 * An angle is a fraction of a turn in 32 bits. The nearest quarter is taken off; what is left, at most
 * an eighth of a turn either way, is cut to 24 bits, which a float holds exactly, and becomes t in
 * [-1, 1]. With z = t * t, every product and sum rounded on its own and in the order of the brackets:
 *
 *   sin(t pi / 4) = t S1 + (t z) (S3 + z (S5 + z S7))
 *   cos(t pi / 4) = 1 + z (C2 + z (C4 + z (C6 + z C8)))
 *
 * Minimax fits with f32 coefficients, better than 6e-9 before rounding. */

#define RAPT_TURN_S1 0.785398126
#define RAPT_TURN_S3 -0.0807451308
#define RAPT_TURN_S5 0.00248937076
#define RAPT_TURN_S7 -3.55794182e-05
#define RAPT_TURN_C2 -0.308425128
#define RAPT_TURN_C4 0.0158542823
#define RAPT_TURN_C6 -0.000325863337
#define RAPT_TURN_C8 3.49051766e-06

#define RAPT_TURN_STEP 5.9604644775390625e-08 /* 2^-24 */

#endif
