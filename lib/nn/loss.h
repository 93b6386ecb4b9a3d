/* lib/nn/loss.h: the losses that an embedding is trained with.
 *
 * Each takes a batch's embeddings and labels to one number. Two families: losses with a head learn
 * a weight vector for each label beside the network (labels are then 0..classes-1); pair losses
 * compare the batch's embeddings with one another, and a miner chooses which.
 *
 * - cross-entropy: a linear head with bias on the raw embedding.
 * - norm-softmax: Zhai and Wu 2019, "Classification is a Strong Baseline for Deep Metric Learning";
 *   scale 1/0.05.
 * - arcface: Deng et al. 2019, "ArcFace"; margin 28.6°, scale 64.
 * - cosface: Wang et al. 2018, "CosFace"; margin 0.35, scale 64.
 * - proxy-anchor: Kim et al. 2020, "Proxy Anchor Loss"; margin 0.1, scale 32.
 * - contrastive: Hadsell et al. 2006, positives beyond positive_margin (0), negatives within margin
 *   (0.5).
 * - triplet: Schroff et al. 2015, "FaceNet"; margin 0, which takes the soft margin,
 *   log(1 + exp(dp - dn)), of Hermans et al. 2017.
 * - multi-similarity: Wang et al. 2019, "Multi-Similarity Loss"; margin (its λ) 0.5, positive_scale
 *   (its α) 2, scale (its β) 50.
 * - supervised-contrastive: Khosla et al. 2020; scale 1/0.1.
 *
 * The values are those of pytorch-metric-learning's losses of the same names; where that answers 0
 * because there is nothing to compare, this fails. */
#ifndef KD_NN_LOSS_H
#define KD_NN_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kd_loss {
    KD_LOSS_CROSS_ENTROPY,
    KD_LOSS_NORM_SOFTMAX,
    KD_LOSS_ARCFACE,
    KD_LOSS_COSFACE,
    KD_LOSS_PROXY_ANCHOR,
    KD_LOSS_CONTRASTIVE,
    KD_LOSS_TRIPLET,
    KD_LOSS_MULTI_SIMILARITY,
    KD_LOSS_SUPERVISED_CONTRASTIVE,
} kd_loss;
#define KD_LOSSES 9u

/* Which pairs or triplets of the batch count. */
typedef enum kd_miner {
    KD_MINER_ALL,
    KD_MINER_RANDOM,            /* for each pair of the same label one random negative */
    KD_MINER_SEMI_HARD,         /* negatives behind the positive, within the margin (FaceNet) */
    KD_MINER_BATCH_HARD,        /* each anchor's farthest positive, nearest negative (Hermans) */
    KD_MINER_DISTANCE_WEIGHTED, /* negatives by inverse density of their distance (Wu et al. 2017,
                                 * "Sampling Matters in Deep Embedding Learning") */
} kd_miner;
#define KD_MINERS 5u

typedef enum kd_distance { KD_DISTANCE_EUCLIDEAN, KD_DISTANCE_COSINE /* 1 - cosine */ } kd_distance;

typedef enum kd_reduction {
    KD_REDUCTION_MEAN, /* of the terms above 0, as pytorch-metric-learning does it by default */
    KD_REDUCTION_SUM,
} kd_reduction;

typedef struct kd_loss_options {
    kd_loss loss;
    kd_miner miner;         /* contrastive and triplet only; ALL elsewhere */
    kd_distance distance;   /* contrastive and triplet only */
    kd_reduction reduction; /* contrastive and triplet only */
    bool raw;               /* contrastive and triplet: embeddings aren't normalised */
    float margin;           /* arcface: degrees; triplet: 0 takes the soft margin; what semi-hard
                             * mining takes for its margin too */
    float positive_margin, scale, positive_scale;
    uint32_t classes; /* of a head; 0 for pair losses */
    uint32_t memory;  /* pair losses: the latest embeddings, the batch's own among them, that the
                       * batch is compared with as constants (Wang et al. 2020, "Cross-Batch
                       * Memory"); a batch may not be larger; 0 none */
} kd_loss_options;
#define KD_LOSS_MAX_MEMORY (1u << 20)

/* "arcface" …; static. */
const char *kd_loss_name(kd_loss loss);
bool kd_loss_parse(const char *name, kd_loss *out);
const char *kd_miner_name(kd_miner miner);
bool kd_miner_parse(const char *name, kd_miner *out);
bool kd_loss_has_head(kd_loss loss);
bool kd_loss_has_miner(kd_loss loss);
/* The defaults of the table; miner and distance likewise (batch-hard for triplet, all for the
 * others; Euclidean). classes is the caller's. */
void kd_loss_defaults(kd_loss loss, kd_loss_options *out);
/* KD_INVALID_ARGUMENT names what is wrong (a margin out of range, a miner that the loss has not).
 * What a loss has no use for must be 0. */
KD_MUST_CHECK kd_status kd_loss_check(const kd_loss_options *options, kd_error *err);

/* The loss of given embeddings, and its gradient: for checks against references.
 * embeddings n × dim; weights classes × dim and bias classes of the head (NULL where there is none;
 * bias for cross-entropy alone; drawn by seed where they are NULL); seed for miners that draw.
 * Gradients may be NULL.
 * KD_FAILED_PRECONDITION when the labels leave nothing to compare: no image for a head, no pair for
 * contrastive without a miner and multi-similarity, no image with both another of its label and one
 * of another label for the rest. A miner that finds nothing among them gives the loss 0.
 * KD_INVALID_ARGUMENT for a label that the head has not, a batch larger than the memory. */
typedef struct kd_loss_inputs {
    const float *embeddings;
    const uint32_t *labels;
    size_t n, dim;
    const float *weights, *bias;
    uint64_t seed;
    const float *earlier; /* earlier_batches × n × dim and their labels: what the memory holds */
    const uint32_t *earlier_labels;
    size_t earlier_batches;
} kd_loss_inputs;
KD_MUST_CHECK kd_status kd_loss_evaluate(const kd_loss_options *options,
    const kd_loss_inputs *inputs, double *loss, float *embeddings_gradient, float *weights_gradient,
    kd_error *err);

#ifdef __cplusplus
}
#endif
#endif
