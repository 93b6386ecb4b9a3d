/* `kindred doctor`: looks at every part of the stack, by the calls that its clients make, and says
 * in a line each what it saw and what to do. */
#include "services/gateway/cli/doctor.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "services/gateway/cli/local.h"

#define STATUS_MS 15000
#define NAME_WIDTH 20
#define MOST_LOADED 16u /* more models than an embedder keeps */

/* ---- What the checks say ---- */

static const char *const state_names[] = {"ok", "warn", "fail", "skip"};

char *doctor_line(
    doctor_state state, const char *name, const char *detail, const char *advice, bool colour)
{
    static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m", "\033[2m"};
    char *const clean_name = cli_clean(name), *const clean = cli_clean(detail);
    char *const clean_advice = cli_clean(advice ? advice : "");
    char *const line = cli_must(kd_format("%s%-4s%s  %-*s%s%s%s%s", colour ? colours[state] : "",
        state_names[state], colour ? "\033[0m" : "", name ? NAME_WIDTH : 0, clean_name,
        name ? "  " : "", clean, advice ? ". " : "", clean_advice));
    free(clean_advice);
    free(clean);
    free(clean_name);
    return line;
}

void doctor_say(
    doctor *d, doctor_state state, const char *name, const char *advice, const char *format, ...)
{
    char detail[KD_ERROR_MESSAGE_MAX + 256];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(detail, sizeof detail, format, list);
    va_end(list);
    d->failed += state == DOCTOR_FAIL;
    if (d->checks) {
        (void)json_array_append_new(
            d->checks, cli_must(json_pack("{s: o, s: s, s: o, s: o}", "name", cli_json_text(name),
                           "state", state_names[state], "detail", cli_json_text(detail), "advice",
                           cli_json_text(advice ? advice : ""))));
        return;
    }
    char *const line = doctor_line(state, name, detail, advice, d->colour);
    puts(line);
    (void)fflush(stdout); /* a check may take a while: what is known is shown */
    free(line);
}

void doctor_say_error(doctor *d, const char *name, const char *advice, const kd_error *err)
{
    if (err->status == KD_RESOURCE_EXHAUSTED)
        doctor_say(d, DOCTOR_WARN, name, "Run `kindred doctor` again when there is less to do.",
            "%s", err->message);
    else
        doctor_say(d, DOCTOR_FAIL, name, advice, "%s", err->message);
}

/* ---- What they ask ---- */

kd_status doctor_ask(doctor *d, const ProtobufCServiceDescriptor *service, const char *method,
    const ProtobufCMessage *request, void *response, kd_error *err)
{
    return cli_call(d->channel, service, method, request, DOCTOR_MS, response, err);
}

kd_status doctor_embed(doctor *d, const char *model, const kd_buf *image,
    Kindred__V1__EmbedResponse **out, kd_error *err)
{
    Kindred__V1__EmbedRequest request = KINDRED__V1__EMBED_REQUEST__INIT;
    ProtobufCBinaryData bytes = {image->len, image->data};
    request.model = (char *)(uintptr_t)model;
    request.n_images = 1;
    request.images = &bytes;
    kd_status status = doctor_ask(d, DOCTOR_EMBEDDER, "Embed", &request.base, out, err);
    if (status == KD_OK && (*out)->n_embeddings != 1)
        status = kd_error_set(err, KD_INTERNAL, "the embedder answered %zu embeddings to one image",
            (*out)->n_embeddings);
    if (status == KD_OK && (*out)->embeddings[0]->problem)
        status = kd_error_set(err, (kd_status)(*out)->embeddings[0]->problem->code, "%s",
            (*out)->embeddings[0]->problem->message);
    if (status != KD_OK) {
        kd_message_free(*out);
        *out = NULL;
    }
    return status;
}

kd_status doctor_vector(
    const char *what, const float *values, size_t n, double *length, kd_error *err)
{
    double sum = 0;
    *length = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            return kd_error_set(
                err, KD_DATA_LOSS, "value %zu of %zu of %s is not a finite number", i + 1, n, what);
        sum += (double)values[i] * (double)values[i];
    }
    *length = sqrt(sum);
    if (fabs(*length - 1) > (double)DOCTOR_TOLERANCE)
        return kd_error_set(
            err, KD_DATA_LOSS, "%s has %zu values of length %.4f, not 1", what, n, *length);
    return KD_OK;
}

/* ---- The embedder is left with the models that it had ---- */

typedef struct loaded {
    char ids[MOST_LOADED][32]; /* most recently used first */
    size_t n;
    bool known;
} loaded;

static void list_loaded(doctor *d, loaded *out)
{
    Kindred__V1__ListLoadedModelsRequest request = KINDRED__V1__LIST_LOADED_MODELS_REQUEST__INIT;
    Kindred__V1__ListLoadedModelsResponse *answer = NULL;
    out->n = 0;
    out->known = d->embedder && doctor_ask(d, DOCTOR_EMBEDDER, "ListLoadedModels", &request.base,
                                    &answer, NULL) == KD_OK;
    for (size_t i = 0; out->known && i < answer->n_models && i < MOST_LOADED; i++)
        (void)kd_copy(out->ids[out->n++], sizeof out->ids[0], answer->models[i]->id);
    kd_message_free(answer);
}

static bool was_loaded(const loaded *before, const char *id)
{
    for (size_t i = 0; i < before->n; i++)
        if (strcmp(before->ids[i], id) == 0)
            return true;
    return false;
}

/* Models that were loaded for the checks alone go; those that had to make room for them come back,
 * so that no search pays for it. A failure costs a later use a moment, no more. */
static void put_back(doctor *d, const loaded *before)
{
    loaded now;
    list_loaded(d, &now);
    if (!before->known || !now.known)
        return;
    for (size_t i = 0; i < now.n; i++) {
        Kindred__V1__UnloadModelRequest request = KINDRED__V1__UNLOAD_MODEL_REQUEST__INIT;
        Kindred__V1__UnloadModelResponse *answer = NULL;
        request.model = now.ids[i];
        if (!was_loaded(before, now.ids[i]))
            (void)!doctor_ask(d, DOCTOR_EMBEDDER, "UnloadModel", &request.base, &answer, NULL);
        kd_message_free(answer);
    }
    for (size_t i = before->n; i-- > 0;) {
        Kindred__V1__LoadModelRequest request = KINDRED__V1__LOAD_MODEL_REQUEST__INIT;
        Kindred__V1__LoadModelResponse *answer = NULL;
        request.model = (char *)(uintptr_t)before->ids[i];
        if (!was_loaded(&now, before->ids[i]))
            (void)!doctor_ask(d, DOCTOR_EMBEDDER, "LoadModel", &request.base, &answer, NULL);
        kd_message_free(answer);
    }
}

/* ---- The command ---- */

/* The data folder when the gateway is that of its stack; a new string (free), or NULL. */
static char *local_data(const cli_common *common, const char *gateway)
{
    local_stack local;
    char *const data = cli_data_dir(common);
    char *const real = realpath(data, NULL);
    const bool is_local =
        real && local_read(real, &local, NULL) == KD_OK && strcmp(local.gateway, gateway) == 0;
    free(data);
    if (is_local)
        return real;
    free(real);
    return NULL;
}

static void say_unreached(doctor *d, const kd_error *err)
{
    doctor_say(d, DOCTOR_FAIL, "gateway",
        "If one runs elsewhere, name its gateway with --gateway HOST:PORT or KINDRED_GATEWAY; else "
        "`kindred up` starts one here.",
        "%s", err->message);
}

static int examine(doctor *d)
{
    Kindred__V1__GetStatusRequest request = KINDRED__V1__GET_STATUS_REQUEST__INIT;
    kd_error err = KD_ERROR_INIT;
    char *data = NULL;
    loaded before = {.n = 0};
    kd_status status = cli_connect(d->common, &d->channel, &err);
    if (status == KD_INVALID_ARGUMENT)
        return cli_error(d->common, "doctor", &err);
    if (d->common->json)
        d->checks = cli_must(json_array());
    if (status == KD_OK)
        status = cli_call(
            d->channel, DOCTOR_GATEWAY, "GetStatus", &request.base, STATUS_MS, &d->stack, &err);
    if (status == KD_OK) {
        d->data = data = local_data(d->common, kd_channel_address(d->channel));
        doctor_services(d);
        list_loaded(d, &before);
        doctor_models(d);
        doctor_collections(d);
        put_back(d, &before);
        doctor_jobs(d);
    } else {
        say_unreached(d, &err);
    }
    if (d->checks)
        cli_print_json(d->checks);
    kd_message_free(d->stack);
    cli_disconnect(d->channel);
    free(data);
    if (status == KD_UNAVAILABLE || status == KD_DEADLINE_EXCEEDED)
        return EXIT_UNREACHABLE;
    return d->failed > 0 ? EXIT_FAILED : EXIT_DONE;
}

int cmd_doctor(int argc, const char **argv)
{
    const char *limit = NULL, **args = NULL;
    cli_common common;
    doctor d = {.common = &common, .limit = DOCTOR_LIMIT, .colour = cli_colour(STDOUT_FILENO)};
    const struct poptOption options[] = {
        {"limit", 0, POPT_ARG_STRING, &limit, 0,
            "look at so many models, the newest, and so many collections (8)", "N"},
        POPT_TABLEEND};
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Checks the whole stack, a line each: ok, warn, fail or skip, what was seen and what to "
        "do. Services serve and are of one version; queue and cache answer; the disk has room (a "
        "warning below 10 % and 20 GB, a failure below 500 MB); each model's file is whole and "
        "loads, and a drawn picture gives a sound vector, twice the same; in each collection a "
        "stored picture finds itself first with a score of 1; no job failed in the last week, and "
        "none waits in vain. Pictures are read on this machine. With --json: an array of {name, "
        "state, detail, advice}.\n"
        "Exit status 0 when nothing failed, 1 when a check did, 3 when there is no gateway.\n"
        "Example: kindred doctor --limit 20",
        options, NULL, NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;
    if (limit && !cli_number(argv[0], "--limit", limit, 1, UINT32_MAX, &d.limit))
        return EXIT_USAGE;
    return examine(&d);
}
