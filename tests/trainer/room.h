/* tests/trainer/room.h: a Redis, a drawn dataset with one broken image, and the real
 * kindred-trainer over them, in a folder of the test's own. */
#ifndef KD_TESTS_TRAINER_ROOM_H
#define KD_TESTS_TRAINER_ROOM_H

#include <sys/types.h>

#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"

#include "lib/rpc/rpc.h"
#include "lib/store/store.h"
#include "tests/support/check.h"
#include "tests/support/redis.h"

#define WAIT_MS 240000 /* for what takes seconds, on a machine that does much else */

typedef struct room {
    test_redis redis;
    char folder[64]; /* owned by the test: data, dataset, the trainer's log */
    char dataset[96], data[96], ready[96], log[96];
    pid_t trainer; /* 0: not running */
    kd_channel *channel;
    kd_store *store;
    kd_error err;
} room;

/* cmocka's group setup and teardown. */
int room_start(void **state);
int room_stop(void **state);

void room_start_trainer(room *r);
/* Sends the signal and waits; returns waitpid's status. */
int room_end_trainer(room *r, int signal_number);

/* Gives each image of the training listing the class of another one, so that positives are any
 * images; and back. */
void room_shuffle_labels(const room *r);
void room_restore_labels(const room *r);

/* A spec that trains in seconds: 32 pixels, 2 epochs. */
Kindred__V1__TrainSpec room_spec(const room *r);
void room_submit(room *r, const Kindred__V1__TrainSpec *spec, char id[KD_JOB_ID_TEXT]);
/* Waits until the job's state is state; fails when it ends in another. The caller clears *job. */
void room_wait_state(room *r, const char *id, kd_job_state state, kd_job *job);
/* … until it is done; the caller frees what it brought. */
Kindred__V1__JobResult *room_wait_result(room *r, const char *id);
/* Waits until the trainer has made steps of it. */
void room_wait_steps(room *r, const char *id);
/* DATA/runs/ID/NAME, a new string. */
char *room_run_file(const room *r, const char *id, const char *name);
bool room_log_has(const room *r, const char *text);
void room_wait_log(const room *r, const char *text);

#endif
