/* tests/access/room.h: a folder of the test's own with a file of keys. */
#ifndef KD_TESTS_ACCESS_ROOM_H
#define KD_TESTS_ACCESS_ROOM_H

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/access/access.h"
#include "lib/access/internal.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/support/check.h"

static char g_dir[512], g_path[600];
static kd_error g_err;

static inline int setup(void **state)
{
    (void)state;
    (void)strcpy(g_dir, KD_BINARY_DIR "/access-XXXXXX");
    if (!mkdtemp(g_dir))
        return -1;
    (void)snprintf(g_path, sizeof g_path, "%s/keys.json", g_dir);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

/* A key of this name; its text in key (KD_KEY_TEXT). */
static inline kd_key make_key(const char *name, kd_scope scope, uint32_t rate, char *key)
{
    kd_key wanted = {.scope = scope, .rate = rate}, made;
    (void)kd_copy(wanted.name, sizeof wanted.name, name);
    CHECK_OK(kd_keys_create(g_path, &wanted, &made, key, &g_err), g_err);
    return made;
}

#endif
