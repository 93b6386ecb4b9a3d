/* The check in front of protobuf-c's unpacking. */
#include <stdlib.h>

#include "kindred/v1/embedder.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"

#include "lib/rpc/internal.h"
#include "tests/support/check.h"

static kd_error g_err;
static size_t g_memory;
#define SEARCH &kindred__v1__search_request__descriptor

static void test_rpc_wire__takes_a_real_message(void **state)
{
    Kindred__V1__SearchRequest request = KINDRED__V1__SEARCH_REQUEST__INIT;
    float values[] = {1, 2, 3};
    Kindred__V1__Vector vector = KINDRED__V1__VECTOR__INIT;
    Kindred__V1__Vector *queries[] = {&vector, &vector};
    char *names[] = {(char *)"Apple", (char *)"naïve"};
    uint64_t ids[] = {1, UINT64_MAX};
    uint8_t bytes[256];
    (void)state;
    vector.n_values = 3;
    vector.values = values;
    request.collection = (char *)"c";
    request.n_queries = 2;
    request.queries = queries;
    request.k = 5;
    request.n_super_classes = 2;
    request.super_classes = names;
    request.n_exclude_image_ids = 2;
    request.exclude_image_ids = ids;
    const size_t len = kindred__v1__search_request__pack(&request, bytes);
    CHECK_OK(kd_wire_check(SEARCH, bytes, len, &g_memory, &g_err), g_err);
    for (size_t cut = 1; cut < len;
        cut++) { /* a prefix is fine or refused, never read past its end */
        const kd_status status = kd_wire_check(SEARCH, bytes, cut, &g_memory, &g_err);
        assert_true(status == KD_OK || status == KD_INVALID_ARGUMENT);
    }
}

static void test_rpc_wire__refuses_nul_and_bad_utf8(void **state)
{
    const uint8_t nul[] = {0x0a, 3, 'a', 0, 'b'};
    const uint8_t surrogate[] = {0x0a, 3, 0xed, 0xa0, 0x80};
    const uint8_t overlong[] = {0x0a, 2, 0xc0, 0x80};
    (void)state;
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, nul, sizeof nul, &g_memory, &g_err), g_err);
    CHECK_STR("collection of SearchRequest is not UTF-8 text", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_wire_check(SEARCH, surrogate, sizeof surrogate, &g_memory, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_wire_check(SEARCH, overlong, sizeof overlong, &g_memory, &g_err), g_err);
}

static void test_rpc_wire__refuses_lengths_over_the_end(void **state)
{
    const uint8_t longer[] = {0x0a, 5, 'a'};
    const uint8_t huge[] = {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a'};
    const uint8_t endless[] = {
        0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t group[] = {0x0b, 0x0c};
    (void)state;
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_wire_check(SEARCH, longer, sizeof longer, &g_memory, &g_err), g_err);
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, huge, sizeof huge, &g_memory, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_wire_check(SEARCH, endless, sizeof endless, &g_memory, &g_err), g_err);
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, group, sizeof group, &g_memory, &g_err), g_err);
}

/* What protobuf-c really takes, at its most. */
static size_t g_now, g_most;

static void *count_alloc(void *arg, size_t size)
{
    size_t *const block = malloc(size + 16);
    (void)arg;
    assert_non_null(block);
    *block = size;
    g_now += size + 16;
    g_most = g_now > g_most ? g_now : g_most;
    return (char *)block + 16;
}

static void count_free(void *arg, void *at)
{
    size_t *const block = at ? (size_t *)(void *)((char *)at - 16) : NULL;
    (void)arg;
    if (block)
        g_now -= *block + 16;
    free(block);
}

static size_t most(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len)
{
    ProtobufCAllocator counting = {count_alloc, count_free, NULL};
    g_now = g_most = 0;
    ProtobufCMessage *const message = protobuf_c_message_unpack(type, &counting, len, bytes);
    assert_non_null(message);
    protobuf_c_message_free_unpacked(message, &counting);
    assert_int_equal(g_now, 0);
    return g_most;
}

/* n copies of the piece, checked and unpacked: what was foreseen is enough, and not wildly more. */
static void check_memory(
    const ProtobufCMessageDescriptor *type, const char *piece, size_t size, size_t n)
{
    uint8_t *const bytes = malloc(n * size);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + i * size, piece, size);
    CHECK_OK(kd_wire_check(type, bytes, n * size, &g_memory, &g_err), g_err);
    const size_t real = most(type, bytes, n * size);
    if (g_memory < real)
        fail_msg("%zu bytes foreseen, %zu taken", g_memory, real);
    if (g_memory > 4 * real + 4096)
        fail_msg("%zu bytes foreseen, only %zu taken", g_memory, real);
    free(bytes);
}

static void test_rpc_wire__foresees_the_memory_that_unpacking_takes(void **state)
{
    (void)state;
    check_memory(SEARCH, "\x1a\x00", 2, 10000);                    /* empty queries */
    check_memory(SEARCH, "\x1a\x06\x0a\x04\0\0\0\0", 8, 10000);    /* of one value */
    check_memory(SEARCH, "\x2a\x01x", 3, 10000);                   /* short super-classes */
    check_memory(SEARCH, "\x30\x01", 2, 10000);                    /* image ids, not packed */
    check_memory(SEARCH, "\x32\x08\1\2\3\4\5\6\7\x08", 10, 10000); /* packed */
    check_memory(SEARCH, "\x20\x05", 2, 10000);                    /* k, again and again */
    check_memory(SEARCH, "\xf2\x07\x01x", 4, 10000);               /* fields that nobody knows */
    static char unknown[4 + 4096] = "\xf2\x07\x80\x20";            /* field 126, of 4096 bytes */
    check_memory(SEARCH, unknown, sizeof unknown, 100);
    check_memory(SEARCH, "\xf8\x07\x01", 3, 10000);
    check_memory(&kindred__v1__embed_request__descriptor, "\x12\x02\xff\xd8", 4, 10000);
}

static void test_rpc_wire__bounds_that_memory(void **state)
{
    const size_t n = KD_RPC_MAX_UNPACKED / 64;
    uint8_t *const bytes = malloc(2 * n);
    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) { /* empty queries: two bytes each, an object each */
        bytes[2 * i] = 0x1a;
        bytes[2 * i + 1] = 0;
    }
    CHECK_FAILS(
        KD_RESOURCE_EXHAUSTED, kd_wire_check(SEARCH, bytes, 2 * n, &g_memory, &g_err), g_err);
    CHECK_HAS("more than 256 MiB", g_err.message);
    CHECK_OK(kd_wire_check(SEARCH, bytes, n / 4, &g_memory, &g_err), g_err);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_wire__takes_a_real_message),
        cmocka_unit_test(test_rpc_wire__refuses_nul_and_bad_utf8),
        cmocka_unit_test(test_rpc_wire__refuses_lengths_over_the_end),
        cmocka_unit_test(test_rpc_wire__foresees_the_memory_that_unpacking_takes),
        cmocka_unit_test(test_rpc_wire__bounds_that_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
