#include "lib/service/process.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "kindred/v1/process.pb-c.h"
#include "lib/base/buf.h"
#include "lib/base/log.h"
#include "lib/service/vitals.h"

/* Takes the folder's disk when it has less room than the one before. */
static void look(const char *path, kd_disk *least)
{
    struct statvfs disk;
    if (statvfs(path, &disk) != 0)
        return;
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize; /* without root's share */
    if (least->total_bytes > 0 && free_bytes >= least->free_bytes)
        return;
    (void)kd_copy(least->path, sizeof least->path, path);
    least->free_bytes = free_bytes;
    least->total_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
}

void kd_disk_least(const char *data_dir, kd_disk *out)
{
    static const char *const folders[] = {
        "models", "runs", "collections", "snapshots", "reports", "redis"};
    char path[sizeof out->path];
    struct stat whole, part;
    *out = (kd_disk){.path = ""};
    look(data_dir, out);
    if (stat(data_dir, &whole) != 0)
        return;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", data_dir, folders[i]);
        if (stat(path, &part) == 0 && part.st_dev != whole.st_dev)
            look(path, out);
    }
}

static void get_process(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const kd_process *const process = state;
    Kindred__V1__GetProcessResponse response = KINDRED__V1__GET_PROCESS_RESPONSE__INIT;
    kd_disk disk;
    (void)message;
    kd_disk_least(process->data_dir, &disk);
    response.version = (char *)KD_VERSION;
    response.disk_path = disk.path;
    response.disk_free_bytes = disk.free_bytes;
    response.disk_total_bytes = disk.total_bytes;
    response.log_level = (char *)kd_log_level_word();
    response.started_unix_ms = process->started_ms;
    response.memory_bytes = kd_resident_bytes();
    kd_call_reply(call, &response.base);
}

void kd_process_set_log_level(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const kd_process *const process = state;
    const Kindred__V1__SetLogLevelRequest *const request =
        (const Kindred__V1__SetLogLevelRequest *)message;
    Kindred__V1__SetLogLevelResponse response = KINDRED__V1__SET_LOG_LEVEL_RESPONSE__INIT;
    kd_log_level level;
    kd_error err;
    if (request->service[0] != '\0' && strcmp(request->service, process->name) != 0) {
        (void)kd_error_set(&err, KD_INVALID_ARGUMENT, "this is the %s, not '%.80s'", process->name,
            request->service);
        kd_call_fail(call, &err);
        return;
    }
    if (!kd_log_level_parse(request->level, &level)) {
        (void)kd_error_set(&err, KD_INVALID_ARGUMENT,
            "'%.80s' is not a log level: there are debug, info, warn and error", request->level);
        kd_call_fail(call, &err);
        return;
    }
    response.previous_level = (char *)kd_log_level_word();
    kd_log_set_level(level);
    /* At each level: who reads the log must know why it says less. */
    KD_LOG(level > KD_LOG_INFO ? level : KD_LOG_INFO, "log_level", KD_STR("level", request->level),
        KD_STR("was", response.previous_level));
    kd_call_reply(call, &response.base);
}

kd_status kd_process_add(kd_process *process, kd_error *err)
{
    /* A disk that is a network's may keep its caller waiting. */
    static const kd_method methods[] = {
        {"GetProcess", get_process, true}, {"SetLogLevel", kd_process_set_log_level, false}};
    return kd_server_add(
        process->server, &kindred__v1__process_service__descriptor, methods, 2, process, err);
}
