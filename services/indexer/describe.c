#include "services/indexer/describe.h"

void describe_index(
    const collection_info *info, Kindred__V1__Collection *out, described_parts *parts)
{
    const collection_settings *const asked = &info->settings;
    Kindred__V1__IndexSettings *const settings = &parts->settings;
    Kindred__V1__IndexState *const state = &parts->state;
    kindred__v1__index_settings__init(settings);
    settings->kind = (char *)(uintptr_t)collection_index_word(asked->index);
    settings->storage = (char *)(uintptr_t)collection_storage_word(asked->storage);
    settings->target_recall = asked->target_recall;
    kindred__v1__index_state__init(state);
    state->segments = (uint32_t)info->segments;
    state->approximate_segments = (uint32_t)info->approximate_segments;
    state->growing = info->growing;
    state->sealed = info->sealed;
    state->dead = info->dead;
    state->building = info->building;
    state->problem = (char *)(uintptr_t)info->problem;
    state->mapped_bytes = info->mapped_bytes;
    state->recall = info->recall;
    state->live_recall = info->live_recall;
    state->live_queries = info->live_queries;
    kindred__v1__durability__init(&parts->durability);
    parts->durability.window_ms = asked->durability_window_ms;
    out->index = (char *)(uintptr_t)collection_index_word(info->in_use);
    out->index_settings = settings;
    out->index_state = state;
    out->durability = &parts->durability;
}

kd_status settings_from_messages(const Kindred__V1__IndexSettings *index,
    const Kindred__V1__Durability *durability, collection_settings *settings, kd_error *err)
{
    const collection_settings defaults = COLLECTION_SETTINGS_INIT;
    if (index) {
        settings->index = COLLECTION_AUTO;
        settings->storage = defaults.storage;
        settings->target_recall =
            index->target_recall != 0 ? index->target_recall : defaults.target_recall;
        if (*index->kind && !collection_index_parse(index->kind, &settings->index))
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "there is no index '%.40s': it is auto, exact, hnsw or ivf", index->kind);
        if (*index->storage && !collection_storage_parse(index->storage, &settings->storage))
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "there is no storage '%.40s': it is int8, float16 or float32", index->storage);
    }
    if (durability)
        settings->durability_window_ms = durability->window_ms;
    return collection_settings_check(settings, err);
}
