/* services/gateway/cli/progress.h: how far long work is, on standard error: a bar that is redrawn
 * on a terminal, else a line every few seconds and at each new phase. */
#ifndef KD_CLI_PROGRESS_H
#define KD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cli_progress {
    const char *phase; /* "embedding"; borrowed, as detail is */
    uint64_t done, total;
    double rate;        /* units a second; 0: unknown */
    const char *detail; /* NULL or empty: nothing */
} cli_progress;

typedef struct cli_bar {
    const char *command; /* borrowed: what lines begin with */
    bool quiet, terminal, drawn;
    int64_t shown_ms; /* when last; monotonic */
    char phase[128];  /* as last shown */
} cli_bar;

void cli_bar_init(cli_bar *bar, const char *command, bool quiet);
void cli_bar_show(cli_bar *bar, const cli_progress *progress);
/* Takes the bar off the terminal, so that other text can be written. */
void cli_bar_clear(cli_bar *bar);

/* "embedding [#####-----] 1200/2936 41% 56.2/s 31 s left loss 0.31", at most width characters; with
 * width 0 without the bar and as long as it is. */
void cli_progress_text(const cli_progress *progress, size_t width, char *text, size_t size);

/* ---- Ctrl-C ---- */
/* From now on the first SIGINT is only noted; the second one ends the process. */
void cli_interrupt_catch(void);
bool cli_interrupted(void);

#endif
