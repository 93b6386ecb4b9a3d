/* Loading a model: the thread that does it, and the room that is made for it. */
#include "services/embedder/models_internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

#define MIB (1024.0 * 1024)

/* What a model takes at least once it is loaded, with as much for its activations as a pixel of its
 * largest batch has cost in float32. */
static uint64_t least_bytes_of(const model_set *m, const kd_model *model)
{
    const uint64_t side = model->preprocess.image_size;
    const uint64_t all = model->bytes + m->options.max_batch * side * side * 92;
    return m->options.precision == KD_PRECISION_BFLOAT16 ? all / 2 : all;
}

static kd_status check_bytes(const model_set *m, const served_model *model, kd_error *err)
{
    if (model->bytes <= m->options.memory)
        return KD_OK;
    return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
        "model '%s' takes %.0f MiB, and models may take %.0f MiB (--model-memory)",
        model->about.name, (double)model->bytes / MIB, (double)m->options.memory / MIB);
}

static kd_status read_weights(
    const model_set *m, const kd_model *model, kd_forward **out, kd_error *err)
{
    kd_net *net = NULL;
    char *const path = kd_models_weights_path(m->options.dir, model->id);
    kd_status status = path ? kd_net_load(&net, path, err) : kd_error_memory(err, "a path");
    if (status == KD_OK && kd_net_dim(net) != model->dim)
        status = kd_error_set(err, KD_DATA_LOSS,
            "model %s is said to have %u values in an embedding, its weights give %u", model->id,
            model->dim, kd_net_dim(net));
    if (status == KD_OK)
        status = kd_forward_new_in(out, net, model->preprocess.image_size, m->options.max_batch,
            m->options.precision, err);
    kd_net_free(net);
    free(path);
    return status;
}

/* Mutex held. */
static served_model *least_recently_used(const model_set *m)
{
    served_model *oldest = NULL;
    for (served_model *one = m->first; one; one = one->next)
        if (one->forward && !one->going && one->users == 0 &&
            (!oldest || one->used_ns < oldest->used_ns))
            oldest = one;
    return oldest;
}

/* Mutex held. What is left for one more when all go that nobody uses, but for entries to spare. */
static bool fits_without_idle(const model_set *m, uint64_t bytes)
{
    size_t n = 1;
    for (const served_model *one = m->first; one; one = one->next) {
        if (!one->forward || (one->users == 0 && !one->going))
            continue;
        bytes += one->bytes;
        n++;
    }
    return bytes <= m->options.memory && n <= KD_EMBEDDER_MAX_MODELS;
}

/* Mutex held. Waits until enough models are out of use. */
static kd_status wait_for_room(model_set *m, const served_model *model, kd_error *err)
{
    const struct timespec until = kd_mono_after(KD_EMBEDDER_ROOM_MS);
    while (!m->closing && !fits_without_idle(m, model->bytes))
        if (pthread_cond_timedwait(&m->changed, &m->mutex, &until) != 0)
            return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
                "model '%s' takes %.0f MiB of the %.0f MiB that models may take, and those in "
                "memory are in use; try again later",
                model->about.name, (double)model->bytes / MIB, (double)m->options.memory / MIB);
    return m->closing ? kd_error_set(err, KD_UNAVAILABLE, "the embedder is shutting down") : KD_OK;
}

/* Mutex held. Makes room: gone are linked, to be destroyed without it. */
static served_model *make_room(model_set *m, uint64_t bytes)
{
    served_model *gone = NULL, *oldest;
    size_t n = 1;
    for (const served_model *one = m->first; one; one = one->next)
        n += one->forward != NULL;
    while ((model_set_bytes(m) + bytes > m->options.memory || n > KD_EMBEDDER_MAX_MODELS) &&
           (oldest = least_recently_used(m)) != NULL) {
        (void)model_set_let_go(m, oldest); /* out of the table: nobody uses it */
        oldest->next = gone;
        gone = oldest;
        n--;
    }
    return gone;
}

/* Mutex held. Whoever had the name answers to it no longer. */
static served_model *drop_namesakes(model_set *m, const served_model *model, served_model *gone)
{
    for (served_model *one = m->first, *next; one; one = next) {
        next = one->next;
        if (one == model || one->going || !one->forward ||
            strcmp(one->about.name, model->about.name) != 0)
            continue;
        if (model_set_let_go(m, one)) {
            one->next = gone;
            gone = one;
        }
    }
    return gone;
}

/* Mutex held. */
static void tell_namesakes(model_set *m, const served_model *model)
{
    for (served_model *one = m->first; one; one = one->next)
        if (one->forward && strcmp(one->about.name, model->about.name) == 0)
            one->successor_ms = kd_mono_ms() + KD_EMBEDDER_RELOAD_MS;
}

static kd_status load(model_set *m, served_model *model, kd_forward **out, kd_error *err)
{
    model->bytes = least_bytes_of(m, &model->about);
    kd_status status = check_bytes(m, model, err);
    if (status != KD_OK)
        return status;
    pthread_mutex_lock(&m->mutex);
    status = wait_for_room(m, model, err); /* before the work, which may be in vain */
    pthread_mutex_unlock(&m->mutex);
    if (status == KD_OK)
        status = read_weights(m, &model->about, out, err);
    if (status != KD_OK)
        return status;
    model->bytes = kd_forward_bytes(*out);
    return check_bytes(m, model, err);
}

/* A stream that began before its model's name was another's may load it once more. */
static bool has_its_name(const model_set *m, const kd_model *model)
{
    kd_model found;
    kd_error ignored;
    const bool has = kd_models_find(m->options.dir, model->name, &found, &ignored) == KD_OK &&
                     strcmp(found.id, model->id) == 0;
    kd_model_clear(&found);
    return has;
}

/* With the mutex held: afterwards the model may be gone at once. */
static void tell_log(const served_model *model, int64_t ms, const kd_error *why)
{
    if (why->status == KD_OK)
        KD_LOG(KD_LOG_INFO, "model_loaded", KD_STR("model", model->about.id),
            KD_STR("name", model->about.name), KD_INT("ms", ms),
            KD_INT("mib", (int64_t)((double)model->bytes / MIB)));
    else
        kd_log_error(KD_LOG_ERROR, "model_not_loaded", why);
}

/* The entry becomes a model in memory, or goes; those who wait are told. */
static void serve_or_fail(model_set *m, served_model *model)
{
    const int64_t begun = kd_mono_ms();
    kd_forward *forward = NULL;
    served_model *gone = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = load(m, model, &forward, &err);
    const bool named = status == KD_OK && has_its_name(m, &model->about);
    pthread_mutex_lock(&m->mutex);
    if (status == KD_OK)
        status = wait_for_room(m, model, &err);
    if (status == KD_OK) {
        gone = make_room(m, model->bytes);
        model->forward = forward;
        model->used_ns = kd_mono_ns();
        if (named && !model->going)
            gone = drop_namesakes(m, model, gone);
        kd_counter_add(m->loads, 1);
    } else {
        model->going = true;
        tell_namesakes(m, model);
        kd_counter_add(m->failures, 1);
    }
    model_wait *wait = model->waiting;
    model->waiting = NULL;
    for (const model_wait *one = wait; one; one = one->next) {
        m->parked--;
        model->users += status == KD_OK;
    }
    const bool unused = model->going && model->users == 0;
    if (unused)
        model_set_take_out(m, model);
    model_set_show(m);
    tell_log(model, kd_mono_ms() - begun, &err);
    pthread_mutex_unlock(&m->mutex);
    if (status != KD_OK)
        kd_forward_free(forward);
    while (wait) {
        model_wait *const next = wait->next; /* before: it may be gone at once */
        wait->done(wait, status == KD_OK ? model : NULL, &err);
        wait = next;
    }
    if (unused)
        served_model_destroy(model);
    while (gone) {
        served_model *const next = gone->next;
        served_model_destroy(gone);
        gone = next;
    }
}

/* A forward in the precision, on a net of no use: whether this machine has one. */
static kd_status probe(const model_set *m, kd_error *err)
{
    kd_net *net = NULL;
    kd_forward *forward = NULL;
    if (m->options.precision == KD_PRECISION_FLOAT32)
        return KD_OK;
    kd_status status = kd_net_new(&net, 1, err);
    if (status == KD_OK)
        status =
            kd_forward_new_in(&forward, net, KD_NN_MIN_IMAGE_SIZE, 1, m->options.precision, err);
    kd_forward_free(forward);
    kd_net_free(net);
    return status;
}

static served_model *next_to_load(const model_set *m)
{
    served_model *one = m->first;
    while (one && one->forward)
        one = one->next;
    return one;
}

void *loader_main(void *arg)
{
    model_set *const m = arg;
    served_model *model;
    m->probe_status = probe(m, &m->probe_error);
    pthread_mutex_lock(&m->mutex);
    m->probed = true;
    pthread_cond_broadcast(&m->changed);
    for (;;) {
        while (!(model = next_to_load(m)) && !m->closing)
            pthread_cond_wait(&m->changed, &m->mutex);
        if (!model)
            break;
        pthread_mutex_unlock(&m->mutex);
        serve_or_fail(m, model);
        pthread_mutex_lock(&m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
    return NULL;
}
