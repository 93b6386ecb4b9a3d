/* kindred status against a stack that is well, or has one fault at a time. */
#include "kindred/v1/trainer.pb-c.h"
#include "lib/base/clock.h"
#include "services/gateway/cli/status.h"
#include "tests/cli/gateway.h"

#define GB ((uint64_t)1000000000)
#define MINUTE_MS 60000
#define TEXT(literal) ((char *)(uintptr_t)(literal))
#define GATEWAY_CALLS (&kindred__v1__gateway_service__descriptor)
#define EMBEDDER_CALLS (&kindred__v1__embedder_service__descriptor)
#define INDEXER_CALLS (&kindred__v1__indexer_service__descriptor)
#define TRAINER_CALLS (&kindred__v1__trainer_service__descriptor)

/* How the stack is. */
static struct {
    bool embedder_gone, redis_gone;
    uint64_t disk_free;
    int64_t dead_age_ms; /* of the job that was given up; 0: there is none */
    const char *damage, *trainer_version;
    float live_recall;
    uint64_t live_queries, collections;
} g;
static kd_server *g_gateway;

static int well(void **state)
{
    (void)state;
    memset(&g, 0, sizeof g);
    g.disk_free = 50 * GB;
    g.damage = "";
    g.trainer_version = "1.2.0";
    g.live_recall = 0.97f;
    g.live_queries = 500;
    g.collections = 1;
    return 0;
}

/* ---- Its services ---- */

static void get_status(void *state, kd_call *call, const ProtobufCMessage *message)
{
    static const char *const names[] = {"gateway", "embedder", "indexer", "trainer", "redis"};
    Kindred__V1__GetStatusResponse response = KINDRED__V1__GET_STATUS_RESPONSE__INIT;
    Kindred__V1__JobCounts jobs = KINDRED__V1__JOB_COUNTS__INIT;
    Kindred__V1__ServiceStatus services[5], *list[5];
    (void)state;
    (void)message;
    for (size_t i = 0; i < 5; i++) {
        Kindred__V1__ServiceStatus *const one = list[i] = &services[i];
        kindred__v1__service_status__init(one);
        one->name = TEXT(names[i]);
        one->address = TEXT(i == 0 ? "" : "10.0.0.1:7700");
        one->serving = !(i == 1 && g.embedder_gone) && !(i == 4 && g.redis_gone);
        if (!one->serving) {
            one->detail = TEXT("connection refused\033[1m");
            one->away_since_unix_ms = kd_wall_ms() - 2 * MINUTE_MS;
            continue;
        }
        one->version = TEXT(i == 4 ? "7.0.1" : i == 3 ? g.trainer_version : "1.2.0");
        one->started_unix_ms = kd_wall_ms() - (65 * MINUTE_MS + 1000);
        one->memory_bytes = 23400000;
        one->disk_path = TEXT("/data");
        one->disk_total_bytes = i == 4 ? 0 : 100 * GB;
        one->disk_free_bytes = i == 4 ? 0 : g.disk_free;
    }
    jobs.running = 1;
    jobs.queued = 3;
    jobs.done = 12;
    jobs.failed = 2;
    jobs.dead = g.dead_age_ms > 0;
    response.jobs = g.redis_gone ? NULL : &jobs;
    response.train_queue = 2;
    response.gateway_queue = 1;
    response.version = TEXT("1.2.0");
    response.n_services = 5;
    response.services = list;
    kd_call_reply(call, &response.base);
}

static void list_jobs(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListJobsResponse response = KINDRED__V1__LIST_JOBS_RESPONSE__INIT;
    Kindred__V1__Job job = KINDRED__V1__JOB__INIT, *jobs[] = {&job};
    (void)state;
    CHECK(((const Kindred__V1__ListJobsRequest *)message)->dead);
    job.id = TEXT("job-5");
    job.finished_unix_ms = kd_wall_ms() - g.dead_age_ms;
    response.jobs = jobs;
    response.n_jobs = 1;
    kd_call_reply(call, &response.base);
}

static void list_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListModelsResponse response = KINDRED__V1__LIST_MODELS_RESPONSE__INIT;
    Kindred__V1__Model model = KINDRED__V1__MODEL__INIT, *models[] = {&model, &model, &model};
    (void)state;
    (void)message;
    response.models = models;
    response.n_models = 3;
    kd_call_reply(call, &response.base);
}

static void list_loaded_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListLoadedModelsResponse response = KINDRED__V1__LIST_LOADED_MODELS_RESPONSE__INIT;
    Kindred__V1__Model model = KINDRED__V1__MODEL__INIT, *models[] = {&model};
    uint64_t bytes[] = {56000000};
    (void)state;
    (void)message;
    model.id = TEXT("00112233445566aa");
    model.name = TEXT("plain");
    response.models = models;
    response.n_models = response.n_memory_bytes = 1;
    response.memory_bytes = bytes;
    response.memory_limit_bytes = 2 * GB;
    kd_call_reply(call, &response.base);
}

static void get_embed_counts(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__GetEmbedCountsResponse response = KINDRED__V1__GET_EMBED_COUNTS_RESPONSE__INIT;
    (void)state;
    (void)message;
    response.images = 200;
    response.cached = 50;
    response.shed = 7;
    response.has_cache = true;
    kd_call_reply(call, &response.base);
}

static void list_collections(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListCollectionsResponse response = KINDRED__V1__LIST_COLLECTIONS_RESPONSE__INIT;
    Kindred__V1__Collection shop = KINDRED__V1__COLLECTION__INIT, *list[64];
    Kindred__V1__IndexSettings settings = KINDRED__V1__INDEX_SETTINGS__INIT;
    Kindred__V1__IndexState index = KINDRED__V1__INDEX_STATE__INIT;
    (void)state;
    (void)message;
    settings.target_recall = 0.95f;
    index.approximate_segments = 2;
    index.recall = 0.96f;
    index.live_recall = g.live_recall;
    index.live_queries = g.live_queries;
    shop.name = TEXT("shop");
    shop.count = 2000;
    shop.index = TEXT("hnsw");
    shop.damage = TEXT(g.damage);
    shop.index_settings = &settings;
    shop.index_state = &index;
    shop.disk_bytes = 1500000;
    for (size_t i = 0; i < g.collections; i++)
        list[i] = &shop;
    response.collections = list;
    response.n_collections = g.collections;
    kd_call_reply(call, &response.base);
}

static int setup(void **state)
{
    static const kd_method gateway[] = {
        {"GetStatus", get_status, true}, {"ListJobs", list_jobs, true}};
    static const kd_method trainer[] = {{"ListModels", list_models, true}};
    static const kd_method embedder[] = {
        {"ListLoadedModels", list_loaded_models, true}, {"GetEmbedCounts", get_embed_counts, true}};
    static const kd_method indexer[] = {{"ListCollections", list_collections, true}};
    const served services[] = {{GATEWAY_CALLS, gateway, 2}, {TRAINER_CALLS, trainer, 1},
        {EMBEDDER_CALLS, embedder, 2}, {INDEXER_CALLS, indexer, 1}};
    (void)state;
    g_gateway = start_gateway(services, sizeof services / sizeof services[0]);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop_gateway(g_gateway);
    return 0;
}

/* ---- What it says ---- */

static void test_cli_status__all_is_well(void **state)
{
    static ran r;
    (void)state;
    RUN(&r, cmd_status, "status");
    CHECK_STR("", r.err);
    CHECK_INT(0, r.status);
    CHECK_HAS("disk         50.0 GB of 100.0 GB free\n", r.out);
    CHECK_HAS("jobs         1 running, 3 queued, 12 done, 2 failed, 0 cancelled\n", r.out);
    CHECK_HAS("waiting      2 for the trainer, 1 for the gateway\n", r.out);
    CHECK_HAS("models       3\n", r.out);
    CHECK_HAS("in memory    1: plain; 56.0 MB of 2.0 GB\n", r.out);
    CHECK_HAS("200 images, 25 % found in the cache, 7 refused under too much load\n", r.out);
    CHECK_HAS("embedder  serving  1 h 5 m  23.4 MB    1.2.0  10.0.0.1:7700\n", r.out);
    CHECK_HAS("gateway   serving  1 h 5 m  23.4 MB    1.2.0  127.0.0.1:", r.out);
    CHECK_HAS("redis     serving  1 h 5 m  23.4 MB    7.0.1 ", r.out);
    CHECK_HAS("shop          2000  hnsw   0.970 live   0.950  0 B     1.5 MB\n", r.out);
    CHECK(!strstr(r.out, "warn") && !strstr(r.out, "fail  "));
}

/* One warning is there, of this weight, with the words in it. */
static void warns(bool grave, const char *words)
{
    static ran r;
    json_error_t fault;
    json_t *warning;
    size_t i;
    bool seen = false;
    RUN(&r, cmd_status, "status", "--json");
    json_t *const root = json_loads(r.out, 0, &fault);
    if (!json_is_object(root))
        fail_msg("no object: %s", r.out);
    json_array_foreach(json_object_get(root, "warnings"), i, warning)
    {
        const char *const text = json_string_value(json_object_get(warning, "message"));
        CHECK(*json_string_value(json_object_get(warning, "advice")));
        if (!strstr(text, words))
            continue;
        seen = true;
        CHECK_INT(grave, json_is_true(json_object_get(warning, "grave")));
    }
    if (!seen)
        fail_msg("'%s' is in no warning of %s", words, r.out);
    CHECK_INT(1, json_array_size(json_object_get(root, "warnings")));
    CHECK_INT(grave, json_is_false(json_object_get(root, "healthy")));
    CHECK_INT(grave ? 1 : 0, r.status);
    json_decref(root);

    RUN(&r, cmd_status, "status");
    CHECK_INT(grave ? 1 : 0, r.status);
    CHECK_HAS(words, r.out);
    CHECK_HAS(grave ? "\nfail  " : "\nwarn  ", r.out);
}

static void test_cli_status__a_service_is_away(void **state)
{
    static ran r;
    (void)state;
    g.embedder_gone = true;
    warns(true, "embedder is away for 2 m 0 s: connection refused");
    RUN(&r, cmd_status, "status");
    CHECK_HAS("embedder  away ", r.out);
    CHECK_HAS("refused?[1m. Start kindred-embedder", r.out);
    CHECK(!strstr(r.out, "in memory"));
}

static void test_cli_status__redis_is_away(void **state)
{
    static ran r;
    (void)state;
    g.redis_gone = true;
    warns(true, "redis is away for 2 m 0 s");
    RUN(&r, cmd_status, "status");
    CHECK_HAS("jobs         unknown\n", r.out);
    RUN(&r, cmd_status, "status", "--json");
    CHECK_HAS("\"jobs\": null", r.out);
}

static void test_cli_status__the_disk_fills(void **state)
{
    (void)state;
    g.disk_free = 9 * GB;
    warns(false, "the disk is nearly full: 9.0 GB of 100.0 GB free for /data");
    g.disk_free = GB / 10;
    warns(true, "the disk is nearly full: 100.0 MB of");
}

static void test_cli_status__jobs_were_given_up(void **state)
{
    static ran r;
    (void)state;
    g.dead_age_ms = MINUTE_MS;
    warns(false, "1 job was given up in the last week, job-5 the newest");
    g.dead_age_ms = INT64_C(8) * 24 * 60 * MINUTE_MS;
    RUN(&r, cmd_status, "status");
    CHECK(!strstr(r.out, "given up"));
}

static void test_cli_status__collections_are_unwell(void **state)
{
    static ran r;
    (void)state;
    g.live_recall = 0.9f;
    warns(false, "collection shop finds 0.900 of the ten nearest, it is to find 0.950");
    g.live_queries = 20; /* too few to tell */
    RUN(&r, cmd_status, "status");
    CHECK(!strstr(r.out, "it is to find"));
    g.damage = "a row's checksum is wrong";
    warns(true, "collection shop is damaged: a row's checksum is wrong");
}

static void test_cli_status__versions_differ(void **state)
{
    (void)state;
    g.trainer_version = "1.1.0";
    warns(false, "trainer is of version 1.1.0, the gateway of 1.2.0");
}

static void test_cli_status__long_lists_are_cut(void **state)
{
    static ran r;
    (void)state;
    g.collections = 23;
    RUN(&r, cmd_status, "status");
    CHECK_HAS("collections  23\n", r.out);
    CHECK_HAS("and 3 more: `kindred collection list`\n", r.out);
}

#define STATUS_TEST(name) cmocka_unit_test_setup(test_cli_status__##name, well)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATUS_TEST(all_is_well),
        STATUS_TEST(a_service_is_away),
        STATUS_TEST(redis_is_away),
        STATUS_TEST(the_disk_fills),
        STATUS_TEST(jobs_were_given_up),
        STATUS_TEST(collections_are_unwell),
        STATUS_TEST(versions_differ),
        STATUS_TEST(long_lists_are_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
