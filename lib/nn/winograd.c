#include "lib/nn/winograd.h"

#define TILE 4  /* outputs on a side */
#define PATCH 6 /* inputs on a side */
#define POINTS ((size_t)PATCH * PATCH)
#define LANES KD_WINOGRAD_LANES
#define PANEL 16 /* outputs of a matrix product that are made together, of ROWS tiles */
#define ROWS 6
/* Between the values of two points: what is a power of two apart would share few lines of cache. */
#define APART 16

/* Tiles whose values are in memory together. Few of them stay in the cache; where there are many
 * channels it is the weights, read once for so many tiles, that cost. */
static int64_t tiles_together(const kd_winograd *conv)
{
    const int64_t wanted = conv->in / 64 * 12;
    return wanted < 24 ? 24 : wanted > 96 ? 96 : wanted;
}

static int64_t side_of(int64_t size)
{
    return (size + TILE - 1) / TILE;
}

static int64_t tiles(int64_t batch, int64_t size)
{
    return batch * side_of(size) * side_of(size);
}

/* G of the paper. */
static const double filter_transform[PATCH][3] = {{1.0 / 4, 0, 0}, {-1.0 / 6, -1.0 / 6, -1.0 / 6},
    {-1.0 / 6, 1.0 / 6, -1.0 / 6}, {1.0 / 24, 1.0 / 12, 1.0 / 6}, {1.0 / 24, -1.0 / 12, 1.0 / 6},
    {0, 0, 1}};

size_t kd_winograd_weight_floats(int64_t in, int64_t out)
{
    return POINTS * (size_t)in * (size_t)out;
}

/* Point by point, panel by panel, in × PANEL. */
void kd_winograd_prepare(float *prepared, const float *weights, int64_t in, int64_t out)
{
    for (int64_t k = 0; k < out; k++)
        for (int64_t c = 0; c < in; c++, weights += 9)
            for (size_t p = 0; p < POINTS; p++) {
                const double *const down = filter_transform[p / PATCH];
                const double *const along = filter_transform[p % PATCH];
                double sum = 0;
                for (size_t y = 0; y < 3; y++)
                    for (size_t x = 0; x < 3; x++)
                        sum += down[y] * along[x] * (double)weights[3 * y + x];
                prepared[((int64_t)p * out + k / PANEL * PANEL) * in + c * PANEL + k % PANEL] =
                    (float)sum;
            }
}

size_t kd_winograd_scratch_floats(const kd_winograd *conv)
{
    return POINTS * (size_t)(tiles_together(conv) * (conv->in + conv->out) + (int64_t)2 * APART);
}

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE inline __attribute__((always_inline))

/* For fewer tiles than are multiplied together, the weights, four times as many as of plain sums,
 * cost more to read than the products that they save. */
bool kd_winograd_pays(int64_t in, int64_t out, int64_t batch, int64_t size)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && in % LANES == 0 &&
           out % PANEL == 0 && tiles(batch, size) >= ROWS;
}

/* The floats from a layout's pixel to its run of channels. */
static int64_t run_at(const kd_winograd_layout *layout, int64_t run)
{
    return run / layout->runs * layout->block + run % layout->runs * LANES;
}

/* B^T of the paper times a column of d, whose values are `step` apart. */
AVX2 static INLINE void transform_input(const __m256 *d, size_t step, __m256 *to)
{
    const __m256 d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
    const __m256 even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1;
    const __m256 even2 = d4 - d2, odd2 = 2.0f * (d3 - d1);
    to[0] = 4.0f * d0 - 5.0f * d2 + d4;
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = even2 + odd2;
    to[4 * step] = even2 - odd2;
    to[5 * step] = 4.0f * d1 - 5.0f * d3 + d[5 * step];
}

/* A^T of the paper times a column. */
AVX2 static INLINE void transform_output(const __m256 *m, size_t step, __m256 *to)
{
    const __m256 sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    const __m256 sum2 = m[3 * step] + m[4 * step], difference2 = m[3 * step] - m[4 * step];
    to[0] = m[0] + sum + sum2;
    to[step] = difference + 2.0f * difference2;
    to[2 * step] = sum + 4.0f * sum2;
    to[3 * step] = difference + 8.0f * difference2 + m[5 * step];
}

typedef struct place {
    int64_t image, y, x; /* of a tile's first output */
} place;

static place place_of(int64_t tile, int64_t side)
{
    const int64_t within = tile % (side * side);
    return (place){tile / (side * side), within / side * TILE, within % side * TILE};
}

/* A patch of one run of channels, zeros outside of the image. */
AVX2 static INLINE void read_patch(
    const kd_winograd *conv, const float *image, place at, __m256 d[POINTS])
{
    for (int64_t y = 0; y < PATCH; y++)
        for (int64_t x = 0; x < PATCH; x++) {
            const int64_t down = at.y - 1 + y, along = at.x - 1 + x;
            const bool inside = down >= 0 && down < conv->size && along >= 0 && along < conv->size;
            d[y * PATCH + x] =
                inside
                    ? _mm256_loadu_ps(image + down * conv->source.row + along * conv->source.pixel)
                    : _mm256_setzero_ps();
        }
}

AVX2 static INLINE void read_inner_patch(
    const kd_winograd *conv, const float *image, place at, __m256 d[POINTS])
{
    image += (at.y - 1) * conv->source.row + (at.x - 1) * conv->source.pixel;
    for (int64_t y = 0; y < PATCH; y++)
        for (int64_t x = 0; x < PATCH; x++)
            d[y * PATCH + x] =
                _mm256_loadu_ps(image + y * conv->source.row + x * conv->source.pixel);
}

/* values: point by point, n × in, each `apart` from the one before. */
AVX2 static void bring_in(const kd_winograd *conv, const float *source, int64_t from, int64_t n,
    float *values, int64_t apart)
{
    const int64_t side = side_of(conv->size);
    for (int64_t t = 0; t < n; t++) {
        const place at = place_of(from + t, side);
        const bool inner = at.y > 0 && at.x > 0 && at.y + PATCH - 1 <= conv->size &&
                           at.x + PATCH - 1 <= conv->size;
        const float *const image = source + at.image * conv->source.image;
        for (int64_t run = 0; run < conv->in / LANES; run++) {
            __m256 d[POINTS], e[POINTS];
            if (inner)
                read_inner_patch(conv, image + run_at(&conv->source, run), at, d);
            else
                read_patch(conv, image + run_at(&conv->source, run), at, d);
            for (size_t x = 0; x < PATCH; x++)
                transform_input(d + x, PATCH, e + x);
            for (size_t y = 0; y < PATCH; y++)
                transform_input(e + y * PATCH, 1, d + y * PATCH);
            float *const to = values + t * conv->in + run * LANES;
            for (size_t p = 0; p < POINTS; p++)
                _mm256_storeu_ps(to + (int64_t)p * apart, d[p]);
        }
    }
}

/* rows × PANEL of a product. */
AVX2 static INLINE void multiply_rows(
    int64_t rows, const float *values, int64_t in, const float *weights, float *to, int64_t out)
{
    __m256 sums[ROWS][2];
    for (int64_t r = 0; r < rows; r++)
        sums[r][0] = sums[r][1] = _mm256_setzero_ps();
    for (int64_t c = 0; c < in; c++, weights += PANEL) {
        const __m256 w0 = _mm256_loadu_ps(weights), w1 = _mm256_loadu_ps(weights + LANES);
        for (int64_t r = 0; r < rows; r++) {
            const __m256 v = _mm256_broadcast_ss(values + r * in + c);
            sums[r][0] = _mm256_fmadd_ps(v, w0, sums[r][0]);
            sums[r][1] = _mm256_fmadd_ps(v, w1, sums[r][1]);
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        _mm256_storeu_ps(to + r * out, sums[r][0]);
        _mm256_storeu_ps(to + r * out + LANES, sums[r][1]);
    }
}

/* n × in times in × out. */
AVX2 static void multiply(
    const float *values, int64_t n, int64_t in, const float *weights, float *to, int64_t out)
{
    for (int64_t k = 0; k < out; k += PANEL, weights += PANEL * in) {
        int64_t t = 0;
        for (; t + ROWS <= n; t += ROWS)
            multiply_rows(ROWS, values + t * in, in, weights, to + t * out + k, out);
        const float *const rest = values + t * in;
        float *const there = to + t * out + k;
        switch (n - t) {
        case 5:
            multiply_rows(5, rest, in, weights, there, out);
            break;
        case 4:
            multiply_rows(4, rest, in, weights, there, out);
            break;
        case 3:
            multiply_rows(3, rest, in, weights, there, out);
            break;
        case 2:
            multiply_rows(2, rest, in, weights, there, out);
            break;
        case 1:
            multiply_rows(1, rest, in, weights, there, out);
            break;
        default:
            break;
        }
    }
}

/* One run of channels of a tile's outputs. */
AVX2 static INLINE void write_tile(
    const kd_winograd *conv, const __m256 *results, __m256 bias, place at, float *image)
{
    const int64_t rows = conv->size - at.y < TILE ? conv->size - at.y : TILE;
    const int64_t columns = conv->size - at.x < TILE ? conv->size - at.x : TILE;
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < columns; x++) {
            float *const to =
                image + (at.y + y) * conv->target.row + (at.x + x) * conv->target.pixel;
            __m256 v = results[y * TILE + x] + bias;
            if (conv->add)
                v = v + _mm256_loadu_ps(to);
            if (conv->relu)
                v = _mm256_max_ps(v, _mm256_setzero_ps());
            _mm256_storeu_ps(to, v);
        }
}

/* products: point by point, n × out, each `apart` from the one before. */
AVX2 static void bring_out(const kd_winograd *conv, const float *products, int64_t apart,
    int64_t from, int64_t n, float *target)
{
    const int64_t side = side_of(conv->size);
    for (int64_t t = 0; t < n; t++) {
        const place at = place_of(from + t, side);
        float *const image = target + at.image * conv->target.image;
        for (int64_t run = 0; run < conv->out / LANES; run++) {
            __m256 m[POINTS], e[POINTS], results[(size_t)TILE * PATCH];
            const float *const product = products + t * conv->out + run * LANES;
            for (size_t p = 0; p < POINTS; p++)
                m[p] = _mm256_loadu_ps(product + (int64_t)p * apart);
            for (size_t x = 0; x < PATCH; x++)
                transform_output(m + x, PATCH, e + x);
            for (size_t y = 0; y < TILE; y++)
                transform_output(e + y * PATCH, 1, results + y * TILE);
            write_tile(conv, results, _mm256_loadu_ps(conv->bias + run * LANES), at,
                image + run_at(&conv->target, run));
        }
    }
}

void kd_winograd_run(const kd_winograd *conv, const float *source, float *target, int64_t share,
    int64_t shares, float *scratch)
{
    const int64_t all = tiles(conv->batch, conv->size);
    const int64_t most = tiles_together(conv), end = all * (share + 1) / shares;
    for (int64_t from = all * share / shares, n; from < end; from += n) {
        n = end - from < most ? end - from : most;
        const int64_t values_apart = n * conv->in + APART, products_apart = n * conv->out + APART;
        float *const products = scratch + (int64_t)POINTS * values_apart;
        bring_in(conv, source, from, n, scratch, values_apart);
        for (int64_t p = 0; p < (int64_t)POINTS; p++)
            multiply(scratch + p * values_apart, n, conv->in,
                conv->weights + p * conv->in * conv->out, products + p * products_apart, conv->out);
        bring_out(conv, products, products_apart, from, n, target);
    }
}
#else
bool kd_winograd_pays(int64_t in, int64_t out, int64_t batch, int64_t size)
{
    (void)in;
    (void)out;
    (void)batch;
    (void)size;
    return false;
}

void kd_winograd_run(const kd_winograd *conv, const float *source, float *target, int64_t share,
    int64_t shares, float *scratch)
{
    (void)conv;
    (void)source;
    (void)target;
    (void)share;
    (void)shares;
    (void)scratch;
}
#endif
