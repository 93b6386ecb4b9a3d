/* Segments: what is searched is what was stored, whatever was sealed, merged, damaged or lost. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "services/indexer/sampler.h"
#include "tests/indexer/model.h"

static model boots;

static void put(collection *c, uint64_t from, size_t n, unsigned version)
{
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(put_images(c, from, n, version, &err), err);
    model_put(&boots, from, n, version);
}

static void take(collection *c, uint64_t from, size_t n)
{
    remove_images(c, from, n);
    model_put(&boots, from, n, 0);
}

static int enter(void **state)
{
    memset(&boots, 0, sizeof boots);
    return room_enter(state);
}

static collection_info describe(collection *c)
{
    collection_info info;
    collection_describe(c, &info);
    return info;
}

static void set_index(
    collection *c, collection_index index, kd_ann_storage storage, float target_recall)
{
    kd_error err = KD_ERROR_INIT;
    const collection_settings settings = {index, storage, target_recall, 0};
    CHECK_OK(collection_configure(c, &settings, &err), err);
}

/* ---- Exact ---- */

static void test_segments__equal_brute_force_after_changes_merges_and_restarts(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 64};
    collection *c = make_boots(&options);
    uint64_t seed = 3;
    size_t most = 0;
    for (unsigned round = 1; round <= 40; round++) {
        const uint64_t from = kd_random_next(&seed) % 1000;
        const size_t n = 1 + kd_random_next(&seed) % 120;
        if (round % 4 == 3)
            take(c, from, n);
        else
            put(c, from, n, round);
        for (uint64_t steps = kd_random_next(&seed) % 6; steps > 0; steps--)
            (void)collection_tidy(c);
        if (round % 5 == 0)
            settle(c);
        if (round % 8 == 0) {
            collection_release(c);
            c = open_boots(&options);
        }
        if (round % 3 == 0)
            model_check_all(&boots, c);
        most = describe(c).segments > most ? describe(c).segments : most;
    }
    CHECK(most >= 3);
    settle(c);
    model_check_all(&boots, c);
    const collection_info info = describe(c);
    CHECK(!info.building);
    CHECK_STR("", info.problem);
    CHECK(info.growing < 64);
    CHECK(info.dead * 4 <= info.sealed + info.dead);
    CHECK(info.mapped_bytes >= info.sealed * DIM * sizeof(float));
    take(c, 0, 2000); /* all */
    settle(c);
    CHECK_INT(0, describe(c).segments);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_segments__leave_sealed_vectors_out_of_memory(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1000};
    collection *c = make_boots(&options);
    for (uint64_t from = 0; from < 4000; from += 1000)
        put(c, from, 1000, 1);
    const uint64_t before = describe(c).memory_bytes;
    settle(c);
    const collection_info info = describe(c);
    CHECK_INT(0, info.growing);
    CHECK_INT(4000, info.sealed);
    CHECK_INT(1, info.segments);
    CHECK(before - info.memory_bytes >= 4000 * (DIM * sizeof(float) + 4));
    collection_release(c);
}

static size_t count_files(const char *ending)
{
    size_t n = 0;
    DIR *const dir = opendir(room_path("boots/segments"));
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *const dot = strrchr(entry->d_name, '.');
        n += dot && strcmp(dot, ending) == 0;
    }
    if (dir)
        closedir(dir);
    return n;
}

/* ---- Approximate ---- */

/* Of the exact hits, what part the approximate search finds; filter may be {0}. */
static double recall(collection *c, collection_filter filter)
{
    enum { QUERIES = 25, K = 10 };
    kd_error err = KD_ERROR_INIT;
    size_t right = 0, of = 0;
    for (uint64_t q = 0; q < QUERIES; q++) {
        image query;
        image_make(&query, q, 800000);
        collection_search how = {
            .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = K, .filter = filter};
        collection_found found, exact;
        CHECK_OK(collection_search_run(c, &how, &found, &err), err);
        how.exact = true;
        CHECK_OK(collection_search_run(c, &how, &exact, &err), err);
        CHECK_INT(exact.counts[0], found.counts[0]);
        of += exact.counts[0];
        for (size_t i = 0, j = 0; i < exact.counts[0] && j < found.counts[0];) {
            const bool same = exact.hits[i].item.image_id == found.hits[j].item.image_id;
            if (same)
                assert_memory_equal(&exact.hits[i].score, &found.hits[j].score, sizeof(float));
            right += same;
            j += same;
            i++;
        }
        collection_found_free(&found);
        collection_found_free(&exact);
    }
    return (double)right / (double)of;
}

/* Without a filter and with ones that 1 %, 10 % and 50 % of some 6000 images pass. */
static void check_recall(collection *c)
{
    static const double parts[] = {0.01, 0.1, 0.5};
    CHECK(recall(c, (collection_filter){0}) >= 0.93);
    for (size_t i = 0; i < 3; i++) {
        const collection_condition price = {
            .name = "price", .min = 0, .max = 6000 * parts[i] * 1.5};
        CHECK(recall(c, (collection_filter){.conditions = &price, .n_conditions = 1}) >= 0.93);
    }
}

static void check_index(collection_index index, kd_ann_storage storage)
{
    const collection_options options = {.seal_rows = 1500};
    collection *c = make_boots(&options);
    set_index(c, index, storage, 0.95f);
    for (uint64_t from = 0; from < 6000; from += 1500) {
        put(c, from, 1500, 1);
        (void)collection_tidy(c);
    }
    CHECK(describe(c).building);
    settle(c);
    collection_info info = describe(c);
    CHECK_INT(index, info.in_use);
    CHECK(info.segments > 0 && info.approximate_segments == info.segments);
    CHECK(info.recall >= 0.95f);
    CHECK(!info.building);
    check_recall(c);
    put(c, 6000, 800, 1); /* into the growing part */
    put(c, 100, 400, 2);
    check_recall(c);
    take(c, 1000, 900);
    check_recall(c);
    settle(c);
    check_recall(c);
    model_check_all(&boots, c);
    info = describe(c);
    collection_release(c);
    c = open_boots(&options);
    CHECK_INT(index, describe(c).settings.index);
    CHECK_INT(0, describe(c).approximate_segments); /* searched exactly until they are loaded */
    CHECK(describe(c).building);
    CHECK(recall(c, (collection_filter){0}) == 1);
    const int64_t begun = kd_mono_ms();
    CHECK(collection_build(c));
    CHECK(kd_mono_ms() - begun < 300); /* loaded, not built */
    settle(c);
    CHECK_INT(info.approximate_segments, describe(c).approximate_segments);
    CHECK(info.recall == describe(c).recall);
    check_recall(c);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_index_hnsw__keeps_its_recall(void **state)
{
    (void)state;
    check_index(COLLECTION_HNSW, KD_ANN_INT8);
}

static void test_index_ivf__keeps_its_recall(void **state)
{
    (void)state;
    check_index(COLLECTION_IVF, KD_ANN_FLOAT16);
}

static void test_merge__leaves_the_indexes_until_it_has_its_own(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1200};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    for (uint64_t from = 0; from < 3600; from += 1200) {
        put(c, from, 1200, 1);
        settle(c);
    }
    CHECK_INT(3, describe(c).approximate_segments);
    put(c, 3600, 1200, 1);
    while (collection_tidy(c))
        continue;
    CHECK_INT(4, describe(c).segments);
    CHECK_INT(3, describe(c).approximate_segments);
    CHECK_INT(5, count_files(".vec"));
    CHECK(describe(c).building);
    put(c, 1100, 300, 2);
    take(c, 3500, 200);
    model_check_all(&boots, c);
    check_recall(c);
    CHECK(collection_build(c));
    CHECK_INT(1, describe(c).segments);
    CHECK_INT(1, describe(c).approximate_segments);
    CHECK_INT(1, count_files(".vec"));
    CHECK_INT(500, describe(c).dead);
    model_check_all(&boots, c);
    check_recall(c);
    settle(c);
    collection_release(c);
    c = open_boots(&options); /* it is as good when the merge does not come to its end */
    put(c, 0, 1200, 3);
    while (collection_tidy(c))
        continue;
    collection_release(c);
    c = open_boots(&options);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_index_auto__is_approximate_from_a_size_on(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 500, .approximate_rows = 3000};
    collection *c = make_boots(&options);
    put(c, 0, 2900, 1);
    settle(c);
    CHECK_INT(COLLECTION_EXACT, describe(c).in_use);
    CHECK_INT(0, describe(c).approximate_segments);
    put(c, 2900, 200, 1);
    CHECK_INT(COLLECTION_HNSW, describe(c).in_use);
    settle(c);
    CHECK(describe(c).approximate_segments > 0);
    take(c, 0, 500); /* exact again, but the index stays for a while */
    settle(c);
    CHECK_INT(COLLECTION_EXACT, describe(c).in_use);
    take(c, 500, 1500);
    settle(c);
    CHECK_INT(0, describe(c).approximate_segments);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_settings__last_and_are_checked(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const collection_options options = {.seal_rows = 1200};
    collection *c = make_boots(&options);
    const collection_settings bad[] = {{COLLECTION_HNSW, KD_ANN_INT8, 1.5f, 0},
        {COLLECTION_HNSW, KD_ANN_INT8, 0.3f, 0}, {(collection_index)9, KD_ANN_INT8, 0.9f, 0},
        {COLLECTION_IVF, KD_ANN_INT8, 0.9f, COLLECTION_MAX_WINDOW_MS + 1}};
    for (size_t i = 0; i < 4; i++)
        CHECK_FAILS(KD_INVALID_ARGUMENT, collection_configure(c, &bad[i], &err), err);
    CHECK_HAS("60001 ms, allowed are 0 and 10 to 60000", err.message);
    put(c, 0, 1200, 1);
    set_index(c, COLLECTION_HNSW, KD_ANN_FLOAT32, 0.9f);
    settle(c);
    CHECK_INT(1, count_files(".ann"));
    set_index(c, COLLECTION_IVF, KD_ANN_FLOAT16, 0.99f);
    CHECK(describe(c).building);
    settle(c);
    CHECK(describe(c).recall >= 0.99f);
    collection_release(c);
    c = open_boots(&options);
    CHECK_INT(COLLECTION_IVF, describe(c).settings.index);
    CHECK_INT(KD_ANN_FLOAT16, describe(c).settings.storage);
    CHECK(describe(c).settings.target_recall == 0.99f);
    set_index(c, COLLECTION_EXACT, KD_ANN_INT8, 0.95f);
    CHECK_INT(COLLECTION_EXACT, describe(c).in_use);
    settle(c);
    set_index(c, COLLECTION_EXACT, KD_ANN_INT8, 0.95f);
    settle(c);
    CHECK_INT(0, describe(c).approximate_segments);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_live_recall__is_measured_on_live_queries(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_metrics *metrics = NULL;
    sampler *s = NULL;
    CHECK_OK(kd_metrics_new(&metrics, &err), err);
    CHECK_OK(sampler_new(&s, 1, metrics, &err), err);
    const collection_options options = {.seal_rows = 1500, .sampler = s};
    collection *c = make_boots(&options);
    put(c, 0, 3000, 1);
    (void)recall(c, (collection_filter){0});
    sampler_drain(s);
    CHECK_INT(0, describe(c).live_queries); /* exact: there is nothing to know */
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    settle(c);
    const collection_condition price = {.name = "price", .min = 0, .max = 2000};
    for (int i = 0; i < 4; i++) {
        (void)recall(c, (collection_filter){0});
        sampler_drain(s);
        (void)recall(c, (collection_filter){.conditions = &price, .n_conditions = 1});
        sampler_drain(s);
    }
    const collection_info info = describe(c);
    CHECK(info.live_queries >= 8); /* some were dropped while it was busy */
    CHECK(info.live_recall >= 0.9f && info.live_recall <= 1);
    kd_buf text = KD_BUF_INIT;
    kd_metrics_print(metrics, &text);
    kd_buf_append(&text, "", 1);
    CHECK_HAS("kindred_index_live_recall{collection=\"boots\"} ", (const char *)text.data);
    kd_buf_free(&text);
    sampler_free(s);
    collection_release(c);
    kd_metrics_free(metrics);
}

/* ---- Damage ---- */

/* DIR/boots/segments/ the only file with that ending. */
static const char *only_file(const char *ending)
{
    static char path[300];
    DIR *const dir = opendir(room_path("boots/segments"));
    path[0] = '\0';
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *const dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ending) == 0)
            (void)snprintf(
                path, sizeof path, "%s/%.40s", room_path("boots/segments"), entry->d_name);
    }
    if (dir)
        closedir(dir);
    return path;
}

static void flip(const char *file, long at)
{
    struct stat info;
    CHECK_INT(0, stat(file, &info));
    uint8_t byte;
    const int fd = open(file, O_RDWR);
    at = at < 0 ? info.st_size + at : at;
    CHECK_INT(1, pread(fd, &byte, 1, at));
    byte ^= 0x10;
    CHECK_INT(1, pwrite(fd, &byte, 1, at));
    close(fd);
}

static void test_damage__of_a_segment_is_found_and_mended(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1200};
    /* magic, head, a vector, the last hash; below: an id */
    static const long places[] = {1, 9, 4096 + 77, -3, 4096 + 1200 * DIM * 4 + 801};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    put(c, 0, 1200, 1);
    put(c, 2000, 100, 1);
    for (size_t i = 0; i < 8; i++) {
        settle(c);
        CHECK_INT(1, describe(c).approximate_segments);
        CHECK_INT(1, count_files(".vec"));
        put(c, 5, 10, (unsigned)i + 2); /* dead rows in it */
        collection_release(c);
        if (i < 5)
            flip(only_file(".vec"), places[i]);
        else if (i == 5)
            CHECK_INT(0, truncate(only_file(".vec"), 5000));
        else if (i == 6)
            CHECK_INT(0, unlink(only_file(".vec")));
        else
            CHECK_OK(kd_remove_tree(room_path("boots/segments"), &(kd_error){0}), (kd_error){0});
        c = open_boots(&options);
        CHECK_STR("", describe(c).problem);
        model_check_all(&boots, c);
    }
    settle(c);
    for (size_t i = 0; i < 6; i++) { /* of the index: head, arrays, end */
        static const long at[] = {3, 30, 200, 5000, 60000, -9};
        collection_release(c);
        flip(only_file(".ann"), at[i]);
        c = open_boots(&options);
        settle(c);
        CHECK_INT(1, describe(c).approximate_segments);
        CHECK(recall(c, (collection_filter){0}) >= 0.93);
    }
    model_check_all(&boots, c);
    collection_release(c);
}

/* While it is mapped: who merges it finds out, and takes the rows from the truth. */
static void test_damage__of_a_mapped_segment_is_not_copied(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 300};
    collection *c = make_boots(&options);
    put(c, 0, 300, 1);
    settle(c);
    flip(only_file(".vec"), 4096 + 640);
    for (uint64_t from = 300; from < 1200; from += 300) {
        put(c, from, 300, 1);
        settle(c);
    }
    CHECK_HAS("was damaged", describe(c).problem);
    const int64_t end = kd_mono_ms() + 20000; /* it waits before it tries again */
    while (describe(c).building && kd_mono_ms() < end) {
        settle(c);
        kd_sleep_ms(20);
    }
    CHECK_STR("", describe(c).problem);
    model_check_all(&boots, c);
    collection_release(c);
    c = open_boots(&options);
    model_check_all(&boots, c);
    collection_release(c);
}

static void damage_truth(uint64_t id)
{
    sqlite3 *sqlite = NULL;
    char sql[100];
    (void)snprintf(sql, sizeof sql, "UPDATE vectors SET vector = zeroblob(64) WHERE image_id = %u",
        (unsigned)id);
    CHECK_INT(SQLITE_OK, sqlite3_open(room_path("boots/collection.db"), &sqlite));
    CHECK_INT(SQLITE_OK, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
    sqlite3_close(sqlite);
}

static void test_damage__of_the_truth_of_a_sealed_row_is_mended_or_told(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const collection_options options = {.seal_rows = 600};
    collection *c = make_boots(&options);
    put(c, 0, 600, 1);
    settle(c);
    collection_release(c);
    damage_truth(44);
    damage_truth(599);
    c = open_boots(&options); /* the segment has what the rows' checksums ask for */
    model_check_all(&boots, c);
    while (collection_verify(c))
        continue;
    CHECK_STR("", describe(c).problem);
    collection_release(c);
    CHECK_INT(0, unlink(only_file(".vec")));
    c = open_boots(&options);
    model_check_all(&boots, c);
    settle(c);
    collection_release(c);
    damage_truth(44);
    CHECK_INT(0, unlink(only_file(".vec"))); /* both at once */
    CHECK_FAILS(
        KD_DATA_LOSS, collection_open(&c, room_path("boots"), "boots", &options, &err), err);
    CHECK_HAS("the row of image 44 fails its checksum", err.message);
}

/* ---- Disks ---- */

static bool mounted;

static int leave_mounted(void **state)
{
    if (mounted && umount(room_path("boots/segments")) != 0)
        return 1;
    mounted = false;
    return room_leave(state);
}

/* The disk of the segments alone: what is stored is safe, and what is searched is exact. */
static void test_full_disk__leaves_the_exact_part_and_says_why(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 300};
    collection *c = make_boots(&options);
    CHECK_INT(0, mkdir(room_path("boots/segments"), 0755));
    if (mount("tmpfs", room_path("boots/segments"), "tmpfs", 0, "size=16k") != 0) {
        print_message("mounting needs root: %s\n", strerror(errno));
        collection_release(c);
        skip();
    }
    mounted = true;
    put(c, 0, 400, 1);
    settle(c);
    CHECK_HAS("No space left on device", describe(c).problem);
    CHECK_HAS(".vec", describe(c).problem);
    CHECK_INT(0, count_files(".vec") + count_files(".new"));
    put(c, 390, 500, 2);
    model_check_all(&boots, c);
    CHECK_INT(0, mount("tmpfs", room_path("boots/segments"), "tmpfs", MS_REMOUNT, "size=1m"));
    const int64_t end = kd_mono_ms() + 20000;
    while (describe(c).building && kd_mono_ms() < end) {
        settle(c);
        kd_sleep_ms(20);
    }
    CHECK_STR("", describe(c).problem);
    CHECK(describe(c).mapped_bytes > 0);
    model_check_all(&boots, c);
    collection_release(c);
}

#define SEGMENTS_TEST(name) cmocka_unit_test_setup_teardown(name, enter, room_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEGMENTS_TEST(test_segments__equal_brute_force_after_changes_merges_and_restarts),
        SEGMENTS_TEST(test_segments__leave_sealed_vectors_out_of_memory),
        SEGMENTS_TEST(test_index_hnsw__keeps_its_recall),
        SEGMENTS_TEST(test_index_ivf__keeps_its_recall),
        SEGMENTS_TEST(test_merge__leaves_the_indexes_until_it_has_its_own),
        SEGMENTS_TEST(test_index_auto__is_approximate_from_a_size_on),
        SEGMENTS_TEST(test_settings__last_and_are_checked),
        SEGMENTS_TEST(test_live_recall__is_measured_on_live_queries),
        SEGMENTS_TEST(test_damage__of_a_segment_is_found_and_mended),
        SEGMENTS_TEST(test_damage__of_a_mapped_segment_is_not_copied),
        SEGMENTS_TEST(test_damage__of_the_truth_of_a_sealed_row_is_mended_or_told),
        cmocka_unit_test_setup_teardown(
            test_full_disk__leaves_the_exact_part_and_says_why, enter, leave_mounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
