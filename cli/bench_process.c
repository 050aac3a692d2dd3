/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* sched_getaffinity, where there is one */
#include "bench_process.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32

int process_start(struct process *process, const char *const *argv, int talks)
{
    (void)argv, (void)talks;
    *process = (struct process){.line = "this system starts no peers"};
    return 1;
}

int process_write(struct process *process, const void *bytes, size_t n_bytes)
{
    (void)process, (void)bytes, (void)n_bytes;
    return 1;
}

int process_read(struct process *process, void *bytes, size_t n_bytes, double seconds)
{
    (void)process, (void)bytes, (void)n_bytes, (void)seconds;
    return 1;
}

int process_read_line(struct process *process, double seconds)
{
    (void)process, (void)seconds;
    return 1;
}

void process_end(struct process *process)
{
    (void)process;
}

char *process_find(const char *name, const char *const *beside, char *path, size_t path_bytes)
{
    (void)name, (void)beside, (void)path, (void)path_bytes;
    return NULL;
}

unsigned process_n_cpus(void)
{
    return 1;
}

void process_sleep(double seconds)
{
    (void)seconds;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int spawn(struct process *process, const char *const *argv, const int ends[4], int talks)
{
    posix_spawn_file_actions_t actions;
    pid_t id = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[3], STDOUT_FILENO);
    if (!talks)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    union {
        const char *const *given;
        char *const *wanted;
    } arguments = {argv}; /* they are not written to */
    int error = posix_spawnp(&id, argv[0], &actions, NULL, arguments.wanted, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error)
        snprintf(process->line, sizeof process->line, "%.200s: %.200s", argv[0], strerror(error));
    else
        process->id = id;
    return error;
}

int process_start(struct process *process, const char *const *argv, int talks)
{
    int ends[4] = {-1, -1, -1, -1}; /* its input: read, write; its output: read, write */
    *process = (struct process){.to = -1, .from = -1};
    signal(SIGPIPE, SIG_IGN); /* one that died is found by what write returns */
    int error = pipe(ends) || pipe(ends + 2);
    for (int i = 0; i < 4 && !error; i++)
        error = fcntl(ends[i], F_SETFD, FD_CLOEXEC) < 0;
    if (error)
        snprintf(process->line, sizeof process->line, "pipe: %s", strerror(errno));
    else
        error = spawn(process, argv, ends, talks);
    for (int i = 0; i < 4; i++) {
        if (ends[i] >= 0 && (error || i == 0 || i == 3))
            close(ends[i]);
    }
    if (!error)
        process->to = ends[1], process->from = ends[2];
    return error;
}

void process_end(struct process *process)
{
    if (process->id <= 0)
        return;
    close(process->to);
    close(process->from);
    /* At the end of its input it ends by itself; one that hangs is killed. */
    pid_t done = 0;
    for (int i = 0; i < 200 && done == 0; i++) {
        done = waitpid((pid_t)process->id, NULL, WNOHANG);
        if (done == 0)
            process_sleep(0.01);
    }
    if (done == 0) {
        kill((pid_t)process->id, SIGKILL);
        waitpid((pid_t)process->id, NULL, 0);
    }
    process->id = 0;
    process->to = process->from = -1;
}

static int failed(struct process *process, const char *why)
{
    process_end(process);
    snprintf(process->line, sizeof process->line, "%s", why);
    return 1;
}

int process_write(struct process *process, const void *bytes, size_t n_bytes)
{
    const char *from = bytes;
    if (process->id <= 0)
        return failed(process, "it has ended");
    while (n_bytes > 0) {
        ssize_t n = write(process->to, from, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(process, "it ended unexpectedly (RAPT_LOG=info shows what it says)");
        from += n, n_bytes -= (size_t)n;
    }
    return 0;
}

int process_read(struct process *process, void *bytes, size_t n_bytes, double seconds)
{
    char *to = bytes;
    double end = cli_seconds() + seconds;
    if (process->id <= 0)
        return failed(process, "it has ended");
    while (n_bytes > 0) {
        struct pollfd ready = {.fd = process->from, .events = POLLIN};
        double left = end - cli_seconds();
        int found = left > 0 ? poll(&ready, 1, left < 1 ? (int)(left * 1000) + 1 : 1000) : -1;
        if (left <= 0)
            return failed(process, "it gave no answer in time");
        if (found <= 0)
            continue;
        ssize_t n = read(process->from, to, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(process, "it ended unexpectedly (RAPT_LOG=info shows what it says)");
        to += n, n_bytes -= (size_t)n;
    }
    return 0;
}

int process_read_line(struct process *process, double seconds)
{
    char line[sizeof process->line];
    for (size_t n = 0; n + 1 < sizeof line; n++) {
        if (process_read(process, line + n, 1, seconds))
            return 1;
        if (line[n] == '\n') {
            line[n] = 0;
            memcpy(process->line, line, n + 1);
            return 0;
        }
    }
    return failed(process, "its answer is too long");
}

char *process_find(const char *name, const char *const *beside, char *path, size_t path_bytes)
{
    const char *folder = getenv("RAPT_PEERS_DIR");
    if (folder && *folder) {
        int n = snprintf(path, path_bytes, "%s/%s", folder, name);
        return n > 0 && (size_t)n < path_bytes && access(path, R_OK) == 0 ? path : NULL;
    }
    char self[1024];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return NULL;
    self[length] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    for (; *beside; beside++) {
        int n = snprintf(path, path_bytes, "%s/%s/%s", self, *beside, name);
        if (n > 0 && (size_t)n < path_bytes && access(path, R_OK) == 0)
            return path;
    }
    return NULL;
}

unsigned process_n_cpus(void)
{
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

void process_sleep(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

#endif
