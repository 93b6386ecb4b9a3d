#include "services/trainer/result.h"

#include <jansson.h>
#include <stdlib.h>

#include "kindred/v1/gateway.pb-c.h"

#include "services/trainer/loader.h"

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
