/* The steps of an epoch. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/trainer/run.h"

/* ---- What is said of it ---- */

static void describe_numbers(const train_run *run, kd_buf *text)
{
    const train_record *const record = &run->record;
    const step_sums *const s = &record->sums;
    const epoch_point *const last =
        record->epochs_done > 0 ? &record->curve[record->epochs_done - 1] : NULL;
    double now[POINT_STEP_VALUES];
    if (s->steps == 0 && !last)
        return;
    for (size_t i = 0; i < POINT_STEP_VALUES; i++)
        now[i] = s->steps > 0 ? s->values[i] / (double)s->steps : last->values[i];
    kd_buf_printf(text, "loss %.3f", now[POINT_LOSS]);
    if (kd_loss_has_head(run->config.training.loss.loss))
        kd_buf_printf(text, ", accuracy %.2f", now[POINT_TRAIN_ACCURACY]);
    else if (run->config.training.loss.margin > 0)
        kd_buf_printf(text, ", active %.0f %%", 100 * now[POINT_ACTIVE_SHARE]);
    if (last && isfinite(last->values[POINT_RECALL_AT_1]))
        kd_buf_printf(text, ", val R@1 %.3f", last->values[POINT_RECALL_AT_1]);
}

void train_describe(train_run *run, const train_epoch *e, const char *also)
{
    const train_record *const record = &run->record;
    const step_sums *const s = &record->sums;
    kd_buf text = KD_BUF_INIT;
    describe_numbers(run, &text);
    if (also[0] != '\0')
        kd_buf_printf(&text, "%s%s", text.len > 0 ? "; " : "", also);
    (void)kd_copy(run->progress.detail, sizeof run->progress.detail,
        kd_buf_ok(&text) && text.data ? (const char *)text.data : "");
    kd_buf_free(&text);

    const uint32_t number = record->epochs_done + (record->epochs_done < run->config.epochs);
    (void)snprintf(run->progress.phase, sizeof run->progress.phase, "epoch %u of %u", number,
        run->config.epochs);
    run->progress.done = e->base + (uint64_t)record->step * e->batch;
    run->progress.total = e->total;
    if (s->seconds > 0)
        run->progress.rate = (double)s->images / s->seconds;
    else if (record->epochs_done > 0)
        run->progress.rate = record->curve[record->epochs_done - 1].values[POINT_IMAGES_PER_SECOND];
}

kd_status train_tick(train_run *run, kd_error *err)
{
    return run->hooks->tick(run->hooks->arg, &run->progress, err);
}

/* ---- Rates ---- */

/* What the plateau knows follows from the curve, so that no checkpoint need hold it. */
static train_plateau plateau_of(const train_run *run)
{
    train_plateau plateau = TRAIN_PLATEAU_INIT;
    const bool needed = run->config.schedule.kind == SCHEDULE_PLATEAU;
    for (uint32_t i = 0; needed && i < run->record.epochs_done; i++) {
        const double metric = run->record.curve[i].values[run->record.metric];
        (void)train_plateau_note(&plateau, &run->config.schedule, isfinite(metric) ? metric : 0);
    }
    return plateau;
}

/* The schedule's rate at that step of the epoch, as if it had begun `late` epochs later. */
static double scheduled(const train_run *run, const train_epoch *e, size_t step, uint32_t late)
{
    const uint32_t done = run->record.epochs_done - late;
    const train_plateau plateau = plateau_of(run);
    return train_schedule_rate(&run->config.schedule, (uint64_t)done * e->n_batches + step,
        (uint64_t)(run->config.epochs - late) * e->n_batches, done, &plateau);
}

/* A backbone that is frozen at first begins its schedule, with the rise, when it is freed. */
double train_rate(const train_run *run, const train_epoch *e, size_t step)
{
    const uint32_t frozen = run->config.freeze_epochs;
    return run->record.epochs_done < frozen ? 0 : scheduled(run, e, step, frozen);
}

/* ---- One step ---- */

/* Image numbers of a batch. */
static size_t batch_images(const train_run *run, size_t number, uint32_t *images)
{
    const size_t n = kd_sampler_batch(run->sampler, number, images);
    for (size_t i = 0; i < n; i++)
        images[i] = run->split.train[images[i]];
    return n;
}

/* Keeps the loader busy with the batches from `next` on. */
static void begin_batches(train_run *run, const train_epoch *e, size_t *next)
{
    for (; *next < e->n_batches && loader_begun(run->loader) < LOADER_AHEAD; ++*next) {
        const size_t n = batch_images(run, *next, e->images);
        const uint64_t turn = ((uint64_t)run->record.epochs_done << 32) | *next;
        loader_begin(run->loader, e->images, n, LOADER_AUGMENTED, turn);
    }
}

static void label(const train_run *run, const train_epoch *e, const uint32_t *images, size_t n)
{
    for (size_t i = 0; i < n; i++)
        e->labels[i] = run->head_labels[images[i]];
}

static kd_status step_pixels(
    train_run *run, train_epoch *e, size_t *next, size_t *n, kd_step_stats *stats, kd_error *err)
{
    loader_batch batch;
    begin_batches(run, e, next);
    loader_take(run->loader, &batch);
    label(run, e, batch.images, batch.n);
    const kd_status status = kd_training_step(run->training, batch.pixels, e->labels, batch.n,
        run->config.preprocess.image_size, stats, err);
    *n = batch.n;
    loader_give_back(run->loader);
    return status;
}

static kd_status step_features(
    train_run *run, train_epoch *e, size_t *n, kd_step_stats *stats, kd_error *err)
{
    const size_t all = batch_images(run, run->record.step, e->images);
    size_t kept = 0;
    for (size_t i = 0; i < all; i++) {
        const uint32_t row = run->feature_of[e->images[i]];
        if (row == UINT32_MAX) /* could not be read */
            continue;
        memcpy(e->features + kept * KD_NN_FEATURES,
            run->features.values + (size_t)row * KD_NN_FEATURES,
            KD_NN_FEATURES * sizeof *e->features);
        e->images[kept++] = e->images[i];
    }
    label(run, e, e->images, kept);
    *n = kept;
    return kd_training_step_features(run->training, e->features, e->labels, kept, stats, err);
}

/* Adds the step to the record's sums and the event file. */
static kd_status note_step(train_run *run, train_epoch *e, size_t n, const kd_step_stats *stats,
    double rate, kd_error *err)
{
    train_record *const record = &run->record;
    step_sums *const s = &record->sums;
    const double values[POINT_STEP_VALUES] = {[POINT_LOSS] = (double)stats->loss,
        [POINT_ACTIVE_SHARE] = (double)stats->active_share,
        [POINT_POSITIVE_DISTANCE] = (double)stats->positive_distance,
        [POINT_NEGATIVE_DISTANCE] = (double)stats->negative_distance,
        [POINT_GRADIENT_NORM] = (double)stats->gradient_norm,
        [POINT_TRAIN_ACCURACY] = (double)stats->accuracy};
    train_scalar scalars[POINT_STEP_VALUES + 1];
    char tags[POINT_STEP_VALUES][64];
    size_t n_scalars = 0;
    for (size_t i = 0; i < POINT_STEP_VALUES; i++) {
        s->values[i] += values[i];
        if (i == POINT_TRAIN_ACCURACY && values[i] < 0)
            continue;
        (void)snprintf(tags[i], sizeof tags[i], "step/%s", point_name((point_value)i));
        scalars[n_scalars++] = (train_scalar){tags[i], values[i]};
    }
    scalars[n_scalars++] = (train_scalar){"step/learning_rate", rate};
    s->steps++;
    s->images += n;
    kd_counter_add(e->steps_made, 1);
    kd_counter_add(e->images_seen, n);
    kd_gauge_set(e->loss, (double)stats->loss);
    collapse_note(&record->watch, stats);
    const uint64_t number = (uint64_t)record->epochs_done * e->n_batches + record->step;
    return train_events_add(
        run->events, (int64_t)number + 1, (double)kd_wall_ms() / 1e3, scalars, n_scalars, err);
}

static kd_status make_step(train_run *run, train_epoch *e, size_t *next, kd_error *err)
{
    train_record *const record = &run->record;
    const double rate = train_rate(run, e, record->step);
    const double head =
        scheduled(run, e, record->step, 0) * run->config.head_rate / run->config.schedule.peak;
    kd_step_stats stats;
    kd_error why = KD_ERROR_INIT;
    size_t n = 0;
    kd_training_set_rates(run->training, (float)rate, (float)head);
    kd_status status = run->feature_of ? step_features(run, e, &n, &stats, &why)
                                       : step_pixels(run, e, next, &n, &stats, &why);
    if (status == KD_FAILED_PRECONDITION) { /* so many of its images are gone: nothing to learn */
        KD_LOG(KD_LOG_WARN, "batch_skipped", KD_STR("job", run->job_id),
            KD_STR("reason", why.message));
        e->skipped = why;
        return KD_OK;
    }
    if (status != KD_OK)
        return kd_error_set(err, status, "epoch %u, step %u of %zu: %s%s", record->epochs_done + 1,
            record->step + 1, e->n_batches, why.message,
            status == KD_INTERNAL ? " (a lower learning rate may help); the last checkpoint stays"
                                  : "");
    return note_step(run, e, n, &stats, rate, err);
}

/* ---- All of them ---- */

static bool collapsed(const train_run *run, train_epoch *e)
{
    return run->config.on_collapse != COLLAPSE_IGNORE &&
           collapse_of_steps(&run->record.watch, &run->config.training.loss, e->collapse);
}

kd_status train_steps(train_run *run, train_epoch *e, steps_end *end, kd_error *err)
{
    train_record *const record = &run->record;
    const double checkpoint_ms = run->config.checkpoint_minutes * 60e3;
    kd_status status = KD_OK;
    *end = STEPS_DONE;
    for (size_t next = record->step;
        status == KD_OK && *end == STEPS_DONE && record->step < e->n_batches;) {
        const int64_t start_ns = kd_mono_ns();
        status = make_step(run, e, &next, err);
        if (status != KD_OK)
            break;
        record->step++;
        record->sums.seconds += (double)(kd_mono_ns() - start_ns) / 1e9;
        train_describe(run, e, "");
        if (collapsed(
                run, e)) { /* before anything may end this process: a resumed run sees it too */
            *end = STEPS_COLLAPSED;
            break;
        }
        status = train_tick(run, err);
        if (status == KD_OK && (double)(kd_mono_ms() - e->saved_ms) > checkpoint_ms) {
            status = train_save_checkpoint(run, err);
            e->saved_ms = kd_mono_ms();
        }
    }
    loader_drop(run->loader);
    if (status == KD_OK && *end == STEPS_DONE && record->sums.steps == 0)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "epoch %u: no batch could be trained on: %s", record->epochs_done + 1,
            e->skipped.message);
    return status;
}
