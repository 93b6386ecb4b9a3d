"""A gRPC client that knows nothing but an address: it finds every service by reflection, called as
a plain stream."""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

OK = grpc.StatusCode.OK
REFLECTION = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(field, value):
    """A string field on the wire."""
    return varint(field << 3 | 2) + varint(len(value.encode())) + value.encode()


def fields(data):
    """(number, value) of each field of a message, bytes or int."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            assert key & 7 == 2, key
            length = number()
            yield key >> 3, data[at:at + length]
            at += length


class Reflection:
    """What a server says about itself, asked over one stream."""

    def __init__(self, channel, package, metadata=None):
        self._stream = channel.stream_stream(f"/{package}.ServerReflection/ServerReflectionInfo")
        self._metadata = metadata

    def ask(self, *requests):
        answers = [dict(fields(answer)) for answer in self._stream(
            iter(requests), timeout=30, metadata=self._metadata)]
        assert len(answers) == len(requests)
        return answers

    def services(self):
        answer, = self.ask(text(7, ""))
        return [dict(fields(service))[1].decode() for _, service in fields(answer[6])]

    def files(self, symbol):
        answer, = self.ask(text(4, symbol))
        return [descriptor_pb2.FileDescriptorProto.FromString(one) for _, one in fields(answer[4])]


def bearer(key):
    """Metadata of a call with an API key."""
    return (("authorization", f"Bearer {key}"),)


class Client:
    """Makes and sends the messages of the methods that reflection found, with a key or without."""

    def __init__(self, address, key=None):
        self.metadata = bearer(key) if key else None
        # A connection of its own: not one that another client had to a server of before.
        self.channel = grpc.insecure_channel(
            address, options=[("grpc.use_local_subchannel_pool", 1)])
        grpc.channel_ready_future(self.channel).result(timeout=60)
        self.reflection = Reflection(self.channel, REFLECTION[0], self.metadata)
        self.pool = descriptor_pool.DescriptorPool()
        self.names = self.reflection.services()
        seen = set()
        for name in self.names:
            for file in reversed(self.reflection.files(name)):  # what is imported comes behind
                if file.name not in seen:
                    self.pool.Add(file)
                    seen.add(file.name)
        self.factory = message_factory.MessageFactory(self.pool)
        self.called = set()

    def methods(self):
        return {f"{service}/{method.name}" for service in self.names
                for method in self.pool.FindServiceByName(service).methods}

    def proto(self, path):
        """The method's descriptor."""
        service, _, name = path.partition("/")
        proto = descriptor_pb2.MethodDescriptorProto()
        self.pool.FindServiceByName(service).FindMethodByName(name).CopyToProto(proto)
        return proto

    def types(self, path):
        """The classes of request and answer."""
        service, _, name = path.partition("/")
        method = self.pool.FindServiceByName(service).FindMethodByName(name)
        return (self.factory.GetPrototype(method.input_type),
                self.factory.GetPrototype(method.output_type))

    def call(self, path, timeout=60, **values):
        """Returns (status code, answer or list of answers or the sentence)."""
        return self.call_as(self.metadata, path, timeout, **values)

    def call_as(self, metadata, path, timeout=60, first=False, **values):
        """The same with other metadata. first: of a stream of answers only the first is read."""
        request_type, answer = self.types(path)
        request = request_type(**values)
        proto = self.proto(path)
        kind = ("stream" if proto.client_streaming else "unary") + "_" + (
            "stream" if proto.server_streaming else "unary")
        send = getattr(self.channel, kind)(
            f"/{path}", request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString)
        self.called.add(path)
        try:
            got = send(iter([request]) if proto.client_streaming else request, timeout=timeout,
                       metadata=metadata)
            if not proto.server_streaming:
                return OK, got
            if not first:
                return OK, list(got)
            one = next(got, None)
            got.cancel()
            return OK, one
        except grpc.RpcError as problem:
            return problem.code(), problem.details()
