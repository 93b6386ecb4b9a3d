/* lib/nn/training_internal.hpp: a training from the inside: training.cpp moves it, checkpoint.cpp
 * saves it. */
#ifndef KD_NN_TRAINING_INTERNAL_HPP
#define KD_NN_TRAINING_INTERNAL_HPP

#include "lib/nn/loss_internal.hpp"
#include "lib/nn/optimizer.hpp"
#include "lib/nn/staging.hpp"

struct kd_training {
    kd_net *net; /* borrowed */
    kd_training_options options;
    std::unique_ptr<kd::nn::Loss> loss;
    std::unique_ptr<kd::nn::Optimizer> optimizer; /* of the net's parameters and the loss's */
    std::vector<torch::Tensor> statistics; /* running means and variances, the net's memory */
    kd::nn::Staging staging;               /* of steps from pixels */
    int64_t steps = 0;
};

#endif
