/* Any bytes as a message of one of our services, which the first byte chooses. */
#include <malloc.h>
#include <string.h>

#include "lib/rpc/internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/messages.h"

/* What unpacking really takes, malloc's own share of each block included. */
typedef struct ledger {
    size_t now, most;
} ledger;

static void *take(void *state, size_t size)
{
    ledger *const l = state;
    void *const block = malloc(size);
    FUZZ_CHECK(block != NULL);
    l->now += malloc_usable_size(block) + sizeof(size_t);
    if (l->now > l->most)
        l->most = l->now;
    return block;
}

static void give(void *state, void *block)
{
    ledger *const l = state;
    if (block)
        l->now -= malloc_usable_size(block) + sizeof(size_t);
    free(block);
}

/* No element and no text gets lost. JSON has no number for infinity and NaN. */
static void check_json(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *const type = message->descriptor;
    json_t *const object = kd_message_json(message);
    char *const text = json_dumps(object, 0);
    FUZZ_CHECK(text != NULL);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *const field = &type->fields[i];
        const json_t *const value = json_object_get(object, field->name);
        const uint8_t *const base = (const uint8_t *)message;
        if (field->type == PROTOBUF_C_TYPE_FLOAT || field->type == PROTOBUF_C_TYPE_DOUBLE)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            FUZZ_CHECK(
                json_array_size(value) == *(const size_t *)(base + field->quantifier_offset));
        else if (field->type == PROTOBUF_C_TYPE_STRING &&
                 !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            FUZZ_CHECK(json_is_string(value));
    }
    free(text);
    ProtobufCMessage *back = NULL;
    kd_error err = KD_ERROR_INIT;
    const kd_status status = kd_message_from_json(&back, type, object, &err);
    fuzz_said_why(status, &err);
    if (status == KD_OK) { /* not so where a number is none, or an enum's is unknown */
        json_t *const again = kd_message_json(back);
        FUZZ_CHECK(json_equal(object, again));
        json_decref(again);
        kd_message_free(back);
    }
    json_decref(object);
}

/* What a message is packed to is taken again, and packs to the same. */
static void check_again(const ProtobufCMessage *message)
{
    kd_error err = KD_ERROR_INIT;
    size_t memory = 0;
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *const packed = malloc(2 * len + 1), *const again = packed + len;
    FUZZ_CHECK(packed && protobuf_c_message_pack(message, packed) == len);
    FUZZ_CHECK(kd_wire_check(message->descriptor, packed, len, &memory, &err) == KD_OK);
    ProtobufCMessage *const second =
        protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
    FUZZ_CHECK(second && protobuf_c_message_get_packed_size(second) == len);
    FUZZ_CHECK(protobuf_c_message_pack(second, again) == len && memcmp(packed, again, len) == 0);
    kd_message_free(second);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    kd_error err = KD_ERROR_INIT;
    ledger taken = {0, 0};
    ProtobufCAllocator allocator = {take, give, &taken};
    size_t memory = 0;
    if (len == 0)
        return 0;
    const ProtobufCMessageDescriptor *const type = choose_message(bytes[0]);
    const kd_status status = kd_wire_check(type, bytes + 1, len - 1, &memory, &err);
    fuzz_said_why(status, &err);
    if (status != KD_OK) {
        FUZZ_CHECK(status == KD_INVALID_ARGUMENT || status == KD_RESOURCE_EXHAUSTED);
        return 0;
    }
    ProtobufCMessage *const message =
        protobuf_c_message_unpack(type, &allocator, len - 1, bytes + 1);
    FUZZ_CHECK(taken.most <= memory); /* the server's budget is counted by it */
    if (message) {
        check_json(message);
        check_again(message);
        protobuf_c_message_free_unpacked(message, &allocator);
    }
    FUZZ_CHECK(taken.now == 0);
    return 0;
}
