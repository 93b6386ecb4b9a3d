"""Every query of the dashboard and of the alerts, run by Debian's Prometheus on a real stack; and the
metrics that docs/operating.md lists are those that there are."""

import json
import os
import re
import shutil
import subprocess
import unittest
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import kindred
from client import Client

DEPLOY = kindred.SOURCE / "deploy"
SERVICES = ("gateway", "embedder", "indexer", "trainer")
RATE = "6s"  # what Grafana would put for $__rate_interval, at a scrape a second


class Prometheus:
    """A server of the test's own with the configuration of deploy/, but for where the services are."""

    def __init__(self, stack):
        folder = kindred.folder() / "server"
        folder.mkdir()
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        for service in SERVICES:
            http = stack.facts()["services"][service]["http"]
            text, n = re.subn(rf'"{service}:\d+"', f'"{http}"', text)
            assert n == 1, f"{service} is not a target of prometheus.yml"
        text, n = re.subn(r"scrape_interval: \w+", "scrape_interval: 1s", text)
        assert n == 1
        (folder / "prometheus.yml").write_text(text, encoding="utf-8")
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
        self.url = f"http://127.0.0.1:{kindred.free_port()}"
        self.log = open(folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}",
             f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn",
             f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdout=self.log, stderr=self.log)
        kindred.wait_until(lambda: urlopen(f"{self.url}/-/ready", timeout=30).status == 200, 60,
                           "prometheus is ready")

    def query(self, text):
        """The values that it yields, without those that are no numbers. ValueError: it is invalid."""
        try:
            with urlopen(f"{self.url}/api/v1/query?{urlencode({'query': text})}", timeout=30) as got:
                result = json.load(got)["data"]["result"]
        except HTTPError as problem:
            raise ValueError(f"{text}: {problem.read().decode()}") from None
        return [one["metric"] for one in result if one["value"][1] != "NaN"]

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()


def dashboard_queries():
    found = []
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                found.append((panel["title"], target["expr"].replace("$__rate_interval", RATE)))
    return found


@unittest.skipUnless(shutil.which("prometheus"), "tools/deps.sh installs prometheus")
class Observed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("prometheus").up()
        cls.dataset = kindred.draw(products=2, views=4, size=48)
        cls.prometheus = Prometheus(cls.stack)
        cls.addClassCleanup(cls.prometheus.end)
        cls.stack.ok("model", "init", "--name", "plain", "--image-size", 64)
        cls.stack.ok("index", cls.dataset, "--model", "plain", "--collection", "all")
        cls.training = cls.stack.ok(
            "train", cls.dataset, "--loss", "cross-entropy", "--epochs", 2, "--image-size", 32,
            "--detach")["id"]
        cls.client = Client(cls.stack.address("gateway"))
        cls.images = [(cls.dataset / row[3]).read_bytes() for row in kindred.listing(cls.dataset)]

    def ask_around(self):
        """Some of what users do, and some that goes wrong."""
        search, embed = "kindred.v1.GatewayService/SearchProducts", "kindred.v1.EmbedderService/Embed"
        for image in self.images[:4]:
            self.client.call(search, collection="all", image=image, k=3)
        # Behind its end a JPEG may have anything: to the cache it is another picture.
        self.client.call(search, collection="all", image=self.images[0] + os.urandom(8), k=3)
        self.client.call(search, collection="none", image=self.images[0], k=3)
        self.client.call(embed, model="plain", images=[b"no image", self.images[0]])
        self.client.call("kindred.v1.IndexerService/DeleteItems", collection="all", image_ids=[9**9])
        values = self.client.call(embed, model="plain", images=[self.images[0]])[1]
        item = {"image_id": 9**9, "class_id": 1, "super_class_id": 1, "super_class_name": "x"}
        self.client.call("kindred.v1.IndexerService/Upsert", collection="all",
                         model_id=values.model_id,
                         items=[{"item": item, "values": values.embeddings[0].values}])

    def test_each_query_of_the_dashboard_yields_something(self):
        waiting = dashboard_queries()
        self.assertGreater(len(waiting), 40)
        self.assertEqual(self.prometheus.query("kindred_no_such_metric"), [])
        with self.assertRaises(ValueError):
            self.prometheus.query("rate(kindred_index_images")

        def all_seen():
            self.ask_around()
            waiting[:] = [one for one in waiting if not self.prometheus.query(one[1])]
            return not waiting
        try:
            kindred.wait_until(all_seen, 60, "each query yields something")
        except AssertionError:
            self.fail("\n".join(f"nothing for '{title}': {text}" for title, text in waiting))
        self.stack.wait_job(self.training)
        self.assertEqual(
            self.prometheus.query('up{job=~"gateway|embedder|indexer|trainer"} == 0'), [])

    def test_files_and_metrics_are_as_prometheus_wants_them(self):
        checks = [(["check", "config", DEPLOY / "prometheus" / "prometheus.yml"], None)]
        for service in SERVICES:
            with urlopen(f"http://{self.stack.facts()['services'][service]['http']}/metrics",
                         timeout=30) as answer:
                checks.append((["check", "metrics"], answer.read()))
        for args, text in checks:
            done = subprocess.run(["promtool", *map(str, args)], input=text, capture_output=True,
                                  timeout=60)
            self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode())

    def test_the_alerts_are_quiet(self):
        rules = (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
        with urlopen(f"{self.prometheus.url}/api/v1/rules", timeout=30) as answer:
            known = [rule for group in json.load(answer)["data"]["groups"]
                     for rule in group["rules"]]
        self.assertEqual(len(known), rules.count("alert:"))
        for rule in known:
            self.prometheus.query(rule["query"])
            self.assertNotEqual(rule["state"], "firing", rule["name"])

    def test_the_document_lists_every_metric(self):
        """After a training and a failure of each kind: some metrics are there from then on."""
        self.stack.wait_job(self.training)
        text = (kindred.SOURCE / "docs" / "operating.md").read_text(encoding="utf-8")
        listed = set(re.findall(r"^\| `((?:kindred|process)_\w+)`", text, re.MULTILINE))
        found = set()
        for service in SERVICES:
            with urlopen(f"http://{self.stack.facts()['services'][service]['http']}/metrics",
                         timeout=30) as answer:
                found |= set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE))
        self.assertEqual(found, listed)


if __name__ == "__main__":
    kindred.main()
