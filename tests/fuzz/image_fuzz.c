/* Any bytes as an image: decoded, turned upright, resized, written again. */
#include <math.h>
#include <string.h>

#include "lib/image/image.h"
#include "tests/fuzz/fuzz.h"

#define MAX_PIXELS (256u * 256u)
#define SIDE 16u

/* The linker puts these before what makes an image: a header of a few bytes may claim 64 million
 * pixels, which is allowed but would leave no time for anything else. */
static bool fits(kd_image *out, uint32_t width, uint32_t height)
{
    *out = (kd_image)KD_IMAGE_INIT;
    return (uint64_t)width * height <= MAX_PIXELS;
}

kd_status __real_kd_image_new(kd_image *out, uint32_t width, uint32_t height, kd_error *err);
kd_status __wrap_kd_image_new(kd_image *out, uint32_t width, uint32_t height, kd_error *err);
kd_status __wrap_kd_image_new(kd_image *out, uint32_t width, uint32_t height, kd_error *err)
{
    return fits(out, width, height)
               ? __real_kd_image_new(out, width, height, err)
               : kd_error_set(err, KD_RESOURCE_EXHAUSTED, "too large for a fuzzer");
}

kd_status __real_image_make(kd_image *out, uint32_t width, uint32_t height, kd_error *err);
kd_status __wrap_image_make(kd_image *out, uint32_t width, uint32_t height, kd_error *err);
kd_status __wrap_image_make(kd_image *out, uint32_t width, uint32_t height, kd_error *err)
{
    return fits(out, width, height)
               ? __real_image_make(out, width, height, err)
               : kd_error_set(err, KD_RESOURCE_EXHAUSTED, "too large for a fuzzer");
}

/* What was decoded survives PNG, which loses nothing. */
static void write_png(const kd_image *image)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf file = KD_BUF_INIT;
    kd_image again = KD_IMAGE_INIT;
    FUZZ_CHECK(kd_image_encode_png(image, &file, &err) == KD_OK);
    FUZZ_CHECK(kd_image_decode(&again, file.data, file.len, &err) == KD_OK);
    FUZZ_CHECK(again.width == image->width && again.height == image->height);
    FUZZ_CHECK(memcmp(again.pixels, image->pixels, (size_t)3 * image->width * image->height) == 0);
    kd_image_free(&again);
    kd_buf_free(&file);
}

static void resize(const kd_image *image, unsigned choice)
{
    kd_error err = KD_ERROR_INIT;
    kd_image small = KD_IMAGE_INIT;
    const uint32_t width = 1 + choice % 37, height = 1 + choice / 7 % 41;
    FUZZ_CHECK(kd_image_resize(&small, image, width, height, &err) == KD_OK);
    FUZZ_CHECK(small.width == width && small.height == height);
    kd_image_free(&small);
    const uint32_t x = choice % image->width, y = choice % image->height;
    FUZZ_CHECK(kd_image_resize_crop(&small, image, x, y, image->width - x, image->height - y, width,
                   height, &err) == KD_OK);
    kd_image_free(&small);
    const kd_augment augment = {0.5f, 0.5f, 0.2f, 0.3f, 0.5f, 0.4f, 0.2f, 0.5f, 0.5f};
    FUZZ_CHECK(kd_augment_run(&augment, choice, image, SIDE, &small, &err) == KD_OK);
    kd_image_free(&small);
}

/* At a part of its size a JPEG is never smaller than what it will be shrunk to, nor larger than it
 * is. */
static void decode_scaled(const kd_image *whole, const uint8_t *bytes, size_t len, uint32_t side)
{
    kd_error err = KD_ERROR_INIT;
    kd_image part = KD_IMAGE_INIT;
    FUZZ_CHECK(kd_image_decode_scaled(&part, bytes, len, side, &err) == KD_OK);
    FUZZ_CHECK(part.width <= whole->width && part.height <= whole->height);
    FUZZ_CHECK(part.width == whole->width || (part.width >= 2 * side && part.height >= 2 * side));
    kd_image_free(&part);
}

static void preprocess(const uint8_t *bytes, size_t len)
{
    kd_error err = KD_ERROR_INIT;
    kd_preprocess steps = KD_PREPROCESS_INIT;
    float input[SIDE * SIDE * 3];
    kd_buf thumbnail = KD_BUF_INIT;
    steps.image_size = SIDE;
    FUZZ_CHECK(kd_preprocess_run(&steps, bytes, len, input, &err) == KD_OK);
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        FUZZ_CHECK(isfinite(input[i]));
    FUZZ_CHECK(kd_image_thumbnail(bytes, len, SIDE, &thumbnail, &err) == KD_OK);
    kd_buf_free(&thumbnail);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    kd_error err = KD_ERROR_INIT;
    kd_image image = KD_IMAGE_INIT;
    const kd_status status = kd_image_decode(&image, bytes, len, &err);
    fuzz_said_why(status, &err);
    if (status != KD_OK) {
        FUZZ_CHECK(status == KD_INVALID_ARGUMENT || status == KD_RESOURCE_EXHAUSTED);
        FUZZ_CHECK(!image.pixels);
        return 0;
    }
    FUZZ_CHECK(image.pixels && image.width > 0 && image.height > 0);
    const unsigned choice = (unsigned)len * 31 + bytes[len - 1] + bytes[len / 2] * 257u;
    resize(&image, choice);
    decode_scaled(&image, bytes, len, 1 + choice % 5);
    preprocess(bytes, len);
    if (choice % 8 == 0)
        write_png(&image);
    kd_image_free(&image);
    return 0;
}

#ifdef KD_LIBFUZZER
/* libpng stops at a wrong checksum, so a changed PNG would never get further: put them right. */
#include "tests/fuzz/crc32.h"

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t max, unsigned seed)
{
    len = LLVMFuzzerMutate(bytes, len, max);
    if (seed % 16 == 0 || len < 8 || memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) != 0)
        return len;
    for (size_t at = 8; at + 12 <= len;) {
        const size_t size = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 |
                            (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (size > len - at - 12)
            break;
        const uint32_t crc = crc32_of(bytes + at + 4, size + 4);
        for (unsigned i = 0; i < 4; i++)
            bytes[at + 8 + size + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + size;
    }
    return len;
}
#endif
