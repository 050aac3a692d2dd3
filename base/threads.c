/* SPDX-License-Identifier: Apache-2.0 */
/* The base room's only platform code: starting and joining threads. */
#include "threads.h"

#include <stdatomic.h>

#if defined(_WIN32)
#include <windows.h>
typedef HANDLE thread_handle;
#define THREAD_RESULT DWORD WINAPI
#define THREAD_RETURN 0
#else
#include <pthread.h>
typedef pthread_t thread_handle;
#define THREAD_RESULT void *
#define THREAD_RETURN NULL
#endif

#define MAX_THREADS 64

struct crew {
    atomic_uint next;
    uint32_t n;
    void (*work)(void *user, uint32_t i);
    void *user;
};

static void drain(struct crew *crew) {
    for (;;) {
        uint32_t i = atomic_fetch_add(&crew->next, 1);
        if (i >= crew->n)
            return;
        crew->work(crew->user, i);
    }
}

static THREAD_RESULT run(void *crew) {
    drain(crew);
    return THREAD_RETURN;
}

static int start(thread_handle *thread, struct crew *crew) {
#if defined(_WIN32)
    *thread = CreateThread(NULL, 0, run, crew, 0, NULL);
    return *thread != NULL;
#else
    return pthread_create(thread, NULL, run, crew) == 0;
#endif
}

static void join(thread_handle thread) {
#if defined(_WIN32)
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
#else
    pthread_join(thread, NULL);
#endif
}

void rapt_parallel(uint32_t n_threads, uint32_t n, void (*work)(void *user, uint32_t i),
                   void *user) {
    struct crew crew = {.n = n, .work = work, .user = user};
    thread_handle threads[MAX_THREADS];
    uint32_t n_started = 0;
    if (n_threads > MAX_THREADS)
        n_threads = MAX_THREADS;
    while (n_started + 1 < n_threads && n_started + 1 < n && start(&threads[n_started], &crew))
        n_started++;
    drain(&crew);
    for (uint32_t i = 0; i < n_started; i++)
        join(threads[i]);
}
