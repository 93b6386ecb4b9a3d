/* Training steps, on channels-last tensors. */
#include <cassert>
#include <cmath>
#include <cstring>

#include <ATen/autocast_mode.h>

#include "lib/base/random.h"
#include "lib/nn/training_internal.hpp"

using namespace kd::nn;

namespace
{

/* Puts the running statistics back, unless the step that moves them comes to its end. */
class StatisticsGuard
{
  public:
    explicit StatisticsGuard(const std::vector<torch::Tensor> &statistics) : live_(statistics)
    {
        if (!live_.empty())
            saved_ = torch::cat(live_); /* one copy, which on a GPU costs less than forty */
    }
    ~StatisticsGuard()
    {
        if (!saved_.defined())
            return;
        torch::NoGradGuard no_grad;
        int64_t from = 0;
        for (torch::Tensor &tensor : live_) {
            tensor.copy_(saved_.narrow(0, from, tensor.numel()));
            from += tensor.numel();
        }
    }
    void keep_new()
    {
        saved_.reset();
    }
    StatisticsGuard(const StatisticsGuard &) = delete;
    StatisticsGuard &operator=(const StatisticsGuard &) = delete;

  private:
    std::vector<torch::Tensor> live_; /* of one dimension */
    torch::Tensor saved_;
};

/* Within its life convolutions and matrix products compute in bfloat16. */
class Autocast
{
  public:
    Autocast(bool wanted, torch::Device device) : wanted_(wanted), cuda_(device.is_cuda())
    {
        if (wanted_)
            set(true);
    }
    ~Autocast()
    {
        if (!wanted_)
            return;
        at::autocast::clear_cache();
        set(false);
    }
    Autocast(const Autocast &) = delete;
    Autocast &operator=(const Autocast &) = delete;

  private:
    void set(bool on) const
    {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
        const auto type = cuda_ ? at::kCUDA : at::kCPU;
        at::autocast::set_autocast_dtype(type, at::kBFloat16);
        at::autocast::set_autocast_enabled(type, on);
#else
        if (cuda_) {
            at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
            at::autocast::set_enabled(on);
        } else {
            at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
            at::autocast::set_cpu_enabled(on);
        }
#endif
    }
    bool wanted_, cuda_;
};

/* Seeds of neighbouring steps share nothing. */
uint64_t step_seed(uint64_t seed, int64_t step)
{
    uint64_t state = seed;
    state = kd_random_next(&state) + static_cast<uint64_t>(step);
    return kd_random_next(&state);
}

void set_mode(kd_training *training)
{
    ResNet18 &model = training->net->model;
    model->train(!training->options.freeze_backbone);
    if (training->options.freeze_norm)
        for (const auto &module : model->modules())
            if (auto *const norm = module->as<torch::nn::BatchNorm2dImpl>())
                norm->eval();
}

/* n × S × S × 3 to n × 512 features. */
torch::Tensor compute_features(kd_training *training, const torch::Tensor &images)
{
    const Autocast cast(
        training->options.precision == KD_PRECISION_BFLOAT16, training->net->device);
    if (!training->options.freeze_backbone)
        return training->net->model->features(images).to(torch::kFloat);
    const torch::NoGradGuard no_grad;
    return training->net->model->features(images).to(torch::kFloat);
}

/* Fills *stats with one wait for a GPU, which has the whole backward to do by then. Returns the
 * gradient's length. Throws when it or the loss is not finite. */
double take_stats(const LossValue &value, const uint32_t *labels, const torch::Tensor &length,
    kd_step_stats *stats)
{
    const torch::NoGradGuard no_grad;
    const PairMeans means =
        pair_means(value.distances, labels_tensor(labels, value.distances.size(0)));
    const torch::Tensor numbers = torch::stack(
        {value.loss, value.active_share, means.positive, means.negative, value.accuracy})
                                      .to(torch::kCPU);
    const float *const n = numbers.data_ptr<float>();
    const double known = length.defined() ? length.item<double>() : 0;
    if (!std::isfinite(n[0]))
        fail(KD_INTERNAL, "the loss of the step is not finite");
    if (!std::isfinite(known))
        fail(KD_INTERNAL, "the gradients of the step are not finite");
    *stats = {n[0], n[1], n[2], n[3], n[4], static_cast<float>(known)};
    return known;
}

void finish_step(kd_training *training, const torch::Tensor &features, const uint32_t *labels,
    kd_step_stats *stats)
{
    const torch::Tensor embeddings = training->net->model->project(features);
    const LossValue value = training->loss->evaluate(
        embeddings, labels, step_seed(training->options.seed, training->steps));
    training->optimizer->clear_gradients();
    /* A batch without an active term has nothing to move. */
    torch::Tensor length;
    if (value.loss.requires_grad()) {
        value.loss.backward();
        length = training->optimizer->gradient_length();
    }
    const double known = take_stats(value, labels, length, stats);
    training->optimizer->clip_gradients(known, static_cast<double>(training->options.clip_norm));
    training->optimizer->step();
    training->loss->remember(embeddings.detach(), labels);
    training->steps++;
}

void step_pixels(kd_training *training, const float *pixels, const uint32_t *labels, int64_t n,
    uint32_t image_size, kd_step_stats *stats)
{
    check_image_size(image_size);
    const kd_training_options &options = training->options;
    const torch::Tensor images =
        training->staging.send(pixels, n, n, image_size)
            .images.contiguous(best_layout(training->net->device, options.precision));
    set_mode(training);
    const bool moves = !options.freeze_norm && !options.freeze_backbone;
    StatisticsGuard guard(moves ? training->statistics : std::vector<torch::Tensor>());
    finish_step(training, compute_features(training, images), labels, stats);
    guard.keep_new();
}

torch::Tensor take_features(const kd_training *training, const float *features, size_t n)
{
    return torch::from_blob(const_cast<float *>(features),
        {static_cast<int64_t>(n), static_cast<int64_t>(KD_NN_FEATURES)})
        .to(training->net->device, true);
}

void check_number(const char *name, float value, float most)
{
    if (!(value >= 0 && value <= most))
        fail(KD_INVALID_ARGUMENT, "%s is %g, allowed are 0 to %g", name, static_cast<double>(value),
            static_cast<double>(most));
}

void check_options(const kd_training_options &options)
{
    kd_error error = KD_ERROR_INIT;
    check(kd_loss_check(&options.loss, &error), error);
    check_number("momentum", options.momentum, 1);
    check_number("weight_decay", options.weight_decay, 100);
    check_number("clip_norm", options.clip_norm, 1e9f);
}

template <class Work> kd_status guard_batch(size_t n, kd_error *err, const char *doing, Work &&work)
{
    if (n > KD_NN_MAX_BATCH)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the batch has %zu images, allowed 1..%u", n,
            KD_NN_MAX_BATCH);
    if (n == 0)
        return kd_error_set(err, KD_FAILED_PRECONDITION, "the batch is empty");
    return guarded(err, doing, [&] {
        adopt_threads();
        work();
    });
}

} // namespace

void kd_training_defaults(kd_training_options *out)
{
    *out = {};
    kd_loss_defaults(KD_LOSS_TRIPLET, &out->loss);
    out->optimizer = KD_OPTIMIZER_ADAMW;
    out->weight_decay = 1e-4f;
}

kd_status kd_training_new(
    kd_training **out, kd_net *net, const kd_training_options *options, kd_error *err)
{
    assert(out && net && options);
    *out = nullptr;
    return guarded(err, "starting a training", [&] {
        check_options(*options);
        if (options->precision == KD_PRECISION_BFLOAT16 && net->device.is_cuda() &&
            !kd_nn_has_bfloat16())
            fail(KD_FAILED_PRECONDITION,
                "a training in bfloat16 needs a GPU of compute capability 8.0 (Ampere) or later");
        auto training = std::make_unique<kd_training>(
            kd_training{net, *options, {}, {}, {}, Staging(net->device)});
        lay_out(*net->model, best_layout(net->device, options->precision));
        training->loss = make_loss(options->loss, net->model->dim(), options->seed, net->device);
        std::vector<NamedTensor> parameters = parameters_of(*net->model);
        for (const NamedTensor &item : training->loss->parameters())
            parameters.push_back(item);
        for (const auto &item : net->model->named_buffers())
            if (item.value().is_floating_point()) /* not the count of batches, which nobody reads */
                training->statistics.push_back(item.value());
        training->optimizer =
            std::make_unique<Optimizer>(options->optimizer, static_cast<double>(options->momentum),
                static_cast<double>(options->weight_decay), parameters);
        *out = training.release();
    });
}

kd_status kd_training_step(kd_training *training, const float *pixels, const uint32_t *labels,
    size_t n, uint32_t image_size, kd_step_stats *stats, kd_error *err)
{
    assert(training && stats && (n == 0 || (pixels && labels)));
    *stats = {};
    return guard_batch(n, err, "a training step",
        [&] { step_pixels(training, pixels, labels, static_cast<int64_t>(n), image_size, stats); });
}

kd_status kd_training_step_features(kd_training *training, const float *features,
    const uint32_t *labels, size_t n, kd_step_stats *stats, kd_error *err)
{
    assert(training && stats && (n == 0 || (features && labels)));
    assert(training->options.freeze_backbone);
    *stats = {};
    return guard_batch(n, err, "a training step",
        [&] { finish_step(training, take_features(training, features, n), labels, stats); });
}

kd_status kd_training_classify(
    kd_training *training, const float *features, size_t n, uint32_t *labels, kd_error *err)
{
    assert(training && features && labels && training->options.loss.classes > 0);
    return guarded(err, "classifying a batch", [&] {
        adopt_threads();
        const torch::NoGradGuard no_grad;
        const torch::Tensor embeddings =
            training->net->model->project(take_features(training, features, n));
        const torch::Tensor answer =
            training->loss->classify(embeddings).to(torch::kCPU, torch::kLong).contiguous();
        for (size_t i = 0; i < n; i++)
            labels[i] = static_cast<uint32_t>(answer.data_ptr<int64_t>()[i]);
    });
}

void kd_training_set_rates(kd_training *training, float backbone, float head)
{
    assert(training && backbone >= 0 && head >= 0);
    training->optimizer->set_rates(static_cast<double>(backbone), static_cast<double>(head));
}

void kd_training_freeze_backbone(kd_training *training, bool frozen)
{
    assert(training);
    training->options.freeze_backbone = frozen;
}

void kd_training_free(kd_training *training)
{
    delete training;
}

kd_status kd_effective_rank(const float *rows, size_t n, size_t dim, double *rank, kd_error *err)
{
    assert(rows && rank && n > 0 && dim > 0);
    *rank = 0;
    return guarded(err, "an effective rank", [&] {
        adopt_threads();
        const torch::NoGradGuard no_grad;
        torch::Tensor all = torch::from_blob(
            const_cast<float *>(rows), {static_cast<int64_t>(n), static_cast<int64_t>(dim)})
                                .to(torch::kDouble);
        const double size = all.norm().item<double>();
        all = all - all.mean(0, true);
        if (!(all.norm().item<double>() > 1e-5 * size)) /* rounding fills every direction */
            return;
        const torch::Tensor squares = at::linalg_eigvalsh(all.t().mm(all)).clamp_min(0);
        const torch::Tensor shares = squares.sqrt() / squares.sqrt().sum();
        *rank = std::exp(-torch::special::xlogy(shares, shares).sum().item<double>());
    });
}
