/* kindred-trainer: publishes models and trains them. */
#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/nn/nn.h"
#include "lib/vector/vector.h"
#include "services/trainer/service.h"
#include "services/trainer/worker.h"

/* Half-made files of a process that was killed are of no use to anyone. */
static kd_status make_folders(trainer *t, kd_error *err)
{
    const kd_process *const process = t->process;
    kd_status status = kd_service_folder(process, "models", &t->models_dir, err);
    if (status == KD_OK)
        status = kd_service_folder(process, "runs", &t->runs_dir, err);
    if (status == KD_OK)
        status = kd_service_folder(process, "run/tmp", &t->tmp_dir, err);
    if (status == KD_OK)
        status = kd_remove_tree(t->tmp_dir, err);
    if (status == KD_OK)
        status = kd_make_dirs(t->tmp_dir, err);
    return status;
}

static kd_status start(kd_process *process, kd_error *err)
{
    trainer *const made = calloc(1, sizeof *made);
    if (!made)
        return kd_error_memory(err, "the trainer");
    process->state = made;
    made->process = process;
    (void)pthread_mutex_init(&made->files, NULL);
    kd_status status = kd_vector_init(err);
    if (status != KD_OK)
        return status;
    kd_nn_set_threads(process->threads);
    status = make_folders(made, err);
    if (status == KD_OK)
        status = service_add(made, err);
    if (status == KD_OK)
        status = worker_start(&made->worker, made, err);
    return status;
}

static void drain(kd_process *process)
{
    trainer *const t = process->state;
    if (t && t->worker)
        worker_ask_stop(t->worker);
}

static void stop(kd_process *process)
{
    trainer *const t = process->state;
    if (!t)
        return;
    worker_stop(t->worker);
    free(t->models_dir);
    free(t->runs_dir);
    free(t->tmp_dir);
    (void)pthread_mutex_destroy(&t->files);
    free(t);
}

int main(int argc, const char **argv)
{
    const kd_service_spec spec = {
        .name = "trainer",
        .help = "Publishes models, and trains them as jobs from the queue.",
        .listen = "127.0.0.1:7703",
        .http_listen = "127.0.0.1:7783",
        .takes = KD_TAKES_REDIS | KD_TAKES_DATASETS | KD_TAKES_THREADS,
        .server = KD_SERVER_OPTIONS_INIT,
        .start = start,
        .drain = drain,
        .stop = stop,
    };
    return kd_service_main(argc, argv, &spec);
}
