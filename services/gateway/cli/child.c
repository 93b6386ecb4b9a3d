#include "services/gateway/cli/child.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

#define ARGS_MAX 128
#define READY_FILE_MAX 4096u
#define LAST_WORDS_MAX 4096
#define REDIS_SECONDS 2
/* What counts as loading rather than waiting, from one look to the next. */
#define LOOK_MS 1000
#define BUSY_TICKS 2u /* of the processor, mostly 10 ms each */
#define BUSY_BYTES ((uint64_t)64 << 10)

extern char **environ;

kd_status child_init(child *c, const char *name, int rank, const char *data_dir, kd_error *err)
{
    const bool is_redis = strcmp(name, "redis") == 0;
    char file[64];
    *c = (child){.name = name, .rank = rank};
    (void)snprintf(file, sizeof file, "log/%s.log", name);
    c->log = local_path(data_dir, file);
    (void)snprintf(file, sizeof file, is_redis ? "%s.pid" : "%s.ready", name);
    char *const mark = local_path(data_dir, file);
    if (is_redis)
        c->pid_file = mark;
    else
        c->ready = mark;
    if (!c->log || !mark)
        return kd_error_memory(err, "a path");
    (void)snprintf(file, sizeof file, is_redis ? "%s-server" : "kindred-%s", name);
    return local_program(file, &c->program, err);
}

void child_clear(child *c)
{
    free(c->program);
    free(c->log);
    free(c->ready);
    free(c->pid_file);
    *c = (child){0};
}

/* The supervisor blocks signals and ignores SIGPIPE: a child begins with neither. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    int errnum = posix_spawnattr_setsigmask(attributes, &none);
    if (errnum == 0)
        errnum = posix_spawnattr_setsigdefault(attributes, &defaults);
    if (errnum == 0)
        errnum = posix_spawnattr_setpgroup(attributes, 0);
    if (errnum == 0)
        errnum = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    return errnum;
}

static int spawn(child *c, int log, char *const *argv)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int errnum = posix_spawn_file_actions_init(&actions);
    if (errnum != 0)
        return errnum;
    errnum = posix_spawnattr_init(&attributes);
    if (errnum != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return errnum;
    }
    errnum = set_attributes(&attributes);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_adddup2(&actions, log, STDOUT_FILENO);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_adddup2(&actions, log, STDERR_FILENO);
    if (errnum == 0)
        errnum = posix_spawn(&c->pid, c->program, &actions, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return errnum;
}

kd_status child_spawn(child *c, const char *const *args, kd_error *err)
{
    char *argv[ARGS_MAX];
    size_t n = 0;
    argv[n++] = c->program;
    /* posix_spawn takes char *const[] for exec's sake and changes no string. */
    for (; *args && n < ARGS_MAX - 1; args++)
        argv[n++] = (char *)(uintptr_t)*args;
    argv[n] = NULL;

    const int log = open(c->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (log < 0)
        return kd_error_errno(err, errno, "cannot open %s", c->log);
    struct stat info;
    c->log_start = fstat(log, &info) == 0 ? info.st_size : 0;
    if (c->ready)
        (void)unlink(c->ready);
    c->is_ready = false;
    c->started_ms = c->looked_ms = c->busy_ms = kd_mono_ms();
    c->cpu_ticks = c->bytes_read = 0;
    const int errnum = spawn(c, log, argv);
    (void)close(log);
    if (errnum != 0) {
        c->pid = 0;
        return kd_error_errno(err, errnum, "cannot run %s", c->program);
    }
    if (!c->pid_file)
        return KD_OK;
    char text[16];
    const int len = snprintf(text, sizeof text, "%d", (int)c->pid);
    return kd_file_write(c->pid_file, text, (size_t)len, err);
}

/* A ready file of another process is one that a killed service left behind. */
static bool service_answers(child *c)
{
    kd_buf text = KD_BUF_INIT;
    bool ready = false;
    if (kd_file_read(c->ready, READY_FILE_MAX, &text, NULL) == KD_OK) {
        json_t *const root = json_loadb((const char *)text.data, text.len, 0, NULL);
        const char *const grpc = json_string_value(json_object_get(root, "grpc"));
        const char *const http = json_string_value(json_object_get(root, "http"));
        ready = grpc && http && json_integer_value(json_object_get(root, "pid")) == c->pid &&
                kd_copy(c->grpc, sizeof c->grpc, grpc) && kd_copy(c->http, sizeof c->http, http);
        json_decref(root);
    }
    kd_buf_free(&text);
    return ready;
}

bool child_answers(child *c)
{
    return c->ready ? service_answers(c) : redis_answers(c->grpc, c->pid, NULL) == KD_OK;
}

/* /proc/PID/NAME as a string; false when it can't be read. */
static bool read_proc(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const ssize_t len = read(fd, text, size - 1);
    (void)close(fd);
    text[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* The n-th word behind `at`, a number; 0 where there is none. */
static uint64_t number_at(const char *at, unsigned n)
{
    for (; at && n > 1; n--)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

int64_t child_idle_ms(child *c)
{
    const int64_t now = kd_mono_ms();
    char text[1024];
    uint64_t ticks = 0, bytes = 0;
    if (now - c->looked_ms < LOOK_MS)
        return now - c->busy_ms;
    c->looked_ms = now;
    if (read_proc(c->pid, "stat", text, sizeof text)) {
        /* proc(5): the 14th and 15th field; the second, a name, may hold anything. */
        const char *const behind = strrchr(text, ')');
        ticks = number_at(behind, 13) + number_at(behind, 14);
    }
    if (read_proc(c->pid, "io", text, sizeof text))
        bytes = number_at(text, 2); /* "rchar: 123" */
    if (ticks >= c->cpu_ticks + BUSY_TICKS || bytes >= c->bytes_read + BUSY_BYTES)
        c->busy_ms = now;
    c->cpu_ticks = ticks;
    c->bytes_read = bytes;
    return now - c->busy_ms;
}

kd_status redis_answers(const char *address, pid_t pid, kd_error *err)
{
    char host[LOCAL_ADDRESS];
    uint64_t port = 0;
    const char *const colon = strrchr(address, ':');
    if (!colon || !kd_copy(host, sizeof host, address) || !kd_parse_u64(colon + 1, 1, 65535, &port))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "'%s' is not HOST:PORT", address);
    host[colon - address] = '\0';

    kd_status status = KD_OK;
    const struct timeval patience = {.tv_sec = REDIS_SECONDS};
    redisReply *reply = NULL;
    redisContext *const context = redisConnectWithTimeout(host, (int)port, patience);
    if (context && !context->err && redisSetTimeout(context, patience) == REDIS_OK)
        reply = redisCommand(context, "INFO");
    if (!reply) {
        status = kd_error_set(err, KD_UNAVAILABLE, "no Redis answers at %s: %s", address,
            context ? context->errstr : "no memory");
    } else if (reply->type != REDIS_REPLY_STRING) {
        status = kd_error_set(err, KD_UNAVAILABLE, "Redis at %s: %s", address, reply->str);
    } else {
        char line[48];
        (void)snprintf(line, sizeof line, "process_id:%d\r", (int)pid);
        if ((pid != 0 && !strstr(reply->str, line)) || !strstr(reply->str, "\nloading:0\r"))
            status = kd_error_set(err, KD_UNAVAILABLE, "Redis at %s is not ready", address);
    }
    freeReplyObject(reply);
    redisFree(context);
    return status;
}

kd_status free_address(char address[LOCAL_ADDRESS], kd_error *err)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t len = sizeof any;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0 ||
        getsockname(fd, (struct sockaddr *)&any, &len) != 0) {
        const int errnum = errno;
        if (fd >= 0)
            (void)close(fd);
        return kd_error_errno(err, errnum, "no free port on 127.0.0.1");
    }
    (void)close(fd);
    (void)snprintf(address, LOCAL_ADDRESS, "127.0.0.1:%u", (unsigned)ntohs(any.sin_port));
    return KD_OK;
}

/* The error of a service's log line (lib/base/log.h writes it last), else the line as it is. */
static void copy_error(char *line, char *text, size_t size)
{
    json_t *const object = json_loads(line, 0, NULL);
    const char *said = json_string_value(json_object_get(object, "error"));
    char *const field = said ? NULL : strstr(line, " error=");
    json_t *value = NULL;
    if (field) {
        said = field + strlen(" error=");
        value = json_loads(said, JSON_DECODE_ANY, NULL); /* quoted values are JSON strings */
        if (json_is_string(value))
            said = json_string_value(value);
    }
    (void)kd_copy(text, size, said ? said : line);
    json_decref(value);
    json_decref(object);
}

void child_last_words(const child *c, char *text, size_t size)
{
    char tail[LAST_WORDS_MAX + 1];
    struct stat info;
    ssize_t len = 0;
    text[0] = '\0';
    const int fd = open(c->log, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &info) == 0) {
        const off_t last = info.st_size - LAST_WORDS_MAX;
        len = pread(fd, tail, LAST_WORDS_MAX, last > c->log_start ? last : c->log_start);
    }
    (void)close(fd);
    while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == '\r'))
        len--;
    if (len <= 0)
        return;
    tail[len] = '\0';
    char *const newline = memrchr(tail, '\n', (size_t)len);
    copy_error(newline ? newline + 1 : tail, text, size);
}
