/* kindred-draw, run as a program: the sets that the demo and other tests are made from. */
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/image/picture.h"

#define KINDS 12
#define PRODUCTS 2
#define VIEWS 5
#define TRAIN (VIEWS - 1)
#define N_TRAIN (KINDS * PRODUCTS * TRAIN)
#define N_TEST (KINDS * PRODUCTS)
#define LISTING_HEADER "image_id class_id super_class_id path\n"

extern char **environ;

/* The test's folder, removed at its end. */
typedef struct room {
    char folder[64];
} room;

static int make_room(void **state)
{
    room *const r = malloc(sizeof *r);
    if (!r)
        return -1;
    (void)strcpy(r->folder, "kindred-draw-XXXXXX");
    if (!mkdtemp(r->folder))
        return -1;
    *state = r;
    return 0;
}

static int remove_room(void **state)
{
    kd_error err = KD_ERROR_INIT;
    room *const r = *state;
    const kd_status status = kd_remove_tree(r->folder, &err);
    free(r);
    return status == KD_OK ? 0 : -1;
}

/* Runs the program without its output; the exit status. */
static int run(const char *const *arguments)
{
    posix_spawn_file_actions_t quiet;
    const char *argv[16] = {KD_DRAW};
    pid_t pid;
    int code;
    for (size_t i = 0; arguments[i] && i < 14; i++)
        argv[i + 1] = arguments[i];
    CHECK(posix_spawn_file_actions_init(&quiet) == 0);
    CHECK(posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", 1, 0) == 0);
    CHECK(posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", 1, 0) == 0);
    CHECK(posix_spawn(&pid, KD_DRAW, &quiet, NULL, (char *const *)argv, environ) == 0);
    (void)posix_spawn_file_actions_destroy(&quiet);
    CHECK(waitpid(pid, &code, 0) == pid);
    CHECK(WIFEXITED(code));
    return WEXITSTATUS(code);
}

/* A small set in the room's folder/name. */
static void draw_set(const room *r, const char *name, const char *seed, const char *broken)
{
    char folder[128];
    (void)snprintf(folder, sizeof folder, "%s/%s", r->folder, name);
    CHECK_INT(0, run((const char *const[]){folder, "--products", "2", "--views", "5", "--size",
                     "64", "--seed", seed, "--break", broken, NULL}));
}

static kd_buf read_set(const room *r, const char *name, const char *file)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf bytes = KD_BUF_INIT;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s/%s", r->folder, name, file);
    CHECK_OK(kd_file_read(path, KD_IMAGE_MAX_BYTES, &bytes, &err), err);
    return bytes;
}

static bool same_file(const room *r, const char *one, const char *two, const char *file)
{
    kd_buf a = read_set(r, one, file), b = read_set(r, two, file);
    const bool same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
    kd_buf_free(&a);
    kd_buf_free(&b);
    return same;
}

typedef struct entry {
    int image_id, class_id, super_class_id;
    char path[128];
} entry;

/* Reads one line at *text and moves on; false at the end. */
static bool next_entry(const char **text, entry *e)
{
    int used = 0;
    if (**text == '\0')
        return false;
    /* NOLINTNEXTLINE(cert-err34-c): the ids are checked by the caller */
    CHECK_INT(4, sscanf(*text, "%d %d %d %127s%n", &e->image_id, &e->class_id, &e->super_class_id,
                     e->path, &used));
    CHECK((*text)[used] == '\n');
    *text += used + 1;
    return true;
}

/* Checks a listing of n lines whose ids begin at first, each class views times. */
static void check_listing(const kd_buf *listing, int first, int n, int views)
{
    const char *text = (const char *)listing->data;
    entry e;
    int seen = 0;
    CHECK(strncmp(text, LISTING_HEADER, strlen(LISTING_HEADER)) == 0);
    text += strlen(LISTING_HEADER);
    for (; next_entry(&text, &e); seen++) {
        CHECK_INT(first + seen, e.image_id);
        CHECK_INT(seen / views + 1, e.class_id);
        CHECK_INT((e.class_id - 1) / PRODUCTS + 1, e.super_class_id);
    }
    CHECK_INT(n, seen);
}

static void test_image_draw__writes_listings_that_parse(void **state)
{
    const room *const r = *state;
    draw_set(r, "one", "1", "0");
    kd_buf train = read_set(r, "one", "Ebay_train.txt"), test = read_set(r, "one", "Ebay_test.txt"),
           classes = read_set(r, "one", "classes.csv");
    check_listing(&train, 1, N_TRAIN, TRAIN);
    check_listing(&test, N_TRAIN + 1, N_TEST, 1);

    size_t lines = 0;
    for (size_t i = 0; i < classes.len; i++)
        lines += classes.data[i] == '\n';
    CHECK_INT(1 + KINDS * PRODUCTS, lines);
    CHECK_HAS("Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
              "Iconic Image Path (str),Product Description Path (str)\nbicycle-1,0,bicycle,0,",
        (const char *)classes.data);
    CHECK_HAS("\ntoaster-2,23,toaster,11,", (const char *)classes.data);
    kd_buf_free(&classes);
    kd_buf_free(&test);
    kd_buf_free(&train);
}

static void test_image_draw__same_seed_same_bytes(void **state)
{
    const room *const r = *state;
    draw_set(r, "one", "7", "0");
    draw_set(r, "two", "7", "0");
    draw_set(r, "other", "8", "0");
    CHECK(same_file(r, "one", "two", "Ebay_train.txt"));
    CHECK(same_file(r, "one", "two", "Ebay_test.txt"));
    CHECK(same_file(r, "one", "two", "classes.csv"));

    kd_buf train = read_set(r, "one", "Ebay_train.txt");
    const char *text = (const char *)train.data + strlen(LISTING_HEADER);
    entry e;
    while (next_entry(&text, &e)) {
        CHECK(same_file(r, "one", "two", e.path));
        CHECK(!same_file(r, "one", "other", e.path));
    }
    kd_buf_free(&train);
}

static void test_image_draw__breaks_the_last_train_images(void **state)
{
    const room *const r = *state;
    kd_error err = KD_ERROR_INIT;
    draw_set(r, "one", "1", "3");
    kd_buf train = read_set(r, "one", "Ebay_train.txt");
    const char *text = (const char *)train.data + strlen(LISTING_HEADER);
    entry e;
    while (next_entry(&text, &e)) {
        kd_buf bytes = read_set(r, "one", e.path);
        kd_image image;
        const kd_status status = kd_image_decode(&image, bytes.data, bytes.len, &err);
        CHECK_INT(e.image_id > N_TRAIN - 3 ? KD_INVALID_ARGUMENT : KD_OK, status);
        if (status == KD_OK)
            CHECK_INT(64, image.width);
        kd_image_free(&image);
        kd_buf_free(&bytes);
    }
    kd_buf_free(&train);
}

static void test_image_draw__says_what_is_wrong(void **state)
{
    const room *const r = *state;
    kd_error err = KD_ERROR_INIT;
    char file[128];
    CHECK_INT(2, run((const char *const[]){NULL}));
    CHECK_INT(2, run((const char *const[]){r->folder, "more", NULL}));
    CHECK_INT(2, run((const char *const[]){r->folder, "--no-such-option", NULL}));
    CHECK_INT(2, run((const char *const[]){r->folder, "--views", "1", NULL}));
    CHECK_INT(2, run((const char *const[]){r->folder, "--products", "-3", NULL}));
    CHECK_INT(2, run((const char *const[]){r->folder, "--break", "99999", NULL}));
    CHECK_INT(0, run((const char *const[]){"--help", NULL}));

    (void)snprintf(file, sizeof file, "%s/file", r->folder);
    CHECK_OK(kd_file_write(file, "x", 1, &err), err);
    CHECK_INT(1, run((const char *const[]){file, NULL}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_image_draw__writes_listings_that_parse, make_room, remove_room),
        cmocka_unit_test_setup_teardown(
            test_image_draw__same_seed_same_bytes, make_room, remove_room),
        cmocka_unit_test_setup_teardown(
            test_image_draw__breaks_the_last_train_images, make_room, remove_room),
        cmocka_unit_test_setup_teardown(
            test_image_draw__says_what_is_wrong, make_room, remove_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
