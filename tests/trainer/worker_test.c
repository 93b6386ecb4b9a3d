/* Train jobs through the real Redis and the real program. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/models/models.h"
#include "tests/trainer/room.h"

#define MANY 120000u
/* Images that are kept (LOADER_CACHE_BYTES), their list, and room for the allocator's own. */
#define MANY_MIB 1400u

static void test_trainer_worker__a_job_ends_in_a_published_model(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], models[128];
    Kindred__V1__TrainSpec spec = room_spec(r);
    kd_model model;
    spec.name = (char *)"drawn";
    room_submit(r, &spec, id);
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    CHECK_STR("drawn", result->model_name);

    (void)snprintf(models, sizeof models, "%s/models", r->data);
    CHECK_OK(kd_models_find(models, "drawn", &model, &r->err), r->err);
    CHECK_STR(model.id, result->model_id);
    CHECK_STR(id, model.source);
    CHECK_STR(model.data_hash, result->data_hash);
    CHECK_INT(32, model.preprocess.image_size);

    json_t *const training = json_loads(model.training, 0, NULL);
    json_t *const curve = json_object_get(training, "curve");
    CHECK_INT(2, json_array_size(curve));
    for (size_t i = 0; i < 2; i++) {
        const double recall =
            json_real_value(json_object_get(json_array_get(curve, i), "recall_at_1"));
        CHECK(json_object_get(json_array_get(curve, i), "recall_at_1") != NULL);
        CHECK(recall >= 0 && recall <= 1);
        CHECK(json_real_value(json_object_get(json_array_get(curve, i), "loss")) > 0);
    }
    CHECK(json_integer_value(json_object_get(training, "validation_images")) > 0);
    json_decref(training);
    kd_model_clear(&model);
    kindred__v1__job_result__free_unpacked(result, NULL);

    /* The two best epochs (of two) and the last checkpoint stay, and what tells of them. */
    static const char *const files[] = {"checkpoint.safetensors", "epoch-1.safetensors",
        "epoch-2.safetensors", "log.jsonl", "run.html", "events.out.tfevents.kindred"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *const path = room_run_file(r, id, files[i]);
        if (!kd_is_file(path))
            fail_msg("no %s", path);
        free(path);
    }
    char *const published = room_run_file(r, id, "published.safetensors");
    CHECK(!kd_is_file(published));
    free(published);
}

static void test_trainer_worker__a_broken_image_is_skipped_and_named(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = 1;
    spec.seed = 7;
    room_submit(r, &spec, id);
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    CHECK_INT(1, result->skipped);
    CHECK_INT(1, result->n_skipped_names);
    CHECK_HAS(".JPG: the JPEG image is broken", result->skipped_names[0]);
    CHECK(result->images > 0);
    CHECK_HAS("triplet-", result->model_name); /* the name that is made up */
    kindred__v1__job_result__free_unpacked(result, NULL);
}

static void test_trainer_worker__super_classes_can_be_the_labels(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = 1;
    spec.labels = (char *)"super-class";
    spec.margin = 0.2;
    room_submit(r, &spec, id);
    kindred__v1__job_result__free_unpacked(room_wait_result(r, id), NULL);
}

static void check_fails(
    room *r, const Kindred__V1__TrainSpec *spec, kd_status status, const char *sentence)
{
    char id[KD_JOB_ID_TEXT];
    kd_job job;
    room_submit(r, spec, id);
    room_wait_state(r, id, KD_JOB_FAILED, &job);
    CHECK_INT(status, job.error_status);
    CHECK_HAS(sentence, job.error_message);
    kd_job_clear(&job);
}

static void test_trainer_worker__refuses_what_it_cannot_train(void **state)
{
    room *const r = *state;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.loss = (char *)"magic";
    check_fails(r, &spec, KD_INVALID_ARGUMENT, "'magic' is not a loss");
    spec = room_spec(r);
    spec.dataset = (char *)"/etc";
    check_fails(r, &spec, KD_PERMISSION_DENIED, r->dataset);
    spec = room_spec(r);
    spec.model = (char *)"nobody";
    check_fails(r, &spec, KD_NOT_FOUND, "no model 'nobody'");
    spec = room_spec(r);
    spec.learning_rate = 2;
    check_fails(r, &spec, KD_INVALID_ARGUMENT, "learning_rate is 2");
}

static void test_trainer_worker__a_taken_name_fails_before_the_first_step(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.name = (char *)"taken";
    spec.epochs = 1;
    spec.seed = 11;
    room_submit(r, &spec, id);
    kindred__v1__job_result__free_unpacked(room_wait_result(r, id), NULL);
    spec.epochs = 1000;
    check_fails(r, &spec, KD_ALREADY_EXISTS, "'taken'");
}

static void test_trainer_worker__cancel_ends_a_running_job(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    kd_job job;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = 1000;
    room_submit(r, &spec, id);
    room_wait_steps(r, id);
    CHECK_OK(kd_jobs_cancel(r->store, id, &r->err), r->err);
    room_wait_state(r, id, KD_JOB_CANCELLED, &job);
    kd_job_clear(&job);
}

/* Values of the model's own account of its training. */
static json_t *training_of(const room *r, const Kindred__V1__JobResult *result)
{
    char models[128];
    kd_model model;
    kd_error err = KD_ERROR_INIT;
    (void)snprintf(models, sizeof models, "%s/models", r->data);
    CHECK_OK(kd_models_find(models, result->model_id, &model, &err), err);
    json_t *const training = json_loads(model.training, 0, NULL);
    kd_model_clear(&model);
    return training;
}

/* A loss with a head, over super-classes, whose validation images' labels it knows. */
static void test_trainer_worker__a_classifier_logs_both_accuracies(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.loss = (char *)"cross-entropy";
    spec.labels = (char *)"super-class";
    spec.validation = (char *)"images"; /* each drawn product is a super-class of its own */
    spec.batch_classes = spec.batch_images = 0;
    spec.batch_size = 16;
    spec.seed = 21;
    room_submit(r, &spec, id);
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    json_t *const training = training_of(r, result);
    const json_t *const point = json_array_get(json_object_get(training, "curve"), 1);
    CHECK(json_real_value(json_object_get(point, "train_accuracy")) > 0);
    CHECK(json_is_real(json_object_get(point, "accuracy")));
    CHECK(result->training && result->training->accuracy && result->training->recall_at_1);
    CHECK_INT(2, result->training->epochs);
    json_decref(training);
    kindred__v1__job_result__free_unpacked(result, NULL);
}

/* With the backbone frozen the features are computed once; what learns is a projection, which the
 * model serves. */
static void test_trainer_worker__a_frozen_backbone_trains_a_projection(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], models[128];
    kd_model model;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.loss = (char *)"norm-softmax";
    spec.batch_classes = spec.batch_images = 0;
    spec.batch_size = 16;
    spec.freeze_backbone = true;
    spec.dim = 32;
    spec.epochs = 20;
    spec.learning_rate = 0.001;
    spec.seed = 22;
    room_submit(r, &spec, id);
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    (void)snprintf(models, sizeof models, "%s/models", r->data);
    CHECK_OK(kd_models_find(models, result->model_id, &model, &r->err), r->err);
    CHECK_INT(32, model.dim);
    kd_model_clear(&model);
    json_t *const training = training_of(r, result);
    const json_t *const curve = json_object_get(training, "curve");
    const double first = json_real_value(json_object_get(json_array_get(curve, 0), "loss"));
    const double last = json_real_value(json_object_get(json_array_get(curve, 19), "loss"));
    CHECK(last < first);
    json_decref(training);
    kindred__v1__job_result__free_unpacked(result, NULL);
}

/* What the seeds did: summed triplets on embeddings that aren't normalised, whose positives are any
 * images (here every image has the label of another), by Adam at a high rate. The margin is as
 * large as the distances of this small network, which come down to the seeds' 0.9 in many epochs
 * only. */
static void test_trainer_worker__a_loss_at_its_margin_is_stopped(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    kd_job job;
    Kindred__V1__TrainSpec spec = room_spec(r);
    Kindred__V1__Real nothing = KINDRED__V1__REAL__INIT;
    room_shuffle_labels(r);
    spec.margin = 50;
    spec.raw = true;
    spec.reduction = (char *)"sum";
    spec.miner = (char *)"random";
    spec.optimizer = (char *)"adam";
    spec.weight_decay = &nothing;
    spec.learning_rate = 3e-3;
    spec.schedule = (char *)"constant";
    spec.epochs = 40;
    spec.seed = 23;
    room_submit(r, &spec, id);
    room_wait_state(r, id, KD_JOB_FAILED, &job);
    room_restore_labels(r);
    CHECK_INT(KD_FAILED_PRECONDITION, job.error_status);
    CHECK_HAS("the training collapsed in epoch", job.error_message);
    CHECK_HAS("the loss sits at its margin", job.error_message);
    CHECK_HAS("without raw", job.error_message);
    kd_job_clear(&job);
    CHECK(room_log_has(r, "event=training_collapsed"));
    char *const page = room_run_file(r, id, "run.html");
    CHECK(kd_is_file(page));
    free(page);
}

/* Random weights without normalisation by the batch, at too high a rate, fall on one point. */
static void test_trainer_worker__a_collapse_is_fixed_when_asked_for(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.margin = 0.5;
    spec.norm = (char *)"frozen";
    spec.learning_rate = 0.01;
    spec.epochs = 4;
    spec.on_collapse = (char *)"fix";
    spec.seed = 24;
    room_submit(r, &spec, id);
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    CHECK(result->training->n_fixes > 0);
    CHECK_HAS("all embeddings have come to lie on one point", result->training->fixes[0]);
    CHECK_HAS("learning rate 0.001", result->training->fixes[0]);
    CHECK_INT(4, result->training->epochs);
    json_t *const training = training_of(r, result);
    const json_t *const last = json_array_get(json_object_get(training, "curve"), 3);
    CHECK(json_real_value(json_object_get(last, "negative_distance")) > 0.05);
    json_decref(training);
    kindred__v1__job_result__free_unpacked(result, NULL);
}

/* What does not move gets no better. */
static void test_trainer_worker__patience_ends_a_level_run(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.learning_rate = 1e-12;
    spec.norm = (char *)"frozen";
    spec.on_collapse = (char *)"ignore";
    spec.epochs = 50;
    spec.patience = 2;
    spec.seed = 26;
    room_submit(r, &spec, id);
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    CHECK_INT(3, result->training->epochs);
    CHECK_INT(3, result->training->best_epoch); /* of equal ones the last */
    kindred__v1__job_result__free_unpacked(result, NULL);
}

/* A listing of 120,000 rows, as many as Stanford Online Products has, that names the same
 * photographs over and over. *folder: where it lies. */
static void write_many(const room *r, char folder[160])
{
    char path[256];
    kd_buf listing = KD_BUF_INIT, many = KD_BUF_INIT;
    kd_error err = KD_ERROR_INIT;
    (void)snprintf(folder, 160, "%s/many", r->dataset);
    CHECK_OK(kd_make_dirs(folder, &err), err);
    (void)snprintf(path, sizeof path, "%s/all", folder);
    CHECK_INT(0, symlink("..", path));
    (void)snprintf(path, sizeof path, "%s/Ebay_train.txt", r->dataset);
    CHECK_OK(kd_file_read(path, 1u << 20, &listing, &err), err);
    kd_buf_puts(&many, "image_id class_id super_class_id path\n");
    for (unsigned image = 1; image <= MANY;) {
        const char *row = strchr((char *)listing.data, '\n') + 1;
        for (; *row && image <= MANY; row = strchr(row, '\n') + 1, image++) {
            unsigned long long id, label, group;
            int at;
            CHECK_INT(3, sscanf(row, "%llu %llu %llu %n", &id, &label, &group, &at));
            kd_buf_printf(&many, "%u %llu %llu all/%.*s\n", image, label + 1000ull * (image / 2000),
                group + 1000ull * (image / 2000), (int)strcspn(row + at, "\n"), row + at);
        }
    }
    CHECK(kd_buf_ok(&many));
    (void)snprintf(path, sizeof path, "%s/Ebay_train.txt", folder);
    CHECK_OK(kd_file_write(path, many.data, many.len, &err), err);
    kd_buf_free(&listing);
    kd_buf_free(&many);
}

/* The trainer's largest resident memory so far, MiB. */
static unsigned long peak_mib(const room *r)
{
    char path[64], line[256];
    unsigned long kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)r->trainer);
    FILE *const file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        (void)sscanf(line, "VmHWM: %lu", &kib);
    if (file)
        (void)fclose(file);
    return kib / 1024;
}

static void test_trainer_worker__memory_is_bounded_for_120000_images(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], folder[160];
    kd_job job;
    Kindred__V1__TrainSpec spec = room_spec(r);
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its allocator keeps what was freed, and takes its time */
#endif
    const unsigned long before = peak_mib(r);
    write_many(r, folder);
    spec.dataset = folder;
    spec.seed = 25;
    room_submit(r, &spec, id);
    room_wait_steps(r, id);
    const unsigned long after = peak_mib(r);
    CHECK(before > 0);
    if (after > before + MANY_MIB)
        fail_msg("%lu MiB, then %lu", before, after);
    CHECK_OK(kd_jobs_cancel(r->store, id, &r->err), r->err);
    room_wait_state(r, id, KD_JOB_CANCELLED, &job);
    kd_job_clear(&job);
}

/* The first image of the dataset's listing, open. */
static int open_first_image(const room *r)
{
    char path[1024];
    kd_buf listing = KD_BUF_INIT;
    kd_error err = KD_ERROR_INIT;
    (void)snprintf(path, sizeof path, "%s/Ebay_train.txt", r->dataset);
    CHECK_OK(kd_file_read(path, 1u << 20, &listing, &err), err);
    char *const row = strchr((char *)listing.data, '\n') + 1; /* behind the head */
    row[strcspn(row, "\n")] = '\0';
    (void)snprintf(path, sizeof path, "%s/%s", r->dataset, strrchr(row, ' ') + 1);
    kd_buf_free(&listing);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* While we hold a lease on the file the trainer can't open it: EAGAIN. Of an image that can't be
 * read just now it makes neither a smaller training set nor a failed job. */
static void test_trainer_worker__waits_for_an_image_that_cannot_be_read_now(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    kd_job job;
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = 1;
    spec.seed = 13;
    const int fd = open_first_image(r);
    (void)signal(SIGIO, SIG_IGN); /* how the kernel asks for the lease */
    if (fcntl(fd, F_SETLEASE, F_WRLCK) != 0) {
        print_message("no leases on this file system\n");
        (void)close(fd);
        skip();
    }
    room_submit(r, &spec, id);
    room_wait_log(r, "reason=\"the images can't be read now");
    room_wait_state(r, id, KD_JOB_RUNNING, &job);
    kd_job_clear(&job);
    CHECK_INT(0, close(fd));
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    CHECK_INT(1, result->skipped); /* the broken one */
    kindred__v1__job_result__free_unpacked(result, NULL);
    CHECK_OK(kd_jobs_get(r->store, id, &job, &r->err), r->err);
    CHECK(job.attempt > 1);
    kd_job_clear(&job);
}

static void test_trainer_worker__goes_on_when_redis_comes_back(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    Kindred__V1__TrainSpec spec = room_spec(r);
    spec.epochs = 6;
    spec.seed = 5;
    room_submit(r, &spec, id);
    room_wait_steps(r, id);
    assert_true(test_redis_restart(&r->redis));
    Kindred__V1__JobResult *const result = room_wait_result(r, id);
    kindred__v1__job_result__free_unpacked(result, NULL);
    kd_job job;
    CHECK_OK(kd_jobs_get(r->store, id, &job, &r->err), r->err);
    CHECK_INT(1, job.attempt);
    kd_job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_worker__a_job_ends_in_a_published_model),
        cmocka_unit_test(test_trainer_worker__a_broken_image_is_skipped_and_named),
        cmocka_unit_test(test_trainer_worker__super_classes_can_be_the_labels),
        cmocka_unit_test(test_trainer_worker__refuses_what_it_cannot_train),
        cmocka_unit_test(test_trainer_worker__a_taken_name_fails_before_the_first_step),
        cmocka_unit_test(test_trainer_worker__cancel_ends_a_running_job),
        cmocka_unit_test(test_trainer_worker__a_classifier_logs_both_accuracies),
        cmocka_unit_test(test_trainer_worker__a_frozen_backbone_trains_a_projection),
        cmocka_unit_test(test_trainer_worker__a_loss_at_its_margin_is_stopped),
        cmocka_unit_test(test_trainer_worker__a_collapse_is_fixed_when_asked_for),
        cmocka_unit_test(test_trainer_worker__patience_ends_a_level_run),
        cmocka_unit_test(test_trainer_worker__memory_is_bounded_for_120000_images),
        cmocka_unit_test(test_trainer_worker__waits_for_an_image_that_cannot_be_read_now),
        cmocka_unit_test(test_trainer_worker__goes_on_when_redis_comes_back),
    };
    return cmocka_run_group_tests(tests, room_start, room_stop);
}
