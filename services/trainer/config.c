#include "services/trainer/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/buf.h"
#include "services/trainer/settings.h"

#define DEFAULT_EPOCHS 8u
#define MAX_EPOCHS 1000u
#define DEFAULT_BATCH_CLASSES 16u
#define DEFAULT_BATCH_IMAGES 4u
#define DEFAULT_BATCH 64u
#define DEFAULT_RATE 1e-4
#define HEAD_RATE 10.0    /* times the backbone's */
#define WEIGHT_DECAY 1e-4 /* torch.optim's for AdamW is 1e-2 */
#define MOMENTUM 0.9
#define WARMUP 0.05
#define FLOOR 0.01 /* of the cosine */
#define VALIDATION_SHARE 0.1
#define CHECKPOINT_MINUTES 5.0 /* what a crash costs at most, in a long epoch */
#define MAX_BATCH 512u         /* images; activations of more don't fit a usual machine */
#define MAX_MEMORY 65536u
#define MAX_LISTED_MEMORY 1024u

static const char *const samplers[] = {"classes", "balanced", "shuffled"};
static const char *const distances[] = {"euclidean", "cosine"};
static const char *const reductions[] = {"mean", "sum"};
static const char *const precisions[] = {"float32", "bfloat16"};
static const char *const norms[] = {"batch", "frozen"};
static const char *const collapse_actions[] = {"stop", "fix", "ignore"};
static const char *const labels[] = {"class", "super-class"};
static const char *const metrics[] = {"map@5", "recall@1"};
#define N(names) (sizeof(names) / sizeof(names)[0])

/* ---- The loss ---- */

static kd_status no_such_loss(const char *name, kd_error *err)
{
    kd_buf list = KD_BUF_INIT;
    for (unsigned i = 0; i < KD_LOSSES; i++)
        kd_buf_printf(&list, "%s%s",
            i == 0              ? ""
            : i + 1 < KD_LOSSES ? ", "
                                : " and ",
            kd_loss_name((kd_loss)i));
    (void)kd_error_set(err, KD_INVALID_ARGUMENT, "'%.40s' is not a loss: there are %s", name,
        kd_buf_ok(&list) ? (const char *)list.data : "others");
    kd_buf_free(&list);
    return KD_INVALID_ARGUMENT;
}

/* A setting that the loss would pass over in silence. */
static kd_status check_strays(const Kindred__V1__TrainSpec *spec, kd_loss loss, kd_error *err)
{
    const bool pairs = loss == KD_LOSS_TRIPLET || loss == KD_LOSS_CONTRASTIVE;
    const bool plain = loss == KD_LOSS_CROSS_ENTROPY;
    const struct {
        const char *name;
        bool given, fits;
    } settings[] = {
        {"distance", spec->distance[0] != '\0', pairs},
        {"miner", spec->miner[0] != '\0', kd_loss_has_miner(loss)},
        {"reduction", spec->reduction[0] != '\0', pairs},
        {"raw", spec->raw, pairs},
        {"positive_margin", spec->positive_margin != NULL, loss == KD_LOSS_CONTRASTIVE},
        {"positive_scale", spec->positive_scale != 0, loss == KD_LOSS_MULTI_SIMILARITY},
        {"scale", spec->scale != 0, !pairs && !plain},
        {"margin", spec->margin != 0,
            !plain && loss != KD_LOSS_NORM_SOFTMAX && loss != KD_LOSS_SUPERVISED_CONTRASTIVE},
        {"memory", spec->memory != 0, !kd_loss_has_head(loss)},
    };
    for (size_t i = 0; i < N(settings); i++)
        if (settings[i].given && !settings[i].fits)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is not a setting of the loss %s",
                settings[i].name, kd_loss_name(loss));
    return KD_OK;
}

static kd_status read_loss(kd_loss_options *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    kd_loss loss;
    unsigned distance, reduction;
    double number;
    if (!kd_loss_parse(spec->loss, &loss))
        return no_such_loss(spec->loss, err);
    kd_status status = check_strays(spec, loss, err);
    kd_loss_defaults(loss, out);
    distance = out->distance;
    reduction = out->reduction;
    if (status == KD_OK && spec->miner[0] != '\0' && !kd_miner_parse(spec->miner, &out->miner))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "miner is '%.40s', allowed are \"all\", \"random\", \"semi-hard\", \"batch-hard\" and "
            "\"distance-weighted\"",
            spec->miner);
    if (status == KD_OK)
        status = setting_word(&distance, "distance", spec->distance, distances, N(distances), err);
    if (status == KD_OK)
        status =
            setting_word(&reduction, "reduction", spec->reduction, reductions, N(reductions), err);
    if (status == KD_OK)
        status = setting_positive(&number, "margin", spec->margin, (double)out->margin, 1e6, err);
    if (status == KD_OK) {
        out->margin = (float)number;
        status = setting_positive(&number, "scale", spec->scale, (double)out->scale, 1e4, err);
    }
    if (status == KD_OK) {
        out->scale = (float)number;
        status = setting_positive(
            &number, "positive_scale", spec->positive_scale, (double)out->positive_scale, 1e4, err);
    }
    if (status == KD_OK) {
        out->positive_scale = (float)number;
        status = setting_real(&number, "positive_margin", spec->positive_margin,
            (double)out->positive_margin, 0, 1e6, err);
    }
    if (status == KD_OK) {
        out->positive_margin = (float)number;
        status = setting_count(&out->memory, "memory", spec->memory, 0, 1, MAX_MEMORY, err);
    }
    out->distance = (kd_distance)distance;
    out->reduction = (kd_reduction)reduction;
    out->raw = spec->raw;
    if (status != KD_OK)
        return status;
    kd_loss_options checked = *out; /* the number of classes is not known yet */
    checked.classes = kd_loss_has_head(loss) ? 2 : 0;
    return kd_loss_check(&checked, err);
}

/* ---- Data ---- */

static kd_status read_batches(train_config *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    unsigned kind =
        kd_loss_has_head(out->training.loss.loss) ? KD_SAMPLER_SHUFFLED : KD_SAMPLER_CLASSES;
    kd_status status = setting_word(&kind, "sampler", spec->sampler, samplers, N(samplers), err);
    out->sampler = (kd_sampler_kind)kind;
    const bool shuffled = out->sampler == KD_SAMPLER_SHUFFLED;
    if (status == KD_OK && shuffled && (spec->batch_classes != 0 || spec->batch_images != 0))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "batch_%s is not a setting of the sampler shuffled: it has batch_size",
            spec->batch_classes != 0 ? "classes" : "images");
    if (status == KD_OK && !shuffled && spec->batch_size != 0)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "batch_size is not a setting of the sampler %s: it has batch_classes and batch_images",
            samplers[kind]);
    if (status == KD_OK)
        status = setting_count(&out->batch_classes, "batch_classes", spec->batch_classes,
            DEFAULT_BATCH_CLASSES, 2, MAX_BATCH / 2, err);
    if (status == KD_OK)
        status = setting_count(&out->batch_images, "batch_images", spec->batch_images,
            DEFAULT_BATCH_IMAGES, 2, MAX_BATCH / 2, err);
    if (status == KD_OK && out->batch_classes * out->batch_images > MAX_BATCH)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "batch_classes %u × batch_images %u are more than %u images", out->batch_classes,
            out->batch_images, MAX_BATCH);
    if (status == KD_OK)
        status = setting_count(
            &out->batch_size, "batch_size", spec->batch_size, DEFAULT_BATCH, 2, MAX_BATCH, err);
    const uint32_t memory = out->training.loss.memory;
    if (status == KD_OK && memory > 0 && memory < train_config_batch(out))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "memory is %u, a batch has up to %zu images: it must hold one at least", memory,
            train_config_batch(out));
    /* These two list all triplets of the batch and the memory. */
    const kd_loss_options *const l = &out->training.loss;
    if (status == KD_OK && l->loss == KD_LOSS_TRIPLET && memory > MAX_LISTED_MEMORY &&
        (l->miner == KD_MINER_ALL || l->miner == KD_MINER_SEMI_HARD))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "memory is %u, allowed with the miner %s are 1 to %u", memory, kd_miner_name(l->miner),
            MAX_LISTED_MEMORY);
    return status;
}

static kd_status read_validation(
    train_config *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    unsigned metric = 0;
    kd_status status = KD_OK;
    if (spec->validation[0] != '\0' && !train_cut_parse(spec->validation, &out->cut))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "validation is '%.40s', allowed are \"classes\", \"images\" and \"none\"",
            spec->validation);
    if (status == KD_OK)
        status = setting_positive(
            &out->share, "validation_share", spec->validation_share, VALIDATION_SHARE, 0.5, err);
    if (status == KD_OK)
        status = setting_word(&metric, "metric", spec->metric, metrics, N(metrics), err);
    out->metric = metric == 0 ? POINT_MAP_AT_5 : POINT_RECALL_AT_1;
    if (status == KD_OK)
        status = setting_count(&out->patience, "patience", spec->patience, 0, 1, MAX_EPOCHS, err);
    if (status == KD_OK && out->patience > 0 && out->cut == TRAIN_CUT_NONE)
        status =
            kd_error_set(err, KD_INVALID_ARGUMENT, "patience needs validation, which is \"none\"");
    return status;
}

static kd_status read_augment(kd_augment *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    *out = (kd_augment)KD_AUGMENT_INIT;
    kd_status status = setting_share(&out->flip, "flip", spec->flip, (double)out->flip, 0, err);
    if (status == KD_OK)
        status = setting_share(&out->light, "light", spec->light, 0.2, 0, err);
    if (status == KD_OK)
        status = setting_share(&out->crop_min_scale, "crop", spec->crop, 0.5, 0.01, err);
    if (status == KD_OK)
        status = setting_share(&out->color, "color", spec->color, 0, 0, err);
    if (status == KD_OK)
        status = setting_share(&out->gray, "gray", spec->gray, 0, 0, err);
    if (status == KD_OK)
        status = setting_share(&out->blur, "blur", spec->blur, 0, 0, err);
    if (status == KD_OK)
        status = setting_share(&out->erase, "erase", spec->erase, 0, 0, err);
    return status;
}

/* ---- Optimisation ---- */

static kd_status read_optimizer(
    train_config *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    kd_training_options *const t = &out->training;
    double momentum, decay, clip;
    kd_status status = KD_OK;
    if (spec->optimizer[0] != '\0' && !kd_optimizer_parse(spec->optimizer, &t->optimizer))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "optimizer is '%.40s', allowed are \"adam\", \"adamw\" and \"sgd\"", spec->optimizer);
    if (status == KD_OK && spec->momentum && t->optimizer != KD_OPTIMIZER_SGD)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "momentum is not a setting of the optimizer %s", kd_optimizer_name(t->optimizer));
    if (status == KD_OK)
        status = setting_real(&momentum, "momentum", spec->momentum, MOMENTUM, 0, 0.9999, err);
    if (status == KD_OK)
        status = setting_real(&decay, "weight_decay", spec->weight_decay, WEIGHT_DECAY, 0, 1, err);
    if (status == KD_OK)
        status = setting_positive(&clip, "clip_norm", spec->clip_norm, 0, 1e6, err);
    if (status != KD_OK)
        return status;
    t->momentum = (float)momentum;
    t->weight_decay = (float)decay;
    t->clip_norm = (float)clip;
    return KD_OK;
}

static kd_status read_schedule(train_config *out, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    train_schedule_options *const s = &out->schedule;
    *s = (train_schedule_options){.kind = SCHEDULE_COSINE, .floor = FLOOR};
    kd_status status = KD_OK;
    if (spec->schedule[0] != '\0' && !train_schedule_parse(spec->schedule, &s->kind))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "schedule is '%.40s', allowed are \"cosine\", \"one-cycle\", \"step\", \"plateau\" and "
            "\"constant\"",
            spec->schedule);
    const bool plateau = s->kind == SCHEDULE_PLATEAU, falls = plateau || s->kind == SCHEDULE_STEP;
    if (status == KD_OK && spec->step_epochs != 0 && s->kind != SCHEDULE_STEP)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "step_epochs is not a setting of the schedule %s", train_schedule_name(s->kind));
    if (status == KD_OK && spec->decay_factor != 0 && !falls)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "decay_factor is not a setting of the schedule %s", train_schedule_name(s->kind));
    if (status == KD_OK && spec->plateau_patience != 0 && !plateau)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "plateau_patience is not a setting of the schedule %s", train_schedule_name(s->kind));
    if (status == KD_OK && plateau && out->cut == TRAIN_CUT_NONE)
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "the schedule plateau needs validation, which is \"none\"");
    if (status == KD_OK)
        status =
            setting_positive(&s->peak, "learning_rate", spec->learning_rate, DEFAULT_RATE, 1, err);
    if (status == KD_OK)
        status = setting_positive(&out->head_rate, "head_learning_rate", spec->head_learning_rate,
            fmin(HEAD_RATE * s->peak, 1), 1, err);
    if (status == KD_OK && spec->warmup && s->kind == SCHEDULE_ONE_CYCLE)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "warmup is not a setting of the schedule one-cycle, which has a rise of its own");
    if (status == KD_OK)
        status = setting_real(&s->warmup, "warmup", spec->warmup, WARMUP, 0, 0.5, err);
    if (status == KD_OK)
        status = setting_count(&s->step_epochs, "step_epochs", spec->step_epochs,
            (out->epochs + 2) / 3, 1, MAX_EPOCHS, err);
    if (status == KD_OK)
        status = setting_positive(&s->factor, "decay_factor", spec->decay_factor, 0.1, 0.999, err);
    if (status == KD_OK)
        status = setting_count(
            &s->patience, "plateau_patience", spec->plateau_patience, 3, 1, MAX_EPOCHS, err);
    return status;
}

static kd_status read_freezing(
    train_config *out, const Kindred__V1__TrainSpec *spec, const kd_model *parent, kd_error *err)
{
    kd_training_options *const t = &out->training;
    unsigned norm = 0, precision = 0;
    kd_status status = setting_word(&norm, "norm", spec->norm, norms, N(norms), err);
    t->freeze_norm = norm != 0;
    t->freeze_backbone = spec->freeze_backbone;
    if (status == KD_OK)
        status =
            setting_word(&precision, "precision", spec->precision, precisions, N(precisions), err);
    t->precision = (kd_precision)precision;
    if (status == KD_OK && t->precision == KD_PRECISION_BFLOAT16 && !kd_nn_has_bfloat16())
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "precision is 'bfloat16', which this machine computes slower than float32");
    if (status == KD_OK)
        status = setting_count(&out->dim, "dim", spec->dim, 0, KD_NN_MIN_DIM, KD_NN_MAX_DIM, err);
    /* What trains must be served. */
    const bool projects = parent && parent->dim < KD_NN_FEATURES;
    if (status == KD_OK && spec->freeze_backbone && out->dim == 0 && !projects)
        out->dim = KD_NN_FEATURES;
    if (status == KD_OK)
        status = setting_count(
            &out->freeze_epochs, "freeze_epochs", spec->freeze_epochs, 0, 1, MAX_EPOCHS, err);
    if (status == KD_OK && out->freeze_epochs > 0 && spec->freeze_backbone)
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "freeze_epochs and freeze_backbone are both set");
    if (status == KD_OK && out->freeze_epochs >= out->epochs)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "freeze_epochs is %u of %u epochs: freeze_backbone freezes all", out->freeze_epochs,
            out->epochs);
    if (status == KD_OK && out->freeze_epochs > 0 && out->dim == 0 && !projects &&
        !kd_loss_has_head(t->loss.loss))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "freeze_epochs needs something beside the backbone that learns: a projection "
            "(dim) or a loss with a head");
    return status;
}

kd_status train_config_read(
    train_config *out, const Kindred__V1__TrainSpec *spec, const kd_model *parent, kd_error *err)
{
    unsigned kind = 0, action = COLLAPSE_STOP;
    *out = (train_config){.dataset = spec->dataset,
        .seed = spec->seed,
        .cut = TRAIN_CUT_CLASSES,
        .preprocess = parent ? parent->preprocess : (kd_preprocess)KD_PREPROCESS_INIT};
    kd_training_defaults(&out->training);
    out->training.seed = spec->seed;

    kd_status status = read_loss(&out->training.loss, spec, err);
    if (status == KD_OK)
        status = setting_word(&kind, "labels", spec->labels, labels, N(labels), err);
    out->super_class = kind != 0;
    if (status == KD_OK)
        status =
            setting_count(&out->epochs, "epochs", spec->epochs, DEFAULT_EPOCHS, 1, MAX_EPOCHS, err);
    if (status == KD_OK)
        status = setting_count(&out->preprocess.image_size, "image_size", spec->image_size,
            out->preprocess.image_size, KD_NN_MIN_IMAGE_SIZE, KD_NN_MAX_IMAGE_SIZE, err);
    if (status == KD_OK)
        status = read_batches(out, spec, err);
    if (status == KD_OK)
        status = read_validation(out, spec, err);
    if (status == KD_OK)
        status = read_augment(&out->augment, spec, err);
    if (status == KD_OK)
        status = read_optimizer(out, spec, err);
    if (status == KD_OK)
        status = read_schedule(out, spec, err);
    if (status == KD_OK)
        status = read_freezing(out, spec, parent, err);
    if (status == KD_OK)
        status = setting_word(
            &action, "on_collapse", spec->on_collapse, collapse_actions, N(collapse_actions), err);
    out->on_collapse = (collapse_action)action;
    if (status == KD_OK)
        status = setting_positive(&out->checkpoint_minutes, "checkpoint_minutes",
            spec->checkpoint_minutes, CHECKPOINT_MINUTES, 1e6, err);
    return status;
}

size_t train_config_batch(const train_config *c)
{
    return c->sampler == KD_SAMPLER_SHUFFLED ? (size_t)c->batch_size + 1
                                             : (size_t)c->batch_classes * c->batch_images;
}

/* ---- In words ---- */

/* A float's shortest decimal, so that 0.2 reads 0.2. */
static double tidy(float value)
{
    return round((double)value * 1e6) / 1e6;
}

static void put(json_t *to, const char *key, json_t *value)
{
    (void)json_object_set_new(to, key, value);
}

static json_t *loss_json(const kd_loss_options *l)
{
    const bool pairs = l->loss == KD_LOSS_TRIPLET || l->loss == KD_LOSS_CONTRASTIVE;
    json_t *const made =
        json_pack("{s:s, s:f}", "loss", kd_loss_name(l->loss), "margin", tidy(l->margin));
    if (kd_loss_has_miner(l->loss))
        put(made, "miner", json_string(kd_miner_name(l->miner)));
    if (pairs) {
        put(made, "distance", json_string(distances[l->distance]));
        put(made, "reduction", json_string(reductions[l->reduction]));
        put(made, "raw", json_boolean(l->raw));
    } else {
        put(made, "scale", json_real(tidy(l->scale)));
    }
    if (l->loss == KD_LOSS_CONTRASTIVE)
        put(made, "positive_margin", json_real(tidy(l->positive_margin)));
    if (l->loss == KD_LOSS_MULTI_SIMILARITY)
        put(made, "positive_scale", json_real(tidy(l->positive_scale)));
    if (!kd_loss_has_head(l->loss))
        put(made, "memory", json_integer(l->memory));
    return made;
}

static json_t *schedule_json(const train_config *c)
{
    const train_schedule_options *const s = &c->schedule;
    json_t *const made = json_pack("{s:s, s:f, s:f, s:f}", "schedule", train_schedule_name(s->kind),
        "learning_rate", s->peak, "head_learning_rate", c->head_rate, "warmup", s->warmup);
    if (s->kind == SCHEDULE_STEP)
        put(made, "step_epochs", json_integer(s->step_epochs));
    if (s->kind == SCHEDULE_PLATEAU)
        put(made, "plateau_patience", json_integer(s->patience));
    if (s->kind == SCHEDULE_STEP || s->kind == SCHEDULE_PLATEAU)
        put(made, "decay_factor", json_real(s->factor));
    return made;
}

static json_t *batches_json(const train_config *c)
{
    json_t *const made = json_pack("{s:s}", "sampler", samplers[c->sampler]);
    if (c->sampler == KD_SAMPLER_SHUFFLED) {
        put(made, "batch_size", json_integer(c->batch_size));
    } else {
        put(made, "batch_classes", json_integer(c->batch_classes));
        put(made, "batch_images", json_integer(c->batch_images));
    }
    return made;
}

json_t *train_config_json(const train_config *c)
{
    const kd_training_options *const t = &c->training;
    const kd_augment *const a = &c->augment;
    json_t *const made = json_pack(
        "{s:s, s:s, s:i, s:i, s:i, s:s, s:f, s:s, s:i, s:s, s:f, s:f, s:b, s:i, s:s, s:s, s:s, "
        "s:f, s:I, s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f}}",
        "dataset", c->dataset, "labels", labels[c->super_class ? 1 : 0], "epochs", (int)c->epochs,
        "image_size", (int)c->preprocess.image_size, "dim", (int)c->dim, "validation",
        train_cut_name(c->cut), "validation_share", c->share, "metric",
        metrics[c->metric == POINT_MAP_AT_5 ? 0 : 1], "patience", (int)c->patience, "optimizer",
        kd_optimizer_name(t->optimizer), "weight_decay", tidy(t->weight_decay), "clip_norm",
        tidy(t->clip_norm), "freeze_backbone", t->freeze_backbone, "freeze_epochs",
        (int)c->freeze_epochs, "norm", norms[t->freeze_norm ? 1 : 0], "precision",
        precisions[t->precision], "on_collapse", collapse_actions[c->on_collapse],
        "checkpoint_minutes", c->checkpoint_minutes, "seed", (json_int_t)c->seed, "augmentation",
        "flip", tidy(a->flip), "light", tidy(a->light), "crop", tidy(a->crop_min_scale), "color",
        tidy(a->color), "gray", tidy(a->gray), "blur", tidy(a->blur), "erase", tidy(a->erase));
    if (t->optimizer == KD_OPTIMIZER_SGD)
        put(made, "momentum", json_real(tidy(t->momentum)));
    json_t *const parts[] = {loss_json(&t->loss), schedule_json(c), batches_json(c)};
    bool good = made != NULL;
    for (size_t i = 0; i < N(parts); i++) {
        good = good && parts[i] && json_object_update(made, parts[i]) == 0;
        json_decref(parts[i]);
    }
    if (good)
        return made;
    json_decref(made);
    return NULL;
}

void train_config_fix(train_config *c, uint32_t fix, char changed[TRAIN_FIX_TEXT])
{
    kd_loss_options *const l = &c->training.loss;
    const char *normal = "", *easier = "", *by_batch = "";
    c->schedule.peak /= 10;
    c->head_rate /= 10;
    if (l->raw || l->reduction == KD_REDUCTION_SUM) {
        l->raw = false;
        l->reduction = KD_REDUCTION_MEAN;
        normal = ", embeddings normalised, mean of the terms, the loss's own margin";
        kd_loss_options own; /* the margin was one of other distances */
        kd_loss_defaults(l->loss, &own);
        l->margin = own.margin;
        l->positive_margin = own.positive_margin;
    }
    if (fix > 1 && l->loss == KD_LOSS_TRIPLET && l->miner == KD_MINER_BATCH_HARD && l->margin > 0) {
        l->miner = KD_MINER_SEMI_HARD;
        easier = ", semi-hard negatives";
    }
    if (fix > 1 && c->training.freeze_norm) { /* without it random weights collapse */
        c->training.freeze_norm = false;
        by_batch = ", batch normalisation by the batch";
    }
    (void)snprintf(changed, TRAIN_FIX_TEXT, "learning rate %.3g%s%s%s", c->schedule.peak, normal,
        easier, by_batch);
}
