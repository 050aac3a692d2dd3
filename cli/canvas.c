/* SPDX-License-Identifier: Apache-2.0 */
#include "canvas.h"

#include "cli.h"
#include "output.h"

int canvas_missing(const char *option, const char *path)
{
    return cli_fail(CLI_USAGE, "%s %s: this build has no cairo, so it draws no pictures", option,
                    path);
}

#ifndef CLI_HAVE_CAIRO

int canvas_available(void)
{
    return 0;
}

#else

#include <math.h>

int canvas_available(void)
{
    return 1;
}

cairo_t *canvas_create(double width, double height)
{
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width), (int)ceil(height));
    cairo_t *cr = cairo_create(surface);
    cairo_surface_destroy(surface); /* cr holds it */
    /* Turned words come out uneven when letters are fitted to pixels. */
    cairo_font_options_t *font = cairo_font_options_create();
    cairo_font_options_set_hint_style(font, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(font, CAIRO_HINT_METRICS_OFF);
    cairo_set_font_options(cr, font);
    cairo_font_options_destroy(font);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    return cr;
}

static cairo_status_t write_bytes(void *closure, const unsigned char *data, unsigned int n_bytes)
{
    FILE *file = closure;
    return fwrite(data, 1, n_bytes, file) == n_bytes ? CAIRO_STATUS_SUCCESS
                                                     : CAIRO_STATUS_WRITE_ERROR;
}

int canvas_write(cairo_t *cr, const char *option, const char *path)
{
    cairo_status_t drawn = cairo_status(cr);
    struct output output = {0};
    FILE *file = output_open(&output, option, path);
    int code = file ? 0 : CLI_USAGE;
    if (!code) {
        if (drawn == CAIRO_STATUS_SUCCESS)
            drawn = cairo_surface_write_to_png_stream(cairo_get_target(cr), write_bytes, file);
        code = output_close(&output, file, 0);
        if (!code && drawn != CAIRO_STATUS_SUCCESS)
            code = cli_fail(CLI_USAGE, "%s %s: %s", option, path, cairo_status_to_string(drawn));
    }
    code = code ? code : output_commit(&output);
    output_finish(&output);
    cairo_destroy(cr);
    return code;
}

static void choose_font(cairo_t *cr, double size, int bold)
{
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

double canvas_text_width(cairo_t *cr, double size, int bold, const char *words)
{
    cairo_text_extents_t extents;
    choose_font(cr, size, bold);
    cairo_text_extents(cr, words, &extents);
    return extents.x_advance;
}

void canvas_text(cairo_t *cr, double x, double y, double size, int bold, double align,
                 const char *words)
{
    double width = canvas_text_width(cr, size, bold, words);
    cairo_move_to(cr, x - align * width, y);
    cairo_show_text(cr, words);
}

void canvas_ink(cairo_t *cr, double grey)
{
    cairo_set_source_rgb(cr, grey, grey, grey * 1.04 > 1 ? 1 : grey * 1.04);
}

#endif
