/* The loop over epochs: steps, validation, what is kept, and what becomes of a collapse. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "services/trainer/run.h"
#include "services/trainer/validate.h"

/* ---- Validation ---- */

static kd_status quiet_tick(void *arg, size_t done, kd_error *err)
{
    (void)done;
    return train_tick(arg, err);
}

/* Queries first, then the rest of the gallery; a new list (free), NULL without memory. */
static uint32_t *validation_images(const train_split *split)
{
    uint32_t *const images = calloc(split->n_validation + split->n_gallery + 1, sizeof *images);
    for (size_t i = 0; images && i < split->n_validation; i++)
        images[i] = split->validation[i];
    for (size_t i = 0; images && i < split->n_gallery; i++)
        images[split->n_validation + i] = split->gallery[i];
    return images;
}

static size_t count_queries(const train_run *run, const feature_rows *rows)
{
    size_t n = 0;
    for (size_t i = 0, at = 0; i < run->split.n_validation && at < rows->n; i++) {
        if (rows->images[at] != run->split.validation[i])
            continue;
        n++;
        at++;
    }
    return n;
}

/* The rows' features by the network as it is; with a frozen backbone once for all. */
static kd_status validation_features(train_run *run, feature_rows *rows, kd_error *err)
{
    if (run->validation.n > 0) {
        *rows = run->validation;
        return KD_OK;
    }
    uint32_t *const images = validation_images(&run->split);
    kd_status status = images ? KD_OK : kd_error_memory(err, "the validation's images");
    if (status == KD_OK)
        status = features_compute(rows, run->loader, run->net, run->config.preprocess.image_size,
            images, run->split.n_validation + run->split.n_gallery, quiet_tick, run, err);
    if (status == KD_OK && run->feature_of)
        run->validation = *rows;
    free(images);
    return status;
}

static validation_result no_result(void)
{
    const double none = (double)NAN;
    return (validation_result){none, none, none, none};
}

static kd_status run_validation(
    train_run *run, train_epoch *e, validation_result *out, kd_error *err)
{
    feature_rows rows = {.n = 0};
    *out = no_result();
    if (run->split.n_validation == 0)
        return KD_OK;
    train_describe(run, e, "validating");
    kd_status status = validation_features(run, &rows, err);
    if (status != KD_OK)
        return status;
    const bool has_head = kd_loss_has_head(run->config.training.loss.loss);
    const validation v = {.net = run->net,
        .training = run->training,
        .rows = &rows,
        .n_queries = count_queries(run, &rows),
        .labels = run->split.by_class ? run->classes : run->labels,
        .head_labels = has_head ? run->head_labels : NULL};
    if (v.n_queries == 0)
        status = kd_error_set(
            err, KD_FAILED_PRECONDITION, "none of the validation images can be read any more");
    if (status == KD_OK)
        status = validate(&v, out, err);
    e->n_validated = rows.n;
    if (!run->feature_of)
        features_free(&rows);
    return status;
}

/* ---- Collapse ---- */

static collapse_means means_of(const double values[POINT_STEP_VALUES], double steps)
{
    return (collapse_means){.positive = values[POINT_POSITIVE_DISTANCE] / steps,
        .negative = values[POINT_NEGATIVE_DISTANCE] / steps,
        .active = values[POINT_ACTIVE_SHARE] / steps,
        .loss = values[POINT_LOSS] / steps};
}

/* Whether the loss sits at its margin since enough steps, this epoch's being the last. */
static bool at_margin(const train_run *run, train_epoch *e)
{
    const train_record *const r = &run->record;
    const uint64_t per_epoch = r->sums.steps;
    uint64_t n = (COLLAPSE_MARGIN_STEPS + per_epoch - 1) / per_epoch;
    if (n < COLLAPSE_EPOCHS)
        n = COLLAPSE_EPOCHS;
    collapse_means means[COLLAPSE_MARGIN_STEPS];
    /* While the rate rises, or the backbone stands still, there may be no gap yet. */
    const double rising = run->config.schedule.warmup * run->config.epochs;
    const uint64_t begin = (uint64_t)ceil(fmax(rising, run->config.freeze_epochs));
    if (n > COLLAPSE_MARGIN_STEPS || r->epochs_done + 1 < n + begin)
        return false;
    for (uint64_t i = 0; i + 1 < n; i++)
        means[i] = means_of(r->curve[r->epochs_done + 1 - n + i].values, 1);
    means[n - 1] = means_of(r->sums.values, (double)per_epoch);
    return collapse_of_margin(means, (size_t)n, &run->config.training.loss, e->collapse);
}

/* The epoch's steps are over, but it is not in the curve yet: should it have collapsed, its weights
 * are not among the best. */
static bool steps_collapsed(const train_run *run, train_epoch *e)
{
    const step_sums *const s = &run->record.sums;
    if (run->config.on_collapse == COLLAPSE_IGNORE || s->steps == 0)
        return false;
    const collapse_means means = means_of(s->values, (double)s->steps);
    return (run->record.watch.steps >= COLLAPSE_STEPS &&
               collapse_of_epoch(&means, &run->config.training.loss, e->collapse)) ||
           at_margin(run, e);
}

/* A network that tells two or three labels apart needs no more directions. */
static bool rank_collapsed(const train_run *run, train_epoch *e, const validation_result *v)
{
    return run->config.on_collapse != COLLAPSE_IGNORE && run->n_labels > 3 &&
           collapse_of_rank(v->effective_rank, e->n_validated, kd_net_dim(run->net), e->collapse);
}

/* Stops with what was seen and what to change, or begins again with it changed. */
static kd_status handle_collapse(train_run *run, const train_epoch *e, kd_error *err)
{
    train_record *const record = &run->record;
    char advice[COLLAPSE_TEXT], changed[TRAIN_FIX_TEXT];
    const uint32_t number = record->epochs_done + 1, step = record->step;
    KD_LOG(KD_LOG_WARN, "training_collapsed", KD_STR("job", run->job_id), KD_INT("epoch", number),
        KD_INT("step", step), KD_STR("seen", e->collapse));
    collapse_advice(&run->config.training.loss, run->config.schedule.peak, advice);
    if (run->config.on_collapse != COLLAPSE_FIX || record->n_fixes == RECORD_MAX_FIXES) {
        uint64_t ignored; /* to be seen; the next try cuts it off again */
        kd_error why = KD_ERROR_INIT;
        if (train_events_sync(run->events, &ignored, &why) != KD_OK)
            kd_log_error(KD_LOG_WARN, "events_lost", &why);
        char note[2 * COLLAPSE_TEXT + 64];
        (void)snprintf(note, sizeof note, "the training collapsed in epoch %u, step %u: %s; %s",
            number, step, e->collapse,
            record->n_fixes == RECORD_MAX_FIXES ? "what could be changed was changed in vain"
                                                : advice);
        train_save_page(run, note, false);
        return kd_error_set(err, KD_FAILED_PRECONDITION, "%s", note);
    }
    train_config_fix(&run->config, record->n_fixes + 1, changed);
    char fix[COLLAPSE_TEXT + TRAIN_FIX_TEXT + 64];
    (void)snprintf(fix, sizeof fix, "epoch %u, step %u: %s; began again with %s", number, step,
        e->collapse, changed);
    kd_status status = train_record_fix(record, fix, err);
    if (status == KD_OK)
        status = train_start_net(run, err);
    if (status == KD_OK)
        status = train_events_start(run, err);
    if (status == KD_OK)
        status = train_save_checkpoint(run, err);
    if (status == KD_OK)
        KD_LOG(KD_LOG_WARN, "collapse_fixed", KD_STR("job", run->job_id), KD_STR("fix", fix));
    return status;
}

/* ---- An epoch ---- */

static kd_status note_epoch(train_run *run, const train_epoch *e, kd_error *err)
{
    const epoch_point *const p = &run->record.curve[run->record.epochs_done - 1];
    train_scalar scalars[POINT_VALUES];
    char tags[POINT_VALUES][64];
    size_t n = 0;
    for (size_t i = 0; i < POINT_VALUES; i++) {
        if (!isfinite(p->values[i]))
            continue;
        (void)snprintf(tags[n], sizeof tags[n], "epoch/%s", point_name((point_value)i));
        scalars[n] = (train_scalar){tags[n], p->values[i]};
        n++;
    }
    KD_LOG(KD_LOG_INFO, "epoch_done", KD_STR("job", run->job_id), KD_INT("epoch", p->epoch),
        KD_INT("of", run->config.epochs), KD_REAL("loss", p->values[POINT_LOSS]),
        KD_REAL("active_share", p->values[POINT_ACTIVE_SHARE]),
        KD_REAL("positive_distance", p->values[POINT_POSITIVE_DISTANCE]),
        KD_REAL("negative_distance", p->values[POINT_NEGATIVE_DISTANCE]),
        KD_REAL("effective_rank", p->values[POINT_EFFECTIVE_RANK]),
        KD_REAL("recall_at_1", p->values[POINT_RECALL_AT_1]),
        KD_REAL("map_at_5", p->values[POINT_MAP_AT_5]),
        KD_REAL("seconds", p->values[POINT_SECONDS]),
        KD_REAL("images_per_second", p->values[POINT_IMAGES_PER_SECOND]));
    return train_events_add(run->events, (int64_t)((uint64_t)p->epoch * e->n_batches),
        (double)kd_wall_ms() / 1e3, scalars, n, err);
}

static void start_epoch(train_run *run, train_epoch *e)
{
    const train_record *const record = &run->record;
    e->n_batches = kd_sampler_epoch(run->sampler, record->epochs_done);
    e->batch = kd_sampler_batch(run->sampler, 0, e->images);
    e->base = (uint64_t)record->epochs_done * e->n_batches * e->batch;
    e->total = (uint64_t)run->config.epochs * e->n_batches * e->batch;
    e->n_validated = 0;
    kd_training_freeze_backbone(run->training,
        run->config.training.freeze_backbone || record->epochs_done < run->config.freeze_epochs);
    train_describe(run, e, "");
}

static kd_status end_epoch(
    train_run *run, train_epoch *e, const validation_result *v, kd_error *err)
{
    double values[POINT_VALUES];
    for (size_t i = 0; i < POINT_VALUES; i++)
        values[i] = (double)NAN;
    values[POINT_RECALL_AT_1] = v->recall_at_1;
    values[POINT_MAP_AT_5] = v->map_at_5;
    values[POINT_ACCURACY] = v->accuracy;
    values[POINT_EFFECTIVE_RANK] = v->effective_rank;
    values[POINT_LEARNING_RATE] = train_rate(run, e, e->n_batches - 1);
    const bool keep = train_record_end_epoch(&run->record, values);
    kd_status status = note_epoch(run, e, err);
    e->base += (uint64_t)e->n_batches * e->batch;
    train_describe(run, e, "");
    if (status == KD_OK)
        status = train_save_epoch(run, keep, err);
    e->saved_ms = kd_mono_ms();
    if (status == KD_OK)
        train_save_page(run, NULL, true);
    return status;
}

static kd_status run_epoch(train_run *run, train_epoch *e, kd_error *err)
{
    validation_result v = no_result();
    steps_end end = STEPS_DONE;
    start_epoch(run, e);
    kd_status status = train_tick(run, err);
    if (status == KD_OK)
        status = train_steps(run, e, &end, err);
    if (status == KD_OK && end == STEPS_DONE && steps_collapsed(run, e))
        end = STEPS_COLLAPSED;
    if (status == KD_OK && end == STEPS_DONE)
        status = run_validation(run, e, &v, err);
    if (status == KD_UNAVAILABLE) { /* this process ends: the next goes on from here */
        kd_error why = KD_ERROR_INIT;
        if (train_save_checkpoint(run, &why) != KD_OK)
            kd_log_error(KD_LOG_WARN, "checkpoint_failed", &why);
    }
    if (status != KD_OK)
        return status;
    if (end == STEPS_COLLAPSED || rank_collapsed(run, e, &v))
        return handle_collapse(run, e, err);
    return end_epoch(run, e, &v, err);
}

/* Nothing got better for so long that nothing will. The best epoch is the last of equal ones;
 * patience counts from the first. */
static bool out_of_patience(const train_run *run)
{
    const train_record *const r = &run->record;
    uint32_t first = r->best[0];
    if (run->config.patience == 0 || first == 0)
        return false;
    const double best = r->curve[first - 1].values[r->metric];
    for (uint32_t i = first; i > 0; i--)
        if (r->curve[i - 1].values[r->metric] >= best)
            first = i;
    if (first < run->config.freeze_epochs)
        first = run->config.freeze_epochs;
    return r->epochs_done >= first + run->config.patience;
}

static kd_status make_epoch(train_epoch *e, train_run *run, kd_error *err)
{
    kd_metrics *const metrics = run->trainer->process->metrics;
    const size_t room = train_config_batch(&run->config);
    *e = (train_epoch){.saved_ms = kd_mono_ms(),
        .images = calloc(room, sizeof *e->images),
        .labels = calloc(room, sizeof *e->labels),
        .features = run->feature_of ? calloc(room, KD_NN_FEATURES * sizeof *e->features) : NULL,
        .steps_made = kd_metrics_counter(
            metrics, "kindred_train_steps_total", NULL, "Training steps that were made."),
        .images_seen = kd_metrics_counter(
            metrics, "kindred_train_images_total", NULL, "Images in those steps."),
        .loss = kd_metrics_gauge(metrics, "kindred_train_loss", NULL, "Loss of the last step.")};
    if (!e->images || !e->labels || (run->feature_of && !e->features))
        return kd_error_memory(err, "the lists of a batch");
    return KD_OK;
}

kd_status train_epochs(train_run *run, kd_error *err)
{
    train_epoch e;
    kd_status status = make_epoch(&e, run, err);
    while (status == KD_OK && run->record.epochs_done < run->config.epochs && !out_of_patience(run))
        status = run_epoch(run, &e, err);
    free(e.images);
    free(e.labels);
    free(e.features);
    return status;
}
