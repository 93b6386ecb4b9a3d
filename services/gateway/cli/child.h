/* services/gateway/cli/child.h: one process of the stack: started with its log file, asked whether
 * it is ready, its last words. What to do about it is the supervisor's. */
#ifndef KD_CLI_CHILD_H
#define KD_CLI_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/status.h"
#include "services/gateway/cli/local.h"

typedef struct child {
    const char *name; /* "embedder"; static */
    int rank;         /* started after all of lower rank, ended before them */
    char *program;    /* owned, as the paths below */
    char *log;        /* standard output and error are appended here */
    char *ready;      /* a service writes its addresses here; NULL for redis */
    char *pid_file;   /* of redis; NULL for a service, whose lock names it */
    char grpc[LOCAL_ADDRESS], http[LOCAL_ADDRESS]; /* to listen on; once ready: the ones taken */
    pid_t pid;                                     /* 0: not running */
    off_t log_start;                               /* where this life's lines begin */
    int64_t started_ms;                            /* monotonic */
    int64_t told_ms;                               /* when it was said to be loading still */
    int64_t looked_ms, busy_ms;                    /* of child_idle_ms */
    uint64_t cpu_ticks, bytes_read;                /* at that look */
    int64_t start_at_ms;                           /* not before; for the back-off */
    int64_t delay_ms;                              /* the next back-off */
    unsigned deaths;                               /* before it was ever ready */
    bool is_ready;                                 /* in this life */
    bool was_ready;                                /* once */
} child;

/* Fills in the paths, finds the program. */
KD_MUST_CHECK kd_status child_init(
    child *c, const char *name, int rank, const char *data_dir, kd_error *err);
void child_clear(child *c);

/* Runs the program with the arguments (NULL-ended, without its name) in a process group of its
 * own, so that Ctrl-C reaches the supervisor alone. */
KD_MUST_CHECK kd_status child_spawn(child *c, const char *const *args, kd_error *err);

/* True once it answers; a service's addresses are taken from its ready file. */
bool child_answers(child *c);

/* While it isn't ready: the ms since it was last seen to get on with loading, which is using the
 * processor or reading. To be asked every few seconds at most; more often tells nothing new. */
int64_t child_idle_ms(child *c);

/* The error that it logged last in this life, or its last line; empty when it said nothing. */
void child_last_words(const child *c, char *text, size_t size);

/* KD_UNAVAILABLE unless a Redis answers at HOST:PORT with its data loaded; pid 0 takes any. */
KD_MUST_CHECK kd_status redis_answers(const char *address, pid_t pid, kd_error *err);

/* 127.0.0.1:PORT with a port that was free a moment ago. */
KD_MUST_CHECK kd_status free_address(char address[LOCAL_ADDRESS], kd_error *err);

#endif
