/* A frozen network's life: made, checked against the plain one, warmed, and run batch by batch. */
#include <cassert>
#include <cinttypes>
#include <cmath>
#include <random>

#include "lib/nn/frozen.hpp"

using namespace kd::nn;

struct kd_forward {
    std::unique_ptr<Frozen> frozen;
    torch::Tensor weight, bias; /* of the projection, on the CPU; undefined without one */
    int64_t image_size;
    std::vector<int64_t> batches; /* warmed sizes, ascending; the last is the largest allowed */
};

namespace
{

/* ---- Warm-up and self-check ---- */

/* Within its life convolutions run in LibTorch's own code instead of oneDNN's. */
class WithoutOneDnn
{
  public:
    WithoutOneDnn() : was_(at::globalContext().userEnabledMkldnn())
    {
        at::globalContext().setUserEnabledMkldnn(false);
    }
    ~WithoutOneDnn()
    {
        at::globalContext().setUserEnabledMkldnn(was_);
    }
    WithoutOneDnn(const WithoutOneDnn &) = delete;
    WithoutOneDnn &operator=(const WithoutOneDnn &) = delete;

  private:
    bool was_;
};

/* Relative; float32 gives about 1e-6, bfloat16 4e-3. */
double allowed_difference(kd_precision precision)
{
    return precision == KD_PRECISION_BFLOAT16 ? 2e-2 : 1e-3;
}

/* One random image through every batch size, in each of its places, so that whatever oneDNN or
 * cuDNN chose for that size is seen. The first calls of a size cost far more than later ones.
 * Debian 13's oneDNN computes some shapes wrongly on some CPUs, so the plain network runs without
 * it: two results from the same wrong code would agree. */
void warm_and_check(kd_forward *forward, ResNet18 &plain, kd_precision precision)
{
    const int64_t size = forward->image_size, most = forward->batches.back();
    torch::Tensor images = torch::empty({most, size, size, 3});
    std::mt19937_64 generator(1);
    draw_into(images[0], std::normal_distribution<float>(), &generator);
    images.copy_(images[0].expand_as(images).clone());
    torch::Tensor reference;
    {
        const WithoutOneDnn without;
        reference = plain->features(view_pixels(images.data_ptr<float>(), 1, size).contiguous());
    }
    const double length = reference.norm().item<double>();
    if (!std::isfinite(length))
        fail(KD_INTERNAL, "the network's weights give values that are not finite");
    torch::Tensor fast = torch::empty({most, static_cast<int64_t>(KD_NN_FEATURES)});
    for (const int64_t n : forward->batches)
        for (int i = 0; i < 2; i++) {
            (void)forward->frozen->run(images.data_ptr<float>(), n, n, fast.data_ptr<float>());
            const double difference =
                (fast.narrow(0, 0, n) - reference).norm(2, 1).max().item<double>();
            if (!(difference <= allowed_difference(precision) * length))
                fail(KD_INTERNAL,
                    "the optimised network differs from the plain one by %.3g (relative) in a "
                    "batch "
                    "of %" PRId64 ": %s computes wrongly on this machine",
                    difference / length, n, kd_nn_describe());
        }
}

/* ---- Batches ---- */

std::vector<int64_t> batch_sizes(int64_t max)
{
    std::vector<int64_t> sizes;
    for (int64_t n = 1; n < max; n *= 2)
        sizes.push_back(n);
    sizes.push_back(max);
    return sizes;
}

/* How many of the n images that are left go into the next call, and in which warmed batch: padded
 * up where that wastes at most a quarter, else as many as fill a batch. */
void next_batch(const kd_forward *forward, int64_t n, int64_t *take, int64_t *batch)
{
    int64_t below = forward->batches.front();
    for (const int64_t size : forward->batches) {
        if (size >= n && (size - n) * 4 <= size) {
            *take = n;
            *batch = size;
            return;
        }
        if (size <= n)
            below = size;
    }
    *take = *batch = below;
}

/* features: n × KD_NN_FEATURES, filled. */
void run(kd_forward *forward, const float *pixels, size_t n, float *features)
{
    const size_t image_floats =
        3 * static_cast<size_t>(forward->image_size) * static_cast<size_t>(forward->image_size);
    for (size_t done = 0; done < n;) {
        int64_t take = 0;
        int64_t batch = 0;
        next_batch(forward, static_cast<int64_t>(n - done), &take, &batch);
        const int64_t bad = forward->frozen->run(
            pixels + done * image_floats, take, batch, features + done * KD_NN_FEATURES);
        if (bad >= 0)
            fail(KD_INVALID_ARGUMENT, "image %zu of the batch has a pixel that is not finite",
                done + static_cast<size_t>(bad));
        done += static_cast<size_t>(take);
    }
}

void check_precision(torch::Device device, kd_precision precision)
{
    if (precision != KD_PRECISION_BFLOAT16 || kd_nn_has_bfloat16())
        return;
    if (device.is_cuda())
        fail(KD_FAILED_PRECONDITION,
            "a forward in bfloat16 needs a GPU of compute capability 8.0 (Ampere) or later, which "
            "this machine has not");
    fail(KD_FAILED_PRECONDITION,
        "a forward in bfloat16 needs a CPU with AVX512-BF16, which this one has not, or "
        "ONEDNN_MAX_CPU_ISA forbids it");
}

} // namespace

kd_status kd_forward_new(
    kd_forward **out, const kd_net *net, uint32_t image_size, uint32_t max_batch, kd_error *err)
{
    return kd_forward_new_in(out, net, image_size, max_batch, KD_PRECISION_FLOAT32, err);
}

kd_status kd_forward_new_in(kd_forward **out, const kd_net *net, uint32_t image_size,
    uint32_t max_batch, kd_precision precision, kd_error *err)
{
    assert(out && net);
    *out = nullptr;
    return guarded(err, "freezing a network", [&] {
        check_image_size(image_size);
        if (max_batch == 0 || max_batch > KD_NN_MAX_BATCH)
            fail(KD_INVALID_ARGUMENT, "the largest batch is %" PRIu32 ", allowed 1..%u", max_batch,
                KD_NN_MAX_BATCH);
        check_precision(net->device, precision);
        adopt_threads();
        /* More than NoGradGuard: without autograd's dispatch key some releases (2.6) refuse
         * max_pool2d in oneDNN's layout. */
        const c10::InferenceMode inference;
        ResNet18 plain = copy_of(net->model, torch::kCPU);
        const int64_t size = image_size;
        const bool projects = !plain->projection.is_empty();
        const FoldedNet folded = fold(*plain);
        const std::vector<int64_t> batches = batch_sizes(max_batch);
        auto forward = std::make_unique<kd_forward>(kd_forward{
            net->device.is_cuda() ? freeze_on_cuda(folded, size, max_batch, net->device, precision)
                                  : freeze_on_cpu(folded, size, batches, precision),
            projects ? plain->projection->weight.detach() : torch::Tensor(),
            projects ? plain->projection->bias.detach() : torch::Tensor(), size, batches});
        warm_and_check(forward.get(), plain, precision);
        *out = forward.release();
    });
}

namespace
{

template <class Work>
kd_status with_batch(kd_forward *forward, size_t n, kd_error *err, Work &&work)
{
    const size_t max = static_cast<size_t>(forward->batches.back());
    if (n == 0 || n > max)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the batch has %zu images, allowed 1..%zu", n, max);
    return guarded(err, "embedding a batch", [&] {
        adopt_threads();
        const c10::InferenceMode inference; /* see kd_forward_new */
        work();
    });
}

} // namespace

kd_status kd_forward_run(
    kd_forward *forward, const float *pixels, size_t n, float *embeddings, kd_error *err)
{
    assert(forward && pixels && embeddings);
    return with_batch(forward, n, err, [&] {
        std::vector<float> features(n * KD_NN_FEATURES);
        run(forward, pixels, n, features.data());
        embed_features(forward->weight, forward->bias, features.data(), n, false, embeddings);
    });
}

kd_status kd_forward_features(
    kd_forward *forward, const float *pixels, size_t n, float *features, kd_error *err)
{
    assert(forward && pixels && features);
    return with_batch(forward, n, err, [&] { run(forward, pixels, n, features); });
}

size_t kd_forward_bytes(const kd_forward *forward)
{
    assert(forward);
    return forward->frozen->bytes();
}

void kd_forward_free(kd_forward *forward)
{
    delete forward;
}
