/* `kindred down`: ends the local stack, and what a killed one left behind. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/local.h"

/* The supervisor gives each of three ranks of children LOCAL_GRACE_MS; mostly none needs it. */
#define WAIT_MS 50000

/* Asks the holder of the lock to end and waits for it. */
static kd_status end_supervisor(const char *data, const char *lock_path, bool *ended, kd_error *err)
{
    const pid_t pid = kd_lock_holder(lock_path);
    const int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    struct pollfd end = {.fd = fd, .events = POLLIN};
    kd_status status = KD_OK;
    *ended = false;
    if (fd < 0)
        return pid == 0 || errno == ESRCH
                   ? KD_OK
                   : kd_error_errno(err, errno, "cannot end process %d", (int)pid);
    if (kd_lock_holder(lock_path) != pid) { /* the number is another process's by now */
        (void)close(fd);
        return KD_OK;
    }
    if (pidfd_send_signal(fd, SIGTERM, NULL, 0) != 0 && errno != ESRCH)
        status = kd_error_errno(err, errno, "cannot end process %d", (int)pid);
    else if (poll(&end, 1, WAIT_MS) == 0)
        status = kd_error_set(err, KD_DEADLINE_EXCEEDED,
            "the stack on %s (pid %d) has not ended after %d s", data, (int)pid, WAIT_MS / 1000);
    (void)close(fd);
    *ended = status == KD_OK;
    return status;
}

/* Under the lock, so that no new stack is mistaken for a leftover. */
static kd_status end_leftovers(
    const char *data, const char *lock_path, unsigned *leftovers, kd_error *err)
{
    kd_lock *lock = NULL;
    kd_status status = kd_lock_acquire(&lock, lock_path, err);
    if (status == KD_FAILED_PRECONDITION) /* one has just begun: not the one to end */
        return KD_OK;
    if (status == KD_OK)
        status = local_end_orphans(data, leftovers, err);
    kd_lock_release(lock);
    return status;
}

int cmd_down(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    kd_error err = KD_ERROR_INIT;
    bool ended = false;
    unsigned leftovers = 0;
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Ends the local stack on the data folder.", NULL, NULL, NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;

    char *const given = cli_data_dir(&common);
    char *const real = realpath(given, NULL);
    const char *const data = real ? real : given;
    char *const lock_path = cli_must(local_path(data, "stack.lock"));
    kd_status status = KD_OK;
    if (kd_is_file(lock_path)) { /* else nothing ever ran here */
        status = end_supervisor(data, lock_path, &ended, &err);
        if (status == KD_OK)
            status = end_leftovers(data, lock_path, &leftovers, &err);
    }
    if (status == KD_OK && common.json)
        cli_print_json(json_pack(
            "{s:s, s:b, s:i}", "data", data, "ended", ended, "leftovers", (int)leftovers));
    else if (status == KD_OK && ended)
        printf("the stack on %s has ended\n", data);
    else if (status == KD_OK && leftovers > 0)
        printf("no stack ran on %s; %u processes that one had left behind have ended\n", data,
            leftovers);
    else if (status == KD_OK)
        printf("no stack runs on %s\n", data);
    free(lock_path);
    free(real);
    free(given);
    return status == KD_OK ? EXIT_DONE : cli_error(&common, "down", &err);
}
