/* Long work: submission, progress, the end in each way, a gateway that goes away, Ctrl-C. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "services/gateway/cli/jobs.h"
#include "tests/cli/gateway.h"

#define QUEUED KINDRED__V1__JOB_STATE__JOB_STATE_QUEUED
#define RUNNING KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING
#define DONE KINDRED__V1__JOB_STATE__JOB_STATE_DONE

static kd_server *g_gateway;
static kd_error g_err;
static atomic_int g_watches; /* streams that were opened */
static char g_spec[2048];    /* of the last job, as JSON */
static const char *g_strip;  /* that a report names */

static void job_init(Kindred__V1__Job *job, const char *id, Kindred__V1__JobState state)
{
    kindred__v1__job__init(job);
    job->id = (char *)(uintptr_t)id;
    job->kind = (char *)(uintptr_t)"train";
    job->state = state;
}

/* The job is named by its dataset's last word, so that each test chooses what happens. */
static void submit(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__SubmitJobRequest *const request = (const void *)message;
    Kindred__V1__SubmitJobResponse response = KINDRED__V1__SUBMIT_JOB_RESPONSE__INIT;
    Kindred__V1__Job job;
    (void)state;
    json_t *const spec = kd_message_json(&request->spec->base);
    char *const text = json_dumps(spec, JSON_SORT_KEYS);
    (void)snprintf(g_spec, sizeof g_spec, "%s", text);
    free(text);
    json_decref(spec);
    const char *dataset = request->spec->train   ? request->spec->train->dataset
                          : request->spec->index ? request->spec->index->dataset
                                                 : request->spec->evaluate->dataset;
    if (strstr(dataset, "refused")) {
        refuse(call, KD_PERMISSION_DENIED, "the folder is under no dataset root");
        return;
    }
    job_init(&job, strrchr(dataset, '/') + 1, QUEUED);
    response.job = &job;
    kd_call_reply(call, &response.base);
}

static void tell(kd_call *call, Kindred__V1__Job *job)
{
    Kindred__V1__WatchJobResponse response = KINDRED__V1__WATCH_JOB_RESPONSE__INIT;
    response.job = job;
    if (kd_call_write(call, &response.base, true) != KD_OK)
        return; /* the client has gone */
}

static void fill_metrics(Kindred__V1__Metrics *metrics, double recall)
{
    kindred__v1__metrics__init(metrics);
    metrics->recall_at_1 = recall;
    metrics->recall_at_5 = 0.75;
    metrics->map_at_5 = 0.5;
    metrics->queries = 40;
    metrics->without_positives = 2;
}

/* What each kind of job brings. */
static void tell_done(kd_call *call, Kindred__V1__Job *job)
{
    static char name[] = "a/1.jpg: not an image", *names[] = {name};
    Kindred__V1__JobResult result = KINDRED__V1__JOB_RESULT__INIT;
    Kindred__V1__Metrics by_class, by_super;
    Kindred__V1__ModelMetrics model = KINDRED__V1__MODEL_METRICS__INIT, *models[] = {&model};
    fill_metrics(&by_class, 0.25);
    fill_metrics(&by_super, 1);
    job->state = DONE;
    job->result = &result;
    result.model_id = (char *)(uintptr_t)"00112233445566aa";
    result.model_name = (char *)(uintptr_t)"better";
    result.collection = (char *)(uintptr_t)"shop";
    result.images = 41;
    if (strcmp(job->id, "index") == 0) {
        job->kind = (char *)(uintptr_t)"index";
        result.skipped = 2;
        result.skipped_names = names;
        result.n_skipped_names = 1;
    } else if (strcmp(job->id, "evaluate") == 0) {
        job->kind = (char *)(uintptr_t)"evaluate";
        model.model_name = result.model_name;
        model.by_class = &by_class;
        model.by_super_class = &by_super;
        result.metrics = models;
        result.n_metrics = 1;
        result.protocol = (char *)(uintptr_t)"sop";
        result.gallery = 42;
        result.report = (char *)(uintptr_t)"/data/reports/evaluate";
    }
    tell(call, job);
    job->result = NULL;
}

static void watch(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__WatchJobRequest *const request = (const void *)message;
    Kindred__V1__JobProgress progress = KINDRED__V1__JOB_PROGRESS__INIT;
    Kindred__V1__Problem problem = KINDRED__V1__PROBLEM__INIT;
    Kindred__V1__Job job;
    (void)state;
    const int turn = atomic_fetch_add(&g_watches, 1);
    if (strcmp(request->job_id, "absent") == 0) {
        refuse(call, KD_NOT_FOUND, "no job 'absent'");
        return;
    }
    job_init(&job, request->job_id, RUNNING);
    job.progress = &progress;
    progress.phase = (char *)(uintptr_t)"epoch 1 of 2";
    progress.done = 10;
    progress.total = 40;
    tell(call, &job);
    if (strcmp(job.id, "endless") == 0) {
        while (!kd_call_cancelled(call))
            kd_sleep_ms(5);
    } else if (strcmp(job.id, "fails") == 0) {
        job.state = KINDRED__V1__JOB_STATE__JOB_STATE_FAILED;
        job.error = &problem;
        problem.code = KD_INVALID_ARGUMENT;
        problem.message = (char *)(uintptr_t)"the loss is not finite";
        tell(call, &job);
    } else if (strcmp(job.id, "cancelled") == 0) {
        job.state = KINDRED__V1__JOB_STATE__JOB_STATE_CANCELLED;
        tell(call, &job);
    } else if (strcmp(job.id, "lost") == 0 && turn == 0) {
        kd_call_finish(call, NULL); /* as a gateway that drains */
        return;
    } else if (strcmp(job.id, "lost") == 0 && turn == 1) {
        refuse(call, KD_UNAVAILABLE, "draining");
        return;
    } else {
        tell_done(call, &job);
    }
    kd_call_finish(call, NULL);
}

static void get_report(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__GetReportRequest *const request = (const void *)message;
    Kindred__V1__GetReportResponse piece = KINDRED__V1__GET_REPORT_RESPONSE__INIT;
    const bool listing = strcmp(request->file, "report.json") == 0;
    char text[512];
    (void)state;
    /* The listing comes in two pieces that make one array, the others name themselves twice. */
    (void)snprintf(text, sizeof text, "%s", request->file);
    if (listing)
        (void)snprintf(text, sizeof text, "[{\"rows\": [{\"strip\": \"%s\"}]}]", g_strip);
    const size_t half = listing ? strlen(text) / 2 : strlen(text);
    piece.total_bytes = listing ? strlen(text) : 2 * half;
    piece.data = (ProtobufCBinaryData){half, (uint8_t *)text};
    for (int i = 0; i < 2; i++) {
        if (i == 1 && listing)
            piece.data = (ProtobufCBinaryData){strlen(text) - half, (uint8_t *)text + half};
        if (kd_call_write(call, &piece.base, true) != KD_OK)
            break;
    }
    kd_call_finish(call, NULL);
}

static int setup(void **state)
{
    static const kd_method methods[] = {
        {"SubmitJob", submit, true}, {"WatchJob", watch, true}, {"GetReport", get_report, true}};
    const served gateway = {CLI_GATEWAY, methods, 3};
    (void)state;
    g_gateway = start_gateway(&gateway, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop_gateway(g_gateway);
    return 0;
}

/* ---- Ends ---- */

static void test_cli_train__watches_to_the_end_and_names_the_model(void **state)
{
    ran r;
    (void)state;
    RUN(&r, cmd_train, "train", "/d/good", "--loss", "triplet", "--epochs", "2");
    CHECK_STR("model 00112233445566aa (better)\n", r.out);
    CHECK_HAS("kindred train: epoch 1 of 2 10/40 25%\n", r.err);
    CHECK_INT(0, r.status);
    CHECK_HAS("\"dataset\": \"/d/good\"", g_spec);
    CHECK_HAS("\"epochs\": 2", g_spec);
}

static void test_cli_train__json_is_the_job_alone(void **state)
{
    ran r;
    json_error_t fault;
    (void)state;
    RUN(&r, cmd_train, "train", "/d/good", "--loss", "triplet", "--json");
    CHECK_INT(0, r.status);
    CHECK_STR("", r.err);
    json_t *const job = json_loads(r.out, 0, &fault);
    CHECK_STR("done", json_string_value(json_object_get(job, "state")));
    CHECK_STR("00112233445566aa",
        json_string_value(json_object_get(json_object_get(job, "result"), "model_id")));
    json_decref(job);
}

static void test_cli_train__detached_prints_the_id(void **state)
{
    ran r;
    (void)state;
    atomic_store(&g_watches, 0);
    RUN(&r, cmd_train, "train", "/d/good", "--loss", "triplet", "--detach");
    CHECK_INT(0, r.status);
    CHECK_STR("good\n", r.out);
    CHECK_INT(0, atomic_load(&g_watches));
}

static void test_cli_train__failures_are_said_and_are_1(void **state)
{
    ran r;
    (void)state;
    RUN(&r, cmd_train, "train", "/d/fails", "--loss", "triplet");
    CHECK_INT(1, r.status);
    CHECK_HAS("kindred train: job fails failed: the loss is not finite\n", r.err);
    RUN(&r, cmd_train, "train", "/d/cancelled", "--loss", "triplet");
    CHECK_INT(1, r.status);
    CHECK_HAS("job cancelled was cancelled\n", r.err);
    RUN(&r, cmd_train, "train", "/d/refused", "--loss", "triplet");
    CHECK_INT(1, r.status);
    CHECK_STR("kindred train: the folder is under no dataset root\n", r.err);
    RUN(&r, cmd_job, "job", "watch", "absent");
    CHECK_INT(1, r.status);
    CHECK_STR("kindred job watch: no job 'absent'\n", r.err);
}

static void test_cli_index__names_what_was_skipped(void **state)
{
    ran r;
    (void)state;
    RUN(&r, cmd_index, "index", "/d/index", "--model", "m", "--collection", "shop");
    CHECK_INT(0, r.status);
    CHECK_STR("collection shop: 41 images indexed with model better\n", r.out);
    CHECK_HAS("2 images could not be read:\n  a/1.jpg: not an image\n  and 1 more\n", r.err);
}

static void test_cli_evaluate__prints_the_table_and_fetches_the_report(void **state)
{
    ran r;
    char dir[] = "kd-watch-XXXXXX", path[64];
    kd_buf bytes = KD_BUF_INIT;
    (void)state;
    CHECK(mkdtemp(dir) != NULL);
    g_strip = "rows/sop-1-better-001-mug.png";
    RUN(&r, cmd_evaluate, "evaluate", "/d/evaluate", "--model", "a", "--model=b", "--out", dir,
        "--show", "mug", "--show", "7");
    CHECK_INT(0, r.status);
    CHECK_HAS("\"models\": [\"a\", \"b\"]", g_spec);
    CHECK_HAS("\"show\": [\"mug\", \"7\"]", g_spec);
    CHECK_HAS("protocol sop, 42 images in the gallery\n", r.out);
    CHECK_HAS("better  class        0.2500  0.7500  0.5000", r.out);
    CHECK_HAS("better  super-class  1.0000", r.out);
    CHECK_HAS("left out: 2 queries", r.out);
    CHECK_HAS("report: /data/reports/evaluate\n", r.out);
    (void)snprintf(path, sizeof path, "%s/report.html", dir);
    CHECK_OK(kd_file_read(path, 100, &bytes, &g_err), g_err);
    CHECK_STR("report.htmlreport.html", (char *)bytes.data);
    kd_buf_free(&bytes);
    CHECK_HAS("/rows (1 strip)\n", r.out);
    (void)snprintf(path, sizeof path, "%s/%s", dir, g_strip);
    CHECK_OK(kd_file_read(path, 100, &bytes, &g_err), g_err);
    CHECK_HAS("001-mug.pngrows/sop", (char *)bytes.data);
    kd_buf_free(&bytes);
    g_strip = "rows/../../evil.png";
    RUN(&r, cmd_evaluate, "evaluate", "/d/evaluate", "--model", "a", "--out", dir);
    CHECK_INT(1, r.status);
    CHECK_HAS("the report names a strip 'rows/../../evil.png'", r.err);
    CHECK_OK(kd_remove_tree(dir, &g_err), g_err);
}

/* ---- Settings of training ---- */

static void test_cli_train__settings_come_from_a_file_and_flags_go_before(void **state)
{
    static const char good[] = "{\"loss\": \"triplet\", \"epochs\": 3, \"learning_rate\": 0.5, "
                               "\"batch_classes\": 7, \"name\": \"n\", \"raw\": true, "
                               "\"flip\": 0, \"weight_decay\": 0.01}";
    ran r;
    char path[] = "kd-config-XXXXXX";
    (void)state;
    (void)close(mkstemp(path));
    CHECK_OK(kd_file_write(path, good, sizeof good - 1, &g_err), g_err);
    RUN(&r, cmd_train, "train", "/d/good", "--config", path, "--epochs", "4", "--detach");
    CHECK_STR("", r.err);
    CHECK_INT(0, r.status);
    CHECK_HAS("\"epochs\": 4", g_spec);
    CHECK_HAS("\"learning_rate\": 0.5", g_spec);
    CHECK_HAS("\"batch_classes\": 7", g_spec);
    CHECK_HAS("\"loss\": \"triplet\"", g_spec);
    CHECK_HAS("\"name\": \"n\"", g_spec);
    CHECK_HAS("\"raw\": true", g_spec);
    CHECK_HAS("\"flip\": {\"value\": 0.0}", g_spec); /* a zero that is meant */
    CHECK_HAS("\"weight_decay\": {\"value\": 0.01", g_spec);
    (void)unlink(path);
    RUN(&r, cmd_train, "train", "/d/good", "--loss", "triplet", "--raw", "--flip", "0", "--detach");
    CHECK_INT(0, r.status);
    CHECK_HAS("\"raw\": true", g_spec);
    CHECK_HAS("\"flip\": {\"value\": 0.0}", g_spec);
}

static void test_cli_train__wrong_settings_are_named(void **state)
{
    static const struct {
        const char *config, *said;
    } wrong[] = {
        {"{\"loss\": \"triplet\", \"epoch\": 3}", "'epoch' is not a setting of training"},
        {"{\"epochs\": \"3\"}", "epochs is not a number"},
        {"{\"epochs\": 1.5}", "epochs in "},
        {"{\"loss\": 3}", "loss is not a string"},
        {"{\"raw\": 1}", "raw is not true or false"},
        {"{\"flip\": \"often\"}", "flip is not a number"},
        {"[1]", "is not a JSON object"},
        {"{\"epochs\": 3", ":1:"},
        {"{\"epochs\": 3}", "--loss LOSS is missing"},
    };
    ran r;
    char path[] = "kd-config-XXXXXX";
    (void)state;
    (void)close(mkstemp(path));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_OK(kd_file_write(path, wrong[i].config, strlen(wrong[i].config), &g_err), g_err);
        RUN(&r, cmd_train, "train", "/d/good", "--config", path);
        CHECK_INT(2, r.status);
        CHECK_HAS(wrong[i].said, r.err);
    }
    (void)unlink(path);
    RUN(&r, cmd_train, "train", "/d/good", "--config", path);
    CHECK_INT(1, r.status);
    RUN(&r, cmd_train, "train", "/d/good", "--loss", "triplet", "--learning-rate", "fast");
    CHECK_INT(2, r.status);
    CHECK_HAS("--learning-rate is 'fast'", r.err);
}

/* ---- Losses ---- */

static void test_cli_watch__survives_a_gateway_that_goes_away(void **state)
{
    ran r;
    (void)state;
    atomic_store(&g_watches, 0);
    RUN(&r, cmd_train, "train", "/d/lost", "--loss", "triplet");
    CHECK_INT(0, r.status);
    CHECK_STR("model 00112233445566aa (better)\n", r.out);
    CHECK_INT(3, atomic_load(&g_watches));
    CHECK_HAS("the gateway is gone; trying again", r.err);
}

static void test_cli_watch__an_unreachable_gateway_is_3_at_once(void **state)
{
    ran r;
    (void)state;
    const int64_t began = kd_mono_ms();
    RUN(&r, cmd_job, "job", "watch", "x", "--gateway", "127.0.0.1:1");
    CHECK_INT(3, r.status);
    CHECK_HAS("127.0.0.1:1", r.err);
    RUN(&r, cmd_job, "job", "list", "--gateway", "127.0.0.1:1");
    CHECK_INT(3, r.status);
    CHECK_STR("kindred job list: no gateway answers at 127.0.0.1:1; `kindred up` starts one here, "
              "--gateway HOST:PORT names another\n",
        r.err);
    CHECK(kd_mono_ms() - began < 30000);
}

static void *interrupt_once_watched(void *arg)
{
    (void)arg;
    while (atomic_load(&g_watches) == 0)
        kd_sleep_ms(5);
    (void)kill(getpid(), SIGINT);
    return NULL;
}

/* The last test: what Ctrl-C notes stays noted. */
static void test_cli_watch__ctrl_c_leaves_and_the_job_goes_on(void **state)
{
    ran r;
    pthread_t thread;
    (void)state;
    atomic_store(&g_watches, 0);
    CHECK_INT(0, pthread_create(&thread, NULL, interrupt_once_watched, NULL));
    RUN(&r, cmd_train, "train", "/d/endless", "--loss", "triplet");
    (void)pthread_join(thread, NULL);
    CHECK_INT(1, r.status);
    CHECK_HAS("kindred train: the job goes on: kindred job watch endless\n", r.err);
    CHECK_STR("", r.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_train__watches_to_the_end_and_names_the_model),
        cmocka_unit_test(test_cli_train__json_is_the_job_alone),
        cmocka_unit_test(test_cli_train__detached_prints_the_id),
        cmocka_unit_test(test_cli_train__failures_are_said_and_are_1),
        cmocka_unit_test(test_cli_index__names_what_was_skipped),
        cmocka_unit_test(test_cli_evaluate__prints_the_table_and_fetches_the_report),
        cmocka_unit_test(test_cli_train__settings_come_from_a_file_and_flags_go_before),
        cmocka_unit_test(test_cli_train__wrong_settings_are_named),
        cmocka_unit_test(test_cli_watch__survives_a_gateway_that_goes_away),
        cmocka_unit_test(test_cli_watch__an_unreachable_gateway_is_3_at_once),
        cmocka_unit_test(test_cli_watch__ctrl_c_leaves_and_the_job_goes_on),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
