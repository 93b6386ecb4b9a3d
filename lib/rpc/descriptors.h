/* lib/rpc/descriptors.h: what protoc's descriptor set says about services. */
#ifndef KD_RPC_DESCRIPTORS_H
#define KD_RPC_DESCRIPTORS_H

#include <stdbool.h>

#include "google/protobuf/descriptor.pb-c.h"

#include "lib/base/buf.h"
#include "lib/rpc/rpc.h"

typedef Google__Protobuf__FileDescriptorSet kd_descriptors;
typedef Google__Protobuf__FileDescriptorProto kd_file;

/* set NULL takes kindred's own. Freed by kd_message_free. */
KD_MUST_CHECK kd_status kd_descriptors_new(
    kd_descriptors **out, const kd_descriptor_set *set, kd_error *err);

/* False too for what is not in the set. service is its full name. */
bool kd_descriptors_takes_stream(
    const kd_descriptors *set, const char *service, const char *method);

/* The scope that calling it needs: the method's option `scope`, KD_SCOPE_ADMIN where it has none.
 * gRPC's own services, whose protos are not ours, are known: health is open, reflection reads. */
kd_scope kd_descriptors_scope(const kd_descriptors *set, const char *service, const char *method);

/* gRPC's service config (https://github.com/grpc/grpc/blob/master/doc/service_config.md): the
 * retry policy of the methods that have an idempotency_level. */
void kd_descriptors_config(const kd_descriptors *set, kd_buf *json);

/* NULL: not in the set. */
const kd_file *kd_descriptors_file(const kd_descriptors *set, const char *name);
/* The file that defines a service, method, message, enum, enum value or field of this full name. */
const kd_file *kd_descriptors_symbol(const kd_descriptors *set, const char *name);

#endif
