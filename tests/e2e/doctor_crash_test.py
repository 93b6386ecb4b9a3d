"""`kindred doctor` while a part of the stack is away. The supervisor stands still meanwhile, so that
what was killed stays away."""

import os
import signal
import unittest

import kindred


class DoctorCrash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        products = kindred.draw(products=1, views=3)
        cls.stack = kindred.Stack("doctor").up("--datasets", kindred.folder())
        cls.stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        cls.stack.ok("index", products, "--model", "plain", "--collection", "shop")

    def kill(self, service):
        """Until the test is over, and the service back."""
        pids = self.stack.pids()
        address = self.stack.address(service)
        os.kill(pids["stack"], signal.SIGSTOP)

        def bring_back():
            os.kill(pids["stack"], signal.SIGCONT)
            self.stack.wait_back(service, pids[service])
            kindred.wait_until(lambda: self.well(self.stack.doctor(0)), 60, "all is well again")
        self.addCleanup(bring_back)
        kindred.kill(pids[service])
        return address

    @staticmethod
    def well(checks):
        return all(one[0] == "ok" for name, one in checks.items() if name != "disk")

    def fails(self, checks, name, *words):
        state, detail, advice = checks[name]
        self.assertEqual(state, "fail", (name, detail))
        for word in words:
            self.assertIn(word, detail)
        self.assertIn(str(self.stack.data / "run" / "log"), advice)
        self.assertIn("kindred up", advice)
        others = [other for other, one in checks.items() if one[0] == "fail" and other != name]
        self.assertEqual(others, [], checks)

    def states(self, checks, **expected):
        self.assertEqual({name: checks[name][0] for name in expected}, expected, checks)

    def test_redis(self):
        address = self.kill("redis")
        checks = self.stack.doctor(1)
        self.fails(checks, "queue", f"Redis at {address} is unavailable")
        self.states(checks, embedder="ok", cache="warn", jobs="skip",
                    **{"model plain": "ok", "collection shop": "ok"})
        self.assertIn("cache_lost", checks["cache"][2])

    def check_without(self, service):
        address = self.kill(service)
        checks = self.stack.doctor(1)
        self.fails(checks, service, address)
        return checks

    def test_embedder(self):
        checks = self.check_without("embedder")
        self.states(checks, cache="skip", **{"model plain": "skip", "collection shop": "skip"})

    def test_indexer(self):
        checks = self.check_without("indexer")
        self.states(checks, collections="skip", cache="ok", **{"model plain": "ok"})

    def test_trainer(self):
        checks = self.check_without("trainer")
        self.states(checks, models="skip", cache="skip", **{"collection shop": "ok"})

    def test_gateway(self):
        address = self.kill("gateway")
        checks = self.stack.doctor(3)
        self.assertEqual(list(checks), ["gateway"])
        self.assertEqual(checks["gateway"][0], "fail")
        self.assertIn(f"no gateway answers at {address}", checks["gateway"][1])
        self.assertIn("kindred up", checks["gateway"][2])


if __name__ == "__main__":
    kindred.main()
