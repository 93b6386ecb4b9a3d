/* tests/image/picture.h: the pictures that the tests of lib/image share. */
#ifndef KD_TESTS_IMAGE_PICTURE_H
#define KD_TESTS_IMAGE_PICTURE_H

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "tests/support/check.h"

/* The formula of tools/golden/image.py. */
static inline kd_image picture(uint32_t width, uint32_t height)
{
    kd_error err = KD_ERROR_INIT;
    kd_image image;
    CHECK_OK(kd_image_new(&image, width, height, &err), err);
    uint8_t *to = image.pixels;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < 3; c++)
                *to++ = (uint8_t)(x * (3 + c) + y * 5 + ((x * y) >> 4) * (c + 1) +
                                  ((x ^ y) & 8 ? 90 : 0));
        }
    }
    return image;
}

static inline kd_image plain(uint32_t width, uint32_t height, uint8_t r, uint8_t g, uint8_t b)
{
    kd_error err = KD_ERROR_INIT;
    kd_image image;
    CHECK_OK(kd_image_new(&image, width, height, &err), err);
    for (size_t i = 0; i < (size_t)width * height; i++) {
        image.pixels[3 * i] = r;
        image.pixels[3 * i + 1] = g;
        image.pixels[3 * i + 2] = b;
    }
    return image;
}

/* The picture as a JPEG; the caller frees it. */
static inline kd_buf jpeg_picture(uint32_t width, uint32_t height)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf bytes = KD_BUF_INIT;
    kd_image image = picture(width, height);
    CHECK_OK(kd_image_encode_jpeg(&image, 90, &bytes, &err), err);
    kd_image_free(&image);
    return bytes;
}

static inline kd_buf read_data(const char *name)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf bytes = KD_BUF_INIT;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/tests/image/data/%s", KD_SOURCE_DIR, name);
    CHECK_OK(kd_file_read(path, KD_IMAGE_MAX_BYTES, &bytes, &err), err);
    return bytes;
}

static inline void check_same(const kd_image *expected, const kd_image *actual)
{
    CHECK_INT(expected->width, actual->width);
    CHECK_INT(expected->height, actual->height);
    assert_memory_equal(
        expected->pixels, actual->pixels, (size_t)expected->width * expected->height * 3);
}

/* A pixel as 0xRRGGBB. */
static inline uint32_t pixel_at(const kd_image *image, uint32_t x, uint32_t y)
{
    CHECK(x < image->width && y < image->height);
    const uint8_t *const p = image->pixels + ((size_t)y * image->width + x) * 3;
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

#endif
