/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_SEARCH_GLSL
#define RAPT_SEARCH_GLSL
/* FIND_LAST(found, n, VALUE, x): the last of VALUE(0), ..., VALUE(n - 1), which never fall, that is at
 * most x, or the first. Every lane takes as many steps: SwiftShader loses what lanes have found that
 * leave a loop before others do. */
#define FIND_LAST(found, n, VALUE, x)                                                              \
    uint found = 0, found##_left = n;                                                              \
    if (found##_left > 1)                                                                          \
        do {                                                                                       \
            uint next = found + (found##_left >> 1);                                               \
            found = VALUE(next) <= x ? next : found;                                               \
            found##_left -= found##_left >> 1;                                                     \
        } while (found##_left > 1);
#endif
