"""The wall clock of running services is set a day forward and back. Leases, deadlines and pauses are
on the monotonic clock; what is shown to people may be odd, what is kept may not."""

import os
import struct
import time
import unittest

import faults
import grpc
import kindred
from client import OK, Client

SHIM = os.environ["KINDRED_CLOCK_SHIM"]
DAY = 86400
GATEWAY = "kindred.v1.GatewayService"
INDEXER = "kindred.v1.IndexerService"
TRAINER = "kindred.v1.TrainerService"
BUSY_SECONDS = 5


class Clock:
    """The wall clock of the processes that get its environment."""

    def __init__(self, name):
        self._path = kindred.folder() / f"{name}.clock"
        self._path.write_bytes(struct.pack("q", 0))
        self.env = {"LD_PRELOAD": SHIM, "KD_CLOCK_FILE": str(self._path)}

    def jump(self, seconds):
        """So far from the real time of day, from now on; false when that is so already."""
        with open(self._path, "r+b") as file:
            before, = struct.unpack("q", file.read())
            file.seek(0)
            file.write(struct.pack("q", seconds))
        return before != seconds


class Jobs(unittest.TestCase):
    def run_jobs(self, name, *args):
        """Jobs that run and wait while the clock jumps; the tests say whose clock."""
        clock = Clock(name)
        stack = kindred.Stack(name).up("--datasets", kindred.folder(), *args, env=clock.env)
        products = kindred.draw(f"{name}-products", products=4, views=8)
        small = kindred.draw(f"{name}-small", products=1, views=3)
        stack.ok("model", "init", "--name", "plain", "--image-size", 128)
        train = stack.ok("train", small, "--loss", "triplet", "--image-size", 64, "--epochs", 4,
                         "--name", "trained", "--detach")["id"]
        ids = [stack.ok("index", products, "--model", "plain", "--collection", "shop",
                        "--detach")["id"], train]
        ids.sort()  # they were submitted at a time of no jump
        photo = small / kindred.listing(small)[0][3]

        def done():
            job = stack.job(max(set(ids) - {train}))
            self.assertNotEqual(job["state"], "failed", job)
            return int(job.get("progress", {}).get("done", 0))
        kindred.wait_until(lambda: done() > 0, 60)
        for offset in (DAY, -DAY, 0):
            clock.jump(offset)
            ids.append(stack.ok("index", small, "--model", "plain", "--collection", "small",
                                "--detach")["id"])
            shown = stack.ok("job", "list")["jobs"]
            self.assertEqual([job["id"] for job in shown], ids[::-1], "newest first")
            status = stack.ok("status")
            self.assertTrue(all(one["serving"] for one in status["services"]), status)
        ended = {job: stack.wait_job(job, timeout=150) for job in ids}
        self.assertEqual(ids, sorted(set(ids)), "a later job has the greater id")
        return stack, ids, ended, photo

    def check(self, stack, ids, ended, photo):
        for job in ids:
            self.assertEqual(ended[job]["attempt"], 1, "taken for lost while it ran")
            self.assertEqual(int(ended[job]["result"]["skipped"]), 0)
        for service in ("gateway", "trainer"):
            self.assertEqual(stack.log(service).count("event=job_begun") +
                             stack.log(service).count("event=job_taken"),
                             len(ids) - 1 if service == "gateway" else 1)
        stack.ok("index", photo.parents[1], "--model", "trained", "--collection", "again")
        found = stack.ok("search", photo, "--collection", "small")
        self.assertAlmostEqual(found["results"][0]["hits"][0]["score"], 1.0, places=4)

    def test_jobs__when_the_services_clocks_jump(self):
        redis = faults.Redis("clock-redis")
        self.addCleanup(redis.end)
        stack, ids, ended, photo = self.run_jobs("services", "--redis", redis.address)
        self.check(stack, ids, ended, photo)
        for before, after in zip(ids, ids[1:]):  # by Redis's clock, which did not
            self.assertLessEqual(int(ended[before]["created_unix_ms"]),
                                 int(ended[after]["created_unix_ms"]))

    def test_jobs__when_redis_s_clock_jumps_too(self):
        self.check(*self.run_jobs("everything"))


class Deadlines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.clock = Clock("deadlines")
        cls.indexer = faults.Service("indexer", env=cls.clock.env)
        cls.addClassCleanup(cls.indexer.end)
        cls.proxy = faults.Proxy(cls.indexer.address)
        cls.addClassCleanup(cls.proxy.end)
        cls.redis = faults.Redis()
        cls.addClassCleanup(cls.redis.end)
        cls.gateway = faults.Service("gateway", "--indexer", cls.proxy.address, "--redis",
                                     cls.redis.address, env=cls.clock.env)
        cls.addClassCleanup(cls.gateway.end)
        cls.client = Client(cls.gateway.address)

    def setUp(self):
        self.addCleanup(self.proxy.thaw)
        self.addCleanup(self.jump, 0)
        self.wait_works()

    def jump(self, offset):
        """Returns once the gateway has noticed: it looks once a second."""
        log, line = self.gateway.log, "event=clock_set "
        before = log().count(line)
        if self.clock.jump(offset):
            kindred.wait_until(lambda: log().count(line) > before, what="the gateway notices")

    def wait_works(self):
        kindred.wait_until(
            lambda: self.client.call(f"{INDEXER}/ListCollections", timeout=10)[0] == OK, 60)

    def while_jumping(self, path, offset, timeout, **values):
        """A call during which the clock jumps; returns (code, answer, seconds)."""
        client = self.client
        method = f"/{path}"
        request, answer = client.types(path)
        begun = time.monotonic()
        future = client.channel.unary_unary(
            method, request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString).future(request(**values), timeout=timeout)
        self.jump(offset)
        error = future.exception()
        took = time.monotonic() - begun
        return (OK if error is None else error.code()), (error or future.result()), took

    def test_a_question__of_the_gateway_s_own_ends_in_time(self):
        """GetStatus asks each service for at most a second."""
        for offset in (-DAY, DAY, 0):
            self.proxy.freeze()
            code, answer, took = self.while_jumping(f"{GATEWAY}/GetStatus", offset, 30)
            self.assertEqual(code, OK, answer)
            self.assertLess(took, 3 + BUSY_SECONDS)
            self.proxy.thaw()
            self.wait_works()

    def test_a_call__that_takes_its_time_is_not_cut_short(self):
        for offset in (DAY, -DAY, 0):
            self.proxy.trickle()
            code, answer, took = self.while_jumping(f"{INDEXER}/ListCollections", offset, 30)
            self.assertEqual(code, OK, f"after {took:.1f} s: {answer}")
            self.proxy.thaw()

    def test_a_lost_server__is_found_again_soon(self):
        """The pauses between tries to connect."""
        for offset in (-DAY, DAY, 0):
            self.indexer.kill()
            code, _ = self.client.call(f"{INDEXER}/ListCollections", timeout=10)
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
            self.jump(offset)
            self.indexer.start()
            begun = time.monotonic()
            self.wait_works()
            self.assertLess(time.monotonic() - begun, 5 + BUSY_SECONDS)

    def test_the_end__comes_within_the_grace(self):
        for offset in (-DAY, DAY):
            self.jump(offset)
            begun = time.monotonic()
            self.assertEqual(self.gateway.end(), 0)
            self.assertLess(time.monotonic() - begun, 10 + BUSY_SECONDS)
            self.gateway.start()
            type(self).client = Client(self.gateway.address)


if __name__ == "__main__":
    kindred.main()
