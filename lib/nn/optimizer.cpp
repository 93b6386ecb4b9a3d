#include "lib/nn/optimizer.hpp"

#include <cmath>
#include <cstring>

namespace kd::nn
{

namespace
{

constexpr const char *steps_name = "optimizer.steps";
constexpr const char *rates_name = "optimizer.rates";
constexpr const char *first_prefix = "optimizer.first.";
constexpr const char *second_prefix = "optimizer.second.";

constexpr double beta1 = 0.9;
constexpr double beta2 = 0.999;
constexpr double epsilon = 1e-8;

} // namespace

Optimizer::Optimizer(
    kd_optimizer kind, double momentum, double decay, const std::vector<NamedTensor> &parameters)
    : kind_(kind), momentum_(momentum), decay_(decay)
{
    /* Norms and biases have one dimension: decay would only shrink what they scale. */
    for (const NamedTensor &item : parameters)
        slots_.push_back({item, !in_backbone(item.name), item.tensor.dim() > 1, 0, {}, {}});
}

void Optimizer::set_rates(double backbone, double head)
{
    rates_[0] = backbone;
    rates_[1] = head;
}

void Optimizer::clear_gradients()
{
    for (Slot &slot : slots_)
        slot.parameter.tensor.mutable_grad() = torch::Tensor();
}

std::vector<torch::Tensor> Optimizer::gradients() const
{
    std::vector<torch::Tensor> list;
    for (const Slot &slot : slots_)
        if (slot.parameter.tensor.grad().defined())
            list.push_back(slot.parameter.tensor.grad());
    return list;
}

torch::Tensor Optimizer::gradient_length() const
{
    torch::NoGradGuard no_grad;
    const std::vector<torch::Tensor> list = gradients();
    if (list.empty())
        return {};
    std::vector<torch::Tensor> lengths;
    if (list.front().is_cuda())
        lengths = at::_foreach_norm(list); /* a few kernels for all of them */
    else
        for (const torch::Tensor &gradient : list)
            lengths.push_back(gradient.norm());
    return torch::stack(lengths).to(torch::kDouble).norm();
}

void Optimizer::clip_gradients(double length, double clip)
{
    torch::NoGradGuard no_grad;
    /* torch.nn.utils.clip_grad_norm_ */
    const double factor = clip / (length + 1e-6);
    if (clip > 0 && factor < 1)
        at::_foreach_mul_(gradients(), factor);
}

AdamStep Optimizer::adam_step_of(const Slot &slot) const
{
    const double rate = rates_[slot.head ? 1 : 0];
    const double decay = slot.decays ? decay_ : 0;
    const bool apart = kind_ == KD_OPTIMIZER_ADAMW;
    const auto count = static_cast<double>(slot.steps);
    return {rate, apart ? 1 - rate * decay : 1, apart ? 0 : decay, beta1, beta2, epsilon,
        1 - std::pow(beta1, count), std::sqrt(1 - std::pow(beta2, count))};
}

/* torch.optim.SGD, without dampening. */
void Optimizer::step_sgd(Slot &slot, const torch::Tensor &gradient) const
{
    torch::Tensor &p = slot.parameter.tensor;
    const torch::Tensor g = slot.decays && decay_ > 0 ? gradient.add(p, decay_) : gradient;
    slot.first.mul_(momentum_).add_(g);
    p.add_(slot.first, -rates_[slot.head ? 1 : 0]);
}

void Optimizer::step()
{
    torch::NoGradGuard no_grad;
    std::vector<AdamMove> moves;
    for (Slot &slot : slots_) {
        const torch::Tensor &gradient = slot.parameter.tensor.grad();
        if (!gradient.defined())
            continue;
        if (slot.steps == 0) {
            slot.first = torch::zeros_like(slot.parameter.tensor);
            if (kind_ != KD_OPTIMIZER_SGD)
                slot.second = torch::zeros_like(slot.parameter.tensor);
        }
        slot.steps++;
        if (kind_ == KD_OPTIMIZER_SGD)
            step_sgd(slot, gradient);
        else
            moves.push_back(
                {adam_step_of(slot), slot.parameter.tensor, gradient, slot.first, slot.second});
    }
    adam_move(moves);
}

std::vector<NamedTensor> Optimizer::state() const
{
    std::vector<NamedTensor> tensors;
    torch::Tensor steps = torch::zeros({static_cast<int64_t>(slots_.size())}, torch::kLong);
    for (size_t i = 0; i < slots_.size(); i++) {
        const Slot &slot = slots_[i];
        steps.data_ptr<int64_t>()[i] = slot.steps;
        if (slot.first.defined())
            tensors.push_back({first_prefix + slot.parameter.name, slot.first});
        if (slot.second.defined())
            tensors.push_back({second_prefix + slot.parameter.name, slot.second});
    }
    tensors.push_back({steps_name, steps});
    tensors.push_back({rates_name, torch::tensor({rates_[0], rates_[1]}, torch::kDouble)});
    return tensors;
}

Optimizer::Saved Optimizer::read(const char *path, const TensorFile &file) const
{
    Saved saved;
    saved.steps.resize(slots_.size());
    take_numbers(path, file, steps_name, Dtype::i64, saved.steps.size(), saved.steps.data());
    take_numbers(path, file, rates_name, Dtype::f64, 2, saved.rates);
    for (const double rate : saved.rates)
        if (!std::isfinite(rate) || rate < 0)
            fail(KD_INVALID_ARGUMENT, "%s has an impossible learning rate", path);
    for (size_t i = 0; i < slots_.size(); i++) {
        const NamedTensor &parameter = slots_[i].parameter;
        if (saved.steps[i] < 0)
            fail(KD_INVALID_ARGUMENT, "%s has an impossible count of steps", path);
        const bool moved = saved.steps[i] > 0;
        saved.first.push_back(
            moved ? take_state(path, file, {parameter}, first_prefix).front() : torch::Tensor());
        saved.second.push_back(moved && kind_ != KD_OPTIMIZER_SGD
                                   ? take_state(path, file, {parameter}, second_prefix).front()
                                   : torch::Tensor());
    }
    return saved;
}

void Optimizer::adopt(const Saved &saved)
{
    /* In the parameter's own strides, as zeros_like makes them: the order of additions, and so the
     * last bits, would differ otherwise. */
    const auto like = [](const torch::Tensor &parameter, const torch::Tensor &from) {
        return from.defined() ? torch::empty_like(parameter).copy_(from) : torch::Tensor();
    };
    torch::NoGradGuard no_grad;
    set_rates(saved.rates[0], saved.rates[1]);
    for (size_t i = 0; i < slots_.size(); i++) {
        Slot &slot = slots_[i];
        slot.steps = saved.steps[i];
        slot.first = like(slot.parameter.tensor, saved.first[i]);
        slot.second = like(slot.parameter.tensor, saved.second[i]);
    }
}

} // namespace kd::nn
