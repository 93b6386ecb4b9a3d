/* kill -9 at random moments under upserts and deletes, while segments are sealed, merged and
 * indexed: every acknowledged change is there, none half, none twice, and searches equal brute
 * force. KINDRED_CRASH_ROUNDS: 10. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/indexer/model.h"

enum { ROUNDS = 10, BATCH = 60, IDS = 5000, MOST_MS = 400 };

static const collection_options options = {.seal_rows = 400};

/* A change, told to the parent before it is asked for and again when it was acknowledged. */
typedef struct change {
    uint64_t from, n;
    unsigned version; /* 0: they are deleted */
    bool acknowledged;
} change;

static void apply(model *m, const change *made)
{
    model_put(m, made->from, made->n, made->version);
}

static void *work(void *arg)
{
    for (;;)
        if (!collection_tidy(arg) && !collection_build(arg))
            kd_sleep_ms(1);
    return NULL;
}

static void tell(int to_parent, const change *made)
{
    if (write(to_parent, made, sizeof *made) != (ssize_t)sizeof *made)
        _exit(1);
}

/* The child: changes without end. */
static void write_for_ever(int to_parent, unsigned round)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    pthread_t thread;
    uint64_t seed = round;
    if (collection_open(&c, room_path("boots"), "boots", &options, &err) != KD_OK)
        _exit(1);
    const collection_settings settings = {.index = COLLECTION_HNSW,
        .storage = KD_ANN_INT8,
        .target_recall = 0.95f,
        .durability_window_ms = round % 2 ? 1000 : 0};
    if (collection_configure(c, &settings, &err) != KD_OK ||
        pthread_create(&thread, NULL, work, c) != 0)
        _exit(1);
    for (unsigned i = 1;; i++) {
        change next = {.from = kd_random_next(&seed) % (IDS - BATCH),
            .n = 1 + kd_random_next(&seed) % BATCH,
            .version = kd_random_next(&seed) % 4 ? round * 10000 + i : 0};
        tell(to_parent, &next);
        if (next.version) {
            if (put_images(c, next.from, next.n, next.version, &err) != KD_OK)
                _exit(1);
        } else {
            remove_images(c, next.from, next.n);
        }
        next.acknowledged = true;
        tell(to_parent, &next);
    }
}

/* Takes in what was told until the child is gone; the change that was under way is left in *last.
 */
static bool listen_to(int from_child, model *m, change *last)
{
    change heard;
    while (read(from_child, &heard, sizeof heard) == (ssize_t)sizeof heard) {
        *last = heard;
        if (heard.acknowledged)
            apply(m, &heard);
    }
    return !last->acknowledged && last->n > 0;
}

static bool is_there(collection *c, uint64_t id, unsigned version)
{
    collection_found found;
    image one;
    float values[DIM];
    if (collection_get(c, id, &found, values, NULL) != KD_OK)
        return version == 0;
    image_make(&one, id, version);
    collection_found_free(&found);
    return version != 0 && memcmp(values, one.values, sizeof values) == 0;
}

/* Ids by the list, each once. */
static void check_list(const model *m, collection *c)
{
    kd_error err = KD_ERROR_INIT;
    collection_found found;
    uint64_t listed = 0;
    for (uint64_t from = 0; from < MODEL_IDS;) {
        CHECK_OK(collection_list(c, from, 1000, &found, &err), err);
        for (size_t i = 0; i < found.counts[0]; i++) {
            CHECK(found.hits[i].item.image_id >= from);
            from = found.hits[i].item.image_id + 1;
            CHECK(m->versions[from - 1] != 0);
        }
        listed += found.counts[0];
        if (found.counts[0] < 1000)
            from = MODEL_IDS;
        collection_found_free(&found);
    }
    CHECK_INT(model_count(m), listed);
}

static void kill_at_a_random_moment(model *m, unsigned round)
{
    int ends[2];
    uint64_t seed = round * 77;
    CHECK_INT(0, pipe(ends));
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        write_for_ever(ends[1], round);
    }
    close(ends[1]);
    change last = {0};
    CHECK_INT(sizeof last, read(ends[0], &last, sizeof last)); /* it has begun */
    kd_sleep_ms((int64_t)(kd_random_next(&seed) % MOST_MS));
    CHECK_INT(0, kill(child, SIGKILL));
    const bool under_way = listen_to(ends[0], m, &last);
    close(ends[0]);
    int how = 0;
    CHECK_INT(child, waitpid(child, &how, 0));
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);

    collection *c = open_boots(&options);
    if (under_way) { /* all of it or nothing */
        model with = *m;
        apply(&with, &last);
        bool done = true;
        for (uint64_t id = last.from; id < last.from + last.n; id++)
            done = done && is_there(c, id, with.versions[id]);
        if (done)
            *m = with;
    }
    model_check_all(m, c);
    check_list(m, c);
    collection_release(c);
}

static void test_crash__loses_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    static model m;
    const char *const asked = getenv("KINDRED_CRASH_ROUNDS");
    uint64_t rounds = ROUNDS;
    if (asked)
        CHECK(kd_parse_u64(asked, 1, 100000, &rounds));
    collection_release(make_boots(&options));
    for (unsigned round = 1; round <= rounds; round++)
        kill_at_a_random_moment(&m, round);
    collection *c = open_boots(&options);
    collection_info info;
    collection_describe(c, &info);
    CHECK(rounds < ROUNDS || info.segments > 0);
    collection_release(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_crash__loses_nothing_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
