/* What people and programs read: tables, numbers, progress, errors; and arrays in files. */
#include <dirent.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/npy.h"
#include "services/gateway/cli/progress.h"
#include "tests/cli/run.h"

static kd_error g_err;
static char g_dir[] = "kd-cli-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(g_dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

/* ---- Tables ---- */

static void test_cli_table__columns_fit_and_numbers_stand_right(void **state)
{
    (void)state;
    cli_table *const table = cli_table_new((const char *const[]){"NAME", "N", "NOTE"}, 3);
    cli_table_row(table, (const char *const[]){"Möhre", "7", "a\033[1mb"});
    cli_table_row(table, (const char *const[]){"x", "1234", ""});
    char *const text = cli_table_text(table, false, 0);
    CHECK_STR("NAME      N  NOTE\n"
              "Möhre     7  a?[1mb\n"
              "x      1234  \n",
        text);
    free(text);
    cli_table_free(table);
}

static void test_cli_table__fits_the_terminal(void **state)
{
    static const char id[] = "a-name-that-nobody-should-have-to-guess";
    (void)state;
    cli_table *const table = cli_table_new((const char *const[]){"ID", "WHY", "URI"}, 3);
    cli_table_row(
        table, (const char *const[]){id, "it went as one would expect of it, nötig or not",
                   "/data/photos/sofa_final/50_1.JPG"});
    char *text = cli_table_text(table, false, 100);
    const char *const row = strchr(text, '\n') + 1;
    CHECK_HAS(id, row);
    CHECK_HAS("  it went as one would expect…  ", row);
    CHECK_HAS("  …a/photos/sofa_final/50_1.JPG", row);
    free(text);
    text = cli_table_text(table, false, 20); /* as far as it goes */
    CHECK_HAS(id, text);
    CHECK_HAS("  it went as one would ex…  …tos/sofa_final/50_1.JPG", text);
    free(text);
    text = cli_table_text(table, false, 0);
    CHECK_HAS("nötig or not  /data/photos", text);
    free(text);
    cli_table_free(table);
}

static void test_cli_table__fields_stand_left_and_empty_ones_are_left_out(void **state)
{
    (void)state;
    cli_table *const table = cli_table_new(NULL, 2);
    cli_table_field(table, "id", "5");
    cli_table_field(table, "parent", "");
    cli_table_field(table, "images", "1234");
    char *const text = cli_table_text(table, true, 0);
    CHECK_STR("id      5\n"
              "images  1234\n",
        text);
    free(text);
    cli_table_free(table);
}

static void test_cli_text__numbers_for_people(void **state)
{
    char text[CLI_TEXT];
    (void)state;
    CHECK_STR("0 B", cli_bytes(0, text));
    CHECK_STR("999 B", cli_bytes(999, text));
    CHECK_STR("44.7 MB", cli_bytes(44700000, text));
    CHECK_STR("1.0 MB", cli_bytes(999999, text));
    CHECK_STR("0.0 s", cli_duration(-5, text));
    CHECK_STR("1.5 s", cli_duration(1500, text));
    CHECK_STR("1 m 20 s", cli_duration(80000, text));
    CHECK_STR("2 h 1 m", cli_duration(7265000, text));
    CHECK_STR("1 image", cli_some(1, "image", "images", text));
    CHECK_STR("0 images", cli_some(0, "image", "images", text));
    CHECK_STR("", cli_when(0, text));
}

static void test_cli_text__nothing_steers_the_terminal(void **state)
{
    (void)state;
    char *const text = cli_clean("a\033]0;x\007.jpg \xC2\x9B"
                                 "31m \xC2\xA0 \xC3\x9F");
    CHECK_STR("a?]0;x?.jpg ?31m \xC2\xA0 \xC3\x9F", text);
    free(text);
}

static void test_cli_text__help_fits_the_terminal(void **state)
{
    (void)state;
    char *const text = cli_wrap("One two three four. averyveryverylongword, fünf\n"
                                "Example: a line that is kept\n"
                                "         and another one\nthe end of it",
        12);
    CHECK_STR("One two\nthree four.\naveryveryverylongword,\nfünf\n"
              "Example: a line that is kept\n         and another one\nthe end of\nit",
        text);
    free(text);
}

static void test_cli_progress__says_where_it_is_and_fits_the_terminal(void **state)
{
    const cli_progress p = {"embedding", 1200, 2936, 56.2, "loss\n0.31"};
    char text[256];
    (void)state;
    cli_progress_text(&p, 0, text, sizeof text);
    CHECK_STR("embedding 1200/2936 40% 56/s 30 s left loss 0.31", text);
    cli_progress_text(&p, 200, text, sizeof text);
    CHECK_HAS("[#########---------------] 1200/2936", text);
    cli_progress_text(&p, 20, text, sizeof text);
    CHECK_STR("embedding [#########", text);
    cli_progress_text(&(cli_progress){"über", 5, 0, 0, NULL}, 3, text, sizeof text);
    CHECK_STR("übe", text);
    cli_progress_text(&(cli_progress){"late", 9, 4, 0, NULL}, 0, text, sizeof text);
    CHECK_STR("late 4/4 100%", text);
}

/* ---- Errors ---- */

static int fail_plain(int argc, const char **argv)
{
    kd_error err;
    const cli_common common = {.json = argc > 2};
    (void)kd_error_set(&err, (kd_status)strtol(argv[1], NULL, 10), "it is \"gone\" \xC3");
    return cli_error(&common, "try", &err);
}

static void test_cli_error__exit_status_follows_the_code(void **state)
{
    ran r;
    (void)state;
    RUN(&r, fail_plain, "try", "5");
    CHECK_INT(1, r.status);
    CHECK_STR("kindred try: it is \"gone\" \xC3\n", r.err);
    CHECK_STR("", r.out);
    RUN(&r, fail_plain, "try", "3");
    CHECK_INT(2, r.status);
    RUN(&r, fail_plain, "try", "14", "json");
    CHECK_INT(3, r.status);
    CHECK_STR("", r.err);
    CHECK_STR(
        "{\"error\": {\"code\": \"UNAVAILABLE\", \"message\": \"it is \\\"gone\\\" ?\"}}\n", r.out);
}

/* ---- Files ---- */

/* Names in the folder, "." and ".." left out. */
static size_t files_in(const char *dir)
{
    struct dirent **names = NULL;
    const int n = scandir(dir, &names, NULL, NULL);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return n > 2 ? (size_t)n - 2 : 0;
}

static void test_cli_npy__is_what_numpy_writes(void **state)
{
    static const float rows[2][3] = {{1, -2.5f, 0}, {3e-8f, 4, 5}};
    static const char head[] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, "
                               "'shape': (2, 3), }";
    cli_npy npy;
    kd_buf bytes = KD_BUF_INIT;
    char path[64];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/x.npy", g_dir);
    CHECK_OK(cli_npy_begin(&npy, path, &g_err), g_err);
    CHECK_OK(cli_npy_row(&npy, rows[0], 3, &g_err), g_err);
    CHECK_FAILS(KD_INTERNAL, cli_npy_row(&npy, rows[1], 2, &g_err), g_err);
    CHECK_STR("an embedding has 2 values, the first had 3", g_err.message);
    CHECK_OK(cli_npy_row(&npy, rows[1], 3, &g_err), g_err);
    CHECK(!kd_is_file(path));
    CHECK_OK(cli_npy_commit(&npy, &g_err), g_err);
    CHECK_OK(kd_file_read(path, 1000, &bytes, &g_err), g_err);
    CHECK_INT(128 + sizeof rows, bytes.len);
    assert_memory_equal(bytes.data, head, sizeof head - 1);
    CHECK_INT('\n', bytes.data[127]);
    assert_memory_equal(bytes.data + 128, rows, sizeof rows);
    CHECK_INT(1, files_in(g_dir));
    (void)unlink(path);
    kd_buf_free(&bytes);
}

static void test_cli_absolute__makes_local_paths_whole(void **state)
{
    char *path = cli_absolute("/no/such");
    (void)state;
    CHECK_STR("/no/such", path);
    free(path);
    CHECK(chdir(g_dir) == 0);
    path = cli_absolute("photos");
    CHECK(path[0] == '/');
    CHECK_HAS("/photos", path);
    free(path);
    path = cli_absolute(".");
    CHECK_HAS(g_dir, path);
    free(path);
    CHECK(chdir("/") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_table__columns_fit_and_numbers_stand_right),
        cmocka_unit_test(test_cli_table__fits_the_terminal),
        cmocka_unit_test(test_cli_table__fields_stand_left_and_empty_ones_are_left_out),
        cmocka_unit_test(test_cli_text__numbers_for_people),
        cmocka_unit_test(test_cli_text__nothing_steers_the_terminal),
        cmocka_unit_test(test_cli_text__help_fits_the_terminal),
        cmocka_unit_test(test_cli_progress__says_where_it_is_and_fits_the_terminal),
        cmocka_unit_test(test_cli_error__exit_status_follows_the_code),
        cmocka_unit_test(test_cli_npy__is_what_numpy_writes),
        cmocka_unit_test(test_cli_absolute__makes_local_paths_whole),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
