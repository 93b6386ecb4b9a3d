/* tests/cli/doctor_stack.h: a whole stack in one server, as the checks of `kindred doctor` see it:
 * well, or with the faults that g says. */
#ifndef KD_TESTS_CLI_DOCTOR_STACK_H
#define KD_TESTS_CLI_DOCTOR_STACK_H

#include <stdatomic.h>

#include "lib/base/clock.h"
#include "lib/image/image.h"
#include "services/gateway/cli/doctor.h"
#include "tests/cli/gateway.h"

#define DIM 4u
#define MODEL_ID "00112233445566aa"
#define GB 1000000000u
#define MANY 11u /* models, more than are looked at */

/* How the stack is. */
static struct {
    const char *version, *trainer_version;
    uint64_t disk_free, disk_total;
    bool embedder_gone, model_gone, rotten, one_fits;
    uint32_t models;
    float made[DIM], stored[DIM]; /* the vectors of pictures and of the collection's image */
    float drift;                  /* of each embedding from the one before */
    bool busy, never_cached;
    size_t made_values;
    const char *uri, *damage; /* uri: of the picture, for who sets it */
    uint64_t found[2];        /* image ids of the hits */
    float scores[2];
    Kindred__V1__JobState job_state;
    bool job_dead;
    const char *job_kind;
    int64_t job_age_ms;
} g;
static atomic_uint g_embedded, g_unloaded, g_loaded, g_restored;

static inline void get_well(void)
{
    memset(&g, 0, sizeof g);
    g.version = g.trainer_version = KD_VERSION;
    g.disk_free = 50u * (uint64_t)GB;
    g.disk_total = 100u * (uint64_t)GB;
    g.models = 1;
    g.made[0] = g.stored[0] = 0.6f;
    g.made[1] = g.stored[1] = 0.8f;
    g.made_values = DIM;
    g.damage = "";
    g.found[0] = 7;
    g.found[1] = 9;
    g.scores[0] = 1;
    g.scores[1] = 0.5f;
    g.job_state = KINDRED__V1__JOB_STATE__JOB_STATE_DONE;
    g.job_kind = "train";
    atomic_store(&g_embedded, 0);
    atomic_store(&g_unloaded, 0);
    atomic_store(&g_loaded, 0);
    atomic_store(&g_restored, 0);
}

/* ---- Its services ---- */

#define TEXT(literal) ((char *)(uintptr_t)(literal))

static void get_status(void *state, kd_call *call, const ProtobufCMessage *message)
{
    static const char *const names[] = {"gateway", "embedder", "indexer", "trainer", "redis"};
    Kindred__V1__GetStatusResponse response = KINDRED__V1__GET_STATUS_RESPONSE__INIT;
    Kindred__V1__ServiceStatus services[5], *list[5];
    (void)state;
    (void)message;
    for (size_t i = 0; i < 5; i++) {
        kindred__v1__service_status__init(&services[i]);
        list[i] = &services[i];
        services[i].name = TEXT(names[i]);
        services[i].address = TEXT("10.0.0.1:7700");
        services[i].serving = !(i == 1 && g.embedder_gone);
        services[i].detail = services[i].serving ? TEXT("") : TEXT("connection refused");
        services[i].version = TEXT(i == 4 ? "" : i == 3 ? g.trainer_version : g.version);
        services[i].disk_path = TEXT("/data");
        services[i].disk_total_bytes = i == 4 ? 0 : g.disk_total;
        services[i].disk_free_bytes = i == 4 ? 0 : g.disk_free + (i == 2 ? 0 : GB);
    }
    response.version = TEXT(g.version);
    response.n_services = 5;
    response.services = list;
    kd_call_reply(call, &response.base);
}

static void list_jobs(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListJobsResponse response = KINDRED__V1__LIST_JOBS_RESPONSE__INIT;
    Kindred__V1__Job job = KINDRED__V1__JOB__INIT, *jobs[] = {&job};
    (void)state;
    (void)message;
    job.id = TEXT("job-5");
    job.kind = TEXT(g.job_kind);
    job.state = g.job_state;
    job.dead = g.job_dead;
    job.created_unix_ms = job.finished_unix_ms = kd_wall_ms() - g.job_age_ms;
    response.jobs = jobs;
    response.n_jobs = 1;
    kd_call_reply(call, &response.base);
}

static void fill_model(Kindred__V1__Model *model)
{
    kindred__v1__model__init(model);
    model->id = TEXT(MODEL_ID);
    model->name = TEXT("plain\033[31m");
    model->dim = DIM;
    model->bytes = 44700000;
}

static void list_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListModelsResponse response = KINDRED__V1__LIST_MODELS_RESPONSE__INIT;
    Kindred__V1__Model model, *models[MANY];
    (void)state;
    (void)message;
    fill_model(&model);
    for (size_t i = 0; i < MANY; i++)
        models[i] = &model;
    response.models = models;
    response.n_models = g.models;
    kd_call_reply(call, &response.base);
}

static void get_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__GetModelRequest *const request = (const void *)message;
    Kindred__V1__GetModelResponse response = KINDRED__V1__GET_MODEL_RESPONSE__INIT;
    Kindred__V1__Model model;
    (void)state;
    if (g.model_gone) {
        refuse(call, KD_NOT_FOUND, "no model '" MODEL_ID "'");
        return;
    }
    if (g.rotten && request->verify) {
        refuse(call, KD_DATA_LOSS, "its file is damaged");
        return;
    }
    fill_model(&model);
    response.model = &model;
    kd_call_reply(call, &response.base);
}

static void load_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__LoadModelRequest *const request = (const void *)message;
    Kindred__V1__LoadModelResponse response = KINDRED__V1__LOAD_MODEL_RESPONSE__INIT;
    (void)state;
    atomic_fetch_add(strcmp(request->model, MODEL_ID) == 0 ? &g_loaded : &g_restored, 1);
    kd_call_reply(call, &response.base);
}

static void unload_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__UnloadModelRequest *const request = (const void *)message;
    Kindred__V1__UnloadModelResponse response = KINDRED__V1__UNLOAD_MODEL_RESPONSE__INIT;
    (void)state;
    atomic_fetch_add(&g_unloaded, strcmp(request->model, MODEL_ID) == 0);
    kd_call_reply(call, &response.base);
}

/* One that has been there; the checked one, once it was loaded, beside it or in its place. */
static void list_loaded_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListLoadedModelsResponse response = KINDRED__V1__LIST_LOADED_MODELS_RESPONSE__INIT;
    Kindred__V1__Model first = KINDRED__V1__MODEL__INIT, second, *models[] = {&first, &second};
    const bool loaded = atomic_load(&g_loaded) > 0;
    (void)state;
    (void)message;
    first.id = TEXT("ffffffffffffffff");
    fill_model(&second);
    response.models = loaded && g.one_fits ? models + 1 : models;
    response.n_models = loaded && !g.one_fits ? 2 : 1;
    kd_call_reply(call, &response.base);
}

static void embed(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__EmbedRequest *const request = (const void *)message;
    Kindred__V1__EmbedResponse response = KINDRED__V1__EMBED_RESPONSE__INIT;
    Kindred__V1__Embedding one = KINDRED__V1__EMBEDDING__INIT, *list[] = {&one};
    const unsigned n = atomic_fetch_add(&g_embedded, 1);
    float values[DIM];
    kd_image image = KD_IMAGE_INIT;
    kd_error err;
    (void)state;
    if (g.busy) {
        refuse(call, KD_RESOURCE_EXHAUSTED, "the queue is full");
        return;
    }
    if (kd_image_decode(&image, request->images[0].data, request->images[0].len, &err) != KD_OK) {
        refuse(call, KD_INVALID_ARGUMENT, err.message);
        return;
    }
    kd_image_free(&image);
    memcpy(values, g.made, sizeof values);
    values[2] += g.drift * (float)n;
    one.values = values;
    one.n_values = g.made_values;
    one.cached = n > 1 && !g.never_cached;
    response.model_id = TEXT(MODEL_ID);
    response.embeddings = list;
    response.n_embeddings = 1;
    kd_call_reply(call, &response.base);
}

static void list_collections(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListCollectionsResponse response = KINDRED__V1__LIST_COLLECTIONS_RESPONSE__INIT;
    Kindred__V1__Collection shop = KINDRED__V1__COLLECTION__INIT, *list[] = {&shop};
    (void)state;
    (void)message;
    shop.name = TEXT("shop");
    shop.model_id = TEXT(MODEL_ID);
    shop.dim = DIM;
    shop.count = 2;
    shop.damage = TEXT(g.damage);
    response.collections = list;
    response.n_collections = 1;
    kd_call_reply(call, &response.base);
}

/* Two images, of which the first has no file. */
static void list_items(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListItemsResponse response = KINDRED__V1__LIST_ITEMS_RESPONSE__INIT;
    Kindred__V1__Item items[2], *list[] = {&items[0], &items[1]};
    (void)state;
    (void)message;
    kindred__v1__item__init(&items[0]);
    kindred__v1__item__init(&items[1]);
    items[0].image_id = 3;
    items[0].uri = TEXT("/no/such.jpg");
    items[1].image_id = 7;
    items[1].uri = TEXT(g.uri);
    response.items = list;
    response.n_items = 2;
    kd_call_reply(call, &response.base);
}

static void get_item(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__GetItemResponse response = KINDRED__V1__GET_ITEM_RESPONSE__INIT;
    (void)state;
    (void)message;
    response.values = g.stored;
    response.n_values = DIM;
    kd_call_reply(call, &response.base);
}

static void search(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__SearchResponse response = KINDRED__V1__SEARCH_RESPONSE__INIT;
    Kindred__V1__SearchResult result = KINDRED__V1__SEARCH_RESULT__INIT, *results[] = {&result};
    Kindred__V1__Hit hits[2], *list[] = {&hits[0], &hits[1]};
    Kindred__V1__Item items[2];
    (void)state;
    (void)message;
    for (size_t i = 0; i < 2; i++) {
        kindred__v1__hit__init(&hits[i]);
        kindred__v1__item__init(&items[i]);
        items[i].image_id = g.found[i];
        hits[i].item = &items[i];
        hits[i].score = g.scores[i];
    }
    result.hits = list;
    result.n_hits = 2;
    response.results = results;
    response.n_results = 1;
    kd_call_reply(call, &response.base);
}

static inline kd_server *start_stack(void)
{
    static const kd_method gateway[] = {
        {"GetStatus", get_status, true}, {"ListJobs", list_jobs, true}};
    static const kd_method trainer[] = {
        {"ListModels", list_models, true}, {"GetModel", get_model, true}};
    static const kd_method embedder[] = {{"Embed", embed, true}, {"LoadModel", load_model, true},
        {"UnloadModel", unload_model, true}, {"ListLoadedModels", list_loaded_models, true}};
    static const kd_method indexer[] = {{"ListCollections", list_collections, true},
        {"ListItems", list_items, true}, {"GetItem", get_item, true}, {"Search", search, true}};
    const served services[] = {{DOCTOR_GATEWAY, gateway, 2}, {CLI_TRAINER, trainer, 2},
        {DOCTOR_EMBEDDER, embedder, 4}, {CLI_INDEXER, indexer, 4}};
    return start_gateway(services, sizeof services / sizeof services[0]);
}

#endif
