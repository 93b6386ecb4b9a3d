/* Finding, listing and removing what is published. */
#include "lib/models/models.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/log.h"
#include "lib/models/record.h"

char *kd_models_weights_path(const char *dir, const char *id)
{
    return kd_format("%s/%s/model.safetensors", dir, id);
}

void kd_models_free(kd_model *models, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kd_model_clear(&models[i]);
    free(models);
}

typedef struct scan {
    kd_model *models; /* owned */
    size_t n, room;
    kd_error damage; /* of the first unreadable model; KD_OK when there is none */
} scan;

static kd_status scan_add(scan *found, kd_model *model, kd_error *err)
{
    if (found->n == found->room) {
        const size_t room = found->room ? 2 * found->room : 16;
        kd_model *const grown = reallocarray(found->models, room, sizeof *grown);
        if (!grown)
            return kd_error_memory(err, "a list of models");
        found->models = grown;
        found->room = room;
    }
    found->models[found->n++] = *model;
    *model = (kd_model){0}; /* the list owns it now */
    return KD_OK;
}

/* Reads every model of dir. One that can't be read is noted and passed over: it must not keep the
 * others from serving. The caller frees found->models whatever the outcome. */
static kd_status scan_dir(const char *dir, scan *found, kd_error *err)
{
    kd_status status = KD_OK;
    DIR *const folder = opendir(dir);
    if (!folder)
        return errno == ENOENT ? KD_OK : kd_error_errno(err, errno, "cannot list %s", dir);
    for (struct dirent *entry; status == KD_OK && (entry = readdir(folder)) != NULL;) {
        kd_model model;
        kd_error why = KD_ERROR_INIT;
        if (!kd_model_id_valid(entry->d_name)) /* the staging area, the lock, a stranger's file */
            continue;
        const kd_status outcome = kd_model_record_read(dir, entry->d_name, &model, &why);
        if (outcome == KD_OK)
            status = scan_add(found, &model, err);
        else if (outcome != KD_NOT_FOUND && found->damage.status == KD_OK)
            found->damage = why;
        kd_model_clear(&model);
        if (outcome != KD_OK && outcome != KD_NOT_FOUND) /* not found: removed since readdir */
            kd_log_error(KD_LOG_WARN, "model_unreadable", &why);
    }
    (void)closedir(folder);
    return status;
}

static int newest_first(const void *left, const void *right)
{
    const kd_model *const a = left, *const b = right;
    if (a->created_ms != b->created_ms)
        return a->created_ms < b->created_ms ? 1 : -1;
    return strcmp(b->id, a->id);
}

kd_status kd_models_list(const char *dir, kd_model **models, size_t *n, kd_error *err)
{
    assert(dir && models && n);
    scan found = {0};
    *models = NULL;
    *n = 0;
    const kd_status status = scan_dir(dir, &found, err);
    if (status != KD_OK) {
        kd_models_free(found.models, found.n);
        return status;
    }
    if (found.n > 1)
        qsort(found.models, found.n, sizeof *found.models, newest_first);
    *models = found.models;
    *n = found.n;
    return KD_OK;
}

kd_status kd_models_find(const char *dir, const char *id_or_name, kd_model *out, kd_error *err)
{
    assert(dir && id_or_name && out);
    *out = (kd_model){0};
    if (kd_model_id_valid(id_or_name)) /* no other model may have such a name */
        return kd_model_record_read(dir, id_or_name, out, err);
    scan found = {0};
    kd_status status = scan_dir(dir, &found, err);
    if (status != KD_OK)
        goto out;
    for (size_t i = 0; i < found.n; i++) {
        if (strcmp(found.models[i].name, id_or_name) == 0) {
            *out = found.models[i];
            found.models[i] = (kd_model){0};
            goto out;
        }
    }
    /* The model that can't be read may be the one. */
    if (found.damage.status != KD_OK)
        status = kd_error_set(err, found.damage.status, "%s", found.damage.message);
    else
        status = kd_error_set(err, KD_NOT_FOUND, "no model '%s'", id_or_name);
out:
    kd_models_free(found.models, found.n);
    return status;
}
