/* kill -9 in the middle of writing: what was acknowledged is there, and nothing half. */
#include <signal.h>
#include <sys/wait.h>

#include "tests/indexer/room.h"

enum { BATCH = 32 };

/* The child: changes without end, each told to the parent once it was acknowledged. */
static void write_for_ever(int to_parent, uint64_t first_batch)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    if (collection_open(&c, room_path("boots"), "boots", &err) != KD_OK)
        _exit(1);
    for (uint64_t batch = first_batch;; batch++) {
        if (put_images(c, batch * BATCH, BATCH, 1, &err) != KD_OK)
            _exit(1);
        if (write(to_parent, &batch, sizeof batch) != (ssize_t)sizeof batch)
            _exit(1);
    }
}

static void test_crash__loses_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("boots"), "boots", MODEL, DIM, &err), err);
    collection_release(c);
    uint64_t batches = 0; /* that are known to be there */
    for (uint64_t round = 0; round < 8; round++) {
        int ends[2];
        CHECK_INT(0, pipe(ends));
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_for_ever(ends[1], batches);
        }
        close(ends[1]);
        uint64_t batch = 0;
        for (uint64_t told = 0; told <= 5 * round; told++)
            CHECK_INT(sizeof batch, read(ends[0], &batch, sizeof batch));
        CHECK_INT(0, kill(child, SIGKILL));
        while (read(ends[0], &batch, sizeof batch) == (ssize_t)sizeof batch)
            continue; /* acknowledged before the kill came */
        close(ends[0]);
        int how = 0;
        CHECK_INT(child, waitpid(child, &how, 0));
        CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);

        CHECK_OK(collection_open(&c, room_path("boots"), "boots", &err), err);
        const uint64_t count = count_of(c);
        CHECK_INT(0, count % BATCH); /* whole changes only */
        CHECK(count / BATCH >= batch + 1);
        for (uint64_t id = 0; id < (batch + 1) * BATCH; id++)
            check_image(c, id, 1);
        batches = count / BATCH;
        collection_release(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_crash__loses_nothing_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
