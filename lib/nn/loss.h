/* lib/nn/loss.h: the losses that an embedding is trained with.
 *
 * Each takes a batch's embeddings and labels to one number. Two families: losses with a head learn
 * a weight vector for each label beside the network (labels are then 0..classes-1); pair losses
 * compare the batch's embeddings with one another, and a miner chooses which.
 *
 *   name                    source                                              settings (default)
 *   cross-entropy           linear head with bias on the raw embedding          -
 *   norm-softmax            Zhai and Wu 2019, "Classification is a Strong       scale (1/0.05)
 *                           Baseline for Deep Metric Learning"
 *   arcface                 Deng et al. 2019, "ArcFace"                         margin (28.6°),
 * scale (64) cosface                 Wang et al. 2018, "CosFace"                         margin
 * (0.35), scale (64) proxy-anchor            Kim et al. 2020, "Proxy Anchor Loss" margin (0.1),
 * scale (32) contrastive             Hadsell et al. 2006: positives beyond               margin
 * (0.5), positive_margin, negatives within margin            positive_margin (0) triplet Schroff et
 * al. 2015, "FaceNet"; soft margin         margin (soft) log(1 + exp(dp - dn)): Hermans et al. 2017
 *   multi-similarity        Wang et al. 2019, "Multi-Similarity Loss"           margin (0.5, its
 * λ), positive_scale (2, its α), scale (50, its β) supervised-contrastive  Khosla et al. 2020 scale
 * (1/0.1)
 *
 * The values are those of pytorch-metric-learning's losses of the same names. */
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
    kd_miner miner;         /* contrastive, triplet and multi-similarity only; ALL elsewhere */
    kd_distance distance;   /* contrastive and triplet only */
    kd_reduction reduction; /* contrastive and triplet only */
    bool raw;               /* contrastive and triplet: embeddings aren't normalised */
    float margin;           /* arcface: degrees; triplet: 0 takes the soft margin */
    float positive_margin, scale, positive_scale;
    uint32_t classes; /* of a head; 0 for pair losses */
    uint32_t memory;  /* pair losses: embeddings of earlier batches that are compared too (Wang et
                       * al. 2020, "Cross-Batch Memory"); 0 none */
} kd_loss_options;

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
 */
KD_MUST_CHECK kd_status kd_loss_check(const kd_loss_options *options, kd_error *err);

/* The loss of given embeddings, and its gradient: for checks against references.
 * embeddings n × dim; weights classes × dim and bias classes of the head (NULL where there is none;
 * bias for cross-entropy alone); seed for miners that draw. Gradients may be NULL.
 * KD_FAILED_PRECONDITION when there is nothing to compare. */
typedef struct kd_loss_inputs {
    const float *embeddings;
    const uint32_t *labels;
    size_t n, dim;
    const float *weights, *bias;
    uint64_t seed;
} kd_loss_inputs;
KD_MUST_CHECK kd_status kd_loss_evaluate(const kd_loss_options *options,
    const kd_loss_inputs *inputs, double *loss, float *embeddings_gradient, float *weights_gradient,
    kd_error *err);

#ifdef __cplusplus
}
#endif
#endif
