/* lib/nn/loss_internal.hpp: what a training holds of its loss. */
#ifndef KD_NN_LOSS_INTERNAL_HPP
#define KD_NN_LOSS_INTERNAL_HPP

#include <memory>

#include "lib/nn/loss.h"
#include "lib/nn/nn_internal.hpp"

namespace kd::nn
{

/* What one batch gave: all on the device, so that nobody waits for it before it is read. */
struct LossValue {
    torch::Tensor loss;         /* a scalar that has its gradient */
    torch::Tensor active_share; /* a scalar: of the terms that were compared those above 0; 1
                                 * without a margin */
    torch::Tensor accuracy;  /* a scalar, a head's: share of the batch it names right; -1 without */
    torch::Tensor distances; /* n × n, between the batch's embeddings in the loss's own space and
                              * distance. Losses without a choice of them: Euclidean, between
                              * normalised embeddings */
};

/* Mean distance of a batch's pairs of the same label and of different ones; 0 where there is no
 * such pair. distances n × n; labels n, on the CPU. */
struct PairMeans {
    torch::Tensor positive, negative; /* scalars on the device */
};
PairMeans pair_means(const torch::Tensor &distances, const torch::Tensor &labels);

/* int64 on the CPU. */
torch::Tensor labels_tensor(const uint32_t *labels, int64_t n);

/* A loss with its head and its memory. Everything is on one device. */
class Loss
{
  public:
    virtual ~Loss() = default;
    /* embeddings: n × dim as the network gives them. seed: of this step, for what is drawn. Throws
     * KD_FAILED_PRECONDITION where there is nothing to compare. */
    virtual LossValue evaluate(
        const torch::Tensor &embeddings, const uint32_t *labels, uint64_t seed) = 0;
    /* After a step that went well: the memory takes the batch in, as the network gave it. */
    virtual void remember(const torch::Tensor &embeddings, const uint32_t *labels);
    /* "head.weight" (classes × dim), "head.bias": they share memory with the loss. */
    virtual std::vector<NamedTensor> parameters() const;
    /* "memory.…": state that no optimiser moves; of fixed shapes, whatever is in it. */
    virtual std::vector<NamedTensor> buffers() const;
    /* n label numbers, the head's answer. Only for losses with a head. */
    virtual torch::Tensor classify(const torch::Tensor &embeddings) const;
};

/* The head's first weights are drawn by seed, the same for every LibTorch and device. */
std::unique_ptr<Loss> make_loss(
    const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device);

} // namespace kd::nn

#endif
