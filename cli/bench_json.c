/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "cli.h"
#include "device.h"
#include "output.h"

#include <cjson/cJSON.h>

#include <stdlib.h>
#include <string.h>

static void put(cJSON *object, const char *name, double value)
{
    cJSON_AddNumberToObject(object, name, value);
}

static void put_text(cJSON *object, const char *name, const char *text)
{
    cJSON_AddStringToObject(object, name, text);
}

static void put_times(cJSON *object, const char *name, const struct bench_times *times)
{
    cJSON *json = cJSON_AddObjectToObject(object, name);
    put(json, "median", times->median);
    put(json, "p25", times->p25);
    put(json, "p75", times->p75);
    put(json, "min", times->min);
    put(json, "max", times->max);
    put(json, "n", times->n);
}

static void put_shape(cJSON *object, const struct bench_spec *spec)
{
    const struct case_spec *shape = &spec->shape;
    cJSON *json = cJSON_AddObjectToObject(object, "shape");
    cJSON *q_len = cJSON_AddArrayToObject(json, "q_len");
    cJSON *kv_len = cJSON_AddArrayToObject(json, "kv_len");
    for (uint32_t b = 0; b < shape->n_seqs; b++) {
        cJSON_AddItemToArray(q_len, cJSON_CreateNumber(shape->q_len[b]));
        cJSON_AddItemToArray(kv_len, cJSON_CreateNumber(shape->kv_len[b]));
    }
    put(json, "n_q_heads", shape->n_q_heads);
    put(json, "n_kv_heads", shape->n_kv_heads);
    put(json, "head_dim", shape->head_dim);
    put(json, "head_dim_v", shape->head_dim_v ? shape->head_dim_v : shape->head_dim);
    put_text(json, "type", rapt_type_name(shape->kv_type));
    put_text(json, "mask", shape->mask ? shape->mask : "full");
    put(json, "page_size", shape->page_size);
}

/* A row of each that ran beside it, and of each that could not. */
static void put_contests(cJSON *rows, const struct bench *bench, const struct bench_row *row)
{
    for (int i = 0; i < BENCH_N_PEERS; i++) {
        const struct bench_contest *contest = &row->contests[i];
        if (bench->peer[i].why[0])
            continue; /* said once, for all rows */
        cJSON *json = cJSON_CreateObject();
        cJSON_AddItemToArray(rows, json);
        put_text(json, "name", row->spec.name);
        put_text(json, "kind", bench_kind_name(row->spec.kind));
        put_text(json, "peer", bench->peer[i].name);
        if (contest->why[0] || contest->times.n == 0) {
            put_text(json, "skipped", contest->why[0] ? contest->why : "ours is wrong");
            continue;
        }
        put_shape(json, &row->spec);
        put_times(json, "seconds", &contest->times);
        put(json, "times_of_rapt", contest->of_ours);
        put(json, "first_use_seconds", contest->first_seconds);
        put(json, "gflops", (double)row->cost.flops / contest->times.median * 1e-9);
        put(json, "kv_gbytes_per_second",
            (double)row->cost.kv_bytes / contest->times.median * 1e-9);
        put(json, "error", contest->e);
        cJSON_AddBoolToObject(json, "ok", contest->ok);
    }
}

static void put_row(cJSON *rows, const struct bench *bench, const struct bench_row *row)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToArray(rows, json);
    put_text(json, "name", row->spec.name);
    put_text(json, "kind", bench_kind_name(row->spec.kind));
    put_text(json, "path", row->spec.three_pass ? "three-pass" : "flash");
    if (row->spec.peers)
        put_text(json, "peer", "rapt");
    if (row->skipped[0]) {
        put_text(json, "skipped", row->skipped);
        return;
    }
    if (row->spec.kind == BENCH_PAGER || row->spec.kind == BENCH_APPEND) {
        put_times(json, "seconds", &row->times);
        if (row->spec.kind == BENCH_APPEND) {
            put_text(json, "kernels", row->kernels);
            put(json, "moved_bytes", (double)row->moved_bytes);
            put(json, "gbytes_per_second", (double)row->moved_bytes / row->times.median * 1e-9);
            put(json, "tokens_per_second", (double)row->tokens / row->times.median);
            put(json, "first_use_seconds", row->first_seconds);
        }
        return;
    }
    if (row->spec.kind == BENCH_TABLE) {
        put_times(json, "seconds", &row->times);
        put(json, "listed_pairs", (double)row->listed_pairs);
        cJSON_AddBoolToObject(json, "ok", row->ok);
        return;
    }
    if (row->spec.kind == BENCH_CHOOSE) {
        put_times(json, "seconds", &row->times);
        put_times(json, "attention_seconds", &row->record_times);
        put(json, "of_attention", row->times.median / row->record_times.median);
        return;
    }
    if (row->spec.kind == BENCH_HOST) {
        put_times(json, "prepare_seconds", &row->times);
        put_times(json, "record_seconds", &row->record_times);
        return;
    }
    put_shape(json, &row->spec);
    put_text(json, "kernels", row->kernels);
    put_text(json, "why", row->why);
    put_times(json, "seconds", &row->times);
    if (row->of_other > 0 && strcmp(row->spec.against, "f16") == 0) {
        put(json, "of_f16", row->of_other);
    } else if (row->of_other > 0) {
        put_text(json, "other", row->spec.against);
        put(json, "of_other", row->of_other);
        put(json, "pairs_of_other", row->share);
    }
    if (row->of_unshared > 0) {
        put(json, "of_unshared", row->of_unshared);
        put(json, "shared_kv_bytes", (double)row->moved_bytes);
    }
    put(json, "first_use_seconds", row->first_seconds);
    put(json, "flops", (double)row->cost.flops);
    put(json, "exponentials", (double)row->cost.exponentials);
    put(json, "q_bytes", (double)row->cost.q_bytes);
    put(json, "kv_bytes", (double)row->cost.kv_bytes);
    put(json, "out_bytes", (double)row->cost.out_bytes);
    put(json, "gflops", bench_row_flops(row) * 1e-9);
    put(json, "of_multiply_add_ceiling", bench_row_flops(row) / bench->ceilings.flops_per_second);
    put(json, "kv_gbytes_per_second", bench_row_kv_bytes(row) * 1e-9);
    put(json, "of_read_ceiling", bench_row_kv_bytes(row) / bench->ceilings.read_bytes_per_second);
    put(json, "tokens_per_second", (double)row->tokens / row->times.median);
    put(json, "peak_device_bytes", (double)row->peak_bytes);
    put(json, "error", row->e);
    put(json, "error_bound", row->bound_e);
    cJSON_AddBoolToObject(json, "ok", row->ok);
    if (row->spec.peers)
        put_contests(rows, bench, row);
}

static void put_peers(cJSON *json, const struct bench *bench)
{
    cJSON *peers = cJSON_AddArrayToObject(json, "peers");
    for (int i = 0; i < BENCH_N_PEERS; i++) {
        cJSON *peer = cJSON_CreateObject();
        cJSON_AddItemToArray(peers, peer);
        put_text(peer, "name", bench->peer[i].name);
        if (bench->peer[i].why[0])
            put_text(peer, "not_measured", bench->peer[i].why);
        else
            put_text(peer, "about", bench->peer[i].about);
    }
}

static void put_goal(cJSON *goals, const struct bench_goal *goal)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToArray(goals, json);
    put_text(json, "id", goal->id);
    put_text(json, "what", goal->what);
    put_text(json, "unit", goal->unit);
    put(json, "target", goal->target);
    put_text(json, "bound", goal->at_most ? "at most" : "at least");
    if (goal->verdict == BENCH_NOT_MEASURED) {
        cJSON_AddNullToObject(json, "got");
        put_text(json, "met", "not measured");
    } else {
        put(json, "got", goal->got);
        cJSON_AddBoolToObject(json, "met", goal->verdict == BENCH_MET);
    }
    put_text(json, "reason", goal->reason);
}

static cJSON *build(const struct bench *bench)
{
    char text[640];
    cJSON *json = cJSON_CreateObject();
    put_text(json, "rapt", rapt_version());
    put_text(json, "suite", bench_suite_name(bench->suite));
    if (bench->filter)
        put_text(json, "filter", bench->filter);
    cJSON *device = cJSON_AddObjectToObject(json, "device");
    put_text(device, "name", device_text(bench->caps, text, sizeof text));
    put_text(device, "type", device_type_name(bench->caps->device_type));
    put(device, "driver_major", bench->caps->driver_major);
    put(device, "driver_minor", bench->caps->driver_minor);
    put(device, "subgroup_size", bench->caps->subgroup_size);
    cJSON *ceilings = cJSON_AddObjectToObject(json, "ceilings");
    put(ceilings, "multiply_add_gflops", bench->ceilings.flops_per_second * 1e-9);
    put(ceilings, "copy_gbytes_per_second", bench->ceilings.copy_bytes_per_second * 1e-9);
    put(ceilings, "read_gbytes_per_second", bench->ceilings.read_bytes_per_second * 1e-9);
    if (bench->with_peers)
        put_peers(json, bench);
    cJSON *rows = cJSON_AddArrayToObject(json, "rows");
    for (uint32_t i = 0; i < bench->n_rows; i++)
        put_row(rows, bench, &bench->rows[i]);
    if (bench->memory_exponent[0] > 0)
        put(json, "memory_exponent_flash", bench->memory_exponent[0]);
    if (bench->memory_exponent[1] > 0)
        put(json, "memory_exponent_three_pass", bench->memory_exponent[1]);
    cJSON *goals = cJSON_AddArrayToObject(json, "goals");
    for (uint32_t i = 0; i < bench->n_goals; i++)
        put_goal(goals, &bench->goals[i]);
    return json;
}

int bench_write_json(const struct bench *bench, const char *path)
{
    cJSON *json = build(bench);
    int code = output_json(json, "--json", path);
    cJSON_Delete(json);
    return code;
}
