/* The loop over epochs and steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/trainer/run.h"
#include "services/trainer/validate.h"

#define CHECKPOINT_MS (5 * 60 * 1000) /* what a crash costs at most, in a long epoch */
#define COLLAPSE_STEPS 20u            /* before a judgement */
#define COLLAPSE_DISTANCE 0.05
#define RECENT 0.9 /* weight of what was before in a running mean */

typedef struct meters {
    kd_counter *steps, *images;
    kd_gauge *loss;
} meters;

/* An epoch's shape. */
typedef struct epoch {
    size_t n_batches, batch; /* batches, images in each */
    uint64_t base;           /* images before it */
    uint64_t total;          /* images of the run */
    int64_t saved_ms;        /* when the last checkpoint was written */
    uint32_t *images;        /* room for a batch */
    uint32_t *labels;
} epoch;

static void describe(train_run *run, const epoch *e, const char *also)
{
    const train_record *const record = &run->record;
    const step_sums *const s = &record->sums;
    const epoch_point *const last =
        record->epochs_done > 0 ? &record->curve[record->epochs_done - 1] : NULL;
    const double steps = s->steps > 0 ? (double)s->steps : 1;
    const bool now = s->steps > 0;
    kd_buf text = KD_BUF_INIT;
    if (now || last)
        kd_buf_printf(&text, "loss %.3f", now ? s->loss / steps : last->loss);
    if ((now || last) && run->config.margin > 0)
        kd_buf_printf(
            &text, ", active %.0f %%", 100 * (now ? s->active_share / steps : last->active_share));
    if (last && last->recall_at_1 >= 0)
        kd_buf_printf(&text, ", val R@1 %.2f", last->recall_at_1);
    if (run->collapsed)
        kd_buf_puts(&text, "; collapsed: all embeddings are alike, try a lower learning rate");
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
    else if (last)
        run->progress.rate = last->images_per_second;
}

static kd_status tick(train_run *run, kd_error *err)
{
    return run->hooks->tick(run->hooks->arg, &run->progress, err);
}

/* ---- Steps ---- */

/* Keeps the loader busy with the batches from `next` on. */
static void begin_batches(train_run *run, const epoch *e, size_t *next)
{
    for (; *next < e->n_batches && loader_begun(run->loader) < LOADER_AHEAD; ++*next) {
        const size_t n = kd_sampler_batch(run->sampler, *next, e->images);
        for (size_t i = 0; i < n; i++)
            e->images[i] = run->split.train[e->images[i]];
        const uint64_t turn = ((uint64_t)run->record.epochs_done << 32) | *next;
        loader_begin(run->loader, e->images, n, LOADER_AUGMENTED, turn);
    }
}

/* Says once when all embeddings have come to lie on one point. With a margin each anchor is then
 * active; the soft margin counts every anchor as active anyway. */
static void watch_for_collapse(train_run *run, const kd_step_stats *stats)
{
    const double old = run->steps_seen++ == 0 ? 0 : RECENT;
    run->recent_positive =
        old * run->recent_positive + (1 - old) * (double)stats->positive_distance;
    run->recent_negative =
        old * run->recent_negative + (1 - old) * (double)stats->negative_distance;
    run->recent_active = old * run->recent_active + (1 - old) * (double)stats->active_share;
    if (run->collapsed || run->steps_seen < COLLAPSE_STEPS || run->recent_active < 0.99 ||
        run->recent_positive >= COLLAPSE_DISTANCE || run->recent_negative >= COLLAPSE_DISTANCE)
        return;
    run->collapsed = true;
    KD_LOG(KD_LOG_WARN, "training_collapsed", KD_STR("job", run->job_id),
        KD_REAL("positive_distance", run->recent_positive),
        KD_REAL("negative_distance", run->recent_negative));
}

static kd_status step(
    train_run *run, const epoch *e, const loader_batch *batch, meters *m, kd_error *err)
{
    train_record *const record = &run->record;
    const uint64_t number = (uint64_t)record->epochs_done * e->n_batches + record->step;
    const uint64_t total = (uint64_t)run->config.epochs * e->n_batches;
    kd_step_stats stats;
    kd_error why = KD_ERROR_INIT;
    for (size_t i = 0; i < batch->n; i++)
        e->labels[i] = run->labels[batch->images[i]];
    kd_training_set_rate(run->training, (float)train_schedule_rate(&run->config.schedule, number,
                                            total, record->epochs_done, NULL));
    const kd_status status = kd_training_step(run->training, batch->pixels, e->labels, batch->n,
        run->config.preprocess.image_size, &stats, &why);
    if (status == KD_FAILED_PRECONDITION) { /* so many of its images are gone: nothing to learn */
        KD_LOG(KD_LOG_WARN, "batch_skipped", KD_STR("job", run->job_id),
            KD_STR("reason", why.message));
        return KD_OK;
    }
    if (status != KD_OK)
        return kd_error_set(err, status, "epoch %u, step %u of %zu: %s%s", record->epochs_done + 1,
            record->step + 1, e->n_batches, why.message,
            status == KD_INTERNAL ? " (a lower learning rate may help)" : "");
    step_sums *const s = &record->sums;
    s->loss += (double)stats.loss;
    s->active_share += (double)stats.active_share;
    s->positive_distance += (double)stats.positive_distance;
    s->negative_distance += (double)stats.negative_distance;
    s->steps++;
    s->images += batch->n;
    kd_counter_add(m->steps, 1);
    kd_counter_add(m->images, batch->n);
    kd_gauge_set(m->loss, (double)stats.loss);
    watch_for_collapse(run, &stats);
    return KD_OK;
}

/* ---- Disk ---- */

static kd_status save_checkpoint(train_run *run, epoch *e, kd_error *err)
{
    char *const meta = train_record_meta(&run->record);
    const kd_status status = meta ? kd_training_save(run->training, run->checkpoint, meta, err)
                                  : kd_error_memory(err, "the checkpoint's description");
    free(meta);
    e->saved_ms = kd_mono_ms();
    return status;
}

/* Best weights first: a checkpoint that names them is never without. */
static kd_status save_epoch(train_run *run, epoch *e, bool best, kd_error *err)
{
    kd_status status = best ? kd_net_save(run->net, run->best, err) : KD_OK;
    if (status == KD_OK)
        status = save_checkpoint(run, e, err);
    if (status != KD_OK)
        return status;
    char *const text = train_record_log(&run->record);
    if (text)
        status = kd_file_write(run->log, text, strlen(text), err);
    else
        status = kd_error_memory(err, "the log");
    free(text);
    return status;
}

/* ---- An epoch ---- */

static kd_status run_steps(train_run *run, epoch *e, meters *m, kd_error *err)
{
    train_record *const record = &run->record;
    kd_status status = KD_OK;
    for (size_t next = record->step; status == KD_OK && record->step < e->n_batches;) {
        const int64_t start_ns = kd_mono_ns();
        loader_batch batch;
        begin_batches(run, e, &next);
        loader_take(run->loader, &batch);
        status = step(run, e, &batch, m, err);
        loader_give_back(run->loader);
        if (status != KD_OK)
            break;
        record->step++;
        record->sums.seconds += (double)(kd_mono_ns() - start_ns) / 1e9;
        describe(run, e, "");
        status = tick(run, err);
        if (status == KD_OK && kd_mono_ms() - e->saved_ms > CHECKPOINT_MS)
            status = save_checkpoint(run, e, err);
    }
    loader_drop(run->loader);
    if (status == KD_OK && record->sums.steps == 0)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "epoch %u: too few images can be read to make one batch", record->epochs_done + 1);
    return status;
}

static kd_status validation_tick(void *arg, size_t done, kd_error *err)
{
    (void)done;
    return tick(arg, err);
}

static kd_status run_validation(train_run *run, const epoch *e, double *recall, kd_error *err)
{
    const validation v = {.loader = run->loader,
        .split = &run->split,
        .labels = run->split.by_class ? run->classes : run->labels,
        .image_size = run->config.preprocess.image_size,
        .tick = validation_tick,
        .tick_arg = run};
    *recall = -1;
    if (run->split.n_validation == 0)
        return KD_OK;
    describe(run, e, "validating");
    return validate_recall(&v, run->net, recall, err);
}

static void log_epoch(const train_run *run)
{
    const epoch_point *const p = &run->record.curve[run->record.epochs_done - 1];
    KD_LOG(KD_LOG_INFO, "epoch_done", KD_STR("job", run->job_id), KD_INT("epoch", p->epoch),
        KD_INT("of", run->config.epochs), KD_REAL("loss", p->loss),
        KD_REAL("active_share", p->active_share),
        KD_REAL("positive_distance", p->positive_distance),
        KD_REAL("negative_distance", p->negative_distance), KD_REAL("recall_at_1", p->recall_at_1),
        KD_REAL("seconds", p->seconds), KD_REAL("images_per_second", p->images_per_second));
}

static kd_status run_epoch(train_run *run, epoch *e, meters *m, kd_error *err)
{
    double recall = -1;
    e->n_batches = kd_sampler_epoch(run->sampler, run->record.epochs_done);
    e->batch = kd_sampler_batch(run->sampler, 0, e->images);
    e->base = (uint64_t)run->record.epochs_done * e->n_batches * e->batch;
    e->total = (uint64_t)run->config.epochs * e->n_batches * e->batch;
    describe(run, e, "");
    kd_status status = tick(run, err);
    if (status == KD_OK)
        status = run_steps(run, e, m, err);
    if (status == KD_OK)
        status = run_validation(run, e, &recall, err);
    if (status == KD_UNAVAILABLE) { /* this process ends: the next goes on from here */
        kd_error why = KD_ERROR_INIT;
        if (save_checkpoint(run, e, &why) != KD_OK)
            kd_log_error(KD_LOG_WARN, "checkpoint_failed", &why);
    }
    if (status != KD_OK)
        return status;
    const bool best = train_record_end_epoch(&run->record, recall);
    log_epoch(run);
    e->base += (uint64_t)e->n_batches * e->batch;
    describe(run, e, "");
    return save_epoch(run, e, best, err);
}

kd_status train_epochs(train_run *run, kd_error *err)
{
    kd_metrics *const metrics = run->trainer->process->metrics;
    meters all = {
        .steps = kd_metrics_counter(
            metrics, "kindred_train_steps_total", NULL, "Training steps that were made."),
        .images = kd_metrics_counter(
            metrics, "kindred_train_images_total", NULL, "Images in those steps."),
        .loss = kd_metrics_gauge(metrics, "kindred_train_loss", NULL, "Loss of the last step."),
    };
    const size_t room = kd_sampler_max_batch(run->sampler);
    epoch e = {.saved_ms = kd_mono_ms(),
        .images = calloc(room, sizeof *e.images),
        .labels = calloc(room, sizeof *e.labels)};
    kd_status status = e.images && e.labels ? KD_OK : kd_error_memory(err, "the lists of a batch");
    while (status == KD_OK && run->record.epochs_done < run->config.epochs)
        status = run_epoch(run, &e, &all, err);
    free(e.images);
    free(e.labels);
    return status;
}
