"""Peers that take a connection and are silent, stop in the middle of a call, or trickle. Calls end by
their deadline, other calls of the gateway go on, and once the peer is back all works."""

import threading
import time
import unittest

import faults
import grpc
import kindred
from client import OK, Client

DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
GATEWAY = "kindred.v1.GatewayService"
INDEXER = "kindred.v1.IndexerService"
TRAINER = "kindred.v1.TrainerService"
SECONDS = 2       # deadline of a call that will not be answered
BUSY_SECONDS = 5  # what a busy machine may add to a deadline


class SilentPeer(unittest.TestCase):
    """A gateway that reaches its indexer, its embedder and Redis through proxies."""

    @classmethod
    def setUpClass(cls):
        def made(thing):
            cls.addClassCleanup(thing.end)
            return thing
        cls.products = kindred.draw(products=1, views=4)
        cls.redis = made(faults.Redis())
        cls.redis_proxy = made(faults.Proxy(cls.redis.address))
        redis = ("--redis", cls.redis_proxy.address)
        cls.indexer = made(faults.Service("indexer"))
        cls.trainer = made(faults.Service("trainer", "--redis", cls.redis.address))
        cls.embedder = made(faults.Service("embedder", *redis))
        cls.indexer_proxy = made(faults.Proxy(cls.indexer.address))
        cls.embedder_proxy = made(faults.Proxy(cls.embedder.address))
        cls.gateway = made(faults.Service(
            "gateway", *redis, "--indexer", cls.indexer_proxy.address, "--embedder",
            cls.embedder_proxy.address, "--trainer", cls.trainer.address, "--datasets",
            kindred.folder()))
        cls.proxies = (cls.redis_proxy, cls.indexer_proxy, cls.embedder_proxy)
        cls.client = Client(cls.gateway.address)
        _, answer = cls.client.call(f"{TRAINER}/ImportModel", name="plain", random=True,
                                    image_size=64)
        cls.model = answer.model
        assert cls.client.call(f"{INDEXER}/CreateCollection", name="shop", model_id=cls.model.id,
                               dim=cls.model.dim)[0] == OK
        rows = kindred.listing(cls.products)[:6]
        for image, label, above, path in rows:
            code, answer = cls.client.call(
                f"{GATEWAY}/AddImage", collection="shop", image=(cls.products / path).read_bytes(),
                item={"image_id": image, "class_id": label, "super_class_id": above})
            assert code == OK, answer
        cls.photo = (cls.products / rows[0][3]).read_bytes()
        cls.first = rows[0][0]

    def setUp(self):
        self.fresh = 0
        for proxy in self.proxies:
            self.addCleanup(proxy.thaw)

    # -- Calls

    def ends(self, path, timeout=SECONDS, says=None, codes=(DEADLINE, UNAVAILABLE), **values):
        """The call fails, and no later than it should."""
        begun = time.monotonic()
        code, answer = self.client.call(path, timeout=timeout, **values)
        took = time.monotonic() - begun
        self.assertIn(code, codes, answer)
        self.assertLess(took, timeout + BUSY_SECONDS)
        if says and code == UNAVAILABLE:
            self.assertIn(says, answer)
        return code, answer

    def query(self):
        """An image that no cache knows."""
        self.fresh += 1
        return self.photo + f"{self.id()}{self.fresh}".encode()

    def search(self, **values):
        return self.client.call(f"{GATEWAY}/SearchProducts", collection="shop", k=3, timeout=30,
                                **(values or {"image": self.query()}))

    def works(self):
        code, answer = self.search()
        self.assertEqual(code, OK, answer)
        self.assertEqual(answer.hits[0].item.image_id, self.first)
        return True

    def others_go_on(self):
        """What needs neither indexer nor embedder is answered as ever."""
        for path, values in ((f"{GATEWAY}/ListJobs", {}), (f"{TRAINER}/ListModels", {})):
            begun = time.monotonic()
            code, answer = self.client.call(path, timeout=30, **values)
            self.assertEqual(code, OK, answer)
            self.assertLess(time.monotonic() - begun, BUSY_SECONDS)

    def status(self):
        code, answer = self.client.call(f"{GATEWAY}/GetStatus", timeout=30)
        self.assertEqual(code, OK, answer)
        return {one.name: one for one in answer.services}

    def nothing_leaked(self, descriptors):
        kindred.wait_until(lambda: self.gateway.descriptors() <= descriptors + 2, 30,
                           "the gateway's connections are as before")

    # -- Tests

    def test_indexer__that_goes_silent(self):
        descriptors = self.gateway.descriptors()
        self.works()
        self.indexer_proxy.freeze()
        for _ in range(3):
            self.ends(f"{INDEXER}/ListCollections", says=self.indexer_proxy.address)
            self.ends(f"{GATEWAY}/SearchProducts", says=self.indexer_proxy.address,
                      collection="shop", k=3, image_id=self.first)
        self.others_go_on()
        shown = self.status()
        self.assertFalse(shown["indexer"].serving)
        self.assertIn(self.indexer_proxy.address, shown["indexer"].detail)
        self.assertTrue(shown["embedder"].serving)
        self.indexer_proxy.thaw()
        kindred.wait_until(self.works, 30)
        self.nothing_leaked(descriptors)

    def test_embedder__that_goes_silent(self):
        self.works()
        self.embedder_proxy.freeze()
        self.ends(f"{GATEWAY}/SearchProducts", says=self.embedder_proxy.address,
                  collection="shop", k=3, image=self.query())
        self.others_go_on()
        code, answer = self.search(image_id=self.first)  # needs no embedding
        self.assertEqual(code, OK, answer)
        self.embedder_proxy.thaw()
        kindred.wait_until(self.works, 30)

    def test_a_lost_peer__is_named_before_a_long_deadline(self):
        """A call with a minute's time: the connection counts as lost after half of it."""
        self.works()
        self.indexer_proxy.freeze()
        begun = time.monotonic()
        code, answer = self.client.call(f"{INDEXER}/ListCollections", timeout=60)
        self.assertLess(time.monotonic() - begun, 45)
        self.assertEqual(code, UNAVAILABLE, answer)
        self.assertIn(self.indexer_proxy.address, answer)
        # Now it isn't even connected: that is told at once.
        begun = time.monotonic()
        code, answer = self.client.call(f"{INDEXER}/ListCollections", timeout=60)
        self.assertEqual(code, UNAVAILABLE, answer)
        self.assertIn(self.indexer_proxy.address, answer)
        self.assertLess(time.monotonic() - begun, BUSY_SECONDS + 2)
        self.others_go_on()
        self.indexer_proxy.thaw()
        kindred.wait_until(self.works, 30)

    def test_an_answer__that_stops_in_the_middle(self):
        """The list is some 100 kB; the proxy stops after 20."""
        for first in range(0, 1000, 100):
            items = [{"item": {"image_id": 10000 + first + i, "class_id": 1, "super_class_id": 1,
                               "uri": f"/photographs/{'x' * 100}/{first + i}.jpg"},
                      "values": [1.0] + [0.0] * (self.model.dim - 1)} for i in range(100)]
            code, answer = Client(self.indexer.address).call(
                f"{INDEXER}/Upsert", collection="shop", model_id=self.model.id, items=items)
            self.assertEqual(code, OK, answer)
        values = {"collection": "shop", "page_size": 1000}
        code, answer = self.client.call(f"{INDEXER}/ListItems", **values)
        self.assertEqual(code, OK, answer)
        n_items = len(answer.items)
        self.indexer_proxy.freeze_after(20000)
        self.ends(f"{INDEXER}/ListItems", says=self.indexer_proxy.address, **values)
        self.assertTrue(self.indexer_proxy.frozen)
        self.others_go_on()
        self.indexer_proxy.thaw()
        kindred.wait_until(self.works, 30)
        code, answer = self.client.call(f"{INDEXER}/ListItems", **values)
        self.assertEqual((code, len(answer.items)), (OK, n_items))

    def test_a_trickle__is_waited_for_up_to_the_deadline(self):
        self.works()
        self.indexer_proxy.trickle()  # 320 bytes a second: enough for a little question
        code, answer = self.client.call(f"{INDEXER}/GetItem", collection="shop",
                                        image_id=self.first, timeout=SECONDS)
        self.assertIn(code, (DEADLINE, UNAVAILABLE), answer)  # 2 kB
        code, answer = self.client.call(f"{INDEXER}/ListCollections", timeout=30)
        self.assertEqual(code, OK, answer)
        self.others_go_on()
        self.indexer_proxy.thaw()
        kindred.wait_until(self.works, 30)

    def test_redis__that_goes_silent(self):
        self.works()
        self.redis_proxy.freeze()
        begun = time.monotonic()
        self.works()
        self.assertLess(time.monotonic() - begun, BUSY_SECONDS)
        shown = self.status()
        self.assertFalse(shown["redis"].serving)
        self.assertIn("no answer in time", shown["redis"].detail)
        spec = {"index": {"dataset": str(self.products), "model": "plain", "collection": "all"}}
        code, answer = self.ends(f"{GATEWAY}/SubmitJob", codes=(UNAVAILABLE,), timeout=30,
                                 spec=spec, request_id="silent")
        self.assertIn(self.redis_proxy.address, answer)
        self.assertIn("no answer in time", answer)

        # Many that wait for it at a time hold up nobody who doesn't.
        waiting = [threading.Thread(target=Client(self.gateway.address).call,
                                    args=(f"{GATEWAY}/ListJobs",)) for _ in range(12)]
        for thread in waiting:
            thread.start()
        for _ in range(5):
            begun = time.monotonic()
            self.works()
            self.assertLess(time.monotonic() - begun, BUSY_SECONDS)
        for thread in waiting:
            thread.join(60)
        self.redis_proxy.thaw()
        kindred.wait_until(lambda: self.status()["redis"].serving, 30)

        def submitted():
            code, answer = self.client.call(
                f"{GATEWAY}/SubmitJob", spec=spec, request_id="silent", timeout=30)
            return code == OK and answer.job.id
        job = kindred.wait_until(submitted, 30)

        def done():
            code, answer = self.client.call(f"{GATEWAY}/GetJob", job_id=job, timeout=30)
            return code == OK and answer.job.state == 3
        kindred.wait_until(done, 60)
        code, answer = self.client.call(f"{GATEWAY}/ListJobs", timeout=30)
        self.assertEqual([one.id for one in answer.jobs], [job])  # the first try left none, or this


class SilentEnd(unittest.TestCase):
    def test_services__end_while_everything_around_them_is_silent(self):
        redis = faults.Redis("end-redis")
        self.addCleanup(redis.end)
        proxy = faults.Proxy(redis.address)
        self.addCleanup(proxy.end)
        products = kindred.draw("end", products=1, views=2)
        photos = [(products / row[3]).read_bytes() for row in kindred.listing(products)]
        started = []
        for name in ("trainer", "embedder", "gateway"):
            started.append(faults.Service(name, "--redis", proxy.address, data="end"))
            self.addCleanup(started[-1].end)
        trainer, embedder, _ = started
        code, answer = Client(trainer.address).call(
            f"{TRAINER}/ImportModel", name="plain", random=True, image_size=32)
        self.assertEqual(code, OK, answer)
        proxy.freeze()
        client = Client(embedder.address)
        for number in range(30):  # each leaves something for the cache
            code, answer = client.call("kindred.v1.EmbedderService/Embed", model="plain",
                                       images=[photos[0] + b"%d" % number])
            self.assertEqual(code, OK, answer)
        for service in started:
            begun = time.monotonic()
            self.assertEqual(service.end(), 0)
            self.assertLess(time.monotonic() - begun, 10 + BUSY_SECONDS, service.name)


if __name__ == "__main__":
    kindred.main()
