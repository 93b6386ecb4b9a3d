#include "lib/models/record.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

#define SCHEMA_VERSION 1

bool kd_model_id_valid(const char *text)
{
    return strlen(text) == KD_MODEL_ID_TEXT - 1 &&
           strspn(text, "0123456789abcdef") == KD_MODEL_ID_TEXT - 1;
}

void kd_model_clear(kd_model *model)
{
    if (!model)
        return;
    free(model->training);
    *model = (kd_model){0};
}

static json_t *json_of_floats(const float values[3])
{
    return json_pack("[f, f, f]", (double)values[0], (double)values[1], (double)values[2]);
}

kd_status kd_model_record_print(const kd_model *model, char **out, kd_error *err)
{
    char preprocessing[KD_PREPROCESS_TEXT], created[KD_TIME_TEXT];
    json_error_t fault = {0};
    *out = NULL;
    json_t *const training = model->training
                                 ? json_loads(model->training, JSON_REJECT_DUPLICATES, &fault)
                                 : json_object();
    if (!json_is_object(training)) {
        json_decref(training);
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the training record of model '%s' is not a JSON object (%s)", model->name, fault.text);
    }
    kd_preprocess_text(&model->preprocess, preprocessing);
    kd_time_text(model->created_ms, created);
    json_t *const root = json_pack(
        "{s:i, s:s, s:s, s:s, s:I, s:{s:I, s:o, s:o, s:b, s:s, s:s}, s:s, s:s, s:s, s:s, s:o}",
        "schema_version", SCHEMA_VERSION, "id", model->id, "name", model->name, "architecture",
        model->architecture, "dim", (json_int_t)model->dim, "preprocessing", "image_size",
        (json_int_t)model->preprocess.image_size, "mean", json_of_floats(model->preprocess.mean),
        "std", json_of_floats(model->preprocess.std), "scaled_dct", model->preprocess.scaled_dct,
        "text", preprocessing, "hash", model->preprocess_hash, "parent", model->parent, "source",
        model->source, "data_hash", model->data_hash, "created", created, "training", training);
    if (root)
        *out = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return *out ? KD_OK : kd_error_memory(err, "a model's record");
}

/* "2026-01-02T03:04:05.678Z" to milliseconds; false for any other form. */
static bool parse_time(const char *text, int64_t *out)
{
    struct tm utc = {0};
    char again[KD_TIME_TEXT];
    const char *const rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    uint64_t ms = 0;
    char digits[4] = "";
    if (!rest || rest[0] != '.' || strlen(rest) != strlen(".678Z"))
        return false;
    memcpy(digits, rest + 1, 3);
    if (!kd_parse_u64(digits, 0, 999, &ms))
        return false;
    *out = (int64_t)timegm(&utc) * 1000 + (int64_t)ms;
    kd_time_text(*out, again);
    return strcmp(text, again) == 0;
}

static bool take_text(const json_t *object, const char *key, char *to, size_t size)
{
    const char *const text = json_string_value(json_object_get(object, key));
    return text && kd_copy(to, size, text);
}

static bool take_u32(const json_t *object, const char *key, uint32_t *out)
{
    const json_t *const value = json_object_get(object, key);
    const json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 1 || number > UINT32_MAX)
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool take_floats(const json_t *object, const char *key, float out[3])
{
    const json_t *const values = json_object_get(object, key);
    if (json_array_size(values) != 3)
        return false;
    for (size_t i = 0; i < 3; i++) {
        const json_t *const value = json_array_get(values, i);
        out[i] = (float)json_number_value(value);
        if (!json_is_number(value) || !isfinite(out[i]))
            return false;
    }
    return true;
}

/* Fills *out; returns the field that is missing or wrong, NULL when all is well. */
static const char *take_fields(const json_t *root, const char *id, kd_model *out)
{
    const json_t *const preprocessing = json_object_get(root, "preprocessing");
    const json_t *const training = json_object_get(root, "training");
    char created[KD_TIME_TEXT];
    if (!take_text(root, "id", out->id, sizeof out->id) || strcmp(out->id, id) != 0)
        return "id";
    if (!take_text(root, "name", out->name, sizeof out->name) ||
        kd_check_name("model", out->name, NULL) != KD_OK)
        return "name";
    if (!take_text(root, "architecture", out->architecture, sizeof out->architecture))
        return "architecture";
    if (!take_u32(root, "dim", &out->dim))
        return "dim";
    if (!take_u32(preprocessing, "image_size", &out->preprocess.image_size) ||
        !take_floats(preprocessing, "mean", out->preprocess.mean) ||
        !take_floats(preprocessing, "std", out->preprocess.std) ||
        !take_text(preprocessing, "hash", out->preprocess_hash, sizeof out->preprocess_hash))
        return "preprocessing";
    /* Absent in models of before it was there. */
    out->preprocess.scaled_dct = json_is_true(json_object_get(preprocessing, "scaled_dct"));
    if (!take_text(root, "parent", out->parent, sizeof out->parent))
        return "parent";
    if (!take_text(root, "source", out->source, sizeof out->source))
        return "source";
    if (!take_text(root, "data_hash", out->data_hash, sizeof out->data_hash))
        return "data_hash";
    if (!take_text(root, "created", created, sizeof created) ||
        !parse_time(created, &out->created_ms))
        return "created";
    return json_is_object(training) ? NULL : "training";
}

static kd_status parse_record(
    const char *path, const kd_buf *text, const char *id, kd_model *out, kd_error *err)
{
    json_error_t fault;
    char hash[KD_SHA256_TEXT];
    kd_status status = KD_OK;
    /* An empty file has no bytes to point to, which the library would call wrong arguments. */
    json_t *const root = json_loadb(
        text->len ? (const char *)text->data : "", text->len, JSON_REJECT_DUPLICATES, &fault);
    if (!json_is_object(root)) {
        status = kd_error_set(err, KD_DATA_LOSS, "%s is damaged: line %d: %s", path,
            root ? 1 : fault.line, root ? "not an object" : fault.text);
        goto out;
    }
    const json_t *const schema = json_object_get(root, "schema_version");
    if (json_integer_value(schema) > SCHEMA_VERSION) {
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "%s has schema_version %lld, this kindred reads %d", path,
            (long long)json_integer_value(schema), SCHEMA_VERSION);
        goto out;
    }
    const char *const wrong = json_integer_value(schema) == SCHEMA_VERSION
                                  ? take_fields(root, id, out)
                                  : "schema_version";
    if (wrong) {
        status =
            kd_error_set(err, KD_DATA_LOSS, "%s is damaged: '%s' is missing or wrong", path, wrong);
        goto out;
    }
    status = kd_preprocess_hash(&out->preprocess, hash, err);
    if (status == KD_OK && strcmp(hash, out->preprocess_hash) != 0)
        status = kd_error_set(err, KD_DATA_LOSS,
            "%s is damaged: 'preprocessing' does not have the hash that it names", path);
    if (status != KD_OK)
        goto out;
    out->training = json_dumps(json_object_get(root, "training"), JSON_COMPACT);
    if (!out->training)
        status = kd_error_memory(err, path);
out:
    json_decref(root);
    return status;
}

kd_status kd_model_record_read(const char *dir, const char *id, kd_model *out, kd_error *err)
{
    kd_status status = KD_OK;
    kd_buf text = KD_BUF_INIT;
    struct stat info;
    *out = (kd_model){0};
    char *const folder = kd_format("%s/%s", dir, id);
    char *const record = kd_format("%s/%s/model.json", dir, id);
    char *const weights = kd_models_weights_path(dir, id);
    if (!folder || !record || !weights) {
        status = kd_error_memory(err, "a model's path");
        goto out;
    }
    if (!kd_is_dir(folder)) {
        status = kd_error_set(err, KD_NOT_FOUND, "no model '%s'", id);
        goto out;
    }
    status = kd_file_read(record, KD_MODEL_RECORD_MAX, &text, err);
    if (status == KD_NOT_FOUND)
        status = kd_error_set(err, KD_DATA_LOSS, "%s is missing", record);
    if (status == KD_OK)
        status = parse_record(record, &text, id, out, err);
    if (status != KD_OK)
        goto out;
    if (stat(weights, &info) != 0 || !S_ISREG(info.st_mode))
        status = kd_error_set(err, KD_DATA_LOSS, "%s is missing", weights);
    else
        out->bytes = (uint64_t)info.st_size;
out:
    if (status != KD_OK)
        kd_model_clear(out);
    kd_buf_free(&text);
    free(weights);
    free(record);
    free(folder);
    return status;
}
