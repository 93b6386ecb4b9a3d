/* Which images are the same, and which look the same. */
#include <stdlib.h>
#include <string.h>

#include "lib/check/internal.h"

#define BANDS (KD_CHECK_NEAR_BITS + 1)
#define BAND_BITS ((64 + BANDS - 1) / BANDS) /* the last band may have fewer */

/* An image by a number that equal or near ones share: its hash, then its group's first image. */
typedef struct entry {
    uint64_t key;
    uint32_t image;
} entry;

typedef struct finder {
    const check_work *work;
    uint32_t *same;   /* of each image the first one with its bytes */
    uint32_t *parent; /* union-find over images that look the same; smaller numbers lead */
    entry *entries;   /* room for one an image */
} finder;

static bool was_read(const finder *f, size_t image)
{
    return f->work->check->images[image].state == KD_CHECK_READ;
}

/* ---- Sorting ---- */

static int compare_entries(const void *left, const void *right)
{
    const entry *const a = left, *const b = right;
    if (a->key != b->key)
        return a->key > b->key ? 1 : -1;
    return (a->image > b->image) - (a->image < b->image);
}

static int compare_digests(const void *left, const void *right, void *arg)
{
    const check_trait *const traits = arg;
    const entry *const a = left, *const b = right;
    const int order =
        memcmp(traits[a->image].digest, traits[b->image].digest, sizeof traits->digest);
    return order ? order : (a->image > b->image) - (a->image < b->image);
}

static uint64_t band_of(uint64_t look, unsigned band)
{
    return look >> (band * BAND_BITS) & ((UINT64_C(1) << BAND_BITS) - 1);
}

static int compare_bands(const void *left, const void *right, void *arg)
{
    const entry *const a = left, *const b = right;
    const unsigned *const band = arg;
    const uint64_t x = band_of(a->key, *band), y = band_of(b->key, *band);
    return (x > y) - (x < y);
}

/* ---- The same bytes ---- */

static void find_same(finder *f)
{
    check_trait *const traits = f->work->traits;
    size_t n = 0;
    for (size_t i = 0; i < f->work->check->n; i++) {
        f->same[i] = (uint32_t)i;
        if (was_read(f, i))
            f->entries[n++] = (entry){.image = (uint32_t)i};
    }
    qsort_r(f->entries, n, sizeof *f->entries, compare_digests, traits);
    for (size_t i = 1; i < n; i++) {
        const uint32_t image = f->entries[i].image, before = f->entries[i - 1].image;
        if (memcmp(traits[image].digest, traits[before].digest, sizeof traits->digest) == 0)
            f->same[image] = f->same[before];
    }
}

/* ---- The same look ---- */

static uint32_t leader(finder *f, uint32_t image)
{
    while (f->parent[image] != image)
        image = f->parent[image] = f->parent[f->parent[image]]; /* halves the path */
    return image;
}

static void join(finder *f, uint32_t a, uint32_t b)
{
    const uint32_t x = leader(f, a), y = leader(f, b);
    f->parent[x > y ? x : y] = x < y ? x : y;
}

/* Joins equal hashes and leaves one entry of each: thousands of copies of one picture would else
 * be compared each with each. Returns how many are left. */
static size_t join_equal(finder *f)
{
    const kd_check *const check = f->work->check;
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < check->n; i++) {
        f->parent[i] = (uint32_t)i;
        if (was_read(f, i) && !check->images[i].flat)
            f->entries[n++] = (entry){f->work->traits[i].look, (uint32_t)i};
    }
    qsort(f->entries, n, sizeof *f->entries, compare_entries);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && f->entries[kept - 1].key == f->entries[i].key)
            join(f, f->entries[kept - 1].image, f->entries[i].image);
        else
            f->entries[kept++] = f->entries[i];
    }
    return kept;
}

static kd_status find_near(finder *f, kd_error *err)
{
    const size_t n = join_equal(f);
    kd_status status = KD_OK;
    for (unsigned band = 0; band < BANDS && status == KD_OK; band++) {
        status = check_progress(f->work, "comparing", band, BANDS, err);
        qsort_r(f->entries, n, sizeof *f->entries, compare_bands, &band);
        for (size_t i = 0; i < n; i++) {
            const entry *const a = &f->entries[i];
            for (size_t j = i + 1;
                j < n && band_of(f->entries[j].key, band) == band_of(a->key, band); j++)
                if ((unsigned)__builtin_popcountll(a->key ^ f->entries[j].key) <=
                    KD_CHECK_NEAR_BITS)
                    join(f, a->image, f->entries[j].image);
        }
    }
    return status;
}

/* ---- Groups ---- */

static bool in_train(const finder *f, uint32_t image)
{
    return image < kd_dataset_train_count(f->work->dataset);
}

/* The n entries as a group. */
static kd_check_group describe(const finder *f, const entry *entries, size_t n)
{
    kd_check_group group = {.n = n};
    const uint32_t first = entries[0].image;
    for (size_t i = 1; i < n; i++) {
        const uint32_t image = entries[i].image;
        group.leak |= in_train(f, image) != in_train(f, first);
        group.conflict |= f->work->items[image].class_id != f->work->items[first].class_id;
    }
    return group;
}

static bool same_bytes(const finder *f, const entry *entries, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (f->same[entries[i].image] != f->same[entries[0].image])
            return false;
    return true;
}

/* first is where the members were put, in listing order. */
static int compare_groups(const void *left, const void *right)
{
    const kd_check_group *const a = left, *const b = right;
    const int x = a->leak + a->conflict, y = b->leak + b->conflict;
    if (x != y)
        return y - x;
    return (a->first > b->first) - (a->first < b->first);
}

/* How many of the n sorted entries share the first one's key. */
static size_t run_of(const entry *entries, size_t n)
{
    size_t run = 1;
    while (run < n && entries[run].key == entries[0].key)
        run++;
    return run;
}

/* What looks the same is told of when the bytes differ: the rest is among the duplicates. */
static bool is_group(const finder *f, const entry *entries, size_t n, bool near)
{
    return n > 1 && !(near && same_bytes(f, entries, n));
}

static void add_group(const finder *f, kd_check_groups *out, const entry *entries, size_t n)
{
    kd_check_group *const added = &out->at[out->n++];
    *added = describe(f, entries, n);
    added->first = out->n_members;
    for (size_t i = 0; i < n; i++)
        out->members[out->n_members++] = entries[i].image;
    out->n_leaks += added->leak;
    out->n_conflicts += added->conflict;
}

/* Groups the images by the first one of each. */
static kd_status group(
    finder *f, const uint32_t *first, bool near, kd_check_groups *out, kd_error *err)
{
    const size_t n = f->work->check->n;
    size_t groups = 0, members = 0;
    for (size_t i = 0; i < n; i++)
        f->entries[i] = (entry){first[i], (uint32_t)i};
    qsort(f->entries, n, sizeof *f->entries, compare_entries);
    for (size_t i = 0, run; i < n; i += run) {
        run = run_of(&f->entries[i], n - i);
        if (is_group(f, &f->entries[i], run, near)) {
            groups++;
            members += run;
        }
    }
    if (groups == 0)
        return KD_OK;
    out->at = calloc(groups, sizeof *out->at);
    out->members = calloc(members, sizeof *out->members);
    if (!out->at || !out->members)
        return kd_error_memory(err, "the duplicates of a dataset");
    for (size_t i = 0, run; i < n; i += run) {
        run = run_of(&f->entries[i], n - i);
        if (is_group(f, &f->entries[i], run, near))
            add_group(f, out, &f->entries[i], run);
    }
    qsort(out->at, out->n, sizeof *out->at, compare_groups);
    return KD_OK;
}

static kd_status find(finder *f, kd_error *err)
{
    kd_check *const check = f->work->check;
    find_same(f);
    kd_status status = find_near(f, err);
    if (status == KD_OK)
        status = group(f, f->same, false, &check->duplicates, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < check->n; i++)
        f->parent[i] = leader(f, (uint32_t)i);
    return group(f, f->parent, true, &check->near, err);
}

kd_status check_find_groups(const check_work *work, kd_error *err)
{
    const size_t n = work->check->n ? work->check->n : 1;
    uint32_t *const same = calloc(n, sizeof *same), *const parent = calloc(n, sizeof *parent);
    entry *const entries = calloc(n, sizeof *entries);
    finder f = {.work = work, .same = same, .parent = parent, .entries = entries};
    const kd_status status = same && parent && entries
                                 ? find(&f, err)
                                 : kd_error_memory(err, "the duplicates of a dataset");
    free(entries);
    free(parent);
    free(same);
    return status;
}
