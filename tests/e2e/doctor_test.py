"""`kindred doctor` on a stack that is well, and on files that a disk or a hand has damaged."""

import shutil
import unittest

import faults
import kindred

SERVICES = ("gateway", "embedder", "indexer", "trainer")


class Doctor(unittest.TestCase):
    """One stack; each test puts back what it damaged."""

    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=1, views=4)
        cls.stack = kindred.Stack("doctor").up("--datasets", kindred.folder())
        cls.model = cls.stack.ok("model", "init", "--name", "plain", "--image-size", 32)["id"]
        cls.stack.ok("index", cls.products, "--model", "plain", "--collection", "shop")
        cls.weights = cls.stack.data / "models" / cls.model / "model.safetensors"

    def damaged(self, path):
        """Puts the file or folder back as it is now when the test has ended."""
        kept = kindred.folder() / "kept"
        shutil.copytree(path, kept) if path.is_dir() else shutil.copy(path, kept)

        def put_back():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            kept.rename(path)
        self.addCleanup(put_back)

    def check(self, checks, name, state, *words):
        self.assertEqual(checks[name][0], state, checks[name])
        for word in words:
            self.assertIn(word, checks[name][1] + checks[name][2])

    def others_are_well(self, checks, *but):
        for name, one in checks.items():
            if name not in (*but, "disk"):
                self.assertEqual(one[0], "ok", (name, one))

    def test_all_is_well(self):
        checks = self.stack.doctor(0)
        self.assertLessEqual({*SERVICES, "versions", "queue", "cache", "disk", "model plain",
                              "collection shop", "jobs"}, set(checks))
        self.others_are_well(checks)
        self.assertIn(checks["disk"][0], ("ok", "warn"), checks["disk"])  # this machine's own
        self.assertIn(str(self.stack.data), checks["disk"][1])
        for name in SERVICES:
            self.assertIn(self.stack.address(name), checks[name][1])
        self.assertIn("at rank 1 with score 1.0000", checks["collection shop"][1])
        printed = self.stack.run("doctor")
        self.assertEqual((printed.status, printed.err), (0, ""), printed)
        self.assertEqual([line[6:28].rstrip() for line in printed.out.splitlines()], list(checks))

    def test_a_weights_file_that_rots_is_found_although_its_model_is_in_memory(self):
        self.stack.ok("embed", self.products, "--model", "plain", "--out",
                      kindred.folder() / "loaded.npy")
        self.damaged(self.weights)
        with open(self.weights, "r+b") as file:
            file.seek(-5, 2)
            last = file.read(1)
            file.seek(-5, 2)
            file.write(bytes([last[0] ^ 1]))
        checks = self.stack.doctor(1)
        self.check(checks, "model plain", "fail", str(self.weights), "is damaged",
                   f"kindred model rm {self.model}")
        self.others_are_well(checks, "model plain", "cache")

    def test_a_collection_whose_model_is_gone(self):
        self.damaged(self.weights.parent)
        shutil.rmtree(self.weights.parent)
        checks = self.stack.doctor(1)
        self.check(checks, "collection shop", "fail", f"its model {self.model} is gone",
                   "Bring its model back")
        self.assertNotIn("model plain", checks)

    def test_pictures_that_are_gone_or_are_others(self):
        rows = sorted(kindred.listing(self.products))
        first, second = (self.products / row[3] for row in rows[:2])
        self.damaged(first)
        first.unlink()
        checks = self.stack.doctor(0)
        self.check(checks, "collection shop", "ok", f"image {rows[1][0]} finds itself")
        shutil.copy(second, first)
        checks = self.stack.doctor(1)
        self.check(checks, "collection shop", "fail", f"image {rows[0][0]} ({first})",
                   "has changed", "`kindred index`")
        self.others_are_well(checks, "collection shop")

        elsewhere = self.products.with_name("elsewhere")
        self.products.rename(elsewhere)
        try:
            checks = self.stack.doctor(0)
        finally:
            elsewhere.rename(self.products)
        self.check(checks, "collection shop", "skip", "No such file", str(self.products))
        self.others_are_well(checks, "collection shop")

    def test_a_model_that_does_not_load_and_the_job_that_failed_by_it(self):
        model = self.stack.ok("model", "init", "--name", "torn", "--seed", 5, "--image-size", 32)
        weights = self.stack.data / "models" / model["id"] / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:len(whole) // 2])
        failed = self.stack.run("index", self.products, "--model", "torn", "--collection", "torn")
        self.assertEqual(failed.status, 1, failed)
        job = self.stack.ok("job", "list", "--state", "failed")["jobs"][0]["id"]
        checks = self.stack.doctor(1)
        self.check(checks, "model torn", "fail", f"kindred model rm {model['id']}")
        self.check(checks, "jobs", "warn", "1 failed in the last week", job,
                   "kindred job list --state failed")
        weights.write_bytes(whole)
        self.addCleanup(self.stack.ok, "model", "rm", "torn")
        self.addCleanup(self.stack.ok, "collection", "delete", "torn", "--yes")
        self.stack.ok("job", "retry", job)
        self.stack.wait_job(job)
        checks = self.stack.doctor(0)
        self.check(checks, "model torn", "ok")
        self.check(checks, "collection torn", "ok")
        self.check(checks, "jobs", "ok")

    def test_the_limit(self):
        for seed in (11, 12):
            self.stack.ok("model", "init", "--seed", seed, "--image-size", 32)
        checks = self.stack.doctor(0, "--limit", 1)
        n = len(self.stack.ok("model", "list")["models"])
        self.check(checks, "models", "skip", f"{n - 1} of {n} were left out; --limit {n}")
        self.assertEqual(len([name for name in checks if name.startswith("model ")]), 1)
        self.assertNotIn("models", self.stack.doctor(0, "--limit", n))

    def test_the_embedder_keeps_the_models_that_it_had(self):
        self.stack.ok("search", self.products / kindred.listing(self.products)[0][3],
                      "--collection", "shop")
        before = self.stack.metrics("embedder")["kindred_embed_models"]
        self.assertIn(before, (1, 2, 3), "one more fits")
        self.stack.ok("model", "init", "--seed", 21, "--image-size", 32)
        self.stack.doctor(0)
        self.assertEqual(self.stack.metrics("embedder")["kindred_embed_models"], before)


class Disk(unittest.TestCase):
    def test_a_folder_on_a_disk_of_its_own(self):
        stack = kindred.Stack("small")
        disk = faults.SmallDisk(self, stack.data / "collections")
        self.addCleanup(stack.end)  # before the disk goes
        stack.up()
        state, detail, advice = stack.doctor(1)["disk"]
        self.assertEqual(state, "fail")
        self.assertIn(f"free for {disk.path} (", detail)
        self.assertIn("of 1.0 MB", detail)
        self.assertIn("kindred collection delete", advice)
        disk.resize("1g")
        self.assertEqual(stack.doctor(0)["disk"][0], "ok")


class NoStack(unittest.TestCase):
    def test_nobody_answers(self):
        stack = kindred.Stack("never")
        checks = stack.doctor(3)
        self.assertEqual(list(checks), ["gateway"])
        self.assertEqual(checks["gateway"][0], "fail")
        self.assertIn(f"no stack runs on {stack.data}", checks["gateway"][1])
        self.assertIn("kindred up", checks["gateway"][2])


if __name__ == "__main__":
    kindred.main()
