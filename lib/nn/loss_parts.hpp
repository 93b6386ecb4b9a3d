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

/* A copy where like is, of a tensor on the CPU, without a wait for a GPU's work. */
torch::Tensor sent(const torch::Tensor &tensor, const torch::Tensor &like);
/* A scalar beside like. */
torch::Tensor constant(float value, const torch::Tensor &like);
/* As masked_select, the mask on the CPU: to count one on a GPU is to wait for it. */
torch::Tensor selected(const torch::Tensor &values, const torch::Tensor &mask);

/* log(1 + Σ exp(x)) along dim, of what the mask keeps. */
torch::Tensor log_one_plus_sum_exp(const torch::Tensor &x, const torch::Tensor &mask, int64_t dim);

std::unique_ptr<Loss> make_head_loss(
    const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device);
std::unique_ptr<Loss> make_pair_loss(
    const kd_loss_options &options, int64_t dim, torch::Device device);

} // namespace kd::nn

#endif
