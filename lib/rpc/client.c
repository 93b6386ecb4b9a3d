/* Channels. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <grpc/grpc_posix.h>
#include <grpc/slice.h>

#include "lib/base/clock.h"
#include "lib/rpc/internal.h"

/* What the core's key means: how long a try may take. Connections are refused at once, but a busy
 * machine's handshake can take longer than the time between two tries. */
#define CONNECT_MS 2000
#define KEEPALIVE_MS 20000 /* a server that is silent that long in a call is asked for a sign… */
#define KEEPALIVE_WAIT_MS 10000 /* …and has so long to give one */
#define LONGEST_PAUSE_MS 2000   /* between tries to connect */

/* ---- To a server of this process ---- */

kd_status kd_server_connect(kd_server *server, kd_channel **out, kd_error *err)
{
    int fds[2];
    *out = NULL;
    if (!atomic_load(&server->started) || atomic_load(&server->draining))
        return kd_error_set(err, KD_UNAVAILABLE, "the server is starting or shutting down");
    kd_channel *const channel = calloc(1, sizeof *channel);
    if (!channel || !(channel->address = strdup("this server"))) {
        free(channel);
        return kd_error_memory(err, "a channel");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
        free(channel->address);
        free(channel);
        return kd_error_errno(err, errno, "cannot make a pair of sockets");
    }
    grpc_arg args[] = {
        kd_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)KD_RPC_MAX_MESSAGE),
        kd_arg(GRPC_ARG_MAX_METADATA_SIZE, (int)KD_RPC_MAX_METADATA),
        kd_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, KD_NOT_COMPRESSED),
    };
    const grpc_channel_args all = {sizeof args / sizeof args[0], args};
    grpc_channel_credentials *const ours = grpc_insecure_credentials_create();
    grpc_server_credentials *const theirs = grpc_insecure_server_credentials_create();
    atomic_init(&channel->missed_ms, 0);
    channel->grpc = grpc_channel_create_from_fd(channel->address, fds[0], ours, &all);
    grpc_server_add_channel_from_fd(server->grpc, fds[1], theirs);
    grpc_channel_credentials_release(ours);
    grpc_server_credentials_release(theirs);
    *out = channel;
    return KD_OK;
}

/* ---- To others ---- */

static kd_status take_key(kd_channel *channel, const char *key, kd_error *err)
{
    char *const text = kd_format("Bearer %s", key);
    if (!text)
        return kd_error_memory(err, "a channel");
    channel->authorization = grpc_slice_from_copied_string(text);
    channel->has_key = true;
    free(text);
    if (grpc_header_nonbin_value_is_legal(channel->authorization))
        return KD_OK;
    return kd_error_set(err, KD_INVALID_ARGUMENT, "the API key has characters that no key has");
}

kd_status kd_channel_open(
    kd_channel **out, const char *address, const kd_channel_options *options, kd_error *err)
{
    grpc_channel_credentials *credentials = NULL;
    kd_descriptors *descriptors = NULL;
    kd_buf config = KD_BUF_INIT;
    *out = NULL;
    kd_channel *channel = calloc(1, sizeof *channel);
    if (!channel || !(channel->address = strdup(address))) {
        free(channel);
        return kd_error_memory(err, "a channel");
    }
    atomic_init(&channel->missed_ms, 0);
    channel->authorization = grpc_empty_slice();
    kd_status status = kd_descriptors_new(&descriptors, options ? options->descriptors : NULL, err);
    if (status == KD_OK) {
        kd_descriptors_config(descriptors, &config);
        if (!kd_buf_ok(&config))
            status = kd_error_memory(err, "a channel");
    }
    if (status == KD_OK && options && options->key)
        status = take_key(channel, options->key, err);
    if (status == KD_OK)
        status = kd_tls_channel(&credentials, options ? options->tls : NULL, err);
    if (status == KD_OK) {
        grpc_arg args[] = {
            kd_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)KD_RPC_MAX_MESSAGE),
            kd_arg(GRPC_ARG_MAX_METADATA_SIZE, (int)KD_RPC_MAX_METADATA),
            kd_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100),
            kd_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS),
            kd_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, LONGEST_PAUSE_MS),
            kd_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS),
            kd_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_WAIT_MS),
            kd_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0), /* as often as it takes */
            kd_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
            kd_arg(GRPC_ARG_ENABLE_RETRIES, 1),
            /* Else what is larger than 256 KiB is sent only once. */
            kd_arg(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, (int)KD_RPC_MAX_MESSAGE + (1 << 16)),
            kd_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, KD_NOT_COMPRESSED),
            {.type = GRPC_ARG_STRING,
                .key = (char *)GRPC_ARG_SERVICE_CONFIG,
                .value.string = (char *)config.data},
        };
        const grpc_channel_args all = {sizeof args / sizeof args[0], args};
        channel->grpc = grpc_channel_create(address, credentials, &all);
        grpc_channel_credentials_release(credentials);
        *out = channel;
    } else {
        grpc_slice_unref(channel->authorization);
        free(channel->address);
        free(channel);
    }
    kd_message_free(descriptors);
    kd_buf_free(&config);
    return status;
}

/* The core's pause before it connects again is timed by a thread that waits for a time of day: it
 * lasts as much longer as the wall clock is set back meanwhile. So a call that finds nobody ends
 * the pause once it must be over. */
void kd_channel_missed(kd_channel *channel)
{
    const int64_t now_ms = kd_mono_ms();
    long long since_ms = atomic_load(&channel->missed_ms);
    if (now_ms - since_ms >= LONGEST_PAUSE_MS &&
        atomic_compare_exchange_strong(&channel->missed_ms, &since_ms, now_ms))
        grpc_channel_reset_connect_backoff(channel->grpc);
}

void kd_channel_close(kd_channel *channel)
{
    if (!channel)
        return;
    grpc_channel_destroy(channel->grpc);
    grpc_slice_unref(channel->authorization);
    free(channel->address);
    free(channel);
}

const char *kd_channel_address(const kd_channel *channel)
{
    return channel->address;
}
