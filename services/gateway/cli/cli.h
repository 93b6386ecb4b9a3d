/* services/gateway/cli/cli.h: what the commands of `kindred` share. One file per noun; each command
 * takes its own arguments (argv[0] is its name, "search" or "model import") and returns the exit
 * status. */
#ifndef KD_CLI_CLI_H
#define KD_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    kd_tls tls;          /* --tls-ca, --tls-cert, --tls-key, else KINDRED_TLS_CA and so on */
    /* The API key: --key-file, else KINDRED_KEY_FILE; else the key itself is KINDRED_KEY; else, of
     * the stack on the data folder, what its services have. */
    const char *key_file, *key;
} cli_common;

/* ---- options.c ---- */
/* Parses argv by the command's own table (POPT_TABLEEND at its end; may be NULL) beside the common
 * options and --help. what is the usage behind the name: "IMAGE… --collection NAME". Positional
 * arguments come in *args (NULL-ended, owned by the caller: free the array, not the strings),
 * min..max of them (max -1: any number). Options with a `val` above 0 are given to on_option (may
 * be NULL) with their argument. Returns -1 to go on, else the exit status (help was shown, or usage
 * was wrong and was said). */
typedef bool (*cli_on_option)(
    void *arg, int val, const char *value); /* false: wrong value, already said */
int cli_parse(int argc, const char **argv, const char *what, const char *help,
    const struct poptOption *options, cli_on_option on_option, void *arg, int min, int max,
    cli_common *common, const char ***args);
/* String options are borrowed from argv: nothing to free. */
/* "kindred search: k is 0, …" on standard error and EXIT_USAGE. */
int cli_usage(const char *command, const char *format, ...) KD_PRINTF(2, 3);
/* The number that an option or argument was given; false when it is none in min..max, which was
 * said. what names it: "--epochs". */
bool cli_number(const char *command, const char *what, const char *text, uint64_t min, uint64_t max,
    uint64_t *out);

/* The data folder in use, a new string (free). Never NULL: aborts without memory. */
char *cli_data_dir(const cli_common *common);

/* ---- dispatch.c ---- */
typedef struct cli_command {
    const char *name; /* "import" */
    int (*run)(int argc, const char **argv);
    const char *help; /* one line */
} cli_command;
/* The name that the word was meant to be; NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *names, size_t n);
/* Runs the command that argv[1] names, with argv[0] = "NOUN NAME" (noun NULL: "NAME"). Answers
 * help,
 * --help and --version itself; a name that is none of them is EXIT_USAGE, with the nearest. */
int cli_dispatch(int argc, const char **argv, const char *noun, const char *help,
    const cli_command *commands, size_t n);

/* ---- connect.c ---- */
/* A channel to the gateway. *out is closed by the caller. KD_UNAVAILABLE says what to do ("no stack
 * runs on …; start one with `kindred up`"). */
KD_MUST_CHECK kd_status cli_connect(const cli_common *common, kd_channel **out, kd_error *err);
/* kd_channel_close, and the end of what cli_connect started. NULL is fine. */
void cli_disconnect(kd_channel *channel);
#define CLI_CALL_MS 60000
/* kd_channel_open with the TLS and the key that were asked for, if any. */
KD_MUST_CHECK kd_status cli_channel(
    const cli_common *common, const char *address, kd_channel **out, kd_error *err);
/* kd_channel_call with a time-out. *response (its type as the method's) is owned by the caller:
 * kd_message_free; NULL on failure. */
KD_MUST_CHECK kd_status cli_call(kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, int64_t timeout_ms, void *response,
    kd_error *err);
/* Where nobody answers: "no gateway answers at HOST:PORT", in place of the core's own sentence. */
void cli_say_who(const kd_channel *channel, const char *who, kd_error *err);
/* One call on a connection of its own. */
KD_MUST_CHECK kd_status cli_ask(const cli_common *common, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, int64_t timeout_ms, void *response,
    kd_error *err);

/* ---- output.c ---- */
/* Says the error (as {"error": {"code", "message"}} on standard output with --json, else as a
 * sentence on standard error) and returns the exit status: EXIT_UNREACHABLE for KD_UNAVAILABLE,
 * EXIT_USAGE for KD_INVALID_ARGUMENT, else EXIT_FAILED. */
int cli_error(const cli_common *common, const char *command, const kd_error *err);
/* Prints the message, or any JSON value (reference taken), on one line of standard output. */
void cli_print_message(const ProtobufCMessage *message);
void cli_print_json(json_t *value);
/* A string of any bytes: JSON refuses invalid UTF-8 (file names, cut sentences), so that '?' stands
 * there. */
json_t *cli_json_text(const char *text);

/* Pointers that must be there: aborts without memory, as nothing sensible is left to do. */
void *cli_must(void *pointer) __attribute__((returns_nonnull));

/* ---- table.c ---- */
/* A table for people: columns as wide as their content, numbers to the right. Without heads (NULL):
 * fields, name and value, all to the left. */
typedef struct cli_table cli_table;
cli_table *cli_table_new(
    const char *const *heads, size_t n); /* never NULL: aborts without memory */
void cli_table_row(cli_table *table, const char *const *cells); /* copies */
/* A row of two; skipped when the value is NULL or empty. */
void cli_table_field(cli_table *table, const char *name, const char *value);
/* A new string (free), never NULL. width: characters that a line should have at most, for which the
 * columns of sentences and paths are cut; 0: any number. */
char *cli_table_text(const cli_table *table, bool bold_heads, size_t width);
void cli_table_print(cli_table *table); /* as wide as the terminal; and frees it */
void cli_table_free(cli_table *table);

/* ---- text.c: numbers and times for people ---- */
#define CLI_TEXT 64
const char *cli_bytes(uint64_t bytes, char text[CLI_TEXT]); /* "44.7 MB" */
const char *cli_duration(int64_t ms, char text[CLI_TEXT]);  /* "1 m 20 s" */
const char *cli_when(int64_t unix_ms, char text[CLI_TEXT]); /* local time; "" for 0 */
const char *cli_count(uint64_t n, char text[CLI_TEXT]);     /* "2936" */
/* "12 images", "1 image". many is the plural. */
const char *cli_some(uint64_t n, const char *one, const char *many, char text[CLI_TEXT]);
/* A copy (free) in which '?' stands for control characters: what came from a server or a file name
 * must not steer the terminal. Never NULL: aborts without memory. */
char *cli_clean(const char *text);
/* A copy (free) whose lines have at most width characters, where spaces allow; those of examples,
 * which people copy, stay whole. Never NULL. */
char *cli_wrap(const char *text, size_t width);
bool cli_colour(int fd);  /* a terminal, and NO_COLOR isn't set */
size_t cli_width(int fd); /* characters of a terminal's line; 0: it is none */

/* ---- list.c ---- */
/* A method that answers in pages. */
typedef struct cli_pages {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const char *field; /* of the response, and of the JSON object: "models" */
    int64_t timeout_ms;
    uint64_t limit; /* 0: all */
} cli_pages;
/* Visits the items, page by page, until visit returns false. request is the method's; its page_size
 * and page_token are set here. */
KD_MUST_CHECK kd_status cli_each(kd_channel *channel, const cli_pages *pages,
    ProtobufCMessage *request, bool (*visit)(void *arg, const ProtobufCMessage *item), void *arg,
    kd_error *err);
/* A list as the command prints it. */
typedef struct cli_list {
    cli_pages pages;
    const char *empty; /* what people read when there is none: "no models" */
    const char *const *heads;
    size_t n_heads;
    void (*row)(cli_table *table, const ProtobufCMessage *item);
} cli_list;
/* Returns the exit status. */
int cli_print_list(
    const cli_common *common, const char *command, const cli_list *list, ProtobufCMessage *request);

/* ---- The commands ---- */
int cmd_up(int argc, const char **argv);
int cmd_down(int argc, const char **argv);
int cmd_status(int argc, const char **argv);
int cmd_doctor(int argc, const char **argv);
int cmd_health(int argc, const char **argv);
int cmd_dataset(int argc, const char **argv);
int cmd_model(int argc, const char **argv);
int cmd_train(int argc, const char **argv);
int cmd_embed(int argc, const char **argv);
int cmd_index(int argc, const char **argv);
int cmd_search(int argc, const char **argv);
int cmd_evaluate(int argc, const char **argv);
int cmd_reproduce(int argc, const char **argv);
int cmd_job(int argc, const char **argv);
int cmd_collection(int argc, const char **argv);
int cmd_key(int argc, const char **argv);
int cmd_log_level(int argc, const char **argv);

#endif
