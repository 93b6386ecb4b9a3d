#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "lib/vector/vector.h"

kd_status kd_vector_init(kd_error *err)
{
#ifdef KD_FAISS_AVX2
    const char *missing = NULL;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2"))
        missing = "AVX2";
    else if (!__builtin_cpu_supports("fma"))
        missing = "FMA";
    else if (!__builtin_cpu_supports("f16c"))
        missing = "F16C";
    else if (!__builtin_cpu_supports("popcnt"))
        missing = "POPCNT";
    if (missing)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "this processor lacks %s, which the vector index was built for", missing);
#else
    (void)err;
#endif
    /* Parallelism is ours: whole queries and tiles over a pool. Threads below that cost more than
     * they bring. (OpenMP's count belongs to a thread, so index.c sets it around each call.) */
    openblas_set_num_threads(1);
    return KD_OK;
}

/* Sixteen partial sums, added up in a fixed order: the compiler can use whatever vectors the CPU
 * has, and the bits are the same with and without. This file is built without contraction to fused
 * multiply-add for the same reason. */
typedef float lanes4 __attribute__((vector_size(16)));
enum { LANES = 16 };

static lanes4 load4(const float *from)
{
    lanes4 value;
    memcpy(&value, from, sizeof value);
    return value;
}

float kd_dot(const float *a, const float *b, size_t dim)
{
    lanes4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    size_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        s0 += load4(a + i) * load4(b + i);
        s1 += load4(a + i + 4) * load4(b + i + 4);
        s2 += load4(a + i + 8) * load4(b + i + 8);
        s3 += load4(a + i + 12) * load4(b + i + 12);
    }
    const lanes4 sum = (s0 + s1) + (s2 + s3);
    float rest = 0;
    for (; i < dim; i++)
        rest += a[i] * b[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

kd_status kd_vector_check(const char *what, const float *vector, size_t dim, kd_error *err)
{
    double squares = 0;
    for (size_t i = 0; i < dim; i++)
        squares += (double)vector[i] * (double)vector[i];
    if (!isfinite(squares)) {
        size_t i = 0;
        while (i + 1 < dim && isfinite(vector[i]))
            i++;
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "value %zu of %s is not a finite number", i, what);
    }
    const double length = sqrt(squares);
    if (fabs(length - 1.0) > 1e-3)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "%s has length %g instead of 1", what, length);
    return KD_OK;
}
