/* Publishing, finding, listing and removing models. */
#include <errno.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "tests/models/room.h"

static void test_models__publish_then_find_gives_everything_back(void **state)
{
    room *const r = *state;
    bool existed = true;
    kd_model model = describe("shoes-1.2"), got;
    const int64_t before = kd_wall_ms();
    model.dim = 128;
    model.preprocess = (kd_preprocess){96, {0.1f, 0.2f, 0.3f}, {0.4f, 0.5f, 0.6f}, true};
    (void)kd_copy(model.parent, sizeof model.parent, "0123456789abcdef");
    (void)kd_copy(model.source, sizeof model.source, "0006a5b4c3d2e1f000000000");
    memset(model.data_hash, 'd', KD_SHA256_TEXT - 1);
    model.training = strdup("{\"loss\": \"triplet\", \"curve\": [0.5, 0.25]}");
    write_weights(r, "twelve bytes");
    CHECK_OK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    CHECK(!existed);
    CHECK_INT(16, strlen(model.id));
    CHECK_INT(12, model.bytes);
    CHECK_INT(64, strlen(model.preprocess_hash));
    CHECK(model.created_ms >= before && model.created_ms <= kd_wall_ms());
    CHECK(!kd_is_file(r->weights)); /* moved */

    const char *const keys[] = {model.id, "shoes-1.2"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(kd_models_find(r->dir, keys[i], &got, &r->err), r->err);
        CHECK_STR(model.id, got.id);
        CHECK_STR("shoes-1.2", got.name);
        CHECK_STR("resnet18", got.architecture);
        CHECK_INT(128, got.dim);
        CHECK_INT(96, got.preprocess.image_size);
        for (size_t c = 0; c < 3; c++) { /* each bit as it was */
            CHECK(got.preprocess.mean[c] == model.preprocess.mean[c]);
            CHECK(got.preprocess.std[c] == model.preprocess.std[c]);
        }
        CHECK_STR(model.preprocess_hash, got.preprocess_hash);
        CHECK_STR("0123456789abcdef", got.parent);
        CHECK_STR("0006a5b4c3d2e1f000000000", got.source);
        CHECK_STR(model.data_hash, got.data_hash);
        CHECK_INT(model.created_ms, got.created_ms);
        CHECK_INT(12, got.bytes);
        CHECK_STR("{\"loss\":\"triplet\",\"curve\":[0.5,0.25]}", got.training);
        kd_model_clear(&got);
    }
    char *const path = kd_models_weights_path(r->dir, model.id);
    kd_buf bytes = KD_BUF_INIT;
    CHECK_OK(kd_file_read(path, 100, &bytes, &r->err), r->err);
    CHECK_STR("twelve bytes", (const char *)bytes.data);
    kd_buf_free(&bytes);
    free(path);
    kd_model_clear(&model);
}

static void test_models__the_id_names_the_content(void **state)
{
    room *const r = *state;
    char ids[4][KD_MODEL_ID_TEXT];
    bool existed;
    publish(r, "weights", "a", ids[0]);
    publish(r, "weightz", "b", ids[1]);
    kd_model model = describe("c");
    model.preprocess.image_size = 96;
    write_weights(r, "weights");
    CHECK_OK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    (void)kd_copy(ids[2], sizeof ids[2], model.id);
    model = describe("d");
    (void)kd_copy(model.architecture, sizeof model.architecture, "resnet50");
    write_weights(r, "weights");
    CHECK_OK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    (void)kd_copy(ids[3], sizeof ids[3], model.id);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            CHECK(strcmp(ids[i], ids[j]) != 0);
}

static void test_models__an_unnamed_model_is_named_by_its_id(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT];
    kd_model got;
    publish(r, "w", "", id);
    CHECK_OK(kd_models_find(r->dir, id, &got, &r->err), r->err);
    CHECK_STR(id, got.name);
    CHECK_STR("{}", got.training);
    kd_model_clear(&got);
}

static void test_models__the_same_content_again_gives_the_stored_model(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT];
    publish(r, "w", "first", id);
    const char *const names[] = {"", "first"};
    for (size_t i = 0; i < 2; i++) {
        bool existed = false;
        kd_model model = describe(names[i]);
        write_weights(r, "w");
        CHECK_OK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
        CHECK(existed);
        CHECK_STR(id, model.id);
        CHECK_STR("first", model.name);
        CHECK(!kd_is_file(r->weights));
        kd_model_clear(&model);
    }
    check_refused(r, KD_ALREADY_EXISTS, "w", "second", "'first'");
    CHECK_INT(1, count(r));
}

static void test_models__names_that_clash_or_mislead_are_refused(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT];
    publish(r, "w", "taken", id);
    check_refused(r, KD_ALREADY_EXISTS, "other", "taken", id);
    check_refused(r, KD_INVALID_ARGUMENT, "other", id, "looks like another model's id");
    check_refused(r, KD_INVALID_ARGUMENT, "other", "0123456789abcdef", "looks like");
    check_refused(r, KD_INVALID_ARGUMENT, "other", "../up", "../up");
    check_refused(r, KD_INVALID_ARGUMENT, "other", ".staging", ".staging");
    CHECK_INT(1, count(r));
}

static void test_models__a_description_that_lacks_something_is_refused(void **state)
{
    room *const r = *state;
    bool existed;
    write_weights(r, "w");
    kd_model model = describe("n");
    model.dim = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    model = describe("n");
    (void)kd_copy(model.parent, sizeof model.parent, "no id");
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    model = describe("n");
    model.training = strdup("[1]");
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    CHECK(kd_is_file(r->weights));
    kd_model_clear(&model);
    model = describe("n");
    CHECK_FAILS(KD_NOT_FOUND,
        kd_models_publish(r->dir, "/nonexistent/w", &model, &existed, &r->err), r->err);
    CHECK_HAS("/nonexistent/w", r->err.message);
    CHECK_INT(0, count(r));
}

static void test_models__what_is_not_there_is_not_found(void **state)
{
    room *const r = *state;
    kd_model got;
    CHECK_INT(0, count(r)); /* not even the folder is there */
    CHECK_FAILS(KD_NOT_FOUND, kd_models_find(r->dir, "nosuch", &got, &r->err), r->err);
    CHECK_STR("no model 'nosuch'", r->err.message);
    CHECK_FAILS(KD_NOT_FOUND, kd_models_find(r->dir, "0123456789abcdef", &got, &r->err), r->err);
    CHECK_FAILS(KD_NOT_FOUND, kd_models_remove(r->dir, "0123456789abcdef", &r->err), r->err);
    CHECK_FAILS(KD_NOT_FOUND, kd_models_remove(r->dir, "../../etc", &r->err), r->err);
    CHECK_FAILS(KD_NOT_FOUND, kd_models_find(r->dir, "", &got, &r->err), r->err);
}

static void test_models__list_is_newest_first(void **state)
{
    room *const r = *state;
    char ids[3][KD_MODEL_ID_TEXT];
    kd_model *models;
    size_t n;
    for (int i = 0; i < 3; i++) {
        char content[2] = {(char)('a' + i), '\0'};
        publish(r, content, content, ids[i]);
        for (const int64_t now = kd_wall_ms(); kd_wall_ms() == now;)
            ;
    }
    CHECK_OK(kd_models_list(r->dir, &models, &n, &r->err), r->err);
    CHECK_INT(3, n);
    for (size_t i = 0; i < 3; i++)
        CHECK_STR(ids[2 - i], models[i].id);
    kd_models_free(models, n);
}

static void test_models__remove_leaves_nothing_and_frees_the_name(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT], other[KD_MODEL_ID_TEXT], path[128];
    kd_model got;
    publish(r, "w", "name", id);
    CHECK_OK(kd_models_remove(r->dir, id, &r->err), r->err);
    CHECK_FAILS(KD_NOT_FOUND, kd_models_find(r->dir, id, &got, &r->err), r->err);
    CHECK_FAILS(KD_NOT_FOUND, kd_models_remove(r->dir, id, &r->err), r->err);
    (void)snprintf(path, sizeof path, "%s/.staging/remove", r->dir);
    CHECK(!kd_is_dir(path));
    publish(r, "v", "name", other);
    publish(r, "w", "again", id);
    CHECK_INT(2, count(r));
}

static void test_models__weights_on_another_file_system_are_published(void **state)
{
    room *const r = *state;
    bool existed;
    char away[128];
    kd_model model = describe("n"), got;
    (void)snprintf(away, sizeof away, "%s/away", r->base);
    CHECK_INT(0, mkdir(away, 0755));
    if (mount("tmpfs", away, "tmpfs", 0, "size=1m") != 0) {
        print_message("mounting needs root: %s\n", strerror(errno));
        skip();
    }
    (void)snprintf(r->weights, sizeof r->weights, "%s/away/w", r->base);
    kd_status status = kd_file_write(r->weights, "w", 1, &r->err);
    if (status == KD_OK)
        status = kd_models_publish(r->dir, r->weights, &model, &existed, &r->err);
    const bool kept = kd_is_file(r->weights);
    CHECK_INT(0, umount(away));
    CHECK_OK(status, r->err);
    CHECK(!kept);
    CHECK_OK(kd_models_find(r->dir, "n", &got, &r->err), r->err);
    CHECK_STR(model.id, got.id);
    kd_model_clear(&got);
}

static void test_models__a_failure_at_the_last_step_gives_the_weights_back(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT];
    publish(r, "w", "n", id);
    CHECK_OK(kd_models_remove(r->dir, id, &r->err), r->err);
    write_in(r, ".", id, "in the model's place");
    bool existed;
    kd_model model = describe("n");
    write_weights(r, "w");
    CHECK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err) != KD_OK);
    CHECK_HAS(id, r->err.message);
    CHECK(kd_is_file(r->weights));
    CHECK_INT(0, count(r));
}

enum { PUBLISHERS = 8 };

typedef struct publisher {
    const room *r;
    int number;
    kd_status status;
    bool existed;
    kd_error err;
    char id[KD_MODEL_ID_TEXT];
} publisher;

/* Even ones publish one content without a name, odd ones contents of their own under one name. */
static void *publish_one(void *arg)
{
    publisher *const p = arg;
    const bool same = p->number % 2 == 0;
    char weights[128], content[32];
    (void)snprintf(weights, sizeof weights, "%s/w%d", p->r->base, p->number);
    (void)snprintf(content, sizeof content, "content %d", same ? 0 : p->number);
    kd_model model = describe(same ? "" : "wanted");
    p->status = kd_file_write(weights, content, strlen(content), &p->err);
    if (p->status == KD_OK)
        p->status = kd_models_publish(p->r->dir, weights, &model, &p->existed, &p->err);
    (void)kd_copy(p->id, sizeof p->id, model.id);
    kd_model_clear(&model);
    return NULL;
}

static void test_models__concurrent_publishers_share_a_content_and_fight_for_a_name(void **state)
{
    room *const r = *state;
    publisher publishers[PUBLISHERS];
    pthread_t threads[PUBLISHERS];
    memset(publishers, 0, sizeof publishers);
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i].r = r;
        publishers[i].number = i;
        CHECK_INT(0, pthread_create(&threads[i], NULL, publish_one, &publishers[i]));
    }
    for (int i = 0; i < PUBLISHERS; i++)
        CHECK_INT(0, pthread_join(threads[i], NULL));
    int made = 0, named = 0;
    for (int i = 0; i < PUBLISHERS; i++) {
        if (i % 2 == 0) {
            CHECK_OK(publishers[i].status, publishers[i].err);
            CHECK_STR(publishers[0].id, publishers[i].id);
            made += !publishers[i].existed;
        } else if (publishers[i].status == KD_OK) {
            named++;
        } else {
            CHECK_FAILS(KD_ALREADY_EXISTS, publishers[i].status, publishers[i].err);
        }
    }
    CHECK_INT(1, made);
    CHECK_INT(1, named);
    CHECK_INT(2, count(r));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_models__publish_then_find_gives_everything_back),
        TEST(test_models__the_id_names_the_content),
        TEST(test_models__an_unnamed_model_is_named_by_its_id),
        TEST(test_models__the_same_content_again_gives_the_stored_model),
        TEST(test_models__names_that_clash_or_mislead_are_refused),
        TEST(test_models__a_description_that_lacks_something_is_refused),
        TEST(test_models__what_is_not_there_is_not_found),
        TEST(test_models__list_is_newest_first),
        TEST(test_models__remove_leaves_nothing_and_frees_the_name),
        TEST(test_models__weights_on_another_file_system_are_published),
        TEST(test_models__a_failure_at_the_last_step_gives_the_weights_back),
        TEST(test_models__concurrent_publishers_share_a_content_and_fight_for_a_name),
    };
    return cmocka_run_group_tests_name("models.models", tests, NULL, NULL);
}
