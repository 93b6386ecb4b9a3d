#include "lib/nn/onednn_describe.hpp"

#include <utility>

namespace kd::nn
{

const dnnl::engine &cpu()
{
    static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    return engine;
}

dnnl::primitive_attr attributes(bool add, bool relu)
{
    dnnl::post_ops after;
    if (add)
        after.append_sum(1.0f);
#if DNNL_VERSION_MAJOR >= 3
    if (relu)
        after.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
    if (relu)
        after.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
    dnnl::primitive_attr attr;
    attr.set_post_ops(after);
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attr;
}

dnnl::convolution_forward::primitive_desc describe_convolution(dnnl::algorithm algorithm,
    const ConvolutionWeights &conv, const memory::desc &source, const memory::desc &target,
    Type type, const dnnl::primitive_attr &attr)
{
    const memory::desc weights({conv.out, conv.in, conv.kernel, conv.kernel}, type, Tag::any);
    const memory::desc bias({conv.out}, Type::f32, Tag::x);
    const memory::dims strides = {conv.stride, conv.stride};
    const memory::dims padding = {conv.padding, conv.padding};
    const auto kind = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
    return {cpu(), kind, algorithm, source, weights, bias, target, strides, padding, padding, attr,
        true};
#else
    return {{kind, algorithm, source, weights, bias, target, strides, padding, padding}, attr,
        cpu(), true};
#endif
}

std::optional<kd_winograd_layout> layout_of(
    const memory &values, int64_t batch, int64_t channels, int64_t size)
{
    const memory::desc desc = values.get_desc();
    const memory::dims dims = {batch, channels, size, size};
    const int64_t lanes = KD_WINOGRAD_LANES, all = channels / lanes;
    for (const auto &[tag, runs] : {std::pair{Tag::nChw8c, int64_t{1}},
             std::pair{Tag::nChw16c, int64_t{2}}, std::pair{Tag::nhwc, all}})
        if (channels % (runs * lanes) == 0 && desc == memory::desc(dims, Type::f32, tag)) {
            const int64_t pixel = runs * lanes;
            return kd_winograd_layout{
                channels * size * size, size * pixel, pixel, size * size * pixel, runs};
        }
    return std::nullopt;
}

dnnl::pooling_forward::primitive_desc describe_pooling(
    const memory::desc &source, const memory::desc &target)
{
    const memory::dims strides = {2, 2}, kernel = {3, 3}, padding = {1, 1};
    const auto kind = dnnl::prop_kind::forward_inference;
    const auto algorithm = dnnl::algorithm::pooling_max;
    const dnnl::primitive_attr attr = attributes(false, false);
#if DNNL_VERSION_MAJOR >= 3
    return {
        cpu(), kind, algorithm, source, target, strides, kernel, {0, 0}, padding, padding, attr};
#else
    return {{kind, algorithm, source, target, strides, kernel, padding, padding}, attr, cpu()};
#endif
}

} // namespace kd::nn
