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
    CHECK_INT(8, config.epochs);
    CHECK_INT(224, config.preprocess.image_size);
    CHECK_INT(KD_SAMPLER_CLASSES, config.sampler);
    CHECK_INT(16, config.batch_classes);
    CHECK_INT(4, config.batch_images);
    CHECK_INT(64, train_config_batch(&config));
    CHECK_INT(SCHEDULE_COSINE, config.schedule.kind);
    CHECK_NEAR(1e-4, config.schedule.peak, 0);
    CHECK_NEAR(1e-3, config.head_rate, 1e-12);
    CHECK_NEAR(0.05, config.schedule.warmup, 0);
    CHECK_NEAR(0.01, config.schedule.floor, 0);
    CHECK_INT(TRAIN_CUT_CLASSES, config.cut);
    CHECK_NEAR(0.1, config.share, 0);
    CHECK_INT(POINT_MAP_AT_5, config.metric);
    CHECK_INT(KD_LOSS_TRIPLET, config.training.loss.loss);
    CHECK_INT(KD_MINER_BATCH_HARD, config.training.loss.miner);
    CHECK_INT(KD_OPTIMIZER_ADAMW, config.training.optimizer);
    CHECK_NEAR(1e-4, (double)config.training.weight_decay, 1e-9);
    CHECK_NEAR(0.5, (double)config.augment.crop_min_scale, 0);
    CHECK_NEAR(0, (double)config.augment.blur, 0);
    CHECK_INT(COLLAPSE_STOP, config.on_collapse);
    CHECK(!config.training.freeze_norm && !config.super_class);
}

/* A loss with a head deals images, and its own margin and scale are those of its paper. */
static void test_trainer_config__the_loss_has_its_own_defaults(void **state)
{
    Kindred__V1__TrainSpec spec = plain();
    train_config config;
    (void)state;
    spec.loss = (char *)"arcface";
    CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
    CHECK_INT(KD_SAMPLER_SHUFFLED, config.sampler);
    CHECK_INT(64, config.batch_size);
    CHECK_NEAR(28.6, (double)config.training.loss.margin, 1e-5);
    CHECK_NEAR(64, (double)config.training.loss.scale, 0);
    spec.sampler = (char *)"balanced";
    spec.margin = 20;
    CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
    CHECK_INT(KD_SAMPLER_BALANCED, config.sampler);
    CHECK_NEAR(20, (double)config.training.loss.margin, 0);
}

/* Every setting comes back under its own name in what a model tells of its training. */
static void test_trainer_config__settings_are_told(void **state)
{
    static const char *const names[] = {"dataset", "loss", "labels", "epochs", "image_size", "dim",
        "margin", "miner", "distance", "reduction", "raw", "memory", "sampler", "batch_classes",
        "batch_images", "validation", "validation_share", "metric", "patience", "optimizer",
        "learning_rate", "head_learning_rate", "weight_decay", "schedule", "warmup", "clip_norm",
        "freeze_epochs", "freeze_backbone", "norm", "precision", "on_collapse",
        "checkpoint_minutes", "seed", "augmentation"};
    const Kindred__V1__TrainSpec spec = plain();
    train_config config;
    (void)state;
    CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
    json_t *const json = train_config_json(&config);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!json_object_get(json, names[i]))
            fail_msg("no %s", names[i]);
    json_decref(json);
}

static void test_trainer_config__a_frozen_backbone_has_a_projection(void **state)
{
    Kindred__V1__TrainSpec spec = plain();
    train_config config;
    (void)state;
    spec.freeze_backbone = true;
    CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
    CHECK_INT(512, config.dim);
    CHECK(config.training.freeze_backbone);
}

static void test_trainer_config__fixes_get_harder(void **state)
{
    Kindred__V1__TrainSpec spec = plain();
    kd_model parent = {.preprocess = KD_PREPROCESS_INIT};
    char changed[TRAIN_FIX_TEXT];
    train_config config;
    (void)state;
    spec.margin = 0.9;
    spec.reduction = (char *)"sum";
    spec.raw = true;
    spec.learning_rate = 1e-3;
    spec.norm = (char *)"frozen";
    CHECK_OK(train_config_read(&config, &spec, &parent, &g_err), g_err);
    train_config_fix(&config, 1, changed);
    CHECK_STR("learning rate 0.0001, embeddings normalised, mean of the terms, the loss's own "
              "margin",
        changed);
    CHECK(!config.training.loss.raw);
    CHECK_INT(KD_REDUCTION_MEAN, config.training.loss.reduction);
    CHECK_NEAR(1e-4, config.schedule.peak, 1e-12);
    CHECK_NEAR(0, (double)config.training.loss.margin, 0); /* the soft one */
    train_config_fix(&config, 2, changed);
    CHECK_STR("learning rate 1e-05, batch normalisation by the batch", changed);
    CHECK(!config.training.freeze_norm);
    spec.raw = false;
    spec.reduction = (char *)"";
    CHECK_OK(train_config_read(&config, &spec, &parent, &g_err), g_err);
    train_config_fix(&config, 2, changed);
    CHECK_INT(KD_MINER_SEMI_HARD, config.training.loss.miner);
    CHECK_NEAR(0.9, (double)config.training.loss.margin, 1e-6);
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
    check_refused(&spec, "margin is nan, allowed is more than 0 up to 1e+06");
    spec = plain();
    spec.loss = (char *)"magic";
    check_refused(&spec,
        "'magic' is not a loss: there are cross-entropy, norm-softmax, arcface, cosface, "
        "proxy-anchor, contrastive, triplet, multi-similarity and supervised-contrastive");
    spec = plain();
    spec.miner = (char *)"easy";
    check_refused(&spec, "miner is 'easy', allowed are \"all\", \"random\", \"semi-hard\", "
                         "\"batch-hard\" and \"distance-weighted\"");
    spec = plain();
    spec.sampler = (char *)"dealt";
    check_refused(
        &spec, "sampler is 'dealt', allowed are \"classes\", \"balanced\" and \"shuffled\"");
    spec = plain();
    spec.validation = (char *)"some";
    check_refused(&spec, "validation is 'some', allowed are \"classes\", \"images\" and \"none\"");
    spec = plain();
    spec.batch_size = 8;
    check_refused(&spec, "batch_size is not a setting of the sampler classes: it has batch_classes "
                         "and batch_images");
    spec = plain();
    spec.validation_share = 0.6;
    check_refused(&spec, "validation_share is 0.6, allowed is more than 0 up to 0.5");
    spec = plain();
    spec.validation = (char *)"none";
    spec.patience = 2;
    check_refused(&spec, "patience needs validation, which is \"none\"");
    spec.patience = 0;
    spec.schedule = (char *)"plateau";
    check_refused(&spec, "the schedule plateau needs validation, which is \"none\"");
    spec = plain();
    spec.step_epochs = 2;
    check_refused(&spec, "step_epochs is not a setting of the schedule cosine");
    spec = plain();
    spec.dim = 513;
    check_refused(&spec, "dim is 513, allowed are 2 to 512");
    spec = plain();
    spec.freeze_epochs = 1;
    check_refused(&spec, "freeze_epochs needs something beside the backbone that learns: a "
                         "projection (dim) or a loss with a head");
    spec.dim = 32;
    spec.freeze_epochs = 8;
    check_refused(&spec, "freeze_epochs is 8 of 8 epochs: freeze_backbone freezes all");
    spec = plain();
    spec.margin = 0.2;
    spec.miner = (char *)"semi-hard";
    spec.memory = 1025;
    check_refused(&spec, "memory is 1025, allowed with the miner semi-hard are 1 to 1024");
    spec = plain();
    spec.on_collapse = (char *)"pray";
    check_refused(&spec, "on_collapse is 'pray', allowed are \"stop\", \"fix\" and \"ignore\"");
    spec = plain();
    spec.memory = 65537;
    check_refused(&spec, "memory is 65537, allowed are 1 to 65536");
    spec.memory = 63;
    check_refused(&spec, "memory is 63, a batch has up to 64 images: it must hold one at least");
}

static void test_trainer_config__refuses_what_the_loss_has_not(void **state)
{
    Kindred__V1__TrainSpec spec = plain();
    Kindred__V1__Real real = KINDRED__V1__REAL__INIT;
    (void)state;
    spec.loss = (char *)"arcface";
    spec.raw = true;
    check_refused(&spec, "raw is not a setting of the loss arcface");
    spec = plain();
    spec.scale = 3;
    check_refused(&spec, "scale is not a setting of the loss triplet");
    spec.loss = (char *)"cross-entropy";
    spec.scale = 0;
    spec.memory = 64;
    check_refused(&spec, "memory is not a setting of the loss cross-entropy");
    spec = plain();
    spec.positive_margin = &real;
    check_refused(&spec, "positive_margin is not a setting of the loss triplet");
    spec = plain();
    spec.momentum = &real;
    check_refused(&spec, "momentum is not a setting of the optimizer adamw");
}

/* An absent number takes its default, a zero is a zero. */
static void test_trainer_config__a_zero_can_be_asked_for(void **state)
{
    Kindred__V1__TrainSpec spec = plain();
    Kindred__V1__Real zero = KINDRED__V1__REAL__INIT, much = KINDRED__V1__REAL__INIT;
    train_config config;
    (void)state;
    much.value = 1.5;
    spec.flip = spec.weight_decay = spec.warmup = &zero;
    CHECK_OK(train_config_read(&config, &spec, NULL, &g_err), g_err);
    CHECK_NEAR(0, (double)config.augment.flip, 0);
    CHECK_NEAR(0, (double)config.training.weight_decay, 0);
    CHECK_NEAR(0, config.schedule.warmup, 0);
    spec.blur = &much;
    check_refused(&spec, "blur is 1.5, allowed are 0 to 1");
    spec.blur = NULL;
    spec.crop = &zero;
    check_refused(&spec, "crop is 0, allowed are 0.01 to 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_config__zero_takes_the_default),
        cmocka_unit_test(test_trainer_config__follows_the_parent),
        cmocka_unit_test(test_trainer_config__the_loss_has_its_own_defaults),
        cmocka_unit_test(test_trainer_config__settings_are_told),
        cmocka_unit_test(test_trainer_config__a_frozen_backbone_has_a_projection),
        cmocka_unit_test(test_trainer_config__fixes_get_harder),
        cmocka_unit_test(test_trainer_config__names_what_is_wrong),
        cmocka_unit_test(test_trainer_config__refuses_what_the_loss_has_not),
        cmocka_unit_test(test_trainer_config__a_zero_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
