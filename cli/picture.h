/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PICTURE_H
#define CLI_PICTURE_H

/* The demo's picture: attention weights of words over words, as maps side by side. */

#include <stdint.h>

struct picture_panel {
    const char *title, *subtitle;
    const float *weights;      /* [n_words (queries), n_words (keys)]; negative = masked */
    const char *above, *below; /* written along the diagonal, over and under the band; or NULL */
    uint32_t band;             /* how many cells under the diagonal `below` begins */
};

struct picture {
    const char *const *words;
    uint32_t n_words;
    const struct picture_panel *panels;
    uint32_t n_panels;
    const char *title, *subtitle;
};

/* Writes a PNG. 0, or CLI_USAGE after a line; without cairo in the build, CLI_USAGE and a line that
 * says so. */
int picture_write(const struct picture *picture, const char *option, const char *path);

#endif
