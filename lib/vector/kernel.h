/* lib/vector/kernel.h: the inner products that searches spend their time in, in plain C and for the
 * vector units that are there when the program runs. Floats add up in an order of each one's own:
 * scores lie within kd_score_margin of kd_dot's, which decides (best.h). */
#ifndef KD_VECTOR_KERNEL_H
#define KD_VECTOR_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define KD_TILE_QUERIES 64u /* of a tile; bits of uint64_t */
#define KD_TILE_LANES 16u   /* queries that are scored together */
#define KD_TILE_ROWS 6u

/* Up to KD_TILE_QUERIES queries against KD_TILE_ROWS rows. */
typedef struct kd_tile {
    const float *panel;  /* dim × lanes, the queries as columns; those that are none are 0 */
    const float *floors; /* of the queries; INFINITY for those that are none */
    size_t lanes;        /* a multiple of KD_TILE_LANES */
    size_t dim;
    const float *rows[KD_TILE_ROWS];
    /* Filled: a bit for each query whose score reaches its floor, and the scores. */
    uint64_t reached[KD_TILE_ROWS];
    float scores[KD_TILE_ROWS][KD_TILE_QUERIES];
} kd_tile;

typedef struct kd_kernels {
    const char *name;
    float (*dot)(const float *a, const float *b, size_t dim);
    /* row: dim numbers of 2 bytes (lib/base/half.h), where they may lie at any address */
    float (*dot_half)(const float *a, const uint8_t *row, size_t dim);
    /* Exact: the same in each. dim at most KD_VECTOR_MAX_DIM. */
    int32_t (*dot_bytes)(const int8_t *a, const uint8_t *row, size_t dim);
    void (*tile)(kd_tile *tile);
} kd_kernels;

extern const kd_kernels kd_kernels_plain;
const kd_kernels *kd_kernels_avx2(void);   /* NULL: not on this CPU */
const kd_kernels *kd_kernels_avx512(void); /* as well */
const kd_kernels *kd_kernels_best(void);

#endif
