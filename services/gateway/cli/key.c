/* `kindred key`: the API keys of the stack on a data folder. They are made and revoked where the
 * stack's files lie, by who owns those: no key is needed to make the first one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/access/access.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "services/gateway/cli/cli.h"

#define DAY_MS (24 * 3600 * INT64_C(1000))
#define EXPIRES_MAX 36500 /* days */

enum { OPTION_SCOPE = 1, OPTION_RATE, OPTION_EXPIRES };

/* DATA/keys.json, a new string (free), never NULL. */
static char *keys_path(const cli_common *common)
{
    char *const data = cli_data_dir(common);
    char *const path = cli_must(kd_format("%s/" KD_KEYS_FILE, data));
    free(data);
    return path;
}

static const char *state_of(const kd_key *key)
{
    if (key->revoked_ms != 0)
        return "revoked";
    return key->expires_ms != 0 && key->expires_ms <= kd_wall_ms() ? "expired" : "valid";
}

static json_t *key_json(const kd_key *key)
{
    return cli_must(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "id", key->id, "name",
        key->name, "scope", kd_scope_name(key->scope), "state", state_of(key), "rate",
        (json_int_t)key->rate, "created_unix_ms", (json_int_t)key->created_ms, "expires_unix_ms",
        (json_int_t)key->expires_ms, "revoked_unix_ms", (json_int_t)key->revoked_ms));
}

/* ---- create ---- */

typedef struct creation {
    kd_key key;
    const char *out;
} creation;

static bool on_create(void *arg, int val, const char *value)
{
    creation *const c = arg;
    uint64_t number = 0;
    if (val == OPTION_SCOPE) {
        if (kd_scope_parse(value, &c->key.scope))
            return true;
        (void)cli_usage("key create", "--scope is '%s', not read, write or admin", value);
        return false;
    }
    if (val == OPTION_RATE) {
        if (!cli_number("key create", "--rate", value, 1, KD_KEY_RATE_MAX, &number))
            return false;
        c->key.rate = (uint32_t)number;
        return true;
    }
    if (!cli_number("key create", "--expires", value, 1, EXPIRES_MAX, &number))
        return false;
    c->key.expires_ms = kd_wall_ms() + (int64_t)number * DAY_MS;
    return true;
}

static void print_created(const cli_common *common, const creation *c, const char *text)
{
    char when[CLI_TEXT], rate[CLI_TEXT] = "";
    if (common->json) {
        json_t *const root = key_json(&c->key);
        if (c->out)
            (void)json_object_set_new(root, "file", cli_json_text(c->out));
        else
            (void)json_object_set_new(root, "key", json_string(text));
        cli_print_json(root);
        return;
    }
    if (c->key.rate > 0)
        (void)snprintf(rate, sizeof rate, "%u calls a second", c->key.rate);
    cli_table *const fields = cli_table_new(NULL, 2);
    cli_table_field(fields, "id", c->key.id);
    cli_table_field(fields, "name", c->key.name);
    cli_table_field(fields, "scope", kd_scope_name(c->key.scope));
    cli_table_field(fields, "rate", rate);
    cli_table_field(fields, "expires", cli_when(c->key.expires_ms, when));
    cli_table_field(fields, c->out ? "file" : "key", c->out ? c->out : text);
    cli_table_print(fields);
    (void)fflush(stdout);
    if (!c->out)
        (void)fprintf(stderr, "The key is shown only now: its hash alone is kept.\n");
}

static int key_create(int argc, const char **argv)
{
    creation c = {.key = {.scope = KD_SCOPE_OPEN}};
    const struct poptOption options[] = {
        {"scope", 0, POPT_ARG_STRING, NULL, OPTION_SCOPE,
            "read (search, look), write (add, remove, train too) or admin (all)", "SCOPE"},
        {"rate", 0, POPT_ARG_STRING, NULL, OPTION_RATE, "calls a second; any number unless given",
            "N"},
        {"expires", 0, POPT_ARG_STRING, NULL, OPTION_EXPIRES,
            "ends after so many days; never "
            "unless given",
            "DAYS"},
        {"out", 0, POPT_ARG_STRING, &c.out, 0,
            "write the key to a file that only its owner reads, for --key-file", "FILE"},
        POPT_TABLEEND};
    cli_common common;
    const char **args = NULL;
    char text[KD_KEY_TEXT];
    kd_error err = KD_ERROR_INIT;
    int exit_status = cli_parse(argc, argv, "NAME --scope SCOPE [OPTION...]",
        "Makes an API key and prints it, this once. With its first key a stack asks all its "
        "callers for one.\nExample: kindred key create shop --scope read --rate 50",
        options, on_create, &c, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    if (c.key.scope == KD_SCOPE_OPEN) {
        free(args);
        return cli_usage(argv[0], "--scope is missing: read, write or admin");
    }
    kd_status status = kd_check_name("key", args[0], &err);
    (void)kd_copy(c.key.name, sizeof c.key.name, args[0]);
    free(args);
    char *const path = keys_path(&common);
    char *const data = cli_data_dir(&common);
    if (status == KD_OK)
        status = kd_make_dirs(data, &err);
    /* Before the key is known to anyone: a key that nobody has would be in the way of its name. */
    if (status == KD_OK && c.out && access(c.out, F_OK) == 0)
        status = kd_error_set(&err, KD_ALREADY_EXISTS, "%s is there already", c.out);
    if (status == KD_OK)
        status = kd_keys_create(path, &c.key, &c.key, text, &err);
    if (status == KD_OK && c.out && (status = kd_key_write(c.out, text, &err)) != KD_OK)
        (void)!kd_keys_revoke(path, c.key.id, &c.key, NULL);
    if (status == KD_OK)
        print_created(&common, &c, text);
    free(data);
    free(path);
    return status == KD_OK ? EXIT_DONE : cli_error(&common, argv[0], &err);
}

/* ---- list ---- */

static void print_keys(const cli_common *common, const kd_keys *keys)
{
    static const char *const heads[] = {
        "ID", "NAME", "SCOPE", "RATE", "STATE", "CREATED", "EXPIRES"};
    char created[CLI_TEXT], expires[CLI_TEXT], rate[CLI_TEXT];
    json_t *const list = json_array();
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < keys->n; i++) {
        const kd_key *const key = &keys->items[i];
        (void)snprintf(rate, sizeof rate, "%u/s", key->rate);
        cli_table_row(
            table, (const char *[]){key->id, key->name, kd_scope_name(key->scope),
                       key->rate > 0 ? rate : "", state_of(key), cli_when(key->created_ms, created),
                       cli_when(key->expires_ms, expires)});
        (void)json_array_append_new(list, key_json(key));
    }
    if (common->json)
        cli_print_json(json_pack("{s:O}", "keys", list));
    else if (keys->n == 0)
        puts("no keys: callers need none");
    if (!common->json && keys->n > 0)
        cli_table_print(table);
    else
        cli_table_free(table);
    json_decref(list);
}

static int key_list(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_keys keys;
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Lists the API keys on the data folder; the keys themselves are not kept.", NULL, NULL,
        NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;
    char *const path = keys_path(&common);
    kd_status status = kd_keys_read(&keys, path, &err);
    if (status == KD_NOT_FOUND) /* nobody has made one */
        status = KD_OK;
    if (status == KD_OK)
        print_keys(&common, &keys);
    kd_keys_free(&keys);
    free(path);
    return status == KD_OK ? EXIT_DONE : cli_error(&common, argv[0], &err);
}

/* ---- revoke ---- */

static int key_revoke(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_key key;
    const int exit_status = cli_parse(argc, argv, "ID [OPTION...]",
        "Revokes an API key, by its id or name: it is refused from now on, and what it has begun "
        "ends.\n"
        "Example: kindred key revoke shop",
        NULL, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    char *const path = keys_path(&common);
    const kd_status status = kd_keys_revoke(path, args[0], &key, &err);
    if (status == KD_OK && common.json)
        cli_print_json(key_json(&key));
    else if (status == KD_OK)
        printf("key %s (%s) is revoked\n", key.id, key.name);
    free(path);
    free(args);
    return status == KD_OK ? EXIT_DONE : cli_error(&common, argv[0], &err);
}

int cmd_key(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"create", key_create, "make a key and print it"},
        {"list", key_list, "list the keys, oldest first"},
        {"revoke", key_revoke, "refuse one from now on"},
    };
    return cli_dispatch(argc, argv, "key", "API keys: who may ask the stack for what.", commands,
        sizeof commands / sizeof commands[0]);
}
