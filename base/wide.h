/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WIDE_H
#define BASE_WIDE_H

/* For plain loops that decide the time: where the compiler can, it makes versions for wider vectors
 * and the processor chooses when the program starts. Sanitizers do not stand the way it chooses. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) &&   \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define RAPT_WIDE                                                                                  \
    __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3,no-trapping-math")))
#else
#define RAPT_WIDE
#endif

/* A function that loops marked RAPT_WIDE call: compiled into each of their versions. */
#if defined(__GNUC__)
#define RAPT_INLINE static inline __attribute__((always_inline))
#else
#define RAPT_INLINE static inline
#endif

#endif
