#include "tests/rpc/echo.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/rpc/internal.h"

extern const unsigned char echo_descriptors[];
extern const size_t echo_descriptors_len;

kd_descriptor_set echo_set;

/* Echo and Act: answer what they got; "drop", "refuse" and "header KEY" do as they say. */
static void echo(void *state, kd_call *call, const ProtobufCMessage *message)
{
    echo_room *const room = state;
    const echo_request *const request = (const void *)message;
    echo_response response = ECHO_RESPONSE;
    char value[64] = "";
    unsigned drops = atomic_load(&room->drops);
    atomic_fetch_add(&room->taken, 1);
    while (atomic_load(&room->hold) && !kd_call_cancelled(call))
        kd_sleep_ms(1);
    while (drops > 0 && !atomic_compare_exchange_weak(&room->drops, &drops, drops - 1))
        ;
    if (drops > 0) {
        kd_call_end(call, KD_UNAVAILABLE, "dropped");
        return;
    }
    if (strcmp(request->text, "refuse") == 0) {
        kd_error error;
        (void)kd_error_set(&error, KD_UNAVAILABLE, "the one behind is away");
        kd_call_fail(call, &error);
        return;
    }
    response.text = request->text;
    if (strncmp(request->text, "header ", 7) == 0)
        response.text =
            kd_call_metadata(call, request->text + 7, value, sizeof value) ? value : (char *)"none";
    response.data = request->data;
    response.times = request->times;
    atomic_fetch_add(&room->answered, 1);
    kd_call_reply(call, &response.base);
}

/* Repeat: the request so many times. */
static void repeat(void *state, kd_call *call, const ProtobufCMessage *message)
{
    echo_room *const room = state;
    const echo_request *const request = (const void *)message;
    echo_response response = ECHO_RESPONSE;
    response.text = request->text;
    response.data = request->data;
    for (response.times = 0; response.times < request->times; response.times++)
        if (kd_call_write(call, &response.base, true) != KD_OK) {
            atomic_fetch_add(&room->gone, 1);
            break;
        }
    kd_call_finish(call, NULL);
}

/* Pour: as Repeat, by a handler that may not wait. */
typedef struct pour {
    echo_room *room;
    kd_call *call;
    pthread_mutex_t mutex; /* guards what follows */
    uint32_t written, times, unsent;
    bool over;
} pour;

static void pour_on(pour *p, uint32_t sent)
{
    echo_response response = ECHO_RESPONSE;
    pthread_mutex_lock(&p->mutex);
    const bool was_over = p->over;
    p->unsent -= sent;
    while (!p->over && p->written < p->times && p->unsent < KD_RPC_CALL_WAITING) {
        response.times = p->written++;
        const kd_status status = kd_call_write(p->call, &response.base, false);
        assert_int_not_equal(KD_RESOURCE_EXHAUSTED, status);
        p->unsent++;
        p->over = status != KD_OK;
    }
    p->over = p->over || p->written == p->times;
    const bool ends = p->over && !was_over;
    pthread_mutex_unlock(&p->mutex);
    if (ends)
        kd_call_finish(p->call, NULL);
}

static void on_wrote(void *arg)
{
    pour_on(arg, 1);
}

static void on_gone(void *arg)
{
    pour *const p = arg;
    pthread_mutex_destroy(&p->mutex);
    atomic_fetch_add(&p->room->let_go, 1);
    free(p);
}

static void begin_pour(void *state, kd_call *call, const ProtobufCMessage *message)
{
    pour *const p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->room = state;
    p->call = call;
    atomic_fetch_add(&p->room->poured, 1);
    p->times = ((const echo_request *)(const void *)message)->times;
    pthread_mutex_init(&p->mutex, NULL);
    kd_call_watch(call, on_wrote, on_gone, p);
    pour_on(p, 0);
}

typedef struct talk {
    echo_room *room;
    uint32_t n, bytes;
} talk;

/* The client's end, or why there is no message. */
static void end_talk(talk *t, kd_call *call, const kd_error *error, bool collects)
{
    echo_response response = ECHO_RESPONSE;
    if (error->status == KD_CANCELLED)
        atomic_fetch_add(&t->room->gone, 1);
    response.times = t->n;
    if (error->status != KD_OK) {
        kd_call_fail(call, error);
    } else if (collects) {
        atomic_fetch_add(&t->room->answered, 1);
        kd_call_reply(call, &response.base);
    } else {
        kd_call_finish(call, NULL);
    }
    free(t);
}

static void collect_next(void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error)
{
    talk *const t = arg;
    if (!message) {
        end_talk(t, call, error, true);
        return;
    }
    t->n += ((const echo_request *)(const void *)message)->times;
    kd_message_free(message);
    kd_call_read(call, collect_next, t);
}

/* Collect: the sum of times. */
static void collect(void *state, kd_call *call, const ProtobufCMessage *none)
{
    talk *const t = calloc(1, sizeof *t);
    assert_non_null(t);
    assert_null(none);
    t->room = state;
    kd_call_read(call, collect_next, t);
}

static void chat_next(void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error)
{
    talk *const t = arg;
    echo_response response = ECHO_RESPONSE;
    const echo_request *const request = (const void *)message;
    if (!message) {
        end_talk(t, call, error, false);
        return;
    }
    if (strcmp(request->text, "stop") == 0) {
        kd_error stop;
        (void)kd_error_set(&stop, KD_OUT_OF_RANGE, "asked to stop");
        kd_message_free(message);
        kd_call_fail(call, &stop);
        free(t);
        return;
    }
    response.text = request->text;
    response.times = t->n++;
    const kd_status status = kd_call_write(call, &response.base, true);
    kd_message_free(message);
    if (status == KD_OK) {
        kd_call_read(call, chat_next, t);
        return;
    }
    atomic_fetch_add(&t->room->gone, 1);
    kd_call_finish(call, NULL);
    free(t);
}

/* Chat: an answer to each. */
static void chat(void *state, kd_call *call, const ProtobufCMessage *none)
{
    talk *const t = calloc(1, sizeof *t);
    assert_non_null(t);
    assert_null(none);
    t->room = state;
    kd_call_read(call, chat_next, t);
}

void echo_start(echo_room *room, const kd_server_options *options, const char *address)
{
    static const kd_method methods[] = {{"Echo", echo, true}, {"Act", echo, true},
        {"Repeat", repeat, true}, {"Pour", begin_pour, false}, {"Collect", collect, false},
        {"Chat", chat, true}};
    kd_server_options own = KD_SERVER_OPTIONS_INIT;
    if (options)
        own = *options;
    echo_set = (kd_descriptor_set){echo_descriptors, echo_descriptors_len};
    own.descriptors = &echo_set;
    CHECK_OK(kd_server_new(&room->server, &own, &room->err), room->err);
    CHECK_OK(kd_server_add(
                 room->server, ECHO, methods, sizeof methods / sizeof methods[0], room, &room->err),
        room->err);
    CHECK_OK(
        kd_server_start(room->server, address ? address : "127.0.0.1:0", &room->port, &room->err),
        room->err);
}

void echo_front(echo_room *front, const echo_room *behind)
{
    kd_server_options options = KD_SERVER_OPTIONS_INIT;
    options.descriptors = &echo_set;
    CHECK_OK(kd_server_new(&front->server, &options, &front->err), front->err);
    CHECK_OK(kd_server_add_proxy(front->server, ECHO, behind->channel, &front->err), front->err);
    CHECK_OK(kd_server_start(front->server, "127.0.0.1:0", &front->port, &front->err), front->err);
    echo_open(front);
}

void echo_open(echo_room *room)
{
    const kd_channel_options options = {.descriptors = &echo_set};
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", room->port);
    CHECK_OK(kd_channel_open(&room->channel, address, &options, &room->err), room->err);
}

void echo_end(echo_room *room)
{
    kd_channel_close(room->channel);
    kd_server_free(room->server);
    room->channel = NULL;
    room->server = NULL;
}

kd_status echo_once(echo_room *room, const char *text, int64_t timeout_ms)
{
    const kd_call_options options = {.timeout_ms = timeout_ms};
    echo_request request = ECHO_REQUEST;
    ProtobufCMessage *response = NULL;
    request.text = (char *)text;
    const kd_status status = kd_channel_call(
        room->channel, ECHO, "Echo", &request.base, &options, &response, &room->err);
    if (status == KD_OK)
        CHECK_STR(text, ((const echo_response *)(void *)response)->text);
    kd_message_free(response);
    return status;
}

kd_status echo_hear(echo_room *room, kd_stream *stream, echo_response **response)
{
    bool waiting;
    ProtobufCMessage *message = NULL;
    const kd_status status = kd_stream_read(stream, -1, &message, &waiting, &room->err);
    *response = (void *)message;
    return status;
}
