/* SPDX-License-Identifier: Apache-2.0 */
/* Rows measured beside other implementations: each in a process of its own (bench/README.md), given
 * the same stored values, checked against the same reference, and run by turns, so that whatever
 * else the machine does meets all of them. Wall time around one call, for this library too. */
#include "bench.h"
#include "bench_process.h"
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS 9
#define MIN_ROUNDS 3
#define CONTESTANT_SECONDS 2.0 /* of a row, when the number of rounds is not given */
#define TURN_SECONDS 0.06      /* short calls are repeated that long, and warmed up first */
#define MAX_TURN_RUNS 50
#define PAUSE_SECONDS 0.02 /* for threads that wait by turning */
#define ANSWER_SECONDS 900.0
/* Not a bound to hold, but the line between rounding and another result: peers keep sums or P in
 * f16, or Q in 8 bits. */
#define PEER_BOUND 5e-2

struct peer {
    struct process process;
};

struct bench_peers {
    struct peer peers[BENCH_N_PEERS];
};

/* program: .py = run by python3. kind: its first argument; the second is the device's name, or
 * threads. */
static const struct {
    const char *name, *program, *kind;
    int on_device, nvidia; /* the same Vulkan device; an NVIDIA card. Else: beside a CPU driver */
} known[BENCH_N_PEERS] = {
    {"ggml-vulkan", "rapt-peer-ggml", "vulkan", 1, 0},
    {"ggml-cpu", "rapt-peer-ggml", "cpu", 0, 0},
    {"torch-cpu-f32", "peer_torch.py", "cpu-f32", 0, 0},
    {"torch-cpu-bf16", "peer_torch.py", "cpu-bf16", 0, 0},
    {"torch-flash", "peer_torch.py", "flash", 0, 1},
    {"torch-cudnn", "peer_torch.py", "cudnn", 0, 1},
    {"torch-efficient", "peer_torch.py", "efficient", 0, 1},
};

#define VENDOR_NVIDIA 0x10de

static void start(struct bench *bench, int i)
{
    static const char *const beside[] = {"../bench", "../libexec/rapt", NULL};
    struct bench_peer *peer = &bench->peer[i];
    char path[1200], n_threads[16];
    peer->name = known[i].name;
    int is_cpu = bench->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    if (known[i].nvidia && bench->caps->vendor_id != VENDOR_NVIDIA) {
        snprintf(peer->why, sizeof peer->why, "this device is no NVIDIA card");
        return;
    }
    if (!known[i].nvidia && !known[i].on_device && !is_cpu) {
        snprintf(peer->why, sizeof peer->why, "this device is no CPU");
        return;
    }
    if (!process_find(known[i].program, beside, path, sizeof path)) {
        snprintf(peer->why, sizeof peer->why, "%s was not built (it needs libggml)%s",
                 known[i].program, getenv("RAPT_PEERS_DIR") ? ", or is not in RAPT_PEERS_DIR" : "");
        return;
    }
    snprintf(n_threads, sizeof n_threads, "%u", process_n_cpus());
    const char *second = known[i].on_device ? bench->caps->device_name : n_threads;
    const char *const program[] = {path, known[i].kind, second, NULL};
    const char *const script[] = {"python3", path, known[i].kind, second, NULL};
    struct process *process = &bench->peers->peers[i].process;
    int talks = getenv("RAPT_LOG") != NULL;
    if (process_start(process, strstr(path, ".py") ? script : program, talks) ||
        process_read_line(process, 120)) {
        snprintf(peer->why, sizeof peer->why, "%.150s", process->line);
    } else if (strncmp(process->line, "peer ", 5) == 0) {
        snprintf(peer->about, sizeof peer->about, "%.150s", process->line + 5);
    } else {
        const char *text =
            strncmp(process->line, "cannot ", 7) == 0 ? process->line + 7 : process->line;
        snprintf(peer->why, sizeof peer->why, "%.150s", text);
        process_end(process);
    }
}

int bench_peers_start(struct bench *bench)
{
    bench->peers = calloc(1, sizeof *bench->peers);
    if (!bench->peers)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (int i = 0; i < BENCH_N_PEERS; i++) {
        start(bench, i);
        const struct bench_peer *peer = &bench->peer[i];
        printf("peer %-15s %s%s\n", peer->name, peer->why[0] ? "not measured: " : "",
               peer->why[0] ? peer->why : peer->about);
    }
    return 0;
}

void bench_peers_end(struct bench *bench)
{
    for (int i = 0; bench->peers && i < BENCH_N_PEERS; i++)
        process_end(&bench->peers->peers[i].process);
    free(bench->peers);
    bench->peers = NULL;
}

/* -------------------------------------------------------------------------------- the same values
 */

struct values {
    float *q;
    void *k, *v;
    size_t q_bytes, kv_bytes; /* of k, and of v */
    double *reference;        /* [total_q, Hq, D], only the rows that are looked at */
    uint64_t n_rows, row_first, row_step;
};

static rapt_status store_values(const struct case_data *data, struct values *values)
{
    const struct case_spec *spec = data->spec;
    size_t n_kv = (size_t)data->cu_kv[spec->n_seqs];
    values->n_rows = (uint64_t)data->cu_q[spec->n_seqs] * spec->n_q_heads;
    values->q_bytes = (size_t)values->n_rows * spec->head_dim * sizeof(float);
    values->kv_bytes = n_kv * spec->n_kv_heads * rapt_row_bytes(spec->kv_type, spec->head_dim);
    values->q = malloc(values->q_bytes);
    values->k = malloc(values->kv_bytes);
    values->v = malloc(values->kv_bytes);
    values->reference = calloc(values->q_bytes / sizeof(float), sizeof(double));
    if (!values->q || !values->k || !values->v || !values->reference)
        return RAPT_ERROR_HOST_MEMORY;
    for (size_t i = 0; i < values->q_bytes / sizeof(float); i++)
        values->q[i] = rapt_f32_from_f16(rapt_f16_from_f32(data->q[i]));
    const rapt_quantize_params params = {.struct_size = sizeof params,
                                         .type = spec->kv_type,
                                         .head_dim = spec->head_dim,
                                         .n_heads = spec->n_kv_heads};
    rapt_status status = rapt_quantize_rows(&params, n_kv, data->k, values->k, NULL);
    if (status == RAPT_OK)
        status = rapt_quantize_rows(&params, n_kv, data->v, values->v, NULL);
    rapt_reference_params sampled = {.struct_size = sizeof sampled, .n_threads = process_n_cpus()};
    if (spec->check_rows && values->n_rows > spec->check_rows)
        sampled.row_step = (values->n_rows / spec->check_rows) | 1;
    values->row_step = sampled.row_step ? sampled.row_step : 1;
    sampled.row_first = values->row_first = sampled.row_step / 2;
    if (status == RAPT_OK)
        status =
            rapt_reference_attention(&data->problem, &sampled, NULL, values->reference, NULL, NULL);
    return status;
}

static void drop_values(struct values *values)
{
    free(values->q);
    free(values->k);
    free(values->v);
    free(values->reference);
}

/* How far the rows that are looked at are from the reference; infinite for a NaN. */
static double distance(const struct values *values, const float *out, size_t head_dim)
{
    double sum = 0, norm = 0;
    for (uint64_t row = values->row_first; row < values->n_rows; row += values->row_step) {
        for (size_t d = 0; d < head_dim; d++) {
            double wanted = values->reference[row * head_dim + d];
            double off = (double)out[row * head_dim + d] - wanted;
            sum += off * off;
            norm += wanted * wanted;
        }
    }
    double e = norm > 0 ? sqrt(sum / norm) : sqrt(sum);
    return isfinite(e) ? e : HUGE_VAL;
}

/* ------------------------------------------------------------------------------- the conversation
 */

/* Asks, or waits, for "WORD SECONDS"; not 0 and why in `why` otherwise. */
static int answer(struct process *process, const char *word, double *out_seconds, char *why,
                  size_t why_bytes)
{
    char format[16];
    int code = process_read_line(process, ANSWER_SECONDS);
    snprintf(format, sizeof format, "%s %%lf", word);
    if (!code && sscanf(process->line, format, out_seconds) == 1)
        return 0;
    const char *text =
        strncmp(process->line, "cannot ", 7) == 0 ? process->line + 7 : process->line;
    snprintf(why, why_bytes, "%.150s", text);
    return 1;
}

static int send_case(struct process *process, const struct case_data *data,
                     const struct values *values)
{
    const struct case_spec *spec = data->spec;
    char line[640];
    int n = snprintf(line, sizeof line, "case %u %u %u %s %s %u %u", (unsigned)spec->n_q_heads,
                     (unsigned)spec->n_kv_heads, (unsigned)spec->head_dim,
                     rapt_type_name(spec->kv_type), spec->mask ? spec->mask : "full",
                     (unsigned)spec->map_block, (unsigned)spec->n_seqs);
    for (uint32_t b = 0; b < spec->n_seqs; b++)
        n += snprintf(line + n, sizeof line - (size_t)n, " %d %d", (int)spec->q_len[b],
                      (int)spec->kv_len[b]);
    n += snprintf(line + n, sizeof line - (size_t)n, "\n");
    size_t n_blocks =
        spec->map_block ? (size_t)data->mask_data.n_q_blocks * data->mask_data.n_k_blocks : 0;
    return process_write(process, line, (size_t)n) ||
           process_write(process, values->q, values->q_bytes) ||
           process_write(process, values->k, values->kv_bytes) ||
           process_write(process, values->v, values->kv_bytes) ||
           (n_blocks && process_write(process, data->map, n_blocks));
}

/* Gives the values to a peer, has it compute once, and compares. */
static void enter(struct peer *peer, const struct case_data *data, const struct values *values,
                  struct bench_contest *contest)
{
    struct process *process = &peer->process;
    float *out = malloc(values->q_bytes);
    int code = !out;
    if (code)
        snprintf(contest->why, sizeof contest->why, "out of memory");
    if (!code && send_case(process, data, values)) {
        snprintf(contest->why, sizeof contest->why, "%.150s", process->line);
        code = 1;
    }
    if (!code)
        code = answer(process, "ready", &contest->first_seconds, contest->why, sizeof contest->why);
    if (!code &&
        (process_write(process, "result\n", 7) || process_read_line(process, ANSWER_SECONDS) ||
         strncmp(process->line, "result", 6) != 0 ||
         process_read(process, out, values->q_bytes, ANSWER_SECONDS))) {
        snprintf(contest->why, sizeof contest->why, "%.150s", process->line);
        code = 1;
    }
    if (!code) {
        contest->e = distance(values, out, data->spec->head_dim);
        contest->ok = contest->e <= PEER_BOUND;
    }
    if (!code && !contest->ok)
        snprintf(contest->why, sizeof contest->why, "its result is off by %.2g", contest->e);
    free(out);
}

/* -------------------------------------------------------------------------------------- by turns
 */

struct turns {
    rapt_easy_job *job;
    rapt_status status;
    double last, used, samples[MAX_ROUNDS];
    uint32_t n;
};

static int run_once(struct turns *turns, struct peer *peer, struct bench_contest *contest,
                    double *out_seconds)
{
    if (peer) {
        if (process_write(&peer->process, "run\n", 4) == 0)
            return answer(&peer->process, "ran", out_seconds, contest->why, sizeof contest->why);
        snprintf(contest->why, sizeof contest->why, "%.150s", peer->process.line);
        return 1;
    }
    double start = cli_seconds();
    turns->status = rapt_easy_job_run(turns->job, NULL);
    *out_seconds = cli_seconds() - start;
    return turns->status != RAPT_OK;
}

/* One sample: of a short call the median of several, after one that is not counted. */
static int turn(struct turns *turns, struct peer *peer, struct bench_contest *contest,
                uint32_t round)
{
    double seconds[MAX_TURN_RUNS], sum = 0;
    uint32_t n = 0;
    int code = 0;
    process_sleep(PAUSE_SECONDS);
    if (turns->last < 4 * TURN_SECONDS)
        code = run_once(turns, peer, contest, &seconds[0]);
    while (!code && n < MAX_TURN_RUNS && (n == 0 || sum < TURN_SECONDS)) {
        code = run_once(turns, peer, contest, &seconds[n]);
        sum += code ? 0 : seconds[n++];
    }
    if (code)
        return code;
    turns->last = turns->samples[round] = bench_times_of(seconds, n).median;
    turns->used += sum;
    turns->n++;
    return 0;
}

static int is_in(const struct bench *bench, const struct bench_row *row, int i)
{
    return !bench->peer[i].why[0] && !row->contests[i].why[0];
}

static void settle(struct bench_row *row, const struct turns *ours, struct turns *theirs, int i)
{
    struct bench_contest *contest = &row->contests[i];
    double ratios[MAX_ROUNDS];
    uint32_t n = 0;
    for (; n < theirs->n && n < ours->n; n++)
        ratios[n] = theirs->samples[n] / ours->samples[n];
    if (n > 0)
        contest->of_ours = bench_times_of(ratios, n).median;
    contest->times = bench_times_of(theirs->samples, theirs->n); /* sorts: last */
}

static rapt_status contend(struct bench *bench, rapt_easy_job *job, struct bench_row *row)
{
    struct turns turns[BENCH_N_PEERS + 1] = {{.job = job}}; /* ours first */
    uint32_t n_rounds = bench->n_repeats ? bench->n_repeats : MAX_ROUNDS;
    for (uint32_t round = 0; round < n_rounds && round < MAX_ROUNDS; round++) {
        for (int k = 0; k <= BENCH_N_PEERS; k++) {
            /* Who is first changes, so that nobody always runs behind the same one. */
            int i = (k + (int)round) % (BENCH_N_PEERS + 1);
            struct turns *who = &turns[i];
            int enough = !bench->n_repeats && round >= MIN_ROUNDS && who->used > CONTESTANT_SECONDS;
            if (who->n < round || enough || (i > 0 && !is_in(bench, row, i - 1)))
                continue;
            int failed = turn(who, i ? &bench->peers->peers[i - 1] : NULL,
                              i ? &row->contests[i - 1] : NULL, round);
            if (failed && i == 0)
                return who->status;
        }
    }
    for (int i = 0; i < BENCH_N_PEERS; i++) {
        if (is_in(bench, row, i) && turns[i + 1].n > 0)
            settle(row, &turns[0], &turns[i + 1], i);
    }
    row->times = bench_times_of(turns[0].samples, turns[0].n);
    return RAPT_OK;
}

rapt_status bench_run_peers(struct bench *bench, const struct case_data *data, rapt_easy_job *job,
                            struct bench_row *row)
{
    struct values values = {0};
    rapt_status status = store_values(data, &values);
    for (int i = 0; i < BENCH_N_PEERS && status == RAPT_OK; i++) {
        struct peer *peer = &bench->peers->peers[i];
        if (!bench->peer[i].why[0] && peer->process.id == 0)
            start(bench, i); /* the row before was its last */
        if (!bench->peer[i].why[0])
            enter(peer, data, &values, &row->contests[i]);
    }
    drop_values(&values);
    return status == RAPT_OK ? contend(bench, job, row) : status;
}
