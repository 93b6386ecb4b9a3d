/* tests/fuzz/fuzz.h: what the fuzz targets share.
 *
 * A target is one function that takes any bytes and must come back: NAME_fuzz.c. With clang it is
 * linked with libFuzzer, which makes up the bytes (preset fuzz, tools/fuzz.sh); with any compiler
 * it is linked with fuzz_main.c, which gives it the files of corpus/NAME (ctest fuzz.NAME). */
#ifndef KD_TESTS_FUZZ_H
#define KD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/status.h"

KD_C_BEGIN

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len); /* 0 */

/* What must hold for every input; NDEBUG does not take it away. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A function of lib/ either succeeds or says why not. */
static inline void fuzz_said_why(kd_status status, const kd_error *err)
{
    FUZZ_CHECK(status == KD_OK || (err->status == status && err->message[0] != '\0'));
}

/* The part of *at before the next FUZZ_CUT or the end; *at moves behind it. Behind the end the
 * parts are empty. A target that needs several texts cuts its bytes so. */
#define FUZZ_CUT 0x1e /* ASCII's record separator: refused by every reader of text here */
typedef struct fuzz_part {
    const uint8_t *bytes;
    size_t len;
} fuzz_part;
fuzz_part fuzz_next_part(fuzz_part *rest);

/* A folder of this process's own, in memory where the system has such; removed when it exits. */
const char *fuzz_folder(void);
/* Writes fuzz_folder()/name. */
void fuzz_write(const char *name, const void *bytes, size_t len);
void fuzz_remove(const char *name); /* absent is fine */

KD_C_END
#endif
