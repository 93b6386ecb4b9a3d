/* What a crash, a bad disk or a hand left in the folder of models. */
#include "tests/models/room.h"

static void test_models_damage__damage_is_named_and_does_not_hide_the_others(void **state)
{
    room *const r = *state;
    char good[KD_MODEL_ID_TEXT], bad[KD_MODEL_ID_TEXT], path[160];
    kd_model got;
    publish(r, "good", "good", good);
    publish(r, "bad", "bad", bad);
    (void)snprintf(path, sizeof path, "%s/%s/model.json", r->dir, bad);
    write_in(r, bad, "model.json", "{\"schema_version\": 1, \"id\"");
    CHECK_FAILS(KD_DATA_LOSS, kd_models_find(r->dir, bad, &got, &r->err), r->err);
    CHECK_HAS(path, r->err.message);
    CHECK_FAILS(KD_DATA_LOSS, kd_models_find(r->dir, "bad", &got, &r->err), r->err);
    CHECK_HAS(path, r->err.message);
    CHECK_OK(kd_models_find(r->dir, "good", &got, &r->err), r->err);
    kd_model_clear(&got);
    CHECK_INT(1, count(r));
    check_refused(r, KD_DATA_LOSS, "bad", "bad", path); /* the content's place is taken */

    write_in(r, bad, "model.json", "");
    CHECK_FAILS(KD_DATA_LOSS, kd_models_find(r->dir, bad, &got, &r->err), r->err);
    CHECK_HAS("line 1: '[' or '{' expected", r->err.message);
    CHECK_INT(0, unlink(path));
    CHECK_FAILS(KD_DATA_LOSS, kd_models_find(r->dir, bad, &got, &r->err), r->err);
    CHECK_HAS("model.json is missing", r->err.message);
    CHECK_OK(kd_models_remove(r->dir, bad, &r->err), r->err);
    publish(r, "bad", "bad", bad);
    CHECK_INT(2, count(r));
}

static void test_models_damage__weights_that_changed_are_told_by_their_id(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT], path[160];
    kd_model got;
    publish(r, "weights", "n", id);
    (void)snprintf(path, sizeof path, "%s/%s/model.safetensors", r->dir, id);
    CHECK_OK(kd_models_find(r->dir, "n", &got, &r->err), r->err);
    CHECK_OK(kd_models_verify(r->dir, &got, &r->err), r->err);
    write_in(r, id, "model.safetensors", "weightz");
    CHECK_FAILS(KD_DATA_LOSS, kd_models_verify(r->dir, &got, &r->err), r->err);
    CHECK_HAS(path, r->err.message);
    CHECK_INT(0, unlink(path));
    CHECK_FAILS(KD_NOT_FOUND, kd_models_verify(r->dir, &got, &r->err), r->err);
    CHECK_HAS(path, r->err.message);
    write_in(r, id, "model.safetensors", "weights");
    CHECK_OK(kd_models_verify(r->dir, &got, &r->err), r->err);
    got.preprocess.image_size++;
    CHECK_FAILS(KD_DATA_LOSS, kd_models_verify(r->dir, &got, &r->err), r->err);
    kd_model_clear(&got);
}

static void test_models_damage__each_wrong_field_is_named(void **state)
{
    room *const r = *state;
    static const struct {
        const char *from, *to, *named;
    } edits[] = {
        {"\"dim\": 512", "\"dim\": 0", "'dim'"},
        {"\"dim\": 512", "\"dim\": \"512\"", "'dim'"},
        {"\"architecture\"", "\"arch\"", "'architecture'"},
        {"\"image_size\": 224", "\"image_size\": 225", "'preprocessing'"},
        {"\"mean\": [", "\"mean\": [0.5, ", "'preprocessing'"},
        {"\"created\": \"2", "\"created\": \"x", "'created'"},
        {"\"training\": {}", "\"training\": 7", "'training'"},
        {"\"name\": \"n\"", "\"name\": \"../n\"", "'name'"},
        {"\"id\": \"", "\"id\": \"0", "'id'"},
        {"\"schema_version\": 1", "\"schema_version\": 0", "'schema_version'"},
        {"\"source\": \"import\"", "\"source\": null", "'source'"},
    };
    char id[KD_MODEL_ID_TEXT];
    kd_model got;
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        publish(r, "w", "n", id);
        edit_record(r, id, edits[i].from, edits[i].to);
        CHECK_FAILS(KD_DATA_LOSS, kd_models_find(r->dir, id, &got, &r->err), r->err);
        CHECK_HAS(edits[i].named, r->err.message);
        CHECK_HAS("model.json", r->err.message);
        CHECK_OK(kd_models_remove(r->dir, id, &r->err), r->err);
    }
    publish(r, "w", "n", id);
    edit_record(r, id, "\"schema_version\": 1", "\"schema_version\": 2");
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_models_find(r->dir, id, &got, &r->err), r->err);
}

/* A record of before there was scaled decoding says nothing of it. */
static void test_models_damage__a_record_without_scaled_dct_keeps_its_preprocessing(void **state)
{
    room *const r = *state;
    kd_model model = describe("old"), got;
    bool existed;
    model.preprocess.scaled_dct = false;
    write_weights(r, "old");
    CHECK_OK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    edit_record(r, model.id, "\"scaled_dct\": false", "\"of_another_kind\": false");
    CHECK_OK(kd_models_find(r->dir, "old", &got, &r->err), r->err);
    CHECK(!got.preprocess.scaled_dct);
    CHECK_STR(model.preprocess_hash, got.preprocess_hash);
    kd_model_clear(&got);
    kd_model_clear(&model);
}

static void test_models_damage__missing_weights_are_damage(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT];
    kd_model got;
    publish(r, "w", "n", id);
    char *const path = kd_models_weights_path(r->dir, id);
    CHECK_INT(0, unlink(path));
    CHECK_FAILS(KD_DATA_LOSS, kd_models_find(r->dir, id, &got, &r->err), r->err);
    CHECK_HAS(path, r->err.message);
    free(path);
}

static void test_models_damage__what_a_crash_left_is_ignored_and_cleared(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT], path[128];
    CHECK_OK(kd_make_dirs(r->dir, &r->err), r->err);
    (void)snprintf(path, sizeof path, "%s/.staging/publish/half", r->dir);
    CHECK_OK(kd_make_dirs(path, &r->err), r->err);
    write_in(r, ".staging/publish", "model.json", "{");
    write_in(r, ".staging/publish", "model.safetensors", "half");
    CHECK_INT(0, count(r));
    publish(r, "w", "n", id);
    CHECK_INT(1, count(r));
    CHECK(!kd_is_dir(path));
    char *const weights = kd_models_weights_path(r->dir, id);
    kd_buf bytes = KD_BUF_INIT;
    CHECK_OK(kd_file_read(weights, 100, &bytes, &r->err), r->err);
    CHECK_STR("w", (const char *)bytes.data);
    kd_buf_free(&bytes);
    free(weights);
}

static void test_models_damage__strangers_in_the_folder_are_ignored(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT], path[128];
    publish(r, "w", "n", id);
    (void)snprintf(path, sizeof path, "%s/lost+found", r->dir);
    CHECK_OK(kd_make_dirs(path, &r->err), r->err);
    write_in(r, ".", "0123456789abcdef", "a file, not a folder");
    CHECK_INT(1, count(r));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_models_damage__damage_is_named_and_does_not_hide_the_others),
        TEST(test_models_damage__weights_that_changed_are_told_by_their_id),
        TEST(test_models_damage__each_wrong_field_is_named),
        TEST(test_models_damage__a_record_without_scaled_dct_keeps_its_preprocessing),
        TEST(test_models_damage__missing_weights_are_damage),
        TEST(test_models_damage__what_a_crash_left_is_ignored_and_cleared),
        TEST(test_models_damage__strangers_in_the_folder_are_ignored),
    };
    return cmocka_run_group_tests_name("models.damage", tests, NULL, NULL);
}
