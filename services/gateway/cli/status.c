/* `kindred status`: what an operator asks first. */
#include "services/gateway/cli/status.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/trainer.pb-c.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"

#define STATUS_MS 10000 /* for each question: a hanging service must not hang this */
#define HEALTH_MS 2000
#define WEEK_MS (7 * 24 * 3600 * INT64_C(1000))

const Kindred__V1__ServiceStatus *status_service(const status_facts *f, const char *name)
{
    for (size_t i = 0; i < f->stack->n_services; i++)
        if (strcmp(f->stack->services[i]->name, name) == 0)
            return f->stack->services[i];
    return NULL;
}

void status_each_collection(const status_facts *f,
    void (*fn)(void *arg, const Kindred__V1__Collection *collection), void *arg)
{
    for (size_t page = 0; page < f->n_pages; page++)
        for (size_t i = 0; i < f->pages[page]->n_collections; i++)
            fn(arg, f->pages[page]->collections[i]);
}

/* ---- Asking ---- */

/* One that is known to be away is not asked: nothing would come of it but the wait. */
static bool serves(const status_facts *f, const char *name)
{
    const Kindred__V1__ServiceStatus *const one = status_service(f, name);
    return one && one->serving;
}

static void ask_embedder(kd_channel *channel, status_facts *f)
{
    Kindred__V1__ListLoadedModelsRequest models = KINDRED__V1__LIST_LOADED_MODELS_REQUEST__INIT;
    Kindred__V1__GetEmbedCountsRequest counts = KINDRED__V1__GET_EMBED_COUNTS_REQUEST__INIT;
    if (!serves(f, "embedder"))
        return;
    (void)!cli_call(channel, &kindred__v1__embedder_service__descriptor, "ListLoadedModels",
        &models.base, STATUS_MS, &f->loaded, NULL);
    (void)!cli_call(channel, &kindred__v1__embedder_service__descriptor, "GetEmbedCounts",
        &counts.base, STATUS_MS, &f->embeds, NULL);
}

static void ask_indexer(kd_channel *channel, status_facts *f)
{
    Kindred__V1__ListCollectionsRequest request = KINDRED__V1__LIST_COLLECTIONS_REQUEST__INIT;
    request.page_size = 1000;
    bool more = serves(f, "indexer");
    f->knows_collections = more;
    while (more) {
        Kindred__V1__ListCollectionsResponse *page = NULL;
        f->knows_collections =
            cli_call(channel, &kindred__v1__indexer_service__descriptor, "ListCollections",
                &request.base, STATUS_MS, &page, NULL) == KD_OK;
        if (!f->knows_collections)
            return;
        f->pages = cli_must(reallocarray(f->pages, f->n_pages + 1, sizeof(void *)));
        f->pages[f->n_pages++] = page;
        f->collections += page->n_collections;
        request.page_token = page->next_page_token;
        more = page->next_page_token[0] != '\0';
    }
}

static bool count_one(void *arg, const ProtobufCMessage *item)
{
    uint64_t *const n = arg;
    (void)item;
    ++*n;
    return true;
}

static void ask_trainer(kd_channel *channel, status_facts *f)
{
    Kindred__V1__ListModelsRequest request = KINDRED__V1__LIST_MODELS_REQUEST__INIT;
    const cli_pages pages = {.service = &kindred__v1__trainer_service__descriptor,
        .method = "ListModels",
        .field = "models",
        .timeout_ms = STATUS_MS};
    f->knows_models = serves(f, "trainer") && cli_each(channel, &pages, &request.base, count_one,
                                                  &f->models, NULL) == KD_OK;
}

/* Newest first, by when they were made: one that was old when it failed may be missed. */
static bool take_dead(void *arg, const ProtobufCMessage *item)
{
    status_facts *const f = arg;
    const Kindred__V1__Job *const job = (const Kindred__V1__Job *)item;
    if (kd_wall_ms() - job->finished_unix_ms > WEEK_MS)
        return false;
    if (f->dead++ == 0)
        (void)kd_copy(f->dead_id, sizeof f->dead_id, job->id);
    return true;
}

static void ask_jobs(kd_channel *channel, status_facts *f)
{
    Kindred__V1__ListJobsRequest request = KINDRED__V1__LIST_JOBS_REQUEST__INIT;
    const cli_pages pages = {.service = &kindred__v1__gateway_service__descriptor,
        .method = "ListJobs",
        .field = "jobs",
        .timeout_ms = STATUS_MS};
    request.dead = true;
    if (f->stack->jobs && f->stack->jobs->dead > 0)
        (void)!cli_each(channel, &pages, &request.base, take_dead, f, NULL);
}

static kd_status gather(const cli_common *common, status_facts *f, kd_error *err)
{
    Kindred__V1__GetStatusRequest request = KINDRED__V1__GET_STATUS_REQUEST__INIT;
    kd_channel *channel = NULL;
    kd_status status = cli_connect(common, &channel, err);
    if (status != KD_OK)
        return status;
    (void)kd_copy(f->gateway, sizeof f->gateway, kd_channel_address(channel));
    f->is_local =
        local_read(f->data, &f->local, NULL) == KD_OK && strcmp(f->local.gateway, f->gateway) == 0;
    status = cli_call(channel, &kindred__v1__gateway_service__descriptor, "GetStatus",
        &request.base, STATUS_MS, &f->stack, err);
    if (status == KD_OK) {
        ask_embedder(channel, f);
        ask_indexer(channel, f);
        ask_trainer(channel, f);
        ask_jobs(channel, f);
    }
    cli_disconnect(channel);
    return status;
}

/* ---- Without the gateway: the services of the stack here, each by itself ---- */

static json_t *look(const cli_common *common, const local_service *one)
{
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = cli_channel(common, one->address, &channel, &err);
    if (status == KD_OK)
        status = kd_health_check(channel, HEALTH_MS, &err);
    if (status != KD_OK && channel)
        cli_say_who(channel, "service", &err);
    kd_channel_close(channel);
    return cli_must(json_pack("{s:s, s:s, s:b, s:o}", "name", one->name, "address", one->address,
        "serving", status == KD_OK, "detail", cli_json_text(err.message)));
}

/* NULL: no stack runs on the data folder, or it isn't the one that was asked for. */
static json_t *look_around(const cli_common *common, const status_facts *f)
{
    local_service found[LOCAL_SERVICES];
    if (!f->is_local)
        return NULL;
    const size_t n = local_services(f->data, found);
    json_t *const list = cli_must(json_array());
    kd_rpc_init();
    for (size_t i = 0; i < n; i++)
        if (strcmp(found[i].name, "redis") != 0) /* it speaks another protocol */
            (void)json_array_append_new(list, look(common, &found[i]));
    kd_rpc_shutdown();
    return list;
}

static int say_unreached(const cli_common *common, const status_facts *f, const kd_error *err)
{
    static const char *const heads[] = {"SERVICE", "STATE", "ADDRESS"};
    json_t *const services = look_around(common, f), *one;
    size_t i;
    if (!services)
        return cli_error(common, "status", err);
    if (common->json) {
        cli_print_json(json_pack("{s:{s:s, s:o}, s:s, s:s, s:o}", "error", "code",
            kd_status_name(err->status), "message", cli_json_text(err->message), "gateway",
            f->gateway, "data", f->data, "services", services));
        return EXIT_UNREACHABLE;
    }
    const int exit_status = cli_error(common, "status", err);
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    json_array_foreach(services, i, one)
    {
        const bool serving = json_is_true(json_object_get(one, "serving"));
        cli_table_row(table,
            (const char *[]){json_string_value(json_object_get(one, "name")),
                serving ? "serving" : "away", json_string_value(json_object_get(one, "address"))});
    }
    cli_table_print(table);
    (void)fprintf(stderr,
        "kindred status: what ends is started again; why it ended stands in %s/run/log\n", f->data);
    json_decref(services);
    return exit_status;
}

/* ---- The command ---- */

static void facts_free(status_facts *f)
{
    for (size_t i = 0; i < f->n_pages; i++)
        kd_message_free(f->pages[i]);
    free(f->pages);
    for (size_t i = 0; i < f->n_warnings; i++) {
        free(f->warnings[i].what);
        free(f->warnings[i].advice);
    }
    free(f->warnings);
    kd_message_free(f->loaded);
    kd_message_free(f->embeds);
    kd_message_free(f->stack);
    free(f->data);
}

int cmd_status(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    kd_error err = KD_ERROR_INIT;
    status_facts f = {.is_local = false};
    int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Shows each service of the stack, its jobs, models, collections and disk, and warns of "
        "what needs a hand. Exit status 0 when all of it works, 1 when a part does not, 3 when no "
        "gateway is reached.",
        NULL, NULL, NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;

    char *const given = cli_data_dir(&common);
    char *const real = realpath(given, NULL);
    f.data = real ? real : given;
    if (real)
        free(given);
    if (gather(&common, &f, &err) != KD_OK) {
        exit_status = err.status == KD_UNAVAILABLE ? say_unreached(&common, &f, &err)
                                                   : cli_error(&common, "status", &err);
    } else {
        status_judge(&f);
        exit_status = status_is_grave(&f) ? EXIT_FAILED : EXIT_DONE;
        if (common.json)
            status_print_json(&f);
        else
            status_print_table(&f);
    }
    facts_free(&f);
    return exit_status;
}
