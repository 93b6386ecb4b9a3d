#include "services/embedder/models_internal.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

const kd_model *served_model_about(const served_model *model)
{
    return &model->about;
}

kd_forward *served_model_forward(served_model *model)
{
    return model->forward;
}

/* ---- The table; mutex held ---- */

static served_model *find(const model_set *m, const char *id)
{
    for (served_model *one = m->first; one; one = one->next)
        if (!one->going && strcmp(one->about.id, id) == 0)
            return one;
    return NULL;
}

uint64_t model_set_bytes(const model_set *m)
{
    uint64_t bytes = 0;
    for (const served_model *one = m->first; one; one = one->next)
        bytes += one->forward ? one->bytes : 0;
    return bytes;
}

void model_set_show(model_set *m)
{
    size_t n = 0;
    for (const served_model *one = m->first; one; one = one->next)
        n += one->forward != NULL;
    kd_gauge_set(m->count, (double)n);
    kd_gauge_set(m->bytes, (double)model_set_bytes(m));
}

void model_set_take_out(model_set *m, served_model *model)
{
    served_model **place = &m->first;
    while (*place != model)
        place = &(*place)->next;
    *place = model->next;
    model_set_show(m);
    pthread_cond_broadcast(&m->changed);
}

void served_model_destroy(served_model *model)
{
    kd_forward_free(model->forward);
    free(model);
}

bool model_set_let_go(model_set *m, served_model *model)
{
    model->going = true;
    if (!model->forward) /* being loaded: the loader sees it */
        return false;
    kd_counter_add(m->unloads, 1);
    KD_LOG(KD_LOG_INFO, "model_unloaded", KD_STR("model", model->about.id),
        KD_STR("name", model->about.name));
    if (model->users > 0)
        return false;
    model_set_take_out(m, model);
    return true;
}

/* An entry to be loaded, or NULL. */
static served_model *add(model_set *m, const kd_model *model, kd_error *err)
{
    size_t n = 0;
    served_model **end = &m->first;
    for (; *end; end = &(*end)->next)
        n += !(*end)->forward;
    if (m->closing) {
        (void)kd_error_set(err, KD_UNAVAILABLE, "the embedder is shutting down");
        return NULL;
    }
    if (n >= KD_EMBEDDER_MAX_MODELS) {
        (void)kd_error_set(
            err, KD_RESOURCE_EXHAUSTED, "%zu models are being loaded; try again later", n);
        return NULL;
    }
    served_model *const one = calloc(1, sizeof *one);
    if (!one) {
        (void)kd_error_memory(err, "a model");
        return NULL;
    }
    one->about = *model;
    one->about.training = NULL;
    one->waiting_end = &one->waiting;
    one->used_ns = kd_mono_ns();
    *end = one;
    pthread_cond_broadcast(&m->changed);
    return one;
}

/* ---- Use ---- */

kd_status model_set_use(
    model_set *m, const kd_model *model, model_wait *wait, served_model **out, kd_error *err)
{
    kd_status status = KD_OK;
    *out = NULL;
    pthread_mutex_lock(&m->mutex);
    served_model *one = find(m, model->id);
    if (one && one->forward) {
        one->used_ns = kd_mono_ns();
        one->users++;
        *out = one;
    } else if (m->parked >= KD_EMBEDDER_MAX_PARKED) {
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "model '%s' is being loaded, and %u images wait already; try again later", model->name,
            KD_EMBEDDER_MAX_PARKED);
    } else {
        if (!one)
            one = add(m, model, err);
        if (one) {
            wait->next = NULL;
            *one->waiting_end = wait;
            one->waiting_end = &wait->next;
            m->parked++;
        } else {
            status = err->status;
        }
    }
    pthread_mutex_unlock(&m->mutex);
    return status;
}

void model_set_release(model_set *m, served_model *model)
{
    bool gone = false;
    pthread_mutex_lock(&m->mutex);
    if (--model->users == 0) {
        gone = model->going;
        if (gone)
            model_set_take_out(m, model);
        else
            pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->mutex);
    if (gone)
        served_model_destroy(model);
}

void model_set_stand_in(model_set *m, const char *asked, kd_model *model)
{
    kd_error ignored;
    if (strcmp(asked, model->id) == 0)
        return;
    pthread_mutex_lock(&m->mutex);
    const served_model *const wanted = find(m, model->id);
    served_model *before = wanted && wanted->forward ? NULL : m->first;
    while (before &&
           (!before->forward || before->going || strcmp(before->about.name, model->name) != 0))
        before = before->next;
    if (before) {
        if (!wanted && kd_mono_ms() >= before->successor_ms)
            (void)add(m, model, &ignored);
        kd_model_clear(model);
        *model = before->about;
    }
    pthread_mutex_unlock(&m->mutex);
}

bool model_set_unload(model_set *m, const char *id_or_name)
{
    bool gone = false;
    pthread_mutex_lock(&m->mutex);
    served_model *one = find(m, id_or_name);
    for (served_model *next = m->first; !one && next; next = next->next)
        if (!next->going && strcmp(next->about.name, id_or_name) == 0)
            one = next;
    if (one)
        gone = model_set_let_go(m, one);
    pthread_mutex_unlock(&m->mutex);
    if (gone)
        served_model_destroy(one);
    return one != NULL;
}

uint64_t model_set_memory(const model_set *m)
{
    return m->options.memory;
}

size_t model_set_list(model_set *m, kd_model *list, uint64_t *bytes)
{
    int64_t used[KD_EMBEDDER_MAX_MODELS];
    size_t n = 0;
    pthread_mutex_lock(&m->mutex);
    for (const served_model *one = m->first; one && n < KD_EMBEDDER_MAX_MODELS; one = one->next) {
        size_t at = n;
        if (!one->forward || one->going)
            continue;
        for (; at > 0 && used[at - 1] < one->used_ns; at--) { /* insertion by time of use */
            used[at] = used[at - 1];
            list[at] = list[at - 1];
            bytes[at] = bytes[at - 1];
        }
        used[at] = one->used_ns;
        list[at] = one->about;
        bytes[at] = one->bytes;
        n++;
    }
    pthread_mutex_unlock(&m->mutex);
    return n;
}

/* ---- Life ---- */

kd_status model_set_new(model_set **out, const model_set_options *options, kd_error *err)
{
    kd_metrics *const metrics = options->metrics;
    *out = NULL;
    model_set *const m = calloc(1, sizeof *m);
    if (!m)
        return kd_error_memory(err, "the models");
    m->options = *options;
    pthread_mutex_init(&m->mutex, NULL);
    kd_cond_init(&m->changed);
    m->count = kd_metrics_gauge(metrics, "kindred_embed_models", "", "Models in memory");
    m->bytes = kd_metrics_gauge(
        metrics, "kindred_embed_model_bytes", "", "Memory that they take, as it is accounted for");
    m->loads = kd_metrics_counter(
        metrics, "kindred_embed_model_loads_total", "", "Models that were loaded");
    m->failures = kd_metrics_counter(
        metrics, "kindred_embed_model_failures_total", "", "Models that could not be loaded");
    m->unloads = kd_metrics_counter(metrics, "kindred_embed_model_unloads_total", "",
        "Models that went: asked to, to make room, or for one that has their name");
    if (pthread_create(&m->thread, NULL, loader_main, m) != 0) {
        model_set_free(m);
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the loader thread");
    }
    (void)pthread_setname_np(m->thread, "loader");
    m->started = true;
    pthread_mutex_lock(&m->mutex);
    while (!m->probed)
        pthread_cond_wait(&m->changed, &m->mutex);
    pthread_mutex_unlock(&m->mutex);
    if (m->probe_status != KD_OK) {
        *err = m->probe_error;
        model_set_free(m);
        return err->status;
    }
    *out = m;
    return KD_OK;
}

void model_set_close(model_set *m)
{
    if (!m->started || m->joined)
        return;
    pthread_mutex_lock(&m->mutex);
    m->closing = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->mutex);
    pthread_join(m->thread, NULL);
    m->joined = true;
}

void model_set_free(model_set *m)
{
    if (!m)
        return;
    model_set_close(m);
    while (m->first) {
        served_model *const one = m->first;
        assert(one->users == 0);
        m->first = one->next;
        served_model_destroy(one);
    }
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->mutex);
    free(m);
}
