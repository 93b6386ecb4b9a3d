"""deploy/kubernetes: kustomize takes it, and what it starts are programs and options that there are."""

import re
import shutil
import subprocess
import unittest

import kindred
import yaml

KUBECTL = shutil.which("kubectl")


@unittest.skipUnless(KUBECTL, "kubectl is not there (Debian's kubernetes-client)")
class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        made = subprocess.run([KUBECTL, "kustomize", kindred.SOURCE / "deploy" / "kubernetes"],
                              check=True, capture_output=True, text=True, timeout=60)
        cls.said = made.stderr
        cls.all = list(yaml.safe_load_all(made.stdout))

    def of_kind(self, *kinds):
        return [one for one in self.all if one["kind"] in kinds]

    def test_it_is_taken_without_a_warning(self):
        self.assertEqual(self.said, "")
        self.assertEqual({one["metadata"]["namespace"] for one in self.all}, {"kindred"})
        self.assertEqual({one["metadata"]["name"] for one in self.of_kind("Deployment", "StatefulSet")},
                         {"redis", "embedder", "indexer", "trainer", "gateway"})

    def test_every_pod_is_probed_bounded_and_locked_down(self):
        claims = {one["metadata"]["name"] for one in self.of_kind("PersistentVolumeClaim")}
        ports = {one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]}
                 for one in self.of_kind("Service")}
        for one in self.of_kind("Deployment", "StatefulSet"):
            spec = one["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
            for probe in ("readinessProbe", "livenessProbe"):
                self.assertIn(probe, container)
            self.assertIn("memory", container["resources"]["limits"])
            self.assertEqual({port["containerPort"] for port in container["ports"]},
                             ports[one["metadata"]["name"]])
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            own = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
            self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, set(volumes) | own)
            for volume in volumes.values():
                if "persistentVolumeClaim" in volume:
                    self.assertIn(volume["persistentVolumeClaim"]["claimName"], claims)

    def test_commands_and_options_are_those_of_the_programs(self):
        started = 0
        for one in self.of_kind("Deployment", "StatefulSet"):
            program, *words = one["spec"]["template"]["spec"]["containers"][0]["command"]
            if not program.startswith("kindred-"):
                continue
            help_text = subprocess.run([kindred.BIN / program, "--help"], check=True, timeout=60,
                                       capture_output=True, text=True).stdout
            for word in words:
                if word.startswith("--"):
                    self.assertRegex(help_text, rf"(?m)^ +{re.escape(word)}\b")
            self.assertIn("--keys", words)  # they listen to other machines
            started += 1
        self.assertEqual(started, 4)


if __name__ == "__main__":
    kindred.main()
