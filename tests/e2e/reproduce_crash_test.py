"""`kindred reproduce`: interrupted, with its trainer killed and the stack gone, it goes on where it
stopped; what it says in the end is what NumPy makes of the embeddings."""

import json
import shutil
import signal
import unittest

import kindred
import numpy as np
from measures import metrics, neighbours

SYSTEMS = ["plain", "cross-entropy", "arcface", "contrastive", "triplet"]


class Reproduce(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=2, views=9, size=48)
        cls.stack = kindred.Stack("reproduce").up("--datasets", kindred.folder())
        cls.out = kindred.folder() / "out"
        cls.command = ("reproduce", cls.products, "--image-size", 32, "--epochs", 3, "--out", cls.out)

    def trainings(self):
        """Oldest first."""
        return self.stack.ok("job", "list", "--training")["jobs"][::-1]

    def in_second_training(self):
        """An epoch of it is on disk."""
        jobs = self.trainings()
        if len(jobs) < 2 or jobs[1]["state"] != "running":
            return False
        phase = jobs[1].get("progress", {}).get("phase", "")
        return phase.startswith("epoch") and not phase.startswith("epoch 1 ")

    def interrupt(self):
        """Ctrl-C in the second training, its trainer killed, the stack taken down."""
        begun = self.stack.start(*self.command)
        try:
            kindred.wait_until(self.in_second_training, 200, "the second training is under way")
            begun.send_signal(signal.SIGINT)
            out, err = begun.communicate(timeout=60)
        finally:
            begun.kill()
        self.assertEqual(begun.returncode, 1, out + err)
        self.assertIn("cross-entropy  trained in", out)
        self.assertIn("the same command goes on where this one stopped", err)
        trainer = self.stack.kill("trainer")
        self.stack.wait_back("trainer", trainer)
        self.stack.down()
        self.stack.up("--datasets", kindred.folder())

    def test_goes_on_where_it_stopped(self):
        self.interrupt()
        before = self.trainings()
        done = self.stack.ok(*self.command, timeout=400)
        jobs = self.trainings()
        self.assertEqual([job["id"] for job in jobs[:2]], [job["id"] for job in before])
        self.assertEqual([job["spec"]["train"]["loss"] for job in jobs], SYSTEMS[1:])
        self.assertEqual({job["state"] for job in jobs}, {"done"})
        self.assertEqual([system["system"] for system in done["systems"]], SYSTEMS)
        self.assertEqual([one["protocol"] for one in done["protocols"]], ["closed-set", "val"])
        self.check_numbers(done)
        self.check_files(done)

        self.check_again(done)
        copy = kindred.folder() / "copy"
        shutil.copytree(self.products, copy)
        self.check_again(done, copy)

        self.stack.ok("collection", "delete", done["systems"][4]["collection"], "--yes")
        self.stack.ok("model", "rm", done["systems"][4]["model_id"])
        both = [self.stack.start(*self.command, "--json") for _ in range(2)]
        told = []
        for one in both:  # a removed model is trained again, once for all who ask
            out, err = one.communicate(timeout=200)
            self.assertEqual(one.returncode, 0, out + err)
            told.append(json.loads(out))
        self.assertEqual(len(self.trainings()), 5)
        self.assertEqual(told[0]["systems"], told[1]["systems"])

        self.stack.down()
        shutil.rmtree(self.stack.data / "redis")
        self.stack.up("--datasets", kindred.folder())
        after = self.stack.ok(*self.command, timeout=200)
        self.assertEqual(self.trainings(), [])  # jobs are forgotten, models are not
        self.assertEqual(after["protocols"], told[0]["protocols"])

    def check_again(self, done, products=None):
        """Nothing is trained a second time."""
        again = self.stack.ok("reproduce", products or self.products, *self.command[2:])
        self.assertEqual(len(self.trainings()), 4)
        self.assertEqual([system["model_id"] for system in again["systems"]],
                         [system["model_id"] for system in done["systems"]])
        self.assertEqual(again["protocols"], done["protocols"])

    def embed(self, model, split):
        out = kindred.folder() / f"{model}-{split}.npy"
        self.stack.ok("embed", self.products, "--model", model, "--split", split, "--out", out)
        return np.load(out), np.array([int(line) for line in
                                       out.with_suffix(".ids").read_text().split()])

    def check_numbers(self, done):
        """The systems' own cut is a fifth of each class, the same for all; both protocols' numbers
        are NumPy's."""
        labels = {image: (label, above) for split in ("train", "test")
                  for image, label, above, _ in kindred.listing(self.products, split)}
        cuts = [set(json.loads(self.stack.ok("model", "show", system["model_id"])["training_json"])
                    ["validation_image_ids"]) for system in done["systems"][1:]]
        held = cuts[0]
        self.assertTrue(all(cut == held for cut in cuts))
        train = [labels[row[0]][0] for row in kindred.listing(self.products)]
        for label in set(train):
            self.assertEqual(sum(labels[image][0] == label for image in held),
                             train.count(label) // 5)
        for place, system in enumerate(done["systems"]):
            gallery, gallery_ids = self.embed(system["model_id"], "train")
            tests, test_ids = self.embed(system["model_id"], "test")
            out = np.isin(gallery_ids, list(held))
            asked = {"closed-set": (tests, test_ids, gallery, gallery_ids),
                     "val": (gallery[out], gallery_ids[out], gallery[~out], gallery_ids[~out])}
            for protocol in done["protocols"]:
                told = protocol["systems"][place]
                self.assertEqual(told["system"], system["system"])
                queries, query_ids, among, among_ids = asked[protocol["protocol"]]
                nearest = neighbours(queries, among, among_ids, 10)
                for level, kind in enumerate(("by_class", "by_super_class")):
                    expected = metrics(nearest, np.array([labels[i][level] for i in query_ids]),
                                       np.array([labels[i][level] for i in among_ids]))
                    for name, value in expected.items():
                        with self.subTest(system=system["system"], kind=kind, metric=name):
                            self.assertAlmostEqual(told[kind][name], value, places=12)

    def check_files(self, done):
        self.assertEqual(json.loads((self.out / "reproduce.json").read_text(encoding="utf-8")), done)
        page = (self.out / "report.html").read_text(encoding="utf-8")
        self.assertIn('id="protocols"', page)
        report = json.loads((self.out / "report.json").read_text(encoding="utf-8"))
        self.assertEqual([model["name"] for model in report["models"]], SYSTEMS)
        for row in report["models"][4]["rows"]:
            self.assertIn("-triplet-", row["strip"])
            self.assertTrue((self.out / row["strip"]).is_file())
        for system in SYSTEMS[1:]:
            curves = (self.out / f"curves-{system}.html").read_text(encoding="utf-8")
            self.assertIn("<svg", curves)

    def test_refuses_what_is_wrong(self):
        for options, word in ((("--preset", "slow"), "slow"), (("--epochs", "0"), "--epochs")):
            done = self.stack.run("reproduce", self.products, *options)
            self.assertEqual(done.status, 2, done)
            self.assertIn(word, done.err)
        models = self.stack.ok("model", "list")
        done = self.stack.run("reproduce", kindred.folder() / "nowhere")
        self.assertEqual(done.status, 1, done)
        self.assertIn("nowhere", done.err)
        (kindred.folder() / "half").mkdir()
        shutil.copy(self.products / "Ebay_train.txt", kindred.folder() / "half")
        done = self.stack.run("reproduce", kindred.folder() / "half")
        self.assertEqual(done.status, 1, done)
        self.assertIn("has no test images", done.err)
        done = self.stack.run("reproduce", self.products, "--out", "/proc/nowhere", "--json")
        self.assertEqual(done.status, 1, done)
        self.assertIn("/proc/nowhere", done.error["message"])
        self.assertEqual(self.stack.ok("model", "list"), models)  # nothing was made for these
        done = self.stack.run("reproduce", self.products, "--weights", "no.pth")
        self.assertEqual(done.status, 1, done)
        self.assertIn("no.pth", done.err)


if __name__ == "__main__":
    kindred.main()
