/* Arguments: one table of a command's own beside the options that all have, parsed by popt. */
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"

#define MOST_OPTIONS 64u /* of a command, for who looks for a similar one */

enum {
    OPTION_HELP = 1,
    OPTION_GATEWAY,
    OPTION_DATA,
    OPTION_TLS_CA,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_KEY_FILE,
    OPTION_OWN = 1000
};

static const struct poptOption common_options[] = {
    {"json", 0, POPT_ARG_NONE, NULL, 0, "print JSON, for programs", NULL},
    {"gateway", 0, POPT_ARG_STRING, NULL, OPTION_GATEWAY,
        "the gateway; else KINDRED_GATEWAY, else the local stack's", "HOST:PORT"},
    {"data", 0, POPT_ARG_STRING, NULL, OPTION_DATA,
        "the local stack's data folder (${XDG_DATA_HOME:-~/.local/share}/kindred)", "DIR"},
    {"tls-ca", 0, POPT_ARG_STRING, NULL, OPTION_TLS_CA,
        "speak TLS to a gateway whose certificate these have signed; else KINDRED_TLS_CA", "FILE"},
    {"tls-cert", 0, POPT_ARG_STRING, NULL, OPTION_TLS_CERT,
        "the certificate to show it; else KINDRED_TLS_CERT", "FILE"},
    {"tls-key", 0, POPT_ARG_STRING, NULL, OPTION_TLS_KEY,
        "that certificate's private key; else KINDRED_TLS_KEY", "FILE"},
    {"key-file", 0, POPT_ARG_STRING, NULL, OPTION_KEY_FILE,
        "a file with the API key to show; else KINDRED_KEY_FILE, else the key is KINDRED_KEY",
        "FILE"},
    {"help", 'h', POPT_ARG_NONE, NULL, OPTION_HELP, "show this", NULL}, POPT_TABLEEND};

static bool is_end(const struct poptOption *option)
{
    return !option->longName && !option->shortName && !option->arg;
}

static bool is_string(const struct poptOption *option)
{
    return (option->argInfo & POPT_ARG_MASK) == POPT_ARG_STRING;
}

/* popt hands out copies of what argv holds: the same text in argv lives as long as the process. */
static const char *in_argv(int argc, const char **argv, const char *text)
{
    const size_t len = strlen(text);
    for (int i = 1; i < argc; i++) {
        const size_t all = strlen(argv[i]);
        if (all >= len && strcmp(argv[i] + all - len, text) == 0)
            return argv[i] + all - len;
    }
    return ""; /* an empty argument */
}

/* A command line while it is parsed. */
typedef struct parsing {
    int argc;
    const char **argv;
    const char *what, *help;
    const struct poptOption *options; /* the command's; NULL: none */
    cli_on_option on_option;
    void *arg;
    int min, max;
    cli_common *common;
    const char ***args;
} parsing;

/* The command's table with each string and each val made known to us by the option's place. */
static struct poptOption *own_table(const struct poptOption *options)
{
    static const struct poptOption end = POPT_TABLEEND;
    size_t n = 0;
    while (options && !is_end(&options[n]))
        n++;
    struct poptOption *const table = cli_must(calloc(n + 1, sizeof *table));
    for (size_t i = 0; i < n; i++) {
        table[i] = options[i];
        if (is_string(&options[i]))
            table[i].arg = NULL;
        if (is_string(&options[i]) || options[i].val > 0)
            table[i].val = OPTION_OWN + (int)i;
    }
    table[n] = end;
    return table;
}

/* One option that popt reports: -1 to go on, else the exit status. */
static int take_option(const parsing *p, poptContext context, int got)
{
    char *const copy = poptGetOptArg(context);
    const char *const value = copy ? in_argv(p->argc, p->argv, copy) : NULL;
    free(copy);
    if (got == OPTION_HELP) {
        poptPrintHelp(context, stdout, 0);
        return EXIT_DONE;
    }
    if (got == OPTION_GATEWAY)
        p->common->gateway = value;
    if (got == OPTION_DATA)
        p->common->data = value;
    if (got == OPTION_TLS_CA)
        p->common->tls.ca = value;
    if (got == OPTION_TLS_CERT)
        p->common->tls.cert = value;
    if (got == OPTION_TLS_KEY)
        p->common->tls.key = value;
    if (got == OPTION_KEY_FILE)
        p->common->key_file = value;
    if (got < OPTION_OWN || !p->options)
        return -1;
    const struct poptOption *const option = &p->options[got - OPTION_OWN];
    if (option->val > 0)
        return p->on_option(p->arg, option->val, value) ? -1 : EXIT_USAGE;
    if (option->arg)
        *(const char **)option->arg = value;
    return -1;
}

/* What is left behind the options. */
static int take_arguments(const parsing *p, poptContext context)
{
    const char **const left = poptGetArgs(context);
    int n = 0;
    while (left && left[n])
        n++;
    if (n < p->min)
        return cli_usage(
            p->argv[0], "an argument is missing; usage: kindred %s %s", p->argv[0], p->what);
    if (p->max >= 0 && n > p->max)
        return cli_usage(p->argv[0], "'%s' is an argument too many; usage: kindred %s %s",
            left[p->max], p->argv[0], p->what);
    const char **const args = cli_must(calloc((size_t)n + 1, sizeof *args));
    for (int i = 0; i < n; i++)
        args[i] = in_argv(p->argc, p->argv, left[i]);
    *p->args = args;
    return -1;
}

/* What popt could not make sense of. */
static int say_bad_option(const parsing *p, poptContext context, int fault)
{
    const char *const option = poptBadOption(context, POPT_BADOPTION_NOALIAS);
    const char *names[MOST_OPTIONS];
    size_t n = 0;
    for (const struct poptOption *o = common_options; n < MOST_OPTIONS && !is_end(o); o++)
        names[n++] = o->longName;
    for (const struct poptOption *o = p->options; o && n < MOST_OPTIONS && !is_end(o); o++)
        if (o->longName)
            names[n++] = o->longName;
    char word[64];
    (void)kd_copy(word, sizeof word, option + strspn(option, "-"));
    word[strcspn(word, "=")] = '\0';
    const char *const meant =
        fault == POPT_ERROR_BADOPT && *word ? cli_nearest(word, names, n) : NULL;
    if (meant)
        return cli_usage(
            p->argv[0], "%s: %s; did you mean --%s?", option, poptStrerror(fault), meant);
    return cli_usage(p->argv[0], "%s: %s; `kindred %s --help` lists the options", option,
        poptStrerror(fault), p->argv[0]);
}

static int parse(const parsing *p, const struct poptOption *table)
{
    char *const name = cli_must(kd_format("kindred %s", p->argv[0]));
    const size_t width = cli_width(STDOUT_FILENO);
    char *const help = cli_wrap(p->help, width > 20 && width < 100 ? width - 1 : 79);
    char *const usage = cli_must(kd_format("%s\n\n%s", p->what, help));
    const char **const argv = cli_must(calloc((size_t)p->argc + 1, sizeof *argv));
    for (int i = 1; i < p->argc; i++)
        argv[i] = p->argv[i];
    argv[0] = name; /* what popt's help shows */
    poptContext context = poptGetContext(NULL, p->argc, argv, table, 0);
    poptSetOtherOptionHelp(context, usage);
    int exit_status = -1, got = -1;
    while (exit_status == -1 && (got = poptGetNextOpt(context)) > 0)
        exit_status = take_option(p, context, got);
    if (exit_status == -1 && got < -1)
        exit_status = say_bad_option(p, context, got);
    if (exit_status == -1)
        exit_status = take_arguments(p, context);
    poptFreeContext(context);
    free(argv);
    free(usage);
    free(help);
    free(name);
    return exit_status;
}

static const char *from_environment(const char *name)
{
    const char *const value = getenv(name);
    return value && *value ? value : NULL;
}

int cli_parse(int argc, const char **argv, const char *what, const char *help,
    const struct poptOption *options, cli_on_option on_option, void *arg, int min, int max,
    cli_common *common, const char ***args)
{
    *common = (cli_common){.tls = {.ca = from_environment("KINDRED_TLS_CA"),
                               .cert = from_environment("KINDRED_TLS_CERT"),
                               .key = from_environment("KINDRED_TLS_KEY")},
        .key_file = from_environment("KINDRED_KEY_FILE"),
        .key = from_environment("KINDRED_KEY")};
    *args = NULL;
    struct poptOption shared[sizeof common_options / sizeof common_options[0]];
    memcpy(shared, common_options, sizeof shared);
    shared[0].arg = &common->json;
    struct poptOption *const own = own_table(options);
    struct poptOption none[] = {POPT_TABLEEND};
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, options ? own : none, 0, "Options:", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, shared, 0, "Options of every command:", NULL},
        POPT_TABLEEND};
    const parsing p = {argc, argv, what, help, options, on_option, arg, min, max, common, args};
    const int exit_status = parse(&p, options ? table : table + 1);
    free(own);
    return exit_status;
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)fprintf(stderr, "kindred %s: ", command);
    (void)vfprintf(stderr, format, list);
    (void)fputc('\n', stderr);
    va_end(list);
    return EXIT_USAGE;
}

bool cli_number(const char *command, const char *what, const char *text, uint64_t min, uint64_t max,
    uint64_t *out)
{
    if (kd_parse_u64(text, min, max, out))
        return true;
    if (max == UINT64_MAX)
        (void)cli_usage(command, "%s is '%s', not a whole number from %llu on", what, text,
            (unsigned long long)min);
    else
        (void)cli_usage(command, "%s is '%s', not a whole number in %llu..%llu", what, text,
            (unsigned long long)min, (unsigned long long)max);
    return false;
}

char *cli_data_dir(const cli_common *common)
{
    if (common->data)
        return cli_must(strdup(common->data));
    const char *const xdg = getenv("XDG_DATA_HOME");
    if (xdg && xdg[0] == '/') /* a relative one is void, says the XDG specification */
        return cli_must(kd_format("%s/kindred", xdg));
    const char *home = getenv("HOME");
    if (!home || !*home) {
        const struct passwd *const entry = getpwuid(getuid());
        home = entry ? entry->pw_dir : "/";
    }
    return cli_must(kd_format("%s/.local/share/kindred", home));
}
