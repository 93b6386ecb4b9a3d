#include "lib/service/guard.h"

#include "lib/base/log.h"

static kd_status check_address(const kd_process *process, const kd_guard_options *options,
    const char *option, const char *address, kd_error *err)
{
    if (kd_is_loopback(address))
        return KD_OK;
    if (kd_access_is_on(process->access)) {
        if (!options->tls)
            KD_LOG(KD_LOG_WARN, "keys_in_clear", KD_STR("address", address),
                KD_STR("advice", "who sees the network sees the keys: use --tls-cert"));
        return KD_OK;
    }
    if (options->mutual_tls)
        return KD_OK;
    if (options->insecure) {
        KD_LOG(KD_LOG_WARN, "unprotected", KD_STR("address", address),
            KD_STR("advice", "everyone who reaches it may do everything"));
        return KD_OK;
    }
    return kd_error_set(err, KD_INVALID_ARGUMENT,
        "with %s %s everyone who reaches this machine may do everything: give --keys FILE with a "
        "key in it (`kindred key create`), or --tls-client-ca for mutual TLS; or say --insecure",
        option, address);
}

kd_status kd_guard_open(kd_process *process, const kd_guard_options *options, kd_error *err)
{
    kd_status status = KD_OK;
    if (options->key_file) {
        status = kd_key_read(process->key, options->key_file, err);
        process->channel.key = process->key;
    }
    if (status == KD_OK && (options->keys || options->key_file))
        status = kd_access_new(
            &process->access, options->keys, options->key_file ? process->key : NULL, err);
    if (status == KD_OK)
        status = check_address(process, options, "--listen", options->listen, err);
    if (status == KD_OK)
        status = check_address(process, options, "--http", options->http, err);
    return status;
}

bool kd_guard_http(
    void *state, const kd_http_request *request, unsigned scope, kd_http_answer *answer)
{
    const kd_process *const process = state;
    const char *const authorization = kd_http_header(request, "Authorization");
    kd_error err = KD_ERROR_INIT;
    if (kd_access_look(process->access, authorization, (kd_scope)scope, NULL, &err) == KD_OK)
        return true;
    if (err.status == KD_UNAUTHENTICATED)
        kd_http_set(answer, "WWW-Authenticate", "Bearer");
    kd_http_fail(answer, &err);
    return false;
}
