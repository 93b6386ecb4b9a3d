/* The loops of kernel.c for AVX2 with FMA and F16C: chosen when they run and not when they are
 * compiled. */
#include "lib/vector/kernel.h"

#include <stdbool.h>

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define INLINE inline __attribute__((always_inline))
#define WIDE 8 /* floats of a vector */

AVX2 static INLINE float sum_of(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

AVX2 static float dot(const float *a, const float *b, size_t dim)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 4 * WIDE <= dim; i += 4 * WIDE) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
    }
    for (; i + WIDE <= dim; i += WIDE)
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    const float sum = sum_of(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    return sum + kd_kernels_plain.dot(a + i, b + i, dim - i);
}

AVX2 static INLINE __m256 halves(const uint8_t *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}

AVX2 static float dot_half(const float *a, const uint8_t *row, size_t dim)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    size_t i = 0;
    for (; i + 2 * WIDE <= dim; i += 2 * WIDE) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), halves(row + 2 * i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), halves(row + 2 * i + 16), s1);
    }
    return sum_of(_mm256_add_ps(s0, s1)) + kd_kernels_plain.dot_half(a + i, row + 2 * i, dim - i);
}

/* Widened to 16 bits first: maddubs would saturate. */
AVX2 static int32_t dot_bytes(const int8_t *a, const uint8_t *row, size_t dim)
{
    __m256i sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 16 <= dim; i += 16) {
        const __m256i left = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(a + i)));
        const __m256i right = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(row + i)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(left, right));
    }
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(s) + kd_kernels_plain.dot_bytes(a + i, row + i, dim - i);
}

/* Sixteen queries at a time: 6 rows × 2 vectors of sums fill the registers. */
AVX2 static void tile(kd_tile *t)
{
    uint64_t reached[KD_TILE_ROWS] = {0};
    for (size_t q = 0; q < t->lanes; q += 2 * WIDE) {
        __m256 sums[KD_TILE_ROWS][2];
        for (size_t r = 0; r < KD_TILE_ROWS; r++)
            sums[r][0] = sums[r][1] = _mm256_setzero_ps();
        const float *panel = t->panel + q;
        for (size_t d = 0; d < t->dim; d++, panel += t->lanes) {
            const __m256 low = _mm256_loadu_ps(panel), high = _mm256_loadu_ps(panel + WIDE);
            for (size_t r = 0; r < KD_TILE_ROWS; r++) {
                const __m256 value = _mm256_set1_ps(t->rows[r][d]);
                sums[r][0] = _mm256_fmadd_ps(value, low, sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(value, high, sums[r][1]);
            }
        }
        for (size_t r = 0; r < KD_TILE_ROWS; r++) {
            for (size_t v = 0; v < 2; v++) {
                const size_t at = q + v * WIDE;
                const __m256 floors = _mm256_loadu_ps(t->floors + at);
                const __m256 passed = _mm256_cmp_ps(sums[r][v], floors, _CMP_GE_OQ);
                reached[r] |= (uint64_t)(uint32_t)_mm256_movemask_ps(passed) << at;
                _mm256_storeu_ps(t->scores[r] + at, sums[r][v]);
            }
        }
    }
    for (size_t r = 0; r < KD_TILE_ROWS; r++)
        t->reached[r] = reached[r];
}

const kd_kernels *kd_kernels_avx2(void)
{
    static const kd_kernels kernels = {"AVX2", dot, dot_half, dot_bytes, tile};
    const bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                     __builtin_cpu_supports("f16c");
    return can ? &kernels : NULL;
}

#else

const kd_kernels *kd_kernels_avx2(void)
{
    return NULL;
}

#endif
