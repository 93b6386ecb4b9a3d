/* lib/nn/loss_parts.hpp: what the two families of losses share. */
#ifndef KD_NN_LOSS_PARTS_HPP
#define KD_NN_LOSS_PARTS_HPP

#include <cinttypes>

#include "lib/nn/loss_internal.hpp"

namespace kd::nn
{

/* Each row divided by its length; a row of zeros stays one. */
torch::Tensor unit_rows(const torch::Tensor &rows);

/* Euclidean distances of a's rows (n) and b's (m): n × m. Summed difference by difference: through
 * a matrix product near ones would be lost in rounding. A distance of 0 has the gradient 0. */
torch::Tensor euclidean(const torch::Tensor &a, const torch::Tensor &b);

/* int64 on the CPU. */
torch::Tensor labels_tensor(const uint32_t *labels, int64_t n);

/* log(1 + Σ exp(x)) along dim, of what the mask keeps. */
torch::Tensor log_one_plus_sum_exp(const torch::Tensor &x, const torch::Tensor &mask, int64_t dim);

/* Mean distance of a batch's pairs of the same label and of different ones; 0 where there is no
 * such pair. distances n × n, labels n. */
struct PairMeans {
    float positive, negative;
};
PairMeans pair_means(const torch::Tensor &distances, const torch::Tensor &labels);

std::unique_ptr<Loss> make_head_loss(
    const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device);
std::unique_ptr<Loss> make_pair_loss(
    const kd_loss_options &options, int64_t dim, torch::Device device);

} // namespace kd::nn

#endif
