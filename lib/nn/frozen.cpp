/* The fast way to features on the CPU: the folded network written as TorchScript, and LibTorch's
 * optimize_for_inference, which fuses ReLU and addition into oneDNN's convolutions and keeps
 * oneDNN's blocked layout between them. */
#include "lib/nn/frozen.hpp"

#include <cstring>
#include <sstream>

#include <torch/script.h>

#include "lib/nn/staging.hpp"

namespace kd::nn
{

namespace
{

/* norm(conv(x)) = (w · scale) x + (bias - mean · scale), scale = weight / sqrt(var + eps) */
Folded fold_one(const torch::nn::Conv2dImpl &conv, const torch::nn::BatchNorm2dImpl &norm)
{
    const torch::Tensor scale = norm.weight.to(torch::kDouble) /
                                (norm.running_var.to(torch::kDouble) + norm.options.eps()).sqrt();
    const torch::Tensor weight = conv.weight.to(torch::kDouble) * scale.reshape({-1, 1, 1, 1});
    const torch::Tensor bias = norm.bias - norm.running_mean * scale;
    return {weight.to(torch::kFloat).detach(), bias.to(torch::kFloat).detach(),
        conv.options.stride()->at(0), conv.weight.size(2) / 2};
}

/* ---- The network as TorchScript ---- */

class Script
{
  public:
    explicit Script(const FoldedNet &net) : module_("kindred_resnet18")
    {
        /* Without this attribute optimize_for_inference does nothing, and says nothing. */
        module_.register_attribute("training", c10::BoolType::get(), false);
        text_ << "def forward(self, x):\n";
        text_ << "    x = torch.relu(" << convolve(net.stem, "x") << ")\n";
        text_ << "    x = torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])\n";
        for (const FoldedBlock &block : net.blocks)
            add(block);
        text_ << "    return torch.adaptive_avg_pool2d(x, [1, 1])\n";
    }
    torch::jit::Module finish()
    {
        module_.define(text_.str());
        module_.eval();
        return torch::jit::optimize_for_inference(module_);
    }

  private:
    void add(const FoldedBlock &block)
    {
        text_ << "    y = torch.relu(" << convolve(block.conv1, "x") << ")\n";
        text_ << "    y = " << convolve(block.conv2, "y") << "\n";
        if (block.downsample)
            text_ << "    x = " << convolve(*block.downsample, "x") << "\n";
        text_ << "    x = torch.relu(torch.add(y, x))\n";
    }
    std::string convolve(const Folded &conv, const char *input)
    {
        const std::string n = std::to_string(count_++);
        module_.register_parameter("w" + n, conv.weight, false);
        module_.register_parameter("b" + n, conv.bias, false);
        std::ostringstream call;
        call << "torch.conv2d(" << input << ", self.w" << n << ", self.b" << n << ", ["
             << conv.stride << ", " << conv.stride << "], [" << conv.padding << ", " << conv.padding
             << "])";
        return call.str();
    }

    torch::jit::Module module_;
    std::ostringstream text_;
    int count_ = 0;
};

class CpuFrozen : public Frozen
{
  public:
    CpuFrozen(const FoldedNet &net, int64_t image_size, int64_t max_batch)
        : module_(Script(net).finish()), image_size_(image_size),
          padded_(torch::zeros({max_batch, image_size, image_size, 3}))
    {
    }
    int64_t run(const float *pixels, int64_t n, int64_t room, float *features) override;

  private:
    torch::jit::Module module_;
    int64_t image_size_;
    torch::Tensor padded_; /* room for the largest batch, N×S×S×3 */
};

int64_t CpuFrozen::run(const float *pixels, int64_t n, int64_t room, float *features)
{
    const int64_t image_floats = image_size_ * image_size_ * 3;
    /* oneDNN's ReLU makes a NaN a 0, so that it would not show in the result. */
    for (int64_t i = 0; i < n; i++)
        if (!all_finite(pixels + i * image_floats, image_floats))
            return i;
    torch::Tensor images = view_pixels(pixels, n, image_size_);
    if (room > n) {
        padded_.narrow(0, 0, n).copy_(images.permute({0, 2, 3, 1}));
        images = padded_.narrow(0, 0, room).permute({0, 3, 1, 2});
    }
    const torch::Tensor result = module_.forward({images}).toTensor().flatten(1).contiguous();
    std::memcpy(features, result.data_ptr<float>(),
        static_cast<size_t>(n) * KD_NN_FEATURES * sizeof *features);
    return -1;
}

} // namespace

FoldedNet fold(ResNet18Impl &model)
{
    FoldedNet net = {fold_one(*model.conv1, *model.bn1), {}};
    for (torch::nn::Sequential &layer : model.layers)
        for (size_t i = 0; i < layer->size(); i++) {
            BlockImpl &block = layer->at<BlockImpl>(i);
            FoldedBlock folded = {
                fold_one(*block.conv1, *block.bn1), fold_one(*block.conv2, *block.bn2), {}};
            if (!block.downsample.is_empty())
                folded.downsample = fold_one(*block.downsample[0]->as<torch::nn::Conv2dImpl>(),
                    *block.downsample[1]->as<torch::nn::BatchNorm2dImpl>());
            net.blocks.push_back(folded);
        }
    return net;
}

std::unique_ptr<Frozen> freeze_on_cpu(const FoldedNet &net, int64_t image_size, int64_t max_batch)
{
    return std::make_unique<CpuFrozen>(net, image_size, max_batch);
}

} // namespace kd::nn
