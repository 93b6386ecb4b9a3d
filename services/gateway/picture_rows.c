/* Picture rows: queries and their five nearest. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "services/gateway/evaluate.h"

#define ROW_PICTURES (ROW_HITS + 1)
#define MOST_PICTURES 4200u /* of all models; some 10 MB at the least size */

uint32_t picture_side(size_t pictures)
{
    return pictures <= 400 ? 160 : pictures <= 1200 ? 112 : 80;
}

kd_status shown_choose(shown *out, const embedded *queries, const Kindred__V1__EvaluateSpec *spec,
    size_t n_models, kd_error *err)
{
    const size_t most = MOST_PICTURES / (ROW_PICTURES * n_models);
    const kd_status status = rows_choose(out, queries->dataset, queries->rows, queries->n,
        (const char *const *)spec->show, spec->n_show, most, err);
    out->side = picture_side(out->n * ROW_PICTURES * n_models);
    return status;
}

/* A data: URI of the picture, a new string; NULL when it can't be read or there is no memory. */
static char *picture_uri(const gateway *g, const embedded *e, size_t item, uint32_t side)
{
    static const char head[] = PICTURE_HEAD;
    kd_buf jpeg = KD_BUF_INIT;
    char *const path = kd_dataset_full_path(e->dataset, &e->items[item]);
    if (path)
        make_thumbnail(g, path, side, &jpeg);
    free(path);
    char *const text = jpeg.len > 0 ? malloc(sizeof head + 4 * (jpeg.len / 3 + 1)) : NULL;
    if (text) {
        memcpy(text, head, sizeof head);
        (void)EVP_EncodeBlock((unsigned char *)text + sizeof head - 1, jpeg.data, (int)jpeg.len);
    }
    kd_buf_free(&jpeg);
    return text;
}

static void fill(
    const gateway *g, kd_report_hit *hit, const embedded *e, size_t item, uint32_t side)
{
    const kd_item *const it = &e->items[item];
    hit->path = kd_dataset_path(e->dataset, it);
    hit->class_name = kd_dataset_class_name(e->dataset, it->class_id);
    hit->super_class_name = kd_dataset_super_class_name(e->dataset, it->super_class_id);
    hit->picture = picture_uri(g, e, item, side);
}

static size_t find_row(const embedded *e, size_t item)
{
    size_t low = 0, high = e->n; /* rows are in the order of items */
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (e->rows[middle] < item)
            low = middle + 1;
        else
            high = middle;
    }
    return low < e->n && e->rows[low] == item ? low : SIZE_MAX;
}

typedef struct by_id {
    uint64_t id;
    size_t row;
} by_id;

static int compare_ids(const void *a, const void *b)
{
    const by_id *const x = a, *const y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void make_row(const gateway *g, kd_report_row *row, const embedded *queries, size_t q,
    const embedded *gallery, const by_id *index, const kd_hit *hits, uint32_t count, uint32_t side)
{
    fill(g, &row->query, queries, queries->rows[q], side);
    for (uint32_t i = 0; i < count && row->n_hits < ROW_HITS; i++) {
        const by_id key = {.id = hits[i].id};
        const by_id *const at = bsearch(&key, index, gallery->n, sizeof *index, compare_ids);
        if (!at)
            continue;
        kd_report_hit *const hit = &row->hits[row->n_hits++];
        fill(g, hit, gallery, gallery->rows[at->row], side);
        hit->score = hits[i].score;
        hit->right = gallery->classes[at->row] == queries->classes[q];
        hit->right_super = gallery->supers[at->row] == queries->supers[q];
    }
}

kd_status rows_make(running_job *r, const shown *s, const embedded *queries,
    const embedded *gallery, const kd_hit *hits, const uint32_t *counts, kd_report_row **rows,
    kd_error *err)
{
    *rows = calloc(s->n ? s->n : 1, sizeof **rows);
    by_id *const index = malloc((gallery->n ? gallery->n : 1) * sizeof *index);
    if (!*rows || !index) {
        free(index);
        free(*rows);
        *rows = NULL;
        return kd_error_memory(err, "the picture rows");
    }
    for (size_t i = 0; i < gallery->n; i++)
        index[i] = (by_id){gallery->ids[i], i};
    qsort(index, gallery->n, sizeof *index, compare_ids);
    kd_status status = KD_OK;
    for (size_t i = 0; i < s->n && status == KD_OK; i++) {
        const size_t q = find_row(queries, s->items[i]);
        status = job_step(r, err); /* a row is six pictures */
        if (q != SIZE_MAX && status == KD_OK)
            make_row(r->gateway, &(*rows)[i], queries, q, gallery, index, hits + q * KD_EVAL_HITS,
                counts[q], s->side);
    }
    free(index);
    if (status != KD_OK) {
        rows_free(*rows, s->n);
        *rows = NULL;
    }
    return status;
}

void rows_free(kd_report_row *rows, size_t n)
{
    for (size_t i = 0; rows && i < n; i++) {
        free((char *)rows[i].strip);
        free((char *)rows[i].query.picture);
        for (size_t j = 0; j < rows[i].n_hits; j++)
            free((char *)rows[i].hits[j].picture);
    }
    free(rows);
}
