#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool kd_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool kd_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

#define READ_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK) /* a pipe would hold us up */

/* Closes fd, which is -1 with errno where path could not be opened. */
static kd_status read_all(int fd, const char *path, size_t max, kd_buf *out, kd_error *err)
{
    kd_status status = KD_OK;
    struct stat info;
    if (fd < 0)
        return kd_error_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &info) != 0) {
        status = kd_error_errno(err, errno, "cannot read %s", path);
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "%s is not a file", path);
        goto out;
    }
    if (info.st_size < 0 || (uint64_t)info.st_size > max) {
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "%s has %lld bytes, allowed %zu", path,
            (long long)info.st_size, max);
        goto out;
    }
    /* The file may grow meanwhile: what stat said is what is read. */
    for (size_t left = (size_t)info.st_size; left > 0;) {
        uint8_t *const to = kd_buf_reserve(out, left);
        if (!to) {
            status = kd_error_memory(err, path);
            goto out;
        }
        const ssize_t got = read(fd, to, left);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = kd_error_errno(err, errno, "cannot read %s", path);
            goto out;
        }
        if (got == 0)
            break;
        out->len += (size_t)got;
        left -= (size_t)got;
        out->data[out->len] = 0;
    }
out:
    (void)close(fd);
    return status;
}

kd_status kd_file_read(const char *path, size_t max, kd_buf *out, kd_error *err)
{
    return read_all(open(path, READ_FLAGS), path, max, out, err);
}

/* A path without links, as realpath gives it: one that is there now is not followed. */
static int open_resolved(const char *path)
{
    const struct open_how how = {.flags = READ_FLAGS, .resolve = RESOLVE_NO_SYMLINKS};
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) /* a container may not know the call */
        return fd;
    return open(path, READ_FLAGS | O_NOFOLLOW);
}

kd_status kd_file_read_under(const char *path, const char *const *roots, size_t n_roots, size_t max,
    kd_buf *out, kd_error *err)
{
    char *real = NULL;
    kd_status status = kd_path_under(path, roots, n_roots, &real, err);
    if (!real)
        return status;
    status = read_all(open_resolved(real), real, max, out, err);
    free(real);
    return status;
}

bool kd_file_read_may_pass(const char *path, size_t max, kd_status status)
{
    struct stat info;
    if (status == KD_INTERNAL)
        return true;
    return status == KD_RESOURCE_EXHAUSTED && stat(path, &info) == 0 && info.st_size >= 0 &&
           (uint64_t)info.st_size <= max;
}

static kd_status write_all(int fd, const void *bytes, size_t len, const char *path, kd_error *err)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        const ssize_t put = write(fd, at, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return kd_error_errno(err, errno, "cannot write %s", path);
        at += put;
        len -= (size_t)put;
    }
    return KD_OK;
}

kd_status kd_fsync_path(const char *path, kd_error *err)
{
    kd_status status = KD_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kd_error_errno(err, errno, "cannot open %s", path);
    if (fsync(fd) != 0)
        status = kd_error_errno(err, errno, "cannot sync %s", path);
    (void)close(fd);
    return status;
}

/* Allocates nothing: what was renamed before must not fail for want of memory. */
kd_status kd_fsync_folder_of(const char *path, kd_error *err)
{
    char folder[PATH_MAX] = ".";
    const char *const slash = strrchr(path, '/');
    const size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    if (len >= sizeof folder)
        return kd_error_errno(err, ENAMETOOLONG, "cannot sync the folder of %s", path);
    if (len > 0) {
        memcpy(folder, path, len);
        folder[len] = '\0';
    }
    return kd_fsync_path(folder, err);
}

kd_status kd_make_dirs(const char *path, kd_error *err)
{
    char *const copy = strdup(path);
    if (!copy)
        return kd_error_memory(err, path);
    kd_status status = KD_OK;
    for (char *p = copy + 1; status == KD_OK && copy[0] != '\0'; p++) {
        const char was = *p;
        if (was != '/' && was != '\0')
            continue;
        *p = '\0';
        if (mkdir(copy, 0755) != 0 && !(errno == EEXIST && kd_is_dir(copy)))
            status = kd_error_errno(err, errno, "cannot make folder %s", copy);
        *p = was;
        if (was == '\0')
            break;
    }
    free(copy);
    return status;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

kd_status kd_remove_tree(const char *path, kd_error *err)
{
    struct stat info;
    if (lstat(path, &info) != 0 && errno == ENOENT)
        return KD_OK;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return kd_error_errno(err, errno, "cannot remove %s", path);
    return KD_OK;
}

kd_status kd_copy_file(const char *from, const char *to, kd_error *err)
{
    kd_status status = KD_OK;
    const size_t chunk = 1u << 20;
    uint8_t *const bytes = malloc(chunk);
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = -1;
    if (!bytes) {
        status = kd_error_memory(err, "copying a file");
        goto out;
    }
    if (in < 0) {
        status = kd_error_errno(err, errno, "cannot open %s", from);
        goto out;
    }
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0) {
        status = kd_error_errno(err, errno, "cannot write %s", to);
        goto out;
    }
    while (status == KD_OK) {
        const ssize_t got = read(in, bytes, chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = kd_error_errno(err, errno, "cannot read %s", from);
        if (got <= 0)
            break;
        status = write_all(out, bytes, (size_t)got, to, err);
    }
    if (status == KD_OK && fsync(out) != 0)
        status = kd_error_errno(err, errno, "cannot write %s", to);
out:
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    free(bytes);
    return status;
}

kd_status kd_move_file(const char *from, const char *to, kd_error *err)
{
    if (rename(from, to) == 0)
        return KD_OK;
    if (errno != EXDEV)
        return kd_error_errno(err, errno, "cannot move %s to %s", from, to);
    kd_status status = kd_copy_file(from, to, err);
    if (status == KD_OK && unlink(from) != 0)
        status = kd_error_errno(err, errno, "cannot remove %s", from);
    if (status != KD_OK)
        (void)unlink(to);
    return status;
}

/* real has no links in it. A root that can't be resolved holds nothing. */
static kd_status lies_under(const char *real, const char *root, bool *under, kd_error *err)
{
    char *const top = realpath(root, NULL);
    *under = false;
    if (!top)
        return errno == ENOMEM ? kd_error_memory(err, root) : KD_OK;
    const size_t len = strlen(top);
    *under = strcmp(top, "/") == 0 ||
             (strncmp(real, top, len) == 0 && (real[len] == '/' || real[len] == '\0'));
    free(top);
    return KD_OK;
}

static kd_status refuse_path(
    const char *path, const char *const *roots, size_t n_roots, kd_error *err)
{
    kd_buf list = KD_BUF_INIT;
    kd_buf_puts(&list, n_roots ? "" : "there is none");
    for (size_t i = 0; i < n_roots; i++)
        kd_buf_printf(&list, "%s%s", i ? ", " : "", roots[i]);
    const kd_status status =
        kd_buf_ok(&list) ? kd_error_set(err, KD_PERMISSION_DENIED,
                               "%s is not under a dataset root (%s)", path, (char *)list.data)
                         : kd_error_memory(err, path);
    kd_buf_free(&list);
    return status;
}

kd_status kd_path_under(
    const char *path, const char *const *roots, size_t n_roots, char **out, kd_error *err)
{
    *out = NULL;
    char *const real = realpath(path, NULL);
    if (!real)
        return kd_error_errno(err, errno, "cannot open %s", path);
    kd_status status = KD_OK;
    bool under = false;
    for (size_t i = 0; i < n_roots && !under && status == KD_OK; i++)
        status = lies_under(real, roots[i], &under, err);
    if (under)
        *out = real;
    else
        free(real);
    if (status == KD_OK && !under)
        status = refuse_path(path, roots, n_roots, err);
    return status;
}

kd_status kd_check_name(const char *what, const char *name, kd_error *err)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const size_t len = strlen(name);
    if (len == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the %s has no name", what);
    if (len > 64 || !strchr(first, name[0]) || strspn(name, rest) != len)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "'%.80s' can't name a %s: allowed are 1 to 64 letters, digits, '.', '_' and '-', first "
            "a "
            "letter or digit",
            name, what);
    return KD_OK;
}
