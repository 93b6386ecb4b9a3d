#include "services/embedder/service.h"

#include <stdio.h>

/* Strings are borrowed from model. */
static void describe(const kd_model *model, Kindred__V1__Model *out)
{
    kindred__v1__model__init(out);
    out->id = (char *)model->id;
    out->name = (char *)model->name;
    out->architecture = (char *)model->architecture;
    out->dim = model->dim;
    out->image_size = model->preprocess.image_size;
    out->preprocessing_hash = (char *)model->preprocess_hash;
    out->parent = (char *)model->parent;
    out->source = (char *)model->source;
    out->data_hash = (char *)model->data_hash;
    out->created_unix_ms = model->created_ms;
    out->bytes = model->bytes;
}

void service_reply_loaded(kd_call *call, const kd_model *model)
{
    Kindred__V1__Model described;
    Kindred__V1__LoadModelResponse response = KINDRED__V1__LOAD_MODEL_RESPONSE__INIT;
    describe(model, &described);
    response.model = &described;
    kd_call_reply(call, &response.base);
}

void service_reply_unloaded(kd_call *call)
{
    Kindred__V1__UnloadModelResponse response = KINDRED__V1__UNLOAD_MODEL_RESPONSE__INIT;
    kd_call_reply(call, &response.base);
}

static void embed(void *state, kd_call *call, const ProtobufCMessage *message)
{
    pipeline_embed(state, call, (const Kindred__V1__EmbedRequest *)message);
}

static void open_stream(void *state, kd_call *call, const ProtobufCMessage *none)
{
    (void)none;
    pipeline_embed_stream(state, call);
}

static void load_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    pipeline_load(state, call, ((const Kindred__V1__LoadModelRequest *)message)->model);
}

static void unload_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    pipeline_unload(state, call, ((const Kindred__V1__UnloadModelRequest *)message)->model);
}

const char *precision_name(kd_precision precision)
{
    return precision == KD_PRECISION_BFLOAT16 ? "bfloat16" : "float32";
}

static void list_loaded_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__ListLoadedModelsResponse response = KINDRED__V1__LIST_LOADED_MODELS_RESPONSE__INIT;
    kd_model loaded[KD_EMBEDDER_MAX_MODELS];
    Kindred__V1__Model described[KD_EMBEDDER_MAX_MODELS], *list[KD_EMBEDDER_MAX_MODELS];
    uint64_t bytes[KD_EMBEDDER_MAX_MODELS];
    pipeline *const p = state;
    char runtime[128];
    (void)message;
    (void)snprintf(
        runtime, sizeof runtime, "%s, %s", kd_nn_describe(), precision_name(p->precision));
    response.n_models = model_set_list(p->models, loaded, bytes);
    for (size_t i = 0; i < response.n_models; i++) {
        describe(&loaded[i], &described[i]);
        list[i] = &described[i];
    }
    response.models = list;
    response.runtime = runtime;
    response.memory_bytes = bytes;
    response.n_memory_bytes = response.n_models;
    response.memory_limit_bytes = model_set_memory(p->models);
    kd_call_reply(call, &response.base);
}

static void get_embed_counts(void *state, kd_call *call, const ProtobufCMessage *message)
{
    Kindred__V1__GetEmbedCountsResponse response = KINDRED__V1__GET_EMBED_COUNTS_RESPONSE__INIT;
    const pipeline *const p = state;
    (void)message;
    response.images = kd_counter_value(p->images_total);
    response.computed = kd_counter_value(p->computed_total);
    response.cached = kd_counter_value(p->cached_total);
    response.shared = kd_counter_value(p->shared_total);
    response.broken = kd_counter_value(p->broken_total);
    response.dropped = kd_counter_value(p->dropped_total);
    response.shed = kd_counter_value(p->shed_total);
    response.cache_errors = kd_counter_value(p->cache_errors);
    response.has_cache = p->lookup_store != NULL;
    kd_call_reply(call, &response.base);
}

kd_status service_add(kd_server *server, pipeline *p, kd_error *err)
{
    static const kd_method methods[] = {{"Embed", embed, false},
        {"EmbedStream", open_stream, false}, {"LoadModel", load_model, false},
        {"UnloadModel", unload_model, false}, {"ListLoadedModels", list_loaded_models, false},
        {"GetEmbedCounts", get_embed_counts, false}};
    return kd_server_add(server, &kindred__v1__embedder_service__descriptor, methods,
        sizeof methods / sizeof methods[0], p, err);
}
