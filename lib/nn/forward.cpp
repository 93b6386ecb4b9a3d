/* The fast way to an embedding on the CPU: batch normalisation folded into the convolutions, the
 * network written as TorchScript, and LibTorch's optimize_for_inference, which fuses ReLU and
 * addition into oneDNN's convolutions and keeps oneDNN's blocked layout between them. */
#include <bit>
#include <cassert>
#include <cinttypes>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>

#include <torch/script.h>

#include "lib/nn/nn_internal.hpp"

using namespace kd::nn;

struct kd_forward {
    torch::jit::Module module;
    torch::Device device;
    torch::Tensor weight, bias; /* of the projection, on the CPU; undefined without one */
    int64_t image_size;
    std::vector<int64_t> batches; /* warmed sizes, ascending; the last is the largest allowed */
    torch::Tensor padded;         /* room for the largest batch, N×S×S×3 */
};

namespace
{

constexpr double max_difference = 1e-3; /* relative; float32 gives about 1e-6 */

/* ---- The network as TorchScript ---- */

class Script
{
  public:
    explicit Script(ResNet18Impl &model) : module_("kindred_resnet18")
    {
        /* Without this attribute optimize_for_inference does nothing, and says nothing. */
        module_.register_attribute("training", c10::BoolType::get(), false);
        text_ << "def forward(self, x):\n";
        text_ << "    x = torch.relu(" << convolve(model.conv1, model.bn1, "x") << ")\n";
        text_ << "    x = torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])\n";
        for (torch::nn::Sequential &layer : model.layers)
            for (size_t i = 0; i < layer->size(); i++)
                add(layer->at<BlockImpl>(i));
        text_ << "    return torch.adaptive_avg_pool2d(x, [1, 1])\n";
    }
    torch::jit::Module finish(torch::Device device)
    {
        module_.define(text_.str());
        module_.to(device);
        module_.eval();
        return torch::jit::optimize_for_inference(module_);
    }

  private:
    void add(BlockImpl &block)
    {
        text_ << "    y = torch.relu(" << convolve(block.conv1, block.bn1, "x") << ")\n";
        text_ << "    y = " << convolve(block.conv2, block.bn2, "y") << "\n";
        if (!block.downsample.is_empty())
            text_ << "    x = "
                  << convolve(block.downsample[0]->as<torch::nn::Conv2dImpl>(),
                         block.downsample[1]->as<torch::nn::BatchNorm2dImpl>(), "x")
                  << "\n";
        text_ << "    x = torch.relu(torch.add(y, x))\n";
    }
    std::string convolve(
        const torch::nn::Conv2d &conv, const torch::nn::BatchNorm2d &norm, const char *input)
    {
        return convolve(conv.get(), norm.get(), input);
    }
    /* norm(conv(x)) = (w · scale) x + (bias - mean · scale), scale = weight / sqrt(var + eps) */
    std::string convolve(const torch::nn::Conv2dImpl *conv, const torch::nn::BatchNorm2dImpl *norm,
        const char *input)
    {
        const torch::Tensor scale =
            norm->weight.to(torch::kDouble) /
            (norm->running_var.to(torch::kDouble) + norm->options.eps()).sqrt();
        const torch::Tensor weight = conv->weight.to(torch::kDouble) * scale.reshape({-1, 1, 1, 1});
        const torch::Tensor bias = norm->bias - norm->running_mean * scale;
        const std::string n = std::to_string(count_++);
        module_.register_parameter("w" + n, weight.to(torch::kFloat).detach(), false);
        module_.register_parameter("b" + n, bias.to(torch::kFloat).detach(), false);
        const int64_t stride = conv->options.stride()->at(0);
        const int64_t padding = conv->weight.size(2) / 2;
        std::ostringstream call;
        call << "torch.conv2d(" << input << ", self.w" << n << ", self.b" << n << ", [" << stride
             << ", " << stride << "], [" << padding << ", " << padding << "])";
        return call.str();
    }

    torch::jit::Module module_;
    std::ostringstream text_;
    int count_ = 0;
};

/* ---- The self-check ---- */

/* Within its life convolutions run in LibTorch's own code instead of oneDNN's. */
class WithoutOneDnn
{
  public:
    WithoutOneDnn() : was_(at::globalContext().userEnabledMkldnn())
    {
        at::globalContext().setUserEnabledMkldnn(false);
    }
    ~WithoutOneDnn()
    {
        at::globalContext().setUserEnabledMkldnn(was_);
    }
    WithoutOneDnn(const WithoutOneDnn &) = delete;
    WithoutOneDnn &operator=(const WithoutOneDnn &) = delete;

  private:
    bool was_;
};

torch::Tensor run_module(kd_forward *forward, const torch::Tensor &images)
{
    torch::Tensor result = forward->module.forward({images.to(forward->device)}).toTensor();
    return result.flatten(1).to(torch::kCPU).contiguous();
}

/* Debian 13's oneDNN computes some shapes wrongly on some CPUs, so the plain network runs without
 * it: two results from the same wrong code would agree. */
void check_itself(kd_forward *forward, ResNet18 &plain)
{
    const int64_t size = forward->image_size;
    torch::Tensor image = torch::empty({1, size, size, 3});
    std::mt19937_64 generator(1);
    std::normal_distribution<float> draw;
    for (int64_t i = 0; i < image.numel(); i++)
        image.data_ptr<float>()[i] = draw(generator);
    const torch::Tensor view = view_pixels(image.data_ptr<float>(), 1, size);
    const torch::Tensor fast = run_module(forward, view);
    torch::Tensor reference;
    {
        const WithoutOneDnn without;
        reference = plain->features(view.contiguous());
    }
    const double length = reference.norm().item<double>();
    const double difference = (fast - reference).norm().item<double>();
    if (!std::isfinite(length))
        fail(KD_INTERNAL, "the network's weights give values that are not finite");
    if (!(difference <= max_difference * length))
        fail(KD_INTERNAL,
            "the optimised network differs from the plain one by %.3g (relative): %s computes "
            "wrongly on this machine",
            difference / length, kd_nn_describe());
}

/* ---- Batches ---- */

std::vector<int64_t> batch_sizes(int64_t max)
{
    std::vector<int64_t> sizes;
    for (int64_t n = 1; n < max; n *= 2)
        sizes.push_back(n);
    sizes.push_back(max);
    return sizes;
}

/* The first calls of a batch size cost far more than later ones: oneDNN makes its kernels, and
 * LibTorch's interpreter watches two runs before it settles. */
void warm(kd_forward *forward)
{
    for (const int64_t n : forward->batches)
        for (int i = 0; i < 2; i++)
            (void)run_module(forward, forward->padded.narrow(0, 0, n).permute({0, 3, 1, 2}));
}

/* How many of the n images that are left go into the next call, and in which warmed batch: padded
 * up where that wastes at most a quarter, else as many as fill a batch. */
void next_batch(const kd_forward *forward, int64_t n, int64_t *take, int64_t *batch)
{
    int64_t below = forward->batches.front();
    for (const int64_t size : forward->batches) {
        if (size >= n && (size - n) * 4 <= size) {
            *take = n;
            *batch = size;
            return;
        }
        if (size <= n)
            below = size;
    }
    *take = *batch = below;
}

/* oneDNN's ReLU makes a NaN a 0, so that it would not show in the result. */
bool all_finite(const float *values, size_t n)
{
    constexpr uint32_t exponent = 0x7F800000u;
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (std::bit_cast<uint32_t>(values[i]) & exponent) == exponent;
    return bad == 0;
}

/* features: n × KD_NN_FEATURES, filled. */
void run(kd_forward *forward, const float *pixels, size_t n, float *features)
{
    const size_t image_floats =
        3 * static_cast<size_t>(forward->image_size) * static_cast<size_t>(forward->image_size);
    for (size_t i = 0; i < n; i++)
        if (!all_finite(pixels + i * image_floats, image_floats))
            fail(KD_INVALID_ARGUMENT, "image %zu of the batch has a pixel that is not finite", i);
    for (size_t done = 0; done < n;) {
        int64_t take = 0;
        int64_t batch = 0;
        next_batch(forward, static_cast<int64_t>(n - done), &take, &batch);
        torch::Tensor images = view_pixels(pixels + done * image_floats, take, forward->image_size);
        if (batch > take) {
            forward->padded.narrow(0, 0, take).copy_(images.permute({0, 2, 3, 1}));
            images = forward->padded.narrow(0, 0, batch).permute({0, 3, 1, 2});
        }
        const torch::Tensor result = run_module(forward, images);
        std::memcpy(features + done * KD_NN_FEATURES, result.data_ptr<float>(),
            static_cast<size_t>(take) * KD_NN_FEATURES * sizeof *features);
        done += static_cast<size_t>(take);
    }
}

} // namespace

kd_status kd_forward_new(
    kd_forward **out, const kd_net *net, uint32_t image_size, uint32_t max_batch, kd_error *err)
{
    assert(out && net);
    *out = nullptr;
    return guarded(err, "freezing a network", [&] {
        check_image_size(image_size);
        if (max_batch == 0 || max_batch > KD_NN_MAX_BATCH)
            fail(KD_INVALID_ARGUMENT, "the largest batch is %" PRIu32 ", allowed 1..%u", max_batch,
                KD_NN_MAX_BATCH);
        adopt_threads();
        /* More than NoGradGuard: without autograd's dispatch key some releases (2.6) refuse
         * max_pool2d in oneDNN's layout. */
        const c10::InferenceMode inference;
        ResNet18 plain = copy_of(net->model, torch::kCPU);
        const int64_t size = image_size;
        const bool projects = !plain->projection.is_empty();
        auto forward = std::make_unique<kd_forward>(kd_forward{Script(*plain).finish(net->device),
            net->device, projects ? plain->projection->weight.detach() : torch::Tensor(),
            projects ? plain->projection->bias.detach() : torch::Tensor(), size,
            batch_sizes(max_batch), torch::zeros({max_batch, size, size, 3})});
        check_itself(forward.get(), plain);
        warm(forward.get());
        *out = forward.release();
    });
}

namespace
{

template <class Work>
kd_status with_batch(kd_forward *forward, size_t n, kd_error *err, Work &&work)
{
    const size_t max = static_cast<size_t>(forward->batches.back());
    if (n == 0 || n > max)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the batch has %zu images, allowed 1..%zu", n, max);
    return guarded(err, "embedding a batch", [&] {
        adopt_threads();
        const c10::InferenceMode inference; /* see kd_forward_new */
        work();
    });
}

} // namespace

kd_status kd_forward_run(
    kd_forward *forward, const float *pixels, size_t n, float *embeddings, kd_error *err)
{
    assert(forward && pixels && embeddings);
    return with_batch(forward, n, err, [&] {
        std::vector<float> features(n * KD_NN_FEATURES);
        run(forward, pixels, n, features.data());
        embed_features(forward->weight, forward->bias, features.data(), n, false, embeddings);
    });
}

kd_status kd_forward_features(
    kd_forward *forward, const float *pixels, size_t n, float *features, kd_error *err)
{
    assert(forward && pixels && features);
    return with_batch(forward, n, err, [&] { run(forward, pixels, n, features); });
}

void kd_forward_free(kd_forward *forward)
{
    delete forward;
}
