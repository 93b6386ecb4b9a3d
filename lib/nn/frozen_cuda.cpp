/* The fast way to features on a GPU: cuDNN's convolutions with ReLU and addition in them, on a
 * stream of the object's own, pixels and features through pinned memory. */
#include <cstring>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/core/StreamGuard.h>

#include "lib/nn/frozen.hpp"
#include "lib/nn/staging.hpp"

namespace kd::nn
{

namespace
{

class CudaFrozen : public Frozen
{
  public:
    CudaFrozen(const FoldedNet &net, int64_t image_size, int64_t max_batch, torch::Device device,
        kd_precision precision);
    int64_t run(const float *pixels, int64_t n, int64_t room, float *features) override;
    size_t bytes() const override;

  private:
    Folded moved(const Folded &conv, torch::Device device) const;
    torch::Tensor compute(const torch::Tensor &images) const;

    c10::Stream stream_;
    torch::ScalarType type_;
    torch::MemoryFormat layout_;
    FoldedNet net_;
    int64_t image_size_;
    Staging staging_;
    torch::Tensor features_; /* pinned; of the largest batch */
};

CudaFrozen::CudaFrozen(const FoldedNet &net, int64_t image_size, int64_t max_batch,
    torch::Device device, kd_precision precision)
    : stream_(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device)),
      type_(scalar_type(precision)), layout_(best_layout(device, precision)),
      image_size_(image_size), staging_(device)
{
    const c10::StreamGuard guard(stream_);
    net_.stem = moved(net.stem, device);
    for (const FoldedBlock &block : net.blocks) {
        net_.blocks.push_back({moved(block.conv1, device), moved(block.conv2, device), {}});
        if (block.downsample)
            net_.blocks.back().downsample = moved(*block.downsample, device);
    }
    const auto pinned = torch::TensorOptions(torch::kFloat).pinned_memory(true);
    features_ = torch::empty({max_batch, static_cast<int64_t>(KD_NN_FEATURES)}, pinned);
}

Folded CudaFrozen::moved(const Folded &conv, torch::Device device) const
{
    return {conv.weight.to(device, type_).contiguous(layout_), conv.bias.to(device, type_),
        conv.stride, conv.padding};
}

/* LibTorch's allocator has the activations. */
size_t CudaFrozen::bytes() const
{
    const auto of = [](const Folded &conv) { return conv.weight.nbytes() + conv.bias.nbytes(); };
    size_t all = of(net_.stem);
    for (const FoldedBlock &block : net_.blocks) {
        all += of(block.conv1) + of(block.conv2);
        if (block.downsample)
            all += of(*block.downsample);
    }
    return all;
}

torch::Tensor convolve(const Folded &c, const torch::Tensor &x)
{
    return torch::conv2d(x, c.weight, c.bias, c.stride, c.padding);
}

torch::Tensor convolve_relu(const Folded &c, const torch::Tensor &x)
{
    return at::cudnn_convolution_relu(
        x, c.weight, c.bias, {c.stride, c.stride}, {c.padding, c.padding}, {1, 1}, 1);
}

torch::Tensor convolve_add_relu(const Folded &c, const torch::Tensor &x, const torch::Tensor &added)
{
    return at::cudnn_convolution_add_relu(
        x, c.weight, added, 1, c.bias, {c.stride, c.stride}, {c.padding, c.padding}, {1, 1}, 1);
}

torch::Tensor CudaFrozen::compute(const torch::Tensor &images) const
{
    torch::Tensor x = images.to(type_).contiguous(layout_);
    x = torch::max_pool2d(convolve_relu(net_.stem, x), 3, 2, 1);
    for (const FoldedBlock &block : net_.blocks) {
        const torch::Tensor shortcut = block.downsample ? convolve(*block.downsample, x) : x;
        x = convolve_add_relu(block.conv2, convolve_relu(block.conv1, x), shortcut);
    }
    return x.mean({2, 3}, false, torch::kFloat);
}

int64_t CudaFrozen::run(const float *pixels, int64_t n, int64_t room, float *features)
{
    const c10::StreamGuard guard(stream_);
    const Staged staged = staging_.send(pixels, n, room, image_size_);
    torch::Tensor host = features_.narrow(0, 0, n);
    if (staged.bad < 0)
        host.copy_(compute(staged.images).narrow(0, 0, n), true);
    stream_.synchronize();
    if (staged.bad >= 0)
        return staged.bad;
    std::memcpy(features, host.data_ptr<float>(),
        static_cast<size_t>(n) * KD_NN_FEATURES * sizeof *features);
    return -1;
}

} // namespace

std::unique_ptr<Frozen> freeze_on_cuda(const FoldedNet &net, int64_t image_size, int64_t max_batch,
    torch::Device device, kd_precision precision)
{
    return std::make_unique<CudaFrozen>(net, image_size, max_batch, device, precision);
}

} // namespace kd::nn
