/* lib/nn/nn_internal.hpp: ResNet18 as a LibTorch module, and what forward and training share. Each
 * unit that includes it takes LibTorch's 15 seconds to compile. */
#ifndef KD_NN_INTERNAL_HPP
#define KD_NN_INTERNAL_HPP

#include <random>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "lib/nn/fault.hpp"
#include "lib/nn/nn.h"
#include "lib/nn/tensors.hpp"

namespace kd::nn
{

/* Two 3×3 convolutions beside a shortcut, which is a 1×1 convolution where the shape changes. */
struct BlockImpl : torch::nn::Module {
    BlockImpl(int64_t in, int64_t channels, int64_t stride);
    torch::Tensor forward(const torch::Tensor &input);

    torch::nn::Conv2d conv1, conv2;
    torch::nn::BatchNorm2d bn1, bn2;
    torch::nn::Sequential downsample{nullptr};
};
TORCH_MODULE(Block);

struct ResNet18Impl : torch::nn::Module {
    ResNet18Impl();
    torch::Tensor features(const torch::Tensor &images); /* N×3×S×S gives N×512 */
    torch::Tensor project(const torch::Tensor &features) const;
    void set_projection(int64_t dim); /* with values of no meaning; 0: none */
    int64_t dim() const;

    torch::nn::Conv2d conv1;
    torch::nn::BatchNorm2d bn1;
    torch::nn::Sequential layers[4];
    torch::nn::Linear projection{nullptr};
};
TORCH_MODULE(ResNet18);

struct NamedTensor {
    std::string name; /* torchvision's */
    torch::Tensor tensor;
};

torch::Device best_device();

torch::ScalarType scalar_type(kd_precision precision);

/* In which a device's convolutions of a precision are fastest: channels last, but channels first
 * for cuDNN's in float32, which without TF32 are matrix products on the plain cores (14 % at batch
 * 32; docs/gpu.md). */
torch::MemoryFormat best_layout(torch::Device device, kd_precision precision);
/* Lays the convolutions' weights so; every later copy_ keeps it. */
void lay_out(ResNet18Impl &model, torch::MemoryFormat layout);

/* Parameters and running statistics, in order of name; num_batches_tracked is left out. */
std::vector<NamedTensor> state_of(const ResNet18Impl &model);
std::vector<NamedTensor> parameters_of(const ResNet18Impl &model);
bool in_backbone(const std::string &name);

/* Fills a tensor with values drawn by the standard library's generator, which is the same for every
 * LibTorch and device. */
template <class Distribution>
void draw_into(torch::Tensor tensor, Distribution draw, std::mt19937_64 *generator)
{
    torch::NoGradGuard no_grad;
    torch::Tensor host = torch::empty(tensor.sizes());
    float *const values = host.data_ptr<float>();
    for (int64_t i = 0; i < host.numel(); i++)
        values[i] = draw(*generator);
    tensor.copy_(host);
}

/* Values as torch.nn.Linear's first ones. */
void draw_linear(torch::nn::LinearImpl &linear, uint64_t seed);

/* n × KD_NN_FEATURES to rows of length 1, on the CPU, through the projection where weight is
 * defined. Throws for a row that is not finite, or all zeros where zeros are not allowed. */
void embed_features(const torch::Tensor &weight, const torch::Tensor &bias, const float *features,
    size_t n, bool zeros, float *embeddings);

/* A model of the same weights that shares no memory with the given one. */
ResNet18 copy_of(const ResNet18 &model, torch::Device device);

/* Copies the file's weights for state into new float32 tensors of the same order. prefix stands
 * before each name in the file. Throws when one is missing or does not fit. */
std::vector<torch::Tensor> take_state(const char *path, const TensorFile &file,
    const std::vector<NamedTensor> &state, const std::string &prefix);

/* Copies n numbers of the file's tensor. Throws when it is missing or has another type or size. */
void take_numbers(
    const char *path, const TensorFile &file, const char *name, Dtype dtype, size_t n, void *out);

/* Row-major copies on the CPU, (float32, float64 or int64), and
 * what a writer needs to know of them. */
std::vector<NamedTensor> to_host(const std::vector<NamedTensor> &tensors);
std::vector<TensorToWrite> to_write(const std::vector<NamedTensor> &host);

/* n × S × S × 3 floats as N×3×S×S, channels last, without a copy; pixels must outlive it. */
torch::Tensor view_pixels(const float *pixels, int64_t n, int64_t image_size);

/* Throws KD_INVALID_ARGUMENT for an image size outside nn.h's limits. */
void check_image_size(uint32_t image_size);

/* LibTorch keeps the number of threads per calling thread: call before work on any thread. */
void adopt_threads();

} // namespace kd::nn

struct kd_net {
    kd::nn::ResNet18 model;
    torch::Device device;
};

#endif
