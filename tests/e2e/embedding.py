"""What the tests of the embedder share: a room with its services, and streams sent one by one."""

import queue
import unittest

import faults
import grpc
import kindred
from client import OK, Client

SERVICE = "kindred.v1.EmbedderService"
BUSY = 128      # images that keep the forward busy for a while
PATIENT = ("--max-wait-ms", 120000)  # what keeps the forward busy is no overload


class Stream:
    """An EmbedStream whose messages a test sends one by one."""

    def __init__(self, client, timeout=120):
        request, answer = client.types(f"{SERVICE}/EmbedStream")
        self._type, self._messages = request, queue.Queue()
        self.call = client.channel.stream_stream(
            f"/{SERVICE}/EmbedStream",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString)(iter(self._messages.get, None),
                                                     timeout=timeout)

    def send(self, **values):
        self._messages.put(self._type(**values))

    def end(self):
        self._messages.put(None)

    def answer(self):
        return next(self.call)

    def code(self):
        """How it ended; its answers until then are passed over."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError:
            pass
        return self.call.code()


class Room(unittest.TestCase):
    """An embedder of the file's own, a gateway before it, and models "plain" and "large"."""

    OPTIONS = PATIENT
    SIZES = {"plain": 64, "large": 256}

    @classmethod
    def setUpClass(cls):
        def made(thing):
            cls.addClassCleanup(thing.end)
            return thing
        cls.redis = made(faults.Redis())
        redis = ("--redis", cls.redis.address)
        cls.trainer = made(faults.Service("trainer", *redis))
        cls.embedder = made(faults.Service("embedder", *redis, *cls.OPTIONS))
        gateway = made(faults.Service("gateway", *redis, "--embedder", cls.embedder.address,
                                      "--trainer", cls.trainer.address))
        for name, size in cls.SIZES.items():
            model = cls.make_model(name, size)
        cls.dim = model.dim
        cls.client = Client(cls.embedder.address)
        cls.gateway = Client(gateway.address)
        products = kindred.draw(products=5, views=5)
        cls.photos = [(products / row[3]).read_bytes()
                      for split in ("train", "test") for row in kindred.listing(products, split)]
        cls.fresh_count = 0

    @classmethod
    def make_model(cls, name, size, seed=0):
        """Publishes a model of random weights, another for each seed."""
        code, answer = Client(cls.trainer.address).call(
            "kindred.v1.TrainerService/ImportModel", name=name, random=True, image_size=size,
            seed=seed)
        assert code == OK, answer
        return answer.model

    def setUp(self):
        self.ok("LoadModel", model="large")
        kindred.wait_until(lambda: self.metric("queue_images") == 0, 60)
        self.before = self.embedder.metrics()

    # -- Calls

    def ok(self, method, client=None, **values):
        code, answer = (client or self.client).call(f"{SERVICE}/{method}", **values)
        self.assertEqual(code, OK, answer)
        return answer

    def embed(self, images, client=None, **values):
        return self.ok("Embed", client, **{"model": "plain", "images": images, **values}).embeddings

    def start(self, client=None, timeout=120, **values):
        """Begins an Embed; its result() is the answer."""
        client = client or self.client
        request, answer = client.types(f"{SERVICE}/Embed")
        return client.channel.unary_unary(
            f"/{SERVICE}/Embed", request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString).future(request(**values), timeout=timeout)

    @classmethod
    def fresh(cls):
        """An image that no cache knows."""
        cls.fresh_count += 1
        return cls.photos[0] + b"%d" % cls.fresh_count

    def metric(self, name):
        return self.embedder.metrics()[f"kindred_embed_{name}"]

    def grown(self, name):
        return self.metric(name) - self.before[f"kindred_embed_{name}"]

    def wait_grown(self, name, by):
        kindred.wait_until(lambda: self.grown(name) >= by, 60, f"{name} has grown by {by}")

    def keep_busy(self):
        """Calls that give the forward enough to do for the rest of a test."""
        calls = [self.start(model="large", images=[self.fresh() for _ in range(64)])
                 for _ in range(BUSY // 64)]
        self.wait_grown("images_total", BUSY)
        return calls

    def restart(self, *args):
        """Begins the embedder that has ended anew."""
        self.embedder.args = ["--redis", self.redis.address, *self.OPTIONS, *args]
        self.embedder.start()
        type(self).client = Client(self.embedder.address)
        kindred.wait_until(lambda: self.gateway.call(f"{SERVICE}/ListLoadedModels")[0] == OK, 30)
        self.before = self.embedder.metrics()
