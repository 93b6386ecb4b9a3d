"""Every process of the stack is killed at random moments while it indexes, evaluates, trains and
takes single images; afterwards all is as if nothing had been."""

import json
import random
import threading
import time
import unittest

import grpc
import kindred
from client import OK, Client

SEED = 20260802
KILLS = 2  # of each process: an attempt of a job is lost with each, and a job has five
GATEWAY = "kindred.v1.GatewayService"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
INDEXER = "kindred.v1.IndexerService"


class Adder:
    """Puts vectors into a collection, one by one, and remembers which were acknowledged."""

    def __init__(self, address, model):
        self.acknowledged, self.refused, self.fault = [], 0, None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(address, model))
        self._thread.start()

    def _run(self, address, model):
        try:
            client = Client(address)
            vector = [1.0] + [0.0] * (model["dim"] - 1)
            number = 0
            while not self._stop.wait(0.02):
                number += 1
                item = {"image_id": number, "class_id": number % 7, "super_class_id": 1,
                        "super_class_name": "x"}
                code, answer = client.call(
                    f"{INDEXER}/Upsert", collection="single", model_id=model["id"],
                    items=[{"item": item, "values": vector}])
                if code == OK:
                    self.acknowledged.append(number)
                elif code == UNAVAILABLE:
                    self.refused += 1
                else:
                    raise AssertionError(f"{code}: {answer}")
        except Exception as fault:  # shown by the test
            self.fault = fault

    def stop(self):
        self._stop.set()
        self._thread.join(60)


class RandomCrash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("random").up("--datasets", kindred.folder())
        cls.products = kindred.draw(products=3, views=8)
        cls.model = cls.stack.ok("model", "init", "--name", "plain", "--image-size", 96)
        cls.client = Client(cls.stack.address("gateway"))

    def start(self):
        return {
            "index": self.stack.ok("index", self.products, "--model", "plain", "--collection",
                                   "shop", "--detach")["id"],
            "train": self.stack.ok("train", self.products, "--loss", "triplet", "--image-size", 64,
                                   "--epochs", 3, "--name", "trained", "--detach")["id"],
            "evaluate": self.stack.ok("evaluate", self.products, "--model", "plain",
                                      "--detach")["id"],
        }

    def state(self, job):
        return kindred.wait_until(lambda: self.stack.job(job), 60)["state"]

    def items(self, collection):
        listed = self.stack.ok("collection", "items", collection)
        return [int(item["image_id"]) for item in listed["items"]]

    def test_everything__survives_kills_at_random(self):
        chance = random.Random(SEED)
        victims = list(kindred.SERVICES) * KILLS
        chance.shuffle(victims)
        print(f"seed {SEED}: {' '.join(victims)}", flush=True)
        code, answer = self.client.call(f"{INDEXER}/CreateCollection", name="single",
                                        model_id=self.model["id"], dim=self.model["dim"])
        self.assertEqual(code, OK, answer)
        jobs = self.start()
        adder = Adder(self.stack.address("gateway"), self.model)
        self.addCleanup(adder.stop)
        for victim in victims:
            time.sleep(chance.uniform(0.2, 1.5))  # any moment will do
            self.stack.wait_back(victim, self.stack.kill(victim))
        under_way = [name for name, job in jobs.items()
                     if self.state(job) in ("queued", "running")]
        print(f"still under way after the last kill: {under_way}", flush=True)
        ended = {name: self.stack.wait_job(job, timeout=150) for name, job in jobs.items()}
        adder.stop()
        self.assertIsNone(adder.fault)
        print(f"attempts {[one['attempt'] for one in ended.values()]}, upserts: "
              f"{len(adder.acknowledged)} acknowledged, {adder.refused} refused", flush=True)
        self.check_collections(ended["index"], adder)
        self.check_model(ended["train"])
        self.check_report(ended["evaluate"])

    def check_collections(self, job, adder):
        expected = [row[0] for row in kindred.listing(self.products)]
        self.assertEqual(int(job["result"]["images"]), len(expected))
        self.assertEqual(self.items("shop"), expected)
        self.assertGreater(len(adder.acknowledged), 0)
        found = self.items("single")
        self.assertEqual(set(adder.acknowledged) - set(found), set(), "acknowledged and lost")
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(len(found), len(adder.acknowledged) + adder.refused)

    def check_model(self, job):
        trained = self.stack.ok("model", "show", "trained")
        self.assertEqual(trained["id"], job["result"]["model_id"])
        self.assertEqual(trained["source"], job["id"])
        names = [one["name"] for one in self.stack.ok("model", "list")["models"]]
        self.assertEqual(sorted(names), ["plain", "trained"])
        self.stack.ok("index", self.products, "--model", "trained", "--collection", "retrained")

    def check_report(self, job):
        """The numbers are those of an evaluation that nothing disturbed."""
        again = self.stack.ok("evaluate", self.products, "--model", "plain")
        for name in ("metrics", "gallery", "protocol", "data_hash"):
            self.assertEqual(json.dumps(job["result"][name]), json.dumps(again["result"][name]))


if __name__ == "__main__":
    kindred.main()
