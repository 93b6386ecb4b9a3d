/* lib/nn/onednn.hpp: ResNet18 up to the last activation in oneDNN's own primitives, for inference
 * on the CPU: ReLU and addition inside the convolutions, oneDNN's layout from the first to the
 * last, and nothing allocated by a run. Knows no LibTorch, whose headers may be another oneDNN's.
 */
#ifndef KD_NN_ONEDNN_HPP
#define KD_NN_ONEDNN_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace kd::nn
{

/* A convolution with its batch norm folded in. */
struct ConvolutionWeights {
    const float *weight; /* out × in × kernel × kernel */
    const float *bias;   /* out */
    int64_t in, out, kernel, stride, padding;
};
struct BlockWeights {
    ConvolutionWeights conv1, conv2;
    std::optional<ConvolutionWeights> downsample;
};
struct NetWeights {
    ConvolutionWeights stem;
    std::vector<BlockWeights> blocks;
};

class OneDnnNet
{
  public:
    /* Makes ready for the given batch sizes, by as many threads as OpenMP has now. The weights are
     * copied. Throws a Fault. */
    OneDnnNet(const NetWeights &weights, int64_t image_size, const std::vector<int64_t> &batches,
        bool bfloat16);
    ~OneDnnNet();
    /* pixels    n × S × S × 3, computed as a batch of room ≥ n images, which is one of the sizes
     * features  n × the last block's channels, filled: means over the last activation */
    void run(const float *pixels, int64_t n, int64_t room, float *features);
    size_t bytes() const; /* that it keeps */

    OneDnnNet(const OneDnnNet &) = delete;
    OneDnnNet &operator=(const OneDnnNet &) = delete;

  private:
    class Plan;
    class Builder;
    struct Room;
    struct Buffers;

    std::vector<Room> rooms_;
    std::unique_ptr<Buffers> buffers_;
};

/* Whether oneDNN has instructions for bfloat16 here and may use them (ONEDNN_MAX_CPU_ISA). */
bool onednn_has_bfloat16();
/* "oneDNN 2.6.3", static. */
const char *onednn_describe();

} // namespace kd::nn

#endif
