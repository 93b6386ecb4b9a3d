"""What the services log: one trace id through all hops, as much as was asked for while they run."""

import json
import secrets
import unittest

import kindred
from client import OK, Client

HOPS = ("gateway", "embedder", "indexer")
LEVELS = ("debug", "info", "warn", "error")


def lines(stack, service):
    return [json.loads(line) for line in stack.log(service).splitlines()]


class Logs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("logs").up("--log-json")
        cls.dataset = kindred.draw(products=1, views=3)
        cls.stack.ok("model", "init", "--name", "plain", "--image-size", 64)
        cls.stack.ok("index", cls.dataset, "--model", "plain", "--collection", "all")
        cls.client = Client(cls.stack.address("gateway"))
        cls.image = (cls.dataset / kindred.listing(cls.dataset)[0][3]).read_bytes()

    def search(self):
        """Asks with a trace of our own; returns its id."""
        trace = secrets.token_hex(16)
        metadata = (("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"),)
        code, answer = self.client.call_as(
            metadata, "kindred.v1.GatewayService/SearchProducts", collection="all",
            image=self.image, k=1)
        self.assertEqual(code, OK, answer)
        return trace

    def methods(self, service, trace):
        """The calls that the service logged under the trace id."""
        return {line["method"].rpartition("/")[2] for line in lines(self.stack, service)
                if line["event"] == "rpc" and line["trace"].split("-")[1] == trace}

    def test_a_search_has_one_trace_id_in_all_services(self):
        levels = self.stack.ok("log-level")
        self.assertEqual(levels, {name: "info" for name in kindred.SERVICES if name != "redis"})
        quiet = self.search()
        changed = self.stack.ok("log-level", "all", "debug")
        self.assertEqual(changed["indexer"], {"level": "debug", "was": "info"})
        self.assertEqual(set(self.stack.ok("log-level").values()), {"debug"})
        heard = self.search()
        for service, method in zip(HOPS, ("SearchProducts", "Embed", "Search")):
            kindred.wait_until(lambda s=service, m=method: m in self.methods(s, heard), 10)
            self.assertEqual(self.methods(service, quiet), set(), service)
        for service in ("stack", *HOPS, "trainer"):
            for line in lines(self.stack, service):
                self.assertIn(line["level"], LEVELS)
                self.assertTrue({"time", "service", "event"} <= line.keys(), line)

        one = self.stack.run("log-level", "embedder", "warn")
        self.assertEqual((one.status, one.out), (0, "embedder logs from level warn on, debug before\n"))
        self.stack.ok("log-level", "gateway", "info")
        later = self.search()
        kindred.wait_until(lambda: "Search" in self.methods("indexer", later), 10)
        for service in ("gateway", "embedder"):
            self.assertEqual(self.methods(service, later), set(), service)
        said = [line for line in lines(self.stack, "embedder") if line["event"] == "log_level"]
        self.assertEqual([(line["was"], line["level"]) for line in said][-1][0], "debug")

    def test_wrong_levels_and_services_are_told(self):
        for args, says in ((("redis", "debug"), "'redis' is not a service"),
                           (("all", "loud"), "'loud' is not a log level"),
                           (("all",), "give a service and a level")):
            done = self.stack.run("log-level", *args)
            self.assertEqual(done.status, 2, done)
            self.assertIn(says, done.err)


if __name__ == "__main__":
    kindred.main()
