/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

/* `rapt bench`: rows of shapes, what was measured for each, ceilings of the device, goals. */

#include "case.h"

#include <stdio.h>

enum bench_suite { BENCH_QUICK, BENCH_PAPER, BENCH_FULL, BENCH_N_SUITES };

enum bench_kind {
    BENCH_PREFILL,
    BENCH_DECODE,
    BENCH_MIXED,
    BENCH_HOST,
    BENCH_PAGER,
    BENCH_APPEND,
    BENCH_SHARED,
    BENCH_TABLE,
    BENCH_CHOOSE
};

/* what a BENCH_PAGER row times */
enum bench_pager { BENCH_PAGER_APPEND, BENCH_PAGER_FORK, BENCH_PAGER_LOOKUP };

/* what a BENCH_CHOOSE row's lists come from */
enum bench_choice {
    BENCH_CHOICE_TOP_K,
    BENCH_CHOICE_MASS,
    BENCH_CHOICE_SEGMENTS,
    BENCH_CHOICE_MOBA,
    BENCH_CHOICE_INDEXER
};

struct bench_spec {
    char name[96];
    enum bench_kind kind;
    struct case_spec shape;
    int peers; /* beside other implementations, in wall time */
    int three_pass;
    const char
        *against; /* what the row runs by turns with: "f16" K/V, or under another mask, or NULL */
    enum bench_pager pager;
    enum bench_choice choice;
    uint32_t length; /* of the paper suite's series, else 0 */
    uint32_t n_chunks,
        chunk; /* BENCH_HOST: sequences with that many query tokens, the rest has 1 */
};

struct bench_times { /* seconds */
    double median, p25, p75, min, max;
    uint32_t n;
};

/* What another implementation made of a row. */
#define BENCH_N_PEERS 7
struct bench_contest {
    struct bench_times times;
    double of_ours; /* its time over this library's, median of the rounds; 0 = not measured: */
    char why[160];
    double first_seconds, e; /* e: against the reference, on sampled rows */
    int ok;
};

struct bench_peer {
    const char *name;
    char about[160], why[160]; /* why it is not measured at all, or "" */
};

struct bench_row {
    struct bench_spec spec;
    struct bench_times times;        /* of BENCH_HOST rows: prepare; of BENCH_CHOOSE: choosing */
    struct bench_times record_times; /* of BENCH_HOST rows; of BENCH_CHOOSE: attending */
    double of_other;      /* time over that of spec.against, median of the pairs; 0 = not asked */
    double share;         /* pairs of query and key over the other's */
    double of_unshared;   /* BENCH_SHARED: how many times as fast as without sharing, likewise */
    double first_seconds; /* host: from nothing to the first result, pipelines included */
    rapt_cost cost;
    uint64_t tokens, peak_bytes, moved_bytes; /* moved: BENCH_APPEND, read and written;
                                                 BENCH_SHARED, of K/V */
    uint64_t listed_pairs;                    /* BENCH_TABLE */
    double e, bound_e;                        /* against the reference, on sampled rows */
    int ok;
    rapt_bound_kind bound;
    char kernels[160], why[256];
    char skipped[256]; /* why the row was not measured; "" = it was */
    struct bench_contest contests[BENCH_N_PEERS];
    double printed_ceiling; /* flops per second, that the row's share was printed of */
};

#define BENCH_MAX_ROWS 160
#define BENCH_MAX_GOALS 48

enum bench_verdict { BENCH_UNMET, BENCH_MET, BENCH_NOT_MEASURED };

struct bench_goal {
    const char *id;
    char what[160];
    const char *unit; /* of target and got */
    double target, got;
    int at_most; /* else at least */
    enum bench_verdict verdict;
    char reason[200];
};

struct bench {
    rapt_easy *easy;
    const rapt_caps *caps;
    enum bench_suite suite;
    const char *filter;
    uint32_t n_repeats; /* 0 = by time */
    int with_peers;
    struct bench_peer peer[BENCH_N_PEERS];
    struct bench_peers *peers; /* their processes */
    rapt_ceilings ceilings;    /* the best of n_looks */
    uint32_t n_looks;
    struct bench_row rows[BENCH_MAX_ROWS];
    uint32_t n_rows;
    struct bench_goal goals[BENCH_MAX_GOALS];
    struct bench_goal spare_goal; /* for goals that there is no room for */
    uint32_t n_goals, n_goals_lost;
    double memory_exponent[2]; /* flash, three-pass; 0 = not fitted */
};

const char *bench_suite_name(enum bench_suite suite);
const char *bench_kind_name(enum bench_kind kind);

/* bench_suite.c: the rows of a suite that the filter leaves. */
void bench_list(struct bench *bench);
/* bench_filter.c: 0, or an exit code after a line. */
int bench_filter_check(const char *pattern);
int bench_filter_matches(const char *pattern, const char *text);

/* bench_run.c: 0 or an exit code after a line; a row the device cannot do is skipped with a reason.
 */
int bench_run_row(struct bench *bench, struct bench_row *row);
struct bench_times bench_times_of(double *seconds, uint32_t n); /* sorts them */
/* bench_host.c: what prepare and record cost on the host. */
int bench_run_host(struct bench *bench, struct bench_row *row);
/* bench_pager.c: the pager's operations; no device. */
int bench_run_pager(struct bench *bench, struct bench_row *row);
/* bench_append.c: new K/V rows into pages. */
int bench_run_append(struct bench *bench, struct bench_row *row);
/* bench_choose.c: choosing on the device, and the attention it serves. */
int bench_run_choice(struct bench *bench, struct bench_row *row);
/* bench_shared.c: a decode step of sequences with one prompt. */
int bench_run_shared(struct bench *bench, struct bench_row *row);

/* bench_table.c: a block table on the host. */
int bench_run_table(struct bench *bench, struct bench_row *row);

/* bench_peers.c: 0 or an exit code after a line. */
int bench_peers_start(struct bench *bench);
void bench_peers_end(struct bench *bench);
/* Measures the job and its peers by turns. */
rapt_status bench_run_peers(struct bench *bench, const struct case_data *data, rapt_easy_job *job,
                            struct bench_row *row);

/* bench_goals.c */
int bench_judge(struct bench *bench);
struct bench_goal *bench_add_goal(struct bench *bench, const char *id, const char *what,
                                  const char *unit, double target, int at_most);
void bench_judge_goal(struct bench_goal *goal, double got);
/* bench_goals_peers.c */
void bench_judge_peers(struct bench *bench);
double bench_row_flops(const struct bench_row *row); /* per second */
double bench_row_kv_bytes(const struct bench_row *row);

/* bench_json.c: 0 or an exit code after a line. */
int bench_write_json(const struct bench *bench, const char *path);

#endif
