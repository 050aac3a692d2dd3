/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (4u << 20)

struct array {
    char name[24], kind[8];
    const void *data;
    size_t n;
};

static int fail(const char *path, const char *what, const char *detail)
{
    fprintf(stderr, "%s: %s%s\n", path, what, detail);
    return 0;
}

/* The whole file, ended by a zero byte. */
static void *read_all(const char *path, size_t *out_n_bytes)
{
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(MAX_BYTES + 1);
    if (!file || !bytes) {
        perror(path);
        free(bytes);
        if (file)
            fclose(file);
        return NULL;
    }
    *out_n_bytes = fread(bytes, 1, MAX_BYTES, file);
    bytes[*out_n_bytes] = 0;
    fclose(file);
    return bytes;
}

static int set_number(struct golden *golden, const char *key, const char *text)
{
    rapt_problem *p = &golden->problem;
    rapt_mask_data *data = &golden->mask_data;
    const struct {
        const char *key;
        uint32_t *at;
    } counts[] = {{"n_seqs", &p->n_seqs},
                  {"n_q_heads", &p->n_q_heads},
                  {"n_kv_heads", &p->n_kv_heads},
                  {"head_dim", &p->head_dim},
                  {"head_dim_v", &p->head_dim_v},
                  {"page_size", &p->page_size},
                  {"n_pool_pages", &p->n_pool_pages},
                  {"n_block_heads", &data->n_block_heads},
                  {"n_q_blocks", &data->n_q_blocks},
                  {"n_k_blocks", &data->n_k_blocks},
                  {"map_block_q", &data->map_block_q},
                  {"map_block_kv", &data->map_block_kv}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (strcmp(key, counts[i].key) == 0) {
            *counts[i].at = (uint32_t)strtoul(text, NULL, 10);
            return 1;
        }
    if (strcmp(key, "scale") == 0)
        p->scale = strtof(text, NULL);
    else if (strcmp(key, "softcap") == 0)
        p->softcap = strtof(text, NULL);
    else if (strcmp(key, "unnormalised") == 0)
        p->unnormalised = atoi(text);
    else if (strcmp(key, "bias_row_stride") == 0)
        p->bias.layout.token_stride = strtoul(text, NULL, 10);
    else if (strcmp(key, "bias_head_stride") == 0)
        p->bias.layout.head_stride = strtoul(text, NULL, 10);
    else if (strcmp(key, "bitmap_head_stride") == 0)
        data->bitmap_head_stride = strtoul(text, NULL, 10);
    else if (strcmp(key, "q_type") == 0)
        p->q_type = rapt_type_parse(text);
    else if (strcmp(key, "kv_type") == 0)
        p->kv_type = rapt_type_parse(text);
    else if (strcmp(key, "scale_type") == 0)
        p->scale_type = rapt_type_parse(text);
    else if (strcmp(key, "scale_kind") == 0)
        p->scale_kind = strcmp(text, "token") == 0 ? RAPT_SCALE_TOKEN : RAPT_SCALE_STATIC;
    else
        return 0;
    return 1;
}

/* "H EXPR" */
static int set_mask_head(struct golden *golden, const char *text)
{
    char *end;
    unsigned long h = strtoul(text, &end, 10);
    if (h >= GOLDEN_MAX_HEADS ||
        rapt_mask_parse(NULL, end, NULL, &golden->mask_heads[h]) != RAPT_OK)
        return 0;
    golden->problem.mask_heads = (const rapt_mask *const *)golden->mask_heads;
    return 1;
}

/* Lines that begin with "rope". The formulas' lines come after those that give dim and theta. */
static int set_rope(struct golden *golden, const char *key, const char *text)
{
    rapt_rope *rope = &golden->rope;
    float a[4] = {0};
    if (strcmp(key, "rope") == 0) {
        rope->struct_size = sizeof *rope;
        rope->pairing = strcmp(text, "neox") == 0 ? RAPT_ROPE_NEOX : RAPT_ROPE_GPTJ;
        golden->problem.rope = rope;
        return strcmp(text, "neox") == 0 || strcmp(text, "gptj") == 0;
    }
    if (strcmp(key, "rope_dim") == 0)
        rope->rotary_dim = (uint32_t)strtoul(text, NULL, 10);
    else if (strcmp(key, "rope_offset") == 0)
        rope->rotary_offset = (uint32_t)strtoul(text, NULL, 10);
    else if (strcmp(key, "rope_theta") == 0)
        rope->theta = strtof(text, NULL);
    else if (strcmp(key, "rope_factor") == 0)
        rope->attention_factor = golden->attention_factor = strtof(text, NULL);
    else if (sscanf(text, "%f %f %f %f", &a[0], &a[1], &a[2], &a[3]) != 4 || rope->rotary_dim > 576)
        return 0;
    else if (strcmp(key, "rope_llama3") == 0)
        golden->has_formula = rapt_rope_llama3(rope->rotary_dim, rope->theta, a[0], a[1], a[2],
                                               (uint32_t)a[3], golden->frequency_scale) == RAPT_OK;
    else if (strcmp(key, "rope_yarn") == 0)
        golden->has_formula =
            rapt_rope_yarn(rope->rotary_dim, rope->theta, a[0], a[2], a[3], (uint32_t)a[1],
                           golden->frequency_scale, &golden->attention_factor) == RAPT_OK;
    else
        return 0;
    return 1;
}

static int set_array(struct golden *golden, const struct array *array)
{
    rapt_problem *p = &golden->problem;
    rapt_mask_data *data = &golden->mask_data;
    rapt_type type = rapt_type_parse(array->kind);
    const struct {
        const char *name, *kind;
        const void **at;
    } arrays[] = {{"o", "f64", (const void **)&golden->o},
                  {"lse", "f64", (const void **)&golden->lse},
                  {"max_logit", "f64", (const void **)&golden->max_logit},
                  {"cu_q", "i32", (const void **)&p->cu_q},
                  {"cu_kv", "i32", (const void **)&p->cu_kv},
                  {"page_indptr", "i32", (const void **)&p->page_indptr},
                  {"page_indices", "i32", (const void **)&p->page_indices},
                  {"last_page_len", "i32", (const void **)&p->last_page_len},
                  {"q_pos0", "i32", (const void **)&p->q_pos0},
                  {"q_pos", "i32", (const void **)&p->q_pos},
                  {"kv_pos0", "i32", (const void **)&p->kv_pos0},
                  {"prefix", "i32", (const void **)&p->prefix},
                  {"segments_q", "i32", (const void **)&data->segments_q},
                  {"segments_kv", "i32", (const void **)&data->segments_kv},
                  {"bidirectional", "u8", (const void **)&data->bidirectional},
                  {"bitmap", "u8", (const void **)&data->bitmap},
                  {"bitmap_offsets", "u64", (const void **)&data->bitmap_offsets},
                  {"blocks", "u8", (const void **)&data->blocks},
                  {"parents", "i32", (const void **)&data->parents},
                  {"tree_indptr", "i32", (const void **)&data->tree_indptr},
                  {"slopes", "f32", (const void **)&p->slopes},
                  {"sinks", "f32", (const void **)&p->sinks},
                  {"k_scale", "f32", (const void **)&p->k_scale},
                  {"v_scale", "f32", (const void **)&p->v_scale},
                  {"frequency_scale", "f32", (const void **)&golden->rope.frequency_scale},
                  {"rope_table", "f32", (const void **)&golden->rope.table},
                  {"rope_pos", "i32", (const void **)&p->rope_pos},
                  {"k_rope_pos", "i32", (const void **)&p->k_rope_pos},
                  {"bias_offsets", "u64", (const void **)&p->bias_offsets}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        if (strcmp(array->name, arrays[i].name) == 0) {
            *arrays[i].at = array->data;
            if (strcmp(array->name, "o") == 0)
                golden->n_o = array->n;
            if (strcmp(array->name, "lse") == 0)
                golden->n_rows = array->n;
            if (strcmp(array->name, "k_scale") == 0)
                p->n_k_scale = (uint32_t)array->n;
            if (strcmp(array->name, "v_scale") == 0)
                p->n_v_scale = (uint32_t)array->n;
            if (strcmp(array->name, "bitmap") == 0)
                data->bitmap_bits = 8 * array->n;
            if (strcmp(array->name, "rope_table") == 0)
                golden->rope.n_table_positions = (uint32_t)array->n / golden->rope.rotary_dim;
            return strcmp(array->kind, arrays[i].kind) == 0;
        }
    rapt_array *tensor = strcmp(array->name, "q") == 0      ? &p->q
                         : strcmp(array->name, "k") == 0    ? &p->k
                         : strcmp(array->name, "v") == 0    ? &p->v
                         : strcmp(array->name, "bias") == 0 ? &p->bias
                                                            : NULL;
    if (!tensor || type == RAPT_TYPE_DEFAULT)
        return 0;
    tensor->data = array->data;
    tensor->n_elements = array->n;
    tensor->type = type;
    return 1;
}

static size_t bytes_of(const struct array *array)
{
    if (strcmp(array->kind, "f64") == 0 || strcmp(array->kind, "u64") == 0)
        return array->n * 8;
    if (strcmp(array->kind, "f16") == 0 || strcmp(array->kind, "bf16") == 0)
        return array->n * 2;
    if (strcmp(array->kind, "u8") == 0)
        return array->n;
    return array->n * 4;
}

/* One line of the header; arrays are only noted. */
static int read_line(const char *path, struct golden *golden, char *line, struct array *arrays,
                     size_t *n_arrays)
{
    char key[24], text[200];
    struct array *array = &arrays[*n_arrays];
    if (sscanf(line, "array %23s %7s %zu", array->name, array->kind, &array->n) == 3)
        return ++*n_arrays < 32 ? 1 : fail(path, "too many arrays", "");
    if (sscanf(line, "%23s %199[^\n]", key, text) != 2)
        return fail(path, "not understood: ", line);
    if (strncmp(key, "rope", 4) == 0)
        return set_rope(golden, key, text) ? 1 : fail(path, "unknown: ", line);
    if (strcmp(key, "mask_head") == 0)
        return set_mask_head(golden, text) ? 1 : fail(path, "", rapt_last_error());
    if (strcmp(key, "mask") != 0)
        return set_number(golden, key, text) ? 1 : fail(path, "unknown: ", line);
    if (rapt_mask_parse(NULL, text, NULL, &golden->mask) != RAPT_OK)
        return fail(path, "", rapt_last_error());
    golden->problem.mask = golden->mask;
    return 1;
}

static int parse(const char *path, struct golden *golden, size_t n_bytes)
{
    struct array arrays[32];
    size_t n_arrays = 0;
    char *line = golden->bytes, *end;
    if (strncmp(line, "rapt golden 1\n", 14) != 0)
        return fail(path, "not a golden vector", "");
    for (line += 14;; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            return fail(path, "the header has no end", "");
        *end = 0;
        if (strncmp(line, "end", 3) == 0)
            break;
        if (!read_line(path, golden, line, arrays, &n_arrays))
            return 0;
    }
    size_t at = (size_t)(end + 1 - (char *)golden->bytes);
    for (size_t i = 0; i < n_arrays; i++) {
        arrays[i].data = (char *)golden->bytes + at;
        at += (bytes_of(&arrays[i]) + 7) / 8 * 8;
        if (at > n_bytes || at % 8 != 0)
            return fail(path, "is cut short in array ", arrays[i].name);
        if (!set_array(golden, &arrays[i]))
            return fail(path, "unexpected array ", arrays[i].name);
    }
    const rapt_problem *p = &golden->problem;
    if (at != n_bytes || !golden->o || !golden->lse || !golden->max_logit ||
        golden->n_rows != rapt_problem_total_q(p) * p->n_q_heads ||
        golden->n_o != golden->n_rows * p->head_dim_v)
        return fail(path, "does not hold together: ", rapt_last_error());
    return 1;
}

int golden_read(const char *path, struct golden *out_golden)
{
    size_t n_bytes = 0;
    memset(out_golden, 0, sizeof *out_golden);
    out_golden->problem.struct_size = sizeof out_golden->problem;
    out_golden->mask_data.struct_size = sizeof out_golden->mask_data;
    out_golden->problem.mask_data = &out_golden->mask_data;
    out_golden->bytes = read_all(path, &n_bytes);
    if (out_golden->bytes && parse(path, out_golden, n_bytes))
        return 1;
    golden_finish(out_golden);
    return 0;
}

void golden_finish(struct golden *golden)
{
    rapt_mask_destroy(&golden->mask);
    for (int h = 0; h < GOLDEN_MAX_HEADS; h++)
        rapt_mask_destroy(&golden->mask_heads[h]);
    free(golden->bytes);
    golden->bytes = NULL;
}
