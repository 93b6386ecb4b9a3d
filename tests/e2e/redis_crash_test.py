"""kill -9 of Redis, again and again, while jobs are submitted, listed and run and searches are made."""

import os
import random
import signal
import threading
import time
import unittest

import grpc
import kindred
from client import OK, Client

SEED = 20260801
ROUNDS = 4
REDIS_SECONDS = 10  # the gateway gives Redis two; the rest is for a busy machine
GATEWAY = "kindred.v1.GatewayService"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DONE = 3


class Load:
    """Three clients that go on until they are stopped; notes what each call came to."""

    def __init__(self, address, spec, photo):
        self.address, self.spec, self.photo = address, spec, photo
        self.acknowledged = {}  # request id: job id
        self.refused = []       # (seconds, code, sentence) of submits and lists
        self.listed = 0
        self.searches = []      # (seconds, code, sentence)
        self.faults = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guard, args=(run,))
                         for run in (self._submit, self._list, self._search)]
        for thread in self._threads:
            thread.start()

    def _guard(self, run):
        try:
            run(Client(self.address))
        except Exception as fault:  # shown by the test
            self.faults.append(fault)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    @staticmethod
    def _timed(client, path, **values):
        begun = time.monotonic()
        code, answer = client.call(path, **values)
        return time.monotonic() - begun, code, answer

    def _submit(self, client):
        """The same request until it is acknowledged, as our own clients' core does too."""
        while not self._stop.is_set():
            request = f"request-{len(self.acknowledged)}"
            while True:
                seconds, code, answer = self._timed(
                    client, f"{GATEWAY}/SubmitJob", spec=self.spec, request_id=request)
                if code == OK:
                    self.acknowledged[request] = answer.job.id
                    break
                self.refused.append((seconds, code, answer))
                if self._stop.wait(0.02):
                    return
            self._stop.wait(0.4)

    def _list(self, client):
        while not self._stop.is_set():
            seconds, code, answer = self._timed(client, f"{GATEWAY}/ListJobs", page_size=1000)
            if code == OK:
                self.listed += 1
            else:
                self.refused.append((seconds, code, answer))
            self._stop.wait(0.1)

    def _search(self, client):
        while not self._stop.is_set():
            seconds, code, answer = self._timed(
                client, f"{GATEWAY}/SearchProducts", collection="shop", image=self.photo, k=3)
            if code == OK and len(answer.hits) != 3:
                code, answer = None, "not three hits"
            self.searches.append((seconds, code, answer))
            self._stop.wait(0.05)


class RedisCrash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("redis").up("--datasets", kindred.folder())
        cls.products = kindred.draw(products=1, views=3)
        cls.stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        cls.first = cls.stack.ok("index", cls.products, "--model", "plain", "--collection", "shop")
        cls.photo = cls.products / kindred.listing(cls.products, "test")[0][3]

    def test_jobs__that_were_acknowledged_end_done_once(self):
        chance = random.Random(SEED)
        print(f"seed {SEED}", flush=True)
        spec = {"index": {"dataset": str(self.products), "model": "plain", "collection": "shop"}}
        load = Load(self.stack.address("gateway"), spec, self.photo.read_bytes())
        self.addCleanup(load.stop)
        for _ in range(ROUNDS):
            before = len(load.acknowledged)
            kindred.wait_until(lambda: load.faults or len(load.acknowledged) > before)
            time.sleep(chance.uniform(0, 1))  # any moment will do
            self.stack.wait_back("redis", self.stack.kill("redis"))
        before = len(load.acknowledged)
        kindred.wait_until(lambda: load.faults or len(load.acknowledged) > before)
        load.stop()
        self.assertEqual(load.faults, [])
        self.assertGreater(load.listed, ROUNDS)
        self.assertGreater(len(load.refused), 0, "Redis was never missed")

        for seconds, code, sentence in load.refused:
            self.assertEqual(code, UNAVAILABLE, sentence)
            self.assertIn("Redis at 127.0.0.1:", sentence)
            self.assertLess(seconds, REDIS_SECONDS, sentence)
        self.assertEqual([one for one in load.searches if one[1] != OK], [])
        print(f"{len(load.acknowledged)} jobs, {len(load.refused)} calls refused, "
              f"{len(load.searches)} searches, the longest "
              f"{max(one[0] for one in load.searches):.2f} s", flush=True)
        self.check_jobs(set(load.acknowledged.values()), len(load.acknowledged))

    def check_jobs(self, ids, n_requests):
        self.assertEqual(len(ids), n_requests, "two requests became one job")
        client = Client(self.stack.address("gateway"))

        def all_ended():
            code, page = client.call(f"{GATEWAY}/ListJobs", page_size=1000)
            return code == OK and all(job.state >= DONE for job in page.jobs) and page
        jobs = kindred.wait_until(all_ended, 90).jobs
        order = [job.id for job in jobs]
        self.assertEqual(order, sorted(order, reverse=True))
        self.assertEqual(set(order), ids | {self.first["id"]})
        images = len(kindred.listing(self.products))
        for job in jobs:
            self.assertEqual((job.state, job.result.images), (DONE, images), job)
            self.assertEqual(job.result.skipped, 0)
        log = self.stack.log("gateway")
        for job_id in ids:
            self.assertEqual(log.count(f"event=job_done job={job_id}"), 1, job_id)

    def test_redis_down__is_said_at_once_and_searches_go_on(self):
        """The supervisor stands still meanwhile, so that Redis stays away."""
        pids = self.stack.pids()
        os.kill(pids["stack"], signal.SIGSTOP)
        self.addCleanup(os.kill, pids["stack"], signal.SIGCONT)
        kindred.kill(pids["redis"])
        for args in (("index", self.products, "--model", "plain", "--collection", "shop",
                      "--detach"), ("job", "list"), ("job", "show", self.first["id"])):
            begun = time.monotonic()
            told = self.stack.run(*args, "--json")
            self.assertLess(time.monotonic() - begun, REDIS_SECONDS)
            self.assertEqual(told.status, 3, told)
            self.assertEqual(told.error["code"], "UNAVAILABLE")
            self.assertRegex(told.error["message"], r"^Redis at 127\.0\.0\.1:\d+ is unavailable: ")
        found = self.stack.ok("search", self.photo, "--collection", "shop")
        self.assertEqual(len(found["results"][0]["hits"]), 5)
        added = self.stack.run("collection", "add", "shop", self.photo, "--image-id", 999,
                               "--class-id", 1, "--super-class-id", 1)
        self.assertEqual(added.status, 0, added)
        status = self.stack.run("status", "--json")
        self.assertEqual(status.status, 1, status)
        redis, = (one for one in status.json["services"] if one["name"] == "redis")
        self.assertIn("Redis at", redis["detail"])
        self.assertLess(abs(time.time() * 1000 - redis["away_since_unix_ms"]), 120000)
        self.assertIsNone(status.json["jobs"])
        self.assertEqual([one["grave"] for one in status.json["warnings"]
                          if one["message"].startswith("redis is away")], [True])
        os.kill(pids["stack"], signal.SIGCONT)
        self.stack.wait_back("redis", pids["redis"])
        self.assertEqual(self.stack.wait_job(self.first["id"])["id"], self.first["id"])


if __name__ == "__main__":
    kindred.main()
