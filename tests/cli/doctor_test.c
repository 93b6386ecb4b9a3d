/* kindred doctor against a stack that is well, or has one fault at a time. */
#include <math.h>

#include "lib/base/file.h"
#include "tests/cli/doctor_stack.h"

static kd_server *g_gateway;
static kd_error g_err;
static char g_dir[] = "kd-doctor-XXXXXX";
static char g_picture[64];

/* Its picture is there. */
static void heal(void)
{
    get_well();
    g.uri = g_picture;
}

static int setup(void **state)
{
    kd_image image = KD_IMAGE_INIT;
    kd_buf jpeg = KD_BUF_INIT;
    (void)state;
    CHECK(mkdtemp(g_dir) != NULL);
    (void)snprintf(g_picture, sizeof g_picture, "%s/7.jpg", g_dir);
    CHECK_OK(kd_image_new(&image, 16, 12, &g_err), g_err);
    CHECK_OK(kd_image_encode_jpeg(&image, 90, &jpeg, &g_err), g_err);
    CHECK_OK(kd_file_write(g_picture, jpeg.data, jpeg.len, &g_err), g_err);
    kd_image_free(&image);
    kd_buf_free(&jpeg);
    g_gateway = start_stack();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop_gateway(g_gateway);
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

static int well(void **state)
{
    (void)state;
    heal();
    return 0;
}

/* ---- What it says ---- */

/* Runs it: the check is in this state, with the words in what was seen or is advised. */
static void finds(int exit_status, const char *name, const char *state, const char *words)
{
    static ran r;
    json_error_t fault;
    size_t i;
    json_t *check;
    bool seen = false;
    RUN(&r, cmd_doctor, "doctor", "--json");
    json_t *const checks = json_loads(r.out, 0, &fault);
    if (!json_is_array(checks))
        fail_msg("no array: %s", r.out);
    json_array_foreach(checks, i, check)
    {
        const char *const got = json_string_value(json_object_get(check, "name"));
        const char *const its = json_string_value(json_object_get(check, "state"));
        const char *const detail = json_string_value(json_object_get(check, "detail"));
        const char *const advice = json_string_value(json_object_get(check, "advice"));
        CHECK_INT(4, json_object_size(check));
        CHECK(got && its && detail && advice && *detail);
        /* Who warns or fails says what to do; nobody else does. */
        CHECK_INT(strcmp(its, "warn") == 0 || strcmp(its, "fail") == 0, *advice != '\0');
        if (strcmp(got, name) != 0)
            continue;
        seen = true;
        CHECK_STR(state, its);
        if (!strstr(detail, words) && !strstr(advice, words))
            fail_msg("'%s' is in neither '%s' nor '%s'", words, detail, advice);
    }
    if (!seen)
        fail_msg("no check '%s' in %s", name, r.out);
    CHECK_INT(exit_status, r.status);
    json_decref(checks);
}

static void test_cli_doctor__a_line_has_state_name_detail_and_advice(void **state)
{
    char *line = doctor_line(DOCTOR_FAIL, "disk", "1 B\nfree \033[1m", "Make room.", false);
    (void)state;
    CHECK_STR("fail  disk                  1 B?free ?[1m. Make room.", line);
    free(line);
    line = doctor_line(DOCTOR_OK, "queue", "answers", NULL, true);
    CHECK_STR("\033[32mok  \033[0m  queue                 answers", line);
    free(line);
}

static void test_cli_doctor__all_is_well(void **state)
{
    ran r;
    (void)state;
    RUN(&r, cmd_doctor, "doctor");
    CHECK_STR("", r.err);
    CHECK_INT(0, r.status);
    CHECK_HAS("ok    versions              " KD_VERSION " everywhere\n", r.out);
    CHECK_HAS("ok    disk                  50.0 GB of 100.0 GB free for /data (indexer)\n", r.out);
    CHECK_HAS("ok    cache ", r.out);
    CHECK_HAS("ok    model plain?[31m ", r.out);
    CHECK_HAS("image 7 finds itself at rank 1 with score 1.0000\n", r.out);
    size_t lines = 0, good = 0;
    for (const char *line = r.out; *line; line = strchr(line, '\n') + 1) {
        lines++;
        good += strncmp(line, "ok    ", 6) == 0;
    }
    CHECK_INT(11, lines);
    CHECK_INT(lines, good);
    CHECK(!strstr(r.out, "\033"));
}

static void test_cli_doctor__the_embedder_keeps_the_models_that_it_had(void **state)
{
    (void)state;
    finds(0, "cache", "ok", "second embedding");
    CHECK_INT(1, atomic_load(&g_loaded));
    CHECK_INT(1, atomic_load(&g_unloaded));
    CHECK_INT(0, atomic_load(&g_restored));
    heal();
    g.one_fits = true;
    finds(0, "cache", "ok", "second embedding");
    CHECK_INT(1, atomic_load(&g_unloaded));
    CHECK_INT(1, atomic_load(&g_restored));
}

static void test_cli_doctor__services_and_versions(void **state)
{
    (void)state;
    g.trainer_version = "9.9.9";
    finds(0, "versions", "warn", "trainer 9.9.9");
    g.trainer_version = "";
    finds(0, "versions", "warn", "trainer unknown");
    heal();
    g.embedder_gone = true;
    finds(1, "embedder", "fail", "10.0.0.1:7700: connection refused");
    finds(1, "embedder", "fail", "Start kindred-embedder");
    finds(1, "cache", "skip", "no model embedded");
    finds(1, "collection shop", "skip", "no embedder");
}

static void test_cli_doctor__disk(void **state)
{
    (void)state;
    g.disk_free = 9u * (uint64_t)GB;
    finds(0, "disk", "warn", "9.0 GB of 100.0 GB");
    g.disk_total = 80u * (uint64_t)GB; /* more than a tenth */
    finds(0, "disk", "ok", "9.0 GB");
    g.disk_total = 9000u * (uint64_t)GB;
    g.disk_free = 20u * (uint64_t)GB;
    finds(0, "disk", "ok", "20.0 GB");
    g.disk_free = GB / 2 - 1;
    finds(1, "disk", "fail", "Make room");
    g.disk_free = g.disk_total = 0;
    finds(0, "disk", "skip", "no service says");
}

static void test_cli_doctor__models(void **state)
{
    static const char name[] = "model plain\033[31m";
    (void)state;
    g.rotten = true;
    finds(1, name, "fail", "its file is damaged");
    finds(1, name, "fail", "kindred model rm " MODEL_ID);
    heal();
    g.made[3] = NAN;
    finds(1, name, "fail", "value 4 of 4");
    heal();
    g.made[3] = 0.1f;
    finds(1, name, "fail", "of length 1.0050, not 1");
    heal();
    g.made_values = 3;
    finds(1, name, "fail", "3 values, the model 4");
    heal();
    g.drift = 0.01f;
    finds(1, name, "fail", "two vectors, 0.01 apart");
    heal();
    g.busy = true;
    finds(0, name, "warn", "the queue is full");
    heal();
    g.never_cached = true;
    finds(0, "cache", "warn", "cache_lost");
    CHECK(atomic_load(&g_embedded) > 3);
    heal();
    g.models = 0;
    finds(0, "models", "ok", "kindred model import");
}

static void test_cli_doctor__the_limit_is_told(void **state)
{
    ran r;
    (void)state;
    g.models = MANY;
    finds(0, "models", "skip", "3 of 11 were left out; --limit 11");
    RUN(&r, cmd_doctor, "doctor", "--limit", "11");
    CHECK_INT(0, r.status);
    CHECK(!strstr(r.out, "left out"));
    RUN(&r, cmd_doctor, "doctor", "--limit", "0");
    CHECK_INT(2, r.status);
}

static void test_cli_doctor__collections(void **state)
{
    static const char name[] = "collection shop";
    (void)state;
    g.damage = "a checksum is wrong";
    finds(1, name, "fail", "a checksum is wrong");
    finds(1, name, "fail", "kindred collection restore");
    heal();
    g.model_gone = true;
    finds(1, name, "fail", "its model " MODEL_ID " is gone");
    finds(1, name, "fail", "Bring its model back");
    heal();
    g.stored[0] = INFINITY;
    finds(1, name, "fail", "value 1 of 4 of the vector of image 7");
    heal();
    g.stored[0] = 0;
    finds(1, name, "fail", "of length 0.8000, not 1");
    heal();
    g.uri = "/no/other.jpg";
    finds(0, name, "skip", "/no/other.jpg");
    g.stored[0] = 0; /* also looked at without a file */
    finds(1, name, "fail", "the vector of image 3");
    heal();
    g.found[0] = 9;
    g.found[1] = 7;
    finds(1, name, "fail", "at rank 2 with score 0.5000");
    g.scores[1] = 1; /* a copy */
    finds(0, name, "ok", "rank 1 with score 1.0000");
    g.found[1] = 8;
    finds(1, name, "fail", "does not find itself");
    heal();
    g.scores[0] = 0.99f;
    finds(1, name, "fail", "score 0.9900");
    finds(1, name, "fail", "index the dataset again");
}

static void test_cli_doctor__jobs(void **state)
{
    (void)state;
    g.job_state = KINDRED__V1__JOB_STATE__JOB_STATE_FAILED;
    finds(0, "jobs", "warn", "1 failed in the last week, 0 of them given up");
    g.job_dead = true;
    finds(0, "jobs", "warn", "1 of them given up after their last try; the newest is job-5");
    finds(0, "jobs", "warn", "kindred job list --state failed");
    g.job_age_ms = INT64_C(8) * 24 * 3600 * 1000;
    finds(0, "jobs", "ok", "none failed");
    heal();
    g.job_state = KINDRED__V1__JOB_STATE__JOB_STATE_QUEUED;
    finds(0, "jobs", "ok", "none waits in vain");
    g.job_age_ms = 90000;
    finds(0, "jobs", "warn", "1 wait for over a minute, job-5 the longest, while the trainer");
    g.job_kind = "index";
    finds(0, "jobs", "warn", "while the gateway runs none");
    finds(0, "jobs", "warn", "kindred job list --state queued");
    g.job_state = KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING;
    finds(0, "jobs", "ok", "1 running");
}

static void test_cli_doctor__without_a_gateway(void **state)
{
    ran r;
    json_error_t fault;
    (void)state;
    RUN(&r, cmd_doctor, "doctor", "--gateway", "127.0.0.1:1");
    CHECK_INT(3, r.status);
    CHECK_HAS("fail  gateway               no gateway answers at 127.0.0.1:1. If one", r.out);
    CHECK_HAS("`kindred up`", r.out);
    RUN(&r, cmd_doctor, "doctor", "--gateway", "127.0.0.1:1", "--json");
    CHECK_INT(3, r.status);
    json_t *const checks = json_loads(r.out, 0, &fault);
    CHECK_INT(1, json_array_size(checks));
    CHECK_STR("fail", json_string_value(json_object_get(json_array_get(checks, 0), "state")));
    json_decref(checks);
    RUN(&r, cmd_doctor, "doctor", "--gateway", "nowhere");
    CHECK_INT(2, r.status);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, well)
    const struct CMUnitTest tests[] = {
        TEST(test_cli_doctor__a_line_has_state_name_detail_and_advice),
        TEST(test_cli_doctor__all_is_well),
        TEST(test_cli_doctor__the_embedder_keeps_the_models_that_it_had),
        TEST(test_cli_doctor__services_and_versions),
        TEST(test_cli_doctor__disk),
        TEST(test_cli_doctor__models),
        TEST(test_cli_doctor__the_limit_is_told),
        TEST(test_cli_doctor__collections),
        TEST(test_cli_doctor__jobs),
        TEST(test_cli_doctor__without_a_gateway),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
