/* lib/nn/training.h: moves a network by the losses of loss.h.
 *
 * One step is a forward, a loss, a backward and an optimiser's step. A training starts from pixels,
 * or, where the backbone is frozen, from features that kd_forward_features computed once.
 *
 * Optimisers: Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), SGD with momentum;
 * with the values of torch.optim's classes of these names. Weight decay is not applied to norms and
 * biases. Threads: as in nn.h. */
#ifndef KD_NN_TRAINING_H
#define KD_NN_TRAINING_H

#include "lib/nn/loss.h"
#include "lib/nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_training kd_training;

typedef enum kd_optimizer {
    KD_OPTIMIZER_ADAM,
    KD_OPTIMIZER_ADAMW,
    KD_OPTIMIZER_SGD,
} kd_optimizer;
#define KD_OPTIMIZERS 3u
const char *kd_optimizer_name(kd_optimizer optimizer); /* "adamw", static */
bool kd_optimizer_parse(const char *name, kd_optimizer *out);

typedef struct kd_training_options {
    kd_loss_options loss;
    kd_optimizer optimizer;
    float momentum; /* of SGD */
    float weight_decay;
    float clip_norm;      /* longest gradient, over all parameters; 0: any */
    bool freeze_norm;     /* batch norm keeps its statistics and stays in evaluation mode */
    bool freeze_backbone; /* all but projection and head stay as they are, batch norm too */
    kd_precision precision;
    uint64_t seed; /* of the head's first weights and of what miners draw */
} kd_training_options;
/* Batch-hard triplets, soft margin, AdamW, decay 1e-4. */
void kd_training_defaults(kd_training_options *out);

typedef struct kd_step_stats {
    float loss;
    float active_share;      /* of the terms compared, those above 0 */
    float positive_distance; /* mean over the batch's pairs of one label, in the loss's own space */
    float negative_distance; /* … of two labels */
    float accuracy;          /* of the head on this batch; -1 without a head */
    float gradient_norm;     /* before it was clipped */
} kd_step_stats;

/* Trains the given network in place; it is borrowed and must outlive the training, and keep its
 * projection. Rates are 0 until they are set. KD_INVALID_ARGUMENT names a wrong option. */
KD_MUST_CHECK kd_status kd_training_new(
    kd_training **out, kd_net *net, const kd_training_options *options, kd_error *err);
void kd_training_free(kd_training *training);

/* For the steps to come: of the backbone, and of projection and head. */
void kd_training_set_rates(kd_training *training, float backbone, float head);
/* freeze_backbone from now on. */
void kd_training_freeze_backbone(kd_training *training, bool frozen);

/* pixels  n × S × S × 3 as in nn.h; labels  n numbers, below the loss's classes where it has a head
 * KD_FAILED_PRECONDITION when there is nothing to compare; KD_INTERNAL when the loss or a gradient
 * is not finite. The weights are then as before the step. */
KD_MUST_CHECK kd_status kd_training_step(kd_training *training, const float *pixels,
    const uint32_t *labels, size_t n, uint32_t image_size, kd_step_stats *stats, kd_error *err);

/* The same from n × KD_NN_FEATURES features; the backbone must be frozen. */
KD_MUST_CHECK kd_status kd_training_step_features(kd_training *training, const float *features,
    const uint32_t *labels, size_t n, kd_step_stats *stats, kd_error *err);

/* What the head calls n features: one label each. Only where the loss has a head. */
KD_MUST_CHECK kd_status kd_training_classify(
    kd_training *training, const float *features, size_t n, uint32_t *labels, kd_error *err);

/* Weights, head, memory and the optimiser's state to one .safetensors file and back: a restored
 * training of the same options goes on exactly (same threads) as the saved one would. A load that
 * fails changes nothing. meta is a short UTF-8 text kept with it (borrowed on save, NULL for none;
 * *meta owned by the caller on load, free). */
KD_MUST_CHECK kd_status kd_training_save(
    const kd_training *training, const char *path, const char *meta, kd_error *err);
KD_MUST_CHECK kd_status kd_training_load(
    kd_training *training, const char *path, char **meta, kd_error *err);

/* How many directions n × dim values fill: exp of the entropy of the shares of the centred rows'
 * singular values (Roy and Vetterli 2007, "The Effective Rank"); 1..dim, 0 where all rows are
 * equal. */
KD_MUST_CHECK kd_status kd_effective_rank(
    const float *rows, size_t n, size_t dim, double *rank, kd_error *err);

#ifdef __cplusplus
}
#endif
#endif
