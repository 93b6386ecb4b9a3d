#include "services/trainer/config.h"

#include <math.h>
#include <string.h>

#define DEFAULT_EPOCHS 5u
#define MAX_EPOCHS 1000u
#define DEFAULT_BATCH_CLASSES 16u
#define DEFAULT_BATCH_IMAGES 4u
#define DEFAULT_RATE 1e-4
#define WEIGHT_DECAY 1e-4
#define MAX_BATCH 512u /* images; activations of more don't fit a usual machine */

static const struct {
    const char *name;
    kd_loss loss;
} losses[] = {{"triplet", KD_LOSS_TRIPLET}};

static kd_status read_loss(train_config *out, const char *name, kd_error *err)
{
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        if (strcmp(name, losses[i].name) == 0) {
            out->loss = losses[i].loss;
            out->loss_name = losses[i].name;
            return KD_OK;
        }
    }
    return kd_error_set(
        err, KD_INVALID_ARGUMENT, "unknown loss '%s': this build has \"triplet\"", name);
}

/* *out: value, or what 0 stands for. */
static kd_status read_count(uint32_t *out, const char *what, uint32_t value, uint32_t fallback,
    uint32_t least, uint32_t most, kd_error *err)
{
    *out = value == 0 ? fallback : value;
    if (*out < least || *out > most)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "%s is %u, allowed are %u to %u", what, value, least, most);
    return KD_OK;
}

static kd_status read_reals(train_config *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    out->learning_rate = spec->learning_rate == 0 ? DEFAULT_RATE : spec->learning_rate;
    out->schedule.peak = out->learning_rate;
    out->margin = spec->margin;
    if (!(out->learning_rate > 0 && out->learning_rate <= 1))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "learning_rate is %g, allowed is more than 0 up to 1", spec->learning_rate);
    /* Two points of the unit sphere are at most 2 apart. */
    if (!(out->margin >= 0 && out->margin <= 2))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "margin is %g, allowed are 0 to 2", spec->margin);
    return KD_OK;
}

static kd_status read_labels(train_config *out, const char *labels, kd_error *err)
{
    out->super_class = strcmp(labels, "super-class") == 0;
    if (!out->super_class && labels[0] != '\0' && strcmp(labels, "class") != 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "labels is '%s', allowed are \"class\" and \"super-class\"", labels);
    return KD_OK;
}

kd_status train_config_read(
    train_config *out, const Kindred__V1__TrainSpec *spec, const kd_model *parent, kd_error *err)
{
    *out = (train_config){.dataset = spec->dataset,
        .weight_decay = WEIGHT_DECAY,
        .seed = spec->seed,
        .schedule = TRAIN_SCHEDULE_OPTIONS_INIT,
        .preprocess = parent ? parent->preprocess : (kd_preprocess)KD_PREPROCESS_INIT,
        .augment = KD_AUGMENT_INIT};
    out->augment.crop_min_scale = 0.5f;
    /* A trained parent's statistics are better than those of a few batches of a few classes, and a
     * network that is trained as it will be served learns the distances that it will show. Random
     * weights have no statistics yet: without normalisation by the batch they collapse. */
    out->freeze_norm = parent && strcmp(parent->source, "init") != 0;

    kd_status status = read_loss(out, spec->loss, err);
    if (status == KD_OK)
        status = read_labels(out, spec->labels, err);
    if (status == KD_OK)
        status =
            read_count(&out->epochs, "epochs", spec->epochs, DEFAULT_EPOCHS, 1, MAX_EPOCHS, err);
    if (status == KD_OK)
        status = read_count(&out->preprocess.image_size, "image_size", spec->image_size,
            out->preprocess.image_size, KD_NN_MIN_IMAGE_SIZE, KD_NN_MAX_IMAGE_SIZE, err);
    if (status == KD_OK)
        status = read_count(&out->batch_classes, "batch_classes", spec->batch_classes,
            DEFAULT_BATCH_CLASSES, 2, MAX_BATCH / 2, err);
    if (status == KD_OK)
        status = read_count(&out->batch_images, "batch_images", spec->batch_images,
            DEFAULT_BATCH_IMAGES, 2, MAX_BATCH / 2, err);
    if (status == KD_OK && out->batch_classes * out->batch_images > MAX_BATCH)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "batch_classes %u × batch_images %u are more than %u images", out->batch_classes,
            out->batch_images, MAX_BATCH);
    if (status == KD_OK)
        status = read_reals(out, spec, err);
    return status;
}

/* A float's shortest decimal, so that 0.2 reads 0.2. */
static double tidy(float value)
{
    return round((double)value * 1e6) / 1e6;
}

json_t *train_config_json(const train_config *c)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:b, s:I,"
                     " s:{s:f, s:f, s:f, s:f}}",
        "dataset", c->dataset, "loss", c->loss_name, "labels",
        c->super_class ? "super-class" : "class", "epochs", (int)c->epochs, "image_size",
        (int)c->preprocess.image_size, "batch_classes", (int)c->batch_classes, "batch_images",
        (int)c->batch_images, "learning_rate", c->learning_rate, "margin", c->margin,
        "weight_decay", c->weight_decay, "freeze_norm", c->freeze_norm, "seed", (json_int_t)c->seed,
        "augmentation", "flip", tidy(c->augment.flip), "light", tidy(c->augment.light),
        "light_range", tidy(c->augment.light_range), "crop_min_scale",
        tidy(c->augment.crop_min_scale));
}
