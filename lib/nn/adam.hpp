/* lib/nn/adam.hpp: Adam's step in one pass over the memory. */
#ifndef KD_NN_ADAM_HPP
#define KD_NN_ADAM_HPP

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

/* first and second have the parameter's strides. By tensor operations, or, for float32 on the CPU,
 * in one loop: they read and write the memory three times as often, which is all that they do. One
 * thread: with OpenMP here, a LibTorch that brings its own would keep two teams of threads. */
void adam_step(const AdamStep &step, torch::Tensor &parameter, const torch::Tensor &gradient,
    torch::Tensor &first, torch::Tensor &second);

} // namespace kd::nn

#endif
