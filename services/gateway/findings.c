/* The dataset check as a part of the report. */
#include <stdlib.h>

#include "lib/check/check.h"
#include "services/gateway/evaluate.h"

#define MEMBERS 4u /* of a group that are named */

typedef enum kind {
    MISSING,
    BROKEN,
    SMALL,
    ELONGATED,
    FLAT,
    DUPLICATES, /* then its leaks and label conflicts */
    NEAR = DUPLICATES + 3,
} kind;

static const struct {
    const char *name, *title;
} kinds[FINDING_KINDS] = {
    [MISSING] = {"missing_images", "Missing images"},
    [BROKEN] = {"broken_images", "Broken images"},
    [SMALL] = {"small_images", "Small images"},
    [ELONGATED] = {"elongated_images", "Elongated images"},
    [FLAT] = {"flat_images", "Images of one colour"},
    [DUPLICATES] = {"duplicates", "Groups of images with the same bytes"},
    [DUPLICATES + 1] = {"duplicate_leaks", "… of them in both splits"},
    [DUPLICATES + 2] = {"duplicate_label_conflicts", "… of them in different classes"},
    [NEAR] = {"near_duplicates", "Groups of images that look the same"},
    [NEAR + 1] = {"near_duplicate_leaks", "… of them in both splits"},
    [NEAR + 2] = {"near_duplicate_label_conflicts", "… of them in different classes"},
};

typedef struct checked {
    const kd_dataset *dataset;
    const kd_item *items;
    const kd_check *check;
} checked;

static const char *path_of(const checked *c, size_t item)
{
    return kd_dataset_path(c->dataset, &c->items[item]);
}

/* Takes example over; false when it is NULL. */
static bool add_example(findings *out, kind k, char *example)
{
    if (example)
        out->examples[k][out->at[k].n_examples++] = example;
    return example != NULL;
}

static bool has_room(const findings *out, kind k)
{
    return out->at[k].n_examples < KD_REPORT_EXAMPLES;
}

/* ---- Images ---- */

static bool is_of(const kd_check_image *image, kind k)
{
    switch (k) {
    case MISSING:
        return image->state == KD_CHECK_MISSING;
    case BROKEN:
        return image->state == KD_CHECK_BROKEN;
    case SMALL:
        return image->small;
    case ELONGATED:
        return image->elongated;
    default:
        return image->flat;
    }
}

static bool add_images(const checked *c, kind k, size_t count, findings *out)
{
    bool fine = true;
    out->at[k].count = count;
    for (size_t i = 0; i < c->check->n && fine && count > 0 && has_room(out, k); i++) {
        const kd_check_image *const image = &c->check->images[i];
        if (!is_of(image, k))
            continue;
        if (k == MISSING)
            fine = add_example(out, k, kd_format("%s", path_of(c, i)));
        else if (k == BROKEN)
            fine = add_example(out, k,
                kd_format("%s: %s", path_of(c, i), image->reason ? image->reason : "unreadable"));
        else
            fine = add_example(
                out, k, kd_format("%s: %u × %u", path_of(c, i), image->width, image->height));
    }
    return fine;
}

/* ---- Groups ---- */

/* "a.jpg = b.jpg (in both splits)", a new string; NULL when there is no memory. */
static char *group_text(const checked *c, const kd_check_groups *groups, size_t g)
{
    const kd_check_group *const group = &groups->at[g];
    kd_buf text = KD_BUF_INIT;
    for (size_t i = 0; i < group->n && i < MEMBERS; i++)
        kd_buf_printf(&text, "%s%s", i ? " = " : "", path_of(c, groups->members[group->first + i]));
    if (group->n > MEMBERS)
        kd_buf_printf(&text, " and %zu more", group->n - MEMBERS);
    if (group->leak || group->conflict)
        kd_buf_printf(&text, " (%s%s%s)", group->leak ? "in both splits" : "",
            group->leak && group->conflict ? ", " : "", group->conflict ? "different classes" : "");
    if (kd_buf_ok(&text))
        return (char *)text.data;
    kd_buf_free(&text);
    return NULL;
}

static bool add_groups(const checked *c, kind k, const kd_check_groups *groups, findings *out)
{
    bool fine = true;
    out->at[k].count = groups->n;
    out->at[k + 1].count = groups->n_leaks;
    out->at[k + 2].count = groups->n_conflicts;
    for (size_t g = 0; g < groups->n && fine && has_room(out, k); g++)
        fine = add_example(out, k, group_text(c, groups, g));
    return fine;
}

/* ---- All of it ---- */

static kd_status fill(const checked *c, findings *out, kd_error *err)
{
    const kd_check *const check = c->check;
    for (size_t k = 0; k < FINDING_KINDS; k++)
        out->at[k] = (kd_report_finding){.name = kinds[k].name,
            .title = kinds[k].title,
            .examples = (const char *const *)out->examples[k]};
    out->report = (kd_report_findings){.images = check->n,
        .passed = kd_check_passed(check, false),
        .at = out->at,
        .n = FINDING_KINDS};
    const bool fine =
        add_images(c, MISSING, check->missing, out) && add_images(c, BROKEN, check->broken, out) &&
        add_images(c, SMALL, check->small, out) &&
        add_images(c, ELONGATED, check->elongated, out) && add_images(c, FLAT, check->flat, out) &&
        add_groups(c, DUPLICATES, &check->duplicates, out) &&
        add_groups(c, NEAR, &check->near, out);
    return fine ? KD_OK : kd_error_memory(err, "the findings");
}

static bool pass_step(void *arg, const char *phase, size_t done, size_t total)
{
    kd_error ignored; /* the reason stands in the job */
    (void)phase;
    (void)done;
    (void)total;
    return job_step(arg, &ignored) == KD_OK;
}

kd_status findings_make(running_job *r, const protocol *p, findings *out, kd_error *err)
{
    kd_check_options options = KD_CHECK_OPTIONS_INIT;
    kd_dataset *both = NULL;
    kd_check *check = NULL;
    size_t n;
    options.progress = pass_step;
    options.arg = r;
    job_phase(r, "checking the dataset");
    kd_status status = kd_dataset_open(&both, kd_dataset_dir(p->queries), KD_SPLIT_ALL, err);
    if (status == KD_OK)
        status = kd_check_new(&check, both, &options, err);
    if (status == KD_CANCELLED)
        status = job_step(r, err); /* says why */
    if (status == KD_OK) {
        const checked c = {both, kd_dataset_items(both, &n), check};
        status = fill(&c, out, err);
    }
    kd_check_free(check);
    kd_dataset_free(both);
    return status;
}

void findings_free(findings *f)
{
    for (size_t k = 0; k < FINDING_KINDS; k++)
        for (size_t e = 0; e < KD_REPORT_EXAMPLES; e++)
            free(f->examples[k][e]);
    *f = (findings){.report = {.n = 0}};
}
