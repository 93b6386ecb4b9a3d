/* lib/base/file.h: files that are there whole or not at all, locks, folders, paths. */
#ifndef KD_BASE_FILE_H
#define KD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "lib/base/buf.h"
#include "lib/base/status.h"

KD_C_BEGIN

/* Appends the whole file to *out. KD_RESOURCE_EXHAUSTED above max bytes, before reading. */
KD_MUST_CHECK kd_status kd_file_read(const char *path, size_t max, kd_buf *out, kd_error *err);
/* After kd_file_read failed with status: true when the machine is at fault (no descriptor or memory
 * left, an error of the disk or the network) and not the file, so that trying again may help. */
bool kd_file_read_may_pass(const char *path, size_t max, kd_status status);

/* A file that is written piece by piece beside its path and takes its place at the end: readers see
 * the old file or the new. One that a crash leaves behind ends with KD_NEW_FILE_ENDING. */
#define KD_NEW_FILE_ENDING ".new"
typedef struct kd_new_file {
    FILE *stream; /* to write to */
    char *path, *beside;
    mode_t mode; /* 0644 unless set; only its owner reads it meanwhile */
} kd_new_file;
#define KD_NEW_FILE_INIT {NULL, NULL, NULL, 0}
KD_MUST_CHECK kd_status kd_new_file_begin(kd_new_file *file, const char *path, kd_error *err);
/* All that was written is on the disk under path, or nothing is. Ends the file either way. */
KD_MUST_CHECK kd_status kd_new_file_commit(kd_new_file *file, kd_error *err);
void kd_new_file_drop(kd_new_file *file); /* KD_NEW_FILE_INIT and an ended file are fine */

/* Such a file of these bytes. */
KD_MUST_CHECK kd_status kd_file_write(
    const char *path, const void *bytes, size_t len, kd_error *err);
/* The same, for a secret: only its owner reads it, who is the earlier file's where there is one. */
KD_MUST_CHECK kd_status kd_file_write_private(
    const char *path, const void *bytes, size_t len, kd_error *err);

KD_MUST_CHECK kd_status kd_fsync_path(const char *path, kd_error *err); /* file or folder */
/* The folder that holds path: what was made or renamed there lasts. */
KD_MUST_CHECK kd_status kd_fsync_folder_of(const char *path, kd_error *err);
KD_MUST_CHECK kd_status kd_make_dirs(const char *path, kd_error *err);   /* mkdir -p, mode 0755 */
KD_MUST_CHECK kd_status kd_remove_tree(const char *path, kd_error *err); /* rm -r; absent is fine */
KD_MUST_CHECK kd_status kd_copy_file(const char *from, const char *to, kd_error *err); /* synced */
/* Renames a file, or copies and removes it where the folders are on different file systems. On
 * failure from is as it was. */
KD_MUST_CHECK kd_status kd_move_file(const char *from, const char *to, kd_error *err);
bool kd_is_dir(const char *path);
bool kd_is_file(const char *path);

/* A lock that the kernel drops with the process (POSIX record lock), so that a stale file is never
 * believed. KD_FAILED_PRECONDITION names the holder's pid when another process has it. */
typedef struct kd_lock kd_lock;
KD_MUST_CHECK kd_status kd_lock_acquire(kd_lock **out, const char *path, kd_error *err);
void kd_lock_release(kd_lock *lock);
pid_t kd_lock_holder(const char *path); /* 0: nobody */

/* Resolves path (links and ..) into *out (free), which must lie under one of the n_roots folders;
 * with no roots every path is refused. KD_PERMISSION_DENIED names the roots, KD_NOT_FOUND the path
 * that is not there. */
KD_MUST_CHECK kd_status kd_path_under(
    const char *path, const char *const *roots, size_t n_roots, char **out, kd_error *err);

/* Appends the file at path, which must lie so, to *out: as kd_path_under, then kd_file_read, which
 * sees no link that was put there in between. */
KD_MUST_CHECK kd_status kd_file_read_under(const char *path, const char *const *roots,
    size_t n_roots, size_t max, kd_buf *out, kd_error *err);

/* A name that may become a file name: 1..64 of a-z A-Z 0-9 . _ -, beginning with a letter or
 * digit. what names the thing in the error sentence ("collection"). */
KD_MUST_CHECK kd_status kd_check_name(const char *what, const char *name, kd_error *err);

KD_C_END
#endif
