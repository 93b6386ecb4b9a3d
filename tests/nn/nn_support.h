/* tests/nn/nn_support.h: weights by a formula, and files of tensors made and read without lib/nn's
 * own code, so that the tests check it against something. */
#ifndef KD_TESTS_NN_SUPPORT_H
#define KD_TESTS_NN_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/nn/nn.h"

#define NN_TENSORS 100u

typedef struct nn_tensor {
    char name[48];
    size_t dims;
    size_t shape[4];
    size_t count;
    float *values; /* owned; by the formula at first */
} nn_tensor;

/* A number in -1..1: element of a stream; tools/golden/nn.py has the same. */
double nn_noise(uint32_t stream, uint32_t element);

/* All tensors of ResNet18 without its head, in order of name. */
void nn_tensors_new(nn_tensor tensors[NN_TENSORS]);
void nn_tensors_free(nn_tensor tensors[NN_TENSORS]);
nn_tensor *nn_tensor_named(nn_tensor tensors[NN_TENSORS], const char *name);

typedef enum nn_type { NN_F32, NN_F16, NN_BF16 } nn_type;

/* Writes tensors as safetensors; extra is JSON put in front of the header's first entry ("" for
 * none; entries there must be empty tensors). */
void nn_write_safetensors(
    const char *path, const nn_tensor *tensors, size_t n, nn_type type, const char *extra);
/* Writes header and data as they are given, with the length before them. */
void nn_write_raw(const char *path, const char *header, const void *data, size_t data_bytes);
void nn_write_bytes(const char *path, const void *bytes, size_t len);

/* One float32 tensor of a safetensors file, owned by the caller; fails the test when absent. */
float *nn_read_tensor(const char *path, const char *name, size_t *count);
void nn_read_file(const char *path, kd_buf *out);
bool nn_same_file(const char *a, const char *b);
/* To the bit. */
bool nn_same_tensor(const char *a, const char *b, const char *name);

/* n × size × size × 3 noise, owned by the caller; image i is stream first + i. */
float *nn_pixels(size_t n, size_t size, uint32_t first);

/* A batch of a toy set that a network learns in a few steps: each class has a pattern of its own,
 * each image adds weaker noise. Class behind class; owned by the caller. */
#define NN_TOY_SIZE 32u
#define NN_TOY_CLASSES 4u
#define NN_TOY_PER_CLASS 3u
#define NN_TOY_IMAGES (NN_TOY_CLASSES * NN_TOY_PER_CLASS)
float *nn_toy_batch(uint32_t batch);

/* The embedding is within 1e-4 relative (L2) of golden.h's 32 numbers, every 16th of its own. */
void nn_check_near_golden(const float golden[32], const float *embedding);

/* A path in a folder of this process, which nn_clean removes; valid until then. */
const char *nn_path(const char *name);
void nn_clean(void);

#endif
