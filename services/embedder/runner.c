/* The forward thread: takes batches, runs them, answers. LibTorch keeps a team of threads for each
 * thread that calls it: this one and the loader's. */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "services/embedder/pipeline.h"

typedef struct runner {
    pipeline *p;
    batch_run run;
    int64_t ended_ns; /* the last batch */
    float values[KD_EMBEDDER_MAX_BATCH * KD_NN_MAX_DIM];
} runner;

/* Those whose clients have gone are not computed. */
static void drop_unwanted(batch_run *run)
{
    for (size_t i = 0; i < run->n;) {
        slot *const s = run->images[i];
        if (pipeline_wanted(s)) {
            i++;
        } else {
            batches_drop(run, i);
            pipeline_land(s, NULL);
        }
    }
}

/* What an image costs, decoding and all, by which the way in tells how long others would wait. The
 * time since the last batch counts, if there was work all the while. */
static void measure(runner *r, int64_t begun_ns)
{
    pipeline *const p = r->p;
    const int64_t now = kd_mono_ns(), n = (int64_t)r->run.n;
    const int64_t cost = (now - (r->run.after_idle ? begun_ns : r->ended_ns)) / n;
    const int64_t before = atomic_load(&p->image_ns);
    atomic_store(&p->image_ns, before == 0 ? cost : before + (cost - before) / 4);
    r->ended_ns = now;
}

static kd_status forward(runner *r, kd_error *err)
{
    slot *const first = r->run.images[0];
    const int64_t begun = kd_mono_ns();
    const kd_status status = kd_forward_run(
        served_model_forward(first->served), r->run.pixels, r->run.n, r->values, err);
    kd_histogram_observe(r->p->forward_seconds, (double)(kd_mono_ns() - begun) / 1e9);
    kd_histogram_observe(r->p->batch_images, (double)r->run.n);
    kd_counter_add(r->p->batches_total, 1);
    kd_counter_add(r->p->computed_total, r->run.n);
    measure(r, begun);
    return status;
}

static void answer(runner *r, const kd_error *why)
{
    const size_t dim = ((const slot *)r->run.images[0])->owner->model.dim;
    for (size_t i = 0; i < r->run.n; i++) {
        slot *const s = r->run.images[i];
        if (!why)
            memcpy(s->values, r->values + i * dim, dim * sizeof *s->values);
        pipeline_land(s, why);
    }
}

void *runner_main(void *arg)
{
    runner r = {.p = arg};
    batch_patience patience = {.delay_ms = KD_EMBEDDER_MAX_DELAY_MS};
    while (batches_take(r.p->batches, &patience, &r.run)) {
        kd_error err = KD_ERROR_INIT;
        kd_status status = KD_OK;
        drop_unwanted(&r.run);
        if (r.run.n > 0)
            status = forward(&r, &err);
        batches_done(r.p->batches, &r.run); /* before the answers: decoders go on */
        if (status != KD_OK)
            kd_log_error(KD_LOG_ERROR, "forward_failed", &err);
        if (r.run.n > 0)
            answer(&r, status == KD_OK ? NULL : &err);
        patience.image_ns = atomic_load(&r.p->image_ns);
    }
    return NULL;
}
