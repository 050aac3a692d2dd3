/* SPDX-License-Identifier: Apache-2.0 */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE 1 /* flock there */
#define _FILE_OFFSET_BITS 64
#else
#define _WIN32_WINNT 0x0600 /* SetFileInformationByHandle */
#endif

#include "platform.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef HANDLE thread_handle;
#define THREAD_RESULT DWORD WINAPI
#define THREAD_RETURN 0
#else
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
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

/* Handles are kept plus one, so that a zeroed rapt_file is none (a descriptor may be 0). */
#if defined(_WIN32)
static HANDLE native(const rapt_file *file)
{
    return (HANDLE)(file->handle - 1);
}

static int last_code(void)
{
    DWORD code = GetLastError();
    return code ? (int)code : (int)ERROR_GEN_FAILURE;
}

int rapt_file_create(const char *path, rapt_file *out_file)
{
    /* No sharing: a second writer finds it busy. DELETE allows the rename of the open file. */
    HANDLE handle = CreateFileA(path, GENERIC_WRITE | DELETE, 0, NULL, CREATE_ALWAYS,
                                FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE)
        return GetLastError() == ERROR_SHARING_VIOLATION ? RAPT_FILE_BUSY : last_code();
    out_file->handle = (intptr_t)handle + 1;
    return 0;
}

int rapt_file_write(const rapt_file *file, const void *data, size_t n_bytes)
{
    const char *bytes = data;
    while (n_bytes > 0) {
        DWORD piece = n_bytes < 1u << 30 ? (DWORD)n_bytes : 1u << 30, done = 0;
        if (!WriteFile(native(file), bytes, piece, &done, NULL))
            return last_code();
        bytes += done;
        n_bytes -= done;
    }
    return 0;
}

int rapt_file_replace(const rapt_file *file, const char *from, const char *to)
{
    (void)from; /* the open file is renamed, wherever it lies */
    if (!FlushFileBuffers(native(file)))
        return last_code();
    int n_wide = MultiByteToWideChar(CP_ACP, 0, to, -1, NULL, 0);
    if (n_wide <= 0)
        return last_code();
    size_t n_bytes = sizeof(FILE_RENAME_INFO) + (size_t)n_wide * sizeof(WCHAR);
    FILE_RENAME_INFO *info = calloc(1, n_bytes);
    if (!info)
        return ERROR_NOT_ENOUGH_MEMORY;
    info->ReplaceIfExists = TRUE;
    info->FileNameLength = (DWORD)((size_t)(n_wide - 1) * sizeof(WCHAR));
    MultiByteToWideChar(CP_ACP, 0, to, -1, info->FileName, n_wide);
    BOOL done = SetFileInformationByHandle(native(file), FileRenameInfo, info, (DWORD)n_bytes);
    int code = done ? 0 : last_code();
    free(info);
    return code;
}

void rapt_file_discard(rapt_file *file, const char *path)
{
    (void)path;
    FILE_DISPOSITION_INFO gone = {.DeleteFile = TRUE};
    if (file->handle)
        SetFileInformationByHandle(native(file), FileDispositionInfo, &gone, sizeof gone);
    rapt_file_close(file);
}

int rapt_file_open(const char *path, rapt_file *out_file, uint64_t *out_bytes)
{
    HANDLE handle = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                                OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    LARGE_INTEGER size;
    if (handle == INVALID_HANDLE_VALUE)
        return last_code();
    if (!GetFileSizeEx(handle, &size)) {
        int code = last_code();
        CloseHandle(handle);
        return code;
    }
    out_file->handle = (intptr_t)handle + 1;
    *out_bytes = (uint64_t)size.QuadPart;
    return 0;
}

int rapt_file_read(const rapt_file *file, uint64_t offset, void *data, size_t n_bytes)
{
    char *bytes = data;
    while (n_bytes > 0) {
        OVERLAPPED at = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
        DWORD piece = n_bytes < 1u << 30 ? (DWORD)n_bytes : 1u << 30, done = 0;
        if (!ReadFile(native(file), bytes, piece, &done, &at))
            return GetLastError() == ERROR_HANDLE_EOF ? RAPT_FILE_SHORT : last_code();
        if (done == 0)
            return RAPT_FILE_SHORT;
        bytes += done;
        offset += done;
        n_bytes -= done;
    }
    return 0;
}

void rapt_file_close(rapt_file *file)
{
    if (file->handle)
        CloseHandle(native(file));
    file->handle = 0;
}
#else
static int native(const rapt_file *file)
{
    return (int)(file->handle - 1);
}

#define FILE_STALE (-3)

static int has_name(int fd, const char *path)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* Locks the file, if it still is the one of that name: the one who held the lock before may have
 * given it another since, or removed it. */
static int claim(int fd, const char *path)
{
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return RAPT_FILE_BUSY;
    if (!has_name(fd, path))
        return FILE_STALE;
    return ftruncate(fd, 0) == 0 ? 0 : errno;
}

int rapt_file_create(const char *path, rapt_file *out_file)
{
    int code = FILE_STALE;
    for (int i = 0; i < 100 && code == FILE_STALE; i++) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return errno;
        code = claim(fd, path);
        if (code == 0)
            out_file->handle = (intptr_t)fd + 1;
        else
            close(fd);
    }
    return code == FILE_STALE ? RAPT_FILE_BUSY : code;
}

int rapt_file_write(const rapt_file *file, const void *data, size_t n_bytes)
{
    const char *bytes = data;
    while (n_bytes > 0) {
        ssize_t done = write(native(file), bytes, n_bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        bytes += done;
        n_bytes -= (size_t)done;
    }
    return 0;
}

/* The folder's own entry of the new name. File systems that cannot sync a folder do without. */
static int sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 1;
    if (length >= sizeof folder)
        return ENAMETOOLONG;
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    int fd = open(length ? folder : "/", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : errno; /* a folder one may write but not list */
    int code = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
    close(fd);
    return code;
}

int rapt_file_replace(const rapt_file *file, const char *from, const char *to)
{
    if (fsync(native(file)) != 0 || rename(from, to) != 0)
        return errno;
    return sync_folder(to);
}

void rapt_file_discard(rapt_file *file, const char *path)
{
    if (file->handle && has_name(native(file), path))
        unlink(path); /* while it is locked, so that it is nobody else's yet */
    rapt_file_close(file);
}

int rapt_file_open(const char *path, rapt_file *out_file, uint64_t *out_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0)
        return errno;
    int code = fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
    if (code) {
        close(fd);
        return code;
    }
    out_file->handle = (intptr_t)fd + 1;
    *out_bytes = (uint64_t)status.st_size;
    return 0;
}

int rapt_file_read(const rapt_file *file, uint64_t offset, void *data, size_t n_bytes)
{
    char *bytes = data;
    while (n_bytes > 0) {
        ssize_t done = pread(native(file), bytes, n_bytes, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : RAPT_FILE_SHORT;
        bytes += done;
        offset += (uint64_t)done;
        n_bytes -= (size_t)done;
    }
    return 0;
}

void rapt_file_close(rapt_file *file)
{
    if (file->handle)
        close(native(file));
    file->handle = 0;
}
#endif

const char *rapt_file_message(int code, char *text, size_t n_bytes)
{
    if (code == RAPT_FILE_BUSY) {
        snprintf(text, n_bytes, "somebody else is writing it");
    } else if (code == RAPT_FILE_SHORT) {
        snprintf(text, n_bytes, "it ends too early");
    } else {
#if defined(_WIN32)
        DWORD n = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
                                 (DWORD)code, 0, text, (DWORD)n_bytes, NULL);
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == '.'))
            text[--n] = 0;
        if (n == 0)
            snprintf(text, n_bytes, "error %d", code);
#else
        if (strerror_r(code, text, n_bytes) != 0)
            snprintf(text, n_bytes, "error %d", code);
#endif
    }
    return text;
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
