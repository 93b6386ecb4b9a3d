/* GetStatus: each part of the stack is asked, with little patience. */
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/service/vitals.h"
#include "services/gateway/gateway.h"

#define STATUS_MS 1000 /* for each question to a peer */

static void fill(Kindred__V1__ServiceStatus *status, const char *name, const char *address,
    kd_status code, kd_error *err)
{
    kindred__v1__service_status__init(status);
    status->name = (char *)name;
    status->address = (char *)address;
    status->serving = code == KD_OK;
    status->detail = code == KD_OK ? (char *)"" : err->message;
}

static void note(gateway *g, peer_id which, Kindred__V1__ServiceStatus *status)
{
    peers_saw(g->peers, which, status->serving);
    status->away_since_unix_ms = peers_away_since(g->peers, which);
}

/* Whether the peer serves, and what it says about itself: *process is owned by the caller, and what
 * status borrows from. */
static void ask_peer(kd_channel *channel, const char *name, Kindred__V1__ServiceStatus *status,
    Kindred__V1__GetProcessResponse **process, kd_error *err)
{
    const Kindred__V1__GetProcessRequest request = KINDRED__V1__GET_PROCESS_REQUEST__INIT;
    const kd_call_options options = {.timeout_ms = STATUS_MS};
    const kd_status health = kd_health_check(channel, STATUS_MS, err);
    fill(status, name, kd_channel_address(channel), health, err);
    *process = NULL;
    /* A service of before it was asked serves all the same. */
    if (health != KD_OK || kd_channel_call(channel, PROCESS, "GetProcess", &request.base, &options,
                               (ProtobufCMessage **)process, NULL) != KD_OK)
        return;
    status->version = (*process)->version;
    status->disk_path = (*process)->disk_path;
    status->disk_free_bytes = (*process)->disk_free_bytes;
    status->disk_total_bytes = (*process)->disk_total_bytes;
    status->log_level = (*process)->log_level;
    status->started_unix_ms = (*process)->started_unix_ms;
    status->memory_bytes = (*process)->memory_bytes;
}

static void describe_self(
    const kd_process *process, const kd_disk *disk, Kindred__V1__ServiceStatus *status)
{
    fill(status, "gateway", "", KD_OK, NULL);
    status->version = (char *)KD_VERSION;
    status->disk_path = (char *)(uintptr_t)disk->path;
    status->disk_free_bytes = disk->free_bytes;
    status->disk_total_bytes = disk->total_bytes;
    status->log_level = (char *)kd_log_level_word();
    status->started_unix_ms = process->started_ms;
    status->memory_bytes = kd_resident_bytes();
}

/* What is borrowed from, until the answer is out. */
typedef struct redis_answer {
    kd_store_facts facts;
    Kindred__V1__JobCounts jobs;
    kd_error err;
} redis_answer;

static void ask_redis(gateway *g, Kindred__V1__ServiceStatus *status,
    Kindred__V1__GetStatusResponse *response, redis_answer *answer)
{
    kd_error *const err = &answer->err;
    kd_job_counts counts;
    kd_store *const store = store_take(g);
    kd_status redis = kd_store_describe(store, &answer->facts, err);
    if (redis == KD_OK)
        redis = kd_jobs_count(store, &counts, err);
    if (redis == KD_OK)
        redis = kd_jobs_depth(store, TRAINER_QUEUE, &response->train_queue, err);
    if (redis == KD_OK)
        redis = kd_jobs_depth(store, GATEWAY_QUEUE, &response->gateway_queue, err);
    store_give(g, store);
    fill(status, "redis", g->process->redis, redis, err);
    if (redis != KD_OK)
        return;
    status->version = answer->facts.version;
    status->memory_bytes = answer->facts.used_bytes;
    status->started_unix_ms = kd_wall_ms() - answer->facts.uptime_s * 1000;
    kindred__v1__job_counts__init(&answer->jobs);
    answer->jobs.queued = counts.by_state[KD_JOB_QUEUED];
    answer->jobs.running = counts.by_state[KD_JOB_RUNNING];
    answer->jobs.done = counts.by_state[KD_JOB_DONE];
    answer->jobs.failed = counts.by_state[KD_JOB_FAILED];
    answer->jobs.cancelled = counts.by_state[KD_JOB_CANCELLED];
    answer->jobs.dead = counts.dead;
    response->jobs = &answer->jobs;
}

void get_status(void *state, kd_call *call, const ProtobufCMessage *message)
{
    gateway *const g = state;
    Kindred__V1__GetStatusResponse response = KINDRED__V1__GET_STATUS_RESPONSE__INIT;
    Kindred__V1__ServiceStatus services[5], *list[5];
    Kindred__V1__GetProcessResponse *processes[3];
    kd_error errors[3];
    redis_answer redis;
    kd_disk disk;
    kd_channel *const channels[] = {g->embedder, g->indexer, g->trainer};
    static const char *const names[] = {"embedder", "indexer", "trainer"};
    (void)message;
    kd_disk_least(g->process->data_dir, &disk);
    describe_self(g->process, &disk, &services[0]);
    for (size_t i = 0; i < 3; i++) {
        ask_peer(channels[i], names[i], &services[i + 1], &processes[i], &errors[i]);
        note(g, (peer_id)((int)PEER_EMBEDDER + (int)i), &services[i + 1]);
    }
    ask_redis(g, &services[4], &response, &redis);
    note(g, PEER_REDIS, &services[4]);
    for (size_t i = 0; i < 5; i++)
        list[i] = &services[i];
    response.version = (char *)KD_VERSION;
    response.n_services = 5;
    response.services = list;
    kd_call_reply(call, &response.base);
    for (size_t i = 0; i < 3; i++)
        kd_message_free(processes[i]);
}
