/* Training steps: batch-hard triplets on embeddings of length 1, AdamW, channels-last tensors. */
#include <cassert>
#include <cinttypes>
#include <cmath>
#include <memory>
#include <sstream>
#include <type_traits>

#include "lib/base/file.h"
#include "lib/nn/nn_internal.hpp"

using namespace kd::nn;

struct kd_training {
    kd_net *net; /* borrowed */
    kd_training_options options;
    std::vector<NamedTensor> parameters;   /* in order of name; they share the net's memory */
    std::vector<torch::Tensor> statistics; /* running means and variances, the net's memory */
    std::unique_ptr<torch::optim::AdamW> optimizer;
};

namespace
{

/* ---- Optimiser ---- */

std::unique_ptr<torch::optim::AdamW> make_optimizer(
    const std::vector<NamedTensor> &parameters, const kd_training_options &options)
{
    std::vector<torch::Tensor> decayed;
    std::vector<torch::Tensor> kept; /* norms and biases: decay would only shrink what they scale */
    for (const NamedTensor &item : parameters)
        (item.tensor.dim() > 1 ? decayed : kept).push_back(item.tensor);
    const torch::optim::AdamWOptions defaults(options.learning_rate);
    std::vector<torch::optim::OptimizerParamGroup> groups;
    groups.emplace_back(
        decayed, std::make_unique<torch::optim::AdamWOptions>(
                     torch::optim::AdamWOptions(defaults).weight_decay(options.weight_decay)));
    groups.emplace_back(kept, std::make_unique<torch::optim::AdamWOptions>(
                                  torch::optim::AdamWOptions(defaults).weight_decay(0)));
    return std::make_unique<torch::optim::AdamW>(std::move(groups), defaults);
}

void set_rate(kd_training *training, double rate)
{
    for (torch::optim::OptimizerParamGroup &group : training->optimizer->param_groups())
        static_cast<torch::optim::AdamWOptions &>(group.options()).lr(rate);
}

double get_rate(const kd_training *training)
{
    const torch::optim::OptimizerParamGroup &group = training->optimizer->param_groups().front();
    return static_cast<const torch::optim::AdamWOptions &>(group.options()).lr();
}

/* The key of a parameter in the optimiser's state: its address, which LibTorch 1 writes as text. */
template <class State> auto key_of(const State &, const torch::Tensor &parameter)
{
    using Key = typename State::key_type;
    if constexpr (std::is_pointer_v<Key>) {
        return static_cast<Key>(parameter.unsafeGetTensorImpl());
    } else {
        std::ostringstream text;
        text << parameter.unsafeGetTensorImpl();
        return Key(text.str());
    }
}

/* NULL before the parameter's first step. */
torch::optim::AdamWParamState *moments_of(const kd_training *training, const torch::Tensor &p)
{
    auto &all = training->optimizer->state();
    const auto found = all.find(key_of(all, p));
    return found == all.end() ? nullptr
                              : static_cast<torch::optim::AdamWParamState *>(found->second.get());
}

/* ---- Loss ---- */

struct Masks {
    torch::Tensor positive, negative; /* n × n: other images of the same class, of other classes */
    torch::Tensor anchors;            /* n: has both */
};

Masks make_masks(const uint32_t *labels, int64_t n)
{
    const auto byte = torch::TensorOptions().dtype(torch::kBool);
    Masks masks = {torch::zeros({n, n}, byte), torch::zeros({n, n}, byte), {}};
    bool *const positive = masks.positive.data_ptr<bool>();
    bool *const negative = masks.negative.data_ptr<bool>();
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            positive[i * n + j] = i != j && labels[i] == labels[j];
            negative[i * n + j] = labels[i] != labels[j];
        }
    masks.anchors = masks.positive.any(1).logical_and(masks.negative.any(1));
    if (!masks.anchors.any().item<bool>())
        fail(KD_FAILED_PRECONDITION,
            "none of the batch's %" PRId64 " images has both another image of its class and one of "
            "another class",
            n);
    return masks;
}

/* For each anchor its hardest positive (the farthest) and hardest negative (the nearest). The
 * distances are summed difference by difference: through a matrix product near ones would be lost
 * in rounding. A distance of 0 has the gradient 0. */
torch::Tensor triplet_loss(
    const torch::Tensor &embeddings, const Masks &masks, float margin, kd_step_stats *stats)
{
    constexpr int64_t exact = 2;
    const torch::Device device = embeddings.device();
    const torch::Tensor unit = torch::nn::functional::normalize(embeddings);
    const torch::Tensor distance = torch::cdist(unit, unit, 2.0, exact);
    const torch::Tensor anchors = masks.anchors.to(device);
    const torch::Tensor farthest =
        std::get<0>(distance.masked_fill(masks.positive.to(device).logical_not(), -1.0).max(1))
            .masked_select(anchors);
    const torch::Tensor nearest =
        std::get<0>(distance.masked_fill(masks.negative.to(device).logical_not(), 3.0).min(1))
            .masked_select(anchors);
    const torch::Tensor gap = farthest - nearest;
    const torch::Tensor losses = margin > 0 ? torch::relu(gap + margin) : torch::softplus(gap);
    const torch::Tensor mean = losses.mean();
    *stats = {mean.item<float>(), (losses > 0).to(torch::kFloat).mean().item<float>(),
        farthest.mean().item<float>(), nearest.mean().item<float>()};
    return mean;
}

/* ---- One step ---- */

/* Puts the running statistics back, unless the step that moves them comes to its end. */
class StatisticsGuard
{
  public:
    explicit StatisticsGuard(const std::vector<torch::Tensor> &statistics) : live_(statistics)
    {
        for (const torch::Tensor &tensor : statistics)
            saved_.push_back(tensor.clone());
    }
    ~StatisticsGuard()
    {
        torch::NoGradGuard no_grad;
        for (size_t i = 0; i < saved_.size(); i++)
            live_[i].copy_(saved_[i]);
    }
    void keep_new()
    {
        saved_.clear();
    }
    StatisticsGuard(const StatisticsGuard &) = delete;
    StatisticsGuard &operator=(const StatisticsGuard &) = delete;

  private:
    const std::vector<torch::Tensor> &live_;
    std::vector<torch::Tensor> saved_;
};

void set_mode(kd_training *training)
{
    training->net->model->train();
    if (training->options.freeze_norm)
        for (const auto &module : training->net->model->modules())
            if (auto *const norm = module->as<torch::nn::BatchNorm2dImpl>())
                norm->eval();
}

bool gradients_finite(const kd_training *training)
{
    std::vector<torch::Tensor> sums;
    for (const NamedTensor &item : training->parameters)
        sums.push_back(item.tensor.grad().abs().sum());
    return std::isfinite(torch::stack(sums).sum().item<double>());
}

void step(kd_training *training, const float *pixels, const uint32_t *labels, int64_t n,
    uint32_t image_size, kd_step_stats *stats)
{
    check_image_size(image_size);
    const Masks masks = make_masks(labels, n);
    const torch::Tensor images = view_pixels(pixels, n, image_size).to(training->net->device);
    set_mode(training);
    StatisticsGuard guard(training->statistics);
    kd_step_stats result;
    const torch::Tensor loss = triplet_loss(
        training->net->model->forward(images), masks, training->options.margin, &result);
    if (!std::isfinite(result.loss))
        fail(KD_INTERNAL, "the loss of the step is not finite");
    training->optimizer->zero_grad();
    loss.backward();
    if (!gradients_finite(training))
        fail(KD_INTERNAL, "the gradients of the step are not finite");
    training->optimizer->step();
    guard.keep_new();
    *stats = result;
}

/* ---- Checkpoints ---- */

/* Weights stand under their own names, the optimiser's state under these. */
constexpr const char *first_moment = "optimizer.exp_avg.";
constexpr const char *second_moment = "optimizer.exp_avg_sq.";
constexpr const char *step_name = "optimizer.step";
constexpr const char *rate_name = "optimizer.learning_rate";
constexpr const char *meta_key = "meta";

std::string format_checkpoint(const kd_training *training, const char *meta)
{
    std::vector<NamedTensor> tensors = state_of(*training->net->model);
    int64_t steps = 0;
    for (const NamedTensor &item : training->parameters) {
        const torch::optim::AdamWParamState *const moments = moments_of(training, item.tensor);
        if (!moments)
            continue;
        steps = moments->step();
        tensors.push_back({first_moment + item.name, moments->exp_avg()});
        tensors.push_back({second_moment + item.name, moments->exp_avg_sq()});
    }
    tensors.push_back({step_name, torch::tensor(steps, torch::kLong)});
    tensors.push_back({rate_name, torch::tensor(get_rate(training), torch::kDouble)});
    const std::vector<NamedTensor> host = to_host(tensors);
    return format_safetensors(to_write(host), {{meta_key, meta}});
}

template <class Number>
Number take_number(const char *path, const TensorFile &file, const char *name, Dtype dtype)
{
    const StoredTensor *const stored = file.find(name);
    if (!stored || stored->dtype != dtype || !stored->shape.empty())
        fail(KD_INVALID_ARGUMENT, "%s is no checkpoint of a training: it has no %s", path, name);
    Number number = 0;
    copy_elements(*stored, &number);
    return number;
}

void restore_moments(kd_training *training, int64_t steps, const std::vector<torch::Tensor> &first,
    const std::vector<torch::Tensor> &second)
{
    auto &all = training->optimizer->state();
    all.clear();
    for (size_t i = 0; i < first.size(); i++) {
        const torch::Tensor &parameter = training->parameters[i].tensor;
        auto moments = std::make_unique<torch::optim::AdamWParamState>();
        moments->step(steps);
        /* In the parameter's own strides, as LibTorch makes them: the order of additions, and so
         * the last bits, would differ otherwise. */
        moments->exp_avg(torch::empty_like(parameter).copy_(first[i]));
        moments->exp_avg_sq(torch::empty_like(parameter).copy_(second[i]));
        all[key_of(all, parameter)] = std::move(moments);
    }
}

/* Everything is read and checked before anything is changed. */
void load_checkpoint(kd_training *training, const char *path, std::string *meta)
{
    torch::NoGradGuard no_grad;
    TensorFile file;
    read_tensor_file(path, &file);
    const auto steps = take_number<int64_t>(path, file, step_name, Dtype::i64);
    const auto rate = take_number<double>(path, file, rate_name, Dtype::f64);
    if (steps < 0 || !std::isfinite(rate) || rate < 0)
        fail(KD_INVALID_ARGUMENT, "%s has an impossible step count or learning rate", path);
    const std::vector<NamedTensor> state = state_of(*training->net->model);
    const std::vector<torch::Tensor> weights = take_state(path, file, state, "");
    std::vector<torch::Tensor> first;
    std::vector<torch::Tensor> second;
    if (steps > 0) {
        first = take_state(path, file, training->parameters, first_moment);
        second = take_state(path, file, training->parameters, second_moment);
    }
    *meta = file.metadata[meta_key];
    for (size_t i = 0; i < state.size(); i++)
        state[i].tensor.copy_(weights[i]);
    restore_moments(training, steps, first, second);
    set_rate(training, rate);
}

void check_options(const kd_training_options &options)
{
    if (!(options.margin >= 0) || !std::isfinite(options.margin))
        fail(KD_INVALID_ARGUMENT, "the margin is %g, needed is 0 or more",
            static_cast<double>(options.margin));
    if (!(options.learning_rate >= 0) || !std::isfinite(options.learning_rate))
        fail(KD_INVALID_ARGUMENT, "the learning rate is %g, needed is 0 or more",
            static_cast<double>(options.learning_rate));
    if (!(options.weight_decay >= 0) || !std::isfinite(options.weight_decay))
        fail(KD_INVALID_ARGUMENT, "the weight decay is %g, needed is 0 or more",
            static_cast<double>(options.weight_decay));
}

} // namespace

kd_status kd_training_new(
    kd_training **out, kd_net *net, const kd_training_options *options, kd_error *err)
{
    assert(out && net && options && options->loss == KD_LOSS_TRIPLET);
    *out = nullptr;
    return guarded(err, "starting a training", [&] {
        check_options(*options);
        auto training = std::make_unique<kd_training>();
        training->net = net;
        training->options = *options;
        for (const NamedTensor &item : state_of(*net->model)) {
            if (item.tensor.requires_grad())
                training->parameters.push_back(item);
            else
                training->statistics.push_back(item.tensor);
        }
        training->optimizer = make_optimizer(training->parameters, *options);
        *out = training.release();
    });
}

kd_status kd_training_step(kd_training *training, const float *pixels, const uint32_t *labels,
    size_t n, uint32_t image_size, kd_step_stats *stats, kd_error *err)
{
    assert(training && stats && (n == 0 || (pixels && labels)));
    *stats = {};
    if (n > KD_NN_MAX_BATCH)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the batch has %zu images, allowed 1..%u", n,
            KD_NN_MAX_BATCH);
    return guarded(err, "a training step", [&] {
        adopt_threads();
        step(training, pixels, labels, static_cast<int64_t>(n), image_size, stats);
    });
}

void kd_training_set_rate(kd_training *training, float learning_rate)
{
    assert(training && learning_rate >= 0);
    set_rate(training, learning_rate);
}

kd_status kd_training_save(
    const kd_training *training, const char *path, const char *meta, kd_error *err)
{
    assert(training && path);
    return guarded(err, "saving a training", [&] {
        const std::string bytes = format_checkpoint(training, meta ? meta : "");
        kd_error error = KD_ERROR_INIT;
        check(kd_file_write(path, bytes.data(), bytes.size(), &error), error);
    });
}

kd_status kd_training_load(kd_training *training, const char *path, char **meta, kd_error *err)
{
    assert(training && path && meta);
    *meta = nullptr;
    return guarded(err, "loading a training", [&] {
        std::string text;
        load_checkpoint(training, path, &text);
        *meta = strdup(text.c_str());
        if (!*meta)
            throw std::bad_alloc();
    });
}

void kd_training_free(kd_training *training)
{
    delete training;
}
