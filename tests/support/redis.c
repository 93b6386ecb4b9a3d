#include "tests/support/redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"

#define START_MS 20000

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        (void)close(fd);
    return port;
}

/* The child: never returns. Its log goes to a file beside its data. */
static void run_server(const test_redis *redis)
{
    char port[16], log[96];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(port, sizeof port, "%d", redis->port);
    (void)snprintf(log, sizeof log, "%s/redis.log", redis->folder);
    const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd >= 0) {
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
    }
    (void)execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir",
        redis->folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        "--maxmemory-policy", "volatile-lru", (char *)NULL);
    fprintf(stderr, "cannot run redis-server: %s\n", strerror(errno));
    _exit(127);
}

/* True when the server at the port is the one that we started and it has loaded its files. */
static bool answers(const test_redis *redis)
{
    bool ours = false;
    redisContext *const context =
        redisConnectWithTimeout("127.0.0.1", redis->port, (struct timeval){.tv_sec = 1});
    redisReply *const reply = context && !context->err ? redisCommand(context, "INFO") : NULL;
    if (reply && reply->type == REDIS_REPLY_STRING) {
        char line[48];
        (void)snprintf(line, sizeof line, "process_id:%d\r", (int)redis->pid);
        ours = strstr(reply->str, line) && strstr(reply->str, "\nloading:0\r");
    }
    freeReplyObject(reply);
    redisFree(context);
    return ours;
}

static bool launch(test_redis *redis)
{
    redis->pid = fork();
    if (redis->pid == 0)
        run_server(redis);
    if (redis->pid < 0) {
        perror("fork");
        redis->pid = 0;
        return false;
    }
    for (const int64_t until = kd_mono_ms() + START_MS; kd_mono_ms() < until; kd_sleep_ms(5)) {
        if (answers(redis))
            return true;
        if (waitpid(redis->pid, NULL, WNOHANG) == redis->pid) { /* the port was taken meanwhile? */
            redis->pid = 0;
            return false;
        }
    }
    test_redis_kill(redis);
    return false;
}

bool test_redis_start(test_redis *redis)
{
    *redis = (test_redis){.folder = "kd-redis-XXXXXX"}; /* ctest runs in the build folder */
    if (!mkdtemp(redis->folder)) {
        perror(redis->folder);
        redis->folder[0] = '\0';
        return false;
    }
    for (int tries = 0; tries < 5; tries++) {
        redis->port = free_port();
        (void)snprintf(redis->address, sizeof redis->address, "127.0.0.1:%d", redis->port);
        if (redis->port > 0 && launch(redis))
            return true;
    }
    fprintf(stderr, "redis-server did not start; its log is %s/redis.log\n", redis->folder);
    return false;
}

void test_redis_kill(test_redis *redis)
{
    if (redis->pid <= 0)
        return;
    (void)kill(redis->pid, SIGKILL);
    while (waitpid(redis->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    redis->pid = 0;
}

bool test_redis_restart(test_redis *redis)
{
    test_redis_kill(redis);
    return launch(redis);
}

void test_redis_stop(test_redis *redis)
{
    test_redis_kill(redis);
    kd_error err = KD_ERROR_INIT;
    if (redis->folder[0] != '\0' && kd_remove_tree(redis->folder, &err) != KD_OK)
        fprintf(stderr, "%s\n", err.message);
    *redis = (test_redis){0};
}
