/* lib/nn/nn.h: ResNet18 over LibTorch and oneDNN, as plain C.
 *
 * Three objects: a network is weights; a forward is a network frozen for inference (batch
 * normalisation folded, oneDNN layout kept); a training (training.h) owns an optimiser and moves a
 * network. No C++ exception crosses these headers. Runs on CUDA where LibTorch finds it, else on
 * the CPU.
 *
 * Architecture: He et al. 2016, "Deep Residual Learning for Image Recognition", as in torchvision's
 * resnet18 up to and with the average pooling: 3 × S × S pixels give KD_NN_FEATURES features. They
 * are the embedding, or a linear projection of them is.
 *
 * Threads: one object may be used by one thread at a time; different objects side by side. LibTorch
 * keeps an OpenMP team for each thread that calls it, so a process has one forward thread. */
#ifndef KD_NN_NN_H
#define KD_NN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KD_NN_FEATURES 512u
#define KD_NN_MIN_DIM 2u
#define KD_NN_MAX_DIM KD_NN_FEATURES /* of an embedding */
#define KD_NN_ARCHITECTURE "resnet18"
#define KD_NN_MIN_IMAGE_SIZE 32u
#define KD_NN_MAX_IMAGE_SIZE 512u
#define KD_NN_MAX_BATCH 1024u

/* Threads LibTorch may use inside one operation; call once, before anything else. 0: all cores. */
void kd_nn_set_threads(unsigned threads);
/* "LibTorch 1.13.1, oneDNN 2.6.3, 2 threads", or CUDA for oneDNN (CPU where LibTorch has its own
 * inside); static. */
const char *kd_nn_describe(void);

typedef enum kd_precision {
    KD_PRECISION_FLOAT32,
    KD_PRECISION_BFLOAT16, /* convolutions and matrix products; weights and loss stay float32 */
} kd_precision;
/* Whether the machine computes so faster than in float32: a GPU from Ampere on, else a CPU with
 * AVX512-BF16 that oneDNN may use (its ONEDNN_MAX_CPU_ISA). */
bool kd_nn_has_bfloat16(void);

/* ---- Network ---- */
typedef struct kd_net kd_net;

/* Fresh weights (He initialisation as torchvision's), the same for the same seed. */
KD_MUST_CHECK kd_status kd_net_new(kd_net **out, uint64_t seed, kd_error *err);

/* Values in an embedding: KD_NN_FEATURES without a projection. */
uint32_t kd_net_dim(const kd_net *net);

bool kd_net_projects(const kd_net *net);

/* Puts a fresh projection to dim values in place of the one that is there, if any: drawn by seed,
 * as torch.nn.Linear's first values, or the identity where dim is KD_NN_FEATURES, so that a
 * training begins with the distances that are there. KD_INVALID_ARGUMENT for a dim outside the
 * limits. */
KD_MUST_CHECK kd_status kd_net_project(kd_net *net, uint32_t dim, uint64_t seed, kd_error *err);

/* Reads a state dict under torchvision's key names: .safetensors (float32, float16, bfloat16) or
 * PyTorch's zip form (.pth, never executed), told apart by content. The classifier head (fc.*) and
 * num_batches_tracked are passed over; our own projection is projection.weight and .bias.
 * KD_NOT_FOUND, KD_INVALID_ARGUMENT (not such a file, a tensor missing, of a wrong shape or type:
 * the sentence names it), KD_DATA_LOSS (truncated). */
KD_MUST_CHECK kd_status kd_net_load(kd_net **out, const char *path, kd_error *err);

/* Writes float32 .safetensors with torchvision's key names; bytes depend on the weights alone. The
 * file is written beside path, fsynced and renamed. */
KD_MUST_CHECK kd_status kd_net_save(const kd_net *net, const char *path, kd_error *err);

/* As kd_net_save, in the zip form that torch.load(weights_only=True) takes. */
KD_MUST_CHECK kd_status kd_net_save_pth(const kd_net *net, const char *path, kd_error *err);

void kd_net_free(kd_net *net);

/* ---- Forward ---- */
typedef struct kd_forward kd_forward;

/* Freezes a copy of the network for images of image_size × image_size. Batch sizes 1, 2, 4 …
 * max_batch are warmed and checked against the plain network on one random image: KD_INTERNAL when
 * the two differ by more than 1e-3 relative (a broken build of LibTorch or oneDNN). What a batch
 * needs is kept. */
KD_MUST_CHECK kd_status kd_forward_new(
    kd_forward **out, const kd_net *net, uint32_t image_size, uint32_t max_batch, kd_error *err);

/* The same in a precision. BFLOAT16 keeps the weights in it too, but the projection; embeddings
 * move by about 4e-3 (relative), 2e-2 being what the check lets pass. KD_FAILED_PRECONDITION for
 * BFLOAT16 where kd_nn_has_bfloat16 is false. */
KD_MUST_CHECK kd_status kd_forward_new_in(kd_forward **out, const kd_net *net, uint32_t image_size,
    uint32_t max_batch, kd_precision precision, kd_error *err);

/* pixels      n × S × S × 3 floats, normalised, RGB interleaved, borrowed
 * embeddings  n × kd_net_dim floats, filled, each of length 1
 * KD_INVALID_ARGUMENT for n outside 1..max_batch or a pixel that is not finite; KD_INTERNAL for an
 * embedding that is not finite or all zeros. */
KD_MUST_CHECK kd_status kd_forward_run(
    kd_forward *forward, const float *pixels, size_t n, float *embeddings, kd_error *err);

/* The same up to the pooling: n × KD_NN_FEATURES floats, of any length. */
KD_MUST_CHECK kd_status kd_forward_features(
    kd_forward *forward, const float *pixels, size_t n, float *features, kd_error *err);

/* The rest of the way, by the network as it is now: n × KD_NN_FEATURES features to n × kd_net_dim
 * values of length 1; a row that comes out as zeros stays so. KD_INTERNAL for one that is not
 * finite.
 */
KD_MUST_CHECK kd_status kd_net_embed(
    const kd_net *net, const float *features, size_t n, float *embeddings, kd_error *err);

/* Memory that it keeps, on its device: at 224 × 224 by batches of 32 some 700 MB in FLOAT32, where
 * oneDNN has Winograd's convolutions, else some 350. */
size_t kd_forward_bytes(const kd_forward *forward);

void kd_forward_free(kd_forward *forward);

#ifdef __cplusplus
}
#endif
#endif
