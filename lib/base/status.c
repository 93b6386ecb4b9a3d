#include "lib/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

KD_PRINTF(3, 0)
static void set_message(kd_error *err, kd_status status, const char *format, va_list args)
{
    err->status = status;
    (void)vsnprintf(err->message, sizeof err->message, format, args);
}

kd_status kd_error_set(kd_error *err, kd_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        set_message(err, status, format, args);
        va_end(args);
    }
    return status;
}

static kd_status status_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return KD_NOT_FOUND;
    case EEXIST:
        return KD_ALREADY_EXISTS;
    case EACCES:
    case EPERM:
        return KD_PERMISSION_DENIED;
    case EROFS:
        return KD_FAILED_PRECONDITION;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EFBIG:
        return KD_RESOURCE_EXHAUSTED;
    default:
        return KD_INTERNAL;
    }
}

kd_status kd_error_errno(kd_error *err, int errnum, const char *format, ...)
{
    const kd_status status = status_of_errno(errnum);
    if (err) {
        va_list args;
        va_start(args, format);
        set_message(err, status, format, args);
        va_end(args);
        const size_t len = strlen(err->message);
        char reason[128];
        /* GNU's strerror_r may answer with a string of its own. */
        (void)snprintf(err->message + len, sizeof err->message - len, ": %s",
            strerror_r(errnum, reason, sizeof reason));
    }
    return status;
}

const char *kd_status_name(kd_status status)
{
    static const char *const names[] = {
        [KD_OK] = "OK",
        [KD_CANCELLED] = "CANCELLED",
        [KD_UNKNOWN] = "UNKNOWN",
        [KD_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
        [KD_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
        [KD_NOT_FOUND] = "NOT_FOUND",
        [KD_ALREADY_EXISTS] = "ALREADY_EXISTS",
        [KD_PERMISSION_DENIED] = "PERMISSION_DENIED",
        [KD_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
        [KD_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
        [KD_ABORTED] = "ABORTED",
        [KD_OUT_OF_RANGE] = "OUT_OF_RANGE",
        [KD_UNIMPLEMENTED] = "UNIMPLEMENTED",
        [KD_INTERNAL] = "INTERNAL",
        [KD_UNAVAILABLE] = "UNAVAILABLE",
        [KD_DATA_LOSS] = "DATA_LOSS",
        [KD_UNAUTHENTICATED] = "UNAUTHENTICATED",
    };
    const unsigned index = (unsigned)status;
    return index < sizeof names / sizeof names[0] ? names[index] : "UNKNOWN";
}
