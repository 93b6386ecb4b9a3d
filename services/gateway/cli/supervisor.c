#include "services/gateway/cli/supervisor.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/access/access.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/gateway/cli/child.h"
#include "services/gateway/cli/stack_args.h"

#define LAST_RANK 2
#define MAX_DEATHS 3             /* before it was ever ready */
#define LONGEST_READY_MS 3600000 /* for a child that loads all the time */
#define STILL_LOADING_MS 30000   /* between lines that say so */
#define TICK_MS 20               /* between looks at what is starting */
#define FIRST_DELAY_MS 200
#define MAX_DELAY_MS 10000
#define REWRITE_MS 1000
#define LONG_LIFE_MS 30000 /* after so long the back-off begins anew */

typedef struct supervisor {
    const stack_options *options;
    child children[CHILDREN];
    local_stack stack;
    char *stack_file; /* owned, as the two below */
    char *keys, *key; /* of all services: the file of API keys, that of their own one */
    int signals;      /* signalfd */
    bool is_up;       /* all served once; stack_file is there */
    int64_t write_ms; /* stack_file is to be written anew then; 0: it is right */
    bool stopping;    /* asked to end */
    bool hurry;       /* asked again */
} supervisor;

static kd_status start_child(supervisor *s, int which, kd_error *err)
{
    child *const c = &s->children[which];
    const char *args[STACK_ARGS_MAX];
    char threads[16];
    char *const folder = kd_format("%s/redis", s->options->data);
    kd_status status = folder ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK && which == REDIS) {
        /* Until it ran once nobody knows its port: another, in case that this one was taken. */
        status = kd_make_dirs(folder, err);
        if (status == KD_OK && !c->was_ready)
            status = free_address(c->grpc, err);
        if (status == KD_OK)
            stack_redis_args(s->children, folder, args);
    } else if (status == KD_OK) {
        (void)snprintf(threads, sizeof threads, "%d", s->options->threads);
        const stack_told told = {s->options, s->children, s->keys, s->key, threads};
        stack_service_args(&told, which, args);
    }
    if (status == KD_OK)
        status = child_spawn(c, args, err);
    if (status == KD_OK)
        KD_LOG(KD_LOG_INFO, "started", KD_STR("child", c->name), KD_INT("pid", c->pid));
    free(folder);
    return status;
}

/* ---- stack.json ---- */

static json_t *services_json(const supervisor *s)
{
    json_t *const services = json_object();
    for (int i = 0; i < CHILDREN; i++) {
        const child *const c = &s->children[i];
        if (!c->name)
            continue;
        json_t *const one = c->ready ? json_pack("{s:s, s:s, s:i}", "address", c->grpc, "http",
                                           c->http, "pid", (int)c->pid)
                                     : json_pack("{s:s, s:i}", "address", c->grpc, "pid", c->pid);
        (void)json_object_set_new(services, c->name, one);
    }
    return services;
}

static kd_status write_stack(supervisor *s, kd_error *err)
{
    local_stack *const stack = &s->stack;
    (void)kd_copy(stack->gateway, sizeof stack->gateway, s->children[GATEWAY].grpc);
    (void)snprintf(stack->http, sizeof stack->http, "%s://%.*s",
        s->options->tls_cert ? "https" : "http", LOCAL_ADDRESS - 9, s->children[GATEWAY].http);
    (void)kd_copy(stack->redis, sizeof stack->redis, stack_redis_address(s->options, s->children));
    stack->pid = getpid();
    json_t *const root = json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "gateway", stack->gateway,
        "http", stack->http, "redis", stack->redis, "data", s->options->data, "pid",
        (int)stack->pid, "services", services_json(s));
    char *const text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    const kd_status status = text ? kd_file_write(s->stack_file, text, strlen(text), err)
                                  : kd_error_memory(err, "stack.json");
    free(text);
    json_decref(root);
    return status;
}

/* ---- Life and death ---- */

static void describe_end(int wait_status, char *text, size_t size)
{
    if (WIFSIGNALED(wait_status))
        (void)snprintf(text, size, "was killed by signal %d", WTERMSIG(wait_status));
    else
        (void)snprintf(text, size, "ended with exit status %d", WEXITSTATUS(wait_status));
}

/* Before it was ever ready a child may die twice; then, or for wrong usage, the stack fails. */
static kd_status on_death(supervisor *s, child *c, int wait_status, kd_error *err)
{
    const int64_t now = kd_mono_ms();
    const bool wrong_usage = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 2;
    char end[64], words[KD_ERROR_MESSAGE_MAX / 2];
    describe_end(wait_status, end, sizeof end);
    child_last_words(c, words, sizeof words);
    c->pid = 0;
    c->is_ready = false;
    if (s->stopping)
        return KD_OK;
    if (!c->was_ready && (wrong_usage || ++c->deaths == MAX_DEATHS))
        return kd_error_set(err, KD_FAILED_PRECONDITION, "%s %s: %s", c->name, end,
            words[0] != '\0' ? words : "it said nothing");
    if (c->delay_ms == 0 || now - c->started_ms >= LONG_LIFE_MS)
        c->delay_ms = FIRST_DELAY_MS;
    KD_LOG(KD_LOG_WARN, "died", KD_STR("child", c->name), KD_STR("how", end),
        KD_STR("last_words", words), KD_INT("restart_in_ms", c->delay_ms));
    c->start_at_ms = now + c->delay_ms;
    c->delay_ms = c->delay_ms * 2 < MAX_DELAY_MS ? c->delay_ms * 2 : MAX_DELAY_MS;
    return KD_OK;
}

static kd_status reap(supervisor *s, kd_error *err)
{
    int wait_status;
    kd_status status = KD_OK;
    for (pid_t pid; status == KD_OK && (pid = waitpid(-1, &wait_status, WNOHANG)) > 0;) {
        for (int i = 0; i < CHILDREN; i++) {
            if (s->children[i].pid == pid)
                status = on_death(s, &s->children[i], wait_status, err);
        }
    }
    return status;
}

/* Everything that a child of this rank needs was there once; what has gone since then comes back
 * by itself, and the services wait for each other. */
static bool may_start(const supervisor *s, const child *c)
{
    for (int i = 0; i < CHILDREN; i++) {
        const child *const other = &s->children[i];
        if (other->name && other->rank < c->rank && !other->was_ready)
            return false;
    }
    return kd_mono_ms() >= c->start_at_ms;
}

static void on_ready(supervisor *s, child *c)
{
    c->is_ready = true;
    c->was_ready = true;
    KD_LOG(KD_LOG_INFO, "ready", KD_STR("child", c->name), KD_STR("address", c->grpc),
        KD_INT("after_ms", kd_mono_ms() - c->started_ms));
    if (s->is_up)
        s->write_ms = kd_mono_ms();
}

/* A child has a new pid. The disk may be full: again later. */
static void refresh_stack(supervisor *s)
{
    kd_error err = KD_ERROR_INIT;
    if (s->write_ms == 0 || kd_mono_ms() < s->write_ms)
        return;
    s->write_ms = 0;
    if (write_stack(s, &err) != KD_OK) {
        kd_log_error(KD_LOG_WARN, "stack_not_written", &err);
        s->write_ms = kd_mono_ms() + REWRITE_MS;
    }
}

/* A large collection or queue takes its time to load, and killing it half-way would only begin that
 * anew: a child is given up when it gets on with nothing. */
static kd_status wait_on(const supervisor *s, child *c, kd_error *err)
{
    const int64_t now = kd_mono_ms(), age = now - c->started_ms;
    if (child_idle_ms(c) <= s->options->ready_ms && age <= LONGEST_READY_MS) {
        if (now - c->told_ms >= STILL_LOADING_MS && age >= STILL_LOADING_MS) {
            c->told_ms = now;
            KD_LOG(KD_LOG_INFO, "still_loading", KD_STR("child", c->name), KD_INT("for_ms", age));
        }
        return KD_OK;
    }
    if (!c->was_ready)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "%s is not ready after %lld s; its log is %s", c->name, (long long)age / 1000, c->log);
    KD_LOG(KD_LOG_ERROR, "not_ready", KD_STR("child", c->name), KD_INT("after_ms", age));
    (void)kill(c->pid, SIGKILL); /* its death starts it again */
    return KD_OK;
}

/* A step in the life of each child. Once the stack is up nothing here ends it. */
static kd_status advance(supervisor *s, kd_error *err)
{
    for (int i = 0; i < CHILDREN; i++) {
        child *const c = &s->children[i];
        kd_status status = KD_OK;
        if (!c->name || c->is_ready)
            continue;
        if (c->pid == 0 && may_start(s, c))
            status = start_child(s, i, err);
        else if (c->pid != 0 && child_answers(c))
            on_ready(s, c);
        else if (c->pid != 0)
            status = wait_on(s, c, err);
        if (status != KD_OK && !s->is_up)
            return status;
        if (status != KD_OK) {
            kd_log_error(KD_LOG_ERROR, "restart_failed", err);
            c->start_at_ms = kd_mono_ms() + MAX_DELAY_MS;
        }
    }
    return KD_OK;
}

static bool all_ready(const supervisor *s)
{
    for (int i = 0; i < CHILDREN; i++) {
        if (s->children[i].name && !s->children[i].is_ready)
            return false;
    }
    return true;
}

/* ---- Waiting ---- */

static kd_status open_signals(supervisor *s, kd_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals >= 0 ? KD_OK : kd_error_errno(err, errno, "cannot wait for signals");
}

/* Waits for a signal, at most ms (-1: for good), and notes those that ask for the end. */
static void wait_signals(supervisor *s, int ms)
{
    struct signalfd_siginfo info;
    (void)poll(&(struct pollfd){.fd = s->signals, .events = POLLIN}, 1, ms);
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        KD_LOG(KD_LOG_INFO, "asked_to_end", KD_STR("signal", strsignal((int)info.ssi_signo)));
        s->hurry = s->stopping;
        s->stopping = true;
    }
}

/* Until something is due: -1 when all is well. */
static int next_ms(const supervisor *s)
{
    int64_t next = s->write_ms != 0 ? REWRITE_MS : -1;
    for (int i = 0; i < CHILDREN; i++) {
        const child *const c = &s->children[i];
        if (!c->name || c->is_ready)
            continue;
        const int64_t wait = c->start_at_ms - kd_mono_ms();
        const int64_t due = c->pid == 0 && wait > TICK_MS ? wait : TICK_MS;
        next = next < 0 || due < next ? due : next;
    }
    return (int)next;
}

/* ---- The end ---- */

static bool any_of_rank(const supervisor *s, int rank)
{
    for (int i = 0; i < CHILDREN; i++) {
        if (s->children[i].pid != 0 && s->children[i].rank == rank)
            return true;
    }
    return false;
}

static void signal_rank(const supervisor *s, int rank, int number)
{
    for (int i = 0; i < CHILDREN; i++) {
        if (s->children[i].pid != 0 && s->children[i].rank == rank)
            (void)kill(s->children[i].pid, number);
    }
}

/* In reverse order, so that each can still reach what it needs while it drains. */
static void end_children(supervisor *s)
{
    s->stopping = true;
    for (int rank = LAST_RANK; rank >= 0; rank--) {
        const int64_t until = kd_mono_ms() + LOCAL_GRACE_MS;
        signal_rank(s, rank, SIGTERM);
        while (any_of_rank(s, rank)) {
            const int64_t left = until - kd_mono_ms();
            if (left <= 0 || s->hurry)
                signal_rank(s, rank, SIGKILL);
            wait_signals(s, left > 0 && !s->hurry ? (int)left : LOCAL_GRACE_MS);
            (void)reap(s, NULL); /* can't fail while stopping */
        }
    }
}

/* ---- The whole ---- */

/* A new key for each life of the stack: services have it from a file, which nobody but its owner
 * reads. The file of API keys is there from the beginning, so that the first key counts at once. */
static kd_status make_keys(supervisor *s, kd_error *err)
{
    char text[KD_KEY_TEXT];
    s->keys = kd_format("%s/" KD_KEYS_FILE, s->options->data);
    s->key = kd_format("%s/" KD_SERVICE_KEY, s->options->data);
    kd_status status =
        s->keys && s->key ? kd_keys_make(s->keys, err) : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = kd_key_make(text, err);
    if (status == KD_OK)
        status = kd_key_write(s->key, text, err);
    return status;
}

static kd_status init(supervisor *s, const stack_options *options, kd_error *err)
{
    static const char *const names[CHILDREN] = {
        "redis", "embedder", "indexer", "trainer", "gateway"};
    static const int ranks[CHILDREN] = {0, 1, 1, 1, LAST_RANK};
    *s = (supervisor){.options = options, .signals = -1};
    s->stack_file = local_path(options->data, "stack.json");
    if (!s->stack_file)
        return kd_error_memory(err, "a path");
    const kd_status made = make_keys(s, err);
    if (made != KD_OK)
        return made;
    for (int i = options->redis ? EMBEDDER : REDIS; i < CHILDREN; i++) {
        child *const c = &s->children[i];
        const kd_status status = child_init(c, names[i], ranks[i], options->data, err);
        if (status != KD_OK)
            return status;
        (void)kd_copy(c->grpc, sizeof c->grpc, i == GATEWAY ? options->listen : "127.0.0.1:0");
        (void)kd_copy(c->http, sizeof c->http, i == GATEWAY ? options->http : "127.0.0.1:0");
    }
    return open_signals(s, err);
}

static kd_status run(supervisor *s, stack_is_up is_up, void *arg, kd_error *err)
{
    while (!s->stopping) {
        kd_status status = reap(s, err);
        if (status == KD_OK)
            status = advance(s, err);
        if (status == KD_OK && !s->is_up && all_ready(s)) {
            status = write_stack(s, err);
            s->is_up = true;
            if (status == KD_OK && !is_up(arg, &s->stack))
                return KD_OK;
        }
        if (status != KD_OK)
            return status;
        refresh_stack(s);
        wait_signals(s, next_ms(s));
    }
    return s->is_up ? KD_OK : kd_error_set(err, KD_CANCELLED, "ended before all services were up");
}

/* The lock of the stack, and nothing left of an earlier one. */
static kd_status take_over(const stack_options *options, kd_lock **lock, kd_error *err)
{
    unsigned ended = 0;
    char *const path = local_path(options->data, "stack.lock");
    char *const stack_file = local_path(options->data, "stack.json");
    kd_status status;
    if (!path || !stack_file) {
        status = kd_error_memory(err, "a path");
        goto out;
    }
    status = kd_lock_acquire(lock, path, err);
    if (status == KD_FAILED_PRECONDITION)
        status = kd_error_set(err, status, "a stack runs already on %s (pid %d)", options->data,
            (int)kd_lock_holder(path));
    if (status == KD_OK) {
        (void)unlink(stack_file);
        status = local_end_orphans(options->data, &ended, err);
    }
    if (ended > 0)
        KD_LOG(KD_LOG_WARN, "ended_orphans", KD_INT("processes", ended));
out:
    free(stack_file);
    free(path);
    return status;
}

kd_status supervisor_run(const stack_options *options, stack_is_up is_up, void *arg, kd_error *err)
{
    supervisor s;
    kd_lock *lock = NULL;
    kd_status status = take_over(options, &lock, err);
    if (status != KD_OK) {
        kd_lock_release(lock);
        return status;
    }
    status = init(&s, options, err);
    if (status == KD_OK) {
        status = run(&s, is_up, arg, err);
        end_children(&s);
        (void)unlink(s.stack_file);
        (void)close(s.signals);
    }
    for (int i = 0; i < CHILDREN; i++)
        child_clear(&s.children[i]);
    free(s.stack_file);
    free(s.keys);
    free(s.key);
    kd_lock_release(lock);
    return status;
}
