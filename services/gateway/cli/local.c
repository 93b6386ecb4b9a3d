#include "services/gateway/cli/local.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"

#define STACK_FILE_MAX 65536u

char *local_path(const char *data_dir, const char *name)
{
    return kd_format("%s/run/%s", data_dir, name);
}

/* Copies the string member of a JSON object; false when it is missing or too long. */
static bool take_text(const json_t *object, const char *key, char *to, size_t size)
{
    const char *const text = json_string_value(json_object_get(object, key));
    return text && kd_copy(to, size, text);
}

static kd_status parse_stack(
    const char *path, const kd_buf *text, pid_t holder, local_stack *out, kd_error *err)
{
    json_t *const root = json_loadb((const char *)text->data, text->len, 0, NULL);
    const bool whole = take_text(root, "gateway", out->gateway, sizeof out->gateway) &&
                       take_text(root, "http", out->http, sizeof out->http) &&
                       take_text(root, "redis", out->redis, sizeof out->redis);
    const json_int_t pid = json_integer_value(json_object_get(root, "pid"));
    json_decref(root);
    if (!whole)
        return kd_error_set(err, KD_DATA_LOSS, "%s is damaged", path);
    if (pid != holder)
        return kd_error_set(err, KD_UNAVAILABLE, "%s is from an earlier stack", path);
    out->pid = holder;
    return KD_OK;
}

kd_status local_read(const char *data_dir, local_stack *out, kd_error *err)
{
    kd_buf text = KD_BUF_INIT;
    char *const lock = local_path(data_dir, "stack.lock");
    char *const path = local_path(data_dir, "stack.json");
    kd_status status = KD_OK;

    *out = (local_stack){0};
    if (!lock || !path) {
        status = kd_error_memory(err, "a path");
        goto out;
    }
    const pid_t holder = kd_lock_holder(lock);
    if (holder == 0) {
        status = kd_error_set(
            err, KD_UNAVAILABLE, "no stack runs on %s; start one with `kindred up`", data_dir);
        goto out;
    }
    status = kd_file_read(path, STACK_FILE_MAX, &text, err);
    if (status == KD_NOT_FOUND)
        status =
            kd_error_set(err, KD_UNAVAILABLE, "the stack on %s is starting or ending", data_dir);
    if (status == KD_OK)
        status = parse_stack(path, &text, holder, out, err);
out:
    kd_buf_free(&text);
    free(path);
    free(lock);
    return status;
}

size_t local_services(const char *data_dir, local_service found[LOCAL_SERVICES])
{
    kd_buf text = KD_BUF_INIT;
    json_t *root = NULL, *one;
    const char *name;
    size_t n = 0;
    char *const path = local_path(data_dir, "stack.json");
    if (path && kd_file_read(path, STACK_FILE_MAX, &text, NULL) == KD_OK)
        root = json_loadb((const char *)text.data, text.len, 0, NULL);
    json_object_foreach(json_object_get(root, "services"), name, one)
    {
        if (n < LOCAL_SERVICES && kd_copy(found[n].name, sizeof found[n].name, name) &&
            take_text(one, "address", found[n].address, sizeof found[n].address))
            n++;
    }
    json_decref(root);
    kd_buf_free(&text);
    free(path);
    return n;
}

kd_status local_program(const char *name, char **out, kd_error *err)
{
    char self[PATH_MAX];
    *out = NULL;
    const ssize_t len = readlink("/proc/self/exe", self, sizeof self);
    const char *const slash = len > 0 ? memrchr(self, '/', (size_t)len) : NULL;
    const int folder_len = slash ? (int)(slash - self) : 0;
    const char *path = getenv("PATH");
    char *const places = kd_format("%.*s:%s", folder_len, self, path ? path : "/usr/bin:/bin");
    if (!places)
        return kd_error_memory(err, "a path");
    char *rest = NULL;
    for (char *at = strtok_r(places, ":", &rest); at; at = strtok_r(NULL, ":", &rest)) {
        char *const file = kd_format("%s/%s", at, name);
        if (file && kd_is_file(file) && access(file, X_OK) == 0) {
            *out = file;
            break;
        }
        free(file);
    }
    free(places);
    if (!*out)
        return kd_error_set(err, KD_NOT_FOUND, "the program %s is neither in %.*s nor on PATH",
            name, folder_len, self);
    return KD_OK;
}

kd_status local_end_process(pid_t pid, int64_t grace_ms, kd_error *err)
{
    const int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return errno == ESRCH ? KD_OK : kd_error_errno(err, errno, "cannot end process %d", pid);
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    kd_status status = KD_OK;
    if (pidfd_send_signal(fd, SIGTERM, NULL, 0) != 0 && errno != ESRCH)
        status = kd_error_errno(err, errno, "cannot end process %d", pid);
    else if (poll(&ended, 1, (int)grace_ms) == 0 && pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0)
        (void)poll(&ended, 1, (int)grace_ms);
    (void)close(fd);
    return status;
}

/* The private redis-server holds no lock of ours. Its pid file is believed when that process is a
 * redis-server that works in this data folder. 0: none. */
static pid_t redis_holder(const char *data_dir)
{
    kd_buf text = KD_BUF_INIT;
    uint64_t pid = 0;
    char link[64], cwd[PATH_MAX], folder[PATH_MAX], comm[32] = "";
    char *const pid_file = local_path(data_dir, "redis.pid");
    char *const data = kd_format("%s/redis", data_dir);
    bool ours = pid_file && data && kd_file_read(pid_file, 32, &text, NULL) == KD_OK &&
                kd_parse_u64((const char *)text.data, 2, INT_MAX, &pid) && realpath(data, folder);
    if (ours) {
        (void)snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
        const ssize_t len = readlink(link, cwd, sizeof cwd - 1);
        cwd[len > 0 ? len : 0] = '\0';
        (void)snprintf(link, sizeof link, "/proc/%d/comm", (int)pid);
        FILE *const file = fopen(link, "re");
        ours = strcmp(cwd, folder) == 0 && file && fgets(comm, sizeof comm, file) &&
               strncmp(comm, "redis-server", 12) == 0;
        if (file)
            (void)fclose(file);
    }
    kd_buf_free(&text);
    free(data);
    free(pid_file);
    return ours ? (pid_t)pid : 0;
}

kd_status local_end_orphans(const char *data_dir, unsigned *ended, kd_error *err)
{
    static const char *const locks[] = {
        "gateway.lock", "trainer.lock", "indexer.lock", "embedder.lock"};
    kd_status status = KD_OK;
    *ended = 0;
    for (size_t i = 0; i <= sizeof locks / sizeof locks[0] && status == KD_OK; i++) {
        pid_t pid;
        if (i < sizeof locks / sizeof locks[0]) {
            char *const path = local_path(data_dir, locks[i]);
            if (!path)
                return kd_error_memory(err, "a path");
            pid = kd_lock_holder(path);
            free(path);
        } else {
            pid = redis_holder(data_dir); /* last: the services write to it until they end */
        }
        if (pid > 0) {
            status = local_end_process(pid, LOCAL_GRACE_MS, err);
            (*ended)++;
        }
    }
    return status;
}
