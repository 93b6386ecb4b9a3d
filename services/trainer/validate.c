#include "services/trainer/validate.h"

#include <stdlib.h>

#include "lib/vector/vector.h"

typedef struct rows {
    uint32_t *images;  /* to embed, then those that could be: validation first */
    float *vectors;    /* n × KD_NN_DIM */
    uint64_t *numbers; /* 0, 1, …: the rows' ids */
    kd_hit *hits;      /* one for each row */
    uint32_t *counts;
    size_t n;
} rows;

static void rows_free(rows *r)
{
    free(r->images);
    free(r->vectors);
    free(r->numbers);
    free(r->hits);
    free(r->counts);
}

static kd_status rows_make(rows *r, const train_split *split, kd_error *err)
{
    const size_t n = split->n_validation + split->n_gallery;
    r->images = calloc(n, sizeof *r->images);
    r->vectors = calloc(n, KD_NN_DIM * sizeof *r->vectors);
    r->numbers = calloc(n, sizeof *r->numbers);
    r->hits = calloc(n, sizeof *r->hits);
    r->counts = calloc(n, sizeof *r->counts);
    if (!r->images || !r->vectors || !r->numbers || !r->hits || !r->counts)
        return kd_error_memory(err, "the validation's embeddings");
    for (size_t i = 0; i < n; i++) {
        r->images[i] = i < split->n_validation ? split->validation[i]
                                               : split->gallery[i - split->n_validation];
        r->numbers[i] = i;
    }
    r->n = n;
    return KD_OK;
}

static size_t batch_size(const rows *r, size_t from)
{
    return r->n - from < VALIDATE_BATCH ? r->n - from : VALIDATE_BATCH;
}

/* Embeds the rows, those that can't be read fall out. *n_queries: validation rows that are left. */
static kd_status embed(
    const validation *v, kd_forward *forward, rows *r, size_t *n_queries, kd_error *err)
{
    kd_status status = KD_OK;
    size_t begun = 0, kept = 0;
    *n_queries = 0;
    for (size_t taken = 0; status == KD_OK && taken < r->n; taken += batch_size(r, taken)) {
        for (; begun < r->n && loader_begun(v->loader) < LOADER_AHEAD;
            begun += batch_size(r, begun))
            loader_begin(v->loader, r->images + begun, batch_size(r, begun), LOADER_PLAIN, 0);
        loader_batch batch;
        loader_take(v->loader, &batch);
        if (batch.n > 0)
            status =
                kd_forward_run(forward, batch.pixels, batch.n, r->vectors + kept * KD_NN_DIM, err);
        /* Rows are kept in the order of images, whose place behind `kept` was read already. */
        size_t queries = v->split->n_validation > taken ? v->split->n_validation - taken : 0;
        const size_t size = batch_size(r, taken);
        const uint32_t *const asked = r->images + taken;
        for (size_t i = 0, j = 0; i < size && j < batch.n; i++) {
            if (asked[i] != batch.images[j])
                continue;
            if (i < queries)
                (*n_queries)++;
            r->images[kept++] = batch.images[j++];
        }
        loader_give_back(v->loader);
        if (status == KD_OK)
            status = v->tick(v->tick_arg, taken + size, err);
    }
    loader_drop(v->loader);
    r->n = kept;
    return status;
}

kd_status validate_recall(const validation *v, const kd_net *net, double *recall, kd_error *err)
{
    rows r = {0};
    kd_forward *forward = NULL;
    size_t n_queries = 0, right = 0;
    kd_status status = rows_make(&r, v->split, err);
    if (status == KD_OK)
        status = kd_forward_new(&forward, net, v->image_size, VALIDATE_BATCH, err);
    if (status == KD_OK)
        status = embed(v, forward, &r, &n_queries, err);
    kd_forward_free(forward);
    if (status == KD_OK && n_queries == 0)
        status = kd_error_set(
            err, KD_FAILED_PRECONDITION, "none of the validation images can be read any more");
    const kd_topk topk = {.queries = r.vectors,
        .n_queries = n_queries,
        .gallery = r.vectors,
        .ids = r.numbers,
        .n_gallery = r.n,
        .dim = KD_NN_DIM,
        .k = 1,
        .skip = r.numbers};
    if (status == KD_OK)
        status = kd_topk_run(&topk, r.hits, r.counts, err);
    for (size_t i = 0; status == KD_OK && i < n_queries; i++)
        right += r.counts[i] > 0 && v->labels[r.images[r.hits[i].id]] == v->labels[r.images[i]];
    if (status == KD_OK)
        *recall = (double)right / (double)n_queries;
    rows_free(&r);
    return status;
}
