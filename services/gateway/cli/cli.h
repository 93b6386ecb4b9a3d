/* services/gateway/cli/cli.h: what the commands of `kindred` share. One file per noun; each command takes
 * its own arguments (argv[0] is its name, "search" or "model import") and returns the exit status. */
#ifndef KD_CLI_CLI_H
#define KD_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>
#include <popt.h>

#include "lib/base/status.h"
#include "lib/rpc/rpc.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

/* Options that every command has. */
typedef struct cli_common {
    int json;            /* --json */
    const char *gateway; /* --gateway HOST:PORT, else KINDRED_GATEWAY, else the local stack's */
    const char *data;    /* --data DIR, else ${XDG_DATA_HOME:-~/.local/share}/kindred */
} cli_common;

/* ---- options.c ---- */
/* Parses argv by the command's own table (POPT_TABLEEND at its end; may be NULL) beside the common options
 * and --help. what is the usage behind the name: "IMAGE… --collection NAME". Positional arguments come in
 * *args (NULL-ended, owned by the caller: free the array, not the strings), min..max of them
 * (max -1: any number). Options with a `val` above 0 are given to on_option (may be NULL) with their argument.
 * Returns -1 to go on, else the exit status (help was shown, or usage was wrong and was said). */
typedef bool (*cli_on_option)(void *arg, int val, const char *value); /* false: wrong value, already said */
int cli_parse(int argc, const char **argv, const char *what, const char *help,
    const struct poptOption *options, cli_on_option on_option, void *arg, int min, int max,
    cli_common *common, const char ***args);
/* "kindred search: k is 0, …" on standard error and EXIT_USAGE. */
int cli_usage(const char *command, const char *format, ...) KD_PRINTF(2, 3);

/* The data folder in use, a new string (free). */
char *cli_data_dir(const cli_common *common);

/* ---- connect.c ---- */
/* A channel to the gateway. *out is closed by the caller. KD_UNAVAILABLE says what to do ("no stack runs on
 * …; start one with `kindred up`"). */
KD_MUST_CHECK kd_status cli_connect(const cli_common *common, kd_channel **out, kd_error *err);

/* ---- output.c ---- */
/* Says the error (as {"error": {"code", "message"}} on standard output with --json, else as a sentence on
 * standard error) and returns the exit status: EXIT_UNREACHABLE for KD_UNAVAILABLE, EXIT_USAGE for
 * KD_INVALID_ARGUMENT, else EXIT_FAILED. */
int cli_error(const cli_common *common, const char *command, const kd_error *err);
/* Prints the message, or any JSON value (reference taken), on one line of standard output. */
void cli_print_message(const ProtobufCMessage *message);
void cli_print_json(json_t *value);

/* A table for people: columns as wide as their content, numbers to the right. */
typedef struct cli_table cli_table;
cli_table *cli_table_new(const char *const *heads, size_t n); /* never NULL: aborts without memory */
void cli_table_row(cli_table *table, const char *const *cells); /* copies */
void cli_table_print(cli_table *table); /* and frees it */

/* ---- The commands ---- */
int cmd_up(int argc, const char **argv);
int cmd_down(int argc, const char **argv);
int cmd_status(int argc, const char **argv);
int cmd_health(int argc, const char **argv);
int cmd_dataset(int argc, const char **argv);
int cmd_model(int argc, const char **argv);
int cmd_train(int argc, const char **argv);
int cmd_embed(int argc, const char **argv);
int cmd_index(int argc, const char **argv);
int cmd_search(int argc, const char **argv);
int cmd_evaluate(int argc, const char **argv);
int cmd_job(int argc, const char **argv);
int cmd_collection(int argc, const char **argv);

#endif
