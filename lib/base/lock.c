#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"

struct kd_lock {
    int fd;
};

static struct flock whole_file(short type)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}

kd_status kd_lock_acquire(kd_lock **out, const char *path, kd_error *err)
{
    *out = NULL;
    kd_lock *lock = calloc(1, sizeof *lock);
    if (!lock)
        return kd_error_memory(err, "a lock");
    lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock->fd < 0) {
        const kd_status status = kd_error_errno(err, errno, "cannot open lock file %s", path);
        free(lock);
        return status;
    }
    struct flock request = whole_file(F_WRLCK);
    if (fcntl(lock->fd, F_SETLK, &request) != 0) {
        const int errnum = errno;
        const bool held = errnum == EACCES || errnum == EAGAIN;
        request = whole_file(F_WRLCK);
        const pid_t pid =
            held && fcntl(lock->fd, F_GETLK, &request) == 0 && request.l_type != F_UNLCK
                ? request.l_pid
                : 0;
        (void)close(lock->fd);
        free(lock);
        if (!held)
            return kd_error_errno(err, errnum, "cannot lock %s", path);
        return kd_error_set(
            err, KD_FAILED_PRECONDITION, "%s is locked by process %ld", path, (long)pid);
    }
    *out = lock;
    return KD_OK;
}

void kd_lock_release(kd_lock *lock)
{
    if (!lock)
        return;
    (void)close(lock->fd); /* drops the lock; the file stays, as removing it would race */
    free(lock);
}

pid_t kd_lock_holder(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return 0;
    struct flock request = whole_file(F_WRLCK);
    const pid_t pid =
        fcntl(fd, F_GETLK, &request) == 0 && request.l_type != F_UNLCK ? request.l_pid : 0;
    (void)close(fd);
    return pid;
}
