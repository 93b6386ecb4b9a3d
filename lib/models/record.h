/* lib/models/record.h: one model's model.json; for lib/models alone. */
#ifndef KD_MODELS_RECORD_H
#define KD_MODELS_RECORD_H

#include "lib/models/models.h"

#define KD_MODEL_RECORD_MAX (16u << 20) /* bytes of a model.json */

bool kd_model_id_valid(const char *text); /* 16 hexadecimal digits, lower case */

/* The record as JSON text, a new string in *out (free). KD_INVALID_ARGUMENT when model->training
 * is not a JSON object. */
KD_MUST_CHECK kd_status kd_model_record_print(const kd_model *model, char **out, kd_error *err);

/* Reads DIR/ID/model.json and the size of DIR/ID/model.safetensors. KD_NOT_FOUND without the
 * folder DIR/ID; KD_DATA_LOSS names the file that is missing or damaged; KD_FAILED_PRECONDITION: a
 * newer kindred wrote it. On failure *out is all zero. */
KD_MUST_CHECK kd_status kd_model_record_read(
    const char *dir, const char *id, kd_model *out, kd_error *err);

#endif
