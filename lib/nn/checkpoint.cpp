/* A training as one .safetensors file. Weights, head and memory stand under their own names. */
#include <cassert>
#include <cstring>

#include "lib/base/file.h"
#include "lib/nn/training_internal.hpp"

using namespace kd::nn;

namespace
{

constexpr const char *steps_name = "training.steps";
constexpr const char *meta_key = "meta";
constexpr const char *kind_key = "kind";

/* What the numbers mean: another loss or optimiser would take some of them for its own. */
std::string kind_of(const kd_training *training)
{
    return std::string(kd_loss_name(training->options.loss.loss)) + " by " +
           kd_optimizer_name(training->options.optimizer);
}

/* What moves besides the optimiser. */
std::vector<NamedTensor> moving_state(const kd_training *training)
{
    std::vector<NamedTensor> state = state_of(*training->net->model);
    for (const NamedTensor &item : training->loss->parameters())
        state.push_back(item);
    return state;
}

std::string format_checkpoint(const kd_training *training, const char *meta)
{
    std::vector<NamedTensor> tensors = moving_state(training);
    for (const NamedTensor &item : training->loss->buffers())
        tensors.push_back(item);
    for (const NamedTensor &item : training->optimizer->state())
        tensors.push_back(item);
    tensors.push_back({steps_name, torch::full({1}, training->steps, torch::kLong)});
    const std::vector<NamedTensor> host = to_host(tensors);
    return format_safetensors(to_write(host), {{meta_key, meta}, {kind_key, kind_of(training)}});
}

/* Everything is read and checked before anything is changed. */
void load_checkpoint(kd_training *training, const char *path, std::string *meta)
{
    const torch::NoGradGuard no_grad;
    TensorFile file;
    read_tensor_file(path, &file);
    int64_t steps = 0;
    const std::string &kind = file.metadata[kind_key];
    if (!kind.empty() && kind != kind_of(training))
        fail(KD_INVALID_ARGUMENT, "%s is a checkpoint of %s, not of %s", path, kind.c_str(),
            kind_of(training).c_str());
    take_numbers(path, file, steps_name, Dtype::i64, 1, &steps);
    const std::vector<NamedTensor> state = moving_state(training);
    const std::vector<torch::Tensor> weights = take_state(path, file, state, "");
    const Optimizer::Saved saved = training->optimizer->read(path, file);
    const std::vector<NamedTensor> buffers = training->loss->buffers();
    std::vector<torch::Tensor> contents;
    for (const NamedTensor &item : buffers) {
        if (item.tensor.scalar_type() == torch::kLong) {
            torch::Tensor numbers = torch::empty(item.tensor.sizes(), torch::kLong);
            take_numbers(path, file, item.name.c_str(), Dtype::i64,
                static_cast<size_t>(numbers.numel()), numbers.data_ptr<int64_t>());
            contents.push_back(numbers);
        } else {
            contents.push_back(take_state(path, file, {item}, "").front());
        }
    }
    *meta = file.metadata[meta_key];
    for (size_t i = 0; i < state.size(); i++)
        state[i].tensor.copy_(weights[i]);
    for (size_t i = 0; i < buffers.size(); i++)
        buffers[i].tensor.copy_(contents[i]);
    training->optimizer->adopt(saved);
    training->steps = steps;
}

} // namespace

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
