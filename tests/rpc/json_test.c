#include <stdlib.h>

#include "kindred/v1/gateway.pb-c.h"

#include "lib/rpc/rpc.h"
#include "tests/support/check.h"

static void test_rpc_json__has_every_kind_of_field(void **state)
{
    Kindred__V1__Job job = KINDRED__V1__JOB__INIT;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__IndexSpec index = KINDRED__V1__INDEX_SPEC__INIT;
    Kindred__V1__JobResult result = KINDRED__V1__JOB_RESULT__INIT;
    char *skipped[] = {(char *)"a \"b\""};
    (void)state;
    index.dataset = (char *)"/d";
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_INDEX;
    spec.index = &index;
    job.id = (char *)"j1";
    job.state = KINDRED__V1__JOB_STATE__JOB_STATE_DONE;
    job.attempt = 2;
    job.created_unix_ms = 1234567890123;
    job.spec = &spec;
    result.images = UINT64_MAX;
    result.n_skipped_names = 1;
    result.skipped_names = skipped;
    job.result = &result;
    json_t *const json = kd_message_json(&job.base);
    char *const text = json_dumps(json, JSON_COMPACT);
    CHECK_HAS("\"id\":\"j1\"", text);
    CHECK_HAS("\"state\":\"done\"", text);
    CHECK_HAS("\"attempt\":2", text);
    CHECK_HAS("\"created_unix_ms\":1234567890123", text);
    CHECK_HAS("\"spec\":{\"index\":{\"dataset\":\"/d\",\"model\":\"\"", text);
    CHECK_HAS("\"images\":\"18446744073709551615\"", text);
    CHECK_HAS("\"skipped_names\":[\"a \\\"b\\\"\"]", text);
    CHECK_HAS("\"dead\":false", text);
    assert_null(json_object_get(json, "progress"));
    assert_null(json_object_get(json_object_get(json, "spec"), "train"));
    free(text);
    json_decref(json);
}

static void test_rpc_json__bytes_are_base64(void **state)
{
    Kindred__V1__GetReportResponse piece = KINDRED__V1__GET_REPORT_RESPONSE__INIT;
    uint8_t bytes[] = {0, 1, 2, 255};
    (void)state;
    piece.data = (ProtobufCBinaryData){4, bytes};
    json_t *const json = kd_message_json(&piece.base);
    CHECK_STR("AAEC/w==", json_string_value(json_object_get(json, "data")));
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_json__has_every_kind_of_field),
        cmocka_unit_test(test_rpc_json__bytes_are_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
