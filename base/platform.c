/* SPDX-License-Identifier: Apache-2.0 */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif

#include "platform.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef HANDLE thread_handle;
#define THREAD_RESULT DWORD WINAPI
#define THREAD_RETURN 0
#else
#include <dlfcn.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
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

static void drain(struct crew *crew)
{
    for (;;) {
        uint32_t i = atomic_fetch_add(&crew->next, 1);
        if (i >= crew->n)
            return;
        crew->work(crew->user, i);
    }
}

static THREAD_RESULT run(void *crew)
{
    drain(crew);
    return THREAD_RETURN;
}

static int start(thread_handle *thread, struct crew *crew)
{
#if defined(_WIN32)
    *thread = CreateThread(NULL, 0, run, crew, 0, NULL);
    return *thread != NULL;
#else
    return pthread_create(thread, NULL, run, crew) == 0;
#endif
}

static void join(thread_handle thread)
{
#if defined(_WIN32)
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
#else
    pthread_join(thread, NULL);
#endif
}

void rapt_parallel(uint32_t n_threads, uint32_t n, void (*work)(void *user, uint32_t i), void *user)
{
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

double rapt_now_seconds(void)
{
#if defined(_WIN32)
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    return (double)ticks.QuadPart / (double)per_second.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
}

static int folder_exists(const char *path)
{
#if defined(_WIN32)
    DWORD attributes = GetFileAttributesA(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
#else
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
#endif
}

static void make_folder(const char *path)
{
#if defined(_WIN32)
    CreateDirectoryA(path, NULL);
#else
    mkdir(path, 0700);
#endif
}

int rapt_make_folders(const char *path)
{
    char part[1024];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return 0;
    for (size_t i = 1; i <= length; i++) {
        if (i < length && path[i] != '/' && path[i] != '\\')
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (!folder_exists(part))
            make_folder(part);
    }
    return folder_exists(path);
}

int rapt_replace_file(const char *from, const char *to)
{
#if defined(_WIN32)
    return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING) != 0;
#else
    return rename(from, to) == 0;
#endif
}

unsigned long rapt_process_id(void)
{
#if defined(_WIN32)
    return GetCurrentProcessId();
#else
    return (unsigned long)getpid();
#endif
}

void *rapt_library_open(const char *name)
{
#if defined(_WIN32)
    return (void *)LoadLibraryA(name);
#else
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
#endif
}

rapt_library_function rapt_library_find(void *library, const char *name)
{
    /* ISO C has no cast from an object pointer to a function pointer. */
    rapt_library_function function = NULL;
#if defined(_WIN32)
    FARPROC found = GetProcAddress((HMODULE)library, name);
#else
    void *found = dlsym(library, name);
#endif
    memcpy(&function, &found, sizeof function);
    return function;
}

void rapt_library_close(void *library)
{
    if (!library)
        return;
#if defined(_WIN32)
    FreeLibrary((HMODULE)library);
#else
    dlclose(library);
#endif
}
