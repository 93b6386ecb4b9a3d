/* With an argument it writes a sample there instead: events_check.py reads it. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "services/trainer/events.h"
#include "tests/support/check.h"

static kd_error g_err = KD_ERROR_INIT;
static char g_dir[64];
static char g_path[128];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(g_dir, sizeof g_dir, "/tmp/kindred-events-XXXXXX");
    if (!mkdtemp(g_dir))
        return 1;
    (void)snprintf(g_path, sizeof g_path, "%s/" TRAIN_EVENTS_NAME, g_dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : 1;
}

/* ---- Helpers ---- */

static kd_buf file_bytes(void)
{
    kd_buf bytes = KD_BUF_INIT;
    CHECK_OK(kd_file_read(g_path, 1u << 20, &bytes, &g_err), g_err);
    return bytes;
}

static uint32_t u32_at(const kd_buf *bytes, size_t at)
{
    CHECK(at + 4 <= bytes->len);
    const uint8_t *const b = bytes->data + at;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint32_t masked(const uint8_t *bytes, size_t len)
{
    const uint32_t crc = kd_crc32c(0, bytes, len);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* Checks the record at `at`; the place of the next. */
static size_t check_record(const kd_buf *bytes, size_t at)
{
    const size_t len = u32_at(bytes, at);
    CHECK_INT(0, u32_at(bytes, at + 4));
    CHECK_INT(masked(bytes->data + at, 8), u32_at(bytes, at + 8));
    CHECK_INT(masked(bytes->data + at + 12, len), u32_at(bytes, at + 12 + len));
    return at + 12 + len + 4;
}

static size_t count_records(void)
{
    kd_buf bytes = file_bytes();
    size_t n = 0;
    for (size_t at = 0; at < bytes.len; n++)
        at = check_record(&bytes, at);
    kd_buf_free(&bytes);
    return n;
}

static train_events *opened(uint64_t keep)
{
    train_events *events;
    CHECK_OK(train_events_open(&events, g_path, keep, &g_err), g_err);
    return events;
}

static void add(train_events *events, int64_t step, double loss)
{
    const train_scalar scalars[] = {{"train/loss", loss}, {"train/rate", 0.5}};
    CHECK_OK(
        train_events_add(events, step, 1700000000.25 + (double)step, scalars, 2, &g_err), g_err);
}

static uint64_t synced(train_events *events)
{
    uint64_t bytes;
    CHECK_OK(train_events_sync(events, &bytes, &g_err), g_err);
    return bytes;
}

static uint64_t write_file(int64_t steps)
{
    train_events *const events = opened(0);
    for (int64_t i = 0; i < steps; i++)
        add(events, i, 1);
    const uint64_t bytes = synced(events);
    train_events_free(events);
    return bytes;
}

static void flip_byte(long at)
{
    FILE *const file = fopen(g_path, "r+be");
    CHECK(file && fseek(file, at, SEEK_SET) == 0);
    const int was = fgetc(file);
    CHECK(fseek(file, at, SEEK_SET) == 0 && fputc(was ^ 1, file) != EOF && fclose(file) == 0);
}

/* ---- Cases ---- */

static void test_trainer_events__records_are_framed(void **state)
{
    /* Event{step: 3, wall_time: 1.5, summary: {value: {tag: "a", simple_value: 0}}}, by hand. */
    static const uint8_t expected[] = {0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 3, 0x2a, 10, 0x0a,
        8, 0x0a, 1, 'a', 0x15, 0, 0, 0, 0};
    const train_scalar scalar = {"a", 0};
    (void)state;
    train_events *const events = opened(0);
    CHECK_OK(train_events_add(events, 3, 1.5, &scalar, 1, &g_err), g_err);
    const uint64_t size = synced(events);
    train_events_free(events);
    kd_buf bytes = file_bytes();
    CHECK_INT(size, bytes.len);
    const size_t second = check_record(&bytes, 0);
    assert_memory_equal("\x1a\x0d"
                        "brain.Event:2",
        bytes.data + 12 + 9, 15);
    CHECK_INT(sizeof expected, u32_at(&bytes, second));
    assert_memory_equal(expected, bytes.data + second + 12, sizeof expected);
    CHECK_INT(bytes.len, check_record(&bytes, second));
    kd_buf_free(&bytes);
}

static void test_trainer_events__goes_on_where_a_checkpoint_was(void **state)
{
    (void)state;
    train_events *events = opened(0);
    add(events, 0, 3);
    add(events, 1, 2);
    const uint64_t keep = synced(events);
    add(events, 2, 1);
    CHECK(synced(events) > keep);
    add(events, 3, 1); /* never written */
    train_events_free(events);
    CHECK_INT(4, count_records());

    events = opened(keep);
    CHECK_INT(3, count_records());
    CHECK_INT(keep, synced(events));
    add(events, 2, 0.5);
    CHECK(synced(events) > keep);
    train_events_free(events);
    CHECK_INT(4, count_records());
}

static void test_trainer_events__begins_anew_when_nothing_is_kept(void **state)
{
    (void)state;
    (void)write_file(5);
    train_events *const events = opened(0);
    (void)synced(events);
    train_events_free(events);
    CHECK_INT(1, count_records());
}

static void check_begins_anew(uint64_t keep)
{
    train_events *const events = opened(keep);
    add(events, 7, 1);
    (void)synced(events);
    train_events_free(events);
    CHECK_INT(2, count_records());
}

static void test_trainer_events__begins_anew_after_damage(void **state)
{
    (void)state;
    check_begins_anew(100);               /* no file */
    check_begins_anew(write_file(5) + 1); /* shorter than it was */
    check_begins_anew(write_file(5) - 1); /* no record ends there */
    const uint64_t size = write_file(5);
    const long places[] = {0, 7, 9, 12, 30, (long)size - 20, (long)size - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const uint64_t keep = write_file(5);
        flip_byte(places[i]);
        check_begins_anew(keep);
    }
    const uint64_t keep = write_file(5); /* what comes behind doesn't matter */
    FILE *const file = fopen(g_path, "abe");
    CHECK(file && fputs("half a record", file) >= 0 && fclose(file) == 0);
    train_events *const events = opened(keep);
    CHECK_INT(keep, synced(events));
    train_events_free(events);
    CHECK_INT(6, count_records());
}

/* A limit on the file's size stands in for the end of the disk: the kernel writes what fits. */
static void test_trainer_events__a_full_disk_leaves_what_reads(void **state)
{
    struct rlimit was;
    uint64_t bytes;
    (void)state;
    train_events *const events = opened(0);
    add(events, 0, 3);
    const uint64_t keep = synced(events);
    add(events, 1, 2);
    add(events, 2, 1);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &was) == 0);
    const struct rlimit limit = {.rlim_cur = keep + 70, .rlim_max = was.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const kd_status status = train_events_sync(events, &bytes, &g_err);
    CHECK(setrlimit(RLIMIT_FSIZE, &was) == 0);
    (void)signal(SIGXFSZ, handler);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, status);
    CHECK_HAS(TRAIN_EVENTS_NAME, g_err.message);
    CHECK_INT(keep, bytes);
    CHECK_INT(2, count_records());
    CHECK(synced(events) > keep); /* there is room again */
    train_events_free(events);
    CHECK_INT(4, count_records());
}

static void test_trainer_events__names_a_file_it_cannot_open(void **state)
{
    train_events *events;
    (void)state;
    CHECK_FAILS(
        KD_NOT_FOUND, train_events_open(&events, "/nonexistent/x.tfevents", 0, &g_err), g_err);
    CHECK_HAS("/nonexistent/x.tfevents", g_err.message);
    assert_null(events);
    train_events_free(NULL);
}

/* ---- The sample ---- */

static void add_sample(train_events *events, int64_t from, int64_t to, double off)
{
    for (int64_t step = from; step < to; step++) {
        const double x = (double)step;
        const train_scalar of_step[] = {
            {"train/loss", 1 / (x + 1) + off}, {"train/rate", 1e-6 * x}};
        const train_scalar of_epoch[] = {{"validation/recall@1", x / 100 + off}, {"größe", -x}};
        CHECK_OK(train_events_add(events, step, 1700000000.5 + x, of_step, 2, &g_err), g_err);
        if (step % 10 == 0)
            CHECK_OK(train_events_add(events, step, 1700000000.5 + x, of_epoch, 2, &g_err), g_err);
    }
}

/* A hundred steps of a run that was stopped between the sixtieth and the eightieth. */
static void write_sample(void **state)
{
    (void)state;
    train_events *events = opened(0);
    add_sample(events, 0, 60, 0);
    const uint64_t keep = synced(events);
    add_sample(events, 60, 80, 1000);
    (void)synced(events);
    train_events_free(events);
    events = opened(keep);
    add_sample(events, 60, 100, 0);
    (void)synced(events);
    train_events_free(events);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest sample[] = {cmocka_unit_test(write_sample)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_trainer_events__records_are_framed, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_trainer_events__goes_on_where_a_checkpoint_was, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_trainer_events__begins_anew_when_nothing_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_trainer_events__begins_anew_after_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_trainer_events__a_full_disk_leaves_what_reads, setup, teardown),
        cmocka_unit_test(test_trainer_events__names_a_file_it_cannot_open),
    };
    if (argc == 2) {
        (void)snprintf(g_path, sizeof g_path, "%s", argv[1]);
        return cmocka_run_group_tests(sample, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
