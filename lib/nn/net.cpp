#include <algorithm>
#include <cassert>
#include <cinttypes>
#include <cmath>
#include <memory>

#include "lib/base/file.h"
#include "lib/nn/nn_internal.hpp"

using namespace kd::nn;

namespace
{

std::unique_ptr<kd_net> make_net()
{
    auto net = std::make_unique<kd_net>(kd_net{ResNet18(), best_device()});
    net->model->to(net->device);
    lay_out(*net->model, best_layout(net->device, KD_PRECISION_FLOAT32));
    return net;
}

/* As torchvision: convolutions normal with variance 2 / fan-out, norms 1 and 0. */
void initialise(ResNet18Impl &model, uint64_t seed)
{
    std::mt19937_64 generator(seed);
    for (const NamedTensor &item : state_of(model)) {
        if (item.tensor.dim() != 4)
            continue; /* LibTorch's own first values of norms are those */
        const double fan_out =
            static_cast<double>(item.tensor.size(0) * item.tensor.size(2) * item.tensor.size(3));
        const std::normal_distribution<float> draw(
            0.0f, static_cast<float>(std::sqrt(2.0 / fan_out)));
        draw_into(item.tensor, draw, &generator);
    }
}

/* A file of another network must not pass because it happens to hold all that ResNet18 needs
 * (ResNet34 does). */
void refuse_strangers(
    const char *path, const TensorFile &file, const std::vector<NamedTensor> &state)
{
    for (const StoredTensor &stored : file.tensors) {
        const bool known = std::any_of(state.begin(), state.end(),
            [&stored](const NamedTensor &item) { return item.name == stored.name; });
        if (!known && !stored.name.starts_with("fc.") &&
            !stored.name.ends_with("num_batches_tracked"))
            fail(KD_INVALID_ARGUMENT, "%s has the tensor %.120s, which %s has not", path,
                stored.name.c_str(), KD_NN_ARCHITECTURE);
    }
}

void check_dim(const char *what, int64_t dim)
{
    if (dim < static_cast<int64_t>(KD_NN_MIN_DIM) || dim > static_cast<int64_t>(KD_NN_MAX_DIM))
        fail(KD_INVALID_ARGUMENT, "%s: a projection to %" PRId64 " values, allowed are %u to %u",
            what, dim, KD_NN_MIN_DIM, KD_NN_MAX_DIM);
}

void load(kd_net *net, const char *path)
{
    torch::NoGradGuard no_grad;
    TensorFile file;
    read_tensor_file(path, &file);
    if (const StoredTensor *const projection = file.find("projection.weight")) {
        const int64_t dim = projection->shape.empty() ? 0 : projection->shape[0];
        check_dim(path, dim);
        net->model->set_projection(dim);
    }
    const std::vector<NamedTensor> state = state_of(*net->model);
    const std::vector<torch::Tensor> weights = take_state(path, file, state, "");
    refuse_strangers(path, file, state);
    for (size_t i = 0; i < state.size(); i++)
        state[i].tensor.copy_(weights[i]);
}

void write_file(const char *path, const std::string &bytes)
{
    kd_error error = KD_ERROR_INIT;
    check(kd_file_write(path, bytes.data(), bytes.size(), &error), error);
}

} // namespace

kd_status kd_net_new(kd_net **out, uint64_t seed, kd_error *err)
{
    assert(out);
    *out = nullptr;
    return guarded(err, "making a network", [&] {
        std::unique_ptr<kd_net> net = make_net();
        initialise(*net->model, seed);
        *out = net.release();
    });
}

kd_status kd_net_load(kd_net **out, const char *path, kd_error *err)
{
    assert(out && path);
    *out = nullptr;
    return guarded(err, "loading a network", [&] {
        std::unique_ptr<kd_net> net = make_net();
        load(net.get(), path);
        *out = net.release();
    });
}

kd_status kd_net_save(const kd_net *net, const char *path, kd_error *err)
{
    assert(net && path);
    return guarded(err, "saving a network", [&] {
        const std::vector<NamedTensor> host = to_host(state_of(*net->model));
        write_file(path, format_safetensors(to_write(host), {{"format", "pt"}}));
    });
}

kd_status kd_net_save_pth(const kd_net *net, const char *path, kd_error *err)
{
    assert(net && path);
    return guarded(err, "saving a network", [&] {
        const std::vector<NamedTensor> host = to_host(state_of(*net->model));
        write_file(path, format_pth(to_write(host)));
    });
}

uint32_t kd_net_dim(const kd_net *net)
{
    assert(net);
    return static_cast<uint32_t>(net->model->dim());
}

bool kd_net_projects(const kd_net *net)
{
    assert(net);
    return !net->model->projection.is_empty();
}

kd_status kd_net_project(kd_net *net, uint32_t dim, uint64_t seed, kd_error *err)
{
    assert(net);
    return guarded(err, "adding a projection", [&] {
        check_dim("the network", dim);
        const torch::NoGradGuard no_grad;
        net->model->set_projection(dim);
        torch::nn::Linear &projection = net->model->projection;
        draw_linear(*projection, seed);
        if (dim == KD_NN_FEATURES) {
            projection->weight.copy_(torch::eye(dim));
            projection->bias.zero_();
        }
    });
}

kd_status kd_net_embed(
    const kd_net *net, const float *features, size_t n, float *embeddings, kd_error *err)
{
    assert(net && features && embeddings);
    return guarded(err, "embedding features", [&] {
        adopt_threads();
        const c10::InferenceMode inference;
        const torch::nn::Linear &projection = net->model->projection;
        const bool projects = !projection.is_empty();
        embed_features(projects ? projection->weight.to(torch::kCPU) : torch::Tensor(),
            projects ? projection->bias.to(torch::kCPU) : torch::Tensor(), features, n, true,
            embeddings);
    });
}

void kd_net_free(kd_net *net)
{
    delete net;
}
