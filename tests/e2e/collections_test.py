"""Collections as people use them: images named by keys, vectors in and out as files, an alias that is
led back, a range of scores, an evaluation against what is stored."""

import concurrent.futures
import json
import os
import re
import struct
import subprocess
import sys
import unittest

import grpc
import kindred
import numpy as np
from client import OK, Client

INDEXER = "kindred.v1.IndexerService"


class Collections(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=1, views=10)
        cls.stack = kindred.Stack("collections").up("--datasets", kindred.folder())
        cls.model = cls.stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        cls.stack.ok("index", cls.products, "--model", "plain", "--collection", "shop")

    def photo(self, row=0):
        return self.products / kindred.listing(self.products)[row][3]

    def items(self, name):
        return self.stack.ok("collection", "items", name)["items"]

    def hits(self, *words):
        return self.stack.ok("search", *words)["results"][0]["hits"]

    def fails(self, status, says, *words):
        done = self.stack.run(*words)
        self.assertEqual(done.status, status, done)
        self.assertIn(says, done.err)

    def test_keys__name_images_everywhere(self):
        stack = self.stack
        stack.ok("collection", "create", "named", "--model", "plain")
        add = ("collection", "add", "named")
        for row, key in enumerate(("chair-7", "Stühle/8", "sofa")):
            stack.ok(*add, self.photo(row), "--key", key, "--class-id", row)
        stack.ok(*add, self.photo(3), "--image-id", 5, "--class-id", 9)
        stack.ok(*add, self.photo(0), "--key", "chair-7", "--class-id", 1)  # replaced
        self.assertEqual([item["key"] for item in self.items("named")],
                         ["", "chair-7", "Stühle/8", "sofa"])
        table = stack.run("collection", "items", "named")
        self.assertIn("Stühle/8", table.out)

        where = ("--collection", "named", "-k", 9)
        by_photo = self.hits(self.photo(0), *where)
        self.assertEqual((by_photo[0]["item"]["key"], by_photo[0]["item"]["class_id"]), ("chair-7", 1))
        self.assertEqual(len(by_photo), 4)
        self.assertIn("chair-7", stack.run("search", self.photo(0), *where).out)
        by_key = self.hits("--key", "chair-7", *where)
        self.assertEqual(by_key, by_photo[1:])  # without itself
        self.assertEqual(self.hits("--like-key", "chair-7", *where), by_key)
        unlike = self.hits("--like-key", "chair-7", "--unlike", 5, "--unlike-key", "sofa", *where)
        self.assertEqual([hit["item"]["key"] for hit in unlike], ["Stühle/8"])
        self.fails(1, "collection 'named' has no image 'desk'", "search", "--key", "desk", *where)

        self.fails(2, "one of --image-id N and --key KEY", *add, self.photo(0), "--class-id", 1)
        self.fails(2, "allowed are 256", *add, self.photo(0), "--class-id", 1, "--key", "k" * 257)
        done = stack.ok("collection", "delete", "named", "--keys", "sofa", "desk")
        self.assertEqual(done["deleted"], 1)
        self.assertEqual([item["key"] for item in self.items("named")], ["", "chair-7", "Stühle/8"])

    def test_export__is_what_was_embedded_and_comes_back(self):
        stack = self.stack
        file = kindred.folder() / "shop.npy"
        done = stack.ok("collection", "export", "shop", file)
        embedded = kindred.folder() / "embedded.npy"
        stack.ok("embed", self.products, "--model", "plain", "--split", "train", "--out", embedded)
        vectors, expected = np.load(file), np.load(embedded)
        self.assertEqual((vectors.dtype, vectors.shape), (np.float32, (done["rows"], done["dim"])))
        np.testing.assert_array_equal(vectors, expected)
        rows = [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]
        self.assertEqual([row["image_id"] for row in rows],
                         [row[0] for row in kindred.listing(self.products)])

        stack.ok("collection", "import", "again", file, "--model", "plain")
        self.assertEqual(self.items("again"), self.items("shop"))
        self.assertEqual(self.hits(self.photo(), "--collection", "again"),
                         self.hits(self.photo(), "--collection", "shop"))
        stack.ok("collection", "import", "embedded", embedded, "--model", "plain")  # FILE.ids
        self.assertEqual([item["image_id"] for item in self.items("embedded")],
                         [item["image_id"] for item in self.items("shop")])

    def test_export__keys_and_attributes_come_back(self):
        stack, file = self.stack, kindred.folder() / "tagged.npy"
        stack.ok("collection", "create", "tagged", "--model", "plain")
        stack.ok("collection", "add", "tagged", self.photo(0), "--key", "a b", "--class-id", 3,
                 "--class-name", "mug", "--attribute", "brand=Ä", "--attribute", "price=0.1")
        stack.ok("collection", "export", "tagged", file)
        stack.ok("collection", "import", "tagged-2", file, "--model", "plain")
        first, second = self.items("tagged"), self.items("tagged-2")
        self.assertEqual(first, second)
        self.assertEqual(first[0]["attributes"], [
            {"name": "brand", "text": "Ä"}, {"name": "price", "number": 0.1}])

    def test_export__for_faiss(self):
        """The file's parts; that FAISS itself reads them, the unit tests look at."""
        file = kindred.folder() / "shop.faiss"
        done = self.stack.ok("collection", "export", "shop", file)
        bytes_ = file.read_bytes()
        self.assertEqual((bytes_[:4], bytes_[37:41]), (b"IxM2", b"IxFI"))
        n, dim = done["rows"], done["dim"]
        self.assertEqual(struct.unpack_from("<iq", bytes_, 4), (dim, n))
        vectors = np.frombuffer(bytes_, "<f4", n * dim, 82).reshape(n, dim)
        ids = np.frombuffer(bytes_, "<i8", n, 90 + vectors.nbytes)
        self.assertEqual(ids.tolist(), [row[0] for row in kindred.listing(self.products)])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        file.with_suffix(".jsonl").unlink()  # ids from the index
        self.stack.ok("collection", "import", "from-faiss", file, "--model", "plain")
        self.assertEqual([item["image_id"] for item in self.items("from-faiss")], ids.tolist())
        by_id = self.hits("--image-id", int(ids[0]), "--collection", "from-faiss")
        self.assertEqual([(hit["item"]["image_id"], hit["score"]) for hit in by_id],
                         [(hit["item"]["image_id"], hit["score"])
                          for hit in self.hits("--image-id", int(ids[0]), "--collection", "shop")])

    def test_import__says_what_is_wrong_and_what_is_in(self):
        file, dim = kindred.folder() / "bad.npy", self.model["dim"]
        into = ("collection", "import", "bad", file, "--model", "plain")
        rng = np.random.default_rng(1)
        vectors = rng.normal(size=(300, dim)).astype(np.float32)
        np.save(file, vectors)
        self.fails(2, "the vector of image 0", *into)
        np.save(file, vectors.astype(np.float64))
        self.fails(2, "float32", *into)
        np.save(file, vectors[:, :5])
        self.fails(2, "vectors of 5 values, and model plain makes vectors of 512", *into)
        for wrong in (0, np.nan):
            vectors[299] = wrong
            np.save(file, vectors)
            self.fails(2, "the vector of image 299", *into, "--normalize")
            self.fails(2, "256 of 300 images are in bad", *into, "--normalize")
        ids = kindred.folder() / "two.ids"
        ids.write_text("1\n2\n")
        self.fails(2, "has 2 lines", *into, "--ids", ids)
        vectors[299] = vectors[0]
        np.save(file, vectors)
        self.assertEqual(self.stack.ok(*into, "--normalize")["count"], 300)
        self.fails(2, "is where the images' ids and labels go", "collection", "export", "bad",
                   kindred.folder() / "x.jsonl")

    def test_alias__goes_back(self):
        stack = self.stack
        for name in ("spring", "autumn"):
            stack.ok("collection", "create", name, "--model", "plain")
        self.fails(1, "there is no alias 'live'", "collection", "alias", "live", "--rollback")
        stack.ok("collection", "alias", "live", "spring")
        self.fails(1, "has led to no other", "collection", "alias", "live", "--rollback")
        stack.ok("collection", "alias", "live", "autumn")
        self.assertEqual(stack.ok("collection", "show", "spring")["previous_aliases"], ["live"])
        done = stack.run("collection", "alias", "live", "--rollback")
        self.assertEqual(done.out, "live leads to spring, before to autumn\n")
        shown = stack.ok("collection", "show", "live")
        self.assertEqual((shown["name"], shown["aliases"]), ("spring", ["live"]))
        self.fails(2, "give the collection's NAME", "collection", "alias", "live", "autumn",
                   "--rollback")

    def test_min_score__gives_all_that_reach_it(self):
        where = (self.photo(), "--collection", "shop")
        everything = self.hits(*where, "-k", 1000)
        least = everything[11]["score"]
        self.assertEqual(self.hits(*where, "--min-score", least - 1e-6), everything[:12])
        self.assertEqual(self.hits(*where, "--min-score", least - 1e-6, "-k", 3), everything[:3])
        cut = kindred.folder() / "many.npy"
        np.save(cut, np.tile(np.eye(1, self.model["dim"], dtype=np.float32), (1000, 1)))
        self.stack.ok("collection", "import", "many", cut, "--model", "plain")
        done = self.stack.run("search", "--image-id", 0, "--collection", "many", "--min-score", 0.9)
        self.assertNotIn("may be more", done.err)
        self.stack.ok("collection", "import", "many", cut, "--model", "plain", "--ids",
                      self.ids(1000, 1000))
        done = self.stack.run("search", "--image-id", 0, "--collection", "many", "--min-score", 0.9)
        self.assertIn("there may be more", done.err)

    def test_calls__that_come_together_are_answered_as_alone(self):
        """Searches of many kinds and upserts, some of them wrong, from many threads."""
        client, dim, rng = Client(self.stack.address("indexer")), 16, np.random.default_rng(3)
        vectors = rng.normal(size=(400, dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

        def call(method, **values):
            return client.call(f"{INDEXER}/{method}", collection="crowd", **values)

        def upsert(number):
            item = {"image_id": number, "class_id": number % 7, "super_class_id": number % 3}
            good = number % 10 != 9
            return good, call("Upsert", model_id="m", items=[
                {"item": item, "values": vectors[number] if good else 2 * vectors[number]}])[0]

        def ask(number):
            more = ({}, {"by_class": True}, {"super_classes": ["1"]}, {"exclude_image_ids": [1, 2]},
                    {"like": {"positive_image_ids": [number // 10 * 10]}})[number % 5]
            if "like" not in more:
                more = {**more, "queries": [{"values": vectors[number] * (1 + (number % 17 == 3))}]}
            code, answer = call("Search", model_id="m", k=4 + number % 2, **more)
            return code, answer.SerializeToString() if code == OK else answer

        code, answer = client.call(f"{INDEXER}/CreateCollection", name="crowd", model_id="m", dim=dim)
        self.assertEqual(code, OK, answer)
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            for good, code in pool.map(upsert, range(400)):
                self.assertEqual(code, OK if good else grpc.StatusCode.INVALID_ARGUMENT)
            shown = self.stack.ok("collection", "show", "crowd")
            self.assertEqual(int(shown["count"]), 360)
            before = self.stack.metrics("indexer")
            together = list(pool.map(ask, range(400)))
            after = self.stack.metrics("indexer")
        self.assertEqual(together, [ask(number) for number in range(400)])
        wrong = [code for code, _ in together if code != OK]
        self.assertEqual(set(wrong), {grpc.StatusCode.INVALID_ARGUMENT})
        asked, runs = (after[name] - before[name] for name in (
            "kindred_index_queries_total", "kindred_index_searches_total"))
        self.assertEqual(asked, 400 - len(wrong))
        self.assertLess(runs, asked)

    def test_evaluate__through_a_collection_is_as_without(self):
        stack = self.stack
        stack.ok("index", self.products, "--model", "plain", "--collection", "views", "--split", "test")
        for protocol, name in (("closed-set", "shop"), ("sop", "views")):
            words = ("evaluate", self.products, "--protocol", protocol)
            direct = stack.ok(*words, "--model", "plain")["result"]
            through = stack.ok(*words, "--collection", name)["result"]
            self.assertEqual(through["metrics"], direct["metrics"])
            self.assertGreater(direct["metrics"][0]["by_class"]["map_at_5"], 0)
            self.assertEqual((through["collection"], through["index_recall"]), (name, 1))
            self.assertEqual(through["gallery"], direct["gallery"])
        self.fails(1, "which is not in the gallery", "evaluate", self.products, "--protocol", "sop",
                   "--collection", "shop")
        self.fails(1, "there is no collection 'none'", "evaluate", self.products, "--collection", "none")
        stack.ok("index", self.products, "--model", "plain", "--collection", "part")
        stack.ok("collection", "delete", "part", kindred.listing(self.products)[0][0])
        part = stack.ok("evaluate", self.products, "--collection", "part")["result"]
        self.assertEqual(int(part["skipped"]), 1)
        self.assertIn("is not in the collection", part["skipped_names"][0])

    def ids(self, first, n):
        path = kindred.folder() / f"{first}-{n}.ids"
        path.write_text("".join(f"{number}\n" for number in range(first, first + n)))
        return path


    def test_clients__the_document_s_python_does_what_it_says(self):
        text = (kindred.SOURCE / "docs" / "clients.md").read_text(encoding="utf-8")
        blocks = {kind: re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
                  for kind in ("sh", "python")}
        place = kindred.folder() / "client"
        place.mkdir()
        (place / "proto").symlink_to(kindred.SOURCE / "proto")
        for block in blocks["sh"]:
            subprocess.run(["bash", "-ec", block], cwd=place, check=True, timeout=60)
        env = {**os.environ, "KINDRED_GATEWAY": self.stack.address("gateway")}
        for block in blocks["python"]:
            done = subprocess.run([sys.executable, "-", self.products, "by-client", self.photo()],
                                  input=block, cwd=place, env=env, check=False, timeout=120,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            state, first, *rest = done.stdout.splitlines()
            self.assertEqual((state, len(rest)), ("job JOB_STATE_DONE", 2))
            self.assertTrue(first.startswith("1.0000 "), first)
            self.assertTrue(first.endswith(str(self.photo())), first)


if __name__ == "__main__":
    kindred.main()
