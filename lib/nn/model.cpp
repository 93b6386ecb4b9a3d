#include "lib/nn/nn_internal.hpp"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdlib>

namespace kd::nn
{

namespace
{

torch::nn::Conv2d convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride)
{
    return torch::nn::Conv2d(
        torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

torch::nn::Sequential stage(int64_t in, int64_t channels, int64_t stride)
{
    return torch::nn::Sequential(Block(in, channels, stride), Block(channels, channels, 1));
}

bool is_bookkeeping(const std::string &name)
{
    return name.ends_with("num_batches_tracked");
}

torch::ScalarType scalar_type(Dtype dtype)
{
    switch (dtype) {
    case Dtype::f32:
        return torch::kFloat;
    case Dtype::f16:
        return torch::kHalf;
    default:
        return torch::kBFloat16;
    }
}

torch::Tensor take_tensor(
    const char *path, const TensorFile &file, const std::string &name, torch::IntArrayRef shape)
{
    const StoredTensor *const stored = file.find(name);
    if (!stored)
        fail(KD_INVALID_ARGUMENT, "%s has no tensor %s", path, name.c_str());
    if (stored->shape != shape.vec())
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s has the shape %s, needed is %s", path,
            name.c_str(), shape_text(stored->shape).c_str(), shape_text(shape.vec()).c_str());
    if (stored->dtype != Dtype::f32 && stored->dtype != Dtype::f16 && stored->dtype != Dtype::bf16)
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s has the type %s, allowed are F32, F16 and BF16",
            path, name.c_str(), dtype_name(stored->dtype));
    torch::Tensor tensor = torch::empty(shape, scalar_type(stored->dtype));
    copy_elements(*stored, tensor.data_ptr());
    tensor = tensor.to(torch::kFloat);
    if (!torch::isfinite(tensor).all().item<bool>())
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s holds a value that is not finite", path,
            name.c_str());
    return tensor;
}

} // namespace

BlockImpl::BlockImpl(int64_t in, int64_t channels, int64_t stride)
    : conv1(register_module("conv1", convolution(in, channels, 3, stride))),
      conv2(register_module("conv2", convolution(channels, channels, 3, 1))),
      bn1(register_module("bn1", torch::nn::BatchNorm2d(channels))),
      bn2(register_module("bn2", torch::nn::BatchNorm2d(channels)))
{
    if (stride != 1 || in != channels)
        downsample = register_module(
            "downsample", torch::nn::Sequential(convolution(in, channels, 1, stride),
                              torch::nn::BatchNorm2d(channels)));
}

torch::Tensor BlockImpl::forward(const torch::Tensor &input)
{
    const torch::Tensor inner = bn1(conv1(input)).relu_();
    const torch::Tensor shortcut = downsample.is_empty() ? input : downsample->forward(input);
    return (bn2(conv2(inner)) + shortcut).relu_();
}

ResNet18Impl::ResNet18Impl()
    : conv1(register_module("conv1", convolution(3, 64, 7, 2))),
      bn1(register_module("bn1", torch::nn::BatchNorm2d(64))),
      layers{register_module("layer1", stage(64, 64, 1)),
          register_module("layer2", stage(64, 128, 2)),
          register_module("layer3", stage(128, 256, 2)),
          register_module("layer4", stage(256, 512, 2))}
{
}

torch::Tensor ResNet18Impl::features(const torch::Tensor &images)
{
    torch::Tensor x = bn1(conv1(images)).relu_();
    x = torch::max_pool2d(x, 3, 2, 1);
    for (torch::nn::Sequential &layer : layers)
        x = layer->forward(x);
    return torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1);
}

torch::Tensor ResNet18Impl::project(const torch::Tensor &features) const
{
    return projection ? torch::linear(features, projection->weight, projection->bias) : features;
}

void ResNet18Impl::set_projection(int64_t dim)
{
    if (projection)
        unregister_module("projection");
    projection = nullptr;
    if (dim == 0)
        return;
    projection =
        register_module("projection", torch::nn::Linear(static_cast<int64_t>(KD_NN_FEATURES), dim));
    projection->to(conv1->weight.device());
}

int64_t ResNet18Impl::dim() const
{
    return projection ? projection->weight.size(0) : static_cast<int64_t>(KD_NN_FEATURES);
}

void draw_linear(torch::nn::LinearImpl &linear, uint64_t seed)
{
    std::mt19937_64 generator(seed);
    const auto bound =
        static_cast<float>(1 / std::sqrt(static_cast<double>(linear.weight.size(1))));
    const std::uniform_real_distribution<float> draw(-bound, bound);
    draw_into(linear.weight, draw, &generator);
    draw_into(linear.bias, draw, &generator);
}

namespace
{

/* LibTorch lets convolutions on a GPU round their inputs to 10 bits (TF32), and their gradients add
 * up in any order: float32 is to mean float32, and a resumed training the same as an unbroken one.
 */
torch::Device first_device()
{
    if (!torch::cuda::is_available())
        return torch::kCPU;
    (void)setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0); /* cuBLAS adds in one order with it */
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setDeterministicCuDNN(true);
    return torch::kCUDA;
}

} // namespace

torch::Device best_device()
{
    static const torch::Device device = first_device();
    return device;
}

torch::ScalarType scalar_type(kd_precision precision)
{
    return precision == KD_PRECISION_BFLOAT16 ? torch::kBFloat16 : torch::kFloat;
}

torch::MemoryFormat best_layout(torch::Device device, kd_precision precision)
{
    return device.is_cuda() && precision == KD_PRECISION_FLOAT32
               ? torch::MemoryFormat::Contiguous
               : torch::MemoryFormat::ChannelsLast;
}

void lay_out(ResNet18Impl &model, torch::MemoryFormat layout)
{
    for (torch::Tensor &parameter : model.parameters())
        if (parameter.dim() == 4)
            parameter.set_data(parameter.detach().contiguous(layout));
}

namespace
{

void sort_by_name(std::vector<NamedTensor> &tensors)
{
    std::sort(tensors.begin(), tensors.end(),
        [](const NamedTensor &a, const NamedTensor &b) { return a.name < b.name; });
}

} // namespace

std::vector<NamedTensor> parameters_of(const ResNet18Impl &model)
{
    std::vector<NamedTensor> parameters;
    for (const auto &item : model.named_parameters())
        parameters.push_back({item.key(), item.value()});
    sort_by_name(parameters);
    return parameters;
}

std::vector<NamedTensor> state_of(const ResNet18Impl &model)
{
    std::vector<NamedTensor> state = parameters_of(model);
    for (const auto &item : model.named_buffers())
        if (!is_bookkeeping(item.key()))
            state.push_back({item.key(), item.value()});
    sort_by_name(state);
    return state;
}

bool in_backbone(const std::string &name)
{
    return !name.starts_with("projection.") && !name.starts_with("head.");
}

void embed_features(const torch::Tensor &weight, const torch::Tensor &bias, const float *features,
    size_t n, bool zeros, float *embeddings)
{
    torch::Tensor rows = torch::from_blob(const_cast<float *>(features),
        {static_cast<int64_t>(n), static_cast<int64_t>(KD_NN_FEATURES)});
    if (weight.defined())
        rows = torch::linear(rows, weight, bias);
    const auto dim = static_cast<size_t>(rows.size(1));
    const float *from = rows.data_ptr<float>();
    for (size_t i = 0; i < n; i++, from += dim, embeddings += dim) {
        double sum = 0;
        for (size_t d = 0; d < dim; d++)
            sum += static_cast<double>(from[d]) * from[d];
        if (!std::isfinite(sum) || (sum == 0 && !zeros))
            fail(KD_INTERNAL, "image %zu of the batch gives an embedding that is %s", i,
                sum == 0 ? "all zeros" : "not finite");
        const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
        for (size_t d = 0; d < dim; d++)
            embeddings[d] = static_cast<float>(from[d] * scale);
    }
}

ResNet18 copy_of(const ResNet18 &model, torch::Device device)
{
    torch::NoGradGuard no_grad;
    ResNet18 copy;
    copy->set_projection(model->projection ? model->dim() : 0);
    copy->to(device);
    const std::vector<NamedTensor> from = state_of(*model);
    const std::vector<NamedTensor> to = state_of(*copy);
    for (size_t i = 0; i < from.size(); i++)
        to[i].tensor.copy_(from[i].tensor);
    copy->eval();
    return copy;
}

std::vector<torch::Tensor> take_state(const char *path, const TensorFile &file,
    const std::vector<NamedTensor> &state, const std::string &prefix)
{
    std::vector<torch::Tensor> tensors;
    for (const NamedTensor &item : state)
        tensors.push_back(take_tensor(path, file, prefix + item.name, item.tensor.sizes()));
    return tensors;
}

void take_numbers(
    const char *path, const TensorFile &file, const char *name, Dtype dtype, size_t n, void *out)
{
    const StoredTensor *const stored = file.find(name);
    size_t count = 1;
    for (size_t i = 0; stored && i < stored->shape.size(); i++)
        count *= static_cast<size_t>(stored->shape[i]);
    if (!stored || stored->dtype != dtype || count != n)
        fail(KD_INVALID_ARGUMENT,
            "%s is no checkpoint of such a training: it has no %s of %zu numbers", path, name, n);
    copy_elements(*stored, out);
}

std::vector<NamedTensor> to_host(const std::vector<NamedTensor> &tensors)
{
    std::vector<NamedTensor> host;
    for (const NamedTensor &item : tensors)
        host.push_back({item.name, item.tensor.detach().to(torch::kCPU).contiguous()});
    return host;
}

std::vector<TensorToWrite> to_write(const std::vector<NamedTensor> &host)
{
    std::vector<TensorToWrite> list;
    for (const NamedTensor &item : host) {
        const torch::ScalarType type = item.tensor.scalar_type();
        const Dtype dtype = type == torch::kLong     ? Dtype::i64
                            : type == torch::kDouble ? Dtype::f64
                                                     : Dtype::f32;
        list.push_back({item.name, dtype, item.tensor.sizes().vec(), item.tensor.data_ptr()});
    }
    return list;
}

torch::Tensor view_pixels(const float *pixels, int64_t n, int64_t image_size)
{
    /* LibTorch has no tensor of constants; nothing here writes to it. */
    return torch::from_blob(const_cast<float *>(pixels), {n, image_size, image_size, 3})
        .permute({0, 3, 1, 2});
}

void check_image_size(uint32_t image_size)
{
    if (image_size < KD_NN_MIN_IMAGE_SIZE || image_size > KD_NN_MAX_IMAGE_SIZE)
        fail(KD_INVALID_ARGUMENT, "the image size is %" PRIu32 ", allowed %u..%u", image_size,
            KD_NN_MIN_IMAGE_SIZE, KD_NN_MAX_IMAGE_SIZE);
}

} // namespace kd::nn
