/* The forward thread: fills batches of one model, runs them, answers. LibTorch keeps a team of
 * threads for each thread that calls it, so this one alone does; models are loaded and unloaded
 * here too. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "services/embedder/pipeline.h"
#include "services/embedder/service.h"

typedef struct runner {
    pipeline *p;
    work *held; /* popped, but of another model than the batch: first in the next */
    slot *batch[KD_EMBEDDER_MAX_BATCH];
    size_t n;
    float *pixels; /* of a batch, grown to the largest model's */
    size_t pixels_size;
    float values[KD_EMBEDDER_MAX_BATCH * KD_NN_MAX_DIM];
    size_t dim; /* of those */
} runner;

/* ---- Models ---- */

static struct loaded_model *find_loaded(pipeline *p, const char *id)
{
    for (size_t i = 0; i < p->n_loaded; i++)
        if (strcmp(p->loaded[i].model.id, id) == 0)
            return &p->loaded[i];
    return NULL;
}

static void unload(pipeline *p, struct loaded_model *m)
{
    KD_LOG(
        KD_LOG_INFO, "model_unloaded", KD_STR("model", m->model.id), KD_STR("name", m->model.name));
    kd_forward_free(m->forward);
    kd_model_clear(&m->model);
    pthread_mutex_lock(&p->mutex);
    *m = p->loaded[--p->n_loaded];
    pthread_mutex_unlock(&p->mutex);
    kd_gauge_set(p->models, (double)p->n_loaded);
}

void runner_unload_all(pipeline *p)
{
    while (p->n_loaded > 0)
        unload(p, &p->loaded[0]);
}

static void make_room(pipeline *p)
{
    if (p->n_loaded < KD_EMBEDDER_MAX_MODELS)
        return;
    struct loaded_model *oldest = &p->loaded[0];
    for (size_t i = 1; i < p->n_loaded; i++)
        if (p->loaded[i].used_ns < oldest->used_ns)
            oldest = &p->loaded[i];
    unload(p, oldest);
}

/* Reads the weights and freezes them; *model stays the caller's. */
static kd_status load(pipeline *p, const kd_model *model, struct loaded_model **out, kd_error *err)
{
    kd_net *net = NULL;
    kd_forward *forward = NULL;
    const int64_t begun = kd_mono_ms();
    char *const path = kd_models_weights_path(p->models_dir, model->id);
    kd_status status = path ? kd_net_load(&net, path, err) : kd_error_memory(err, "a path");
    if (status == KD_OK && kd_net_dim(net) != model->dim)
        status = kd_error_set(err, KD_DATA_LOSS,
            "model %s is said to have %u values in an embedding, its weights give %u", model->id,
            model->dim, kd_net_dim(net));
    if (status == KD_OK)
        status =
            kd_forward_new(&forward, net, model->preprocess.image_size, KD_EMBEDDER_MAX_BATCH, err);
    kd_net_free(net);
    free(path);
    if (status != KD_OK)
        return status;
    make_room(p);
    pthread_mutex_lock(&p->mutex);
    struct loaded_model *const m = &p->loaded[p->n_loaded++];
    m->model = *model;
    m->model.training = NULL;
    m->forward = forward;
    m->used_ns = kd_mono_ns();
    pthread_mutex_unlock(&p->mutex);
    kd_gauge_set(p->models, (double)p->n_loaded);
    KD_LOG(KD_LOG_INFO, "model_loaded", KD_STR("model", model->id), KD_STR("name", model->name),
        KD_INT("ms", kd_mono_ms() - begun));
    *out = m;
    return KD_OK;
}

static kd_status get(pipeline *p, const kd_model *model, struct loaded_model **out, kd_error *err)
{
    struct loaded_model *const m = find_loaded(p, model->id);
    if (!m)
        return load(p, model, out, err);
    pthread_mutex_lock(&p->mutex);
    m->used_ns = kd_mono_ns();
    pthread_mutex_unlock(&p->mutex);
    *out = m;
    return KD_OK;
}

size_t pipeline_loaded(pipeline *p, kd_model *models)
{
    int64_t used[KD_EMBEDDER_MAX_MODELS];
    size_t n = 0;
    pthread_mutex_lock(&p->mutex);
    for (; n < p->n_loaded; n++) { /* insertion by time of use */
        size_t at = n;
        for (; at > 0 && used[at - 1] < p->loaded[n].used_ns; at--) {
            used[at] = used[at - 1];
            models[at] = models[at - 1];
        }
        used[at] = p->loaded[n].used_ns;
        models[at] = p->loaded[n].model;
    }
    pthread_mutex_unlock(&p->mutex);
    return n;
}

static void obey(pipeline *p, work *w)
{
    kd_error err = KD_ERROR_INIT;
    if (w->type == WORK_LOAD) {
        struct loaded_model *m;
        if (get(p, &w->model, &m, &err) == KD_OK)
            service_reply_loaded(w->call, &w->model);
        else
            kd_call_fail(w->call, &err);
    } else {
        struct loaded_model *const m = find_loaded(p, w->model.id);
        if (m) {
            unload(p, m);
            service_reply_unloaded(w->call);
        } else {
            (void)kd_error_set(&err, KD_NOT_FOUND, "model '%s' is not in memory", w->model.name);
            kd_call_fail(w->call, &err);
        }
    }
    kd_model_clear(&w->model);
    free(w);
}

/* ---- Batches ---- */

/* Takes the image into the batch, unless nobody waits for it any more. */
static void take(runner *r, work *w)
{
    slot *const s = w->image;
    free(w);
    if (pipeline_wanted(s))
        r->batch[r->n++] = s;
    else
        pipeline_land(s, NULL);
}

/* Fills the batch: what is there at once; then, while images are being decoded, a little longer. */
static void fill(runner *r, work *first)
{
    const int64_t until = kd_mono_ms() + KD_EMBEDDER_MAX_DELAY_MS;
    r->n = 0;
    char model[KD_MODEL_ID_TEXT];
    (void)kd_copy(model, sizeof model, first->image->owner->model.id);
    take(r, first);
    while (r->n > 0 && r->n < KD_EMBEDDER_MAX_BATCH) {
        work *w = kd_queue_pop(r->p->ready, 0);
        if (!w) {
            const int64_t left = until - kd_mono_ms();
            if (left <= 0 || atomic_load(&r->p->decoding) == 0)
                return;
            w = kd_queue_pop(r->p->ready, left);
            if (!w)
                return;
        }
        if (w->type != WORK_IMAGE || strcmp(w->image->owner->model.id, model) != 0) {
            r->held = w;
            return;
        }
        take(r, w);
    }
}

static kd_status run_batch(runner *r, kd_error *err)
{
    struct loaded_model *m = NULL;
    kd_status status = get(r->p, &r->batch[0]->owner->model, &m, err);
    if (status != KD_OK)
        return status;
    const size_t side = m->model.preprocess.image_size, size = side * side * 3;
    if (!r->pixels || r->pixels_size < size) { /* a model of larger images than any before */
        free(r->pixels);
        r->pixels = malloc(KD_EMBEDDER_MAX_BATCH * size * sizeof *r->pixels);
        r->pixels_size = r->pixels ? size : 0;
        if (!r->pixels)
            return kd_error_memory(err, "a batch");
    }
    for (size_t i = 0; i < r->n; i++) {
        memcpy(r->pixels + i * size, r->batch[i]->input, size * sizeof *r->pixels);
        free(r->batch[i]->input);
        r->batch[i]->input = NULL;
    }
    r->dim = m->model.dim;
    const int64_t begun = kd_mono_ns();
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): writing values leaves pixels where they are */
    status = kd_forward_run(m->forward, r->pixels, r->n, r->values, err);
    kd_histogram_observe(r->p->forward_seconds, (double)(kd_mono_ns() - begun) / 1e9);
    kd_counter_add(r->p->batches_total, 1);
    kd_counter_add(r->p->computed_total, r->n);
    return status;
}

static void forward(runner *r)
{
    kd_error err = KD_ERROR_INIT;
    const kd_status status = run_batch(r, &err);
    if (status != KD_OK)
        kd_log_error(KD_LOG_ERROR, "forward_failed", &err);
    for (size_t i = 0; i < r->n; i++) {
        slot *const s = r->batch[i];
        if (status == KD_OK)
            memcpy(s->values, r->values + i * r->dim, r->dim * sizeof *s->values);
        pipeline_land(s, status == KD_OK ? NULL : &err);
    }
}

void *runner_main(void *arg)
{
    runner r = {.p = arg};
    for (;;) {
        work *const w = r.held ? r.held : kd_queue_pop(r.p->ready, -1);
        r.held = NULL;
        if (!w)
            break;
        if (w->type != WORK_IMAGE) {
            obey(r.p, w);
            continue;
        }
        fill(&r, w);
        if (r.n > 0)
            forward(&r);
    }
    free(r.pixels);
    return NULL;
}
