/* tests/check/scene.h: pictures that can be drawn at any size, and datasets of them. */
#ifndef KD_TESTS_CHECK_SCENE_H
#define KD_TESTS_CHECK_SCENE_H

#include "lib/base/random.h"
#include "lib/check/check.h"
#include "tests/dataset/folder.h"

#define LISTING_HEADER "image_id class_id super_class_id path\n"

/* 0..1 */
static inline double fraction(uint64_t *random)
{
    return (double)(kd_random_next(random) >> 11) / 9007199254740992.0;
}

/* Coloured discs with soft edges over grey: the same seed is the same scene at every size. */
static inline kd_image scene(uint64_t seed, uint32_t width, uint32_t height)
{
    kd_error err = KD_ERROR_INIT;
    kd_image image;
    double value[3];
    CHECK_OK(kd_image_new(&image, width, height, &err), err);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint64_t random = seed;
            value[0] = value[1] = value[2] = 128;
            for (int disc = 0; disc < 20; disc++) {
                const double dx = (x + 0.5) / width - fraction(&random);
                const double dy = (y + 0.5) / height - fraction(&random);
                const double radius = 0.05 + 0.15 * fraction(&random);
                const double inside = (radius - hypot(dx, dy)) / 0.02;
                const double strength = fmin(fmax(inside, 0), 1);
                for (int c = 0; c < 3; c++)
                    value[c] += strength * 240 * (fraction(&random) - 0.5);
            }
            for (int c = 0; c < 3; c++)
                image.pixels[3 * ((size_t)y * width + x) + (size_t)c] =
                    (uint8_t)fmin(fmax(value[c], 0), 255);
        }
    }
    return image;
}

/* Writes bytes to DIR/rel. */
static inline void put_bytes(const char *rel, const void *bytes, size_t len)
{
    char *const path = kd_format("%s/%s", g_dir, rel);
    CHECK_OK(kd_file_write(path, bytes, len, &g_err), g_err);
    free(path);
}

/* Writes the picture to DIR/rel as JPEG, with quality 0 as PNG, and frees it. */
static inline void put_image(const char *rel, kd_image image, int quality)
{
    kd_buf bytes = KD_BUF_INIT;
    CHECK_OK(quality ? kd_image_encode_jpeg(&image, quality, &bytes, &g_err)
                     : kd_image_encode_png(&image, &bytes, &g_err),
        g_err);
    put_bytes(rel, bytes.data, bytes.len);
    kd_buf_free(&bytes);
    kd_image_free(&image);
}

static inline void put_scene(const char *rel, uint64_t seed)
{
    put_image(rel, scene(seed, 100, 80), 90);
}

/* The listing's lines behind its header. */
static inline void put_listing(const char *name, const char *lines)
{
    char *const text = kd_format(LISTING_HEADER "%s", lines);
    put(name, text);
    free(text);
}

#endif
