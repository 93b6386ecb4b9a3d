/* kindred doctor: the services, their versions, Redis, the disk and the jobs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "services/gateway/cli/doctor.h"

#define MB 1000000u
#define DISK_FULL (500u * MB)            /* no training, and soon no upsert */
#define DISK_LOW ((uint64_t)20000u * MB) /* … and less than a tenth: a small disk is no fault */
#define WEEK_MS (7 * 24 * 3600 * INT64_C(1000))
#define STUCK_MS 60000 /* a worker that is idle takes a job within a second or so */

/* ---- Services ---- */

static const Kindred__V1__ServiceStatus *find(const doctor *d, const char *name)
{
    for (size_t i = 0; i < d->stack->n_services; i++)
        if (strcmp(d->stack->services[i]->name, name) == 0)
            return d->stack->services[i];
    return NULL;
}

char *doctor_restart_advice(const char *data, const char *name)
{
    if (data)
        return cli_must(kd_format("See why in %s/run/log/%s.log; `kindred down` and `kindred up` "
                                  "start it again.",
            data, name));
    if (strcmp(name, "redis") == 0)
        return cli_must(strdup("Start Redis, or give the services the address of one that runs "
                               "(--redis)."));
    return cli_must(kd_format("Start kindred-%s where it runs and see its log for why it ended; "
                              "the gateway looks for it at this address.",
        name));
}

static bool check_service(doctor *d, const char *name, const char *line)
{
    const Kindred__V1__ServiceStatus *const one = find(d, name);
    char *const advice = doctor_restart_advice(d->data, name);
    const bool serves = one && one->serving;
    const bool named = one && strstr(one->detail, one->address);
    if (!one)
        doctor_say(d, DOCTOR_FAIL, line, "Run this gateway's own version of `kindred doctor`.",
            "the gateway says nothing of it");
    else if (!serves)
        doctor_say(d, DOCTOR_FAIL, line, advice, "%s%s%s", named ? "" : one->address,
            named ? "" : ": ", one->detail);
    else if (strcmp(name, "redis") == 0)
        doctor_say(d, DOCTOR_OK, line, NULL,
            "Redis at %s answers; %llu trainings and %llu other jobs wait", one->address,
            (unsigned long long)d->stack->train_queue, (unsigned long long)d->stack->gateway_queue);
    else
        doctor_say(d, DOCTOR_OK, line, NULL, "%s serves", one->address);
    free(advice);
    return serves;
}

static void check_versions(doctor *d)
{
    kd_buf seen = KD_BUF_INIT;
    bool differ = strcmp(d->stack->version, KD_VERSION) != 0;
    kd_buf_printf(&seen, "command %s, gateway %s", KD_VERSION, d->stack->version);
    for (size_t i = 0; i < d->stack->n_services; i++) {
        const Kindred__V1__ServiceStatus *const one = d->stack->services[i];
        if (!one->serving || strcmp(one->name, "redis") == 0 || strcmp(one->name, "gateway") == 0)
            continue;
        const bool said = one->version[0] != '\0';
        kd_buf_printf(&seen, ", %s %s", one->name, said ? one->version : "unknown");
        differ |= strcmp(one->version, KD_VERSION) != 0;
    }
    cli_must(kd_buf_ok(&seen) ? seen.data : NULL);
    if (differ)
        doctor_say(d, DOCTOR_WARN, "versions",
            "Install one version of kindred everywhere and start the services again.", "%s",
            (const char *)seen.data);
    else
        doctor_say(d, DOCTOR_OK, "versions", NULL, "%s everywhere", KD_VERSION);
    kd_buf_free(&seen);
}

/* ---- Disk ---- */

doctor_state doctor_disk_state(const Kindred__V1__ServiceStatus *one)
{
    if (one->disk_free_bytes < DISK_FULL)
        return DOCTOR_FAIL;
    const bool low =
        one->disk_free_bytes < DISK_LOW && one->disk_free_bytes < one->disk_total_bytes / 10;
    return low ? DOCTOR_WARN : DOCTOR_OK;
}

const Kindred__V1__ServiceStatus *doctor_least_disk(const Kindred__V1__GetStatusResponse *stack)
{
    const Kindred__V1__ServiceStatus *least = NULL;
    for (size_t i = 0; i < stack->n_services; i++) {
        const Kindred__V1__ServiceStatus *const one = stack->services[i];
        if (one->disk_total_bytes > 0 && (!least || one->disk_free_bytes < least->disk_free_bytes))
            least = one;
    }
    return least;
}

static void check_disk(doctor *d)
{
    const Kindred__V1__ServiceStatus *const least = doctor_least_disk(d->stack);
    char free_text[CLI_TEXT], total[CLI_TEXT];
    if (!least) {
        doctor_say(d, DOCTOR_SKIP, "disk", NULL, "no service says how much room it has");
        return;
    }
    const doctor_state state = doctor_disk_state(least);
    doctor_say(d, state, "disk", state == DOCTOR_OK ? NULL : DOCTOR_DISK_ADVICE,
        "%s of %s free for %s (%s)", cli_bytes(least->disk_free_bytes, free_text),
        cli_bytes(least->disk_total_bytes, total), least->disk_path, least->name);
}

void doctor_services(doctor *d)
{
    doctor_say(d, DOCTOR_OK, "gateway", NULL, "%s serves", kd_channel_address(d->channel));
    d->embedder = check_service(d, "embedder", "embedder");
    d->indexer = check_service(d, "indexer", "indexer");
    d->trainer = check_service(d, "trainer", "trainer");
    check_versions(d);
    d->redis = check_service(d, "redis", "queue");
    check_disk(d);
}

/* ---- Jobs ---- */

/* The queue of the trainer, and that of the gateway. */
enum { QUEUE_TRAIN, QUEUE_GATEWAY, QUEUES };

typedef struct jobs {
    int64_t now_ms;
    uint64_t failed, dead;                  /* in the last week */
    uint64_t running[QUEUES], late[QUEUES]; /* late: waits for longer than it should */
    char late_ids[QUEUES][64];              /* the oldest of each */
    char failed_id[64];                     /* the newest */
} jobs;

static bool take_job(void *arg, const ProtobufCMessage *item)
{
    jobs *const j = arg;
    const Kindred__V1__Job *const job = (const Kindred__V1__Job *)item;
    const int queue = strcmp(job->kind, "train") == 0 ? QUEUE_TRAIN : QUEUE_GATEWAY;
    switch (job->state) {
    case KINDRED__V1__JOB_STATE__JOB_STATE_FAILED:
        if (j->now_ms - job->finished_unix_ms > WEEK_MS)
            break;
        if (j->failed++ == 0)
            (void)kd_copy(j->failed_id, sizeof j->failed_id, job->id);
        j->dead += job->dead != 0;
        break;
    case KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING:
        j->running[queue]++;
        break;
    case KINDRED__V1__JOB_STATE__JOB_STATE_QUEUED:
        if (j->now_ms - job->created_unix_ms <= STUCK_MS)
            break;
        j->late[queue]++;
        (void)kd_copy(j->late_ids[queue], sizeof j->late_ids[queue], job->id);
        break;
    default:
        break;
    }
    return true;
}

void doctor_jobs(doctor *d)
{
    Kindred__V1__ListJobsRequest request = KINDRED__V1__LIST_JOBS_REQUEST__INIT;
    const cli_pages pages = {
        .service = DOCTOR_GATEWAY, .method = "ListJobs", .field = "jobs", .timeout_ms = DOCTOR_MS};
    jobs j = {.now_ms = kd_wall_ms()};
    kd_error err = KD_ERROR_INIT;
    if (!d->redis) {
        doctor_say(d, DOCTOR_SKIP, "jobs", NULL, "Redis, which holds them, does not answer");
        return;
    }
    if (cli_each(d->channel, &pages, &request.base, take_job, &j, &err) != KD_OK) {
        doctor_say_error(d, "jobs", "See the gateway's log.", &err);
        return;
    }
    const unsigned long long running = j.running[QUEUE_TRAIN] + j.running[QUEUE_GATEWAY];
    int stuck = 0;
    while (stuck < QUEUES && (j.late[stuck] == 0 || j.running[stuck] > 0))
        stuck++;
    if (stuck < QUEUES)
        doctor_say(d, DOCTOR_WARN, "jobs",
            "See `kindred job list --state queued` and the log of who should take them; it takes "
            "them when it is started again.",
            "%llu wait for over a minute, %s the longest, while the %s runs none",
            (unsigned long long)j.late[stuck], j.late_ids[stuck],
            stuck == QUEUE_TRAIN ? "trainer" : "gateway");
    else if (j.failed > 0)
        doctor_say(d, DOCTOR_WARN, "jobs",
            "See `kindred job list --state failed` (`--dead` for those given up) and `kindred job "
            "show ID`; `kindred job retry ID` tries one again.",
            "%llu failed in the last week, %llu of them given up after their last try; the newest "
            "is %s",
            (unsigned long long)j.failed, (unsigned long long)j.dead, j.failed_id);
    else
        doctor_say(d, DOCTOR_OK, "jobs", NULL,
            "%llu running; none failed in the last week, none waits in vain", running);
}
