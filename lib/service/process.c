#include "lib/service/process.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "kindred/v1/process.pb-c.h"
#include "lib/base/buf.h"

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
    kd_call_reply(call, &response.base);
}

kd_status kd_process_add(kd_process *process, kd_error *err)
{
    /* A disk that is a network's may keep its caller waiting. */
    static const kd_method methods[] = {{"GetProcess", get_process, true}};
    return kd_server_add(
        process->server, &kindred__v1__process_service__descriptor, methods, 1, process, err);
}
