/* What each preset trains: settings that the trainer takes, on the one cut. */
#include "services/gateway/cli/reproduce.h"
#include "services/trainer/config.h"
#include "tests/support/check.h"

static const char *const presets[] = {"quick", "original", "best"};
static kd_error g_err = KD_ERROR_INIT;

static void test_cli_reproduce__the_trainer_takes_each_preset(void **state)
{
    (void)state;
    for (size_t p = 0; p < 3; p++) {
        const reproduce_preset *const preset = reproduce_preset_find(presets[p]);
        assert_non_null(preset);
        for (size_t i = 1; i < preset->n_systems; i++) {
            Kindred__V1__TrainSpec spec = reproduce_training(preset, i);
            train_config config;
            spec.dataset = (char *)(uintptr_t)"/somewhere";
            spec.image_size = preset->image_size;
            CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
            CHECK_STR(reproduce_system(i), spec.loss);
            CHECK_INT(TRAIN_CUT_IMAGES, config.cut);
            CHECK_NEAR(0.2, config.share, 1e-12);
            CHECK_INT(0, config.seed);
        }
    }
}

static void test_cli_reproduce__cross_entropy_knows_super_classes_alone(void **state)
{
    (void)state;
    for (size_t p = 0; p < 3; p++)
        CHECK_STR("super-class", reproduce_training(reproduce_preset_find(presets[p]), 1).labels);
    CHECK_STR("class", reproduce_training(reproduce_preset_find("quick"), 4).labels);
}

static void test_cli_reproduce__an_unknown_preset_is_none(void **state)
{
    (void)state;
    assert_null(reproduce_preset_find("slow"));
    assert_null(reproduce_preset_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_reproduce__the_trainer_takes_each_preset),
        cmocka_unit_test(test_cli_reproduce__cross_entropy_knows_super_classes_alone),
        cmocka_unit_test(test_cli_reproduce__an_unknown_preset_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
