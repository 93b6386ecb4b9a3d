"""What dies is started again; what a killed supervisor leaves behind is found and ended."""

import os
import shutil
import signal
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


    def test_crash__status_looks_around_without_the_gateway(self):
        pids = self.stack.pids()
        os.kill(pids["stack"], signal.SIGSTOP)  # nobody starts it again
        try:
            kindred.kill(pids["gateway"])
            status = self.stack.run("status", "--json")
            self.assertEqual(status.status, 3, status)
            self.assertEqual(status.error["code"], "UNAVAILABLE")
            self.assertEqual({one["name"]: one["serving"] for one in status.json["services"]},
                             {"gateway": False, "embedder": True, "indexer": True, "trainer": True})
            table = self.stack.run("status")
            self.assertEqual(table.status, 3, table)
            self.assertRegex(table.out, r"(?m)^embedder +serving ")
            self.assertRegex(table.out, r"(?m)^gateway +away ")
            self.assertIn("run/log", table.err)
        finally:
            os.kill(pids["stack"], signal.SIGCONT)
        self.stack.wait_back("gateway", pids["gateway"])


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


class SlowToLoad(unittest.TestCase):
    """A service that loads for long is given the time; one that does nothing is not."""

    def up(self, name, indexer):
        """A stack whose indexer is this Python text, with two seconds of patience."""
        programs = kindred.folder() / f"{name}-programs"
        programs.mkdir()
        shutil.copy(kindred.BIN / "kindred", programs)
        fake = programs / "kindred-indexer"
        fake.write_text(f"#!/usr/bin/python3\nimport os, sys, time\n"
                        f"REAL = {str(kindred.BIN / 'kindred-indexer')!r}\n{indexer}\n"
                        "os.execv(REAL, [REAL, *sys.argv[1:]])\n", encoding="utf-8")
        fake.chmod(0o755)
        stack = kindred.Stack(name)
        done = kindred.run_program(
            programs / "kindred", "up", "--detach", "--ready-seconds", 2, "--data", stack.data,
            env={"PATH": f"{kindred.BIN}:{os.environ['PATH']}"})
        return stack, done

    def test_crash__a_service_that_is_loading_is_not_killed(self):
        stack, done = self.up("loading", "end = time.monotonic() + 5\n"
                                         "while time.monotonic() < end: pass")
        self.assertEqual(done.status, 0, done)
        old = stack.kill("indexer")
        stack.wait_back("indexer", old)
        self.assertEqual(stack.log("stack").count("event=started child=indexer"), 2)
        self.assertNotIn("event=not_ready", stack.log("stack"))

    def test_crash__a_service_that_does_nothing_is_given_up(self):
        stack, done = self.up("hanging", "time.sleep(1000)")
        self.assertEqual(done.status, 1, done)
        self.assertIn("indexer is not ready after", done.err)
        self.assertEqual(stack.processes(), [])

    def test_crash__a_restarted_service_that_does_nothing_is_started_again(self):
        mark = kindred.folder() / "hang-once"
        stack, done = self.up("hang-later", f"mark = {str(mark)!r}\n"
                                            "if os.path.exists(mark):\n"
                                            "    os.unlink(mark)\n"
                                            "    time.sleep(1000)")
        self.assertEqual(done.status, 0, done)
        mark.write_text("once", encoding="utf-8")
        old = stack.kill("indexer")
        kindred.wait_until(lambda: "event=not_ready child=indexer" in stack.log("stack"))
        stack.wait_back("indexer", old)


if __name__ == "__main__":
    kindred.main()
