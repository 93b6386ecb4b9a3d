/* tests/support/redis.h: a redis-server of a test's own, on a free loopback port, its files in a
 * temporary folder, append-only as the stack runs it. It dies with the test. */
#ifndef KD_TESTS_REDIS_H
#define KD_TESTS_REDIS_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct test_redis {
    char address[32]; /* "127.0.0.1:PORT"; stays the same over a restart */
    char folder[64];
    int port;
    pid_t pid; /* 0: not running */
} test_redis;

/* Returns once it answers; false when that fails, with the reason on standard error. */
bool test_redis_start(test_redis *redis);
void test_redis_kill(test_redis *redis);    /* SIGKILL, and waits */
bool test_redis_restart(test_redis *redis); /* again on the same port and files */
void test_redis_stop(test_redis *redis);    /* kills, removes the folder; all zero is fine */

#endif
