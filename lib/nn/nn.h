/* lib/nn/nn.h: ResNet18 over LibTorch, as plain C.
 *
 * Three objects: a network is weights; a forward is a network frozen for inference (batch
 * normalisation folded, oneDNN layout kept); a training owns an optimiser and moves a network.
 * No C++ exception crosses this header. Runs on CUDA where LibTorch finds it, else on the CPU.
 *
 * Architecture: He et al. 2016, "Deep Residual Learning for Image Recognition", as in torchvision's
 * resnet18 up to and with the average pooling: 3 × S × S pixels give an embedding of 512.
 *
 * Threads: one object may be used by one thread at a time; different objects side by side. LibTorch
 * keeps an OpenMP team for each thread that calls it, so a process has one forward thread. */
#ifndef KD_NN_NN_H
#define KD_NN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/nn/loss.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KD_NN_DIM 512u
#define KD_NN_ARCHITECTURE "resnet18"
#define KD_NN_MIN_IMAGE_SIZE 32u
#define KD_NN_MAX_IMAGE_SIZE 512u
#define KD_NN_MAX_BATCH 1024u

/* Threads LibTorch may use inside one operation; call once, before anything else. 0: all cores. */
void kd_nn_set_threads(unsigned threads);
/* "LibTorch 1.13.1, CPU, 2 threads", static. */
const char *kd_nn_describe(void);

/* ---- Network ---- */
typedef struct kd_net kd_net;

/* Fresh weights (He initialisation as torchvision's), the same for the same seed. */
KD_MUST_CHECK kd_status kd_net_new(kd_net **out, uint64_t seed, kd_error *err);

/* Reads a state dict under torchvision's key names: .safetensors (float32, float16, bfloat16) or
 * PyTorch's zip form (.pth, never executed), told apart by content. The classifier head (fc.*) and
 * num_batches_tracked are passed over. KD_NOT_FOUND, KD_INVALID_ARGUMENT (not such a file, a tensor
 * missing, of a wrong shape or type: the sentence names it), KD_DATA_LOSS (truncated). */
KD_MUST_CHECK kd_status kd_net_load(kd_net **out, const char *path, kd_error *err);

/* Writes float32 .safetensors with torchvision's key names; bytes depend on the weights alone. The
 * file is written beside path, fsynced and renamed. */
KD_MUST_CHECK kd_status kd_net_save(const kd_net *net, const char *path, kd_error *err);

/* As kd_net_save, in the zip form that torch.load(weights_only=True) takes. */
KD_MUST_CHECK kd_status kd_net_save_pth(const kd_net *net, const char *path, kd_error *err);

void kd_net_free(kd_net *net);

/* ---- Forward ---- */
typedef struct kd_forward kd_forward;

/* Freezes a copy of the network for images of image_size × image_size. Checks itself against the
 * plain network on one random image and fails with KD_INTERNAL when the two differ by more than
 * 1e-3 relative (a broken LibTorch build). Batch sizes 1, 2, 4 … max_batch are warmed. */
KD_MUST_CHECK kd_status kd_forward_new(
    kd_forward **out, const kd_net *net, uint32_t image_size, uint32_t max_batch, kd_error *err);

/* pixels      n × S × S × 3 floats, normalised, RGB interleaved, borrowed
 * embeddings  n × KD_NN_DIM floats, filled, each of length 1
 * KD_INVALID_ARGUMENT for n outside 1..max_batch or a pixel that is not finite; KD_INTERNAL for an
 * embedding that is not finite or all zeros. */
KD_MUST_CHECK kd_status kd_forward_run(
    kd_forward *forward, const float *pixels, size_t n, float *embeddings, kd_error *err);

void kd_forward_free(kd_forward *forward);

/* ---- Training ---- */
typedef struct kd_training kd_training;

typedef struct kd_training_options {
    kd_loss loss;
    float margin;        /* triplet: 0 takes the soft margin, log(1 + exp(dp - dn)) */
    float learning_rate; /* AdamW */
    float weight_decay;  /* not applied to norms and biases */
    bool freeze_norm;    /* batch norm keeps its running statistics and stays in evaluation mode */
} kd_training_options;
#define KD_TRAINING_OPTIONS_INIT {KD_LOSS_TRIPLET, 0.2f, 1e-4f, 1e-4f, false}

typedef struct kd_step_stats {
    float loss;              /* mean over the batch's anchors */
    float active_share;      /* anchors whose loss is above 0, 0..1 */
    float positive_distance; /* mean Euclidean distance to the hardest positive */
    float negative_distance; /* … to the hardest negative */
} kd_step_stats;

/* Trains the given network in place; it is borrowed and must outlive the training. */
KD_MUST_CHECK kd_status kd_training_new(
    kd_training **out, kd_net *net, const kd_training_options *options, kd_error *err);

/* One step: forward in training mode, loss on L2-normalised embeddings, backward, optimiser.
 * pixels  n × S × S × 3 as above; labels  n class numbers
 * KD_FAILED_PRECONDITION when no anchor has both a positive and a negative; KD_INTERNAL when the
 * loss is not finite (the weights are then as before the step). */
KD_MUST_CHECK kd_status kd_training_step(kd_training *training, const float *pixels,
    const uint32_t *labels, size_t n, uint32_t image_size, kd_step_stats *stats, kd_error *err);

void kd_training_set_rate(kd_training *training, float learning_rate);

/* Optimiser state, rate and weights to one .safetensors file and back: a restored training of the
 * same options goes on exactly (same threads) as the saved one would. A load that fails changes
 * nothing. meta is a short UTF-8 text kept with it (borrowed on save, NULL for none; *meta owned by
 * the caller on load, free). */
KD_MUST_CHECK kd_status kd_training_save(
    const kd_training *training, const char *path, const char *meta, kd_error *err);
KD_MUST_CHECK kd_status kd_training_load(
    kd_training *training, const char *path, char **meta, kd_error *err);

void kd_training_free(kd_training *training);

#ifdef __cplusplus
}
#endif
#endif
