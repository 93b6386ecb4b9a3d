"""TLS and mutual TLS: services and the command with certificates that the test makes."""

import json
import ssl
import subprocess
import unittest
import urllib.error
import urllib.request

import kindred


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, timeout=60)


class Authority:
    """A certificate authority in a folder, and what it signed."""

    def __init__(self, name):
        self.folder = kindred.folder() / name
        self.folder.mkdir()
        self.ca = self.folder / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", 2, "-subj", f"/CN={name}", "-keyout", self.folder / "ca.key",
                "-out", self.ca)

    def sign(self, name):
        """Certificate and key of a peer at 127.0.0.1."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, more = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        more.write_text("subjectAltName=IP:127.0.0.1\n", encoding="utf-8")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-days", 2, "-in", request, "-CA", self.ca, "-CAkey",
                self.folder / "ca.key", "-CAcreateserial", "-extfile", more, "-out", cert)
        return cert, key


class Service:
    """A service of the test's own, without a supervisor."""

    def __init__(self, name, *args):
        self.data = kindred.folder() / "data"
        self.data.mkdir(exist_ok=True)
        ready = kindred.folder() / f"{name}.ready"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [str(kindred.BIN / f"kindred-{name}"), "--data", str(self.data), "--listen",
             "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready", str(ready), *map(str, args)],
            stderr=subprocess.PIPE, text=True)
        kindred.wait_until(
            lambda: ready.exists() and ready.read_text(encoding="utf-8"), 60, f"{name} is ready")
        facts = json.loads(ready.read_text(encoding="utf-8"))
        self.address, self.http = facts["grpc"], facts["http"]

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=60)
        return self.process.returncode


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ours, cls.others = Authority("ours"), Authority("others")
        cls.cert, cls.key = cls.ours.sign("peer")
        cls.stranger = cls.others.sign("stranger")

    def serve(self, name, *args):
        service = Service(name, *args)
        self.addCleanup(service.end)
        return service

    def health(self, service, *args):
        return kindred.run("health", service.address, "--timeout", 3000, *args)

    def test_tls__the_client_checks_the_server(self):
        indexer = self.serve("indexer", "--tls-cert", self.cert, "--tls-key", self.key)
        good = self.health(indexer, "--tls-ca", self.ours.ca)
        self.assertEqual(good.status, 0, good)
        for args in ([], ["--tls-ca", self.others.ca]):  # plain text, another authority
            bad = self.health(indexer, *args)
            self.assertEqual(bad.status, 3, bad)
            self.assertIn(indexer.address, bad.err)
        env = {"KINDRED_TLS_CA": str(self.ours.ca)}
        self.assertEqual(kindred.run("health", indexer.address, env=env).status, 0)

    def test_tls__the_server_checks_its_clients(self):
        indexer = self.serve(
            "indexer", "--tls-cert", self.cert, "--tls-key", self.key, "--tls-client-ca",
            self.ours.ca)
        ca = ["--tls-ca", self.ours.ca]
        known = [*ca, "--tls-cert", self.cert, "--tls-key", self.key]
        stranger = [*ca, "--tls-cert", self.stranger[0], "--tls-key", self.stranger[1]]
        self.assertEqual(self.health(indexer, *known).status, 0)
        self.assertEqual(self.health(indexer, *ca).status, 3)
        self.assertEqual(self.health(indexer, *stranger).status, 3)

    def test_tls__services_speak_it_to_each_other(self):
        one_way = ["--tls-cert", self.cert, "--tls-key", self.key, "--tls-ca", self.ours.ca]
        for more in ([], ["--tls-client-ca", self.ours.ca]):
            indexer = self.serve("indexer", *one_way, *more)
            gateway = self.serve("gateway", "--indexer", indexer.address, *one_way)
            listed = kindred.run("collection", "list", "--json", "--gateway", gateway.address,
                                 "--tls-ca", self.ours.ca)
            self.assertEqual(listed.status, 0, listed)
            self.assertEqual(listed.json, {"collections": []})
            self.assertEqual(gateway.end(), 0)
            self.assertEqual(indexer.end(), 0)
        indexer = self.serve("indexer", *one_way)
        gateway = self.serve("gateway", "--indexer", indexer.address, *one_way)
        plain = kindred.run("collection", "list", "--gateway", gateway.address)
        self.assertEqual(plain.status, 3, plain)
        wrong = kindred.run("collection", "list", "--gateway", gateway.address, "--tls-ca",
                            self.others.ca)
        self.assertEqual(wrong.status, 3, wrong)
        self.assertIn(f"no gateway answers at {gateway.address}: ", wrong.err)
        self.assertIn("certificate verify failed", wrong.err)

    def test_tls__a_whole_stack_speaks_it(self):
        ours = ["--tls-ca", self.ours.ca, "--tls-cert", self.cert, "--tls-key", self.key]
        stack = kindred.Stack("whole").up(*ours, "--tls-client-ca", self.ours.ca)
        self.addCleanup(stack.end)
        status = stack.ok("status", *ours)
        self.assertTrue(all(one["serving"] for one in status["services"]), status)
        for args in ([], ["--tls-ca", self.ours.ca]):  # plain text, no certificate
            self.assertEqual(stack.run("status", *args).status, 3)
        half = kindred.Stack("half").try_up("--tls-cert", self.cert)
        self.assertEqual((half.status, "--tls-key" in half.err), (2, True), half)

    def https(self, service, path, ca, pair=None):
        context = ssl.create_default_context(cafile=str(ca))
        if pair:
            context.load_cert_chain(*map(str, pair))
        url = f"https://{service.http}{path}"
        with urllib.request.urlopen(url, timeout=30, context=context) as answer:
            return answer.read()

    def test_tls__http_speaks_it_too(self):
        """The gateway's JSON form asks its own server, whatever that wants of clients."""
        one_way = ["--tls-cert", self.cert, "--tls-key", self.key, "--tls-ca", self.ours.ca]
        indexer = self.serve("indexer", *one_way)
        gateway = self.serve("gateway", "--indexer", indexer.address, *one_way,
                             "--tls-client-ca", self.ours.ca)
        self.assertIn(b"kindred_http", self.https(indexer, "/metrics", self.ours.ca))
        with self.assertRaises(urllib.error.URLError) as refused:
            self.https(indexer, "/metrics", self.others.ca)
        self.assertIn("certificate verify failed", str(refused.exception))
        with self.assertRaises(OSError):
            urllib.request.urlopen(f"http://{indexer.http}/metrics", timeout=30)
        listed = self.https(gateway, "/v1/collections", self.ours.ca, (self.cert, self.key))
        self.assertEqual(json.loads(listed)["collections"], [])
        for pair in (None, self.stranger):
            with self.assertRaises(OSError) as refused:
                self.https(gateway, "/v1/collections", self.ours.ca, pair)
            if isinstance(refused.exception, urllib.error.HTTPError):
                self.assertEqual(refused.exception.code, 401)

    def test_tls__what_is_wrong_with_the_files_is_said(self):
        text = kindred.folder() / "text.pem"
        text.write_text("no certificate\n", encoding="utf-8")
        absent = kindred.folder() / "absent.pem"
        for args, says in (
                (["--tls-cert", self.cert], "--tls-key"),
                (["--tls-ca", self.ours.ca], "--tls-key"),
                (["--tls-cert", absent, "--tls-key", self.key], str(absent)),
                (["--tls-cert", text, "--tls-key", self.key], f"{text} has no certificate"),
                (["--tls-cert", self.cert, "--tls-key", text], f"{text} has no private key"),
                (["--tls-cert", self.cert, "--tls-key", self.stranger[1]], "is not the one of"),
                (["--tls-cert", self.cert, "--tls-key", self.key, "--tls-client-ca", text],
                 f"{text} has no certificate")):
            done = kindred.run_program(
                "kindred-indexer", "--data", kindred.folder() / "bad", "--listen", "127.0.0.1:0",
                "--http", "127.0.0.1:0", *args)
            self.assertIn(done.status, (1, 2), done)
            self.assertIn(says, done.err)
        done = kindred.run("health", "127.0.0.1:1", "--tls-ca", text)
        self.assertEqual(done.status, 2, done)
        self.assertIn(f"{text} has no certificate", done.err)


if __name__ == "__main__":
    kindred.main()
