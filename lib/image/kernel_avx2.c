/* The loops of kernel.c for AVX2, to the same bit: chosen when they run and not when they are
 * compiled. */
#include "lib/image/kernel.h"

#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE inline __attribute__((always_inline))
#define GROUP_BYTES (IMAGE_GROUP * 3)

/* Two weights of 16 bits, in every lane. */
AVX2 static INLINE __m256i weights_at(const int16_t *pair)
{
    int32_t both;
    memcpy(&both, pair, sizeof both);
    return _mm256_set1_epi32(both);
}

/* What the two halves of the weights have summed up, as a pixel's value: no lane has passed 31
 * bits, as the whole weights' sum is one. */
AVX2 static INLINE __m256i settle(__m256i high, __m256i low)
{
    const __m256i half = _mm256_set1_epi32(1 << (IMAGE_WEIGHT_BITS - 1));
    const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, IMAGE_LOW_BITS), low);
    return _mm256_srli_epi32(_mm256_add_epi32(sum, half), IMAGE_WEIGHT_BITS);
}

/* An output pixel of two rows: the upper in the lower half. */
AVX2 static INLINE __m256i across_pixel(
    const uint8_t *upper, const uint8_t *lower, const int16_t *pairs, size_t groups)
{
    /* red, red, green, green, blue, blue of two pixels, widened; then of the next two */
    const __m256i first = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m256i second = _mm256_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1,
        -1, 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    __m256i high = _mm256_setzero_si256(), low = high;
    for (size_t g = 0; g < groups; g++, pairs += 2 * IMAGE_GROUP) {
        const __m128i up = _mm_loadu_si128((const __m128i *)(upper + g * GROUP_BYTES));
        const __m128i under = _mm_loadu_si128((const __m128i *)(lower + g * GROUP_BYTES));
        const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(up), under, 1);
        const __m256i a = _mm256_shuffle_epi8(both, first), b = _mm256_shuffle_epi8(both, second);
        high = _mm256_add_epi32(high, _mm256_madd_epi16(a, weights_at(pairs)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(b, weights_at(pairs + 2)));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(a, weights_at(pairs + 4)));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(b, weights_at(pairs + 6)));
    }
    const __m256i bytes = _mm256_setr_epi8(0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
        -1, 0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    return _mm256_shuffle_epi8(settle(high, low), bytes);
}

AVX2 static INLINE void put_pixel(__m256i pixel, uint8_t *upper, uint8_t *lower, size_t size)
{
    const int32_t up = _mm_cvtsi128_si32(_mm256_castsi256_si128(pixel));
    const int32_t under = _mm_cvtsi128_si32(_mm256_extracti128_si256(pixel, 1));
    memcpy(upper, &up, size);
    memcpy(lower, &under, size);
}

AVX2 static INLINE void across_by(const image_taps *t, const uint8_t *upper, const uint8_t *lower,
    uint32_t width, uint8_t *upper_out, uint8_t *lower_out, size_t groups)
{
    const uint32_t *const first = t->first;
    const int16_t *pairs = t->pairs;
    const size_t last = width - 1;
    /* 4 bytes are put down, the last of which the next pixel overwrites. */
    for (size_t x = 0; x < last; x++, pairs += groups * 2 * IMAGE_GROUP) {
        const size_t at = (size_t)first[x] * 3;
        put_pixel(across_pixel(upper + at, lower + at, pairs, groups), upper_out + x * 3,
            lower_out + x * 3, 4);
    }
    const size_t at = (size_t)first[last] * 3;
    put_pixel(across_pixel(upper + at, lower + at, pairs, groups), upper_out + last * 3,
        lower_out + last * 3, 3);
}

AVX2 static void across(const image_taps *t, uint32_t from, const uint8_t *upper,
    const uint8_t *lower, int32_t *scratch, uint32_t width, uint8_t *upper_out, uint8_t *lower_out)
{
    (void)from;
    (void)scratch;
    switch (t->groups) { /* the usual numbers unrolled */
    case 1:
        across_by(t, upper, lower, width, upper_out, lower_out, 1);
        break;
    case 2:
        across_by(t, upper, lower, width, upper_out, lower_out, 2);
        break;
    case 3:
        across_by(t, upper, lower, width, upper_out, lower_out, 3);
        break;
    default:
        across_by(t, upper, lower, width, upper_out, lower_out, t->groups);
    }
}

/* 16 bytes of an output row. A row that is too many, of an odd number, weighs nothing: the one
 * before it stands for it. */
AVX2 static INLINE void down_block(
    const uint8_t *rows, size_t stride, const int16_t *pairs, size_t count, uint8_t *out)
{
    __m256i high[2], low[2];
    high[0] = high[1] = low[0] = low[1] = _mm256_setzero_si256();
    for (size_t k = 0; k < count; k += 2) {
        const uint8_t *const row = rows + k * stride;
        const __m128i one = _mm_loadu_si128((const __m128i *)row);
        const __m128i two = _mm_loadu_si128((const __m128i *)(k + 1 < count ? row + stride : row));
        const int16_t *const pair = pairs + k / IMAGE_GROUP * 2 * IMAGE_GROUP + k % IMAGE_GROUP;
        const __m256i upper = weights_at(pair), lower = weights_at(pair + IMAGE_GROUP);
        const __m256i left = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(one, two));
        const __m256i right = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(one, two));
        high[0] = _mm256_add_epi32(high[0], _mm256_madd_epi16(left, upper));
        high[1] = _mm256_add_epi32(high[1], _mm256_madd_epi16(right, upper));
        low[0] = _mm256_add_epi32(low[0], _mm256_madd_epi16(left, lower));
        low[1] = _mm256_add_epi32(low[1], _mm256_madd_epi16(right, lower));
    }
    const __m256i words =
        _mm256_packus_epi32(settle(high[0], low[0]), settle(high[1], low[1])); /* 0 2 1 3 */
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128((__m128i *)out, bytes);
}

AVX2 static INLINE void down_by(const uint8_t *rows, size_t stride, const int16_t *pairs,
    size_t count, size_t len, uint8_t *out)
{
    for (size_t i = 0; i + 16 <= len; i += 16)
        down_block(rows + i, stride, pairs, count, out + i);
    if (len % 16 != 0) /* the last ones over again */
        down_block(rows + len - 16, stride, pairs, count, out + len - 16);
}

AVX2 static void down(const image_taps *t, uint32_t y, const uint8_t *rows, size_t stride,
    size_t len, int32_t *sums, uint8_t *out)
{
    const int16_t *const pairs = t->pairs + (size_t)y * t->groups * 2 * IMAGE_GROUP;
    if (len < 16) {
        image_kernels_plain.down(t, y, rows, stride, len, sums, out);
        return;
    }
    switch (t->count[y]) {
    case 2:
        down_by(rows, stride, pairs, 2, len, out);
        break;
    case 3:
        down_by(rows, stride, pairs, 3, len, out);
        break;
    case 4:
        down_by(rows, stride, pairs, 4, len, out);
        break;
    default:
        down_by(rows, stride, pairs, t->count[y], len, out);
    }
}

/* A quotient by a product with the reciprocal and one correction (Markstein 1990, "Computation of
 * elementary functions on the IBM RISC System/6000 processor", section 4), which rounds as the
 * division does: image_normaliser_make has looked at all values there are. */
AVX2 static void normalise(const image_normaliser *n, const uint8_t *row, size_t len, float *out)
{
    if (!n->by_formula) { /* some mean or deviation that this isn't good for */
        image_kernels_plain.normalise(n, row, len, out);
        return;
    }
    const __m256 whole = _mm256_set1_ps(255.0f), by = _mm256_set1_ps(1.0f / 255.0f);
    size_t i = 0;
    for (; i + 24 <= len; i += 24) {
        for (size_t k = 0; k < 24; k += 8) {
            const __m256 mean = _mm256_loadu_ps(n->mean + k), std = _mm256_loadu_ps(n->std + k);
            const __m256 inverse = _mm256_loadu_ps(n->inverse + k);
            const __m128i bytes = _mm_loadl_epi64((const __m128i *)(row + i + k));
            const __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
            const __m256 near = _mm256_mul_ps(value, by);
            const __m256 share = _mm256_sub_ps(
                _mm256_fmadd_ps(_mm256_fnmadd_ps(near, whole, value), by, near), mean);
            const __m256 guess = _mm256_mul_ps(share, inverse);
            _mm256_storeu_ps(
                out + i + k, _mm256_fmadd_ps(_mm256_fnmadd_ps(guess, std, share), inverse, guess));
        }
    }
    image_kernels_plain.normalise(n, row + i, len - i, out + i);
}

const image_kernels *image_kernels_fast(void)
{
    static const image_kernels fast = {across, down, normalise};
    const bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return can ? &fast : NULL;
}

#else

const image_kernels *image_kernels_fast(void)
{
    return NULL;
}

#endif
