"""The plain model's numbers on real photographs equal those of PyTorch and Pillow (reference.json)."""

import json
import unittest

import kindred

GROCERY = kindred.SHARED / "datasets" / "grocery"
WEIGHTS = kindred.SHARED / "models" / "resnet18-imagenet"


@unittest.skipUnless(GROCERY.is_dir() and WEIGHTS.is_dir(),
                     "shared/datasets/grocery or shared/models/resnet18-imagenet is not there")
class Grocery(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reference = json.loads((WEIGHTS / "reference.json").read_text(encoding="utf-8"))
        cls.stack = kindred.Stack("grocery").up("--datasets", kindred.SHARED)
        cls.stack.ok("model", "import", WEIGHTS / "resnet18-imagenet.safetensors",
                     "--name", "plain", timeout=300)

    def check(self, expected, *options):
        job = self.stack.ok("evaluate", GROCERY, "--model", "plain", *options, timeout=900)
        measured = job["result"]["metrics"][0]
        for labels, field in (("class", "by_class"), ("super_class", "by_super_class")):
            for name, value in expected[labels].items():
                with self.subTest(labels=labels, metric=name):
                    self.assertAlmostEqual(measured[field][name], value, delta=0.01)

    def test_closed_set__equals_the_reference(self):
        self.check(self.reference["gallery_train_query_val"])

    def test_catalogue__equals_the_reference(self):
        self.check(self.reference["gallery_iconic_query_val"],
                   "--gallery", GROCERY / "Ebay_iconic.txt")


if __name__ == "__main__":
    kindred.main()
