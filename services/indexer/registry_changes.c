/* The half of registry.h that changes it. Each function holds `changes`, so that the places stay as
 * they are until it writes them itself. */
#include "services/indexer/registry_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/log.h"

/* What cannot be removed now is removed by the next start. */
static void remove_leftover(const char *path)
{
    kd_error err = KD_ERROR_INIT;
    if (path && kd_remove_tree(path, &err) != KD_OK)
        kd_log_error(KD_LOG_WARN, "leftover_kept", &err);
}

static kd_status check_new_name(const registry *r, const char *name, kd_error *err)
{
    const kd_status status = kd_check_name("collection", name, err);
    if (status != KD_OK)
        return status;
    const alias *const a = aliases_find(&r->aliases, name);
    if (a)
        return kd_error_set(err, KD_ALREADY_EXISTS,
            "'%s' is an alias of collection '%s', so no collection can have that name", name,
            a->target);
    if (!registry_place(r, name) && r->n == REGISTRY_MAX_COLLECTIONS)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "there are %u collections, no more fit",
            REGISTRY_MAX_COLLECTIONS);
    return KD_OK;
}

/* Moves c into its place and makes that last; on failure it is back in its folder `from`. */
static kd_status move_in(
    const registry *r, collection *c, const char *from, const char *final, kd_error *err)
{
    kd_status status = collection_move(c, final, err);
    if (status != KD_OK)
        return status;
    status = kd_fsync_path(r->dir, err);
    if (status == KD_OK)
        return KD_OK;
    kd_error why = KD_ERROR_INIT;
    if (collection_move(c, from, &why) != KD_OK)
        kd_log_error(KD_LOG_ERROR, "collection_not_moved_back", &why);
    return status;
}

/* Makes an empty one in path, moves it to its own and enters it; *out is held for the caller. */
static kd_status create_at(registry *r, const char *path, const char *name, const char *model_id,
    size_t dim, const collection_settings *settings, collection **out, kd_error *err)
{
    char *const final = registry_folder(r, name, "");
    if (!final)
        return kd_error_memory(err, "a path");
    collection *c = NULL;
    kd_status status = kd_remove_tree(path, err);
    if (status == KD_OK)
        status = collection_create(&c, path, name, model_id, dim, &r->options, err);
    if (status == KD_OK && settings)
        status = collection_configure(c, settings, err);
    if (status == KD_OK)
        status = move_in(r, c, path, final, err);
    free(final);
    if (status != KD_OK) {
        collection_release(c);
        remove_leftover(path);
        return status;
    }
    *out = collection_hold(c);
    pthread_rwlock_wrlock(&r->table);
    registry_place_add(r, name, c, NULL);
    pthread_rwlock_unlock(&r->table);
    return KD_OK;
}

static kd_status take_existing(const place *p, const char *model_id, size_t dim, bool if_absent,
    collection **out, kd_error *err)
{
    if (!if_absent)
        return kd_error_set(err, KD_ALREADY_EXISTS, "there is a collection '%s' already", p->name);
    if (!p->c) {
        if (err)
            *err = p->damage;
        return p->damage.status;
    }
    const kd_status status = collection_check_model(p->c, model_id, err);
    if (status != KD_OK)
        return status;
    if (collection_dim(p->c) != dim)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s' holds vectors of %zu dimensions, not %zu", p->name,
            collection_dim(p->c), dim);
    *out = collection_hold(p->c);
    return KD_OK;
}

kd_status registry_create(registry *r, const char *name, const char *model_id, size_t dim,
    const collection_settings *settings, bool if_absent, collection **out, bool *created,
    kd_error *err)
{
    *out = NULL;
    *created = false;
    kd_status status = settings ? collection_settings_check(settings, err) : KD_OK;
    if (status != KD_OK)
        return status;
    pthread_mutex_lock(&r->changes);
    status = check_new_name(r, name, err);
    if (status == KD_OK) {
        const place *const p = registry_place(r, name);
        char *const path = registry_folder(r, name, STEP_NEW);
        if (p) {
            status = take_existing(p, model_id, dim, if_absent, out, err);
        } else if (path) {
            status = create_at(r, path, name, model_id, dim, settings, out, err);
            *created = status == KD_OK;
        } else {
            status = kd_error_memory(err, "a path");
        }
        free(path);
    }
    pthread_mutex_unlock(&r->changes);
    return status;
}

/* Moves the folder of a place, open or damaged, away to path. */
static kd_status put_away(registry *r, const place *p, const char *path, kd_error *err)
{
    kd_status status = kd_remove_tree(path, err);
    if (status != KD_OK || p->c)
        return status == KD_OK ? collection_move(p->c, path, err) : status;
    char *const from = registry_folder(r, p->name, "");
    if (!from)
        return kd_error_memory(err, "a path");
    if (rename(from, path) != 0)
        status = kd_error_errno(err, errno, "cannot rename %s", from);
    free(from);
    return status;
}

/* Undoes put_away. */
static void put_back(const place *p, const char *from, const char *to)
{
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    if (p->c)
        status = collection_move(p->c, to, &err);
    else if (rename(from, to) != 0)
        status = kd_error_errno(&err, errno, "cannot rename %s", from);
    if (status != KD_OK)
        kd_log_error(KD_LOG_ERROR, "collection_not_put_back", &err);
}

static kd_status check_deletable(const registry *r, const char *name, kd_error *err)
{
    const alias *const a = aliases_find(&r->aliases, name);
    if (a)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "'%s' is an alias of collection '%s', not a collection", name, a->target);
    if (!registry_place(r, name))
        return kd_error_set(err, KD_NOT_FOUND, "there is no collection '%.100s'", name);
    for (size_t i = 0; i < r->aliases.n; i++)
        if (strcmp(r->aliases.list[i].target, name) == 0)
            return kd_error_set(err, KD_FAILED_PRECONDITION,
                "collection '%s' cannot be deleted: alias '%s' leads to it", name,
                r->aliases.list[i].name);
    return KD_OK;
}

/* With the folder moved away for good: until then a failure leaves everything as it was. */
static kd_status delete_place(registry *r, const char *name, const char *path, kd_error *err)
{
    char *const final = registry_folder(r, name, "");
    kd_status status =
        final ? put_away(r, registry_place(r, name), path, err) : kd_error_memory(err, "a path");
    if (status == KD_OK) {
        status = kd_fsync_path(r->dir, err);
        if (status != KD_OK)
            put_back(registry_place(r, name), path, final);
    }
    free(final);
    if (status != KD_OK)
        return status;
    pthread_rwlock_wrlock(&r->table);
    place *const p = registry_place(r, name);
    collection *const c = p->c;
    memmove(p, p + 1, (size_t)(r->places + r->n - (p + 1)) * sizeof *p);
    r->n--;
    pthread_rwlock_unlock(&r->table);
    if (c)
        collection_retire(c);
    collection_release(c);
    remove_leftover(path);
    return KD_OK;
}

kd_status registry_delete(registry *r, const char *name, kd_error *err)
{
    pthread_mutex_lock(&r->changes);
    kd_status status = check_deletable(r, name, err);
    if (status == KD_OK) {
        char *const path = registry_folder(r, name, STEP_GONE);
        status = path ? delete_place(r, name, path, err) : kd_error_memory(err, "a path");
        free(path);
    }
    pthread_mutex_unlock(&r->changes);
    return status;
}

/* Copies file to a collection in path and opens it there, which verifies it. */
static kd_status open_copy(const registry *r, collection **out, const char *path, const char *name,
    const char *file, kd_error *err)
{
    if (!kd_is_file(file))
        return kd_error_set(err, KD_NOT_FOUND, "there is no snapshot %s", file);
    kd_status status = kd_remove_tree(path, err);
    if (status == KD_OK)
        status = kd_make_dirs(path, err);
    char *const copy = kd_format("%s/collection.db", path);
    if (status == KD_OK)
        status = copy ? kd_copy_file(file, copy, err) : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = kd_fsync_path(copy, err);
    free(copy);
    if (status != KD_OK)
        return status;
    kd_error why = KD_ERROR_INIT;
    status = collection_open(out, path, name, &r->options, &why);
    if (status == KD_OK)
        return kd_fsync_path(path, err);
    return kd_error_set(err, status, "%s cannot be restored: %.300s", file, why.message);
}

/* Puts the collection c, complete in the folder path, in the place of what has its name. */
static kd_status replace(
    registry *r, const char *name, collection *c, const char *path, kd_error *err)
{
    const place *const before = registry_place(r, name);
    char *const final = registry_folder(r, name, ""), *const old =
                                                          registry_folder(r, name, STEP_OLD);
    kd_status status = final && old ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK && before && kd_is_dir(final)) /* else old has what was there */
        status = put_away(r, before, old, err);
    if (status == KD_OK) {
        status = move_in(r, c, path, final, err);
        if (status != KD_OK && before)
            put_back(before, old, final);
    }
    if (status == KD_OK) {
        collection *replaced = NULL;
        pthread_rwlock_wrlock(&r->table);
        place *const p = registry_place(r, name);
        if (p) {
            replaced = p->c;
            p->c = collection_hold(c);
            p->damage = (kd_error)KD_ERROR_INIT;
        } else {
            registry_place_add(r, name, collection_hold(c), NULL);
        }
        pthread_rwlock_unlock(&r->table);
        if (replaced)
            collection_retire(replaced);
        collection_release(replaced);
        remove_leftover(old);
    }
    free(final);
    free(old);
    return status;
}

kd_status registry_restore(
    registry *r, const char *name, const char *file, collection **out, kd_error *err)
{
    collection *c = NULL;
    *out = NULL;
    pthread_mutex_lock(&r->changes);
    kd_status status = check_new_name(r, name, err);
    char *const path = status == KD_OK ? registry_folder(r, name, STEP_NEW) : NULL;
    if (status == KD_OK)
        status = path ? open_copy(r, &c, path, name, file, err) : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = replace(r, name, c, path, err);
    if (status == KD_OK) {
        *out = c;
    } else {
        collection_release(c);
        remove_leftover(path);
    }
    free(path);
    pthread_mutex_unlock(&r->changes);
    return status;
}

static kd_status check_alias(const registry *r, const char *name, const char *target, kd_error *err)
{
    const kd_status status = kd_check_name("alias", name, err);
    if (status != KD_OK)
        return status;
    if (registry_place(r, name))
        return kd_error_set(
            err, KD_ALREADY_EXISTS, "'%s' is a collection, so no alias can have that name", name);
    if (*target && !registry_place(r, target))
        return kd_error_set(err, KD_NOT_FOUND, "there is no collection '%.100s'", target);
    const bool there = aliases_find(&r->aliases, name) != NULL;
    if (!*target && !there)
        return kd_error_set(err, KD_NOT_FOUND, "there is no alias '%s'", name);
    if (*target && !there && r->aliases.n == REGISTRY_MAX_ALIASES)
        return kd_error_set(
            err, KD_RESOURCE_EXHAUSTED, "there are %u aliases, no more fit", REGISTRY_MAX_ALIASES);
    return KD_OK;
}

/* Writes what holds over a file that may say otherwise. */
static void keep_aliases(const registry *r)
{
    kd_error err = KD_ERROR_INIT;
    if (aliases_save(&r->aliases, r->aliases_file, &err) != KD_OK)
        kd_log_error(KD_LOG_WARN, "aliases_not_kept", &err);
}

/* With changes locked. previous is where the alias led. */
static kd_status lead(registry *r, const char *alias_name, const char *name,
    char previous[COLLECTION_NAME_SIZE], kd_error *err)
{
    aliases next = {0};
    kd_status status = check_alias(r, alias_name, name, err);
    if (status == KD_OK)
        status = aliases_with(&next, &r->aliases, alias_name, name, err);
    if (status == KD_OK) {
        status = aliases_save(&next, r->aliases_file, err);
        if (status != KD_OK) /* the file may be the new one already */
            keep_aliases(r);
    }
    if (status == KD_OK) {
        const alias *const before = aliases_find(&r->aliases, alias_name);
        if (before)
            (void)kd_copy(previous, COLLECTION_NAME_SIZE, before->target);
        pthread_rwlock_wrlock(&r->table);
        const aliases replaced = r->aliases;
        r->aliases = next;
        next = replaced;
        pthread_rwlock_unlock(&r->table);
    }
    aliases_free(&next);
    return status;
}

kd_status registry_set_alias(registry *r, const char *alias_name, const char *name,
    char previous[COLLECTION_NAME_SIZE], kd_error *err)
{
    previous[0] = '\0';
    pthread_mutex_lock(&r->changes);
    const kd_status status = lead(r, alias_name, name, previous, err);
    pthread_mutex_unlock(&r->changes);
    return status;
}

/* With changes locked: where the alias led before. */
static kd_status look_back(
    const registry *r, const char *alias_name, char name[COLLECTION_NAME_SIZE], kd_error *err)
{
    const alias *const a = aliases_find(&r->aliases, alias_name);
    if (!a)
        return kd_error_set(err, KD_NOT_FOUND, "there is no alias '%.100s'", alias_name);
    if (!*a->previous)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "alias '%s' has led to no other collection than '%s'", alias_name, a->target);
    if (!registry_place(r, a->previous))
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "alias '%s' led to collection '%s' before, which is gone", alias_name, a->previous);
    (void)kd_copy(name, COLLECTION_NAME_SIZE, a->previous);
    return KD_OK;
}

kd_status registry_roll_back_alias(registry *r, const char *alias_name,
    char name[COLLECTION_NAME_SIZE], char previous[COLLECTION_NAME_SIZE], kd_error *err)
{
    name[0] = previous[0] = '\0';
    pthread_mutex_lock(&r->changes);
    kd_status status = look_back(r, alias_name, name, err);
    if (status == KD_OK)
        status = lead(r, alias_name, name, previous, err);
    pthread_mutex_unlock(&r->changes);
    return status;
}
