/* Gaussian blur in two passes, the columns' and the rows', in 16-bit integers: a value has 7 bits
 * behind the point, a weight 16, of whose product the upper half is kept. As the kernel is even,
 * the two pixels at one distance are added before they are weighed. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/augment.h"
#include "lib/image/simd.h"

#define LEAST_SIGMA 0.25
#define VALUE_BITS 7
#define ONE_HALF (1 << (VALUE_BITS - 1))

/* weights[k] for the pixels k to either side, k ≤ reach. */
typedef struct kernel {
    uint16_t weights[AUGMENT_BLUR_REACH + 1];
    size_t reach;
} kernel;

static kernel kernel_make(double sigma)
{
    double shares[AUGMENT_BLUR_REACH + 1], sum = 1;
    kernel k = {.reach = AUGMENT_BLUR_REACH};
    uint32_t rest = 1 << 16;

    if (3 * sigma < AUGMENT_BLUR_REACH)
        k.reach = (size_t)ceil(3 * sigma);
    for (size_t i = 1; i <= k.reach; i++) {
        const double away = (double)i / sigma;
        shares[i] = exp(-0.5 * away * away);
        sum += 2 * shares[i];
    }
    for (size_t i = 1; i <= k.reach; i++) {
        k.weights[i] = (uint16_t)lrint(shares[i] / sum * (1 << 16));
        rest -= 2u * k.weights[i];
    }
    assert(rest <= UINT16_MAX);
    k.weights[0] = (uint16_t)rest; /* so that one colour stays as it is */
    return k;
}

/* Where a picture reflected at its edges has its at-th pixel. */
static size_t reflect(ptrdiff_t at, size_t n)
{
    const ptrdiff_t last = (ptrdiff_t)n - 1;
    if (last == 0)
        return 0;
    ptrdiff_t folded = at % (2 * last);
    if (folded < 0)
        folded += 2 * last;
    return (size_t)(folded > last ? 2 * last - folded : folded);
}

/* What the upper halves lose: half a unit each. */
static uint16_t lost(const kernel *k)
{
    return (uint16_t)((k->reach + 2) / 2);
}

MULTIVERSION static void start_row(
    const uint8_t *restrict row, size_t n, uint16_t weight, uint16_t first, uint16_t *restrict sums)
{
    for (size_t i = 0; i < n; i++)
        sums[i] = (uint16_t)(high_half_unsigned((uint16_t)(row[i] << VALUE_BITS), weight) + first);
}

MULTIVERSION static void add_rows(
    const uint8_t *upper, const uint8_t *lower, size_t n, uint16_t weight, uint16_t *restrict sums)
{
    for (size_t i = 0; i < n; i++) {
        const uint16_t pair = (uint16_t)((upper[i] + lower[i]) << VALUE_BITS);
        sums[i] = (uint16_t)(sums[i] + high_half_unsigned(pair, weight));
    }
}

static void columns(
    const kd_image *image, const kernel *k, size_t y, size_t n, uint16_t *restrict sums)
{
    start_row(image->pixels + y * n, n, k->weights[0], lost(k), sums);
    for (size_t i = 1; i <= k->reach; i++) {
        const size_t upper = reflect((ptrdiff_t)y - (ptrdiff_t)i, image->height),
                     lower = reflect((ptrdiff_t)(y + i), image->height);
        add_rows(image->pixels + upper * n, image->pixels + lower * n, n, k->weights[i], sums);
    }
}

/* row has reach pixels to its left and to its right. */
static void extend(uint16_t *row, size_t width, size_t reach)
{
    for (size_t i = 1; i <= reach; i++) {
        const size_t left = reflect(-(ptrdiff_t)i, width),
                     right = reflect((ptrdiff_t)(width - 1 + i), width);
        memcpy(row - 3 * i, row + 3 * left, 3 * sizeof *row);
        memcpy(row + 3 * (width - 1 + i), row + 3 * right, 3 * sizeof *row);
    }
}

MULTIVERSION static void add_pixels(
    const uint16_t *restrict row, size_t n, const kernel *k, uint16_t *restrict sums)
{
    const uint16_t middle = k->weights[0], first = (uint16_t)(lost(k) + ONE_HALF);
    for (size_t i = 0; i < n; i++)
        sums[i] = (uint16_t)(high_half_unsigned(row[i], middle) + first);
    for (size_t j = 1; j <= k->reach; j++) {
        const uint16_t *const left = row - 3 * j, *const right = row + 3 * j;
        const uint16_t weight = k->weights[j];
        for (size_t i = 0; i < n; i++)
            sums[i] =
                (uint16_t)(sums[i] + high_half_unsigned((uint16_t)(left[i] + right[i]), weight));
    }
}

MULTIVERSION static void put_row(const uint16_t *restrict sums, size_t n, uint8_t *restrict out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(sums[i] >> VALUE_BITS);
}

kd_status augment_blur(kd_image *image, double sigma, kd_error *err)
{
    kd_image out = KD_IMAGE_INIT;

    assert(image && image->pixels);
    if (sigma < LEAST_SIGMA)
        return KD_OK;
    const kernel k = kernel_make(sigma);
    const size_t n = (size_t)image->width * 3, edge = k.reach * 3;
    const kd_status status = kd_image_new(&out, image->width, image->height, err);
    if (status)
        return status;
    uint16_t *const row = malloc((edge + n + edge + n) * sizeof *row); /* and the sums behind */
    if (!row) {
        kd_image_free(&out);
        return kd_error_memory(err, "blurring an image");
    }
    uint16_t *const sums = row + edge + n + edge;
    for (size_t y = 0; y < image->height; y++) {
        columns(image, &k, y, n, row + edge);
        extend(row + edge, image->width, k.reach);
        add_pixels(row + edge, n, &k, sums);
        put_row(sums, n, out.pixels + y * n);
    }
    free(row);
    kd_image_free(image);
    *image = out;
    return KD_OK;
}
