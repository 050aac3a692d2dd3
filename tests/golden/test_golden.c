/* SPDX-License-Identifier: Apache-2.0 */
/* Golden vectors against the float64 reference, or a device:
 *   test_golden reference|device FILE...
 * In float64 two sound implementations differ by rounding alone. A device gets the bounds that all
 * kernels have, measured from the golden answer rather than from our own reference. */
#include <rapt/easy.h>

#include "golden.h"
#include "open_easy.h"
#include "skip.h"

#include <math.h>

#define LIMIT_F64 1e-12
/* Keys that the reference rotates are rotated in floats, as the kernel does it. */
#define LIMIT_ROTATED 2e-6
/* A bias of f32's lowest makes the bound on e meaningless: scores are then either equal or
 * infinitely far apart. No vector needs more than this. */
#define LIMIT_E 1e-2

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* max |got - want| / scale, NaN counting as infinitely far. scale 0 = the element's own, at least
 * 1: statistics of different rows have nothing to do with each other. */
static double distance(const double *got, const double *want, uint64_t n, double scale)
{
    double most = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (got[i] == want[i])
            continue;
        double e = fabs(got[i] - want[i]) / (scale > 0 ? scale : fmax(1, fabs(want[i])));
        if (!isfinite(e))
            return INFINITY;
        most = fmax(most, e);
    }
    return most;
}

static double largest(const double *values, uint64_t n)
{
    double most = 0;
    for (uint64_t i = 0; i < n; i++)
        most = fmax(most, fabs(values[i]));
    return most;
}

static double distance_f32(const float *got, const double *want, uint64_t n)
{
    double most = 0;
    for (uint64_t i = 0; i < n; i++)
        if ((double)got[i] != want[i]) {
            double e = fabs((double)got[i] - want[i]);
            most = isfinite(e) ? fmax(most, e) : INFINITY;
        }
    return most;
}

/* Frequencies of a published formula: ours must be the same float, or its neighbour. */
static int formula_agrees(const struct golden *golden, const char *name)
{
    int ok = golden->attention_factor == golden->rope.attention_factor;
    for (uint32_t i = 0; golden->has_formula && i < golden->rope.rotary_dim / 2; i++) {
        float ours = golden->frequency_scale[i], theirs = golden->rope.frequency_scale[i];
        ok &= ours == theirs || nextafterf(ours, theirs) == theirs;
    }
    if (!ok)
        fprintf(stderr, "%s: the frequencies differ\n", name);
    return ok;
}

static int check_reference(const struct golden *golden, const char *name)
{
    double *o = calloc(golden->n_o + 1, sizeof *o), *lse = calloc(golden->n_rows + 1, sizeof *lse);
    double *max_logit = calloc(golden->n_rows + 1, sizeof *max_logit);
    int ok = 0;
    if (!o || !lse || !max_logit ||
        rapt_reference_attention(&golden->problem, NULL, NULL, o, lse, max_logit) != RAPT_OK) {
        fprintf(stderr, "%s: %s\n", name, rapt_last_error());
    } else {
        double e = distance(o, golden->o, golden->n_o, largest(golden->o, golden->n_o));
        double e_lse = distance(lse, golden->lse, golden->n_rows, 0);
        double e_max = distance(max_logit, golden->max_logit, golden->n_rows, 0);
        int rotates = golden->problem.rope && golden->problem.cu_kv;
        double limit = rotates ? LIMIT_ROTATED : LIMIT_F64;
        ok = e <= limit && e_lse <= limit && e_max <= limit && formula_agrees(golden, name);
        printf("%-28s %s  o %.2g, lse %.2g, max_logit %.2g\n", name, ok ? "ok" : "FAILED", e, e_lse,
               e_max);
    }
    free(o);
    free(lse);
    free(max_logit);
    return ok;
}

/* A device's result against the golden one, under the bounds the reference works out. */
static int within_bounds(const struct golden *golden, const rapt_result *result,
                         const rapt_error *bounds, const char *name, const char *how)
{
    double diff2 = 0, want2 = 0, scale = largest(golden->o, golden->n_o);
    for (uint64_t i = 0; i < golden->n_o; i++) {
        double difference = (double)result->out[i] - golden->o[i];
        diff2 += difference * difference;
        want2 += golden->o[i] * golden->o[i];
    }
    double e = want2 > 0 ? sqrt(diff2 / want2) : sqrt(diff2);
    double most = distance_f32(result->out, golden->o, golden->n_o);
    double lse = distance_f32(result->lse, golden->lse, golden->n_rows);
    double max_logit = distance_f32(result->max_logit, golden->max_logit, golden->n_rows);
    double bound_e = fmin(bounds->bound_e, LIMIT_E);
    int ok = e <= bound_e && most <= 8 * bound_e * (scale > 0 ? scale : 1) && /* false for NaN */
             lse <= bounds->bound_stat && max_logit <= bounds->bound_stat;
    printf("%-28s %-10s %s  e %.2g of %.2g, lse %.2g and max_logit %.2g of %.2g\n", name, how,
           ok ? "ok" : "FAILED", e, bound_e, lse, max_logit, bounds->bound_stat);
    return ok;
}

static int run_device(rapt_easy *easy, const struct golden *golden, const rapt_problem *problem,
                      const rapt_easy_options *options, const char *name, const char *how)
{
    rapt_result result = {sizeof result, malloc((golden->n_o + 1) * sizeof(float)),
                          malloc((golden->n_rows + 1) * sizeof(float)),
                          malloc((golden->n_rows + 1) * sizeof(float)), NULL};
    rapt_error bounds = {.struct_size = sizeof bounds};
    int ok = 0;
    if (!result.out || !result.lse || !result.max_logit)
        return 0;
    for (uint64_t i = 0; i < golden->n_o; i++)
        result.out[i] = NAN; /* what is not written shows */
    for (uint64_t i = 0; i < golden->n_rows; i++)
        result.lse[i] = result.max_logit[i] = NAN;
    if (rapt_easy_attention(easy, problem, options, &result) != RAPT_OK ||
        rapt_reference_check(problem, NULL, &result, RAPT_BOUND_PORTABLE, &bounds) != RAPT_OK)
        fprintf(stderr, "%s %s: %s\n", name, how, rapt_last_error());
    else
        ok = within_bounds(golden, &result, &bounds, name, how);
    free(result.out);
    free(result.lse);
    free(result.max_logit);
    return ok;
}

/* Some also go through forced splits and, if they are packed, through a page pool. Not all: the
 * time goes into compiling a pipeline for each. */
static int check_device(rapt_easy *easy, const struct golden *golden, const char *name, int more)
{
    rapt_problem problem = golden->problem;
    rapt_easy_options options = {.struct_size = sizeof options};
    problem.integer_dot = RAPT_CHOICE_NEVER; /* the bound is that of exact products */
    int ok = run_device(easy, golden, &problem, &options, name, "as is");
    if (!more || test_quick())
        return ok;
    options.fixed_split = 16;
    ok &= run_device(easy, golden, &problem, &options, name, "split");
    if (problem.page_size == 0) {
        options.fixed_split = 0;
        problem.page_size = 16;
        problem.page_seed = 7;
        ok &= run_device(easy, golden, &problem, &options, name, "paged");
    }
    return ok;
}

int main(int argc, char **argv)
{
    rapt_easy *easy = NULL;
    int n_failed = 0, device = argc > 1 && strcmp(argv[1], "device") == 0;
    if (argc < 3)
        return fprintf(stderr, "usage: test_golden reference|device FILE...\n"), EXIT_FAILURE;
    if (device) {
        int unopened = open_easy(NULL, &easy);
        if (unopened)
            return unopened;
    }
    for (int i = 2; i < argc; i++) {
        struct golden golden;
        const char *name = name_of(argv[i]);
        if (!golden_read(argv[i], &golden)) {
            n_failed++;
            continue;
        }
        n_failed += !(easy ? check_device(easy, &golden, name, i % 4 == 0)
                           : check_reference(&golden, name));
        golden_finish(&golden);
    }
    rapt_easy_destroy(&easy);
    printf("%d vectors, %d failed\n", argc - 2, n_failed);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
