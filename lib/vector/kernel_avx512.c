/* The loops of kernel.c for AVX-512 with VNNI: chosen when they run and not when they are compiled.
 */
#include "lib/vector/kernel.h"

#include <stdbool.h>

#ifdef __x86_64__
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE inline __attribute__((always_inline))
#define WIDE 16 /* floats of a vector */

/* The first n of 16 lanes, n < 16. */
AVX512 static INLINE __mmask16 first(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

AVX512 static float dot(const float *a, const float *b, size_t dim)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 4 * WIDE <= dim; i += 4 * WIDE) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48), s3);
    }
    for (; i + WIDE <= dim; i += WIDE)
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
    const __mmask16 rest = first(dim - i);
    s1 =
        _mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, a + i), _mm512_maskz_loadu_ps(rest, b + i), s1);
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

AVX512 static INLINE __m512 halves(const uint8_t *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

AVX512 static float dot_half(const float *a, const uint8_t *row, size_t dim)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0;
    size_t i = 0;
    for (; i + 2 * WIDE <= dim; i += 2 * WIDE) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), halves(row + 2 * i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), halves(row + 2 * i + 32), s1);
    }
    for (size_t n = dim - i; i < dim; i += WIDE, n = dim - i) {
        const __mmask16 rest = n < WIDE ? first(n) : 0xffff;
        const __m512 b = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(rest, row + 2 * i));
        s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, a + i), b, s0);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

AVX512 static int32_t dot_bytes(const int8_t *a, const uint8_t *row, size_t dim)
{
    __m512i s0 = _mm512_setzero_si512(), s1 = s0;
    size_t i = 0;
    for (; i + 128 <= dim; i += 128) {
        s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(row + i), _mm512_loadu_si512(a + i));
        s1 = _mm512_dpbusd_epi32(
            s1, _mm512_loadu_si512(row + i + 64), _mm512_loadu_si512(a + i + 64));
    }
    for (size_t n = dim - i; i < dim; i += 64, n = dim - i) {
        const __mmask64 rest = n < 64 ? ((__mmask64)1 << n) - 1 : ~(__mmask64)0;
        s0 = _mm512_dpbusd_epi32(
            s0, _mm512_maskz_loadu_epi8(rest, row + i), _mm512_maskz_loadu_epi8(rest, a + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1));
}

/* All sums of the tile stay in registers: 6 rows × 4 vectors of 16 queries. */
AVX512 static INLINE void tile_of(kd_tile *t, const size_t vectors)
{
    __m512 sums[KD_TILE_ROWS][4];
    for (size_t r = 0; r < KD_TILE_ROWS; r++)
        for (size_t v = 0; v < vectors; v++)
            sums[r][v] = _mm512_setzero_ps();
    const float *panel = t->panel;
    for (size_t d = 0; d < t->dim; d++, panel += vectors * WIDE) {
        __m512 queries[4];
        for (size_t v = 0; v < vectors; v++)
            queries[v] = _mm512_loadu_ps(panel + v * WIDE);
        for (size_t r = 0; r < KD_TILE_ROWS; r++) {
            const __m512 value = _mm512_set1_ps(t->rows[r][d]);
            for (size_t v = 0; v < vectors; v++)
                sums[r][v] = _mm512_fmadd_ps(value, queries[v], sums[r][v]);
        }
    }
    for (size_t r = 0; r < KD_TILE_ROWS; r++) {
        t->reached[r] = 0;
        for (size_t v = 0; v < vectors; v++) {
            const __m512 floors = _mm512_loadu_ps(t->floors + v * WIDE);
            const __mmask16 reached = _mm512_cmp_ps_mask(sums[r][v], floors, _CMP_GE_OQ);
            t->reached[r] |= (uint64_t)reached << (v * WIDE);
            _mm512_storeu_ps(t->scores[r] + v * WIDE, sums[r][v]);
        }
    }
}

AVX512 static void tile(kd_tile *t)
{
    switch (t->lanes / WIDE) {
    case 1:
        tile_of(t, 1);
        break;
    case 2:
        tile_of(t, 2);
        break;
    case 3:
        tile_of(t, 3);
        break;
    default:
        tile_of(t, 4);
    }
}

const kd_kernels *kd_kernels_avx512(void)
{
    static const kd_kernels kernels = {"AVX-512", dot, dot_half, dot_bytes, tile};
    const bool can = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    return can ? &kernels : NULL;
}

#else

const kd_kernels *kd_kernels_avx512(void)
{
    return NULL;
}

#endif
