"""`kindred up`, `down`, `status` and `health`: one stack to a data folder, nothing left behind."""

import os
import shutil
import signal
import socket
import time
import unittest
from pathlib import Path

import kindred


class Up(unittest.TestCase):
    """One stack that all of these look at."""

    EMBEDDER = ("--precision", "float32", "--model-memory", "300", "--cache-float16")

    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("up")
        cls.printed = cls.stack.try_up("--json", *cls.EMBEDDER)

    def test_up__prints_where_the_stack_answers(self):
        self.assertEqual(self.printed.status, 0, self.printed)
        facts = self.stack.facts()
        for field in ("gateway", "http", "redis", "data", "pid"):
            self.assertEqual(self.printed.json[field], facts[field])
        self.assertTrue(facts["http"].startswith("http://127.0.0.1:"))
        self.assertEqual(Path(facts["data"]), self.stack.data)

    def test_up__makes_folders_and_lists_services(self):
        services = self.stack.facts()["services"]
        self.assertEqual(set(services), {"redis", "embedder", "indexer", "trainer", "gateway"})
        for name, one in services.items():
            self.assertTrue(kindred.alive(one["pid"]), name)
            self.assertNotEqual(self.stack.log(name), "", name)

    def test_up__passes_the_embedder_its_options(self):
        words = Path(f"/proc/{self.stack.pids()['embedder']}/cmdline").read_bytes()
        for option in self.EMBEDDER:
            self.assertIn(option, words.decode().split("\0"))

    def test_up__is_refused_twice_on_one_folder(self):
        again = self.stack.try_up()
        self.assertEqual(again.status, 1, again)
        self.assertIn(f"a stack runs already on {self.stack.data}", again.err)
        self.assertIn(f"(pid {self.stack.facts()['pid']})", again.err)
        self.assertTrue(kindred.alive(self.stack.facts()["pid"]))

    def test_up__keeps_each_acknowledged_job_on_disk(self):
        words = Path(f"/proc/{self.stack.pids()['redis']}/cwd").resolve()
        self.assertEqual(words, self.stack.data / "redis")
        host, port = self.stack.facts()["redis"].split(":")
        with socket.create_connection((host, int(port)), timeout=10) as redis:
            answers = redis.makefile("r")
            for name, value in (("appendonly", "yes"), ("appendfsync", "always"),
                                ("maxmemory-policy", "volatile-lru"), ("save", ""),
                                ("bind", "127.0.0.1")):
                redis.sendall(f"CONFIG GET {name}\r\n".encode())
                lines = [answers.readline().rstrip("\r\n") for _ in range(5)]
                self.assertEqual(lines[4], value, name)

    def test_status__says_how_the_stack_is(self):
        status = self.stack.ok("status")
        facts = self.stack.facts()
        self.assertEqual(status["gateway"], facts["gateway"])
        self.assertEqual(status["http"], facts["http"])
        self.assertEqual(status["data"], str(self.stack.data))
        serving = {one["name"]: one["serving"] for one in status["services"]}
        self.assertEqual(serving, dict.fromkeys(
            ("embedder", "indexer", "trainer", "redis", "gateway"), True))
        self.assertEqual((status["models"], status["collections"]), (0, 0))
        self.assertEqual(status["jobs"], dict.fromkeys(
            ("queued", "running", "done", "failed", "cancelled", "dead"), 0))
        self.assertEqual((status["indexes"], status["loaded_models"]), ([], []))
        self.assertTrue(status["healthy"], status["warnings"])
        self.assertTrue(status["embeds"]["has_cache"])
        for one in status["services"]:
            self.assertGreater(one["memory_bytes"], 100000, one)
            self.assertLess(abs(time.time() * 1000 - one["started_unix_ms"]), 240000, one)
            self.assertTrue(one["version"], one)
            self.assertEqual(one["away_since_unix_ms"], 0, one)
        table = self.stack.run("status")
        self.assertEqual(table.status, 0, table)
        for text in (facts["gateway"], facts["http"], "embedder", "serving"):
            self.assertIn(text, table.out)

    def test_status__finds_the_gateway_by_option_and_environment(self):
        gateway = self.stack.facts()["gateway"]
        by_option = kindred.run("status", "--json", "--gateway", gateway)
        self.assertEqual(by_option.json["gateway"], gateway)
        by_environment = kindred.run("status", "--json", env={"KINDRED_GATEWAY": gateway})
        self.assertEqual(by_environment.json["gateway"], gateway)

    def test_health__says_serving_of_each_service(self):
        for name in ("embedder", "indexer", "trainer", "gateway"):
            health = kindred.run("health", self.stack.address(name))
            self.assertEqual((health.status, health.out), (0, "serving\n"), name)

    def test_up__serves_metrics_of_each_service(self):
        for name in ("embedder", "indexer", "trainer", "gateway"):
            self.assertNotEqual(self.stack.metrics(name), {}, name)


class NoStack(unittest.TestCase):
    def test_status__without_a_stack_says_what_to_do(self):
        stack = kindred.Stack("never")
        status = stack.run("status")
        self.assertEqual(status.status, 3, status)
        self.assertIn(f"no stack runs on {stack.data}; start one with `kindred up`", status.err)
        failed = stack.run("status", "--json")
        self.assertEqual((failed.status, failed.error["code"]), (3, "UNAVAILABLE"))

    def test_down__without_a_stack_is_fine(self):
        stack = kindred.Stack("never-down")
        down = stack.run("down")
        self.assertEqual(down.status, 0, down)
        self.assertIn("no stack runs on", down.out)

    def test_health__of_nobody_is_unreachable(self):
        nobody = f"127.0.0.1:{kindred.free_port()}"
        health = kindred.run("health", nobody, "--timeout", 500)
        self.assertEqual(health.status, 3, health)
        self.assertIn(nobody, health.err)

    def test_health__wants_an_address(self):
        self.assertEqual(kindred.run("health").status, 2)
        self.assertEqual(kindred.run("health", "nowhere").status, 2)
        self.assertEqual(kindred.run("health", "127.0.0.1:1", "--timeout", "soon").status, 2)


class Refused(unittest.TestCase):
    """What can't be started is said in a sentence, and leaves no process."""

    def refuse(self, status, text, *args, name=None):
        stack = kindred.Stack(name or self.id().rpartition(".")[2])
        done = stack.try_up(*args)
        self.assertEqual(done.status, status, done)
        self.assertIn(text, done.err)
        self.assertEqual(done.err.count("\n"), 1, "one sentence")
        self.assertEqual(stack.processes(), [])
        self.assertFalse((stack.data / "run" / "stack.json").exists())
        self.assertEqual(stack.run("status").status, 3)

    def test_up__port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            self.refuse(1, "in use", "--listen", address)
            self.refuse(1, address, "--http", address, name="http-in-use")

    def test_up__dataset_folder_that_is_not_there(self):
        missing = kindred.folder() / "missing"
        self.refuse(1, str(missing), "--datasets", missing)

    def test_up__open_to_others_needs_datasets(self):
        self.refuse(2, "--datasets", "--listen", "0.0.0.0:0")

    def test_up__redis_that_does_not_answer(self):
        address = f"127.0.0.1:{kindred.free_port()}"
        self.refuse(3, f"no Redis answers at {address}", "--redis", address)

    def test_up__wrong_usage(self):
        self.refuse(2, "'nowhere'", "--listen", "nowhere")
        self.refuse(2, "--threads", "--threads", "many", name="threads")
        self.refuse(2, "--precision", "--precision", "int8", name="precision")
        self.refuse(2, "--model-memory", "--model-memory", "0", name="memory")

    def test_up__a_service_that_will_not_start_is_quoted(self):
        """The command finds its programs beside itself first, then on PATH."""
        programs = kindred.folder() / "programs"
        programs.mkdir()
        shutil.copy(kindred.BIN / "kindred", programs)
        (programs / "kindred-embedder").write_text(
            "#!/bin/sh\necho 'these weights are stale' >&2\nexit 2\n", encoding="utf-8")
        (programs / "kindred-embedder").chmod(0o755)
        stack = kindred.Stack("will-not-start")
        done = kindred.run_program(programs / "kindred", "up", "--detach", "--data", stack.data,
                                   env={"PATH": f"{kindred.BIN}:{os.environ['PATH']}"})
        self.assertEqual(done.status, 1, done)
        self.assertIn("embedder ended with exit status 2: these weights are stale", done.err)
        self.assertEqual(stack.log("stack").count("child=embedder"), 1, "not tried again")
        self.assertEqual(stack.processes(), [])


class Down(unittest.TestCase):
    def test_down__ends_everything(self):
        stack = kindred.Stack("down").up()
        pids = stack.pids()
        self.assertEqual(len(stack.processes()), 6)
        down = stack.down()
        self.assertIn("has ended", down.out)
        self.assertEqual([name for name, pid in pids.items() if kindred.alive(pid)], [])
        self.assertEqual(stack.processes(), [])
        self.assertFalse((stack.data / "run" / "stack.json").exists())
        self.assertEqual(stack.run("status").status, 3)
        for name in ("gateway", "trainer", "indexer", "embedder"):  # SIGTERM was enough
            self.assertIn("event=draining", stack.log(name), name)
        self.assertTrue(stack.up().facts())  # and the folder can be used again

    def test_up__in_the_foreground_ends_with_an_interrupt(self):
        stack = kindred.Stack("foreground")
        up = stack.start("up", "--json")
        line = up.stdout.readline()
        self.assertIn('"gateway"', line)
        self.assertEqual(stack.ok("status")["gateway"], stack.facts()["gateway"])
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
        self.assertEqual(up.returncode, 0)
        self.assertEqual(stack.processes(), [])

    def test_up__uses_a_redis_that_runs(self):
        first = kindred.Stack("first").up()
        address = first.facts()["redis"]
        second = kindred.Stack("second").up("--redis", address)
        self.assertEqual(second.facts()["redis"], address)
        self.assertNotIn("redis", second.facts()["services"])
        second.down()
        self.assertTrue(kindred.alive(first.pids()["redis"]))


if __name__ == "__main__":
    kindred.main()
