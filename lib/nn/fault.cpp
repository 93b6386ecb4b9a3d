#include "lib/nn/fault.hpp"

#include <cstdarg>
#include <cstdio>

namespace kd::nn
{

void fail(kd_status status, const char *format, ...)
{
    kd_error error = KD_ERROR_INIT;
    char sentence[KD_ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    (void)std::vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    (void)kd_error_set(&error, status, "%s", sentence);
    throw Fault(error);
}

} // namespace kd::nn
