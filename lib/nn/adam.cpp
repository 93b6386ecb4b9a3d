#include "lib/nn/adam.hpp"

#include <cmath>

namespace kd::nn
{

namespace
{

bool plain(const torch::Tensor &tensor)
{
    return tensor.is_cpu() && tensor.scalar_type() == torch::kFloat &&
           tensor.is_non_overlapping_and_dense();
}

void by_lists(const std::vector<const AdamMove *> &moves)
{
    if (moves.empty())
        return;
    const AdamStep &shared = moves.front()->step;
    std::vector<torch::Tensor> parameters, gradients, first, second;
    std::vector<at::Scalar> shrinks, pulls, corrections, rates;
    bool shrinking = false, pulling = false;
    for (const AdamMove *move : moves) {
        const AdamStep &step = move->step;
        parameters.push_back(move->parameter);
        gradients.push_back(move->gradient);
        first.push_back(move->first);
        second.push_back(move->second);
        shrinks.emplace_back(step.shrink);
        pulls.emplace_back(step.pull);
        corrections.emplace_back(step.correction2);
        rates.emplace_back(-step.rate / step.correction1);
        shrinking = shrinking || step.shrink != 1;
        pulling = pulling || step.pull != 0;
    }
    if (shrinking)
        at::_foreach_mul_(parameters, shrinks);
    if (pulling)
        gradients = at::_foreach_add(gradients, at::_foreach_mul(parameters, pulls));
    at::_foreach_mul_(first, shared.beta1);
    at::_foreach_add_(first, gradients, 1 - shared.beta1);
    at::_foreach_mul_(second, shared.beta2);
    at::_foreach_addcmul_(second, gradients, gradients, 1 - shared.beta2);
    const std::vector<torch::Tensor> divisors = at::_foreach_sqrt(second);
    at::_foreach_div_(divisors, corrections);
    at::_foreach_add_(divisors, shared.epsilon);
    at::_foreach_addcdiv_(parameters, first, divisors, rates);
}

/* The same, in the same order. */
void by_values(const AdamStep &step, float *__restrict p, const float *__restrict gradient,
    float *__restrict first, float *__restrict second, int64_t n)
{
    const auto shrink = static_cast<float>(step.shrink), pull = static_cast<float>(step.pull),
               share1 = static_cast<float>(1 - step.beta1), beta2 = static_cast<float>(step.beta2),
               share2 = static_cast<float>(1 - step.beta2),
               correction2 = static_cast<float>(step.correction2),
               epsilon = static_cast<float>(step.epsilon),
               move = static_cast<float>(-step.rate / step.correction1);
    for (int64_t i = 0; i < n; i++) {
        const float value = p[i] * shrink, g = gradient[i] + pull * value;
        first[i] += share1 * (g - first[i]);
        second[i] = second[i] * beta2 + share2 * g * g;
        p[i] = value + move * first[i] / (std::sqrt(second[i]) / correction2 + epsilon);
    }
}

} // namespace

void adam_move(std::vector<AdamMove> &moves)
{
    std::vector<const AdamMove *> others;
    for (AdamMove &move : moves) {
        const torch::Tensor &p = move.parameter, &gradient = move.gradient;
        if (!plain(p) || !plain(move.first) || !plain(move.second) || !gradient.is_cpu() ||
            gradient.scalar_type() != torch::kFloat || move.first.strides() != p.strides() ||
            move.second.strides() != p.strides()) {
            others.push_back(&move);
            continue;
        }
        /* Autograd may have given it another layout than the parameter's. */
        const torch::Tensor g =
            gradient.strides() == p.strides() ? gradient : torch::empty_like(p).copy_(gradient);
        by_values(move.step, p.data_ptr<float>(), g.data_ptr<float>(), move.first.data_ptr<float>(),
            move.second.data_ptr<float>(), p.numel());
    }
    by_lists(others);
}

} // namespace kd::nn
