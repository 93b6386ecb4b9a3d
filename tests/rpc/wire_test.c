/* The check in front of protobuf-c's unpacking. */
#include <stdlib.h>

#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"

#include "lib/rpc/internal.h"
#include "tests/support/check.h"

static kd_error g_err;
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
    CHECK_OK(kd_wire_check(SEARCH, bytes, len, &g_err), g_err);
    for (size_t cut = 1; cut < len;
        cut++) { /* a prefix is fine or refused, never read past its end */
        const kd_status status = kd_wire_check(SEARCH, bytes, cut, &g_err);
        assert_true(status == KD_OK || status == KD_INVALID_ARGUMENT);
    }
}

static void test_rpc_wire__refuses_nul_and_bad_utf8(void **state)
{
    const uint8_t nul[] = {0x0a, 3, 'a', 0, 'b'};
    const uint8_t surrogate[] = {0x0a, 3, 0xed, 0xa0, 0x80};
    const uint8_t overlong[] = {0x0a, 2, 0xc0, 0x80};
    (void)state;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, nul, sizeof nul, &g_err), g_err);
    CHECK_STR("collection of SearchRequest is not UTF-8 text", g_err.message);
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, surrogate, sizeof surrogate, &g_err), g_err);
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, overlong, sizeof overlong, &g_err), g_err);
}

static void test_rpc_wire__refuses_lengths_over_the_end(void **state)
{
    const uint8_t longer[] = {0x0a, 5, 'a'};
    const uint8_t huge[] = {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a'};
    const uint8_t endless[] = {
        0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t group[] = {0x0b, 0x0c};
    (void)state;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, longer, sizeof longer, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, huge, sizeof huge, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, endless, sizeof endless, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_wire_check(SEARCH, group, sizeof group, &g_err), g_err);
}

static void test_rpc_wire__bounds_the_number_of_elements(void **state)
{
    const size_t n = KD_RPC_MAX_ELEMENTS + 1;
    uint8_t *const bytes = malloc(2 * n);
    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) { /* empty queries: two bytes each, an object each */
        bytes[2 * i] = 0x1a;
        bytes[2 * i + 1] = 0;
    }
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_wire_check(SEARCH, bytes, 2 * n, &g_err), g_err);
    CHECK_OK(kd_wire_check(SEARCH, bytes, 2 * (n - 1), &g_err), g_err);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_wire__takes_a_real_message),
        cmocka_unit_test(test_rpc_wire__refuses_nul_and_bad_utf8),
        cmocka_unit_test(test_rpc_wire__refuses_lengths_over_the_end),
        cmocka_unit_test(test_rpc_wire__bounds_the_number_of_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
