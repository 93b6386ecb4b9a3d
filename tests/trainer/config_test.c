#include "services/trainer/config.h"
#include "tests/support/check.h"

static kd_error g_err;

static Kindred__V1__TrainSpec plain(void)
{
    Kindred__V1__TrainSpec spec = KINDRED__V1__TRAIN_SPEC__INIT;
    spec.dataset = (char *)"/d";
    spec.loss = (char *)"triplet";
    return spec;
}

static void test_trainer_config__zero_takes_the_default(void **state)
{
    const Kindred__V1__TrainSpec spec = plain();
    train_config config;
    (void)state;
    CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
    CHECK_INT(5, config.epochs);
    CHECK_INT(224, config.preprocess.image_size);
    CHECK_INT(16, config.batch_classes);
    CHECK_INT(4, config.batch_images);
    CHECK_NEAR(1e-4, config.learning_rate, 0);
    CHECK_INT(SCHEDULE_COSINE, config.schedule.kind);
    CHECK_NEAR(1e-4, config.schedule.peak, 0);
    CHECK_NEAR(0.05, config.schedule.warmup, 0);
    CHECK_NEAR(0.01, config.schedule.floor, 0);
    CHECK(!config.freeze_norm && !config.super_class);
}

static void test_trainer_config__follows_the_parent(void **state)
{
    const Kindred__V1__TrainSpec spec = plain();
    kd_model parent = {.preprocess = KD_PREPROCESS_INIT};
    train_config config;
    (void)state;
    parent.preprocess.image_size = 96;
    CHECK_OK(train_config_read(&config, &spec, &parent, &g_err), g_err);
    CHECK_INT(96, config.preprocess.image_size);
    CHECK(config.freeze_norm);
    (void)strcpy(parent.source, "init"); /* random weights have no statistics to keep */
    CHECK_OK(train_config_read(&config, &spec, &parent, &g_err), g_err);
    CHECK(!config.freeze_norm);
}

static void check_refused(const Kindred__V1__TrainSpec *spec, const char *sentence)
{
    train_config config;
    CHECK_FAILS(KD_INVALID_ARGUMENT, train_config_read(&config, spec, NULL, &g_err), g_err);
    CHECK_STR(sentence, g_err.message);
}

static void test_trainer_config__names_what_is_wrong(void **state)
{
    Kindred__V1__TrainSpec spec = plain();
    (void)state;
    spec.epochs = 1001;
    check_refused(&spec, "epochs is 1001, allowed are 1 to 1000");
    spec = plain();
    spec.image_size = 31;
    check_refused(&spec, "image_size is 31, allowed are 32 to 512");
    spec = plain();
    spec.labels = (char *)"colour";
    check_refused(&spec, "labels is 'colour', allowed are \"class\" and \"super-class\"");
    spec = plain();
    spec.batch_classes = 129;
    check_refused(&spec, "batch_classes 129 × batch_images 4 are more than 512 images");
    spec = plain();
    spec.learning_rate = -1;
    check_refused(&spec, "learning_rate is -1, allowed is more than 0 up to 1");
    spec = plain();
    spec.margin = NAN;
    check_refused(&spec, "margin is nan, allowed are 0 to 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_config__zero_takes_the_default),
        cmocka_unit_test(test_trainer_config__follows_the_parent),
        cmocka_unit_test(test_trainer_config__names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
