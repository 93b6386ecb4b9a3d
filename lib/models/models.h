/* lib/models/models.h: published models on disk, DIR/ID/model.safetensors and DIR/ID/model.json.
 *
 * A model is immutable and named by its content: its id is the first 16 hexadecimal digits of the
 * SHA-256 over architecture, preprocessing and weights. It is written beside, fsynced and renamed,
 * so a reader sees all of it or nothing. Readers keep no state: each call looks at the disk.
 * Publishing and removing wait for each other, in all processes. Safe from any thread. */
#ifndef KD_MODELS_MODELS_H
#define KD_MODELS_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/image/image.h"

#define KD_MODEL_ID_TEXT 17
#define KD_MODEL_NAME_TEXT 65

typedef struct kd_model {
    char id[KD_MODEL_ID_TEXT];
    char name[KD_MODEL_NAME_TEXT]; /* unique, chosen by the user or made up */
    char architecture[32];         /* "resnet18" */
    uint32_t dim;
    kd_preprocess preprocess;
    char preprocess_hash[KD_SHA256_TEXT];
    char parent[KD_MODEL_ID_TEXT];   /* the model it was trained from; "" for none */
    char source[KD_MODEL_NAME_TEXT]; /* "import", "init", or the training job's id */
    char data_hash[KD_SHA256_TEXT];  /* of the training set; "" for none */
    int64_t created_ms;
    uint64_t bytes; /* of the weights file */
    char *training; /* JSON text: configuration and learning curve; owned, may be NULL */
} kd_model;
void kd_model_clear(kd_model *model);

/* Publishes the weights file (moved from weights_path; a copy where that is another file system) as
 * described by *model (id, bytes, preprocess_hash and created_ms are filled in). When the same
 * content is there already: KD_OK with *existed true and *model the stored one if the names agree
 * or no name was asked for, else KD_ALREADY_EXISTS. A name that another model has:
 * KD_ALREADY_EXISTS. A name that looks like another model's id: KD_INVALID_ARGUMENT. An empty name
 * becomes the id. With KD_OK the weights file is gone from weights_path, also when the content was
 * there; on failure it is still there. */
KD_MUST_CHECK kd_status kd_models_publish(
    const char *dir, const char *weights_path, kd_model *model, bool *existed, kd_error *err);

/* By id or name. KD_NOT_FOUND "no model 'x'"; KD_DATA_LOSS names a damaged model.json (by name:
 * when no readable model has it); KD_FAILED_PRECONDITION: one that a newer kindred wrote. */
KD_MUST_CHECK kd_status kd_models_find(
    const char *dir, const char *id_or_name, kd_model *out, kd_error *err);
/* Reads the weights of a model that kd_models_find gave: KD_DATA_LOSS when they, or what is said of
 * them, are not what its id was made from, KD_NOT_FOUND when they are gone. */
KD_MUST_CHECK kd_status kd_models_verify(const char *dir, const kd_model *model, kd_error *err);
/* Newest first; *models owned by the caller, kd_models_free. One that can't be read is left out and
 * logged, so that it doesn't keep the others from serving. */
KD_MUST_CHECK kd_status kd_models_list(
    const char *dir, kd_model **models, size_t *n, kd_error *err);
void kd_models_free(kd_model *models, size_t n);
/* Also a damaged one. KD_NOT_FOUND without it. */
KD_MUST_CHECK kd_status kd_models_remove(const char *dir, const char *id, kd_error *err);
/* DIR/ID/model.safetensors, a new string (free). */
char *kd_models_weights_path(const char *dir, const char *id);

#endif
