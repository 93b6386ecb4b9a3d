#include "lib/nn/staging.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <system_error>
#include <thread>

namespace kd::nn
{

namespace
{

/* More would wait for the memory. */
constexpr int64_t max_helpers = 3;
/* A thread costs as much as the copy of so many floats. */
constexpr int64_t floats_per_helper = int64_t{1} << 18;

constexpr uint32_t exponent = 0x7F800000u;

/* A copy and a check in one pass, which the memory bounds either way. */
bool copy_finite(const float *__restrict from, float *__restrict to, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        to[i] = from[i];
        bad |= (std::bit_cast<uint32_t>(from[i]) & exponent) == exponent;
    }
    return bad == 0;
}

/* Copies images one by one, by the calling thread and helpers. They are threads of the call's own:
 * LibTorch's team has to be woken as a whole for each part of the work, and waits for its last
 * thread, which on a busy machine takes longer than the copy. A helper that comes late finds
 * nothing left to do. */
class Copy
{
  public:
    Copy(const float *from, float *to, int64_t n, int64_t image_floats)
        : from_(from), to_(to), n_(n), image_floats_(image_floats), states_(static_cast<size_t>(n))
    {
        const int64_t helpers =
            std::min({max_helpers, n - 1, n * image_floats / floats_per_helper});
        helpers_.reserve(max_helpers);
        try {
            for (int64_t i = 0; i < helpers; i++)
                helpers_.emplace_back([this] {
                    while (copy_one()) {}
                });
        } catch (const std::system_error &) {
            /* No thread to be had: fewer do. */
        }
    }
    ~Copy()
    {
        for (std::thread &helper : helpers_)
            helper.join();
    }
    /* Waits for image i, which it may copy itself. */
    void wait(int64_t i)
    {
        while (!ready(i))
            if (!copy_one())
                state(i).wait(waiting);
    }
    bool ready(int64_t i) const
    {
        return state(i).load(std::memory_order_acquire) != waiting;
    }
    bool good(int64_t i) const
    {
        return state(i).load(std::memory_order_relaxed) == finite;
    }
    Copy(const Copy &) = delete;
    Copy &operator=(const Copy &) = delete;

  private:
    enum State : int { waiting, finite, not_finite };

    bool copy_one()
    {
        const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
        if (i >= n_)
            return false;
        const int64_t at = i * image_floats_;
        state(i).store(copy_finite(from_ + at, to_ + at, image_floats_) ? finite : not_finite,
            std::memory_order_release);
        state(i).notify_one();
        return true;
    }
    std::atomic<int> &state(int64_t i)
    {
        return states_[static_cast<size_t>(i)];
    }
    const std::atomic<int> &state(int64_t i) const
    {
        return states_[static_cast<size_t>(i)];
    }

    const float *from_;
    float *to_;
    int64_t n_, image_floats_;
    std::atomic<int64_t> next_{0};
    std::vector<std::atomic<int>> states_;
    std::vector<std::thread> helpers_;
};

} // namespace

bool all_finite(const float *values, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        bad |= (std::bit_cast<uint32_t>(values[i]) & exponent) == exponent;
    return bad == 0;
}

Staging::Staging(torch::Device device) : device_(device)
{
}

Staged Staging::send(const float *pixels, int64_t n, int64_t room, int64_t image_size)
{
    const int64_t image_floats = image_size * image_size * 3;
    int64_t bad = -1;
    if (device_.is_cpu())
        return {view_pixels(pixels, n, image_size), bad};
    if (!pinned_.defined() || pinned_.size(0) < n || pinned_.size(1) != image_floats)
        pinned_ = torch::empty(
            {n, image_floats}, torch::TensorOptions(torch::kFloat).pinned_memory(true));
    torch::Tensor images = torch::empty(
        {room, image_size, image_size, 3}, torch::TensorOptions(torch::kFloat).device(device_));
    images.narrow(0, n, room - n).zero_();
    const torch::Tensor rows = images.view({room, image_floats});
    Copy copy(pixels, pinned_.data_ptr<float>(), n, image_floats);
    for (int64_t from = 0, to = 0; from < n; from = to) {
        copy.wait(from);
        for (to = from; to < n && copy.ready(to); to++)
            if (!copy.good(to) && bad < 0)
                bad = to;
        /* The GPU fetches these while the CPU copies the next. */
        rows.narrow(0, from, to - from).copy_(pinned_.narrow(0, from, to - from), true);
    }
    return {images.permute({0, 3, 1, 2}), bad};
}

} // namespace kd::nn
