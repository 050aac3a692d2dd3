/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's .npy: "\x93NUMPY", version, header length, a Python dict literal, the elements. */
#include "array.h"

#include "cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* NumPy pads headers to 64 bytes and writes some hundred; more than this is no header. */
#define MAX_HEADER_BYTES 65536

struct scanner {
    const char *at;
    const char *label;
};

static void skip_space(struct scanner *s)
{
    while (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')
        s->at++;
}

static int take(struct scanner *s, char c)
{
    skip_space(s);
    if (*s->at != c)
        return 0;
    s->at++;
    return 1;
}

/* A quoted string without escapes, as every writer makes them. */
static int take_string(struct scanner *s, char *text, size_t text_bytes)
{
    skip_space(s);
    char quote = *s->at;
    if (quote != '\'' && quote != '"')
        return 0;
    const char *end = strchr(s->at + 1, quote);
    if (!end || (size_t)(end - s->at - 1) >= text_bytes ||
        memchr(s->at, '\\', (size_t)(end - s->at)))
        return 0;
    memcpy(text, s->at + 1, (size_t)(end - s->at - 1));
    text[end - s->at - 1] = 0;
    s->at = end + 1;
    return 1;
}

static int take_word(struct scanner *s, const char *word)
{
    skip_space(s);
    size_t length = strlen(word);
    if (strncmp(s->at, word, length) != 0)
        return 0;
    s->at += length;
    return 1;
}

static int take_number(struct scanner *s, uint64_t *out_number)
{
    skip_space(s);
    if (!isdigit((unsigned char)*s->at))
        return 0;
    uint64_t n = 0;
    for (; isdigit((unsigned char)*s->at); s->at++) {
        if (n > (UINT64_MAX - 9) / 10)
            n = UINT64_MAX / 10; /* stays absurd; the shape check refuses it */
        n = n * 10 + (uint64_t)(*s->at - '0');
    }
    if (*s->at == 'L') /* Python 2 */
        s->at++;
    *out_number = n;
    return 1;
}

struct header {
    char descr[32];
    uint64_t shape[ARRAY_MAX_RANK];
    uint32_t rank;
    int fortran;
    int has_descr, has_order, has_shape;
};

static int take_shape(struct scanner *s, struct header *header)
{
    if (!take(s, '('))
        return 0;
    while (!take(s, ')')) {
        uint64_t n;
        if (header->rank == ARRAY_MAX_RANK || !take_number(s, &n))
            return 0;
        header->shape[header->rank++] = n;
        if (!take(s, ',')) {
            if (header->rank == 1) /* (3) is a number, not a tuple */
                return 0;
            return take(s, ')');
        }
    }
    return 1;
}

static int parse_header(struct scanner *s, struct header *header)
{
    if (!take(s, '{'))
        return 0;
    while (!take(s, '}')) {
        char key[32];
        if (!take_string(s, key, sizeof key) || !take(s, ':'))
            return 0;
        if (strcmp(key, "descr") == 0 && !header->has_descr++) {
            if (!take_string(s, header->descr, sizeof header->descr))
                return 0; /* a list: structured elements */
        } else if (strcmp(key, "fortran_order") == 0 && !header->has_order++) {
            header->fortran = take_word(s, "True");
            if (!header->fortran && !take_word(s, "False"))
                return 0;
        } else if (strcmp(key, "shape") == 0 && !header->has_shape++) {
            if (!take_shape(s, header))
                return 0;
        } else {
            return 0;
        }
        if (!take(s, ',') && *s->at != '}')
            return 0;
    }
    skip_space(s);
    return *s->at == 0 && header->has_descr && header->has_order && header->has_shape;
}

static int parse_descr(const char *label, const char *descr, uint32_t dtypes,
                       enum array_dtype *out_dtype)
{
    static const enum array_dtype readable[] = {ARRAY_F4, ARRAY_F2, ARRAY_I4,
                                                ARRAY_U4, ARRAY_U1, ARRAY_B1};
    if (*descr == '>')
        return cli_fail(CLI_USAGE, "%s: big endian elements ('%s'); only little endian is read",
                        label, descr);
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        if (*descr && strchr("<|=", *descr) &&
            strcmp(descr + 1, array_dtype_name(readable[i])) == 0) {
            *out_dtype = readable[i];
            return array_check_dtype(label, *out_dtype, dtypes);
        }
    }
    char list[64] = "";
    for (int i = 0; i < ARRAY_N_DTYPES; i++) {
        size_t used = strlen(list);
        if (i != ARRAY_BF16 && (dtypes & ARRAY_IS(i)))
            snprintf(list + used, sizeof list - used, "%s%s", used ? " or " : "",
                     array_dtype_name(i));
    }
    return cli_fail(CLI_USAGE, "%s: elements are '%s', expected %s", label, descr, list);
}

static int read_header_text(const char *label, FILE *file, char **out_text)
{
    unsigned char start[12];
    if (fread(start + 6, 1, 4, file) != 4) /* behind the magic */
        return cli_fail(CLI_USAGE, "%s: truncated: it ends inside the .npy header", label);
    uint32_t major = start[6];
    if (major < 1 || major > 3 || start[7] != 0)
        return cli_fail(CLI_USAGE, "%s: .npy version %u.%u; 1.0, 2.0 and 3.0 are read", label,
                        major, start[7]);
    uint32_t n_bytes = start[8] | (uint32_t)start[9] << 8;
    if (major > 1) {
        if (fread(start + 10, 1, 2, file) != 2)
            return cli_fail(CLI_USAGE, "%s: truncated: it ends inside the .npy header", label);
        n_bytes |= (uint32_t)start[10] << 16 | (uint32_t)start[11] << 24;
    }
    if (n_bytes > MAX_HEADER_BYTES)
        return cli_fail(CLI_USAGE, "%s: the .npy header claims %u bytes; at most %d are read",
                        label, n_bytes, MAX_HEADER_BYTES);
    char *text = calloc((size_t)n_bytes + 1, 1);
    if (!text)
        return cli_fail(CLI_DEVICE, "out of memory");
    if (fread(text, 1, n_bytes, file) != n_bytes) {
        free(text);
        return cli_fail(CLI_USAGE, "%s: truncated: it ends inside the .npy header", label);
    }
    if (strlen(text) != n_bytes) {
        free(text);
        return cli_fail(CLI_USAGE, "%s: the .npy header is not a header of plain elements", label);
    }
    *out_text = text;
    return 0;
}

int array_read_npy(const char *label, FILE *file, uint32_t dtypes, struct array *out_array)
{
    char *text = NULL;
    struct header header = {0};
    int code = read_header_text(label, file, &text);
    if (code)
        return code;
    struct scanner scanner = {text, label};
    int good = parse_header(&scanner, &header);
    free(text);
    if (!good)
        return cli_fail(CLI_USAGE, "%s: the .npy header is not a header of plain elements", label);
    code = parse_descr(label, header.descr, dtypes, &out_array->dtype);
    if (code)
        return code;
    if (header.fortran)
        return cli_fail(CLI_USAGE,
                        "%s: Fortran order; only C order is read (numpy.ascontiguousarray)", label);
    code = array_set_shape(label, header.shape, header.rank, out_array);
    if (!code)
        code = array_read_data(label, file, out_array);
    if (!code && fgetc(file) != EOF)
        code = cli_fail(CLI_USAGE, "%s: there are bytes behind the array's last element", label);
    return code;
}

int array_write_npy(FILE *file, const float *data, const uint64_t *shape, uint32_t rank)
{
    return array_write_npy_as(file, ARRAY_F4, data, shape, rank);
}

int array_write_npy_as(FILE *file, enum array_dtype dtype, const void *data, const uint64_t *shape,
                       uint32_t rank)
{
    char header[256];
    uint64_t n = 1;
    size_t used = 0;
    used += (size_t)snprintf(header, sizeof header,
                             "{'descr': '%s%s', 'fortran_order': False, 'shape': (",
                             array_dtype_bytes(dtype) == 1 ? "|" : "<", array_dtype_name(dtype));
    for (uint32_t i = 0; i < rank; i++) {
        used +=
            (size_t)snprintf(header + used, sizeof header - used, "%llu%s",
                             (unsigned long long)shape[i], i + 1 < rank || rank == 1 ? ", " : "");
        n *= shape[i];
    }
    used += (size_t)snprintf(header + used, sizeof header - used, "), }");
    while ((10 + used + 1) % 64 != 0)
        header[used++] = ' ';
    header[used++] = '\n';
    unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 0, 0};
    start[8] = (unsigned char)(used & 0xff);
    start[9] = (unsigned char)(used >> 8);
    int good = fwrite(start, 1, 10, file) == 10 && fwrite(header, 1, used, file) == used;
    good = good && fwrite(data, array_dtype_bytes(dtype), (size_t)n, file) == (size_t)n;
    return good ? 0 : CLI_USAGE;
}
