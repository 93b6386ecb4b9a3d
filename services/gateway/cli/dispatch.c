/* Which command argv means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

#define WORD_MAX 32u

/* Levenshtein distance; longer words than ours are far from all of them. */
static size_t distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    size_t row[WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[m];
}

const char *cli_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = 3;
    for (size_t i = 0; i < n; i++) {
        size_t far = distance(word, names[i]);
        if (strlen(word) >= 2 && strncmp(names[i], word, strlen(word)) == 0)
            far = 0;
        if (far < best_distance && far < strlen(names[i])) {
            best = names[i];
            best_distance = far;
        }
    }
    return best;
}

static void print_help(
    FILE *to, const char *noun, const char *help, const cli_command *commands, size_t n)
{
    const char *const space = noun ? " " : "";
    (void)fprintf(to, "Usage: kindred%s%s COMMAND [ARGUMENT...]\n\n%s\n\nCommands:\n", space,
        noun ? noun : "", help);
    for (size_t i = 0; i < n; i++)
        (void)fprintf(to, "  %-12s%s\n", commands[i].name, commands[i].help);
    (void)fprintf(to, "\n`kindred%s%s COMMAND --help` says more.%s\n", space, noun ? noun : "",
        noun ? "" : " `kindred --version` prints the version.");
}

static int unknown(const char *noun, const char *word, const cli_command *commands, size_t n)
{
    const char *const space = noun ? " " : "", *const middle = noun ? noun : "";
    const char **const names = cli_must(calloc(n + 1, sizeof *names));
    for (size_t i = 0; i < n; i++)
        names[i] = commands[i].name;
    const char *const meant = cli_nearest(word, names, n);
    free(names);
    (void)fprintf(stderr, "kindred%s%s: '%s' is not a command", space, middle, word);
    if (meant)
        (void)fprintf(stderr, "; did you mean `kindred%s%s %s`?\n", space, middle, meant);
    else
        (void)fprintf(stderr, "; `kindred%s%s --help` lists them\n", space, middle);
    return EXIT_USAGE;
}

static const cli_command *find(const char *word, const cli_command *commands, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* Runs the command with argv[0] as its full name. help: with --help behind its arguments. */
static int run(const char *noun, const cli_command *command, int argc, const char **argv, bool help)
{
    char *const name =
        cli_must(noun ? kd_format("%s %s", noun, command->name) : kd_format("%s", command->name));
    const char **const own = cli_must(calloc((size_t)argc + 2, sizeof *own));
    own[0] = name;
    for (int i = 1; i < argc; i++)
        own[i] = argv[i];
    if (help)
        own[argc] = "--help";
    const int exit_status = command->run(argc + help, own);
    free(own);
    free(name);
    return exit_status;
}

int cli_dispatch(int argc, const char **argv, const char *noun, const char *help,
    const cli_command *commands, size_t n)
{
    const char *const word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        print_help(stderr, noun, help, commands, n);
        return EXIT_USAGE;
    }
    const bool wants_help = strcmp(word, "help") == 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (wants_help && argc == 2)) {
        print_help(stdout, noun, help, commands, n);
        return EXIT_DONE;
    }
    if (!noun && (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0)) {
        printf("kindred %s\n", KD_VERSION);
        return EXIT_DONE;
    }
    const int skip = wants_help ? 2 : 1;
    const cli_command *const command = find(argv[skip], commands, n);
    if (!command)
        return unknown(noun, argv[skip], commands, n);
    return run(noun, command, argc - skip, argv + skip, wants_help);
}
