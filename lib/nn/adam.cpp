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

void by_operations(const AdamStep &step, torch::Tensor &parameter, const torch::Tensor &gradient,
    torch::Tensor &first, torch::Tensor &second)
{
    torch::Tensor g = gradient;
    if (step.shrink != 1)
        parameter.mul_(step.shrink);
    if (step.pull != 0)
        g = gradient.add(parameter, step.pull);
    first.lerp_(g, 1 - step.beta1);
    second.mul_(step.beta2).addcmul_(g, g, 1 - step.beta2);
    const torch::Tensor divisor = second.sqrt().div_(step.correction2).add_(step.epsilon);
    parameter.addcdiv_(first, divisor, -step.rate / step.correction1);
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

void adam_step(const AdamStep &step, torch::Tensor &parameter, const torch::Tensor &gradient,
    torch::Tensor &first, torch::Tensor &second)
{
    if (!plain(parameter) || !plain(first) || !plain(second) || !gradient.is_cpu() ||
        gradient.scalar_type() != torch::kFloat || first.strides() != parameter.strides() ||
        second.strides() != parameter.strides()) {
        by_operations(step, parameter, gradient, first, second);
        return;
    }
    /* Autograd may have given it another layout than the parameter's. */
    const torch::Tensor g = gradient.strides() == parameter.strides()
                                ? gradient
                                : torch::empty_like(parameter).copy_(gradient);
    float *const to_p = parameter.data_ptr<float>(), *const to_first = first.data_ptr<float>(),
                 *const to_second = second.data_ptr<float>();
    const float *const from = g.data_ptr<float>();
    by_values(step, to_p, from, to_first, to_second, parameter.numel());
}

} // namespace kd::nn
