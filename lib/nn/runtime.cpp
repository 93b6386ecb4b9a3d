/* What concerns the process rather than a network: threads, memory, exceptions. */
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <thread>

#include <malloc.h>

#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include "lib/nn/fault.hpp"
#include "lib/nn/onednn.hpp"
#include "lib/nn/training.h"

namespace
{

/* Activations of one layer take up to 100 MB. As glibc comes, it maps such a block anew for each
 * operation and unmaps it after, and the kernel zeroes and faults in every page again: that cost up
 * to a third of the speed. Blocks below these thresholds come from the heap and stay there. One
 * arena for all threads, since only the main one can hold blocks of this size. */
void keep_large_blocks()
{
#ifdef __GLIBC__
    constexpr int mmap_from = 1 << 30;
    constexpr int trim_never = -1;
    constexpr int grow_by = 64 << 20;
    (void)mallopt(M_MMAP_THRESHOLD, mmap_from);
    (void)mallopt(M_TRIM_THRESHOLD, trim_never);
    (void)mallopt(M_TOP_PAD, grow_by);
    (void)mallopt(M_ARENA_MAX, 1);
#endif
}

/* The line of LibTorch's message that says what is wrong: the first, or, where TorchScript's trace
 * comes first, the one behind it. */
kd_status report_torch(kd_error *err, const char *doing, const char *message)
{
    static constexpr char behind[] = "\nRuntimeError: ";
    const char *const trace = std::strstr(message, behind);
    if (trace)
        message = trace + sizeof behind - 1;
    const int length = static_cast<int>(std::min<size_t>(std::strcspn(message, "\n"), 400));
    const bool memory =
        std::strstr(message, "out of memory") || std::strstr(message, "not enough memory");
    return kd_error_set(err, memory ? KD_RESOURCE_EXHAUSTED : KD_INTERNAL,
        "%s: LibTorch says: %.*s", doing, length, message);
}

} // namespace

namespace kd::nn
{

void adopt_threads()
{
    /* Once: some releases (1.13) start a pool of threads anew each time. */
    thread_local bool adopted = false;
    if (!adopted)
        at::init_num_threads();
    adopted = true;
}

kd_status report_exception(kd_error *err, const char *doing) noexcept
{
    try {
        throw;
    } catch (const Fault &fault) {
        return kd_error_set(err, fault.error().status, "%s", fault.error().message);
    } catch (const std::bad_alloc &) {
        return kd_error_memory(err, doing);
    } catch (const c10::Error &error) {
        return report_torch(err, doing, error.what_without_backtrace());
    } catch (const std::exception &error) {
        return report_torch(err, doing, error.what());
    } catch (...) {
        return kd_error_set(err, KD_INTERNAL, "%s: unknown exception", doing);
    }
}

} // namespace kd::nn

void kd_nn_set_threads(unsigned threads)
{
    keep_large_blocks();
    if (threads == 0)
        threads = std::max(1u, std::thread::hardware_concurrency());
    at::set_num_threads(static_cast<int>(std::min(threads, 1024u)));
    try {
        /* Only the parallelism inside an operation is used. */
        at::set_num_interop_threads(1);
    } catch (const c10::Error &) {
        /* Set before, or work has begun already: then it stays as it is. */
    }
}

const char *kd_nn_describe(void)
{
    struct Text {
        char bytes[96];
        Text()
        {
            (void)std::snprintf(bytes, sizeof bytes, "LibTorch %d.%d.%d, %s, %d thread%s",
                TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, TORCH_VERSION_PATCH,
                torch::cuda::is_available() ? "CUDA" : kd::nn::onednn_describe(),
                at::get_num_threads(), at::get_num_threads() == 1 ? "" : "s");
        }
    };
    static const Text text;
    return text.bytes;
}

bool kd_nn_has_bfloat16(void)
{
    if (torch::cuda::is_available()) /* the name is older than cuDNN 9; it asks for Ampere */
        return at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8();
    return kd::nn::onednn_has_bfloat16();
}

static constexpr const char *optimizer_names[KD_OPTIMIZERS] = {"adam", "adamw", "sgd"};

const char *kd_optimizer_name(kd_optimizer optimizer)
{
    return optimizer_names[optimizer];
}

bool kd_optimizer_parse(const char *name, kd_optimizer *out)
{
    for (unsigned i = 0; i < KD_OPTIMIZERS; i++)
        if (std::strcmp(name, optimizer_names[i]) == 0) {
            *out = static_cast<kd_optimizer>(i);
            return true;
        }
    return false;
}
