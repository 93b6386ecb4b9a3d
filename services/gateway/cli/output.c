/* What programs and people read: JSON on standard output, errors as one sentence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/cli.h"

void *cli_must(void *pointer)
{
    if (!pointer) {
        (void)fputs("kindred: no memory\n", stderr);
        abort();
    }
    return pointer;
}

void cli_print_json(json_t *value)
{
    cli_must(value);
    (void)json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    (void)putchar('\n');
    json_decref(value);
}

void cli_print_message(const ProtobufCMessage *message)
{
    cli_print_json(kd_message_json(message));
}

json_t *cli_json_text(const char *text)
{
    json_t *const whole = json_string(text);
    if (whole)
        return whole;
    char *const ascii = cli_must(strdup(text));
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json_t *const value = json_string(ascii);
    free(ascii);
    return value;
}

int cli_error(const cli_common *common, const char *command, const kd_error *err)
{
    static const char nobody[] = "no gateway answers";
    if (common->json)
        cli_print_json(json_pack("{s: {s: s, s: o}}", "error", "code", kd_status_name(err->status),
            "message", cli_json_text(err->message)));
    else {
        char *const message = cli_clean(err->message);
        (void)fprintf(stderr, "kindred %s: %s%s\n", command, message,
            strncmp(message, nobody, strlen(nobody)) != 0
                ? ""
                : "; `kindred up` starts one here, --gateway HOST:PORT names another");
        free(message);
    }
    switch (err->status) {
    case KD_UNAVAILABLE:
        return EXIT_UNREACHABLE;
    case KD_INVALID_ARGUMENT:
        return EXIT_USAGE;
    default:
        return EXIT_FAILED;
    }
}
