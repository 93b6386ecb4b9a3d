/* lib/nn/staging.hpp: how a batch's pixels come to the device that computes. */
#ifndef KD_NN_STAGING_HPP
#define KD_NN_STAGING_HPP

#include "lib/nn/nn_internal.hpp"

namespace kd::nn
{

struct Staged {
    torch::Tensor images; /* N×3×S×S float32, channels last */
    int64_t bad; /* the first image with a value that is not finite; -1: none, or not looked for */
};

/* For one stream, and one batch at a time. On the CPU it holds nothing. For a GPU it keeps pinned
 * memory for the largest batch that there was: what lies in other memory the driver copies by one
 * core, and the caller waits for it. */
class Staging
{
  public:
    explicit Staging(torch::Device device);
    /* pixels: n × S × S × 3 floats, borrowed. Gives a batch of room ≥ n images, zeros behind the n;
     * on the CPU, where room must be n, a view of the pixels, not looked at. On a GPU the current
     * stream fills it, which must have done so before the next call. */
    Staged send(const float *pixels, int64_t n, int64_t room, int64_t image_size);

  private:
    torch::Device device_;
    torch::Tensor pinned_;
};

/* Whether all are; vectorised. */
bool all_finite(const float *values, int64_t n);

} // namespace kd::nn

#endif
