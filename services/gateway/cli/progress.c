#include "services/gateway/cli/progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "services/gateway/cli/cli.h"

#define LINE_EVERY_MS 5000
#define DRAW_EVERY_MS 100
#define BAR_CELLS 24u
#define LINE_MAX_BYTES 512u

void cli_bar_init(cli_bar *bar, const char *command, bool quiet)
{
    const char *const terminal = getenv("TERM");
    *bar = (cli_bar){.command = command,
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO) && !(terminal && strcmp(terminal, "dumb") == 0)};
}

/* Cuts UTF-8 text behind n characters. */
static void cut(char *text, size_t n)
{
    for (; *text; text++) {
        if (((unsigned char)*text & 0xC0u) == 0x80u)
            continue;
        if (n-- == 0)
            break;
    }
    *text = '\0';
}

static void put_bar(kd_buf *out, uint64_t done, uint64_t total)
{
    const size_t full = (size_t)((double)done / (double)total * BAR_CELLS);
    kd_buf_puts(out, " [");
    for (size_t i = 0; i < BAR_CELLS; i++)
        kd_buf_puts(out, i < full ? "#" : "-");
    kd_buf_puts(out, "]");
}

void cli_progress_text(const cli_progress *progress, size_t width, char *text, size_t size)
{
    kd_buf out = KD_BUF_INIT;
    char left[CLI_TEXT];
    const uint64_t total = progress->total;
    const uint64_t done = total > 0 && progress->done > total ? total : progress->done;
    kd_buf_puts(&out, progress->phase && *progress->phase ? progress->phase : "working");
    if (total > 0) {
        if (width > 0)
            put_bar(&out, done, total);
        kd_buf_printf(&out, " %llu/%llu %u%%", (unsigned long long)done, (unsigned long long)total,
            (unsigned)(100.0 * (double)done / (double)total));
    } else if (done > 0) {
        kd_buf_printf(&out, " %llu", (unsigned long long)done);
    }
    if (progress->rate > 0)
        kd_buf_printf(&out, progress->rate < 10 ? " %.1f/s" : " %.0f/s", progress->rate);
    if (progress->rate > 0 && done < total)
        kd_buf_printf(&out, " %s left",
            cli_duration((int64_t)((double)(total - done) / progress->rate * 1000), left));
    if (progress->detail && *progress->detail)
        kd_buf_printf(&out, " %s", progress->detail);
    (void)kd_copy(text, size, kd_buf_ok(&out) ? (const char *)out.data : "working");
    for (char *c = text; *c; c++) /* a server's words must not steer the terminal */
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
    if (width > 0)
        cut(text, width);
    kd_buf_free(&out);
}

static size_t terminal_width(void)
{
    const size_t width = cli_width(STDERR_FILENO);
    return width < 2 ? 79 : width - 1;
}

void cli_bar_show(cli_bar *bar, const cli_progress *progress)
{
    char text[LINE_MAX_BYTES];
    const int64_t now = kd_mono_ms();
    const char *const phase = progress->phase ? progress->phase : "";
    const bool new_phase = strncmp(bar->phase, phase, sizeof bar->phase - 1) != 0;
    const int64_t every = bar->terminal ? DRAW_EVERY_MS : LINE_EVERY_MS;
    if (bar->quiet || (!new_phase && bar->shown_ms > 0 && now - bar->shown_ms < every))
        return;
    (void)kd_copy(bar->phase, sizeof bar->phase, phase);
    bar->shown_ms = now;
    if (bar->terminal) {
        cli_progress_text(progress, terminal_width(), text, sizeof text);
        (void)fprintf(stderr, "\r\033[K%s", text);
        (void)fflush(stderr);
        bar->drawn = true;
    } else {
        cli_progress_text(progress, 0, text, sizeof text);
        (void)fprintf(stderr, "kindred %s: %s\n", bar->command, text);
    }
}

void cli_bar_clear(cli_bar *bar)
{
    if (bar->drawn)
        (void)fputs("\r\033[K", stderr);
    bar->drawn = false;
    bar->shown_ms = 0;
}

/* ---- Ctrl-C: a handler can reach nothing but a static. ---- */
static volatile sig_atomic_t interrupted;

static void note(int number)
{
    (void)number;
    interrupted = 1;
}

void cli_interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}
