#include "lib/base/clock.h"

#include <errno.h>
#include <stdio.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now); /* cannot fail for these clocks */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t kd_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t kd_mono_ms(void)
{
    return kd_mono_ns() / 1000000;
}

int64_t kd_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

void kd_time_text(int64_t unix_ms, char text[KD_TIME_TEXT])
{
    const time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc;
    char day[24];
    if (!gmtime_r(&seconds, &utc) || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        day[0] = '\0';
    (void)snprintf(text, KD_TIME_TEXT, "%s.%03dZ", day, (int)(unix_ms % 1000));
}

struct timespec kd_mono_after(int64_t ms)
{
    const int64_t at = kd_mono_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

void kd_sleep_ms(int64_t ms)
{
    struct timespec until = kd_mono_after(ms);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}
