/* The strips of a report, as report.json names them. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"
#include "services/gateway/rows.h"

typedef struct fetching {
    kd_channel *channel;
    const char *job_id, *dir;
    size_t n;
} fetching;

static kd_status fetch_one(fetching *f, const char *name, kd_error *err)
{
    Kindred__V1__GetReportRequest request = KINDRED__V1__GET_REPORT_REQUEST__INIT;
    uint64_t bytes;
    if (!is_strip_name(name)) /* a server that would have us write elsewhere */
        return kd_error_set(err, KD_DATA_LOSS, "the report names a strip '%.200s'", name);
    request.job_id = (char *)(uintptr_t)f->job_id;
    request.file = (char *)(uintptr_t)name;
    char *const path = cli_must(kd_format("%s/%s", f->dir, name));
    const kd_status status =
        cli_fetch(f->channel, CLI_GATEWAY, "GetReport", &request.base, path, &bytes, err);
    free(path);
    f->n += status == KD_OK;
    return status;
}

/* Wherever in the report rows have strips: it may hold more than one evaluation. */
static kd_status fetch_all(fetching *f, const json_t *value, kd_error *err)
{
    kd_status status = KD_OK;
    const char *key;
    const json_t *part;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)value, key, part)
    {
        if (status == KD_OK && strcmp(key, "strip") == 0 && json_is_string(part))
            status = fetch_one(f, json_string_value(part), err);
        else if (status == KD_OK)
            status = fetch_all(f, part, err);
    }
    json_array_foreach(value, i, part)
    {
        if (status == KD_OK)
            status = fetch_all(f, part, err);
    }
    return status;
}

kd_status cli_fetch_strips(
    kd_channel *channel, const char *job_id, const char *dir, size_t *n, kd_error *err)
{
    fetching f = {channel, job_id, dir, 0};
    json_error_t fault;
    char *const listing = cli_must(kd_format("%s/report.json", dir));
    char *const rows = cli_must(kd_format("%s/rows", dir));
    json_t *const report = json_load_file(listing, 0, &fault);
    kd_status status = report ? kd_make_dirs(rows, err)
                              : kd_error_set(err, KD_DATA_LOSS, "%s: %s", listing, fault.text);
    if (status == KD_OK)
        status = fetch_all(&f, report, err);
    *n = f.n;
    json_decref(report);
    free(rows);
    free(listing);
    return status;
}
