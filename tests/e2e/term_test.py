"""SIGTERM to each service under load: what was taken is answered, the rest is told UNAVAILABLE."""

import threading
import time
import unittest

import faults
import grpc
import kindred
from client import OK, Client

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
GRACE_SECONDS = 10
CLIENTS = 6
MODEL, DIM = "aaaabbbbccccdddd", 64
GATEWAY = "kindred.v1.GatewayService"
EMBEDDER = "kindred.v1.EmbedderService"
INDEXER = "kindred.v1.IndexerService"
TRAINER = "kindred.v1.TrainerService"


class Load:
    """Clients that call until they are refused; `calls` makes (path, values) of a number."""

    def __init__(self, address, calls):
        self.answers = []  # (path, code, sentence or answer, begun, ended)
        self.good = 0
        self._calls, self._lock, self._next = calls, threading.Lock(), 0
        self._threads = [threading.Thread(target=self._run, args=(Client(address),))
                         for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, client):
        code = OK
        while code == OK:
            with self._lock:
                self._next += 1
                number = self._next
            path, values = self._calls(number)
            begun = time.monotonic()
            code, answer = client.call(path, **values)
            with self._lock:
                self.answers.append((path, code, answer, begun, time.monotonic()))
                self.good += code == OK

    def wait(self):
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


class Scraper:
    """The service's own counts of answered calls, up to its end."""

    def __init__(self, service):
        self.counts = {}
        self._service = service
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            while True:
                self.counts = {
                    key.partition('method="')[2].partition('"')[0]: value
                    for key, value in self._service.metrics().items()
                    if key.startswith("kindred_rpc_seconds_count{")}
        except OSError:
            pass

    def wait(self):
        self._thread.join(60)
        return self.counts


class Term(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=1, views=3)
        cls.photos = [(cls.products / row[3]).read_bytes() for row in kindred.listing(cls.products)]

    def serve(self, name, *args):
        service = faults.Service(name, *args, data=self.id().rpartition(".")[2])
        self.addCleanup(service.end)
        return service

    def redis(self):
        redis = faults.Redis(self.id().rpartition(".")[2] + "-redis")
        self.addCleanup(redis.end)
        return redis

    def ok(self, service, path, **values):
        code, answer = Client(service.address).call(path, **values)
        self.assertEqual(code, OK, answer)
        return answer

    def term(self, service, calls, warm=20):
        """Loads the service, ends it, looks at what each call came to; returns the load."""
        load = Load(service.address, calls)
        kindred.wait_until(lambda: load.good >= warm, 60)
        scraper = Scraper(service)
        kindred.wait_until(lambda: scraper.counts)
        sent = time.monotonic()
        self.assertEqual(service.end(), 0, service.log())
        took = time.monotonic() - sent
        load.wait()
        counts = scraper.wait()
        self.assertLess(took, GRACE_SECONDS + 5)
        for path, code, answer, _, _ in load.answers:
            self.assertIn(code, (OK, UNAVAILABLE), f"{path}: {answer}")
        # A call that the service counts as answered has reached its client.
        for method, count in counts.items():
            if method.startswith("grpc."):
                continue  # the clients' own questions by reflection
            reached = sum(1 for path, code, answer, _, _ in load.answers if path == method and (
                code == OK or "shutting down" in answer)) + self.before.get(method, 0)
            self.assertGreaterEqual(reached, count, method)
        in_flight = sum(1 for _, code, _, begun, ended in load.answers
                        if code == OK and begun < sent < ended)
        print(f"{service.name}: {load.good} answered, {in_flight} of them after SIGTERM; "
              f"ended in {took:.2f} s", flush=True)
        return load, in_flight

    def setUp(self):
        self.before = {}  # calls that the test itself made, by method

    def made(self, *paths):
        for path in paths:
            self.before[path] = self.before.get(path, 0) + 1

    def test_term__indexer(self):
        indexer = self.serve("indexer")
        self.ok(indexer, f"{INDEXER}/CreateCollection", name="shop", model_id=MODEL, dim=DIM)
        self.made(f"{INDEXER}/CreateCollection")
        vector = [1.0] + [0.0] * (DIM - 1)

        def calls(number):
            if number % 3 == 0:
                return f"{INDEXER}/Search", {"collection": "shop", "model_id": MODEL, "k": 3,
                                             "queries": [{"values": vector}]}
            item = {"image_id": number, "class_id": 1, "super_class_id": 1}
            return f"{INDEXER}/Upsert", {"collection": "shop", "model_id": MODEL,
                                         "items": [{"item": item, "values": vector}]}
        load, _ = self.term(indexer, calls)
        upserts = sum(1 for path, code, *_ in load.answers
                      if path.endswith("/Upsert") and code == OK)
        indexer.start()
        count = self.ok(indexer, f"{INDEXER}/GetCollection", name="shop").collection.count
        self.assertGreaterEqual(count, upserts, "acknowledged and lost")
        self.assertLessEqual(count, upserts + CLIENTS)

    def test_term__embedder(self):
        redis = self.redis()
        trainer = self.serve("trainer", "--redis", redis.address)
        self.ok(trainer, f"{TRAINER}/ImportModel", name="plain", random=True, image_size=96)
        embedder = self.serve("embedder", "--redis", redis.address)

        def calls(number):  # never the same bytes: nothing comes from the cache
            images = [photo + b"%d" % number for photo in self.photos[:8]]
            return f"{EMBEDDER}/Embed", {"model": "plain", "images": images}
        _, in_flight = self.term(embedder, calls, warm=CLIENTS)
        self.assertGreater(in_flight, 0)

    def test_term__trainer(self):
        redis = self.redis()
        trainer = self.serve("trainer", "--redis", redis.address, "--datasets", kindred.folder())
        self.ok(trainer, f"{TRAINER}/ImportModel", name="plain", random=True, image_size=96)
        self.made(f"{TRAINER}/ImportModel")

        def calls(number):
            if number % 4:
                return f"{TRAINER}/GetModel", {"model": "plain"}
            return f"{TRAINER}/ExportModel", {"model": "plain", "format": "safetensors"}
        load, _ = self.term(trainer, calls)
        sizes = {sum(len(piece.data) for piece in answer) for path, code, answer, *_ in load.answers
                 if path.endswith("/ExportModel") and code == OK}
        self.assertEqual(len(sizes), 1, "an export that was cut short")

    def test_term__gateway(self):
        redis = self.redis()
        indexer = self.serve("indexer")
        trainer = self.serve("trainer", "--redis", redis.address)
        embedder = self.serve("embedder", "--redis", redis.address)
        model = self.ok(trainer, f"{TRAINER}/ImportModel", name="plain", random=True, image_size=64).model
        gateway = self.serve(
            "gateway", "--redis", redis.address, "--indexer", indexer.address, "--trainer",
            trainer.address, "--embedder", embedder.address, "--datasets", kindred.folder())
        self.ok(indexer, f"{INDEXER}/CreateCollection", name="shop", model_id=model.id,
                dim=model.dim)
        for image, _, _, path in kindred.listing(self.products)[:5]:
            self.ok(gateway, f"{GATEWAY}/AddImage", collection="shop",
                    image=(self.products / path).read_bytes(),
                    item={"image_id": image, "class_id": 1, "super_class_id": 1})
            self.made(f"{GATEWAY}/AddImage")
        spec = {"index": {"dataset": str(self.products), "model": "plain", "collection": "all"}}
        job = self.ok(gateway, f"{GATEWAY}/SubmitJob", spec=spec).job
        self.made(f"{GATEWAY}/SubmitJob")

        def calls(number):
            return ((f"{GATEWAY}/SearchProducts", {
                        "collection": "shop", "k": 3,
                        "image": self.photos[number % len(self.photos)] + b"%d" % number}),
                    (f"{GATEWAY}/GetJob", {"job_id": job.id}),
                    (f"{INDEXER}/ListItems", {"collection": "shop"}))[number % 3]
        self.term(gateway, calls)
        gateway.start()
        kindred.wait_until(
            lambda: self.ok(gateway, f"{GATEWAY}/GetJob", job_id=job.id).job.state == 3)


if __name__ == "__main__":
    kindred.main()
