#include "tests/trainer/room.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"

static int wait_for_exit(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Runs program (of this build) with its output behind the log; dies with the test. */
static pid_t launch(const room *r, const char *program, const char *const *args)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/bin/%s", KD_BINARY_DIR, program);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setenv("OMP_WAIT_POLICY", "passive", 1); /* as the stack starts it */
        const int fd = open(r->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
        (void)execv(path, (char *const *)args);
        _exit(127);
    }
    return pid;
}

static bool draw(const room *r)
{
    const char *const args[] = {"kindred-draw", "--products", "1", "--views", "10", "--size", "64",
        "--break", "1", r->dataset, NULL};
    return wait_for_exit(launch(r, args[0], args)) == 0;
}

int room_start(void **state)
{
    (void)signal(SIGPIPE, SIG_IGN);
    room *const r = calloc(1, sizeof *r);
    *state = r;
    if (!r)
        return -1;
    (void)strcpy(r->folder, "kd-trainer-XXXXXX");
    if (!mkdtemp(r->folder))
        return -1;
    (void)snprintf(r->dataset, sizeof r->dataset, "%s/dataset", r->folder);
    (void)snprintf(r->data, sizeof r->data, "%s/data", r->folder);
    (void)snprintf(r->ready, sizeof r->ready, "%s/ready", r->folder);
    (void)snprintf(r->log, sizeof r->log, "%s/log", r->folder);
    kd_rpc_init();
    if (!draw(r) || !test_redis_start(&r->redis) ||
        kd_store_open(&r->store, r->redis.address, 10000, &r->err) != KD_OK)
        return -1;
    room_start_trainer(r);
    return 0;
}

int room_stop(void **state)
{
    room *const r = *state;
    if (!r)
        return 0;
    if (r->trainer > 0)
        (void)room_end_trainer(r, SIGKILL);
    kd_store_close(r->store);
    test_redis_stop(&r->redis);
    kd_rpc_shutdown();
    (void)umount2(r->data, MNT_DETACH); /* a failed test may have left it */
    if (r->folder[0] != '\0')
        (void)!kd_remove_tree(r->folder, &r->err);
    free(r);
    return 0;
}

/* The listing in place of which `saved` is kept. */
static void listing_paths(const room *r, char listing[160], char saved[160])
{
    (void)snprintf(listing, 160, "%s/Ebay_train.txt", r->dataset);
    (void)snprintf(saved, 160, "%s/Ebay_train.kept", r->dataset);
}

void room_shuffle_labels(const room *r)
{
    char path[160], saved[160], *rows[1024] = {NULL}, *at;
    size_t n = 0;
    kd_buf text = KD_BUF_INIT, mixed = KD_BUF_INIT;
    kd_error err = KD_ERROR_INIT;
    listing_paths(r, path, saved);
    CHECK_OK(kd_file_read(path, 1u << 20, &text, &err), err);
    for (char *line = strtok_r((char *)text.data, "\n", &at); line && n < 1024;
        line = strtok_r(NULL, "\n", &at))
        rows[n++] = line;
    CHECK(n > 2);
    kd_buf_printf(&mixed, "%s\n", rows[0] ? rows[0] : "");
    for (size_t i = 1; i < n; i++) {
        /* A step without a common factor deals each label once: 7 divides no drawn set's size. */
        unsigned long long image, label, group, other, its_label, its_group;
        int end, ignored;
        CHECK_INT(3, sscanf(rows[i], "%llu %llu %llu %n", &image, &label, &group, &end));
        CHECK_INT(3, sscanf(rows[1 + (i * 7) % (n - 1)], "%llu %llu %llu %n", &other, &its_label,
                         &its_group, &ignored));
        kd_buf_printf(&mixed, "%llu %llu %llu %s\n", image, its_label, its_group, rows[i] + end);
    }
    CHECK(kd_buf_ok(&mixed));
    CHECK_INT(0, rename(path, saved));
    CHECK_OK(kd_file_write(path, mixed.data, mixed.len, &err), err);
    kd_buf_free(&text);
    kd_buf_free(&mixed);
}

void room_restore_labels(const room *r)
{
    char path[160], saved[160];
    listing_paths(r, path, saved);
    CHECK_INT(0, rename(saved, path));
}

static void print_log(const room *r)
{
    kd_buf text = KD_BUF_INIT;
    kd_error err;
    if (kd_file_read(r->log, 16u << 20, &text, &err) == KD_OK && text.data)
        print_error("%s\n", (const char *)text.data);
    kd_buf_free(&text);
}

void room_start_trainer(room *r)
{
    const char *const args[] = {"kindred-trainer", "--listen", "127.0.0.1:0", "--http",
        "127.0.0.1:0", "--data", r->data, "--redis", r->redis.address, "--ready", r->ready,
        "--datasets", r->dataset, "--threads", "2", NULL};
    const int64_t until = kd_mono_ms() + WAIT_MS;
    (void)unlink(r->ready);
    r->trainer = launch(r, args[0], args);
    while (!kd_is_file(r->ready)) {
        if (waitpid(r->trainer, NULL, WNOHANG) == r->trainer || kd_mono_ms() > until) {
            print_log(r);
            fail_msg("the trainer did not start");
        }
        kd_sleep_ms(10);
    }
    json_t *const ready = json_load_file(r->ready, 0, NULL);
    CHECK_OK(kd_channel_open(
                 &r->channel, json_string_value(json_object_get(ready, "grpc")), NULL, &r->err),
        r->err);
    json_decref(ready);
}

int room_end_trainer(room *r, int signal_number)
{
    kd_channel_close(r->channel);
    r->channel = NULL;
    (void)kill(r->trainer, signal_number);
    const int status = wait_for_exit(r->trainer);
    r->trainer = 0;
    return status;
}

Kindred__V1__TrainSpec room_spec(const room *r)
{
    Kindred__V1__TrainSpec spec = KINDRED__V1__TRAIN_SPEC__INIT;
    spec.dataset = (char *)r->dataset;
    spec.loss = (char *)"triplet";
    spec.epochs = 2;
    spec.image_size = 32;
    spec.batch_classes = 4;
    spec.batch_images = 4;
    return spec;
}

void room_submit(room *r, const Kindred__V1__TrainSpec *spec, char id[KD_JOB_ID_TEXT])
{
    Kindred__V1__JobSpec job = KINDRED__V1__JOB_SPEC__INIT;
    uint8_t bytes[1024];
    job.spec_case = KINDRED__V1__JOB_SPEC__SPEC_TRAIN;
    job.train = (Kindred__V1__TrainSpec *)spec;
    assert_true(kindred__v1__job_spec__get_packed_size(&job) <= sizeof bytes);
    const size_t len = kindred__v1__job_spec__pack(&job, bytes);
    CHECK_OK(kd_jobs_submit(r->store, "train", "train", bytes, len, "", id, &r->err), r->err);
}

void room_wait_state(room *r, const char *id, kd_job_state state, kd_job *job)
{
    const int64_t until = kd_mono_ms() + WAIT_MS;
    for (;;) {
        CHECK_OK(kd_jobs_get(r->store, id, job, &r->err), r->err);
        if (job->state == state)
            return;
        if (job->state > KD_JOB_RUNNING || kd_mono_ms() > until) {
            print_log(r);
            fail_msg("job is %s: %s", kd_job_state_name(job->state), job->error_message);
        }
        kd_job_clear(job);
        kd_sleep_ms(10);
    }
}

Kindred__V1__JobResult *room_wait_result(room *r, const char *id)
{
    kd_job job;
    room_wait_state(r, id, KD_JOB_DONE, &job);
    Kindred__V1__JobResult *const result =
        kindred__v1__job_result__unpack(NULL, job.result.len, job.result.data);
    kd_job_clear(&job);
    assert_non_null(result);
    return result;
}

void room_wait_steps(room *r, const char *id)
{
    const int64_t until = kd_mono_ms() + WAIT_MS;
    for (uint64_t done = 0; done == 0; kd_sleep_ms(10)) {
        kd_job job;
        CHECK_OK(kd_jobs_get(r->store, id, &job, &r->err), r->err);
        Kindred__V1__JobProgress *const progress =
            kindred__v1__job_progress__unpack(NULL, job.progress.len, job.progress.data);
        done = progress ? progress->done : 0;
        kindred__v1__job_progress__free_unpacked(progress, NULL);
        if (job.state > KD_JOB_RUNNING || kd_mono_ms() > until) {
            print_log(r);
            fail_msg("job is %s before any step", kd_job_state_name(job.state));
        }
        kd_job_clear(&job);
    }
}

char *room_run_file(const room *r, const char *id, const char *name)
{
    char *const path = kd_format("%s/runs/%s/%s", r->data, id, name);
    assert_non_null(path);
    return path;
}

bool room_log_has(const room *r, const char *text)
{
    kd_buf log = KD_BUF_INIT;
    kd_error err;
    const bool has = kd_file_read(r->log, 16u << 20, &log, &err) == KD_OK && log.data &&
                     strstr((const char *)log.data, text);
    kd_buf_free(&log);
    return has;
}

void room_wait_log(const room *r, const char *text)
{
    for (const int64_t until = kd_mono_ms() + WAIT_MS; !room_log_has(r, text); kd_sleep_ms(10)) {
        if (kd_mono_ms() > until) {
            print_log(r);
            fail_msg("the log has no '%s'", text);
        }
    }
}
