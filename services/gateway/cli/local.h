/* services/gateway/cli/local.h: the stack that `kindred up` runs on a data folder of this machine:
 * where its files lie, whether it runs, how its processes are ended.
 *
 * DATA/run/stack.json says where the stack answers. It is believed only while a supervisor holds
 * DATA/run/stack.lock, which the kernel drops with the process. */
#ifndef KD_CLI_LOCAL_H
#define KD_CLI_LOCAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/status.h"

#define LOCAL_ADDRESS 128
/* After SIGTERM a process gets so long to end by itself; services drain for at most 10 s. */
#define LOCAL_GRACE_MS 15000

typedef struct local_stack {
    char gateway[LOCAL_ADDRESS]; /* HOST:PORT */
    char http[LOCAL_ADDRESS];    /* URL */
    char redis[LOCAL_ADDRESS];   /* HOST:PORT */
    pid_t pid;                   /* the supervisor */
} local_stack;

/* Finds the stack that serves on the data folder. KD_UNAVAILABLE when none does. */
KD_MUST_CHECK kd_status local_read(const char *data_dir, local_stack *out, kd_error *err);

/* Its parts, where they answer as far as they are started; local_read has found it. */
#define LOCAL_SERVICES 5u
typedef struct local_service {
    char name[16], address[LOCAL_ADDRESS];
} local_service;
size_t local_services(const char *data_dir, local_service found[LOCAL_SERVICES]);

/* DATA/run/NAME, a new string (free); NULL without memory. */
char *local_path(const char *data_dir, const char *name);

/* The program beside the running one, else the one on PATH. *out is a new string (free).
 * KD_NOT_FOUND when there is none. */
KD_MUST_CHECK kd_status local_program(const char *name, char **out, kd_error *err);

/* SIGTERM, SIGKILL once grace_ms are over; returns when the process has ended. A process that is
 * gone is fine. */
KD_MUST_CHECK kd_status local_end_process(pid_t pid, int64_t grace_ms, kd_error *err);

/* Ends what a killed supervisor left behind on the data folder: the holders of the services' locks
 * and the private redis-server. Only for the holder of stack.lock. *ended counts them. */
KD_MUST_CHECK kd_status local_end_orphans(const char *data_dir, unsigned *ended, kd_error *err);

#endif
