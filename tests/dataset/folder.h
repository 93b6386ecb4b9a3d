/* tests/dataset/folder.h: a temporary folder, filled file by file. */
#ifndef KD_TESTS_DATASET_FOLDER_H
#define KD_TESTS_DATASET_FOLDER_H

#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "tests/support/check.h"

static char g_dir[64];
static kd_error g_err = KD_ERROR_INIT;

static int setup(void **state)
{
    (void)state;
    strcpy(g_dir, "kd-dataset-XXXXXX");
    return mkdtemp(g_dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

/* Writes DIR/rel and the folders above it. */
static void put(const char *rel, const char *text)
{
    char *const path = kd_format("%s/%s", g_dir, rel);
    char *const slash = strrchr(path, '/');
    *slash = '\0';
    CHECK_OK(kd_make_dirs(path, &g_err), g_err);
    *slash = '/';
    CHECK_OK(kd_file_write(path, text, strlen(text), &g_err), g_err);
    free(path);
}

#endif
