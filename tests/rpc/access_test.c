/* Keys and scopes on the wire: who is refused, and what a service may do on behalf of another. */
#include <stdlib.h>
#include <unistd.h>

#include "kindred/v1/indexer.pb-c.h"

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/rpc/internal.h"
#include "tests/support/check.h"

#define INDEXER &kindred__v1__indexer_service__descriptor

static char g_dir[512], g_path[600];
static char g_own[KD_KEY_TEXT], g_reader[KD_KEY_TEXT], g_writer[KD_KEY_TEXT];
static kd_access *g_access;
static kd_error g_err;

/* A server of the indexer's methods: the front's are passed on to the one behind. */
typedef struct room {
    kd_server *server;
    char address[32];
    atomic_uint deleted;
    atomic_bool holds;       /* GetItem is not answered… */
    _Atomic(kd_call *) held; /* …but kept here */
    kd_channel *behind;      /* NULL: the calls end here */
} room;
static room g_behind, g_front;

static void get_item(void *state, kd_call *call, const ProtobufCMessage *request)
{
    Kindred__V1__GetItemResponse response = KINDRED__V1__GET_ITEM_RESPONSE__INIT;
    room *const r = state;
    (void)request;
    if (atomic_load(&r->holds))
        atomic_store(&r->held, call);
    else
        kd_call_reply(call, &response.base);
}

static void delete_items(void *state, kd_call *call, const ProtobufCMessage *request)
{
    Kindred__V1__DeleteItemsResponse response = KINDRED__V1__DELETE_ITEMS_RESPONSE__INIT;
    (void)request;
    atomic_fetch_add(&((room *)state)->deleted, 1);
    kd_call_reply(call, &response.base);
}

static void on_deleted(void *arg, const ProtobufCMessage *response, const kd_error *error)
{
    Kindred__V1__ListItemsResponse page = KINDRED__V1__LIST_ITEMS_RESPONSE__INIT;
    if (response)
        kd_call_reply(arg, &page.base);
    else
        kd_call_fail(arg, error);
}

/* A method of readers that, by a mistake of its author, deletes. */
static void list_items(void *state, kd_call *call, const ProtobufCMessage *request)
{
    Kindred__V1__DeleteItemsRequest deletion = KINDRED__V1__DELETE_ITEMS_REQUEST__INIT;
    (void)request;
    kd_call_ask(
        call, ((room *)state)->behind, INDEXER, "DeleteItems", &deletion.base, on_deleted, call);
}

/* The same by a call that is waited for. */
static void search(void *state, kd_call *call, const ProtobufCMessage *request)
{
    Kindred__V1__DeleteItemsRequest deletion = KINDRED__V1__DELETE_ITEMS_REQUEST__INIT;
    Kindred__V1__SearchResponse response = KINDRED__V1__SEARCH_RESPONSE__INIT;
    const kd_call_options options = {.parent = call};
    ProtobufCMessage *deleted = NULL;
    kd_error err;
    (void)request;
    if (kd_channel_call(((room *)state)->behind, INDEXER, "DeleteItems", &deletion.base, &options,
            &deleted, &err) == KD_OK)
        kd_call_reply(call, &response.base);
    else
        kd_call_fail(call, &err);
    kd_message_free(deleted);
}

static void start(room *r, kd_access *access)
{
    static const kd_method methods[] = {{"GetItem", get_item, false},
        {"DeleteItems", delete_items, false}, {"ListItems", list_items, false},
        {"Search", search, true}};
    kd_server_options options = KD_SERVER_OPTIONS_INIT;
    uint16_t port;
    options.access = access;
    CHECK_OK(kd_server_new(&r->server, &options, &g_err), g_err);
    if (r->behind)
        CHECK_OK(kd_server_add(r->server, INDEXER, methods + 2, 2, r, &g_err), g_err);
    else
        CHECK_OK(kd_server_add(r->server, INDEXER, methods, 2, r, &g_err), g_err);
    if (r->behind)
        CHECK_OK(kd_server_add_proxy(r->server, INDEXER, r->behind, &g_err), g_err);
    CHECK_OK(kd_server_start(r->server, "127.0.0.1:0", &port, &g_err), g_err);
    (void)snprintf(r->address, sizeof r->address, "127.0.0.1:%u", port);
}

static void make_key(const char *name, kd_scope scope, uint32_t rate, char *text)
{
    kd_key wanted = {.scope = scope, .rate = rate}, made;
    (void)kd_copy(wanted.name, sizeof wanted.name, name);
    CHECK_OK(kd_keys_create(g_path, &wanted, &made, text, &g_err), g_err);
}

/* The front asks with own (NULL: without a key), and lets in by access (NULL: everyone). */
static void start_both(const char *own, kd_access *access)
{
    const kd_channel_options options = {.key = own};
    start(&g_behind, g_access);
    CHECK_OK(kd_channel_open(&g_front.behind, g_behind.address, &options, &g_err), g_err);
    start(&g_front, access);
}

static int setup(void **state)
{
    (void)state;
    kd_rpc_init();
    memset(&g_behind, 0, sizeof g_behind);
    memset(&g_front, 0, sizeof g_front);
    (void)strcpy(g_dir, KD_BINARY_DIR "/rpc-access-XXXXXX");
    if (!mkdtemp(g_dir))
        return -1;
    (void)snprintf(g_path, sizeof g_path, "%s/keys.json", g_dir);
    make_key("reader", KD_SCOPE_READ, 0, g_reader);
    make_key("writer", KD_SCOPE_WRITE, 0, g_writer);
    CHECK_OK(kd_key_make(g_own, &g_err), g_err);
    CHECK_OK(kd_access_new(&g_access, g_path, g_own, &g_err), g_err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kd_server_free(g_front.server);
    kd_channel_close(g_front.behind);
    kd_server_free(g_behind.server);
    kd_access_free(g_access);
    kd_rpc_shutdown();
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

static kd_status ask_with(const room *r, const char *key, const char *method,
    const ProtobufCMessage *request, const kd_call_options *options)
{
    const kd_channel_options with = {.key = key};
    kd_channel *channel = NULL;
    ProtobufCMessage *response = NULL;
    CHECK_OK(kd_channel_open(&channel, r->address, &with, &g_err), g_err);
    const kd_status status =
        kd_channel_call(channel, INDEXER, method, request, options, &response, &g_err);
    kd_message_free(response);
    kd_channel_close(channel);
    if (status != KD_OK && key)
        CHECK(!strstr(g_err.message, key));
    return status;
}

static kd_status ask(const room *r, const char *key, const char *method)
{
    Kindred__V1__GetItemRequest get = KINDRED__V1__GET_ITEM_REQUEST__INIT;
    Kindred__V1__DeleteItemsRequest deletion = KINDRED__V1__DELETE_ITEMS_REQUEST__INIT;
    Kindred__V1__ListItemsRequest list = KINDRED__V1__LIST_ITEMS_REQUEST__INIT;
    Kindred__V1__SearchRequest query = KINDRED__V1__SEARCH_REQUEST__INIT;
    const ProtobufCMessage *const request = strcmp(method, "GetItem") == 0     ? &get.base
                                            : strcmp(method, "ListItems") == 0 ? &list.base
                                            : strcmp(method, "Search") == 0    ? &query.base
                                                                               : &deletion.base;
    return ask_with(r, key, method, request, NULL);
}

static void test_rpc_access__each_method_asks_for_its_scope(void **state)
{
    static const char wrong[] = "kd_0123456789012345678901234567890123456789012";
    kd_channel *channel = NULL;
    (void)state;
    start_both(g_own, g_access);
    for (size_t i = 0; i < 2; i++) {
        const room *const r = i == 0 ? &g_behind : &g_front;
        CHECK_INT(KD_UNAUTHENTICATED, ask(r, NULL, "GetItem"));
        CHECK_INT(KD_UNAUTHENTICATED, ask(r, wrong, "GetItem"));
        CHECK_INT(KD_OK, ask(r, g_reader, "GetItem"));
        CHECK_INT(KD_PERMISSION_DENIED, ask(r, g_reader, "DeleteItems"));
        CHECK_INT(i, atomic_load(&g_behind.deleted));
        CHECK_INT(KD_OK, ask(r, g_writer, "DeleteItems"));
        CHECK_INT(i + 1, atomic_load(&g_behind.deleted));
        CHECK_OK(kd_channel_open(&channel, r->address, NULL, &g_err), g_err);
        CHECK_OK(kd_health_check(channel, 10000, &g_err), g_err);
        kd_channel_close(channel);
    }
}

static void test_rpc_access__a_service_lends_its_callers_no_right(void **state)
{
    (void)state;
    start_both(g_own, g_access);
    CHECK_INT(KD_PERMISSION_DENIED, ask(&g_front, g_reader, "ListItems"));
    CHECK_STR("the caller has scope read, this needs write", g_err.message);
    CHECK_INT(KD_PERMISSION_DENIED, ask(&g_front, g_reader, "Search"));
    CHECK_INT(0, atomic_load(&g_behind.deleted));
    CHECK_INT(KD_OK, ask(&g_front, g_writer, "ListItems"));
    CHECK_INT(KD_OK, ask(&g_front, g_writer, "Search"));
    CHECK_INT(2, atomic_load(&g_behind.deleted));
    /* What the service does for itself it may. */
    CHECK_INT(KD_OK, ask(&g_behind, g_own, "DeleteItems"));

    /* Nor can a caller take one by a header of ours. */
    Kindred__V1__DeleteItemsRequest deletion = KINDRED__V1__DELETE_ITEMS_REQUEST__INIT;
    const kd_metadata more[] = {{KD_ON_BEHALF, "admin"}};
    const kd_call_options options = {.metadata = more, .n_metadata = 1};
    CHECK_INT(KD_PERMISSION_DENIED,
        ask_with(&g_front, g_reader, "DeleteItems", &deletion.base, &options));
    CHECK_INT(KD_PERMISSION_DENIED,
        ask_with(&g_behind, g_reader, "DeleteItems", &deletion.base, &options));
}

static void test_rpc_access__without_a_key_of_its_own_a_service_passes_the_callers_on(void **state)
{
    (void)state;
    start_both(NULL, NULL);
    CHECK_INT(KD_UNAUTHENTICATED, ask(&g_front, NULL, "GetItem"));
    CHECK_INT(KD_OK, ask(&g_front, g_reader, "GetItem"));
    CHECK_INT(KD_PERMISSION_DENIED, ask(&g_front, g_reader, "DeleteItems"));
    CHECK_INT(KD_PERMISSION_DENIED, ask(&g_front, g_reader, "ListItems"));
    CHECK_INT(KD_PERMISSION_DENIED, ask(&g_front, g_reader, "Search"));
    CHECK_INT(KD_OK, ask(&g_front, g_writer, "Search"));
}

static void test_rpc_access__a_rate_is_counted_at_the_door_alone(void **state)
{
    char slow[KD_KEY_TEXT];
    (void)state;
    make_key("slow", KD_SCOPE_WRITE, 2, slow);
    kd_access_free(g_access);
    g_access = NULL;
    CHECK_OK(kd_access_new(&g_access, g_path, g_own, &g_err), g_err);
    start_both(g_own, g_access);
    const int64_t begun_ms = kd_mono_ms();
    CHECK_INT(KD_OK, ask(&g_front, slow, "Search"));
    CHECK_INT(KD_OK, ask(&g_front, slow, "DeleteItems"));
    const kd_status third = ask(&g_front, slow, "GetItem");
    if (kd_mono_ms() - begun_ms < 500) /* else a slow machine has earned it */
        CHECK_INT(KD_RESOURCE_EXHAUSTED, third);
    for (int i = 0; i < 200 && ask(&g_front, slow, "GetItem") != KD_OK; i++)
        kd_sleep_ms(20);
    CHECK_INT(KD_OK, ask(&g_front, g_reader, "GetItem"));
}

/* A call that waits at the room behind. */
static kd_stream *hold(kd_channel *channel)
{
    Kindred__V1__GetItemRequest get = KINDRED__V1__GET_ITEM_REQUEST__INIT;
    kd_stream *stream = NULL;
    atomic_store(&g_behind.held, NULL);
    CHECK_OK(kd_stream_open(&stream, channel, INDEXER, "GetItem", &get.base, NULL, &g_err), g_err);
    for (int i = 0; i < 1000 && !atomic_load(&g_behind.held); i++)
        kd_sleep_ms(10);
    CHECK(atomic_load(&g_behind.held));
    return stream;
}

static void let_go(kd_call *call)
{
    Kindred__V1__GetItemResponse response = KINDRED__V1__GET_ITEM_RESPONSE__INIT;
    kd_call_reply(call, &response.base);
}

static void test_rpc_access__a_revoked_key_ends_what_it_began(void **state)
{
    const kd_channel_options as_reader = {.key = g_reader}, as_writer = {.key = g_writer};
    kd_channel *reader = NULL, *writer = NULL;
    ProtobufCMessage *answer = NULL;
    kd_key revoked;
    bool waiting;
    (void)state;
    start_both(g_own, g_access);
    atomic_store(&g_behind.holds, true);
    CHECK_OK(kd_channel_open(&reader, g_front.address, &as_reader, &g_err), g_err);
    CHECK_OK(kd_channel_open(&writer, g_front.address, &as_writer, &g_err), g_err);
    kd_stream *const stays = hold(writer);
    kd_call *const kept = atomic_load(&g_behind.held);
    kd_stream *const ends = hold(reader);
    kd_call *const dropped = atomic_load(&g_behind.held);

    CHECK_OK(kd_keys_revoke(g_path, "reader", &revoked, &g_err), g_err);
    CHECK_FAILS(KD_UNAUTHENTICATED, kd_stream_read(ends, 10000, &answer, &waiting, &g_err), g_err);
    CHECK_HAS("revoked", g_err.message);
    /* Down to the last hop, which knows nothing of the key. */
    for (int i = 0; i < 1000 && !kd_call_cancelled(dropped); i++)
        kd_sleep_ms(10);
    CHECK(kd_call_cancelled(dropped));
    let_go(dropped);
    CHECK(!kd_call_cancelled(kept));
    let_go(kept);
    CHECK_OK(kd_stream_read(stays, 10000, &answer, &waiting, &g_err), g_err);
    CHECK(answer);
    kd_message_free(answer);
    kd_stream_close(ends);
    kd_stream_close(stays);
    kd_channel_close(reader);
    kd_channel_close(writer);
}

static void test_rpc_access__a_key_that_no_header_can_have_is_told(void **state)
{
    const kd_channel_options options = {.key = "kd_\nabc"};
    kd_channel *channel = NULL;
    (void)state;
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_channel_open(&channel, "127.0.0.1:1", &options, &g_err), g_err);
    CHECK(!strstr(g_err.message, "abc"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_rpc_access__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_method_asks_for_its_scope),
        TEST(a_service_lends_its_callers_no_right),
        TEST(without_a_key_of_its_own_a_service_passes_the_callers_on),
        TEST(a_rate_is_counted_at_the_door_alone),
        TEST(a_revoked_key_ends_what_it_began),
        TEST(a_key_that_no_header_can_have_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
