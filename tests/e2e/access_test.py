"""API keys: every method of every service refuses who has no right to it, and nobody else."""

import json
import re
import subprocess
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import kindred
from client import OK, Client, bearer, fields

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
WRONG = "kd_0123456789012345678901234567890123456789012"
SCOPES = ("read", "write", "admin")
SCOPE_OPTION = 50001  # proto/kindred/v1/access.proto
# gRPC's own, whose protos are published without an option of ours.
KNOWN = {"grpc.health.v1.Health": "open", "grpc.reflection.v1.ServerReflection": "read",
         "grpc.reflection.v1alpha.ServerReflection": "read"}
SERVICES = ("gateway", "embedder", "indexer", "trainer")
ROUTES = Path(__file__).parents[2] / "services" / "gateway" / "web" / "routes.c"


def scope_of(client, path):
    """What the proto says of a method; None: nothing."""
    service = path.partition("/")[0]
    if service in KNOWN:
        return KNOWN[service]
    said = dict(fields(client.proto(path).options.SerializeToString())).get(SCOPE_OPTION, 0)
    return SCOPES[said - 1] if said else None


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("access")
        cls.keys = {scope: cls.stack.ok("key", "create", scope, "--scope", scope)["key"]
                    for scope in (*SCOPES, )}
        revoked = cls.stack.ok("key", "create", "gone", "--scope", "admin")
        cls.revoked = revoked["key"]
        cls.stack.ok("key", "revoke", revoked["id"])
        cls.stack.up()

    def code(self, client, key, path):
        """What a call with no more than the key comes to."""
        code, answer = client.call_as(bearer(key) if key else None, path, 30, first=True)
        if key and code != OK:
            self.assertNotIn(key[3:], str(answer))
        return code

    def test_every_method_asks_for_its_scope(self):
        walked = set()
        for service in SERVICES:
            client = Client(self.stack.address(service), self.keys["admin"])
            for path in sorted(client.methods()):
                with self.subTest(service=service, path=path):
                    self.walk(client, path)
                walked.add(path)
            client.channel.close()
        self.assertGreater(len(walked), 35)

    def walk(self, client, path):
        scope = scope_of(client, path)
        self.assertIsNotNone(scope, f"{path} needs `option (scope) = …`: see access.proto")
        refused = (None, WRONG, self.revoked) if scope != "open" else ()
        for key in refused:
            self.assertEqual(self.code(client, key, path), UNAUTHENTICATED)
        if scope == "open":
            self.assertEqual(self.code(client, None, path), OK)
            return
        for i, own in enumerate(SCOPES):
            code = self.code(client, self.keys[own], path)
            if i < SCOPES.index(scope):
                self.assertEqual(code, DENIED, own)
            else:
                self.assertNotIn(code, (DENIED, UNAUTHENTICATED), own)

    def http(self, url, key, verb, path):
        request = urllib.request.Request(
            url + path, method=verb, data=b"{}" if verb == "POST" else None,
            headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            self.assertFalse(key and key[3:] in said, said)
            if error.code == 401:
                self.assertEqual(error.headers["WWW-Authenticate"], "Bearer")
            return error.code

    def test_every_route_asks_for_its_scope(self):
        routes = re.findall(r'(?:RPC|PAGE)?[({]"(?:(GET|POST)", ")?(/[^"]*)", (?:HTML|KD_SCOPE_(\w+))?',
                            ROUTES.read_text(encoding="utf-8"))
        routes = [(verb or "GET", path.replace("**", "x").replace("*", "x"), (scope or "OPEN").lower())
                  for verb, path, scope in routes]
        self.assertGreater(len(routes), 30)
        url = self.stack.ok("status")["http"].rstrip("/")
        for verb, path, scope in [*routes, ("GET", "/metrics", "read"), ("GET", "/healthz", "open")]:
            with self.subTest(verb=verb, path=path):
                for key in (None, WRONG, self.revoked):
                    self.assertEqual(self.http(url, key, verb, path) == 401, scope != "open")
                for own in SCOPES:
                    code = self.http(url, self.keys[own], verb, path)
                    small = scope != "open" and SCOPES.index(own) < SCOPES.index(scope)
                    self.assertEqual(code == 403, small, f"{own}: {code}")
                    self.assertNotEqual(code, 401)

    def test_a_reader_deletes_nothing_through_the_gateway(self):
        gateway = Client(self.stack.address("gateway"), self.keys["admin"])
        self.assertEqual(self.stack.ok("model", "init", "--name", "plain")["name"],
                         "plain")
        model = self.stack.ok("model", "show", "plain")["id"]
        create = {"name": "shop", "model_id": model, "dim": 512}
        indexer = "kindred.v1.IndexerService"
        self.assertEqual(gateway.call(f"{indexer}/CreateCollection", **create)[0], OK)
        for own, expected in (("read", DENIED), ("write", OK)):
            code, _ = gateway.call_as(
                bearer(self.keys[own]), f"{indexer}/DeleteCollection", name="shop")
            self.assertEqual(code, expected)
            listed = self.stack.ok("collection", "list")["collections"]
            self.assertEqual([one["name"] for one in listed], ["shop"] if code == DENIED else [])
        for own, expected in (("read", DENIED), ("write", OK)):
            code, _ = gateway.call_as(
                bearer(self.keys[own]), "kindred.v1.TrainerService/DeleteModel", model="plain")
            self.assertEqual(code, expected)
        gateway.channel.close()

    def test_the_command_shows_a_key(self):
        gateway = self.stack.facts()["gateway"]
        away = kindred.run("job", "list", "--gateway", gateway)
        self.assertEqual(away.status, 1, away)
        self.assertIn("--key-file", away.err)
        key_file = kindred.folder() / "reader.key"
        key_file.write_text(self.keys["read"] + "\n", encoding="utf-8")
        for args, env in (((), {"KINDRED_KEY": self.keys["read"]}),
                          ((), {"KINDRED_KEY_FILE": str(key_file)}),
                          (("--key-file", key_file), None)):
            good = kindred.run("job", "list", "--gateway", gateway, *args, env=env)
            self.assertEqual(good.status, 0, good)
        env = {"KINDRED_KEY": self.keys["read"]}
        denied = self.stack.run("log-level", "all", "debug", "--json", env=env)
        self.assertEqual(denied.error["code"], "PERMISSION_DENIED", denied)
        # Who owns the data folder needs none.
        self.assertEqual(self.stack.run("job", "list").status, 0)
        self.assertEqual(kindred.run("health", self.stack.address("indexer")).status, 0)
        self.assertEqual(self.stack.run("doctor").status, 0)

    def test_keys_count_at_once_and_jobs_need_none(self):
        stack = kindred.Stack("keyed").up()
        self.addCleanup(stack.end)
        address = stack.address("indexer")
        lists = "kindred.v1.IndexerService/ListCollections"
        client = Client(address)
        self.assertEqual(client.call(lists)[0], OK)
        dataset = kindred.draw(products=1, views=3)
        stack.ok("model", "init", "--name", "plain")

        made = stack.ok("key", "create", "shop", "--scope", "read", "--rate", "2")
        kindred.wait_until(lambda: client.call(lists)[0] == UNAUTHENTICATED, 10)
        self.assertEqual(client.call_as(bearer(made["key"]), lists)[0], OK)
        codes = [client.call_as(bearer(made["key"]), lists)[0] for _ in range(20)]
        self.assertIn(grpc.StatusCode.RESOURCE_EXHAUSTED, codes)
        url = "http://" + stack.facts()["services"]["gateway"]["http"]
        codes = [self.http(url, made["key"], "GET", path) for _ in range(10)
                 for path in ("/reports/none/report.html", "/v1/jobs/none/report/report.json")]
        self.assertEqual(set(codes) - {404}, {429})
        stack.ok("index", dataset, "--model", "plain", "--collection", "all")

        stack.ok("key", "revoke", "shop")
        kindred.wait_until(
            lambda: client.call_as(bearer(made["key"]), lists)[0] == UNAUTHENTICATED, 10)
        listed = stack.ok("key", "list")["keys"]
        self.assertEqual([(one["id"], one["state"]) for one in listed], [(made["id"], "revoked")])
        self.assertNotIn("key", listed[0])
        client.channel.close()
        for name in SERVICES:
            self.assertNotIn(made["key"][3:], stack.log(name))
        text = (stack.data / "keys.json").read_text(encoding="utf-8")
        self.assertNotIn(made["key"][3:], text)
        for file in ("keys.json", "run/service.key"):
            self.assertEqual((stack.data / file).stat().st_mode & 0o777, 0o600, file)

    def test_nothing_listens_to_others_unprotected(self):
        stack = kindred.Stack("open")
        for args in (("--listen", "0.0.0.0:0"), ("--http", "0.0.0.0:0")):
            every_file = stack.try_up(*args, "--insecure")
            self.assertEqual(every_file.status, 2, every_file)
            self.assertIn("--datasets DIR", every_file.err)
            up = stack.try_up(*args, "--datasets", "/tmp")
            self.assertEqual(up.status, 2, up)
            self.assertIn("kindred key create", up.err)
            self.assertIn("--insecure", up.err)
        empty, key_file = kindred.folder() / "empty.json", kindred.folder() / "own.key"
        empty.write_text('{"keys": []}', encoding="utf-8")
        stack.ok("key", "create", "own", "--scope", "read", "--out", key_file)
        keys = stack.data / "keys.json"
        for args, status in ((("--listen", "0.0.0.0:0"), 2), (("--http", "[::]:0"), 2),
                             (("--listen", "0.0.0.0:0", "--keys", empty), 2),
                             (("--keys", kindred.folder() / "absent.json"), 1),
                             (("--key-file", empty), 2),
                             (("--listen", "0.0.0.0:0", "--keys", keys), 0),
                             (("--listen", "0.0.0.0:0", "--key-file", key_file), 0),
                             (("--listen", "0.0.0.0:0", "--insecure"), 0)):
            with self.subTest(args=args):
                self.assertEqual(self.serve(*args), status)
        up = stack.try_up("--listen", "0.0.0.0:0", "--datasets", "/tmp", "--json")
        self.assertEqual(up.status, 0, up)
        self.assertTrue(up.json["keys"])

    def serve(self, *args):
        """Exit status of an indexer that can't start; 0 when it serves."""
        ready = Path(kindred.folder() / "indexer.ready")
        ready.unlink(missing_ok=True)
        process = subprocess.Popen(
            [str(kindred.BIN / "kindred-indexer"), "--data", str(kindred.folder() / "alone"),
             *(() if "--listen" in args else ("--listen", "127.0.0.1:0")),
             *(() if "--http" in args else ("--http", "127.0.0.1:0")), "--ready", str(ready),
             *map(str, args)], stderr=subprocess.PIPE, text=True)
        try:
            kindred.wait_until(lambda: process.poll() is not None or ready.exists(), 30)
            if process.poll() is None:
                self.assertIn("grpc", json.loads(ready.read_text(encoding="utf-8")))
                return 0
            self.assertIn("kindred-indexer" if process.returncode == 2 else "error=",
                          process.stderr.read())
            return process.returncode
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=60)


if __name__ == "__main__":
    kindred.main()
