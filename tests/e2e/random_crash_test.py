"""Every process of the stack is killed at random moments while it indexes, evaluates, trains and
takes single images; afterwards all is as if nothing had been."""

import json
import random
import time
import unittest

import kindred
from faults import Adder

SEED = 20260802
KILLS = 2  # of each process: an attempt of a job is lost with each, and a job has five


class RandomCrash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("random").up("--datasets", kindred.folder())
        cls.products = kindred.draw(products=3, views=8)
        cls.model = cls.stack.ok("model", "init", "--name", "plain", "--image-size", 96)

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
        print(f"attempts {[one['attempt'] for one in ended.values()]}, upserts: "
              f"{len(adder.acknowledged)} acknowledged, {adder.refused} refused", flush=True)
        self.check_collections(ended["index"], adder)
        self.check_model(ended["train"])
        self.check_report(ended["evaluate"])

    def check_collections(self, job, adder):
        expected = [row[0] for row in kindred.listing(self.products)]
        self.assertEqual(int(job["result"]["images"]), len(expected))
        self.assertEqual(self.items("shop"), expected)
        adder.check(self.items(Adder.COLLECTION))

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
