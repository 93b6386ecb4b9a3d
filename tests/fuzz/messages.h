/* tests/fuzz/messages.h: a byte chooses a message of our services: the method, in the order of the
 * services below and of their .proto files; its request, or with the top bit its answer. */
#ifndef KD_TESTS_FUZZ_MESSAGES_H
#define KD_TESTS_FUZZ_MESSAGES_H

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "kindred/v1/embedder.pb-c.h"
#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"

/* tools/golden/fuzz.py has the same order. */
static const ProtobufCServiceDescriptor *const fuzz_services[] = {
    &kindred__v1__embedder_service__descriptor,
    &kindred__v1__gateway_service__descriptor,
    &kindred__v1__indexer_service__descriptor,
    &kindred__v1__trainer_service__descriptor,
    &grpc__health__v1__health__descriptor,
    &grpc__reflection__v1__server_reflection__descriptor,
};

static inline const ProtobufCMessageDescriptor *choose_message(uint8_t byte)
{
    unsigned n = 0;
    for (size_t i = 0; i < sizeof fuzz_services / sizeof fuzz_services[0]; i++)
        n += fuzz_services[i]->n_methods;
    unsigned index = (byte & 0x7f) % n;
    size_t at = 0;
    for (; index >= fuzz_services[at]->n_methods; at++)
        index -= fuzz_services[at]->n_methods;
    const ProtobufCMethodDescriptor *const method = &fuzz_services[at]->methods[index];
    return byte & 0x80 ? method->output : method->input;
}

#endif
