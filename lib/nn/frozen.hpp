/* lib/nn/frozen.hpp: the network frozen for inference, from pixels to features, on one device. */
#ifndef KD_NN_FROZEN_HPP
#define KD_NN_FROZEN_HPP

#include <memory>
#include <optional>

#include "lib/nn/nn_internal.hpp"

namespace kd::nn
{

/* A convolution and the norm behind it in one: float32, on the CPU. */
struct Folded {
    torch::Tensor weight, bias;
    int64_t stride, padding;
};
struct FoldedBlock {
    Folded conv1, conv2;
    std::optional<Folded> downsample;
};
struct FoldedNet {
    Folded stem;
    std::vector<FoldedBlock> blocks;
};
FoldedNet fold(ResNet18Impl &model);

/* Used in InferenceMode. */
class Frozen
{
  public:
    virtual ~Frozen() = default;
    /* pixels  n × S × S × 3, computed as a batch of room ≥ n images
     * features  n × KD_NN_FEATURES, filled
     * Returns the first image that has a pixel that is not finite, and then features of no meaning;
     * -1 when there is none. */
    virtual int64_t run(const float *pixels, int64_t n, int64_t room, float *features) = 0;
    virtual size_t bytes() const = 0; /* that it keeps, on its device */
};
/* For rooms of the given sizes. */
std::unique_ptr<Frozen> freeze_on_cpu(const FoldedNet &net, int64_t image_size,
    const std::vector<int64_t> &batches, kd_precision precision);
std::unique_ptr<Frozen> freeze_on_cuda(const FoldedNet &net, int64_t image_size, int64_t max_batch,
    torch::Device device, kd_precision precision);

} // namespace kd::nn

#endif
