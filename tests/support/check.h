/* tests/support/check.h: assertions that print both values, over cmocka. */
#ifndef KD_TESTS_CHECK_H
#define KD_TESTS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/status.h"

/* expr is a call whose last argument is &err, an error of the caller's. */
#define CHECK_OK(expr, err)                                                                        \
    do {                                                                                           \
        kd_status check_status_ = (expr);                                                          \
        if (check_status_ != KD_OK)                                                                \
            fail_msg("%s: %s: %s", #expr, kd_status_name(check_status_), (err).message);           \
    } while (0)

#define CHECK_FAILS(expected, expr, err)                                                           \
    do {                                                                                           \
        kd_status check_status_ = (expr);                                                          \
        if (check_status_ != (expected))                                                           \
            fail_msg("%s: expected %s, got %s (%s)", #expr, kd_status_name(expected),              \
                kd_status_name(check_status_), check_status_ == KD_OK ? "" : (err).message);       \
    } while (0)

#define CHECK_INT(expected, actual)                                                                \
    do {                                                                                           \
        long long check_e_ = (long long)(expected), check_a_ = (long long)(actual);                \
        if (check_e_ != check_a_)                                                                  \
            fail_msg("%s: expected %lld, got %lld", #actual, check_e_, check_a_);                  \
    } while (0)

#define CHECK_NEAR(expected, actual, tolerance)                                                    \
    do {                                                                                           \
        double check_e_ = (expected), check_a_ = (actual);                                         \
        if (!(fabs(check_e_ - check_a_) <= (tolerance)))                                           \
            fail_msg("%s: expected %.9g, got %.9g", #actual, check_e_, check_a_);                  \
    } while (0)

#define CHECK_STR(expected, actual) assert_string_equal((actual), (expected))
#define CHECK(condition) assert_true(condition)
#define CHECK_HAS(needle, haystack)                                                                \
    do {                                                                                           \
        if (!strstr((haystack), (needle)))                                                         \
            fail_msg("'%s' is not in '%s'", (needle), (haystack));                                 \
    } while (0)

#endif
