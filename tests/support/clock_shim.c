/* A library for LD_PRELOAD that moves the wall clock of a process that runs: by as many seconds as
 * the file KD_CLOCK_FILE says, an int64_t that a test changes while the process runs. The monotonic
 * clock stays.
 *
 * As the kernel does when its clock is set, waits until a time of day are measured anew: they are
 * cut into slices, and after each the moved clock is asked. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef __x86_64__
#define COND_VERSION "GLIBC_2.3.2"
#else
#define COND_VERSION "GLIBC_2.17"
#endif
#define SLICE_NS 50000000
/* An absolute time of more seconds is a time of day, one of fewer counts from the machine's start.
 */
#define TIME_OF_DAY 1000000000

static _Atomic int64_t g_none;
static _Atomic int64_t *g_offset = &g_none; /* seconds; the test's file */

__attribute__((constructor)) static void open_offset(void)
{
    const char *const path = getenv("KD_CLOCK_FILE");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *const page = mmap(NULL, sizeof *g_offset, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        g_offset = page;
    (void)close(fd);
}

static int64_t offset(void)
{
    return atomic_load_explicit(g_offset, memory_order_relaxed);
}

/* The next library's function as a pointer of this type; ISO C has no cast from dlsym's. */
#define REAL(type, lookup)                                                                         \
    static type real;                                                                              \
    if (!real)                                                                                     \
        *(void **)(&real) = (lookup);

static int real_gettime(clockid_t id, struct timespec *now)
{
    typedef int (*type)(clockid_t, struct timespec *);
    REAL(type, dlsym(RTLD_NEXT, "clock_gettime"))
    return real(id, now);
}

static int moved_gettime(clockid_t id, struct timespec *now)
{
    const int result = real_gettime(id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI))
        now->tv_sec += offset();
    return result;
}

static int64_t to_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* The real time of day at which a wait until the moved time `until` may look again; *last tells
 * whether it is then over. */
static struct timespec slice(const struct timespec *until, int *last)
{
    struct timespec now;
    (void)real_gettime(CLOCK_REALTIME, &now);
    const int64_t left = to_ns(until) - offset() * 1000000000 - to_ns(&now);
    *last = left <= SLICE_NS;
    const int64_t at = to_ns(&now) + (left < SLICE_NS ? (left > 0 ? left : 0) : SLICE_NS);
    return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

/* ---- What takes the place of the C library's ---- */

int clock_gettime(clockid_t id, struct timespec *now)
{
    return moved_gettime(id, now);
}

time_t time(time_t *out)
{
    struct timespec now;
    (void)moved_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    (void)moved_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){.tv_sec = exact.tv_sec, .tv_usec = exact.tv_nsec / 1000};
    return 0;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
    const struct timespec *restrict until)
{
    typedef int (*type)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    /* The oldest, which dlsym may find, has another pthread_cond_t. */
    REAL(type, dlvsym(RTLD_NEXT, "pthread_cond_timedwait", COND_VERSION))
    if (until->tv_sec < TIME_OF_DAY)
        return real(cond, mutex, until);
    int last;
    const struct timespec at = slice(until, &last);
    const int result = real(cond, mutex, &at);
    return result == ETIMEDOUT && !last ? 0 : result; /* a wake-up for nothing is allowed */
}

int pthread_cond_clockwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
    clockid_t id, const struct timespec *restrict until)
{
    typedef int (*type)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    REAL(type, dlsym(RTLD_NEXT, "pthread_cond_clockwait"))
    if (id != CLOCK_REALTIME)
        return real(cond, mutex, id, until);
    int last;
    const struct timespec at = slice(until, &last);
    const int result = real(cond, mutex, id, &at);
    return result == ETIMEDOUT && !last ? 0 : result;
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until)
{
    typedef int (*type)(sem_t *, const struct timespec *);
    REAL(type, dlsym(RTLD_NEXT, "sem_timedwait"))
    for (int last = 0;;) {
        const struct timespec at = slice(until, &last);
        const int result = real(sem, &at);
        if (result == 0 || errno != ETIMEDOUT || last)
            return result;
    }
}

int clock_nanosleep(clockid_t id, int flags, const struct timespec *until, struct timespec *left)
{
    typedef int (*type)(clockid_t, int, const struct timespec *, struct timespec *);
    REAL(type, dlsym(RTLD_NEXT, "clock_nanosleep"))
    if (id != CLOCK_REALTIME || !(flags & TIMER_ABSTIME))
        return real(id, flags, until, left);
    for (int last = 0;;) {
        const struct timespec at = slice(until, &last);
        const int result = real(id, flags, &at, left);
        if (result != 0 || last)
            return result;
    }
}

/* Abseil, under gRPC, waits by the futex itself: until a time of day. */
long syscall(long number, ...)
{
    typedef long (*type)(long, ...);
    REAL(type, dlsym(RTLD_NEXT, "syscall"))
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++) /* as many as there are; the rest is ignored */
        a[i] = va_arg(args, long);
    va_end(args);
    const struct timespec *const until = (const struct timespec *)a[3];
    if (number != SYS_futex || !(a[1] & FUTEX_CLOCK_REALTIME) || !until)
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    for (int last = 0;;) {
        const struct timespec at = slice(until, &last);
        const long result = real(number, a[0], a[1], a[2], (long)&at, a[4], a[5]);
        if (result == 0 || errno != ETIMEDOUT || last)
            return result;
    }
}
