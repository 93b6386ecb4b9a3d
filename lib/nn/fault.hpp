/* lib/nn/fault.hpp: how the C++ inside lib/nn reports a fault: by an exception that carries a
 * kd_status and the sentence. guarded() turns it, and whatever LibTorch throws, into the status
 * that the C function returns; nothing passes it. */
#ifndef KD_NN_FAULT_HPP
#define KD_NN_FAULT_HPP

#include <exception>

#include "lib/base/status.h"

namespace kd::nn
{

class Fault : public std::exception
{
  public:
    explicit Fault(const kd_error &error) noexcept : error_(error)
    {
    }
    const kd_error &error() const noexcept
    {
        return error_;
    }
    const char *what() const noexcept override
    {
        return error_.message;
    }

  private:
    kd_error error_;
};

/* Throws a Fault with the printf'd sentence. */
[[noreturn]] void fail(kd_status status, const char *format, ...) KD_PRINTF(2, 3);

/* Throws what a C function of lib/base reported. */
inline void check(kd_status status, const kd_error &error)
{
    if (status != KD_OK)
        throw Fault(error);
}

/* Called inside a catch (...): writes the exception in flight to err. doing names the work that
 * broke off ("reading x.safetensors"). */
kd_status report_exception(kd_error *err, const char *doing) noexcept;

template <class Body> kd_status guarded(kd_error *err, const char *doing, Body &&body) noexcept
{
    try {
        body();
        return KD_OK;
    } catch (...) {
        return report_exception(err, doing);
    }
}

} // namespace kd::nn

#endif
