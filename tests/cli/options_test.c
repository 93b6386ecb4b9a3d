/* Arguments, and which command they mean. */
#include "tests/cli/run.h"

/* What the command under test was given. */
static struct {
    const char *name, *word, *repeated[4];
    size_t n_repeated;
    int flag;
    cli_common common;
    const char **args;
} g_got;

static bool take_repeated(void *arg, int val, const char *value)
{
    (void)arg;
    assert_int_equal(val, 7);
    if (strcmp(value, "bad") == 0) {
        (void)cli_usage("try", "--many is bad");
        return false;
    }
    g_got.repeated[g_got.n_repeated++] = value;
    return true;
}

static int try_command(int argc, const char **argv)
{
    free(g_got.args);
    memset(&g_got, 0, sizeof g_got);
    g_got.name = argv[0];
    const struct poptOption options[] = {
        {"word", 'w', POPT_ARG_STRING, &g_got.word, 0, "a word", "WORD"},
        {"many", 0, POPT_ARG_STRING, NULL, 7, "several", "WORD"},
        {"flag", 0, POPT_ARG_NONE, &g_got.flag, 0, "a flag", NULL}, POPT_TABLEEND};
    const int exit_status =
        cli_parse(argc, argv, "A [B] [OPTION...]", "Tries.\nExample: kindred try a", options,
            take_repeated, NULL, 1, 2, &g_got.common, &g_got.args);
    return exit_status == -1 ? 0 : exit_status;
}

static int teardown(void **state)
{
    (void)state;
    free(g_got.args);
    return 0;
}

static void test_cli_options__are_taken_in_every_form(void **state)
{
    ran r;
    (void)state;
    RUN(&r, try_command, "try", "a", "--word=one", "--flag", "--many", "x", "b", "--many=y");
    CHECK_INT(0, r.status);
    CHECK_STR("one", g_got.word);
    CHECK_INT(1, g_got.flag);
    CHECK_INT(2, g_got.n_repeated);
    CHECK_STR("x", g_got.repeated[0]);
    CHECK_STR("y", g_got.repeated[1]);
    CHECK_STR("a", g_got.args[0]);
    CHECK_STR("b", g_got.args[1]);
    CHECK(!g_got.args[2]);
    CHECK_INT(0, g_got.common.json);

    RUN(&r, try_command, "try", "-wtwo", "--json", "--gateway", "h:1", "--data", "d", "--", "-a");
    CHECK_INT(0, r.status);
    CHECK_STR("two", g_got.word);
    CHECK_INT(1, g_got.common.json);
    CHECK_STR("h:1", g_got.common.gateway);
    CHECK_STR("d", g_got.common.data);
    CHECK_STR("-a", g_got.args[0]);

    RUN(&r, try_command, "try", "", "--word", "");
    CHECK_INT(0, r.status);
    CHECK_STR("", g_got.word);
    CHECK_STR("", g_got.args[0]);
}

static void test_cli_options__wrong_usage_is_said_and_is_2(void **state)
{
    ran r;
    (void)state;
    RUN(&r, try_command, "try", "a", "--none");
    CHECK_INT(2, r.status);
    CHECK_HAS("kindred try: --none: unknown option; `kindred try --help` lists", r.err);
    RUN(&r, try_command, "try", "a", "--wrod=x");
    CHECK_INT(2, r.status);
    CHECK_HAS("kindred try: --wrod=x: unknown option; did you mean --word?", r.err);
    RUN(&r, try_command, "try", "a", "--gatway", "x");
    CHECK_HAS("did you mean --gateway?", r.err);
    RUN(&r, try_command, "try");
    CHECK_INT(2, r.status);
    CHECK_HAS("kindred try: an argument is missing", r.err);
    RUN(&r, try_command, "try", "a", "b", "c");
    CHECK_INT(2, r.status);
    CHECK_HAS("'c' is an argument too many", r.err);
    RUN(&r, try_command, "try", "a", "--many", "bad");
    CHECK_INT(2, r.status);
    CHECK_STR("kindred try: --many is bad\n", r.err);
    RUN(&r, try_command, "try", "a", "--word");
    CHECK_INT(2, r.status);
    CHECK_HAS("--word", r.err);
    CHECK_STR("", r.out);
}

static void test_cli_options__help_names_all_options_and_an_example(void **state)
{
    ran r;
    (void)state;
    RUN(&r, try_command, "try", "--help");
    CHECK_INT(0, r.status);
    CHECK_HAS("Usage: kindred try A [B]", r.out);
    CHECK_HAS("Example: kindred try a", r.out);
    CHECK_HAS("--word=WORD", r.out);
    CHECK_HAS("--gateway=HOST:PORT", r.out);
    CHECK_HAS("--json", r.out);
}

static void test_cli_options__numbers_must_be_whole_and_in_range(void **state)
{
    static const char *const wrong[] = {"", "x", "5x", "-1", " 5", "5.0", "11", "0", "1e1", "0x5"};
    uint64_t n = 0;
    (void)state;
    CHECK(cli_number("try", "--n", "10", 1, 10, &n));
    CHECK_INT(10, n);
    FILE *const sink = tmpfile();
    if (!sink)
        abort();
    const int kept = redirect(stderr, sink);
    bool taken = false;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        taken |= cli_number("try", "--n", wrong[i], 1, 10, &n);
    char said[4096];
    restore(stderr, kept, sink, said, sizeof said);
    CHECK(!taken);
    CHECK_INT(10, n);
    CHECK_HAS("kindred try: --n is '5x', not a whole number in 1..10\n", said);
}

static void test_cli_options__data_folder_follows_the_environment(void **state)
{
    const cli_common none = {0}, given = {.data = "here"};
    char *dir;
    (void)state;
    (void)setenv("HOME", "/home/ann", 1);
    (void)setenv("XDG_DATA_HOME", "/x", 1);
    CHECK_STR("here", dir = cli_data_dir(&given));
    free(dir);
    CHECK_STR("/x/kindred", dir = cli_data_dir(&none));
    free(dir);
    (void)setenv("XDG_DATA_HOME", "relative", 1);
    CHECK_STR("/home/ann/.local/share/kindred", dir = cli_data_dir(&none));
    free(dir);
}

/* ---- Dispatch ---- */

static int outer(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"try", try_command, "tries"}, {"trial", try_command, "tries too"}};
    return cli_dispatch(argc, argv, NULL, "Tries.", commands, 2);
}

static int inner(int argc, const char **argv)
{
    static const cli_command commands[] = {{"try", try_command, "tries"}};
    return cli_dispatch(argc, argv, "noun", "Tries.", commands, 1);
}

static void test_cli_dispatch__runs_the_named_command(void **state)
{
    ran r;
    (void)state;
    RUN(&r, outer, "kindred", "try", "a", "--flag");
    CHECK_INT(0, r.status);
    CHECK_INT(1, g_got.flag);
    CHECK_STR("a", g_got.args[0]);
    RUN(&r, inner, "noun", "try", "a", "b", "c");
    CHECK_INT(2, r.status);
    CHECK_HAS("kindred noun try: ", r.err);
}

static void test_cli_dispatch__help_and_version(void **state)
{
    ran r, same;
    (void)state;
    RUN(&r, outer, "kindred", "--help");
    CHECK_INT(0, r.status);
    CHECK_HAS("trial", r.out);
    RUN(&same, outer, "kindred", "help");
    CHECK_STR(r.out, same.out);
    RUN(&r, outer, "kindred", "help", "try");
    CHECK_INT(0, r.status);
    CHECK_HAS("Usage: kindred try A", r.out);
    RUN(&r, inner, "noun", "help", "try");
    CHECK_INT(0, r.status);
    CHECK_HAS("Usage: kindred noun try A", r.out);
    RUN(&r, outer, "kindred", "--version");
    CHECK_INT(0, r.status);
    CHECK(strncmp(r.out, "kindred ", 8) == 0);
    RUN(&r, outer, "kindred");
    CHECK_INT(2, r.status);
    CHECK_STR("", r.out);
}

static void test_cli_dispatch__unknown_command_gets_the_nearest(void **state)
{
    ran r;
    (void)state;
    RUN(&r, outer, "kindred", "tyr");
    CHECK_INT(2, r.status);
    CHECK_STR("kindred: 'tyr' is not a command; did you mean `kindred try`?\n", r.err);
    RUN(&r, outer, "kindred", "tria");
    CHECK_HAS("did you mean `kindred trial`?", r.err);
    RUN(&r, inner, "noun", "help", "tr");
    CHECK_INT(2, r.status);
    CHECK_HAS("did you mean `kindred noun try`?", r.err);
    RUN(&r, outer, "kindred", "elephant");
    CHECK_INT(2, r.status);
    CHECK_HAS("`kindred --help` lists them", r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_options__are_taken_in_every_form),
        cmocka_unit_test(test_cli_options__wrong_usage_is_said_and_is_2),
        cmocka_unit_test(test_cli_options__help_names_all_options_and_an_example),
        cmocka_unit_test(test_cli_options__numbers_must_be_whole_and_in_range),
        cmocka_unit_test(test_cli_options__data_folder_follows_the_environment),
        cmocka_unit_test(test_cli_dispatch__runs_the_named_command),
        cmocka_unit_test(test_cli_dispatch__help_and_version),
        cmocka_unit_test(test_cli_dispatch__unknown_command_gets_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
