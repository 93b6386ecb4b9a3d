#include "services/indexer/registry_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"

#define OPEN_AGAIN_MS 1000 /* between tries at a collection that could not be opened */

char *registry_folder(const registry *r, const char *name, const char *step)
{
    return *step ? kd_format("%s/.%s.%s", r->dir, name, step) : kd_format("%s/%s", r->dir, name);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const place *)left)->name, ((const place *)right)->name);
}

place *registry_place(const registry *r, const char *name)
{
    for (size_t low = 0, high = r->n; low < high;) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, r->places[middle].name);
        if (order == 0)
            return &r->places[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

void registry_place_add(registry *r, const char *name, collection *c, const kd_error *damage)
{
    place *const p = &r->places[r->n++];
    *p = (place){.c = c};
    (void)kd_copy(p->name, sizeof p->name, name);
    if (damage)
        p->damage = *damage;
    qsort(r->places, r->n, sizeof *r->places, by_name);
}

/* ---- Opening ---- */

/* Back from where a replacement that a crash cut off put it. */
static kd_status take_back(const registry *r, const char *name, kd_error *err)
{
    kd_status status = KD_OK;
    char *const from = registry_folder(r, name, STEP_OLD), *const to = registry_folder(r, name, "");
    if (!from || !to)
        status = kd_error_memory(err, "a path");
    else if (rename(from, to) != 0)
        status = kd_error_errno(err, errno, "cannot rename %s", from);
    free(from);
    free(to);
    return status;
}

/* A change that a crash cut off: forward where the new state is complete, else back. What can't be
 * done now, as on a read-only disk, stops no other collection. */
static kd_status clear_up(registry *r, const char *entry, kd_error *err)
{
    char name[COLLECTION_NAME_SIZE + 8]; /* with the step behind it */
    const char *const dot = strrchr(entry, '.');
    if (entry[0] != '.' || dot == entry || !kd_copy(name, sizeof name, entry + 1))
        return KD_OK; /* none of ours */
    const char *const step = dot + 1;
    name[dot - entry - 1] = '\0';
    const bool is_old = strcmp(step, STEP_OLD) == 0;
    if (!is_old && strcmp(step, STEP_NEW) != 0 && strcmp(step, STEP_GONE) != 0)
        return KD_OK;
    kd_error why = KD_ERROR_INIT;
    char *const from = registry_folder(r, name, step), *const to = registry_folder(r, name, "");
    const bool paths = from && to;
    if (paths && (!is_old || kd_is_dir(to))) {
        if (kd_remove_tree(from, &why) != KD_OK)
            kd_log_error(KD_LOG_WARN, "leftover_kept", &why);
    } else if (paths && take_back(r, name, &why) != KD_OK) {
        kd_log_error(KD_LOG_ERROR, "collection_damaged", &why);
        if (r->n < REGISTRY_MAX_COLLECTIONS)
            registry_place_add(r, name, NULL, &why);
    }
    free(from);
    free(to);
    return paths ? KD_OK : kd_error_memory(err, "a path");
}

static kd_status open_one(registry *r, const char *name, kd_error *err)
{
    if (kd_check_name("collection", name, NULL) != KD_OK)
        return KD_OK;
    char *const path = registry_folder(r, name, "");
    if (!path)
        return kd_error_memory(err, "a path");
    if (!kd_is_dir(path)) {
        free(path);
        return KD_OK;
    }
    if (r->n == REGISTRY_MAX_COLLECTIONS) {
        free(path);
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "%s holds more than %u collections", r->dir,
            REGISTRY_MAX_COLLECTIONS);
    }
    collection *c = NULL;
    kd_error damage = KD_ERROR_INIT;
    if (collection_open(&c, path, name, &r->options, &damage) == KD_OK)
        KD_LOG(KD_LOG_INFO, "collection_opened", KD_STR("collection", name));
    else
        kd_log_error(KD_LOG_ERROR, "collection_damaged", &damage);
    registry_place_add(r, name, c, &damage);
    free(path);
    return KD_OK;
}

/* Calls each for every entry of dir, by name, until one fails. */
static kd_status for_entries(
    registry *r, kd_status (*each)(registry *r, const char *entry, kd_error *err), kd_error *err)
{
    struct dirent **entries = NULL;
    kd_status status = KD_OK;
    const int n = scandir(r->dir, &entries, NULL, alphasort);
    if (n < 0)
        return kd_error_errno(err, errno, "cannot read %s", r->dir);
    for (int i = 0; i < n; i++) {
        if (status == KD_OK)
            status = each(r, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* A damaged file of aliases is put aside: collections are found by their names then. */
static kd_status open_aliases(registry *r, kd_error *err)
{
    const kd_status status = aliases_load(&r->aliases, r->aliases_file, err);
    if (status != KD_DATA_LOSS)
        return status;
    kd_log_error(KD_LOG_ERROR, "aliases_damaged", err);
    char *const aside = kd_format("%s.damaged", r->aliases_file);
    if (!aside)
        return kd_error_memory(err, "a path");
    const bool moved = rename(r->aliases_file, aside) == 0;
    free(aside);
    return moved ? KD_OK : kd_error_errno(err, errno, "cannot rename %s", r->aliases_file);
}

kd_status registry_open(
    registry **out, const char *dir, const collection_options *options, kd_error *err)
{
    *out = NULL;
    registry *const r = calloc(1, sizeof *r);
    if (!r)
        return kd_error_memory(err, "the registry");
    pthread_mutex_init(&r->changes, NULL);
    pthread_rwlock_init(&r->table, NULL);
    if (options)
        r->options = *options;
    r->dir = strdup(dir);
    r->aliases_file = kd_format("%s/.aliases.json", dir);
    r->places = calloc(REGISTRY_MAX_COLLECTIONS, sizeof *r->places);
    if (!r->dir || !r->aliases_file || !r->places) {
        registry_close(r);
        return kd_error_memory(err, "the registry");
    }
    kd_status status = kd_make_dirs(dir, err);
    if (status == KD_OK)
        status = for_entries(r, clear_up, err);
    if (status == KD_OK)
        status = open_aliases(r, err);
    if (status == KD_OK)
        status = for_entries(r, open_one, err);
    if (status != KD_OK) {
        registry_close(r);
        return status;
    }
    *out = r;
    return KD_OK;
}

void registry_close(registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->places && i < r->n; i++)
        collection_release(r->places[i].c);
    aliases_free(&r->aliases);
    pthread_mutex_destroy(&r->changes);
    pthread_rwlock_destroy(&r->table);
    free(r->places);
    free(r->aliases_file);
    free(r->dir);
    free(r);
}

/* ---- Opening once more ---- */

bool registry_may_open(const place *p)
{
    return !p->c && p->damage.status != KD_OK && p->damage.status != KD_DATA_LOSS &&
           p->damage.status != KD_NOT_FOUND && kd_mono_ms() >= p->again_ms;
}

void registry_open_again(registry *r, const char *name)
{
    kd_error damage = KD_ERROR_INIT;
    collection *c = NULL;
    if (pthread_mutex_trylock(&r->changes) != 0)
        return;
    place *const p = registry_place(r, name);
    char *const path = p ? registry_folder(r, name, "") : NULL;
    if (path && registry_may_open(p)) {
        if ((kd_is_dir(path) || take_back(r, name, &damage) == KD_OK) &&
            collection_open(&c, path, name, &r->options, &damage) == KD_OK)
            KD_LOG(KD_LOG_INFO, "collection_opened", KD_STR("collection", name));
        pthread_rwlock_wrlock(&r->table);
        p->c = c;
        p->damage = damage;
        p->again_ms = kd_mono_ms() + OPEN_AGAIN_MS;
        pthread_rwlock_unlock(&r->table);
    }
    free(path);
    pthread_mutex_unlock(&r->changes);
}

/* ---- Look-ups ---- */

/* With table locked: the place by name or alias; NULL sets KD_NOT_FOUND. */
static const place *resolve(const registry *r, const char *name, kd_error *err)
{
    const alias *const a = aliases_find(&r->aliases, name);
    const place *const p = registry_place(r, a ? a->target : name);
    if (!p && a)
        (void)kd_error_set(err, KD_NOT_FOUND,
            "alias '%s' leads to collection '%s', which is not there", a->name, a->target);
    else if (!p)
        (void)kd_error_set(err, KD_NOT_FOUND, "there is no collection '%.100s'", name);
    return p;
}

/* As resolve, and locks table. */
static const place *look_up(registry *r, const char *name, kd_error *err)
{
    char real[COLLECTION_NAME_SIZE];
    pthread_rwlock_rdlock(&r->table);
    const place *p = resolve(r, name, err);
    if (!p || !registry_may_open(p))
        return p;
    (void)kd_copy(real, sizeof real, p->name);
    pthread_rwlock_unlock(&r->table);
    registry_open_again(r, real);
    pthread_rwlock_rdlock(&r->table);
    return resolve(r, name, err);
}

kd_status registry_find(registry *r, const char *name, collection **out, kd_error *err)
{
    kd_status status = KD_OK;
    *out = NULL;
    const place *const p = look_up(r, name, err);
    if (!p) {
        status = KD_NOT_FOUND;
    } else if (p->c) {
        *out = collection_hold(p->c);
    } else {
        status = p->damage.status;
        if (err)
            *err = p->damage;
    }
    pthread_rwlock_unlock(&r->table);
    return status;
}

collection *registry_after(registry *r, char name[COLLECTION_NAME_SIZE])
{
    collection *found = NULL;
    pthread_rwlock_rdlock(&r->table);
    size_t low = 0;
    for (size_t high = r->n; low < high;) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(r->places[middle].name, name) > 0)
            high = middle;
        else
            low = middle + 1;
    }
    while (low < r->n && !r->places[low].c)
        low++;
    if (low < r->n) {
        (void)kd_copy(name, COLLECTION_NAME_SIZE, r->places[low].name);
        found = collection_hold(r->places[low].c);
    }
    pthread_rwlock_unlock(&r->table);
    return found;
}

/* With table locked. */
static kd_status describe(const registry *r, const place *p, registry_entry *out, kd_error *err)
{
    if (p->c)
        collection_describe(p->c, &out->info);
    else
        (void)kd_copy(out->info.name, sizeof out->info.name, p->name);
    out->damage = p->damage;
    kd_status status = aliases_of(&r->aliases, p->name, false, &out->aliases, &out->n_aliases, err);
    if (status == KD_OK)
        status = aliases_of(&r->aliases, p->name, true, &out->previously, &out->n_previously, err);
    return status;
}

kd_status registry_list(registry *r, const char *after, size_t limit, registry_entry **entries,
    size_t *n, kd_error *err)
{
    kd_status status = KD_OK;
    registry_entry *const made = calloc(REGISTRY_MAX_COLLECTIONS, sizeof *made);
    *entries = NULL;
    *n = 0;
    if (!made)
        return kd_error_memory(err, "a list of collections");
    pthread_rwlock_rdlock(&r->table);
    for (size_t i = 0; i < r->n && *n < limit && status == KD_OK; i++)
        if (strcmp(r->places[i].name, after) > 0)
            status = describe(r, &r->places[i], &made[(*n)++], err);
    pthread_rwlock_unlock(&r->table);
    if (status == KD_OK) {
        *entries = made;
    } else {
        registry_entries_free(made, *n);
        *n = 0;
    }
    return status;
}

kd_status registry_describe(registry *r, const char *name, registry_entry **entry, kd_error *err)
{
    kd_status status = KD_NOT_FOUND;
    registry_entry *const made = calloc(1, sizeof *made);
    *entry = NULL;
    if (!made)
        return kd_error_memory(err, "a collection's description");
    const place *const p = look_up(r, name, err);
    if (p)
        status = describe(r, p, made, err);
    pthread_rwlock_unlock(&r->table);
    if (status == KD_OK)
        *entry = made;
    else
        registry_entries_free(made, 1);
    return status;
}

void registry_entries_free(registry_entry *entries, size_t n)
{
    for (size_t i = 0; entries && i < n; i++) {
        free(entries[i].aliases);
        free(entries[i].previously);
    }
    free(entries);
}
