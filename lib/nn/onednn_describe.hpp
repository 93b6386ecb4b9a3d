/* lib/nn/onednn_describe.hpp: what is asked of oneDNN, in one form for its releases 2 and 3. */
#ifndef KD_NN_ONEDNN_DESCRIBE_HPP
#define KD_NN_ONEDNN_DESCRIBE_HPP

#include <optional>

#include <oneapi/dnnl/dnnl.hpp>

#include "lib/nn/onednn.hpp"
#include "lib/nn/winograd.h"

namespace kd::nn
{

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

const dnnl::engine &cpu();

/* What follows a convolution; scratchpads are the caller's. */
dnnl::primitive_attr attributes(bool add, bool relu);

/* Empty where the algorithm is not for such a convolution, such a type or such a CPU. */
dnnl::convolution_forward::primitive_desc describe_convolution(dnnl::algorithm algorithm,
    const ConvolutionWeights &conv, const memory::desc &source, const memory::desc &target,
    Type type, const dnnl::primitive_attr &attr);

/* The greatest of 3 × 3, stride 2. */
dnnl::pooling_forward::primitive_desc describe_pooling(
    const memory::desc &source, const memory::desc &target);

/* Where the floats of batch × channels × size × size lie, if it is as kd_winograd can take them. */
std::optional<kd_winograd_layout> layout_of(
    const memory &values, int64_t batch, int64_t channels, int64_t size);

} // namespace kd::nn

#endif
