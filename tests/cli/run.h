/* tests/cli/run.h: runs a command as main would, in this process, and keeps what it printed. */
#ifndef KD_TESTS_CLI_RUN_H
#define KD_TESTS_CLI_RUN_H

#include <stdlib.h>
#include <unistd.h>

#include "services/gateway/cli/cli.h"
#include "tests/support/check.h"

typedef struct ran {
    int status;
    char out[1u << 20], err[16384];
} ran;

static inline int redirect(FILE *stream, FILE *to)
{
    (void)fflush(stream);
    const int kept = dup(fileno(stream));
    if (kept < 0 || dup2(fileno(to), fileno(stream)) < 0)
        abort();
    return kept;
}

static inline void restore(FILE *stream, int kept, FILE *from, char *text, size_t size)
{
    (void)fflush(stream);
    if (dup2(kept, fileno(stream)) < 0 || fseek(from, 0, SEEK_SET) != 0)
        abort();
    (void)close(kept);
    text[fread(text, 1, size - 1, from)] = '\0';
    (void)fclose(from);
}

/* argv[0] is the command's name; NULL-ended. */
static inline void run_argv(
    ran *r, int (*command)(int argc, const char **argv), const char *const *argv)
{
    int argc = 0;
    FILE *const out = tmpfile(), *const err = tmpfile();
    if (!out || !err)
        abort();
    while (argv[argc])
        argc++;
    const int kept_out = redirect(stdout, out), kept_err = redirect(stderr, err);
    r->status = command(argc, (const char **)(uintptr_t)argv);
    restore(stdout, kept_out, out, r->out, sizeof r->out);
    restore(stderr, kept_err, err, r->err, sizeof r->err);
}

#define RUN(r, command, ...) run_argv((r), (command), (const char *const[]){__VA_ARGS__, NULL})

#endif
