/* onednn.hpp by the oneDNN that a wheel's LibTorch has inside, through the fused operators that
 * torch.compile uses too, and by kd_winograd. Another oneDNN may not be linked beside it: each
 * would bind to weak symbols of the other, whose tables are laid out otherwise. */
#include "lib/nn/onednn.hpp"

#include <algorithm>
#include <cstring>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/Parallel.h>

#include "lib/nn/nn_internal.hpp"
#include "lib/nn/winograd.h"

namespace kd::nn
{

namespace
{

struct Convolution {
    torch::Tensor weight, bias;
    /* weight in the layout that oneDNN wants for one image, which it would be brought into each
     * time: that costs as much as a small layer's arithmetic. */
    torch::Tensor packed;
    int64_t stride, padding;
    /* kd_winograd's weights, where it is for this one: as all such here it ends with ReLU. */
    torch::Tensor filtered;
};

struct ConvolutionBlock {
    Convolution conv1, conv2;
    std::optional<Convolution> downsample;
};

template <class... Arguments>
c10::IValue call(const char *name, const char *overload, Arguments &&...arguments)
{
    torch::jit::Stack stack;
    torch::jit::push(stack, std::forward<Arguments>(arguments)...);
    c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).callBoxed(&stack);
    return stack.front();
}

/* Scalars that an operator behind a convolution takes: ReLU takes none. */
c10::IValue no_scalars()
{
    return c10::impl::GenericList(c10::OptionalType::create(c10::NumberType::get()));
}

const torch::Tensor &weight_for(const Convolution &conv, const torch::Tensor &x)
{
    return x.size(0) == 1 && conv.packed.defined() ? conv.packed : conv.weight;
}

bool pays(const Convolution &conv, const torch::Tensor &x)
{
    return conv.filtered.defined() && x.is_contiguous(torch::MemoryFormat::ChannelsLast) &&
           kd_winograd_pays(x.size(1), x.size(1), x.size(0), x.size(2));
}

/* ReLU of the convolution and, with add, what is in y. Both are channels last; scratch has a row
 * for each thread. */
void filter(const Convolution &conv, const torch::Tensor &x, const torch::Tensor &y, bool add,
    const torch::Tensor &scratch)
{
    const int64_t channels = x.size(1), size = x.size(2), runs = channels / KD_WINOGRAD_LANES;
    const kd_winograd_layout layout = {size * size * channels, size * channels, channels, 0, runs};
    const kd_winograd all = {channels, channels, x.size(0), size, conv.filtered.data_ptr<float>(),
        conv.bias.data_ptr<float>(), layout, layout, add, true};
    const int64_t shares = scratch.size(0), floats = scratch.size(1);
    const float *const from = x.data_ptr<float>();
    float *const to = y.data_ptr<float>(), *const own = scratch.data_ptr<float>();
    at::parallel_for(0, shares, 1, [&](int64_t share, int64_t end) {
        for (; share < end; share++)
            kd_winograd_run(&all, from, to, share, shares, own + share * floats);
    });
}

torch::Tensor convolve(const Convolution &conv, const torch::Tensor &x, const char *after,
    const torch::Tensor &scratch)
{
    if (pays(conv, x)) {
        const torch::Tensor y = torch::empty_like(x);
        filter(conv, x, y, false, scratch);
        return y;
    }
    const std::vector<int64_t> padding(2, conv.padding), stride(2, conv.stride), dilation(2, 1);
    return call("mkldnn::_convolution_pointwise", "", x, weight_for(conv, x), conv.bias, padding,
        stride, dilation, int64_t{1}, std::string(after), no_scalars(), std::string())
        .toTensor();
}

/* ReLU of the sum, in place of `added`. */
torch::Tensor convolve_add(const Convolution &conv, const torch::Tensor &x,
    const torch::Tensor &added, const torch::Tensor &scratch)
{
    if (pays(conv, x) && added.is_contiguous(torch::MemoryFormat::ChannelsLast)) {
        filter(conv, x, added, true, scratch);
        return added;
    }
    const std::vector<int64_t> padding(2, conv.padding), stride(2, conv.stride), dilation(2, 1);
    return call("mkldnn::_convolution_pointwise_", "binary", added, x, weight_for(conv, x),
        conv.bias, padding, stride, dilation, int64_t{1}, std::string("add"), c10::IValue(),
        std::string("relu"), no_scalars(), std::string())
        .toTensor();
}

} // namespace

struct OneDnnNet::Room {
};

struct OneDnnNet::Buffers {
    torch::ScalarType type;
    int64_t image_size;
    torch::Tensor padded; /* room for the largest batch, N×S×S×3 */
    /* kd_winograd's, a row for each thread */
    torch::Tensor scratch = torch::empty({at::get_num_threads(), 0});
    Convolution stem;
    std::vector<ConvolutionBlock> blocks;

    /* For images of size × size, which becomes that of the result. */
    Convolution take(const ConvolutionWeights &conv, int64_t *size)
    {
        const int64_t shape[] = {conv.out, conv.in, conv.kernel, conv.kernel};
        const torch::Tensor weight = torch::from_blob(const_cast<float *>(conv.weight), shape);
        const torch::Tensor bias = torch::from_blob(const_cast<float *>(conv.bias), {conv.out});
        Convolution taken = {weight.clone().to(type).contiguous(torch::MemoryFormat::ChannelsLast),
            bias.clone().to(type), {}, conv.stride, conv.padding, {}};
        if (type == torch::kFloat && conv.kernel == 3 && conv.stride == 1 && conv.padding == 1 &&
            conv.in == conv.out) {
            taken.filtered =
                torch::empty(static_cast<int64_t>(kd_winograd_weight_floats(conv.in, conv.out)));
            kd_winograd_prepare(taken.filtered.data_ptr<float>(), conv.weight, conv.in, conv.out);
            kd_winograd needs = {};
            needs.in = needs.out = conv.in;
            const auto floats = static_cast<int64_t>(kd_winograd_scratch_floats(&needs));
            if (floats > scratch.size(1))
                scratch = torch::empty({scratch.size(0), floats});
        }
        if (!taken.filtered.defined() || !kd_winograd_pays(conv.in, conv.out, 1, *size)) {
            const std::vector<int64_t> padding(2, conv.padding), stride(2, conv.stride), ones(2, 1);
            const std::vector<int64_t> input = {1, conv.in, *size, *size};
            taken.packed = call("mkldnn::_reorder_convolution_weight", "", taken.weight, padding,
                stride, ones, int64_t{1}, input)
                               .toTensor();
        }
        *size = (*size + 2 * conv.padding - conv.kernel) / conv.stride + 1;
        return taken;
    }

    /* Of all images of x; own has a row for each thread that works on them. */
    torch::Tensor features_of(torch::Tensor x, const torch::Tensor &own) const
    {
        x = torch::max_pool2d(convolve(stem, x.to(type), "relu", own), 3, 2, 1);
        for (const ConvolutionBlock &block : blocks) {
            const torch::Tensor y = convolve(block.conv1, x, "relu", own);
            if (block.downsample)
                x = convolve(*block.downsample, x, "none", own);
            x = convolve_add(block.conv2, y, x, own);
        }
        return x.mean({2, 3}, false, torch::kFloat).contiguous();
    }
};

OneDnnNet::OneDnnNet(const NetWeights &weights, int64_t image_size,
    const std::vector<int64_t> &batches, bool bfloat16)
    : buffers_(std::make_unique<Buffers>())
{
    Buffers &to = *buffers_;
    to.type = bfloat16 ? torch::kBFloat16 : torch::kFloat;
    to.image_size = image_size;
    to.padded = torch::zeros({batches.back(), image_size, image_size, 3});
    int64_t size = image_size;
    to.stem = to.take(weights.stem, &size);
    size = (size + 2 - 3) / 2 + 1; /* the pooling */
    for (const BlockWeights &block : weights.blocks) {
        int64_t short_way = size;
        ConvolutionBlock taken = {to.take(block.conv1, &size), to.take(block.conv2, &size), {}};
        if (block.downsample)
            taken.downsample = to.take(*block.downsample, &short_way);
        to.blocks.push_back(taken);
    }
}

OneDnnNet::~OneDnnNet() = default;

/* LibTorch's allocator has the activations. */
size_t OneDnnNet::bytes() const
{
    const auto of = [](const Convolution &conv) {
        return conv.weight.nbytes() * (conv.packed.defined() ? 2 : 1) + conv.bias.nbytes() +
               (conv.filtered.defined() ? conv.filtered.nbytes() : 0);
    };
    size_t all = buffers_->padded.nbytes() + buffers_->scratch.nbytes() + of(buffers_->stem);
    for (const ConvolutionBlock &block : buffers_->blocks) {
        all += of(block.conv1) + of(block.conv2);
        if (block.downsample)
            all += of(*block.downsample);
    }
    return all;
}

void OneDnnNet::run(const float *pixels, int64_t n, int64_t room, float *features)
{
    const Buffers &from = *buffers_;
    torch::Tensor x = view_pixels(pixels, n, from.image_size);
    if (room > n) {
        from.padded.narrow(0, 0, n).copy_(x.permute({0, 2, 3, 1}));
        x = from.padded.narrow(0, 0, room).permute({0, 3, 1, 2});
    }
    /* Where they can be divided evenly, each thread takes its own images through the network. */
    const int64_t threads = from.scratch.size(0), lanes = room % threads == 0 ? threads : 1;
    const int64_t each = room / lanes;
    at::parallel_for(0, lanes, 1, [&](int64_t lane, int64_t end) {
        const c10::InferenceMode inference; /* of each thread */
        for (; lane < end && lane * each < n; lane++) {
            const int64_t first = lane * each, some = std::min(each, n - first);
            const torch::Tensor y = from.features_of(
                x.narrow(0, first, each), from.scratch.narrow(0, lane, threads / lanes));
            std::memcpy(features + first * y.size(1), y.data_ptr<float>(),
                static_cast<size_t>(some * y.size(1)) * sizeof *features);
        }
    });
}

bool onednn_has_bfloat16()
{
    return call("mkldnn::_is_mkldnn_bf16_supported", "").toBool();
}

const char *onednn_describe()
{
    return "CPU";
}

} // namespace kd::nn
