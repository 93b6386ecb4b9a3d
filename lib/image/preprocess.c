#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/image.h"

/* The shortest text that reads back as the same float: the hash hangs on it. */
static void float_text(float value, char *text, size_t size)
{
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(text, size, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            return;
    }
}

void kd_preprocess_text(const kd_preprocess *preprocess, char text[KD_PREPROCESS_TEXT])
{
    char mean[3][16], std[3][16];

    assert(preprocess && text);
    for (size_t c = 0; c < 3; c++) {
        float_text(preprocess->mean[c], mean[c], sizeof mean[c]);
        float_text(preprocess->std[c], std[c], sizeof std[c]);
    }
    (void)snprintf(text, KD_PREPROCESS_TEXT,
        "rgb8, %supright, over white, resize %ux%u bilinear antialiased rgb8, scale 1/255, mean %s "
        "%s %s, "
        "std %s %s %s",
        preprocess->scaled_dct ? "jpeg at 1/8 1/4 1/2 if twice the size, " : "",
        preprocess->image_size, preprocess->image_size, mean[0], mean[1], mean[2], std[0], std[1],
        std[2]);
}

kd_status kd_preprocess_hash(
    const kd_preprocess *preprocess, char hash[KD_SHA256_TEXT], kd_error *err)
{
    char text[KD_PREPROCESS_TEXT];
    uint8_t digest[KD_SHA256_BYTES];

    kd_preprocess_text(preprocess, text);
    const kd_status status = kd_sha256(text, strlen(text), digest, err);
    if (status)
        return status;
    kd_hex(digest, sizeof digest, hash);
    return KD_OK;
}

void kd_preprocess_normalise(const kd_preprocess *preprocess, const kd_image *image, float *input)
{
    /* A pixel has 256 values: the divisions are made once for each, in torchvision's order. */
    float table[3][256];

    assert(preprocess && image && image->pixels && input);
    assert(image->width == preprocess->image_size && image->height == preprocess->image_size);
    for (size_t c = 0; c < 3; c++) {
        for (size_t v = 0; v < 256; v++)
            table[c][v] = ((float)v / 255.0f - preprocess->mean[c]) / preprocess->std[c];
    }
    const size_t n = (size_t)image->width * image->height * 3;
    for (size_t i = 0; i < n; i += 3) {
        for (size_t c = 0; c < 3; c++)
            input[i + c] = table[c][image->pixels[i + c]];
    }
}

kd_status kd_preprocess_decode(
    const kd_preprocess *preprocess, kd_image *out, const void *bytes, size_t len, kd_error *err)
{
    return kd_image_decode_scaled(
        out, bytes, len, preprocess->scaled_dct ? preprocess->image_size : 0, err);
}

kd_status kd_preprocess_run(
    const kd_preprocess *preprocess, const void *bytes, size_t len, float *input, kd_error *err)
{
    kd_image image = KD_IMAGE_INIT, square = KD_IMAGE_INIT;

    assert(preprocess && input);
    kd_status status = kd_preprocess_decode(preprocess, &image, bytes, len, err);
    if (status)
        return status;
    status = kd_image_resize(&square, &image, preprocess->image_size, preprocess->image_size, err);
    if (status == KD_OK)
        kd_preprocess_normalise(preprocess, &square, input);
    kd_image_free(&square);
    kd_image_free(&image);
    return status;
}
