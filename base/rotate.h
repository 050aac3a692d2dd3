/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ROTATE_H
#define BASE_ROTATE_H

/* The inside of rotary embedding, for the rooms that rotate or tell a kernel how to. */

#include <rapt/rope.h>

#define RAPT_ROPE_MAX_DIM 576 /* the largest head_dim there is */

/* Checks a caller's rope for heads of head_dim and fills its defaults in; NULL becomes pairing NONE.
 * `name` is the argument's, for messages. A table on the host is looked at by nobody here. */
rapt_status rapt_rope_read(const char *name, const rapt_rope *caller, uint32_t head_dim,
                           rapt_rope *out_rope);

/* Turns per position of each frequency, 0.64 fixed point: out_turns[i] for i < rotary_dim / 2.
 * `rope` comes from rapt_rope_read and has no table. */
void rapt_rope_turns(const rapt_rope *rope, uint64_t *out_turns);

/* cos and sin of position * turns, as the kernels compute them. */
void rapt_turn_cos_sin(int32_t position, uint64_t turns, float *out_cos, float *out_sin);

#endif
