#include "tests/support/alloc.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"

enum {
    ROOM = 1 << 16, /* a power of two; far more than any scenario has alive */
    FRAMES = 16,
    SETTLE_MS = 10000,
};

/* One injector a process. */
static struct {
    pthread_mutex_t mutex;
    size_t seen;    /* allocations since it was armed */
    size_t fail_at; /* 0: none fails */
    bool rest;      /* and those after it */
    size_t refused;
    void *frames[FRAMES]; /* who asked for the first that failed */
    int n_frames;
    void *blocks[ROOM]; /* alive; open addressing, linear probing */
    size_t n_blocks;
} injector = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- Blocks that are alive ---- */

static size_t home(const void *block)
{
    return (size_t)((uintptr_t)block * 0x9e3779b97f4a7c15u >> 32) & (ROOM - 1);
}

static size_t place(const void *block)
{
    size_t at = home(block);
    while (injector.blocks[at] && injector.blocks[at] != block)
        at = (at + 1) & (ROOM - 1);
    return at;
}

static void *remember(void *block)
{
    if (!block)
        return NULL;
    pthread_mutex_lock(&injector.mutex);
    if (injector.n_blocks > ROOM / 2)
        abort(); /* the table is too small for this scenario */
    const size_t at = place(block);
    injector.n_blocks += !injector.blocks[at];
    injector.blocks[at] = block;
    pthread_mutex_unlock(&injector.mutex);
    return block;
}

/* A block that a library made is none of ours and passes. */
static void forget(const void *block)
{
    if (!block)
        return;
    pthread_mutex_lock(&injector.mutex);
    size_t gap = place(block);
    if (injector.blocks[gap]) {
        injector.blocks[gap] = NULL;
        injector.n_blocks--;
        for (size_t at = (gap + 1) & (ROOM - 1); injector.blocks[at]; at = (at + 1) & (ROOM - 1)) {
            const size_t from_home = (at - home(injector.blocks[at])) & (ROOM - 1);
            if (from_home < ((at - gap) & (ROOM - 1)))
                continue;
            injector.blocks[gap] = injector.blocks[at];
            injector.blocks[at] = NULL;
            gap = at;
        }
    }
    pthread_mutex_unlock(&injector.mutex);
}

static size_t blocks_alive(void)
{
    pthread_mutex_lock(&injector.mutex);
    const size_t n = injector.n_blocks;
    pthread_mutex_unlock(&injector.mutex);
    return n;
}

/* ---- Failing ---- */

bool alloc_refuse(void)
{
    pthread_mutex_lock(&injector.mutex);
    bool refuse = false;
    if (injector.fail_at > 0) {
        const size_t number = ++injector.seen;
        refuse = number == injector.fail_at || (injector.rest && number > injector.fail_at);
    }
    if (refuse && injector.refused++ == 0)
        injector.n_frames = backtrace(injector.frames, FRAMES); /* loaded by alloc_replay */
    pthread_mutex_unlock(&injector.mutex);
    if (refuse)
        errno = ENOMEM;
    return refuse;
}

static void arm(size_t fail_at, bool rest)
{
    pthread_mutex_lock(&injector.mutex);
    injector.seen = injector.refused = 0;
    injector.fail_at = fail_at;
    injector.rest = rest;
    pthread_mutex_unlock(&injector.mutex);
}

void alloc_stop(void)
{
    pthread_mutex_lock(&injector.mutex);
    injector.fail_at = 0;
    pthread_mutex_unlock(&injector.mutex);
}

bool alloc_rest(void)
{
    return injector.rest;
}

/* ---- What stands in the place of the C library's ---- */

#ifdef KD_ALLOC_LIBRARIES
/* Everyone's: glibc lets a program define these, for itself and all its shared libraries. Only
 * blocks that the program's own code asked for are watched until they are freed: libjpeg-turbo
 * 2.1.5 leaks when there is no memory for a new decoder. */
extern const char __executable_start[], etext[];
#define OURS(name) name
#define LIBC(name) __libc_##name
#define WATCH(block) watch((block), __builtin_return_address(0))
static void *watch(void *block, const void *asker)
{
    const uintptr_t at = (uintptr_t)asker;
    return at >= (uintptr_t)__executable_start && at < (uintptr_t)etext ? remember(block) : block;
}
#else
/* Those of our static libraries: the linker's --wrap. */
#define OURS(name) __wrap_##name
#define LIBC(name) __real_##name
#define WATCH(block) remember(block)
void *OURS(malloc)(size_t size);
void *OURS(calloc)(size_t n, size_t size);
void *OURS(realloc)(void *block, size_t size);
void OURS(free)(void *block);
#endif
void *LIBC(malloc)(size_t size);
void *LIBC(calloc)(size_t n, size_t size);
void *LIBC(realloc)(void *block, size_t size);
void LIBC(free)(void *block);

void *OURS(malloc)(size_t size)
{
    return alloc_refuse() ? NULL : WATCH(LIBC(malloc)(size));
}

void *OURS(calloc)(size_t n, size_t size)
{
    return alloc_refuse() ? NULL : WATCH(LIBC(calloc)(n, size));
}

void *OURS(realloc)(void *block, size_t size)
{
    if (alloc_refuse())
        return NULL;
    forget(block);
    return WATCH(LIBC(realloc)(block, size));
}

void OURS(free)(void *block)
{
    forget(block);
    LIBC(free)(block);
}

#ifndef KD_ALLOC_LIBRARIES /* there the C library's own ask malloc */
void *__wrap_reallocarray(void *block, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_vasprintf(char **out, const char *format, va_list args) KD_PRINTF(2, 0);
char *__wrap_realpath(const char *path, char *resolved);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
int __real_vasprintf(char **out, const char *format, va_list args);
char *__real_realpath(const char *path, char *resolved);

void *__wrap_reallocarray(void *block, size_t n, size_t size)
{
    return size && n > SIZE_MAX / size ? NULL : OURS(realloc)(block, n * size);
}

char *__wrap_strdup(const char *text)
{
    return alloc_refuse() ? NULL : remember(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t len)
{
    return alloc_refuse() ? NULL : remember(__real_strndup(text, len));
}

int __wrap_vasprintf(char **out, const char *format, va_list args)
{
    const int len = alloc_refuse() ? -1 : __real_vasprintf(out, format, args);
    if (len >= 0)
        (void)remember(*out);
    return len;
}

char *__wrap_realpath(const char *path, char *resolved)
{
    if (resolved)
        return __real_realpath(path, resolved);
    return alloc_refuse() ? NULL : remember(__real_realpath(path, NULL));
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    const int result = alloc_refuse() ? ENOMEM : __real_posix_memalign(out, alignment, size);
    if (result == 0)
        (void)remember(*out);
    return result;
}
#endif

void *alloc_malloc(size_t size)
{
    return OURS(malloc)(size);
}

void alloc_free(void *block)
{
    OURS(free)(block);
}

/* ---- Replaying ---- */

void alloc_note(kd_status *first, kd_status status, const kd_error *err)
{
    alloc_stop();
    if (*first == KD_OK)
        *first = status;
    if (err->status != status || err->message[0] == '\0')
        fail_msg("%s comes without a sentence", kd_status_name(status));
}

static void complain(const alloc_scenario *scenario, size_t number, bool rest, const char *what)
{
    alloc_stop();
    backtrace_symbols_fd(injector.frames, injector.n_frames, STDERR_FILENO);
    fail_msg("%s, allocation %zu%s: %s (asked for above)", scenario->name, number,
        rest ? " and the rest" : "", what);
}

static void check_blocks(const alloc_scenario *scenario, size_t number, bool rest, size_t before)
{
    const int64_t until = kd_mono_ms() + (scenario->threads ? SETTLE_MS : 0);
    size_t after;
    while ((after = blocks_alive()) != before && kd_mono_ms() < until)
        kd_sleep_ms(1);
    if (after != before) {
        char what[64];
        (void)snprintf(what, sizeof what, "%zu blocks alive, %zu before", after, before);
        complain(scenario, number, rest, what);
    }
}

/* One replay; false when there were fewer allocations. before: blocks alive. *ended_well: the
 * failure was forgiven. */
static bool replay(
    const alloc_scenario *scenario, size_t number, bool rest, size_t before, bool *ended_well)
{
    kd_error err = KD_ERROR_INIT;
    arm(number, rest);
    const kd_status status = scenario->run(scenario->arg, &err);
    alloc_stop();
    const bool refused = injector.refused > 0;
    const bool fine = status == KD_RESOURCE_EXHAUSTED || status == KD_OK ||
                      (scenario->threads && status == KD_UNAVAILABLE);
    if (refused ? !fine : status != KD_OK)
        complain(scenario, number, rest, kd_status_name(status));
    check_blocks(scenario, number, rest, before);
    *ended_well = status == KD_OK;
    return refused;
}

void alloc_replay(const alloc_scenario *scenario)
{
    bool ended_well;
    size_t n = 0, forgiven = 0;
    kd_error err = KD_ERROR_INIT;

    alloc_stop();
    (void)backtrace(injector.frames, FRAMES); /* its first call allocates */
    const size_t before = blocks_alive();
    /* What libraries set up at their first use is theirs for good. */
    CHECK_OK(scenario->run(scenario->arg, &err), err);
    check_blocks(scenario, 0, false, before);
    for (bool more = true; more;) {
        more = replay(scenario, n + 1, false, before, &ended_well);
        n += more;
        forgiven += more && ended_well;
    }
    if (n == 0)
        fail_msg("%s allocates nothing", scenario->name);
    const size_t expected = scenario->forgiven == ALLOC_ALL ? n : scenario->forgiven;
#ifndef KD_ALLOC_LIBRARIES /* libraries forgive as they like */
    if (!scenario->threads && forgiven != expected)
        fail_msg("%s: %zu of %zu failures are forgiven, expected %zu", scenario->name, forgiven, n,
            expected);
#else
    (void)expected;
#endif
    for (size_t number = 1; replay(scenario, number, true, before, &ended_well); number++)
        ;
    print_message(
        "%s: each of %zu allocations fails in turn, %zu forgiven\n", scenario->name, n, forgiven);
}
