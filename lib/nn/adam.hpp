/* lib/nn/adam.hpp: Adam's step in one pass over the memory. */
#ifndef KD_NN_ADAM_HPP
#define KD_NN_ADAM_HPP

#include <vector>

#include <torch/types.h>

namespace kd::nn
{

/* What torch.optim's Adam and AdamW, amsgrad off, do in one step. */
struct AdamStep {
    double rate;
    double shrink; /* AdamW's decay: the parameter is multiplied by it first; 1 none */
    double pull;   /* Adam's decay: the gradient has so much of the parameter; 0 none */
    double beta1, beta2, epsilon;
    double correction1, correction2; /* of the mean, and of the root of the squares' mean */
};

/* first and second have the parameter's strides. */
struct AdamMove {
    AdamStep step;
    torch::Tensor parameter, gradient, first, second;
};

/* All of one network, betas and epsilon the same for all. For float32 on the CPU each in one loop:
 * tensor operations read and write the memory three times as often, which is all that they do. One
 * thread: with OpenMP here, a LibTorch that brings its own would keep two teams of threads. Else by
 * operations on lists of tensors, which on a GPU take a few kernels for all of them. */
void adam_move(std::vector<AdamMove> &moves);

} // namespace kd::nn

#endif
