/* SPDX-License-Identifier: Apache-2.0 */
#include "mask_picture.h"

#include "canvas.h"
#include "cli.h"

#ifndef CLI_HAVE_CAIRO

int mask_picture_write(const struct mask_case *mask_case, const char *option, const char *path)
{
    (void)mask_case;
    return canvas_missing(option, path);
}

#else

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARGIN = 28,
    LEFT = 78,
    PANEL_HEAD = 62,
    PLAIN_HEAD = 40,
    PANEL_FOOT = 54,
    GAP = 34,
    MAX_PANELS = 16
};
enum { LEAST_SIDE = 56, MOST_CELL = 64, LEAST_WIDTH = 780, LINE = 21 };

/* Tokens of one axis and the pixels they take: a block has some pixels, or a pixel some blocks. */
struct axis {
    uint32_t n_tokens, block, n_blocks;
    uint32_t pixels_per_block, blocks_per_pixel; /* one of them is 1 */
    uint32_t n_pixels;
    int32_t position; /* of token 0 */
};

/* What the pairs of a pixel are, in pairs. */
struct share {
    float full, partial, allowed; /* allowed: of the partial ones */
};

enum color { NOT_LISTED, FULL, ALLOWED, REFUSED, N_COLORS };

/* Told apart by eyes that see few colours, and by light alone. */
static const double colors[N_COLORS][3] = {
    [NOT_LISTED] = {0.945, 0.945, 0.955},
    [FULL] = {0.130, 0.330, 0.600},
    [ALLOWED] = {0.910, 0.480, 0.090},
    [REFUSED] = {0.985, 0.850, 0.640},
};

/* ----------------------------------------------------------------------------------------- scale
 */

static struct axis make_axis(uint32_t n_tokens, uint32_t block, int32_t position)
{
    return (struct axis){.n_tokens = n_tokens,
                         .block = block,
                         .n_blocks = (n_tokens + block - 1) / block,
                         .position = position};
}

static void set_scale(struct axis *axis, uint32_t pixels_per_block, uint32_t blocks_per_pixel)
{
    uint64_t per_pixel = (uint64_t)axis->block * blocks_per_pixel;
    axis->pixels_per_block = pixels_per_block;
    axis->blocks_per_pixel = blocks_per_pixel;
    axis->n_pixels =
        (uint32_t)(((uint64_t)axis->n_tokens * pixels_per_block + per_pixel - 1) / per_pixel);
}

/* Both axes alike in tokens where that leaves the shorter one visible. */
static void choose_scale(struct axis *q, struct axis *kv, uint32_t side)
{
    struct axis *axes[2] = {q, kv};
    uint32_t longest = q->n_tokens > kv->n_tokens ? q->n_tokens : kv->n_tokens;
    for (int i = 0; i < 2; i++) {
        struct axis *axis = axes[i];
        double cell = (double)side / longest * axis->block;
        if (cell >= 1)
            set_scale(axis, cell < MOST_CELL ? (uint32_t)lround(cell) : MOST_CELL, 1);
        else
            set_scale(axis, 1, (uint32_t)lround(1 / cell));
        if (axis->n_pixels < LEAST_SIDE) {
            uint32_t wanted = (LEAST_SIDE * axis->block + axis->n_tokens - 1) / axis->n_tokens;
            set_scale(axis, wanted ? wanted : 1, 1);
        }
        if (axis->n_pixels > 2 * side) /* many blocks of few tokens */
            set_scale(axis, 1, (axis->n_blocks + side - 1) / side);
    }
}

/* Tokens [first, end) of a pixel; pixels may share a token. */
static void tokens_of(const struct axis *axis, uint32_t pixel, uint32_t *out_first,
                      uint32_t *out_end)
{
    uint32_t cell = axis->pixels_per_block, first, end;
    if (cell > 1) {
        uint32_t start = pixel / cell * axis->block, in = pixel % cell;
        first = start + in * axis->block / cell;
        end = start + ((in + 1) * axis->block + cell - 1) / cell;
    } else {
        first = pixel * axis->blocks_per_pixel * axis->block;
        end = first + axis->blocks_per_pixel * axis->block;
    }
    *out_first = first < axis->n_tokens ? first : axis->n_tokens;
    *out_end = end < axis->n_tokens ? end : axis->n_tokens;
}

static void pixels_of_block(const struct axis *axis, uint32_t block, uint32_t *out_first,
                            uint32_t *out_end)
{
    *out_first = block * axis->pixels_per_block / axis->blocks_per_pixel;
    *out_end = *out_first + axis->pixels_per_block;
    *out_end = *out_end < axis->n_pixels ? *out_end : axis->n_pixels;
}

/* ------------------------------------------------------------------------------------------ cells
 */

struct map {
    const struct mask_case *c;
    struct axis q, kv;
    uint32_t set;
    struct share *shares; /* [q.n_pixels, kv.n_pixels] */
};

/* The part of an entry that lies in one pixel. */
static void add_part(struct map *map, uint32_t entry, uint32_t y, uint32_t x, const uint32_t *q,
                     const uint32_t *kv)
{
    const rapt_block_table_view *view = &map->c->view;
    uint32_t rows[2], keys[2];
    struct share *share = &map->shares[(size_t)y * map->kv.n_pixels + x];
    tokens_of(&map->q, y, &rows[0], &rows[1]);
    tokens_of(&map->kv, x, &keys[0], &keys[1]);
    rows[0] = rows[0] > q[0] ? rows[0] : q[0];
    rows[1] = rows[1] < q[1] ? rows[1] : q[1];
    keys[0] = keys[0] > kv[0] ? keys[0] : kv[0];
    keys[1] = keys[1] < kv[1] ? keys[1] : kv[1];
    if (rows[1] <= rows[0] || keys[1] <= keys[0])
        return;
    float pairs = (float)(rows[1] - rows[0]) * (float)(keys[1] - keys[0]);
    if (view->kinds[entry] == RAPT_BLOCK_FULL) {
        share->full += pairs;
        return;
    }
    share->partial += pairs;
    uint64_t allowed = 0;
    for (uint32_t i = rows[0]; i < rows[1]; i++)
        allowed += mask_case_allowed(map->c, map->set, entry, i, keys[0], keys[1]);
    share->allowed += (float)allowed;
}

static void add_entry(struct map *map, uint32_t row, uint32_t entry)
{
    const rapt_block_table_view *view = &map->c->view;
    uint32_t k = view->indices[entry], y0, y1, x0, x1;
    uint32_t q[2] = {row * map->q.block, (row + 1) * map->q.block};
    uint32_t kv[2] = {k * map->kv.block, (k + 1) * map->kv.block};
    pixels_of_block(&map->q, row, &y0, &y1);
    pixels_of_block(&map->kv, k, &x0, &x1);
    for (uint32_t y = y0; y < y1; y++) {
        for (uint32_t x = x0; x < x1; x++)
            add_part(map, entry, y, x, q, kv);
    }
}

/* Neither a thin line of something in much of nothing nor the reverse may fade away. */
static double visible(double part)
{
    return part <= 0 ? 0 : part >= 1 ? 1 : 0.45 + 0.45 * part;
}

static uint32_t pixel_of(const struct share *share, double pairs)
{
    double listed = (share->full + share->partial) / pairs, weight[N_COLORS], rgb[3];
    double allowed = share->partial > 0 ? visible(share->allowed / share->partial) : 0;
    double full = listed > 0 ? share->full / (share->full + share->partial) : 0;
    listed = visible(listed);
    weight[NOT_LISTED] = 1 - listed;
    weight[FULL] = listed * full;
    weight[ALLOWED] = listed * (1 - full) * allowed;
    weight[REFUSED] = listed * (1 - full) * (1 - allowed);
    uint32_t pixel = 0;
    for (int c = 0; c < 3; c++) {
        rgb[c] = 0;
        for (int i = 0; i < N_COLORS; i++)
            rgb[c] += weight[i] * colors[i][c];
        pixel = pixel << 8 | (uint32_t)lround(fmin(rgb[c], 1) * 255);
    }
    return pixel;
}

/* The map's pixels onto the canvas with its corner at x, y. 0 or an exit code. */
static int draw_map(cairo_t *cr, struct map *map, double x, double y)
{
    const rapt_block_table_view *view = &map->c->view;
    int width = (int)map->kv.n_pixels, height = (int)map->q.n_pixels;
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    map->shares = calloc((size_t)width * (size_t)height, sizeof *map->shares);
    if (!map->shares || cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) {
        cairo_surface_destroy(surface);
        free(map->shares);
        return cli_fail(CLI_DEVICE, "out of memory");
    }
    for (uint32_t row = 0; row < view->n_rows; row++) {
        size_t csr = (size_t)map->set * view->n_rows + row;
        for (uint32_t entry = view->indptr[csr]; entry < view->indptr[csr + 1]; entry++)
            add_entry(map, row, entry);
    }
    cairo_surface_flush(surface);
    unsigned char *data = cairo_image_surface_get_data(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    for (uint32_t py = 0; py < map->q.n_pixels; py++) {
        uint32_t rows[2], keys[2];
        tokens_of(&map->q, py, &rows[0], &rows[1]);
        for (uint32_t px = 0; px < map->kv.n_pixels; px++) {
            tokens_of(&map->kv, px, &keys[0], &keys[1]);
            double pairs = (double)(rows[1] - rows[0]) * (double)(keys[1] - keys[0]);
            uint32_t pixel = 0xffffff; /* past the last token */
            if (pairs > 0)
                pixel = pixel_of(&map->shares[(size_t)py * map->kv.n_pixels + px], pairs);
            memcpy(data + py * stride + 4 * (size_t)px, &pixel, 4);
        }
    }
    cairo_surface_mark_dirty(surface);
    cairo_set_source_surface(cr, surface, x, y);
    cairo_rectangle(cr, x, y, width, height);
    cairo_fill(cr);
    cairo_surface_destroy(surface);
    free(map->shares);
    return 0;
}

/* ------------------------------------------------------------------------------------------- axes
 */

static void draw_grid(cairo_t *cr, const struct map *map, double x, double y)
{
    double width = map->kv.n_pixels, height = map->q.n_pixels;
    cairo_set_line_width(cr, 1);
    cairo_set_source_rgba(cr, 1, 1, 1, 0.55);
    for (uint32_t k = 1; map->kv.pixels_per_block >= 7 && k < map->kv.n_blocks; k++)
        cairo_rectangle(cr, x + k * map->kv.pixels_per_block - 0.5, y, 0.8, height);
    for (uint32_t r = 1; map->q.pixels_per_block >= 7 && r < map->q.n_blocks; r++)
        cairo_rectangle(cr, x, y + r * map->q.pixels_per_block - 0.5, width, 0.8);
    cairo_fill(cr);
    canvas_ink(cr, 0.6);
    cairo_rectangle(cr, x - 1, y - 1, width + 2, height + 2);
    cairo_stroke(cr);
}

static double place_of(const struct axis *axis, uint32_t token)
{
    return (double)token / axis->block * axis->pixels_per_block / axis->blocks_per_pixel;
}

/* Round positions, at least so many pixels apart: powers of two, as lengths are. */
static void draw_ticks(cairo_t *cr, const struct axis *axis, double x, double y, int down)
{
    double least = down ? 32 : 58;
    int64_t step = 1, position = axis->position;
    while (place_of(axis, 1) * (double)step < least)
        step *= 2;
    int64_t at = position / step * step;
    at += at < position ? step : 0;
    for (; at < position + axis->n_tokens; at += step) {
        char label[24];
        double place = place_of(axis, (uint32_t)(at - position));
        snprintf(label, sizeof label, "%lld", (long long)at);
        canvas_ink(cr, 0.45);
        cairo_rectangle(cr, down ? x - 5 : x + place - 0.5, down ? y + place - 0.5 : y,
                        down ? 5 : 1, down ? 1 : 5);
        cairo_fill(cr);
        canvas_ink(cr, 0.28);
        if (down)
            canvas_text(cr, x - 9, y + place + 4, 11, 0, 1, label);
        else
            canvas_text(cr, x + place, y + 18, 11, 0, 0.5, label);
    }
}

static void draw_axes(cairo_t *cr, const struct map *map, double x, double y)
{
    double width = map->kv.n_pixels, height = map->q.n_pixels;
    draw_ticks(cr, &map->kv, x, y + height + 1, 0);
    draw_ticks(cr, &map->q, x - 1, y, 1);
    canvas_ink(cr, 0.4);
    canvas_text(cr, x + width / 2, y + height + 37, 12, 0, 0.5, "key position J");
    cairo_save(cr);
    cairo_translate(cr, x - LEFT + 16, y + height / 2);
    cairo_rotate(cr, -1.5707963267948966);
    canvas_text(cr, 0, 0, 12, 0, 0.5, height < 110 ? "query P" : "query position P");
    cairo_restore(cr);
}

/* ------------------------------------------------------------------------------------------ words
 */

/* As many lines as it takes, or as there may be; returns how many. cr NULL: only counts. */
static int draw_wrapped(cairo_t *measure, cairo_t *cr, double x, double y, double width,
                        double size, int bold, int most, const char *words)
{
    char line[512];
    int n = 0;
    for (size_t at = 0; words[at] && n < most; n++) {
        size_t length = 0, fits = 0;
        do { /* a word more */
            length += strcspn(words + at + length, " ");
            length += strspn(words + at + length, " ");
            if (length >= sizeof line - 4)
                break;
            snprintf(line, sizeof line, "%.*s", (int)length, words + at);
            if (canvas_text_width(measure, size, bold, line) > width && fits)
                break;
            fits = length;
        } while (words[at + length]);
        fits = fits ? fits : sizeof line - 5;
        int last = n + 1 == most && words[at + fits];
        snprintf(line, sizeof line, "%.*s%s", (int)fits, words + at, last ? ".." : "");
        if (cr)
            canvas_text(cr, x, y + n * size * 1.4, size, bold, 0, line);
        at += fits;
    }
    return n;
}

static void format_share(char *text, size_t bytes, uint64_t part, uint64_t whole)
{
    double percent = whole ? 100 * (double)part / (double)whole : 0;
    snprintf(text, bytes, percent < 1 ? "%.2g %%" : "%.3g %%", percent);
}

static void draw_panel_words(cairo_t *cr, const struct map *map, double x, double y, double width)
{
    const struct mask_case *c = map->c;
    struct mask_counts counts = mask_case_count_set(c, map->set);
    char heads[64], line[600], share[32];
    if (c->view.n_sets > 1) {
        snprintf(line, sizeof line, "%s: %s", mask_case_heads(c, map->set, heads, sizeof heads),
                 mask_case_text(c, map->set));
        canvas_ink(cr, 0.12);
        y += 19 * draw_wrapped(cr, cr, x, y + 13, width, 13, 1, 2, line);
    }
    format_share(share, sizeof share, counts.listed_pairs, counts.dense_pairs);
    snprintf(line, sizeof line, "%llu full, %llu partial of %llu blocks: %s listed",
             (unsigned long long)counts.n_full, (unsigned long long)counts.n_partial,
             (unsigned long long)map->q.n_blocks * map->kv.n_blocks, share);
    canvas_ink(cr, 0.35);
    draw_wrapped(cr, cr, x, y + 13, width, 12, 0, 2, line);
}

static void draw_legend(cairo_t *cr, double x, double y, double width, uint32_t shared)
{
    static const struct {
        enum color color;
        const char *words;
    } keys[] = {
        {FULL, "full block: every pair is seen"},
        {ALLOWED, "partial block: pairs seen"},
        {REFUSED, "partial block: pairs tested and not seen"},
        {NOT_LISTED, "not listed: never loaded"},
    };
    double at = x;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double words = canvas_text_width(cr, 12, 0, keys[i].words);
        if (at > x && at + 24 + words > x + width) {
            at = x;
            y += LINE;
        }
        const double *rgb = colors[keys[i].color];
        cairo_set_source_rgb(cr, rgb[0], rgb[1], rgb[2]);
        cairo_rectangle(cr, at, y, 15, 15);
        cairo_fill_preserve(cr);
        canvas_ink(cr, 0.7);
        cairo_set_line_width(cr, 0.8);
        cairo_stroke(cr);
        canvas_ink(cr, 0.3);
        canvas_text(cr, at + 22, y + 12, 12, 0, 0, keys[i].words);
        at += words + 22 + 26;
    }
    if (shared > 1) {
        char line[160];
        snprintf(line, sizeof line,
                 "A pixel is %u x %u blocks: their colours mixed, so that one block of them still "
                 "shows.",
                 shared, shared);
        canvas_ink(cr, 0.4);
        canvas_text(cr, x, y + LINE + 14, 12, 0, 0, line);
    }
}

/* ------------------------------------------------------------------------------------------ whole
 */

struct sheet {
    struct map map;
    uint32_t n_panels, n_columns;
    double panel_width, panel_height, width, height, head, map_head;
    char title[600], subtitle[400];
};

static void describe(struct sheet *sheet, const struct mask_case *c)
{
    struct mask_counts all = mask_case_count(c);
    char share[32], speed[64] = "nothing is listed", more[96] = "";
    format_share(share, sizeof share, all.listed_pairs, all.dense_pairs);
    if (all.listed_pairs)
        snprintf(speed, sizeof speed, "predicted speed-up %.3g x",
                 (double)all.dense_pairs / (double)all.listed_pairs);
    if (c->view.n_sets > sheet->n_panels)
        snprintf(more, sizeof more, "; %u further sets of heads are not drawn",
                 c->view.n_sets - sheet->n_panels);
    if (c->view.n_sets > 1)
        snprintf(sheet->title, sizeof sheet->title, "%u heads, %u masks", c->n_heads,
                 c->view.n_sets);
    else
        snprintf(sheet->title, sizeof sheet->title, "%s", mask_case_text(c, 0));
    snprintf(
        sheet->subtitle, sizeof sheet->subtitle,
        "%u queries, %u keys, %u head%s, blocks of %u x %u: %s of the dense pairs listed, %s%s",
        c->n_q, c->n_kv, c->n_heads, c->n_heads == 1 ? "" : "s", c->view.block_q, c->view.block_kv,
        share, speed, more);
}

static void lay_out(struct sheet *sheet, const struct mask_case *c)
{
    static const uint32_t sides[] = {0, 1024, 640, 460, 400};
    struct map *map = &sheet->map;
    uint32_t n = c->view.n_sets < MAX_PANELS ? c->view.n_sets : MAX_PANELS;
    sheet->n_panels = n;
    sheet->n_columns = n <= 3 ? n : n <= 4 ? 2 : n <= 9 ? 3 : 4;
    map->c = c;
    map->q = make_axis(c->n_q, c->view.block_q, c->q_pos0);
    map->kv = make_axis(c->n_kv, c->view.block_kv, c->kv_pos0);
    choose_scale(&map->q, &map->kv, sides[sheet->n_columns]);
    double panel = map->kv.n_pixels > 200 ? map->kv.n_pixels : 200;
    sheet->panel_width = LEFT + panel + GAP;
    sheet->map_head = n > 1 ? PANEL_HEAD : PLAIN_HEAD;
    sheet->panel_height = sheet->map_head + map->q.n_pixels + PANEL_FOOT;
    sheet->width = 2 * MARGIN + sheet->n_columns * sheet->panel_width - GAP;
    sheet->width = sheet->width > LEAST_WIDTH ? sheet->width : LEAST_WIDTH;
}

static uint32_t shared_blocks(const struct map *map)
{
    uint32_t q = map->q.blocks_per_pixel, kv = map->kv.blocks_per_pixel;
    return q > kv ? q : kv;
}

int mask_picture_write(const struct mask_case *c, const char *option, const char *path)
{
    struct sheet sheet;
    memset(&sheet, 0, sizeof sheet);
    lay_out(&sheet, c);
    describe(&sheet, c);
    double text_width = sheet.width - 2 * MARGIN;
    cairo_t *cr = canvas_create(1, 1); /* to measure */
    int n_title = draw_wrapped(cr, NULL, 0, 0, text_width, 18, 1, 3, sheet.title);
    int n_subtitle = draw_wrapped(cr, NULL, 0, 0, text_width, 12.5, 0, 3, sheet.subtitle);
    cairo_destroy(cr);
    uint32_t n_lines = (sheet.n_panels + sheet.n_columns - 1) / sheet.n_columns;
    sheet.head = MARGIN + n_title * 18 * 1.4 + n_subtitle * 12.5 * 1.4 + 8;
    double below = sheet.head + n_lines * sheet.panel_height;
    sheet.height = below + MARGIN + 2 * LINE + (shared_blocks(&sheet.map) > 1 ? LINE : 0);
    cr = canvas_create(sheet.width, sheet.height);
    canvas_ink(cr, 0.08);
    draw_wrapped(cr, cr, MARGIN, MARGIN + 14, text_width, 18, 1, 3, sheet.title);
    canvas_ink(cr, 0.35);
    draw_wrapped(cr, cr, MARGIN, MARGIN + 14 + n_title * 18 * 1.4, text_width, 12.5, 0, 3,
                 sheet.subtitle);
    int code = 0;
    for (uint32_t i = 0; i < sheet.n_panels && !code; i++) {
        double x = MARGIN + LEFT + i % sheet.n_columns * sheet.panel_width;
        double y = sheet.head + i / sheet.n_columns * sheet.panel_height;
        sheet.map.set = i;
        draw_panel_words(cr, &sheet.map, x, y, sheet.panel_width - LEFT);
        code = draw_map(cr, &sheet.map, x, y + sheet.map_head);
        draw_grid(cr, &sheet.map, x, y + sheet.map_head);
        draw_axes(cr, &sheet.map, x, y + sheet.map_head);
    }
    draw_legend(cr, MARGIN, below + 6, text_width, shared_blocks(&sheet.map));
    if (!code)
        return canvas_write(cr, option, path);
    cairo_destroy(cr);
    return code;
}

#endif
