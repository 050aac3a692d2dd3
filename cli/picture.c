/* SPDX-License-Identifier: Apache-2.0 */
#include "picture.h"

#include "canvas.h"

#include <stdio.h>

#ifndef CLI_HAVE_CAIRO

int picture_write(const struct picture *picture, const char *option, const char *path)
{
    (void)picture;
    return canvas_missing(option, path);
}

#else

#include <math.h>

enum { CELL = 12, LABELS = 64, TOP = 128, PANEL_HEAD = 48, GAP = 34, RIGHT = 112, BOTTOM = 46 };

/* Dark violet through red and orange to pale yellow: equal steps of weight look like equal steps of
 * light, in grey print too. */
static void color_of(double t, double *rgb)
{
    static const double stops[][3] = {
        {0.055, 0.035, 0.150}, {0.180, 0.065, 0.330}, {0.345, 0.090, 0.435}, {0.520, 0.135, 0.440},
        {0.700, 0.190, 0.390}, {0.860, 0.290, 0.300}, {0.955, 0.450, 0.220}, {0.985, 0.640, 0.250},
        {0.985, 0.820, 0.450}, {0.990, 0.960, 0.760},
    };
    const int n = sizeof stops / sizeof *stops;
    t = fmin(fmax(t, 0), 1) * (n - 1);
    int i = (int)t < n - 1 ? (int)t : n - 2;
    for (int c = 0; c < 3; c++)
        rgb[c] = stops[i][c] + (t - i) * (stops[i + 1][c] - stops[i][c]);
}

/* Weights of a row fall off fast; the root keeps the small ones visible. */
static double shade(double weight)
{
    return sqrt(weight);
}

static void draw_cells(cairo_t *cr, const struct picture *picture, const float *weights, double x,
                       double y)
{
    uint32_t n = picture->n_words;
    double side = (double)n * CELL;
    cairo_rectangle(cr, x, y, side, side);
    cairo_set_source_rgb(cr, 0.945, 0.945, 0.955);
    cairo_fill(cr);
    /* Cells must meet without a seam. */
    cairo_set_antialias(cr, CAIRO_ANTIALIAS_NONE);
    for (uint32_t p = 0; p < n; p++) {
        for (uint32_t j = 0; j < n; j++) {
            double rgb[3], weight = weights[(size_t)p * n + j];
            if (weight < 0)
                continue;
            color_of(shade(weight), rgb);
            cairo_set_source_rgb(cr, rgb[0], rgb[1], rgb[2]);
            cairo_rectangle(cr, x + (double)j * CELL, y + (double)p * CELL, CELL, CELL);
            cairo_fill(cr);
        }
    }
    cairo_set_antialias(cr, CAIRO_ANTIALIAS_DEFAULT);
    cairo_set_line_width(cr, 1);
    canvas_ink(cr, 0.75);
    cairo_rectangle(cr, x - 0.5, y - 0.5, side + 1, side + 1);
    cairo_stroke(cr);
}

/* Notes run along the edges they explain. */
static void draw_note(cairo_t *cr, double x, double y, const char *words)
{
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_rotate(cr, 0.7853981633974483);
    canvas_ink(cr, 0.42);
    canvas_text(cr, 0, 0, 12.5, 0, 0.5, words);
    cairo_restore(cr);
}

static void draw_notes(cairo_t *cr, const struct picture *picture,
                       const struct picture_panel *panel, double x, double y)
{
    double side = (double)picture->n_words * CELL;
    if (panel->above)
        draw_note(cr, x + side / 2 + 22, y + side / 2 - 22, panel->above);
    if (panel->below) {
        double down = (double)panel->band * CELL, middle = (side - down) / 2;
        draw_note(cr, x + middle - 24, y + down + middle + 24, panel->below);
    }
}

static void draw_labels(cairo_t *cr, const struct picture *picture, double x, double y, int queries)
{
    uint32_t n = picture->n_words;
    double side = (double)n * CELL;
    canvas_ink(cr, 0.25);
    for (uint32_t i = 0; i < n; i++) {
        double at = ((double)i + 0.5) * CELL + 3.2;
        if (queries)
            canvas_text(cr, x - 6, y + at, 9.5, 0, 1, picture->words[i]);
        cairo_save(cr);
        cairo_translate(cr, x + at, y - 6);
        cairo_rotate(cr, -1.5707963267948966);
        canvas_text(cr, 0, 0, 9.5, 0, 0, picture->words[i]);
        cairo_restore(cr);
    }
    canvas_ink(cr, 0.4);
    canvas_text(cr, x + side / 2, y + side + 20, 12, 0, 0.5, "key (the word looked at)");
    if (queries) {
        cairo_save(cr);
        cairo_translate(cr, x - LABELS + 4, y + side / 2);
        cairo_rotate(cr, -1.5707963267948966);
        canvas_text(cr, 0, 0, 12, 0, 0.5, "query (the word that looks)");
        cairo_restore(cr);
    }
}

static void draw_scale(cairo_t *cr, double x, double y, double height)
{
    static const double ticks[] = {0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1};
    for (int i = 0; i < (int)height; i++) {
        double rgb[3];
        color_of(1 - (i + 0.5) / height, rgb);
        cairo_set_source_rgb(cr, rgb[0], rgb[1], rgb[2]);
        cairo_rectangle(cr, x, y + i, 16, 1.5);
        cairo_fill(cr);
    }
    canvas_ink(cr, 0.3);
    for (size_t i = 0; i < sizeof ticks / sizeof *ticks; i++) {
        char label[16];
        double at = y + (1 - shade(ticks[i])) * height;
        snprintf(label, sizeof label, "%g", ticks[i]);
        cairo_rectangle(cr, x + 16, at - 0.5, 5, 1);
        cairo_fill(cr);
        canvas_text(cr, x + 25, at + 3.5, 10.5, 0, 0, label);
    }
    canvas_text(cr, x, y - 26, 12, 0, 0, "weight");
    canvas_text(cr, x, y - 11, 10, 0, 0, "(root scale)");
    cairo_set_source_rgb(cr, 0.945, 0.945, 0.955);
    cairo_rectangle(cr, x, y + height + 22, 16, 16);
    cairo_fill_preserve(cr);
    canvas_ink(cr, 0.75);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
    canvas_ink(cr, 0.3);
    canvas_text(cr, x + 25, y + height + 34, 10.5, 0, 0, "masked");
}

static void draw(cairo_t *cr, const struct picture *picture, double width)
{
    double side = (double)picture->n_words * CELL;
    canvas_ink(cr, 0.08);
    canvas_text(cr, 24, 34, 20, 1, 0, picture->title);
    canvas_ink(cr, 0.35);
    canvas_text(cr, 24, 56, 12.5, 0, 0, picture->subtitle);
    for (uint32_t i = 0; i < picture->n_panels; i++) {
        const struct picture_panel *panel = &picture->panels[i];
        double x = 24 + LABELS + i * (side + GAP), y = TOP + PANEL_HEAD;
        canvas_ink(cr, 0.12);
        canvas_text(cr, x, TOP - 28, 14, 1, 0, panel->title);
        canvas_ink(cr, 0.35);
        canvas_text(cr, x, TOP - 11, 12, 0, 0, panel->subtitle);
        draw_cells(cr, picture, panel->weights, x, y);
        draw_notes(cr, picture, panel, x, y);
        draw_labels(cr, picture, x, y, i == 0);
    }
    draw_scale(cr, width - RIGHT + 26, TOP + PANEL_HEAD + 40, 320);
}

int picture_write(const struct picture *picture, const char *option, const char *path)
{
    double side = (double)picture->n_words * CELL;
    double width = 24 + LABELS + picture->n_panels * side + (picture->n_panels - 1) * GAP + RIGHT;
    cairo_t *cr = canvas_create(width, TOP + PANEL_HEAD + side + BOTTOM);
    draw(cr, picture, width);
    return canvas_write(cr, option, path);
}

#endif
