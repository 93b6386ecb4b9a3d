"""What dies is started again; what a killed supervisor leaves behind is found and ended."""

import unittest

import kindred


class Crash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("crash").up()

    def test_crash__a_killed_service_is_back_at_its_address(self):
        for service in ("embedder", "indexer", "trainer", "gateway", "redis"):
            with self.subTest(service):
                before = self.stack.facts()
                old = self.stack.kill(service)
                self.stack.wait_back(service, old)
                after = self.stack.facts()
                for field in ("address", "http"):
                    self.assertEqual(after["services"][service].get(field),
                                     before["services"][service].get(field))
                self.assertEqual(after["pid"], before["pid"])
                others = {name: one["pid"] for name, one in after["services"].items()
                          if name != service}
                for name, pid in others.items():
                    self.assertEqual(pid, before["services"][name]["pid"], name)

    def test_crash__everything_killed_serves_again(self):
        old = self.stack.pids()
        for service in kindred.SERVICES:
            kindred.kill(old[service])
        for service in kindred.SERVICES:
            self.stack.wait_back(service, old[service])

        def all_serve():
            return all(one["serving"] for one in self.stack.ok("status")["services"])
        kindred.wait_until(all_serve, 60)


class Orphans(unittest.TestCase):
    """The supervisor is killed: its children go on, but nobody watches over them."""

    def orphan(self, name):
        stack = kindred.Stack(name).up()
        old = stack.pids()
        stack.kill("stack")
        self.assertTrue((stack.data / "run" / "stack.json").exists())
        self.assertEqual([name for name, pid in old.items() if not kindred.alive(pid)], ["stack"])
        status = stack.run("status")  # a stale stack.json isn't believed
        self.assertEqual(status.status, 3, status)
        self.assertIn("no stack runs on", status.err)
        return stack, old

    def test_crash__up_ends_what_a_killed_stack_left(self):
        stack, old = self.orphan("orphans-up")
        stack.up()
        self.assertEqual([name for name, pid in old.items() if kindred.alive(pid)], [])
        self.assertEqual(len(stack.processes()), 6)
        self.assertTrue(all(one["serving"] for one in stack.ok("status")["services"]))

    def test_crash__down_ends_what_a_killed_stack_left(self):
        stack, old = self.orphan("orphans-down")
        self.assertIn("5 processes that one had left behind have ended", stack.down().out)
        self.assertEqual([name for name, pid in old.items() if kindred.alive(pid)], [])
        self.assertEqual(stack.processes(), [])


if __name__ == "__main__":
    kindred.main()
