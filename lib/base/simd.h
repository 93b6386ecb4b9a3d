/* lib/base/simd.h: loops for vector units. */
#ifndef KD_BASE_SIMD_H
#define KD_BASE_SIMD_H

/* The function is compiled a second time for CPUs with AVX2 and chosen at start; sanitizers don't
 * work in code that runs that early. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&             \
    !defined(__SANITIZE_THREAD__)
#define KD_MULTIVERSION __attribute__((target_clones("avx2", "default")))
#else
#define KD_MULTIVERSION
#endif

#endif
