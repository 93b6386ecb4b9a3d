"""deploy/docker-compose*.yml: compose takes them, and what they start are programs, options and image
stages that there are. deploy/containers.py runs them."""

import re
import shutil
import subprocess
import unittest

import kindred
import yaml

DEPLOY = kindred.SOURCE / "deploy"
MAIN, GPU = DEPLOY / "docker-compose.yml", DEPLOY / "docker-compose.gpu.yml"


def compose_command():
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and subprocess.run(
                [*words, "version"], capture_output=True, check=False).returncode == 0:
            return words
    return None


def config(*files):
    """The services of the files as compose understands them together, with the profile metrics."""
    command = [*compose_command(), *(word for file in files for word in ("-f", file)),
               "--profile", "metrics", "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    for service in services.values():
        service["volumes"].sort(key=str)  # a merge changes their order
    return services


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.services = yaml.safe_load(MAIN.read_text(encoding="utf-8"))["services"]
        cls.gpu = yaml.safe_load(GPU.read_text(encoding="utf-8"))["services"]

    def ours(self):
        return {name: self.services[name] for name in kindred.SERVICES}

    def test_every_service_is_watched_and_locked_down(self):
        for name, service in self.ours().items():
            with self.subTest(service=name):
                self.assertTrue(service["read_only"] and service["init"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["restart"], "unless-stopped")
                self.assertIn("healthcheck", service)

    def test_the_gateway_alone_is_published_on_loopback(self):
        published = {name: service["ports"] for name, service in self.ours().items()
                     if "ports" in service}
        self.assertEqual(list(published), ["gateway"])
        for port in published["gateway"]:
            self.assertRegex(port, r"^\$\{KINDRED_BIND:-127\.0\.0\.1\}:")

    def test_commands_and_options_are_those_of_the_programs(self):
        started = 0
        for service in self.ours().values():
            program, *words = service["command"].split()
            if not program.startswith("kindred-"):
                continue
            help_text = subprocess.run([kindred.BIN / program, "--help"], check=True, timeout=60,
                                       capture_output=True, text=True).stdout
            for word in words:
                if word.startswith("--"):
                    self.assertRegex(help_text, rf"(?m)^ +{re.escape(word)}\b")
            started += 1
        self.assertEqual(started, 4)

    def test_each_image_is_built_from_a_stage_of_its_name(self):
        stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$",
                                (DEPLOY / "Dockerfile").read_text(encoding="utf-8")))
        for services in (self.ours(), self.gpu):
            built = {service["image"]: service["build"]["target"] for service in services.values()
                     if "build" in service}
            self.assertEqual(set(built), {service["image"] for service in services.values()})
            for image, stage in built.items():
                self.assertEqual(image, stage)
                self.assertIn(stage, stages)

    @unittest.skipUnless(compose_command(), "neither docker compose nor docker-compose is there")
    def test_compose_takes_them(self):
        plain, on_gpu = config(MAIN), config(MAIN, GPU)
        self.assertEqual(set(plain), set(self.services))
        for name, service in on_gpu.items():
            with self.subTest(service=name):
                if name not in ("embedder", "trainer"):
                    self.assertEqual(service, plain[name])
                    continue
                self.assertEqual(service["image"], "kindred-torch-cuda")
                (device,) = service["deploy"]["resources"]["reservations"]["devices"]
                self.assertEqual((device["driver"], device["capabilities"]), ("nvidia", ["gpu"]))
                for kept in ("command", "read_only", "cap_drop", "volumes", "healthcheck"):
                    self.assertEqual(service[kept], plain[name][kept])


if __name__ == "__main__":
    kindred.main()
