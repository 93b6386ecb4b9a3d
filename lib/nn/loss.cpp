/* The losses as nn.h's neighbours see them, and what the two families share. */
#include <algorithm>
#include <cassert>
#include <limits>

#include "lib/nn/loss_parts.hpp"

namespace kd::nn
{

void Loss::remember(const torch::Tensor &, const uint32_t *)
{
}

std::vector<NamedTensor> Loss::parameters() const
{
    return {};
}

std::vector<NamedTensor> Loss::buffers() const
{
    return {};
}

torch::Tensor Loss::classify(const torch::Tensor &) const
{
    fail(KD_INTERNAL, "a loss without a head names no classes");
}

std::unique_ptr<Loss> make_loss(
    const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device)
{
    kd_error error = KD_ERROR_INIT;
    check(kd_loss_check(&options, &error), error);
    return kd_loss_has_head(options.loss) ? make_head_loss(options, dim, seed, device)
                                          : make_pair_loss(options, dim, device);
}

torch::Tensor unit_rows(const torch::Tensor &rows)
{
    return torch::nn::functional::normalize(rows);
}

torch::Tensor euclidean(const torch::Tensor &a, const torch::Tensor &b)
{
    constexpr int64_t exact = 2;
    return torch::cdist(a, b, 2.0, exact);
}

torch::Tensor labels_tensor(const uint32_t *labels, int64_t n)
{
    torch::Tensor tensor = torch::empty({n}, torch::kLong);
    std::copy_n(labels, n, tensor.data_ptr<int64_t>());
    return tensor;
}

torch::Tensor sent(const torch::Tensor &tensor, const torch::Tensor &like)
{
    /* From memory that isn't pinned the driver has taken it when this returns. */
    return tensor.to(like.device(), true);
}

torch::Tensor constant(float value, const torch::Tensor &like)
{
    return torch::full({}, value, torch::TensorOptions(torch::kFloat).device(like.device()));
}

torch::Tensor selected(const torch::Tensor &values, const torch::Tensor &mask)
{
    const torch::Tensor places = mask.flatten().nonzero().squeeze(1);
    return values.flatten().index_select(0, sent(places, values));
}

torch::Tensor log_one_plus_sum_exp(const torch::Tensor &x, const torch::Tensor &mask, int64_t dim)
{
    const torch::Tensor kept =
        x.masked_fill(mask.logical_not(), -std::numeric_limits<float>::infinity());
    /* The 1 is a further term: exp(0). */
    const torch::Tensor one = torch::zeros_like(x.select(dim, 0)).unsqueeze(dim);
    return torch::logsumexp(torch::cat({kept, one}, dim), dim);
}

PairMeans pair_means(const torch::Tensor &distances, const torch::Tensor &labels)
{
    torch::NoGradGuard no_grad;
    const torch::Tensor same = labels.unsqueeze(1).eq(labels.unsqueeze(0));
    torch::Tensor positive = same.clone();
    positive.fill_diagonal_(false);
    const auto mean = [&distances](const torch::Tensor &mask) {
        const torch::Tensor chosen = selected(distances, mask);
        return chosen.sum() / std::max<int64_t>(chosen.numel(), 1);
    };
    return {mean(positive), mean(same.logical_not())};
}

namespace
{

torch::Tensor rows_of(const float *values, int64_t n, int64_t dim)
{
    /* LibTorch has no tensor of constants; the clone is what is written to. */
    return torch::from_blob(const_cast<float *>(values), {n, dim}, torch::kFloat).clone();
}

void set_parameter(const Loss &loss, const char *name, const float *values)
{
    torch::NoGradGuard no_grad;
    for (const NamedTensor &item : loss.parameters())
        if (values && item.name == name)
            item.tensor.copy_(rows_of(values, 1, item.tensor.numel()).view(item.tensor.sizes()));
}

void copy_gradient(const torch::Tensor &tensor, float *out)
{
    if (!out)
        return;
    const torch::Tensor host = tensor.grad().to(torch::kCPU).contiguous();
    std::copy_n(host.data_ptr<float>(), host.numel(), out);
}

double evaluate(const kd_loss_options &options, const kd_loss_inputs &inputs,
    float *embeddings_gradient, float *weights_gradient)
{
    const torch::Device device = best_device();
    const auto n = static_cast<int64_t>(inputs.n);
    const auto dim = static_cast<int64_t>(inputs.dim);
    const std::unique_ptr<Loss> loss = make_loss(options, dim, inputs.seed, device);
    set_parameter(*loss, "head.weight", inputs.weights);
    set_parameter(*loss, "head.bias", inputs.bias);
    for (size_t i = 0; i < inputs.earlier_batches; i++)
        loss->remember(rows_of(inputs.earlier + i * inputs.n * inputs.dim, n, dim).to(device),
            inputs.earlier_labels + i * inputs.n);
    const torch::Tensor embeddings =
        rows_of(inputs.embeddings, n, dim).to(device).requires_grad_(true);
    const LossValue value = loss->evaluate(embeddings, inputs.labels, inputs.seed);
    if (embeddings_gradient || weights_gradient) {
        value.loss.backward();
        copy_gradient(embeddings, embeddings_gradient);
        for (const NamedTensor &item : loss->parameters())
            if (item.name == "head.weight")
                copy_gradient(item.tensor, weights_gradient);
    }
    return static_cast<double>(value.loss.item<float>());
}

} // namespace

} // namespace kd::nn

kd_status kd_loss_evaluate(const kd_loss_options *options, const kd_loss_inputs *inputs,
    double *loss, float *embeddings_gradient, float *weights_gradient, kd_error *err)
{
    assert(options && inputs && loss && inputs->dim > 0);
    assert(inputs->n == 0 || (inputs->embeddings && inputs->labels));
    assert(!weights_gradient || kd_loss_has_head(options->loss));
    *loss = 0;
    return kd::nn::guarded(err, "evaluating a loss", [&] {
        kd::nn::adopt_threads();
        *loss = kd::nn::evaluate(*options, *inputs, embeddings_gradient, weights_gradient);
    });
}
