#include "services/trainer/record.h"

#include <stdlib.h>

#include "lib/base/buf.h"

#define DUMP (JSON_COMPACT | JSON_REAL_PRECISION(17))

kd_status train_record_init(train_record *record, json_t *facts, uint32_t epochs, kd_error *err)
{
    *record = (train_record){.facts = facts, .curve = calloc(epochs, sizeof *record->curve)};
    if (!facts || !record->curve)
        return kd_error_memory(err, "the training's record");
    return KD_OK;
}

void train_record_free(train_record *record)
{
    json_decref(record->facts);
    free(record->curve);
    *record = (train_record){0};
}

void train_record_reset(train_record *record)
{
    *record = (train_record){.facts = record->facts, .curve = record->curve};
}

bool train_record_end_epoch(train_record *record, double recall_at_1)
{
    const step_sums *const s = &record->sums;
    const double steps = s->steps > 0 ? (double)s->steps : 1;
    epoch_point *const point = &record->curve[record->epochs_done++];
    *point = (epoch_point){.epoch = record->epochs_done,
        .loss = s->loss / steps,
        .active_share = s->active_share / steps,
        .positive_distance = s->positive_distance / steps,
        .negative_distance = s->negative_distance / steps,
        .recall_at_1 = recall_at_1,
        .seconds = s->seconds,
        .images_per_second = s->seconds > 0 ? (double)s->images / s->seconds : 0};
    record->sums = (step_sums){0};
    record->step = 0;
    const bool best = record->best == 0 || recall_at_1 >= record->best_recall;
    if (best) {
        record->best = record->epochs_done;
        record->best_recall = recall_at_1;
    }
    return best;
}

/* ---- Writing ---- */

static json_t *point_json(const epoch_point *p)
{
    json_t *const made = json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "epoch", (int)p->epoch,
        "loss", p->loss, "active_share", p->active_share, "positive_distance", p->positive_distance,
        "negative_distance", p->negative_distance, "seconds", p->seconds, "images_per_second",
        p->images_per_second);
    if (made && p->recall_at_1 >= 0)
        (void)json_object_set_new(made, "recall_at_1", json_real(p->recall_at_1));
    return made;
}

static json_t *curve_json(const train_record *record)
{
    json_t *const curve = json_array();
    for (uint32_t i = 0; i < record->epochs_done; i++)
        (void)json_array_append_new(curve, point_json(&record->curve[i]));
    return curve;
}

char *train_record_meta(const train_record *record)
{
    const step_sums *const s = &record->sums;
    json_t *const meta = json_pack("{s:i, s:O, s:o, s:i, s:i, s:{s:f, s:f, s:f, s:f, s:I, s:I, "
                                   "s:f}}",
        "format", 1, "facts", record->facts, "curve", curve_json(record), "step", (int)record->step,
        "best_epoch", (int)record->best, "sums", "loss", s->loss, "active_share", s->active_share,
        "positive_distance", s->positive_distance, "negative_distance", s->negative_distance,
        "steps", (json_int_t)s->steps, "images", (json_int_t)s->images, "seconds", s->seconds);
    char *const text = json_dumps(meta, DUMP);
    json_decref(meta);
    return text;
}

char *train_record_log(const train_record *record)
{
    kd_buf text = KD_BUF_INIT;
    for (uint32_t i = 0; i < record->epochs_done; i++) {
        json_t *const point = point_json(&record->curve[i]);
        char *const line = json_dumps(point, DUMP);
        json_decref(point);
        kd_buf_printf(&text, "%s\n", line ? line : "{}");
        free(line);
    }
    if (!kd_buf_ok(&text) || !text.data)
        kd_buf_free(&text);
    return (char *)text.data;
}

char *train_record_training(const train_record *record, const char *job_id, const char *runtime)
{
    json_t *const all = json_pack("{s:s, s:s, s:i, s:o}", "job", job_id, "runtime", runtime,
        "best_epoch", (int)record->best, "curve", curve_json(record));
    if (all && record->best_recall >= 0)
        (void)json_object_set_new(all, "recall_at_1", json_real(record->best_recall));
    char *const text =
        all && json_object_update(all, record->facts) == 0 ? json_dumps(all, DUMP) : NULL;
    json_decref(all);
    return text;
}

/* ---- Reading ---- */

static bool point_read(json_t *json, epoch_point *p)
{
    int epoch;
    p->recall_at_1 = -1;
    if (json_unpack(json, "{s:i, s:F, s:F, s:F, s:F, s:F, s:F, s?F}", "epoch", &epoch, "loss",
            &p->loss, "active_share", &p->active_share, "positive_distance", &p->positive_distance,
            "negative_distance", &p->negative_distance, "seconds", &p->seconds, "images_per_second",
            &p->images_per_second, "recall_at_1", &p->recall_at_1) != 0)
        return false;
    p->epoch = (uint32_t)epoch;
    return true;
}

bool train_record_restore(train_record *record, const char *meta, uint32_t epochs)
{
    json_t *facts, *curve;
    json_int_t steps, images;
    int format, step, best;
    step_sums sums = {0};
    json_t *const root = json_loads(meta, 0, NULL);
    bool good =
        json_unpack(root, "{s:i, s:o, s:o, s:i, s:i, s:{s:F, s:F, s:F, s:F, s:I, s:I, s:F}}",
            "format", &format, "facts", &facts, "curve", &curve, "step", &step, "best_epoch", &best,
            "sums", "loss", &sums.loss, "active_share", &sums.active_share, "positive_distance",
            &sums.positive_distance, "negative_distance", &sums.negative_distance, "steps", &steps,
            "images", &images, "seconds", &sums.seconds) == 0 &&
        format == 1 && json_equal(facts, record->facts) && json_is_array(curve);
    const size_t n = good ? json_array_size(curve) : 0;
    good =
        good && n <= epochs && step >= 0 && best >= 0 && (size_t)best <= n && (best > 0 || n == 0);
    for (size_t i = 0; good && i < n; i++)
        good = point_read(json_array_get(curve, i), &record->curve[i]);
    if (good) {
        sums.steps = (uint64_t)steps;
        sums.images = (uint64_t)images;
        record->epochs_done = (uint32_t)n;
        record->step = (uint32_t)step;
        record->sums = sums;
        record->best = (uint32_t)best;
        record->best_recall = best > 0 ? record->curve[best - 1].recall_at_1 : 0;
    }
    json_decref(root);
    return good;
}
