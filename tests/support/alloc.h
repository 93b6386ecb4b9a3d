/* tests/support/alloc.h: memory that runs out at a chosen moment.
 *
 * kd_alloc_test links a test ROOM.alloc with the linker's --wrap for malloc and its kin, so that
 * each allocation of our own static libraries passes through here; those of shared libraries do not
 * (the gRPC core aborts without memory). Its option LIBRARIES makes a second test of the same file,
 * ROOM.alloc_libraries, where those of all shared libraries do. A scenario is replayed with its
 * 1st, 2nd, … allocation failing until a replay meets none that fails, first each alone, then each
 * with all that follow until the scenario calls alloc_stop. */
#ifndef KD_TESTS_ALLOC_H
#define KD_TESTS_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/status.h"
#ifndef __cplusplus
#include "tests/support/check.h"
#endif

KD_C_BEGIN

/* Counts an allocation that is about to be made; true when it has to fail. For a test's own
 * wrappers around what allocates inside a shared library. */
bool alloc_refuse(void);

/* From here on there is memory again. */
void alloc_stop(void);
bool alloc_rest(void); /* in this replay all allocations behind the first to fail do too */

/* As malloc and free, and counted: for a library that takes its allocator from us. */
void *alloc_malloc(size_t size);
void alloc_free(void *block);

typedef struct alloc_scenario {
    const char *name; /* for what is printed */
    /* Does the work and leaves nothing behind. Returns the first failure (RUN and RUN_NEW below),
     * KD_OK when there was none. */
    kd_status (*run)(void *arg, kd_error *err);
    void *arg;
    /* How many single failures the design forgives (the run ends well although there was no
     * memory): the test says which and why. */
    size_t forgiven;
    /* Threads of its own: the order of allocations is not always the same, a peer may be told
     * UNAVAILABLE, and a thread may free a little later. `forgiven` is not looked at. */
    bool threads;
} alloc_scenario;
#define ALLOC_ALL SIZE_MAX /* forgiven: every one */

/* Fails the test unless each replay gives KD_RESOURCE_EXHAUSTED (or is forgiven), leaves no block
 * of memory behind and, once there is memory again, everything goes on. */
void alloc_replay(const alloc_scenario *scenario);

/* Runs call, a call whose last argument is err (a kd_error *). Where it finds no memory, its status
 * goes to *first unless that holds one already; then it is run again, with memory, and must do what
 * it could not before. */
#define RUN(first, call, err)                                                                      \
    do {                                                                                           \
        kd_status alloc_status_ = (call);                                                          \
        if (alloc_status_ != KD_OK) {                                                              \
            alloc_note((first), alloc_status_, (err));                                             \
            CHECK_OK((call), *(err));                                                              \
        }                                                                                          \
    } while (0)

/* The same for what makes *out, which must stay NULL on failure. */
#define RUN_NEW(first, out, call, err)                                                             \
    do {                                                                                           \
        kd_status alloc_status_ = (call);                                                          \
        if (alloc_status_ != KD_OK) {                                                              \
            assert_null(*(out));                                                                   \
            alloc_note((first), alloc_status_, (err));                                             \
            CHECK_OK((call), *(err));                                                              \
        }                                                                                          \
    } while (0)

/* Behind RUN: ends the shortage and keeps the first failure. */
void alloc_note(kd_status *first, kd_status status, const kd_error *err);

KD_C_END
#endif
