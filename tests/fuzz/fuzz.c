#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"

fuzz_part fuzz_next_part(fuzz_part *rest)
{
    const uint8_t *const cut = rest->len ? memchr(rest->bytes, FUZZ_CUT, rest->len) : NULL;
    const fuzz_part part = {rest->bytes, cut ? (size_t)(cut - rest->bytes) : rest->len};
    const size_t used = part.len + (cut ? 1 : 0);
    rest->bytes += used;
    rest->len -= used;
    return part;
}

static char g_folder[64];

static void remove_folder(void)
{
    kd_error err = KD_ERROR_INIT;
    if (kd_remove_tree(g_folder, &err) != KD_OK)
        (void)fprintf(stderr, "%s\n", err.message);
}

const char *fuzz_folder(void)
{
    if (!g_folder[0]) {
        const char *const base = kd_is_dir("/dev/shm") ? "/dev/shm" : "/tmp";
        (void)snprintf(g_folder, sizeof g_folder, "%s/kd-fuzz-XXXXXX", base);
        FUZZ_CHECK(mkdtemp(g_folder) != NULL);
        (void)atexit(remove_folder);
    }
    return g_folder;
}

static char *path_of(const char *name)
{
    char *const path = kd_format("%s/%s", fuzz_folder(), name);
    FUZZ_CHECK(path != NULL);
    return path;
}

/* Plain writes: kd_file_write's fsync would be most of the time. */
void fuzz_write(const char *name, const void *bytes, size_t len)
{
    char *const path = path_of(name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(len == 0 || write(fd, bytes, len) == (ssize_t)len);
    (void)close(fd);
    free(path);
}

void fuzz_remove(const char *name)
{
    char *const path = path_of(name);
    FUZZ_CHECK(unlink(path) == 0 || errno == ENOENT);
    free(path);
}
