/* Gives a fuzz target every file of the folders named on the command line, in order of name. */
#include <dirent.h>
#include <string.h>

#include "lib/base/file.h"
#include "tests/fuzz/fuzz.h"

static void run_file(const char *path)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf content = KD_BUF_INIT;
    if (kd_file_read(path, SIZE_MAX, &content, &err) != KD_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    (void)printf("%s\n", path);
    (void)fflush(stdout); /* whoever reads of a crash must see which file it was */
    /* A copy of its own, so that AddressSanitizer sees a read past the end. */
    uint8_t *const bytes = malloc(content.len ? content.len : 1);
    FUZZ_CHECK(bytes != NULL);
    if (content.len)
        memcpy(bytes, content.data, content.len);
    (void)LLVMFuzzerTestOneInput(bytes, content.len);
    free(bytes);
    kd_buf_free(&content);
}

static size_t run_folder(const char *folder)
{
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, NULL, alphasort);
    size_t ran = 0;
    for (int i = 0; i < n; i++) {
        char *const path = kd_format("%s/%s", folder, entries[i]->d_name);
        if (path && kd_is_file(path)) {
            run_file(path);
            ran++;
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return ran;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const size_t ran = run_folder(argv[i]);
        if (ran == 0) {
            (void)fprintf(stderr, "%s holds no file\n", argv[i]);
            return 1;
        }
        (void)printf("%zu files of %s\n", ran, argv[i]);
    }
    return argc > 1 ? 0 : 2;
}
