/* Losses that learn a weight vector for each label beside the network. */
#include <cmath>

#include "lib/nn/loss_parts.hpp"

namespace kd::nn
{

namespace
{

template <class Distribution>
torch::Tensor drawn(
    at::IntArrayRef shape, Distribution draw, std::mt19937_64 *generator, torch::Device device)
{
    torch::Tensor made = torch::empty(shape, device);
    draw_into(made, draw, generator);
    return made.requires_grad_(true);
}

class HeadLoss : public Loss
{
  public:
    HeadLoss(const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device);
    LossValue evaluate(
        const torch::Tensor &embeddings, const uint32_t *labels, uint64_t seed) override;
    std::vector<NamedTensor> parameters() const override;
    torch::Tensor classify(const torch::Tensor &embeddings) const override;

  private:
    torch::Tensor scores(const torch::Tensor &embeddings) const;
    torch::Tensor loss_of(const torch::Tensor &embeddings, const torch::Tensor &scores,
        const torch::Tensor &labels) const;
    torch::Tensor arcface(const torch::Tensor &embeddings, const torch::Tensor &scores,
        const torch::Tensor &labels) const;
    torch::Tensor proxy_anchor(const torch::Tensor &scores, const torch::Tensor &labels) const;

    kd_loss_options options_;
    torch::Tensor weight_; /* classes × dim */
    torch::Tensor bias_;   /* classes; cross-entropy's alone */
};

/* Drawn as pytorch-metric-learning, and for cross-entropy PyTorch's linear layer, draw them. */
HeadLoss::HeadLoss(const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device)
    : options_(options)
{
    std::mt19937_64 generator(seed);
    const auto classes = static_cast<int64_t>(options.classes);
    if (options.loss == KD_LOSS_CROSS_ENTROPY) {
        const float bound = 1 / std::sqrt(static_cast<float>(dim));
        const std::uniform_real_distribution<float> draw(-bound, bound);
        weight_ = drawn({classes, dim}, draw, &generator, device);
        bias_ = drawn({classes}, draw, &generator, device);
    } else {
        const float deviation =
            options.loss == KD_LOSS_PROXY_ANCHOR ? std::sqrt(2 / static_cast<float>(classes)) : 1;
        const std::normal_distribution<float> draw(0, deviation);
        weight_ = drawn({classes, dim}, draw, &generator, device);
    }
}

std::vector<NamedTensor> HeadLoss::parameters() const
{
    std::vector<NamedTensor> list;
    if (bias_.defined())
        list.push_back({"head.bias", bias_});
    list.push_back({"head.weight", weight_});
    return list;
}

/* n × classes: the linear layer's, or cosines. */
torch::Tensor HeadLoss::scores(const torch::Tensor &embeddings) const
{
    if (options_.loss == KD_LOSS_CROSS_ENTROPY)
        return torch::linear(embeddings, weight_, bias_);
    return torch::linear(unit_rows(embeddings), unit_rows(weight_));
}

torch::Tensor HeadLoss::classify(const torch::Tensor &embeddings) const
{
    torch::NoGradGuard no_grad;
    return scores(embeddings).argmax(1);
}

/* The angle θ between an embedding and its class's weight grows by the margin m:
 * cos(θ + m) = cos θ cos m - sin θ sin m. No arc cosine, whose slope has no bound: the sine is the
 * length of what the embedding has beside the weight, exact also where the two are near. Beyond
 * θ = π - m, where cos(θ + m) would rise again, cos θ - m sin m. */
torch::Tensor HeadLoss::arcface(
    const torch::Tensor &embeddings, const torch::Tensor &scores, const torch::Tensor &labels) const
{
    const double margin = static_cast<double>(options_.margin) * M_PI / 180;
    const torch::Tensor cosine = scores.gather(1, labels.unsqueeze(1));
    const torch::Tensor target = unit_rows(weight_.index_select(0, labels));
    const torch::Tensor sine = (unit_rows(embeddings) - cosine * target).norm(2, 1, true);
    const torch::Tensor grown = torch::where(cosine >= -std::cos(margin),
        cosine * std::cos(margin) - sine * std::sin(margin), cosine - margin * std::sin(margin));
    return scores.scatter(1, labels.unsqueeze(1), grown);
}

torch::Tensor HeadLoss::proxy_anchor(const torch::Tensor &scores, const torch::Tensor &labels) const
{
    const torch::Tensor classes = torch::arange(scores.size(1), labels.options());
    const torch::Tensor own = labels.unsqueeze(1).eq(classes);
    const torch::Tensor pull =
        log_one_plus_sum_exp((options_.margin - scores) * options_.scale, own, 0);
    const torch::Tensor push =
        log_one_plus_sum_exp((options_.margin + scores) * options_.scale, own.logical_not(), 0);
    return pull.sum() / own.any(0).sum() + push.mean();
}

torch::Tensor HeadLoss::loss_of(
    const torch::Tensor &embeddings, const torch::Tensor &scores, const torch::Tensor &labels) const
{
    switch (options_.loss) {
    case KD_LOSS_NORM_SOFTMAX:
        return torch::cross_entropy_loss(scores * options_.scale, labels);
    case KD_LOSS_ARCFACE:
        return torch::cross_entropy_loss(
            arcface(embeddings, scores, labels) * options_.scale, labels);
    case KD_LOSS_COSFACE: {
        const torch::Tensor margins = torch::zeros_like(scores).scatter(
            1, labels.unsqueeze(1), static_cast<double>(options_.margin));
        return torch::cross_entropy_loss((scores - margins) * options_.scale, labels);
    }
    case KD_LOSS_PROXY_ANCHOR:
        return proxy_anchor(scores, labels);
    default:
        return torch::cross_entropy_loss(scores, labels);
    }
}

LossValue HeadLoss::evaluate(const torch::Tensor &embeddings, const uint32_t *labels, uint64_t)
{
    const int64_t n = embeddings.size(0);
    if (n == 0)
        fail(KD_FAILED_PRECONDITION, "the batch has no images");
    for (int64_t i = 0; i < n; i++)
        if (labels[i] >= options_.classes)
            fail(KD_INVALID_ARGUMENT,
                "the label of image %" PRId64 " is %" PRIu32 ", allowed is 0..%" PRIu32, i,
                labels[i], options_.classes - 1);
    const torch::Tensor target = sent(labels_tensor(labels, n), embeddings);
    const torch::Tensor answers = scores(embeddings);
    LossValue value;
    value.loss = loss_of(embeddings, answers, target);
    torch::NoGradGuard no_grad;
    value.active_share = constant(1, embeddings);
    value.accuracy = answers.argmax(1).eq(target).to(torch::kFloat).mean();
    const torch::Tensor unit = unit_rows(embeddings);
    value.distances = euclidean(unit, unit);
    return value;
}

} // namespace

std::unique_ptr<Loss> make_head_loss(
    const kd_loss_options &options, int64_t dim, uint64_t seed, torch::Device device)
{
    return std::make_unique<HeadLoss>(options, dim, seed, device);
}

} // namespace kd::nn
