/* pixels SIDE whole|scaled FILE…: each image decoded and resized to SIDE × SIDE, as raw RGB on
 * standard output, for pillow_test.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/image/image.h"

static kd_status put(const char *path, uint32_t side, bool scaled, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    kd_image image = KD_IMAGE_INIT, square = KD_IMAGE_INIT;
    kd_status status = kd_file_read(path, KD_IMAGE_MAX_BYTES, &bytes, err);
    if (status == KD_OK)
        status = kd_image_decode_scaled(&image, bytes.data, bytes.len, scaled ? side : 0, err);
    if (status == KD_OK)
        status = kd_image_resize(&square, &image, side, side, err);
    if (status == KD_OK)
        (void)fwrite(square.pixels, 3, (size_t)side * side, stdout);
    kd_image_free(&square);
    kd_image_free(&image);
    kd_buf_free(&bytes);
    return status;
}

int main(int argc, char **argv)
{
    kd_error err = KD_ERROR_INIT;
    if (argc < 3)
        return 2;
    const uint32_t side = (uint32_t)strtoul(argv[1], NULL, 10);
    for (int i = 3; i < argc; i++)
        if (put(argv[i], side, strcmp(argv[2], "scaled") == 0, &err) != KD_OK) {
            (void)fprintf(stderr, "%s: %s\n", argv[i], err.message);
            return 1;
        }
    return 0;
}
