/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CANVAS_H
#define CLI_CANVAS_H

/* What pictures share: a white sheet, words on it, a PNG of it. */

#ifdef CLI_HAVE_CAIRO

#include <cairo.h>

#include <stddef.h>

cairo_t *canvas_create(double width, double height);
/* Writes a PNG and destroys the canvas. 0, or CLI_USAGE after a line. */
int canvas_write(cairo_t *cr, const char *option, const char *path);

/* `align`: the part of the words that lies left of x. */
void canvas_text(cairo_t *cr, double x, double y, double size, int bold, double align,
                 const char *words);
double canvas_text_width(cairo_t *cr, double size, int bold, const char *words);
/* The colour of what follows: a grey from black, 0, to white, 1. */
void canvas_ink(cairo_t *cr, double grey);

#endif

/* Can this build draw? */
int canvas_available(void);
/* CLI_USAGE after the line that it cannot. */
int canvas_missing(const char *option, const char *path);

#endif
