/* kindred-embedder: images in, embeddings out. */
#include <unistd.h>

#include "lib/base/log.h"
#include "services/embedder/service.h"

static kd_status start(kd_process *process, kd_error *err)
{
    char *models_dir = NULL;
    pipeline *p = NULL;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned threads = process->threads ? process->threads : cores > 0 ? (unsigned)cores : 1;
    kd_nn_set_threads(threads);
    kd_status status = kd_service_folder(process, "models", &models_dir, err);
    if (status == KD_OK)
        status = pipeline_new(&p, models_dir,
            &(pipeline_options){.redis = process->no_cache ? NULL : process->redis,
                .cache_form = process->cache_float16 ? KD_CACHE_FLOAT16 : KD_CACHE_FLOAT32,
                .precision = process->bfloat16 ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32,
                .model_memory = process->model_memory,
                .max_wait_ms = process->max_wait_ms,
                .threads = threads,
                .metrics = process->metrics},
            err);
    if (status == KD_OK) {
        process->state = p;
        status = service_add(process->server, p, err);
        KD_LOG(KD_LOG_INFO, "runtime", KD_STR("nn", kd_nn_describe()),
            KD_STR("precision", process->bfloat16 ? "bfloat16" : "float32"));
    }
    return status;
}

static void drain(kd_process *process)
{
    if (process->state)
        pipeline_drain(process->state);
}

static void stop(kd_process *process)
{
    pipeline_free(process->state);
}

int main(int argc, char **argv)
{
    const kd_service_spec spec = {.name = "embedder",
        .help = "Runs ResNet18 on images: kindred.v1.EmbedderService.",
        .listen = "127.0.0.1:7701",
        .http_listen = "127.0.0.1:7781",
        .takes = KD_TAKES_REDIS | KD_TAKES_THREADS | KD_TAKES_EMBEDDER,
        .server = KD_SERVER_OPTIONS_INIT,
        .start = start,
        .drain = drain,
        .stop = stop};
    return kd_service_main(argc, (const char **)argv, &spec);
}
