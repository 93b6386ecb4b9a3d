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

/* ---- The way in ---- */

static ProtobufCMessage *take(const ProtobufCMessageDescriptor *type, const char *text)
{
    kd_error err = KD_ERROR_INIT;
    json_t *object = NULL;
    ProtobufCMessage *message = NULL;
    CHECK_OK(kd_json_parse(&object, text, strlen(text), &err), err);
    CHECK_OK(kd_message_from_json(&message, type, object, &err), err);
    json_decref(object);
    return message;
}

#define SEARCH &kindred__v1__search_products_request__descriptor
#define SUBMIT &kindred__v1__submit_job_request__descriptor

static void test_rpc_json__takes_every_kind_of_field(void **state)
{
    (void)state;
    Kindred__V1__SearchProductsRequest *const search = (void *)take(SEARCH,
        "{\"collection\": \"sh\u00f6p\", \"image\": \"AAEC/w==\", \"k\": 4294967295, "
        "\"by_class\": true, \"min_score\": {\"value\": -0.5}, \"super_classes\": [\"a\", \"b\"], "
        "\"image_ids\": [1, \"18446744073709551615\"], \"conditions\": "
        "[{\"name\": \"color\", \"any_of\": {\"texts\": [\"red\"]}}, "
        "{\"name\": \"price\", \"range\": {\"max\": {\"value\": 3}}}]}");
    CHECK_STR("sh\xc3\xb6p", search->collection);
    CHECK_INT(KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_IMAGE, search->query_case);
    CHECK_INT(4, search->image.len);
    CHECK(memcmp(search->image.data, "\0\1\2\377", 4) == 0);
    CHECK(search->k == UINT32_MAX && search->by_class);
    CHECK_NEAR(-0.5, search->min_score->value, 0);
    CHECK_INT(2, search->n_super_classes);
    CHECK_STR("b", search->super_classes[1]);
    CHECK(search->n_image_ids == 2 && search->image_ids[1] == UINT64_MAX);
    CHECK_INT(2, search->n_conditions);
    CHECK_STR("red", search->conditions[0]->any_of->texts[0]);
    CHECK(!search->conditions[1]->range->min);
    CHECK_NEAR(3, search->conditions[1]->range->max->value, 0);
    kd_message_free(search);

    Kindred__V1__SearchProductsRequest *const vector =
        (void *)take(SEARCH, "{\"vector\": {\"values\": [1, 0.25, -3e-1]}}");
    CHECK_INT(3, vector->vector->n_values);
    CHECK_NEAR(-0.3, (double)vector->vector->values[2], 1e-7);
    kd_message_free(vector);

    Kindred__V1__ListJobsRequest *const jobs =
        (void *)take(&kindred__v1__list_jobs_request__descriptor, "{\"state\": \"running\"}");
    CHECK_INT(KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING, jobs->state);
    kd_message_free(jobs);

    Kindred__V1__SearchProductsRequest *const none = (void *)take(SEARCH, "{}");
    CHECK_STR("", none->collection);
    CHECK_INT(KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY__NOT_SET, none->query_case);
    kd_message_free(none);
}

static void test_rpc_json__comes_back_as_it_went(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"spec\": {\"train\": {\"dataset\": \"/d\", \"seed\": \"18446744073709551615\", "
        "\"learning_rate\": 0.001, \"flip\": {\"value\": 0}}}, \"request_id\": \"r\"}",
        "{\"spec\": {\"evaluate\": {\"models\": [\"a\", \"b\"], \"check\": true}}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ProtobufCMessage *const first = take(SUBMIT, texts[i]);
        json_t *const json = kd_message_json(first);
        char *const text = json_dumps(json, 0);
        ProtobufCMessage *const second = take(SUBMIT, text);
        json_t *const again = kd_message_json(second);
        CHECK(json_equal(json, again));
        json_decref(again);
        json_decref(json);
        free(text);
        kd_message_free(first);
        kd_message_free(second);
    }
}

static void test_rpc_json__names_the_field_that_is_wrong(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"colection\": \"a\"}", "colection is no field of a SearchProductsRequest"},
        {"{\"collection\": 5}", "collection is not a text"},
        {"{\"collection\": null}", "collection is not a text"},
        {"{\"k\": \"5\"}", "k is not a whole number"},
        {"{\"k\": 5.0}", "k is not a whole number"},
        {"{\"k\": -1}", "k is -1, allowed are 0 to 4294967295"},
        {"{\"k\": 4294967296}", "k is 4294967296, allowed are 0 to 4294967295"},
        {"{\"image_id\": -1}", "image_id is -1, allowed are 0 to"},
        {"{\"image_id\": \"-1\"}", "image_id is not a whole number of 64 bits"},
        {"{\"image_id\": \"18446744073709551616\"}", "image_id is not a whole number of 64 bits"},
        {"{\"image_id\": \"\"}", "image_id is not a whole number of 64 bits"},
        {"{\"by_class\": 1}", "by_class is neither true nor false"},
        {"{\"min_score\": 0.5}", "min_score is not an object"},
        {"{\"min_score\": {\"value\": \"0.5\"}}", "min_score.value is not a number"},
        {"{\"super_classes\": \"sofa\"}", "super_classes is not a list"},
        {"{\"super_classes\": [\"a\", 5]}", "super_classes[1] is not a text"},
        {"{\"vector\": {\"values\": [0, 1e39]}}",
            "vector.values[1] is 1e+39, which is out of range"},
        {"{\"image\": \"AAEC/w=\"}", "image is not a text of base64"},
        {"{\"image\": \"AA=C\"}", "image is not a text of base64"},
        {"{\"image\": \"AAE_\"}", "image is not a text of base64"},
        {"{\"image\": \"AAA \"}", "image is not a text of base64"},
        {"{\"image\": \"====\"}", "image is not a text of base64"},
        {"{\"image\": \"AAEC\", \"image_id\": 5}",
            "image_id is given beside image: only one of them may be"},
        {"{\"conditions\": [{\"name\": \"a\"}, {\"name\": \"b\", \"range\": {\"least\": 1}}]}",
            "conditions[1].range.least is no field of a Range"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kd_error err = KD_ERROR_INIT;
        json_t *object = NULL;
        ProtobufCMessage *message = NULL;
        CHECK_OK(kd_json_parse(&object, cases[i][0], strlen(cases[i][0]), &err), err);
        CHECK_FAILS(KD_INVALID_ARGUMENT, kd_message_from_json(&message, SEARCH, object, &err), err);
        CHECK_HAS(cases[i][1], err.message);
        assert_null(message);
        json_decref(object);
    }
    kd_error err = KD_ERROR_INIT;
    json_t *const object = json_pack("{s:s}", "state", "runing");
    ProtobufCMessage *message = NULL;
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_message_from_json(&message, &kindred__v1__list_jobs_request__descriptor, object, &err),
        err);
    CHECK_HAS("state is none of these words: unspecified, queued, running, done", err.message);
    json_decref(object);
}

static void test_rpc_json__refuses_what_is_no_object(void **state)
{
    (void)state;
    static const char *const texts[][2] = {{"", "not JSON: line 1, column 0"},
        {"[]", "not a JSON object"}, {"{\"a\": 1, \"a\": 2}", "a key comes twice"},
        {"{\"a\": 1", "not JSON"}, {"{} x", "not JSON"}, {"{\"a\": NaN}", "not JSON"},
        {"{\"a\": 1e999}", "not JSON"}, {"{\"a\": 99999999999999999999}", "not JSON"},
        {"{\"a\": \"\\u0000\"}", "not JSON"}, {"{\"a\": \"\xff\"}", "not JSON"}};
    kd_error err = KD_ERROR_INIT;
    json_t *object = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CHECK_FAILS(KD_INVALID_ARGUMENT,
            kd_json_parse(&object, texts[i][0], strlen(texts[i][0]), &err), err);
        CHECK_HAS(texts[i][1], err.message);
        assert_null(object);
    }
    for (unsigned more = 0; more < 2; more++) { /* the last that is taken, the first that isn't */
        const size_t n = KD_JSON_MAX_VALUES - 3 + more;
        char *const text = malloc(2 * n + 16), *at = text;
        assert_non_null(text);
        at = stpcpy(at, "{\"a\":[0");
        for (size_t i = 0; i < n; i++)
            at = stpcpy(at, ",0");
        at = stpcpy(at, "]}");
        const size_t len = (size_t)(at - text);
        if (more == 0)
            CHECK_OK(kd_json_parse(&object, text, len, &err), err);
        else
            CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_json_parse(&object, text, len, &err), err);
        json_decref(object);
        free(text);
    }
}

static void test_rpc_json__takes_text_of_a_query(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"collection", "5"}, {"k", "7"}, {"by_class", "true"},
        {"min_score", "0.25"}, {"image_id", "18446744073709551615"}, {"super_classes", "a"},
        {"super_classes", "b"}, {"image_ids", "3"}};
    static const char *const bad[][3] = {{"k", "x", "k can't be 'x'"}, {"k", "", "k can't be ''"},
        {"by_class", "yes", "by_class can't be 'yes'"}, {"min_score", "much", "min_score can't be"},
        {"collection", "other", "collection is given twice"},
        {"conditions", "a", "conditions can't be"}, {"image_id", "-3", "image_id can't be"},
        {"nothing", "1", "nothing is no field of a"}};
    kd_error err = KD_ERROR_INIT;
    json_t *const object = json_object();
    ProtobufCMessage *message = NULL;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CHECK_OK(kd_json_set_text(object, SEARCH, good[i][0], good[i][1], &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_FAILS(
            KD_INVALID_ARGUMENT, kd_json_set_text(object, SEARCH, bad[i][0], bad[i][1], &err), err);
        CHECK_HAS(bad[i][2], err.message);
    }
    CHECK_OK(kd_message_from_json(&message, SEARCH, object, &err), err);
    const Kindred__V1__SearchProductsRequest *const search = (const void *)message;
    CHECK_STR("5", search->collection);
    CHECK(search->k == 7 && search->by_class && search->image_id == UINT64_MAX);
    CHECK_NEAR(0.25, search->min_score->value, 0);
    CHECK_INT(2, search->n_super_classes);
    CHECK_INT(1, search->n_image_ids);
    kd_message_free(message);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_json__has_every_kind_of_field),
        cmocka_unit_test(test_rpc_json__bytes_are_base64),
        cmocka_unit_test(test_rpc_json__takes_every_kind_of_field),
        cmocka_unit_test(test_rpc_json__comes_back_as_it_went),
        cmocka_unit_test(test_rpc_json__names_the_field_that_is_wrong),
        cmocka_unit_test(test_rpc_json__refuses_what_is_no_object),
        cmocka_unit_test(test_rpc_json__takes_text_of_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
