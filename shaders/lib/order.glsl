/* SPDX-License-Identifier: Apache-2.0 */

/* Bits that compare as the scores do; NaN is less than anything, -0 equals 0. */
uint order_of(float x)
{
    uint u = floatBitsToUint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0;
    if (u == 0x80000000u)
        u = 0;
    return (u >> 31) != 0 ? ~u : u | 0x80000000u;
}
