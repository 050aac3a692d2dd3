/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_BENCH_PROCESS_H
#define CLI_BENCH_PROCESS_H

/* Another program at the ends of two pipes. The only file of the command that knows the operating
 * system; where it cannot start programs this way, starting fails with that reason. */

#include <stddef.h>

struct process {
    long id; /* 0 = none */
    int to, from;
    char line[512]; /* the last answer, without its end */
};

/* 0, or not 0 and why in process->line. argv ends with NULL; argv[0] is looked for on the path. Its
 * standard error is this process's if `talks`, else nothing. */
int process_start(struct process *process, const char *const *argv, int talks);
/* Each 0, or not 0 and why in process->line; the program is ended then. Reading waits as long as
 * given. */
int process_write(struct process *process, const void *bytes, size_t n_bytes);
int process_read(struct process *process, void *bytes, size_t n_bytes, double seconds);
int process_read_line(struct process *process, double seconds);
/* Ends it. */
void process_end(struct process *process);

/* The first folder that holds `name`: $RAPT_PEERS_DIR alone if it is set, else those `beside` this
 * program, given relative to its own folder. NULL if there is none. */
char *process_find(const char *name, const char *const *beside, char *path, size_t path_bytes);
unsigned process_n_cpus(void);
void process_sleep(double seconds);

#endif
