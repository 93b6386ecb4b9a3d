/* The trainer dies, or is asked to end, in the middle of a job. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/trainer/room.h"

#define EPOCHS 4u

static void wait_for_checkpoint(const room *r, const char *id)
{
    char *const path = room_run_file(r, id, "checkpoint.safetensors");
    for (const int64_t until = kd_mono_ms() + WAIT_MS; !kd_is_file(path); kd_sleep_ms(5))
        if (kd_mono_ms() > until)
            fail_msg("no checkpoint %s", path);
    free(path);
}

/* The job's model, and how often the job was taken. */
static void finish_job(room *r, const char *id, char model_id[32], uint32_t *attempt)
{
    kd_job job;
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    (void)snprintf(model_id, 32, "%s", result->model_id);
    kindred__v1__job_result__free_unpacked(result, NULL);
    CHECK_OK(kd_jobs_get(r->store, id, &job, &r->err), r->err);
    *attempt = job.attempt;
    kd_job_clear(&job);
}

static void test_trainer_crash__a_killed_run_goes_on_to_the_same_weights(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], again[KD_JOB_ID_TEXT], model[32], same[32];
    uint32_t attempt;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = EPOCHS;
    room_submit(r, &spec, id);
    wait_for_checkpoint(r, id);
    CHECK(WIFSIGNALED(room_end_trainer(r, SIGKILL)));
    CHECK(!room_log_has(r, "event=training_resumed"));
    room_start_trainer(r);
    finish_job(r, id, model, &attempt);
    CHECK_INT(2, attempt);
    CHECK(room_log_has(r, "event=training_resumed"));

    /* Without a break the same spec comes to the same bytes, which have the same id. */
    room_submit(r, &spec, again);
    finish_job(r, again, same, &attempt);
    CHECK_INT(1, attempt);
    CHECK_STR(model, same);
}

/* A run that collapsed and was fixed goes on as fixed. */
static void test_trainer_crash__a_killed_run_keeps_its_fixes(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], again[KD_JOB_ID_TEXT], model[32], same[32];
    uint32_t attempt;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.margin = 0.5;
    spec.norm = (char *)"frozen"; /* of random weights: all embeddings are alike */
    spec.learning_rate = 0.01;
    spec.epochs = 5;
    spec.on_collapse = (char *)"fix";
    spec.seed = 7;
    room_submit(r, &spec, id);
    room_wait_log(r, "event=collapse_fixed");
    CHECK(WIFSIGNALED(room_end_trainer(r, SIGKILL)));
    room_start_trainer(r);
    finish_job(r, id, model, &attempt);
    CHECK_INT(2, attempt);
    room_submit(r, &spec, again);
    finish_job(r, again, same, &attempt);
    CHECK_STR(model, same);
}

static void test_trainer_crash__a_stopped_run_stays_queued_and_goes_on(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], model[32];
    uint32_t attempt;
    kd_job job;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = EPOCHS;
    spec.seed = 3;
    room_submit(r, &spec, id);
    room_wait_steps(r, id);
    const int status = room_end_trainer(r, SIGTERM);
    CHECK(WIFEXITED(status));
    CHECK_INT(0, WEXITSTATUS(status));
    CHECK_OK(kd_jobs_get(r->store, id, &job, &r->err), r->err);
    CHECK_STR("queued", kd_job_state_name(job.state));
    kd_job_clear(&job);
    char *const checkpoint = room_run_file(r, id, "checkpoint.safetensors");
    CHECK(kd_is_file(checkpoint)); /* not at an epoch's end alone */
    free(checkpoint);
    room_start_trainer(r);
    finish_job(r, id, model, &attempt);
    CHECK_INT(1, attempt); /* a planned restart is no failure */
}

static void test_trainer_crash__a_damaged_checkpoint_is_not_believed(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], model[32];
    uint32_t attempt;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = EPOCHS;
    spec.seed = 4;
    room_submit(r, &spec, id);
    wait_for_checkpoint(r, id);
    (void)room_end_trainer(r, SIGKILL);
    char *const checkpoint = room_run_file(r, id, "checkpoint.safetensors");
    CHECK_OK(kd_file_write(checkpoint, "no weights", 10, &r->err), r->err);
    free(checkpoint);
    room_start_trainer(r);
    finish_job(r, id, model, &attempt);
    CHECK(room_log_has(r, "event=checkpoint_unusable"));
}

/* Room for the first epoch's files, not for a second checkpoint beside the first. */
static void test_trainer_crash__a_full_disk_leaves_the_older_checkpoint(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], model[32];
    uint32_t attempt;
    kd_job job;
    (void)room_end_trainer(r, SIGTERM);
    if (mount("none", r->data, "tmpfs", 0, "size=250m") != 0)
        skip(); /* only root may */
    room_start_trainer(r);
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = 3;
    spec.seed = 6;
    room_submit(r, &spec, id);
    room_wait_state(r, id, KD_JOB_FAILED, &job);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, job.error_status);
    CHECK_HAS("checkpoint.safetensors", job.error_message);
    kd_job_clear(&job);

    CHECK_INT(0, mount("none", r->data, NULL, MS_REMOUNT, "size=900m"));
    CHECK_OK(kd_jobs_retry(r->store, id, &r->err), r->err);
    finish_job(r, id, model, &attempt);
    CHECK(room_log_has(r, "epochs_done=1 step=0"));
    (void)room_end_trainer(r, SIGTERM);
    CHECK_INT(0, umount(r->data));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_crash__a_killed_run_goes_on_to_the_same_weights),
        cmocka_unit_test(test_trainer_crash__a_killed_run_keeps_its_fixes),
        cmocka_unit_test(test_trainer_crash__a_stopped_run_stays_queued_and_goes_on),
        cmocka_unit_test(test_trainer_crash__a_damaged_checkpoint_is_not_believed),
        cmocka_unit_test(test_trainer_crash__a_full_disk_leaves_the_older_checkpoint),
    };
    return cmocka_run_group_tests(tests, room_start, room_stop);
}
