/* Gaussian blur in two passes, along the rows and along the columns, in 16-bit integers: a value
 * has 7 bits behind the point, a weight 16, of whose product the upper half is kept. As the kernel
 * is even, the two pixels at one distance are added before they are weighed. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/augment.h"
#include "lib/image/simd.h"

#define LEAST_SIGMA 0.25
#define VALUE_BITS 7
#define ONE_HALF (1 << (VALUE_BITS - 1))

/* weights[i] for the pixels i to either side, i ≤ reach. Two distances are taken at once: an odd
 * reach is made even by a weight of nothing. */
_Static_assert(AUGMENT_BLUR_REACH % 2 == 0, "there is a weight for what evens it");
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
    k.reach += k.reach % 2;
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

KD_MULTIVERSION static void widen_row(
    const uint8_t *restrict row, size_t n, uint16_t *restrict wide)
{
    for (size_t i = 0; i < n; i++)
        wide[i] = (uint16_t)(row[i] << VALUE_BITS);
}

KD_MULTIVERSION static void narrow_row(
    const uint16_t *restrict wide, size_t n, uint8_t *restrict row)
{
    for (size_t i = 0; i < n; i++)
        row[i] = (uint8_t)((wide[i] + ONE_HALF) >> VALUE_BITS);
}

KD_MULTIVERSION static void start(const uint16_t *restrict middle, size_t n, uint16_t weight,
    uint16_t first, uint16_t *restrict sums)
{
    for (size_t i = 0; i < n; i++)
        sums[i] = (uint16_t)(high_half_unsigned(middle[i], weight) + first);
}

/* What lies at a distance to either side, and what lies one further. */
KD_MULTIVERSION static void add(const uint16_t *const near[2], const uint16_t *const far[2],
    const uint16_t weights[2], size_t n, uint16_t *restrict sums)
{
    const uint16_t *const a = near[0], *const b = near[1], *const c = far[0], *const d = far[1];
    const uint16_t inner = weights[0], outer = weights[1];
    for (size_t i = 0; i < n; i++)
        sums[i] = (uint16_t)(sums[i] + high_half_unsigned((uint16_t)(a[i] + b[i]), inner) +
                             high_half_unsigned((uint16_t)(c[i] + d[i]), outer));
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

static void blur_row(const kernel *k, const uint16_t *row, size_t n, uint16_t *out)
{
    start(row, n, k->weights[0], lost(k), out);
    for (size_t i = 1; i < k->reach; i += 2) {
        const uint16_t *const near[] = {row - 3 * i, row + 3 * i}, *const far[] = {
                                                                       near[0] - 3, near[1] + 3};
        add(near, far, k->weights + i, n, out);
    }
}

static const uint16_t *row_at(const uint16_t *rows, ptrdiff_t y, size_t height, size_t n)
{
    return rows + reflect(y, height) * n;
}

static void blur_columns(
    const kernel *k, const uint16_t *rows, size_t y, size_t height, size_t n, uint16_t *out)
{
    start(rows + y * n, n, k->weights[0], lost(k), out);
    for (size_t i = 1; i < k->reach; i += 2) {
        const ptrdiff_t above = (ptrdiff_t)y - (ptrdiff_t)i, below = (ptrdiff_t)(y + i);
        const uint16_t *const near[] = {row_at(rows, above, height, n),
            row_at(rows, below, height, n)},
                              *const far[] = {row_at(rows, above - 1, height, n),
                                  row_at(rows, below + 1, height, n)};
        add(near, far, k->weights + i, n, out);
    }
}

kd_status augment_blur(kd_image *image, double sigma, kd_error *err)
{
    assert(image && image->pixels);
    if (sigma < LEAST_SIGMA)
        return KD_OK;
    const kernel k = kernel_make(sigma);
    const size_t n = (size_t)image->width * 3, edge = k.reach * 3, height = image->height;
    /* A row with its edges, then all rows. */
    uint16_t *const row = malloc((edge + n + edge + n * height) * sizeof *row);
    if (!row)
        return kd_error_memory(err, "blurring an image");
    uint16_t *const rows = row + edge + n + edge;
    for (size_t y = 0; y < height; y++) {
        widen_row(image->pixels + y * n, n, row + edge);
        extend(row + edge, image->width, k.reach);
        blur_row(&k, row + edge, n, rows + y * n);
    }
    for (size_t y = 0; y < height; y++) {
        blur_columns(&k, rows, y, height, n, row);
        narrow_row(row, n, image->pixels + y * n);
    }
    free(row);
    return KD_OK;
}
