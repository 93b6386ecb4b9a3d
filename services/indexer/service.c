/* The calls about collections. All handlers block (SQLite), so they run on the server's workers;
 * but searches and upserts have threads of their own. */
#include "services/indexer/service.h"

#include <stdlib.h>
#include <string.h>

#include "kindred/v1/indexer.pb-c.h"

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/indexer/describe.h"

#define DEFAULT_PAGE 100u
#define MAX_PAGE 1000u

static size_t names_of(const registry_entry *entry)
{
    return entry->n_aliases + entry->n_previously;
}

/* Strings are borrowed from the entry; aliases (room for names_of) and parts as well. */
static void describe(const registry_entry *entry, Kindred__V1__Collection *out,
    described_parts *parts, char **aliases)
{
    kindred__v1__collection__init(out);
    out->name = (char *)entry->info.name;
    for (size_t i = 0; i < entry->n_aliases; i++)
        aliases[i] = entry->aliases[i];
    out->n_aliases = entry->n_aliases;
    out->aliases = aliases;
    out->previous_aliases = aliases + entry->n_aliases;
    out->n_previous_aliases = entry->n_previously;
    for (size_t i = 0; i < entry->n_previously; i++)
        out->previous_aliases[i] = entry->previously[i];
    if (entry->damage.status != KD_OK) {
        out->damage = (char *)entry->damage.message;
        return;
    }
    out->model_id = (char *)entry->info.model_id;
    out->dim = (uint32_t)entry->info.dim;
    out->count = entry->info.count;
    out->classes = entry->info.classes;
    out->super_classes = entry->info.super_classes;
    out->memory_bytes = entry->info.memory_bytes;
    out->disk_bytes = entry->info.disk_bytes;
    out->created_unix_ms = entry->info.created_ms;
    describe_index(&entry->info, out, parts);
}

/* Answers a message whose first field is a collection: those of get, update, create and restore.
 * With `created` it is the response of create. */
static void reply_collection(indexer *x, kd_call *call, const char *name,
    const ProtobufCMessageDescriptor *type, const bool *created)
{
    registry_entry *entry = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = registry_describe(x->registry, name, &entry, &err);
    char **const aliases = status == KD_OK ? calloc(names_of(entry) + 1, sizeof(char *)) : NULL;
    if (status == KD_OK && !aliases)
        status = kd_error_memory(&err, "the aliases");
    if (status == KD_OK) {
        Kindred__V1__Collection described;
        described_parts parts;
        describe(entry, &described, &parts, aliases);
        if (created) {
            Kindred__V1__CreateCollectionResponse response =
                KINDRED__V1__CREATE_COLLECTION_RESPONSE__INIT;
            response.collection = &described;
            response.created = *created;
            kd_call_reply(call, &response.base);
        } else { /* the others' responses have one layout: base and collection */
            Kindred__V1__GetCollectionResponse response =
                KINDRED__V1__GET_COLLECTION_RESPONSE__INIT;
            response.base.descriptor = type;
            response.collection = &described;
            kd_call_reply(call, &response.base);
        }
    } else {
        kd_call_fail(call, &err);
    }
    free(aliases);
    registry_entries_free(entry, status == KD_OK || entry ? 1 : 0);
}

static void create_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__CreateCollectionRequest *const request =
        (const Kindred__V1__CreateCollectionRequest *)message;
    collection *c = NULL;
    bool created = false;
    collection_settings settings = COLLECTION_SETTINGS_INIT;
    kd_error err = KD_ERROR_INIT;
    kd_status status = settings_from_messages(request->index, request->durability, &settings, &err);
    if (status == KD_OK)
        status = registry_create(x->registry, request->name, request->model_id, request->dim,
            &settings, request->if_absent, &c, &created, &err);
    if (status != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    collection_release(c);
    if (created)
        KD_LOG(KD_LOG_INFO, "collection_created", KD_STR("collection", request->name),
            KD_STR("model", request->model_id), KD_STR("trace", kd_call_trace(call)));
    reply_collection(
        x, call, request->name, &kindred__v1__create_collection_response__descriptor, &created);
}

static void get_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    reply_collection(state, call, ((const Kindred__V1__GetCollectionRequest *)message)->name,
        &kindred__v1__get_collection_response__descriptor, NULL);
}

/* What the request leaves out stays. */
static kd_status merge_settings(void *arg, collection_settings *settings, kd_error *err)
{
    const Kindred__V1__UpdateCollectionRequest *const request = arg;
    return settings_from_messages(request->index, request->durability, settings, err);
}

static void update_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__UpdateCollectionRequest *const request =
        (const Kindred__V1__UpdateCollectionRequest *)message;
    collection *c = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = registry_find(x->registry, request->name, &c, &err);
    if (status == KD_OK)
        status = collection_reconfigure(c, merge_settings, (void *)(uintptr_t)request, &err);
    collection_release(c);
    if (status != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    reply_collection(
        x, call, request->name, &kindred__v1__update_collection_response__descriptor, NULL);
}

static void reply_page(kd_call *call, const registry_entry *entries, size_t n, bool more)
{
    Kindred__V1__ListCollectionsResponse response = KINDRED__V1__LIST_COLLECTIONS_RESPONSE__INIT;
    size_t n_aliases = 0;
    for (size_t i = 0; i < n; i++)
        n_aliases += names_of(&entries[i]);
    Kindred__V1__Collection *const collections = calloc(n + 1, sizeof *collections);
    Kindred__V1__Collection **const list = calloc(n + 1, sizeof(Kindred__V1__Collection *));
    described_parts *const parts = calloc(n + 1, sizeof *parts);
    char **const aliases = calloc(n_aliases + 1, sizeof(char *));
    if (collections && list && parts && aliases) {
        char **at = aliases;
        for (size_t i = 0; i < n; i++) {
            describe(&entries[i], &collections[i], &parts[i], at);
            at += names_of(&entries[i]);
            list[i] = &collections[i];
        }
        response.n_collections = n;
        response.collections = list;
        if (more)
            response.next_page_token = (char *)entries[n - 1].info.name;
        kd_call_reply(call, &response.base);
    } else {
        kd_error err;
        (void)kd_error_memory(&err, "the collections");
        kd_call_fail(call, &err);
    }
    free(aliases);
    free(parts);
    free(list);
    free(collections);
}

static void list_collections(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__ListCollectionsRequest *const request =
        (const Kindred__V1__ListCollectionsRequest *)message;
    registry_entry *entries = NULL;
    kd_error err = KD_ERROR_INIT;
    size_t size = request->page_size ? request->page_size : DEFAULT_PAGE, n = 0;
    size = size > MAX_PAGE ? MAX_PAGE : size;
    /* One more than asked for tells whether there is a next page. */
    if (registry_list(x->registry, request->page_token, size + 1, &entries, &n, &err) != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    reply_page(call, entries, n > size ? size : n, n > size);
    registry_entries_free(entries, n);
}

static void delete_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const char *const name = ((const Kindred__V1__DeleteCollectionRequest *)message)->name;
    Kindred__V1__DeleteCollectionResponse response = KINDRED__V1__DELETE_COLLECTION_RESPONSE__INIT;
    kd_error err = KD_ERROR_INIT;
    if (registry_delete(x->registry, name, &err) != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    KD_LOG(KD_LOG_INFO, "collection_deleted", KD_STR("collection", name));
    kd_call_reply(call, &response.base);
}

static void snapshot_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const char *const name = ((const Kindred__V1__SnapshotCollectionRequest *)message)->name;
    Kindred__V1__SnapshotCollectionResponse response =
        KINDRED__V1__SNAPSHOT_COLLECTION_RESPONSE__INIT;
    collection *c = NULL;
    kd_error err = KD_ERROR_INIT;
    char file[128], *path = NULL;
    uint64_t bytes = 0;
    kd_status status = registry_find(x->registry, name, &c, &err);
    if (status == KD_OK) {
        (void)snprintf(
            file, sizeof file, "%s-%lld.snapshot", collection_name(c), (long long)kd_wall_ms());
        path = kd_format("%s/%s", x->snapshots_dir, file);
        status =
            path ? collection_snapshot(c, path, &bytes, &err) : kd_error_memory(&err, "a path");
    }
    if (status == KD_OK) {
        response.file = file;
        response.bytes = bytes;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    free(path);
    collection_release(c);
}

static void restore_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__RestoreCollectionRequest *const request =
        (const Kindred__V1__RestoreCollectionRequest *)message;
    collection *c = NULL;
    kd_error err = KD_ERROR_INIT;
    char *path = NULL;
    kd_status status = KD_OK;
    if (request->file[0] == '\0' || request->file[0] == '.' || strchr(request->file, '/'))
        status = kd_error_set(&err, KD_INVALID_ARGUMENT,
            "'%.80s' is not a file name in the snapshots folder", request->file);
    if (status == KD_OK) {
        path = kd_format("%s/%s", x->snapshots_dir, request->file);
        status = path ? registry_restore(x->registry, request->name, path, &c, &err)
                      : kd_error_memory(&err, "a path");
    }
    free(path);
    if (status != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    collection_release(c);
    reply_collection(
        x, call, request->name, &kindred__v1__restore_collection_response__descriptor, NULL);
}

static void set_alias(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__SetAliasRequest *const request =
        (const Kindred__V1__SetAliasRequest *)message;
    Kindred__V1__SetAliasResponse response = KINDRED__V1__SET_ALIAS_RESPONSE__INIT;
    char previous[COLLECTION_NAME_SIZE] = "", back[COLLECTION_NAME_SIZE] = "";
    kd_error err = KD_ERROR_INIT;
    kd_status status;
    if (!request->rollback)
        status =
            registry_set_alias(x->registry, request->alias, request->collection, previous, &err);
    else if (*request->collection)
        status = kd_error_set(
            &err, KD_INVALID_ARGUMENT, "a rollback names no collection: it knows where it leads");
    else
        status = registry_roll_back_alias(x->registry, request->alias, back, previous, &err);
    if (status == KD_OK) {
        response.previous_collection = previous;
        response.collection = request->rollback ? back : request->collection;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
}

kd_status service_add(indexer *x, kd_server *server, kd_error *err)
{
    static const kd_method methods[] = {
        {"CreateCollection", create_collection, true},
        {"GetCollection", get_collection, true},
        {"UpdateCollection", update_collection, true},
        {"ListCollections", list_collections, true},
        {"DeleteCollection", delete_collection, true},
        {"Upsert", upsert, false},
        {"DeleteItems", delete_items, true},
        {"GetItem", get_item, true},
        {"ListItems", list_items, true},
        {"Search", search, false},
        {"SnapshotCollection", snapshot_collection, true},
        {"RestoreCollection", restore_collection, true},
        {"SetAlias", set_alias, true},
    };
    return kd_server_add(server, &kindred__v1__indexer_service__descriptor, methods,
        sizeof methods / sizeof methods[0], x, err);
}
