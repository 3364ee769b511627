/* Preloaded into a process, lets the n-th call of a kind on files below a folder fail, or kills the process there.

   Python and SQLite call these functions by name, so that theirs are replaced; the linker's own are not. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN, READ, WRITE, FSYNC, RENAME, MKDIR, KINDS };
static const char *const NAMES[KINDS] = {"open", "read", "write", "fsync", "rename", "mkdir"};

static char below[PATH_MAX];
static int journal = -1, fails = KINDS, cause, stays;
static long position;
static atomic_long count[KINDS];

#define ORIGINAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Begin: `error` 0 kills; with `again`, all later calls of the kind fail, too. Every call goes into the file `log`. */
void faults_begin(const char *folder, const char *log, const char *kind, long n, int error, int again) {
    for (fails = 0; fails < KINDS && strcmp(kind, NAMES[fails]); fails++)
        ;
    position = n, cause = error, stays = again;
    journal = ORIGINAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    snprintf(below, sizeof below, "%s/", folder);
}

/* Return whether a call must fail, after errno is set. */
static int fails_at(enum kind kind, const char *path) {
    char line[PATH_MAX + 16];
    if (strncmp(path, below, strlen(below)))
        return 0;
    long n = atomic_fetch_add(&count[kind], 1) + 1;
    int length = snprintf(line, sizeof line, "%s %s\n", NAMES[kind], path);
    ORIGINAL(write)(journal, line, length);
    if ((int)kind != fails || n < position || (n > position && !stays))
        return 0;
    errno = cause;
    return 1;
}

static int fault(enum kind kind, int at, const char *name) {
    char path[2 * PATH_MAX] = "", link[64];
    ssize_t length = 0;
    if (!*below)
        return 0;
    if (!name || (name[0] != '/' && at != AT_FDCWD)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        length = readlink(link, path, PATH_MAX - 1);
        if (length < 0)
            return 0;
    } else if (name[0] != '/') {
        if (!getcwd(path, PATH_MAX))
            return 0;
        length = strlen(path);
    }
    if (name)
        snprintf(path + length, sizeof path - length, "%s%s", name[0] == '/' ? "" : "/", name);
    else
        path[length] = 0;
    int saved = errno;
    if (!fails_at(kind, path)) {
        errno = saved;
        return 0;
    }
    return 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

#define FAIL(kind, at, name)                                                                                           \
    if (fault(kind, at, name)) {                                                                                       \
        if (!cause)                                                                                                    \
            die();                                                                                                     \
        return -1;                                                                                                     \
    }

#define OPENS(function, parameters, at, path, ...)                                                                     \
    int function parameters {                                                                                          \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        FAIL(OPEN, at, path)                                                                                           \
        return ORIGINAL(function)(__VA_ARGS__, flags, mode);                                                           \
    }

OPENS(open, (const char *path, int flags, ...), AT_FDCWD, path, path)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD, path, path)
OPENS(openat, (int at, const char *path, int flags, ...), at, path, at, path)
OPENS(openat64, (int at, const char *path, int flags, ...), at, path, at, path)

#define CALLS(result, function, kind, at, path, parameters, arguments)                                                 \
    result function parameters {                                                                                       \
        FAIL(kind, at, path)                                                                                           \
        return ORIGINAL(function) arguments;                                                                           \
    }

CALLS(ssize_t, read, READ, file, NULL, (int file, void *data, size_t size), (file, data, size))
CALLS(ssize_t, pread, READ, file, NULL, (int file, void *data, size_t size, off_t at), (file, data, size, at))
CALLS(ssize_t, pread64, READ, file, NULL, (int file, void *data, size_t size, off64_t at), (file, data, size, at))
CALLS(int, ftruncate, WRITE, file, NULL, (int file, off_t size), (file, size))
CALLS(int, ftruncate64, WRITE, file, NULL, (int file, off64_t size), (file, size))
CALLS(int, fsync, FSYNC, file, NULL, (int file), (file))
CALLS(int, fdatasync, FSYNC, file, NULL, (int file), (file))
CALLS(int, rename, RENAME, AT_FDCWD, to, (const char *from, const char *to), (from, to))
CALLS(int, renameat, RENAME, b, to, (int a, const char *from, int b, const char *to), (a, from, b, to))
CALLS(int, mkdir, MKDIR, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
CALLS(int, mkdirat, MKDIR, at, path, (int at, const char *path, mode_t mode), (at, path, mode))

/* A process that is killed in a write has written a half. */
#define WRITES(function, parameters, half, arguments)                                                                  \
    ssize_t function parameters {                                                                                      \
        if (fault(WRITE, file, NULL)) {                                                                                \
            if (!cause) {                                                                                              \
                ORIGINAL(function) half;                                                                               \
                die();                                                                                                 \
            }                                                                                                          \
            return -1;                                                                                                 \
        }                                                                                                              \
        return ORIGINAL(function) arguments;                                                                           \
    }

WRITES(write, (int file, const void *data, size_t size), (file, data, size / 2), (file, data, size))
WRITES(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size / 2, at), (file, data, size, at))
WRITES(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size / 2, at),
       (file, data, size, at))
WRITES(writev, (int file, const struct iovec *parts, int number), (file, parts, number / 2), (file, parts, number))
