#include "services/trainer/result.h"

#include <jansson.h>
#include <stdlib.h>

#include "kindred/v1/gateway.pb-c.h"

#include "services/trainer/loader.h"
#include "services/trainer/record.h"

/* The summary out of the model's own record. *numbers: room for what it points to. */
typedef struct summary_numbers {
    Kindred__V1__Real recall_at_1, map_at_5, accuracy;
    char *fixes[RECORD_MAX_FIXES];
} summary_numbers;

static Kindred__V1__Real *take_real(const json_t *from, const char *name, Kindred__V1__Real *room)
{
    const json_t *const value = json_object_get(from, name);
    kindred__v1__real__init(room);
    room->value = json_number_value(value);
    return json_is_number(value) ? room : NULL;
}

static void summarise(
    const json_t *training, Kindred__V1__TrainSummary *out, summary_numbers *numbers)
{
    const json_t *const curve = json_object_get(training, "curve");
    const json_t *const fixes = json_object_get(training, "fixes");
    const size_t n = json_array_size(curve);
    const json_t *const last = n > 0 ? json_array_get(curve, n - 1) : NULL;
    kindred__v1__train_summary__init(out);
    out->epochs = (uint32_t)n;
    out->best_epoch = (uint32_t)json_integer_value(json_object_get(training, "best_epoch"));
    out->recall_at_1 = take_real(training, point_name(POINT_RECALL_AT_1), &numbers->recall_at_1);
    out->map_at_5 = take_real(training, point_name(POINT_MAP_AT_5), &numbers->map_at_5);
    out->accuracy = take_real(training, point_name(POINT_ACCURACY), &numbers->accuracy);
    out->loss = json_number_value(json_object_get(last, point_name(POINT_LOSS)));
    out->images_per_second =
        json_number_value(json_object_get(last, point_name(POINT_IMAGES_PER_SECOND)));
    out->learning_rate = json_number_value(json_object_get(training, "learning_rate"));
    out->fixes = numbers->fixes;
    for (size_t i = 0; i < json_array_size(fixes) && i < RECORD_MAX_FIXES; i++) {
        const char *const fix = json_string_value(json_array_get(fixes, i));
        if (fix)
            out->fixes[out->n_fixes++] = (char *)fix;
    }
}

/* Counts and names come from the model's own record, so that a job which finds its model published
 * by an earlier try answers the same. */
kd_status job_result_pack(const kd_model *model, kd_bytes *out, kd_error *err)
{
    Kindred__V1__JobResult result = KINDRED__V1__JOB_RESULT__INIT;
    char *names[LOADER_MAX_NAMES];
    json_int_t images = 0, skipped = 0;
    json_t *list = NULL, *name;
    size_t i;
    json_t *const training = json_loads(model->training ? model->training : "", 0, NULL);
    (void)json_unpack(training, "{s:I, s:I, s:o}", "images", &images, "skipped", &skipped,
        "skipped_names", &list);
    Kindred__V1__TrainSummary summary;
    summary_numbers numbers;
    summarise(training, &summary, &numbers);
    result.training = &summary;
    result.model_id = (char *)model->id;
    result.model_name = (char *)model->name;
    result.data_hash = (char *)model->data_hash;
    result.images = (uint64_t)images;
    result.skipped = (uint64_t)skipped;
    result.skipped_names = names;
    json_array_foreach(list, i, name)
    {
        if (json_is_string(name) && result.n_skipped_names < LOADER_MAX_NAMES)
            names[result.n_skipped_names++] = (char *)json_string_value(name);
    }
    out->len = kindred__v1__job_result__get_packed_size(&result);
    out->data = malloc(out->len + 1);
    if (out->data)
        (void)kindred__v1__job_result__pack(&result, out->data);
    json_decref(training);
    return out->data ? KD_OK : kd_error_memory(err, "the job's result");
}
