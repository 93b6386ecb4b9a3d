#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

kd_status kd_new_file_begin(kd_new_file *file, const char *path, kd_error *err)
{
    *file = (kd_new_file){.path = strdup(path),
        .beside = kd_format("%s.XXXXXX" KD_NEW_FILE_ENDING, path),
        .mode = 0644};
    if (!file->path || !file->beside) {
        kd_new_file_drop(file);
        return kd_error_memory(err, path);
    }
    const int fd = mkostemps(file->beside, sizeof KD_NEW_FILE_ENDING - 1, O_CLOEXEC);
    if (fd >= 0)
        file->stream = fdopen(fd, "wb");
    if (file->stream)
        return KD_OK;
    const kd_status status = kd_error_errno(err, errno, "cannot write beside %s", path);
    if (fd >= 0) {
        (void)close(fd);
    } else { /* nothing to remove */
        free(file->beside);
        file->beside = NULL;
    }
    kd_new_file_drop(file);
    return status;
}

/* Allocates nothing: what was renamed must not fail for want of memory. */
kd_status kd_new_file_commit(kd_new_file *file, kd_error *err)
{
    kd_status status = KD_OK;
    const int fd = fileno(file->stream);
    if (ferror(file->stream) || fflush(file->stream) != 0 || fchmod(fd, file->mode) != 0 ||
        fsync(fd) != 0)
        status = kd_error_errno(err, errno, "cannot write %s", file->path);
    if (fclose(file->stream) != 0 && status == KD_OK)
        status = kd_error_errno(err, errno, "cannot write %s", file->path);
    file->stream = NULL;
    if (status == KD_OK && rename(file->beside, file->path) != 0)
        status = kd_error_errno(err, errno, "cannot replace %s", file->path);
    if (status == KD_OK) {
        free(file->beside);
        file->beside = NULL;
        status = kd_fsync_folder_of(file->path, err);
    }
    kd_new_file_drop(file);
    return status;
}

void kd_new_file_drop(kd_new_file *file)
{
    if (file->stream)
        (void)fclose(file->stream);
    if (file->beside)
        (void)unlink(file->beside);
    free(file->beside);
    free(file->path);
    *file = (kd_new_file)KD_NEW_FILE_INIT;
}

/* Who could read the file that is there can read the new one. */
static kd_status keep_owner(const kd_new_file *file, kd_error *err)
{
    struct stat old, new;
    const int fd = fileno(file->stream);
    if (stat(file->path, &old) != 0 || fstat(fd, &new) != 0 || old.st_uid == new.st_uid)
        return KD_OK; /* the rename says what is wrong with a path */
    return fchown(fd, old.st_uid, old.st_gid) == 0
               ? KD_OK
               : kd_error_errno(err, errno, "cannot write %s for its owner, user %u", file->path,
                     (unsigned)old.st_uid);
}

static kd_status write_whole(
    const char *path, const void *bytes, size_t len, mode_t mode, kd_error *err)
{
    kd_new_file file;
    kd_status status = kd_new_file_begin(&file, path, err);
    if (!file.stream)
        return status;
    file.mode = mode;
    if (fwrite(bytes, 1, len, file.stream) != len)
        status = kd_error_errno(err, errno, "cannot write %s", path);
    else if (mode == 0600)
        status = keep_owner(&file, err);
    if (status == KD_OK)
        return kd_new_file_commit(&file, err);
    kd_new_file_drop(&file);
    return status;
}

kd_status kd_file_write(const char *path, const void *bytes, size_t len, kd_error *err)
{
    return write_whole(path, bytes, len, 0644, err);
}

kd_status kd_file_write_private(const char *path, const void *bytes, size_t len, kd_error *err)
{
    return write_whole(path, bytes, len, 0600, err);
}
