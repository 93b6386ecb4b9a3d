#include "services/trainer/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"

#define DUMP (JSON_COMPACT | JSON_REAL_PRECISION(17))
#define FORMAT 2

static const struct {
    const char *name, *group;
} points[POINT_VALUES] = {
    [POINT_LOSS] = {"loss", "loss"},
    [POINT_ACTIVE_SHARE] = {"active_share", "active"},
    [POINT_POSITIVE_DISTANCE] = {"positive_distance", "distances"},
    [POINT_NEGATIVE_DISTANCE] = {"negative_distance", "distances"},
    [POINT_GRADIENT_NORM] = {"gradient_norm", "gradient"},
    [POINT_TRAIN_ACCURACY] = {"train_accuracy", "accuracy"},
    [POINT_RECALL_AT_1] = {"recall_at_1", "retrieval"},
    [POINT_MAP_AT_5] = {"map_at_5", "retrieval"},
    [POINT_ACCURACY] = {"accuracy", "accuracy"},
    [POINT_EFFECTIVE_RANK] = {"effective_rank", "rank"},
    [POINT_LEARNING_RATE] = {"learning_rate", "rate"},
    [POINT_SECONDS] = {"seconds", "time"},
    [POINT_IMAGES_PER_SECOND] = {"images_per_second", "speed"},
};

const char *point_name(point_value value)
{
    return points[value].name;
}

const char *point_group(point_value value)
{
    return points[value].group;
}

kd_status train_record_init(train_record *record, json_t *facts, json_t *held, uint32_t epochs,
    point_value metric, kd_error *err)
{
    *record = (train_record){.facts = facts,
        .held = held,
        .curve = calloc(epochs, sizeof *record->curve),
        .metric = metric};
    if (!facts || !held || !record->curve)
        return kd_error_memory(err, "the training's record");
    return KD_OK;
}

static void drop_fixes(train_record *record)
{
    for (uint32_t i = 0; i < record->n_fixes; i++)
        free(record->fixes[i]);
    record->n_fixes = 0;
}

void train_record_free(train_record *record)
{
    drop_fixes(record);
    json_decref(record->facts);
    json_decref(record->held);
    free(record->curve);
    *record = (train_record){0};
}

void train_record_reset(train_record *record)
{
    drop_fixes(record);
    *record = (train_record){.facts = record->facts,
        .held = record->held,
        .curve = record->curve,
        .metric = record->metric};
}

/* By the metric; an epoch without it counts by its number alone. */
static bool better(const train_record *record, uint32_t epoch, uint32_t than)
{
    const double a = record->curve[epoch - 1].values[record->metric];
    const double b = record->curve[than - 1].values[record->metric];
    if (isnan(a) || isnan(b))
        return !isnan(a) || (isnan(b) && epoch > than);
    return a > b || (a == b && epoch > than);
}

static void choose_best(train_record *record)
{
    memset(record->best, 0, sizeof record->best);
    for (uint32_t epoch = 1; epoch <= record->epochs_done; epoch++) {
        uint32_t here = epoch;
        for (size_t i = 0; i < RECORD_BEST; i++) {
            const uint32_t there = record->best[i];
            if (there == 0 || better(record, here, there)) {
                record->best[i] = here;
                here = there;
            }
            if (here == 0)
                break;
        }
    }
}

bool train_record_end_epoch(train_record *record, const double values[POINT_VALUES])
{
    const step_sums *const s = &record->sums;
    const double steps = s->steps > 0 ? (double)s->steps : 1;
    epoch_point *const point = &record->curve[record->epochs_done++];
    point->epoch = record->epochs_done;
    memcpy(point->values, values, sizeof point->values);
    for (size_t i = 0; i < POINT_STEP_VALUES; i++)
        point->values[i] = s->values[i] / steps;
    if (s->values[POINT_TRAIN_ACCURACY] < 0) /* there is no head */
        point->values[POINT_TRAIN_ACCURACY] = (double)NAN;
    point->values[POINT_SECONDS] = s->seconds;
    point->values[POINT_IMAGES_PER_SECOND] = s->seconds > 0 ? (double)s->images / s->seconds : 0;
    record->sums = (step_sums){.steps = 0};
    record->step = 0;
    choose_best(record);
    for (size_t i = 0; i < RECORD_BEST; i++)
        if (record->best[i] == record->epochs_done)
            return true;
    return false;
}

kd_status train_record_fix(train_record *record, const char *fix, kd_error *err)
{
    char *const text = strdup(fix);
    if (!text)
        return kd_error_memory(err, "a note");
    record->fixes[record->n_fixes++] = text;
    record->epochs_done = 0;
    record->step = 0;
    record->sums = (step_sums){.steps = 0};
    record->watch = (collapse_watch){.steps = 0};
    record->event_bytes = 0;
    choose_best(record);
    return KD_OK;
}

/* ---- Writing ---- */

static json_t *point_json(const epoch_point *p)
{
    json_t *const made = json_pack("{s:i}", "epoch", (int)p->epoch);
    for (size_t i = 0; i < POINT_VALUES; i++)
        if (isfinite(p->values[i]))
            (void)json_object_set_new(made, points[i].name, json_real(p->values[i]));
    return made;
}

static json_t *curve_json(const train_record *record)
{
    json_t *const curve = json_array();
    for (uint32_t i = 0; i < record->epochs_done; i++)
        (void)json_array_append_new(curve, point_json(&record->curve[i]));
    return curve;
}

static json_t *fixes_json(const train_record *record)
{
    json_t *const fixes = json_array();
    for (uint32_t i = 0; i < record->n_fixes; i++)
        (void)json_array_append_new(fixes, json_string(record->fixes[i]));
    return fixes;
}

char *train_record_meta(const train_record *record)
{
    const step_sums *const s = &record->sums;
    json_t *const sums = json_array();
    for (size_t i = 0; i < POINT_STEP_VALUES; i++)
        (void)json_array_append_new(sums, json_real(s->values[i]));
    const collapse_watch *const w = &record->watch;
    json_t *const meta = json_pack(
        "{s:i, s:O, s:o, s:i, s:o, s:I, s:[f, f, f, f, i], s:{s:o, s:I, s:I, s:f}}", "format",
        FORMAT, "facts", record->facts, "curve", curve_json(record), "step", (int)record->step,
        "fixes", fixes_json(record), "event_bytes", (json_int_t)record->event_bytes, "watch",
        w->positive, w->negative, w->active, w->loss, (int)w->steps, "sums", "values", sums,
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
    json_t *const all = json_pack("{s:s, s:s, s:s, s:i, s:o, s:o, s:O}", "job", job_id, "kindred",
        KD_VERSION, "runtime", runtime, "best_epoch", (int)record->best[0], "curve",
        curve_json(record), "fixes", fixes_json(record), "validation_image_ids", record->held);
    const epoch_point *const best =
        record->best[0] > 0 ? &record->curve[record->best[0] - 1] : NULL;
    static const point_value shown[] = {POINT_RECALL_AT_1, POINT_MAP_AT_5, POINT_ACCURACY};
    for (size_t i = 0; all && best && i < sizeof shown / sizeof shown[0]; i++)
        if (isfinite(best->values[shown[i]]))
            (void)json_object_set_new(
                all, points[shown[i]].name, json_real(best->values[shown[i]]));
    char *const text =
        all && json_object_update(all, record->facts) == 0 ? json_dumps(all, DUMP) : NULL;
    json_decref(all);
    return text;
}

/* ---- Reading ---- */

static bool point_read(const json_t *json, uint32_t epoch, epoch_point *p)
{
    p->epoch = epoch;
    if (json_integer_value(json_object_get(json, "epoch")) != (json_int_t)epoch)
        return false;
    for (size_t i = 0; i < POINT_VALUES; i++) {
        const json_t *const value = json_object_get(json, points[i].name);
        if (value && !json_is_real(value))
            return false;
        p->values[i] = value ? json_real_value(value) : (double)NAN;
    }
    return true;
}

static bool sums_read(const json_t *values, step_sums *sums)
{
    if (json_array_size(values) != POINT_STEP_VALUES)
        return false;
    for (size_t i = 0; i < POINT_STEP_VALUES; i++)
        sums->values[i] = json_real_value(json_array_get(values, i));
    return true;
}

static bool fixes_read(const json_t *fixes, train_record *record)
{
    if (json_array_size(fixes) > RECORD_MAX_FIXES)
        return false;
    for (size_t i = 0; i < json_array_size(fixes); i++) {
        const char *const text = json_string_value(json_array_get(fixes, i));
        char *const copy = text ? strdup(text) : NULL;
        if (!copy)
            return false;
        record->fixes[record->n_fixes++] = copy;
    }
    return true;
}

bool train_record_restore(train_record *record, const char *meta, uint32_t epochs)
{
    json_t *facts, *curve, *fixes, *values;
    json_int_t steps, images, event_bytes;
    int format, step, watched;
    collapse_watch watch = {.steps = 0};
    step_sums sums = {.steps = 0};
    json_t *const root = json_loads(meta, 0, NULL);
    bool good = json_unpack(root,
                    "{s:i, s:o, s:o, s:i, s:o, s:I, s:[F, F, F, F, i], s:{s:o, s:I, s:I, s:F}}",
                    "format", &format, "facts", &facts, "curve", &curve, "step", &step, "fixes",
                    &fixes, "event_bytes", &event_bytes, "watch", &watch.positive, &watch.negative,
                    &watch.active, &watch.loss, &watched, "sums", "values", &values, "steps",
                    &steps, "images", &images, "seconds", &sums.seconds) == 0 &&
                format == FORMAT && json_equal(facts, record->facts) && json_is_array(curve);
    const size_t n = good ? json_array_size(curve) : 0;
    good = good && n <= epochs && step >= 0 && steps >= 0 && images >= 0 && event_bytes >= 0 &&
           sums_read(values, &sums) && fixes_read(fixes, record);
    for (size_t i = 0; good && i < n; i++)
        good = point_read(json_array_get(curve, i), (uint32_t)i + 1, &record->curve[i]);
    json_decref(root);
    if (!good) {
        drop_fixes(record);
        return false;
    }
    sums.steps = (uint64_t)steps;
    sums.images = (uint64_t)images;
    record->epochs_done = (uint32_t)n;
    record->step = (uint32_t)step;
    record->sums = sums;
    watch.steps = (uint32_t)watched;
    record->watch = watch;
    record->event_bytes = (uint64_t)event_bytes;
    choose_best(record);
    return true;
}
