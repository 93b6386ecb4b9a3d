/* lib/base/clock.h: time. Durations and deadlines use the monotonic clock, so that a wall clock
 * that jumps changes nothing; the wall clock is for people and records only. */
#ifndef KD_BASE_CLOCK_H
#define KD_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/base/status.h"

KD_C_BEGIN

int64_t kd_mono_ns(void);
int64_t kd_mono_ms(void);
int64_t kd_wall_ms(void); /* milliseconds since 1970, UTC */

/* Unix milliseconds as RFC 3339, UTC, with milliseconds: "2026-01-02T03:04:05.678Z". */
#define KD_TIME_TEXT 32
void kd_time_text(int64_t unix_ms, char text[KD_TIME_TEXT]);

/* Monotonic now + ms as the timespec that condition variables made by kd_cond_init expect. */
struct timespec kd_mono_after(int64_t ms);

void kd_sleep_ms(int64_t ms);

KD_C_END
#endif
