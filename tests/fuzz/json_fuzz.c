/* Any bytes as the JSON of a message of one of our services, which the first byte chooses. */
#include "lib/rpc/rpc.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    kd_error err = KD_ERROR_INIT;
    json_t *object = NULL;
    ProtobufCMessage *message = NULL, *second = NULL;
    if (len == 0)
        return 0;
    const ProtobufCMessageDescriptor *const type = choose_message(bytes[0]);
    kd_status status = kd_json_parse(&object, bytes + 1, len - 1, &err);
    if (status == KD_OK)
        status = kd_message_from_json(&message, type, object, &err);
    fuzz_said_why(status, &err);
    FUZZ_CHECK(status == KD_OK || status == KD_INVALID_ARGUMENT || status == KD_RESOURCE_EXHAUSTED);
    FUZZ_CHECK((status == KD_OK) == (message != NULL));
    if (message) { /* what was taken is printed, and taken again as the same */
        json_t *const printed = kd_message_json(message);
        FUZZ_CHECK(kd_message_from_json(&second, type, printed, &err) == KD_OK);
        json_t *const again = kd_message_json(second);
        FUZZ_CHECK(json_equal(printed, again));
        json_decref(again);
        json_decref(printed);
    }
    kd_message_free(second);
    kd_message_free(message);
    json_decref(object);
    return 0;
}
