/* lib/base/status.h: how every function of kindred says what went wrong.
 *
 * A function that can fail returns a kd_status and takes a kd_error last. Whoever finds the fault
 * writes the sentence, naming the offending thing; everyone above passes it on untouched. The
 * numbers are gRPC's (https://grpc.io/docs/guides/status-codes/), so a status crosses the wire as
 * it is. */
#ifndef KD_BASE_STATUS_H
#define KD_BASE_STATUS_H

#include <stddef.h>

#define KD_MUST_CHECK __attribute__((warn_unused_result))
#define KD_PRINTF(text, args) __attribute__((format(printf, text, args)))

/* The C++ of lib/nn and lib/vector includes these headers too. */
#ifdef __cplusplus
#define KD_C_BEGIN extern "C" {
#define KD_C_END }
#else
#define KD_C_BEGIN
#define KD_C_END
#endif

KD_C_BEGIN

typedef enum kd_status {
    KD_OK = 0,
    KD_CANCELLED = 1,
    KD_UNKNOWN = 2,
    KD_INVALID_ARGUMENT = 3, /* wrong in any state of the system */
    KD_DEADLINE_EXCEEDED = 4,
    KD_NOT_FOUND = 5,
    KD_ALREADY_EXISTS = 6,
    KD_PERMISSION_DENIED = 7,
    KD_RESOURCE_EXHAUSTED = 8,  /* a limit, memory, disk space */
    KD_FAILED_PRECONDITION = 9, /* right once the state is mended */
    KD_ABORTED = 10,
    KD_OUT_OF_RANGE = 11,
    KD_UNIMPLEMENTED = 12,
    KD_INTERNAL = 13,
    KD_UNAVAILABLE = 14, /* may be tried again */
    KD_DATA_LOSS = 15,   /* stored or sent bytes are damaged */
    KD_UNAUTHENTICATED = 16,
} kd_status;

#define KD_ERROR_MESSAGE_MAX 512

/* Fixed buffer: reporting an error never allocates. */
typedef struct kd_error {
    kd_status status;
    char message[KD_ERROR_MESSAGE_MAX]; /* one sentence, no full stop; cut when longer */
} kd_error;
#define KD_ERROR_INIT {KD_OK, ""}

/* Writes status and sentence, returns status, so that `return kd_error_set(err, …)` reads well.
 * err may be NULL (the sentence is dropped). */
kd_status kd_error_set(kd_error *err, kd_status status, const char *format, ...) KD_PRINTF(3, 4);

/* As kd_error_set, with strerror of the given errno value behind the sentence. The status is
 * chosen from it: ENOENT gives KD_NOT_FOUND, ENOSPC KD_RESOURCE_EXHAUSTED, EACCES
 * KD_PERMISSION_DENIED, others KD_INTERNAL. */
kd_status kd_error_errno(kd_error *err, int errnum, const char *format, ...) KD_PRINTF(3, 4);

/* KD_RESOURCE_EXHAUSTED, "no memory for WHAT". Inline, so that analyzers see that it never returns
 * KD_OK. */
static inline kd_status kd_error_memory(kd_error *err, const char *what)
{
    (void)kd_error_set(err, KD_RESOURCE_EXHAUSTED, "no memory for %s", what);
    return KD_RESOURCE_EXHAUSTED;
}

/* "INVALID_ARGUMENT" and so on; "UNKNOWN" for a number that is none of ours. Static. */
const char *kd_status_name(kd_status status);

KD_C_END
#endif
