/* The perceptual hash: see check.h. */
#include <math.h>
#include <stdlib.h>

#include "lib/check/internal.h"

#define SIDE 32u /* of the shrunk picture */
#define LOW 8u   /* frequencies each way, without the mean and what is constant one way */

static int compare(const void *left, const void *right)
{
    const double *const a = left, *const b = right;
    return (*a > *b) - (*a < *b);
}

/* The antialiased shrinking stands for the paper's mean filter. */
static kd_status shrink(const kd_image *image, double grey[SIDE][SIDE], kd_error *err)
{
    kd_image small;
    const kd_status status = kd_image_resize(&small, image, SIDE, SIDE, err);
    if (status != KD_OK)
        return status;
    const uint8_t *p = small.pixels;
    for (size_t y = 0; y < SIDE; y++)
        for (size_t x = 0; x < SIDE; x++, p += 3)
            grey[y][x] = 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    kd_image_free(&small);
    return KD_OK;
}

static double deviation_of(double grey[SIDE][SIDE])
{
    double sum = 0, squares = 0;
    for (size_t y = 0; y < SIDE; y++) {
        for (size_t x = 0; x < SIDE; x++) {
            sum += grey[y][x];
            squares += grey[y][x] * grey[y][x];
        }
    }
    const double mean = sum / (SIDE * SIDE), variance = squares / (SIDE * SIDE) - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

/* The DCT's frequencies 1 to LOW in both directions. */
static void transform(double grey[SIDE][SIDE], double out[LOW * LOW])
{
    double wave[LOW][SIDE], rows[LOW][SIDE];
    for (size_t u = 0; u < LOW; u++)
        for (size_t x = 0; x < SIDE; x++)
            wave[u][x] = cos(M_PI * (double)((u + 1) * (2 * x + 1)) / (2 * SIDE));
    for (size_t u = 0; u < LOW; u++) {
        for (size_t x = 0; x < SIDE; x++) {
            rows[u][x] = 0;
            for (size_t y = 0; y < SIDE; y++)
                rows[u][x] += wave[u][y] * grey[y][x];
        }
    }
    for (size_t u = 0; u < LOW; u++) {
        for (size_t v = 0; v < LOW; v++) {
            out[u * LOW + v] = 0;
            for (size_t x = 0; x < SIDE; x++)
                out[u * LOW + v] += wave[v][x] * rows[u][x];
        }
    }
}

kd_status check_look(const kd_image *image, uint64_t *look, double *deviation, kd_error *err)
{
    double grey[SIDE][SIDE], waves[LOW * LOW], sorted[LOW * LOW];
    const kd_status status = shrink(image, grey, err);
    if (status != KD_OK)
        return status;
    *deviation = deviation_of(grey);
    transform(grey, waves);
    for (size_t i = 0; i < LOW * LOW; i++)
        sorted[i] = waves[i];
    qsort(sorted, LOW * LOW, sizeof *sorted, compare);
    const double median = (sorted[LOW * LOW / 2 - 1] + sorted[LOW * LOW / 2]) / 2;
    *look = 0;
    for (size_t i = 0; i < LOW * LOW; i++)
        *look |= (uint64_t)(waves[i] > median) << i;
    return KD_OK;
}
