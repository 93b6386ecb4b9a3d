/* What a run keeps on disk: checkpoint, the best weights, log, event file, page. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/trainer/curves.h"
#include "services/trainer/run.h"

#define MAX_FACTS 96u

static void remove_file(const train_run *run, const char *name)
{
    char *const path = kd_format("%s/%s", run->folder, name);
    if (path && unlink(path) != 0 && errno != ENOENT)
        KD_LOG(KD_LOG_WARN, "leftover", KD_STR("path", path), KD_STR("reason", strerror(errno)));
    free(path);
}

/* What a kill left half-written: kd_file_write's six letters behind the name. */
static bool is_half_written(const char *name)
{
    static const char ending[] = ".safetensors.";
    const char *const at = strstr(name, ending);
    return at && strlen(at + sizeof ending - 1) == 6;
}

/* Files of the folder for which `leave` is false go. */
static void sweep(const train_run *run, bool (*leave)(const train_run *run, const char *name))
{
    DIR *const dir = opendir(run->folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (!leave(run, entry->d_name))
            remove_file(run, entry->d_name);
    if (dir)
        (void)closedir(dir);
}

static bool leave_whole(const train_run *run, const char *name)
{
    (void)run;
    return !is_half_written(name);
}

kd_status train_files_init(train_run *run, kd_error *err)
{
    run->folder = kd_format("%s/%s", run->trainer->runs_dir, run->job_id);
    if (!run->folder)
        return kd_error_memory(err, "a path");
    run->checkpoint = kd_format("%s/checkpoint.safetensors", run->folder);
    run->log = kd_format("%s/log.jsonl", run->folder);
    run->page = kd_format("%s/run.html", run->folder);
    run->events_path = kd_format("%s/" TRAIN_EVENTS_NAME, run->folder);
    if (!run->checkpoint || !run->log || !run->page || !run->events_path)
        return kd_error_memory(err, "a path");
    const kd_status status = kd_make_dirs(run->folder, err);
    if (status == KD_OK)
        sweep(run, leave_whole);
    return status;
}

char *train_best_path(const train_run *run, uint32_t epoch)
{
    return kd_format("%s/epoch-%u.safetensors", run->folder, epoch);
}

kd_status train_events_start(train_run *run, kd_error *err)
{
    train_events_free(run->events);
    run->events = NULL;
    return train_events_open(&run->events, run->events_path, run->record.event_bytes, err);
}

/* ---- Checkpoints ---- */

/* The event file first: a checkpoint never counts on more than there is. */
kd_status train_save_checkpoint(train_run *run, kd_error *err)
{
    kd_status status = train_events_sync(run->events, &run->record.event_bytes, err);
    if (status != KD_OK)
        return status;
    char *const meta = train_record_meta(&run->record);
    status = meta ? kd_training_save(run->training, run->checkpoint, meta, err)
                  : kd_error_memory(err, "the checkpoint's description");
    free(meta);
    return status;
}

/* Weights of epochs that are no longer among the best go. */
static bool leave_best(const train_run *run, const char *name)
{
    static const char prefix[] = "epoch-";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return true;
    char *end;
    const unsigned long number = strtoul(name + sizeof prefix - 1, &end, 10);
    if (strcmp(end, ".safetensors") != 0)
        return true;
    for (size_t i = 0; i < RECORD_BEST; i++)
        if (run->record.best[i] == number)
            return true;
    return false;
}

/* Weights first: a checkpoint that counts an epoch among the best is never without them. */
kd_status train_save_epoch(train_run *run, bool keep, kd_error *err)
{
    kd_status status = KD_OK;
    if (keep) {
        char *const path = train_best_path(run, run->record.epochs_done);
        status = path ? kd_net_save(run->net, path, err) : kd_error_memory(err, "a path");
        free(path);
    }
    if (status == KD_OK)
        status = train_save_checkpoint(run, err);
    if (status != KD_OK)
        return status;
    sweep(run, leave_best);
    char *const text = train_record_log(&run->record);
    status =
        text ? kd_file_write(run->log, text, strlen(text), err) : kd_error_memory(err, "the log");
    free(text);
    return status;
}

/* ---- The page ---- */

typedef struct page_facts {
    const char *rows[MAX_FACTS][2];
    char *texts[MAX_FACTS]; /* owned */
    size_t n;
} page_facts;

static void add_fact(page_facts *f, const char *name, const json_t *value)
{
    if (f->n == MAX_FACTS || json_is_array(value))
        return;
    char *const text = json_is_string(value)
                           ? strdup(json_string_value(value))
                           : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    if (!text)
        return;
    f->texts[f->n] = text;
    f->rows[f->n][0] = name;
    f->rows[f->n++][1] = text;
}

static void collect_facts(page_facts *f, json_t *facts)
{
    const char *name, *inner;
    json_t *value, *part;
    json_object_foreach(facts, name, value)
    {
        if (!json_is_object(value)) {
            add_fact(f, name, value);
            continue;
        }
        json_object_foreach(value, inner, part)
        {
            add_fact(f, inner, part);
        }
    }
}

static kd_status write_page(
    const train_run *run, const char *note, bool running, double *values, kd_error *err)
{
    const train_record *const r = &run->record;
    page_facts facts = {.n = 0};
    train_curve curves[POINT_VALUES];
    kd_buf text = KD_BUF_INIT;
    for (size_t i = 0; i < POINT_VALUES; i++) {
        double *const column = values + i * r->epochs_done;
        for (uint32_t e = 0; e < r->epochs_done; e++)
            column[e] = r->curve[e].values[i];
        curves[i] = (train_curve){point_name((point_value)i), point_group((point_value)i), column};
    }
    collect_facts(&facts, r->facts);
    const train_page page = {.title = run->name,
        .job = run->job_id,
        .model_name = run->name,
        .facts = facts.rows,
        .n_facts = facts.n,
        .curves = curves,
        .n_curves = POINT_VALUES,
        .n_epochs = r->epochs_done,
        .best_epoch = r->best[0],
        .running = running,
        .note = note             ? note
                : r->n_fixes > 0 ? r->fixes[r->n_fixes - 1]
                                 : NULL};
    kd_status status = train_page_html(&page, &text, err);
    if (status == KD_OK)
        status = kd_file_write(run->page, text.data, text.len, err);
    kd_buf_free(&text);
    for (size_t i = 0; i < facts.n; i++)
        free(facts.texts[i]);
    return status;
}

void train_save_page(const train_run *run, const char *note, bool running)
{
    kd_error err = KD_ERROR_INIT;
    double *const values =
        calloc((size_t)run->record.epochs_done + 1, POINT_VALUES * sizeof *values);
    kd_status status = values ? write_page(run, note, running, values, &err)
                              : kd_error_memory(&err, "the run's page");
    free(values);
    if (status != KD_OK)
        kd_log_error(KD_LOG_WARN, "page_failed", &err);
}
