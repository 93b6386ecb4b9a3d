/* lib/nn/optimizer.hpp: Adam, AdamW and SGD over named parameters, with a state that a checkpoint
 * can hold whatever the optimiser is. (LibTorch's classes keep theirs under keys that differ from
 * release to release.) */
#ifndef KD_NN_OPTIMIZER_HPP
#define KD_NN_OPTIMIZER_HPP

#include "lib/nn/adam.hpp"
#include "lib/nn/nn_internal.hpp"
#include "lib/nn/training.h"

namespace kd::nn
{

class Optimizer
{
  public:
    Optimizer(kd_optimizer kind, double momentum, double decay,
        const std::vector<NamedTensor> &parameters);

    /* Of the backbone, and of everything else. */
    void set_rates(double backbone, double head);
    void clear_gradients();
    /* Length of the gradient over all parameters that have one, a float64 scalar on their device;
     * undefined where none has. */
    torch::Tensor gradient_length() const;
    /* When that length is more than clip (above 0) all are shortened by the same factor. */
    void clip_gradients(double length, double clip);
    /* Moves the parameters that have a gradient. */
    void step();

    /* Everything but the parameters themselves: "optimizer.steps", "optimizer.rates", and
     * "optimizer.first.NAME", "optimizer.second.NAME" of those that were moved. */
    std::vector<NamedTensor> state() const;
    /* Reads it back. Two steps, so that a wrong file changes nothing: read throws, adopt doesn't.
     */
    struct Saved {
        std::vector<int64_t> steps;
        double rates[2];
        std::vector<torch::Tensor> first, second;
    };
    Saved read(const char *path, const TensorFile &file) const;
    void adopt(const Saved &saved);

  private:
    std::vector<torch::Tensor> gradients() const;
    struct Slot {
        NamedTensor parameter;
        bool head;
        bool decays;
        int64_t steps;
        torch::Tensor first;  /* Adam's mean of gradients, SGD's velocity */
        torch::Tensor second; /* Adam's mean of squares */
    };
    AdamStep adam_step_of(const Slot &slot) const;
    void step_sgd(Slot &slot, const torch::Tensor &gradient) const;

    kd_optimizer kind_;
    double momentum_, decay_;
    double rates_[2] = {0, 0};
    std::vector<Slot> slots_;
};

} // namespace kd::nn

#endif
