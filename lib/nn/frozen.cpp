/* The fast way to features on the CPU: the folded network in oneDNN's primitives. */
#include "lib/nn/frozen.hpp"

#include "lib/nn/onednn.hpp"
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
    return {weight.to(torch::kFloat).contiguous().detach(), bias.to(torch::kFloat).detach(),
        conv.options.stride()->at(0), conv.weight.size(2) / 2};
}

ConvolutionWeights weights_of(const Folded &conv)
{
    return {conv.weight.data_ptr<float>(), conv.bias.data_ptr<float>(), conv.weight.size(1),
        conv.weight.size(0), conv.weight.size(2), conv.stride, conv.padding};
}

NetWeights weights_of(const FoldedNet &net)
{
    NetWeights weights = {weights_of(net.stem), {}};
    for (const FoldedBlock &block : net.blocks) {
        weights.blocks.push_back({weights_of(block.conv1), weights_of(block.conv2), {}});
        if (block.downsample)
            weights.blocks.back().downsample = weights_of(*block.downsample);
    }
    return weights;
}

class CpuFrozen : public Frozen
{
  public:
    CpuFrozen(const FoldedNet &net, int64_t image_size, const std::vector<int64_t> &batches,
        kd_precision precision)
        : image_floats_(image_size * image_size * 3),
          net_(weights_of(net), image_size, batches, precision == KD_PRECISION_BFLOAT16)
    {
    }
    int64_t run(const float *pixels, int64_t n, int64_t room, float *features) override;
    size_t bytes() const override
    {
        return net_.bytes();
    }

  private:
    int64_t image_floats_;
    OneDnnNet net_;
};

int64_t CpuFrozen::run(const float *pixels, int64_t n, int64_t room, float *features)
{
    /* oneDNN's ReLU makes a NaN a 0, so that it would not show in the result. */
    for (int64_t i = 0; i < n; i++)
        if (!all_finite(pixels + i * image_floats_, image_floats_))
            return i;
    net_.run(pixels, n, room, features);
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

std::unique_ptr<Frozen> freeze_on_cpu(const FoldedNet &net, int64_t image_size,
    const std::vector<int64_t> &batches, kd_precision precision)
{
    return std::make_unique<CpuFrozen>(net, image_size, batches, precision);
}

} // namespace kd::nn
