"""The main job from end to end on drawn products, its numbers computed again from outside."""

import json
import unittest
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import kindred
import numpy as np
from client import Client
from measures import metrics, neighbours
from PIL import Image


class Chain(unittest.TestCase):
    """Each test looks at one stack on which the whole job was done once."""

    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=2, views=5, broken=2)
        cls.stack = kindred.Stack("chain").up("--datasets", kindred.folder())
        cls.plain = cls.stack.ok("model", "init", "--name", "plain", "--image-size", 64, "--seed", 7)
        cls.job = cls.stack.ok("train", cls.products, "--loss", "triplet", "--model", "plain",
                               "--name", "trained", "--image-size", 64, "--epochs", 2, timeout=300)
        cls.index = cls.stack.ok("index", cls.products, "--model", "trained",
                                 "--collection", "shop")
        cls.report_dir = kindred.folder() / "report"
        cls.evaluation = cls.stack.ok("evaluate", cls.products, "--model", "plain",
                                      "--model", "trained", "--check",
                                      "--out", cls.report_dir)
        cls.report = json.loads((cls.report_dir / "report.json").read_text(encoding="utf-8"))

    def embed(self, model, split):
        out = kindred.folder() / f"{model}-{split}.npy"
        done = self.stack.run("embed", self.products, "--model", model, "--split", split,
                              "--out", out)
        self.assertEqual(done.status, 0, done)
        ids = [int(line) for line in out.with_suffix(".ids").read_text().split()]
        return np.load(out), np.array(ids)

    def test_train__publishes_a_model_with_its_lineage(self):
        self.assertEqual(self.job["state"], "done")
        model = self.stack.ok("model", "show", "trained")
        self.assertEqual(model["id"], self.job["result"]["model_id"])
        self.assertEqual(model["parent"], self.plain["id"])
        self.assertEqual(model["source"], self.job["id"])
        self.assertEqual(model["image_size"], 64)
        self.assertEqual(len(model["data_hash"]), 64)

    def test_broken_images__are_skipped_counted_and_named(self):
        broken = [path for *_, path in kindred.listing(self.products)][-2:]
        result = self.index["result"]
        self.assertEqual(int(result["skipped"]), 2)
        for path in broken:
            self.assertTrue(any(path in name for name in result["skipped_names"]), path)
        self.assertEqual(int(self.job["result"]["skipped"]), 2)

    def test_index__has_each_image_once(self):
        items = self.stack.ok("collection", "items", "shop")
        items = items["items"] if isinstance(items, dict) else items
        rows = kindred.listing(self.products)
        self.assertEqual([int(item["image_id"]) for item in items], [row[0] for row in rows[:-2]])
        by_id = {row[0]: row for row in rows}
        for item in items:
            _, label, above, path = by_id[int(item["image_id"])]
            self.assertEqual((item["class_id"], item["super_class_id"]), (label, above))
            self.assertTrue(item["uri"].endswith(path))

    def test_search__an_indexed_picture_finds_itself_first(self):
        image, _, _, path = kindred.listing(self.products)[3]
        found = self.stack.ok("search", self.products / path, "--collection", "shop", "-k", 5)
        hits = found["results"][0]["hits"]
        self.assertEqual(len(hits), 5)
        self.assertEqual(int(hits[0]["item"]["image_id"]), image)
        self.assertAlmostEqual(hits[0]["score"], 1.0, places=5)
        scores = [hit["score"] for hit in hits]
        self.assertEqual(scores, sorted(scores, reverse=True))

    def test_search__filters_by_super_class(self):
        _, _, _, path = kindred.listing(self.products, "test")[0]
        found = self.stack.ok("search", self.products / path, "--collection", "shop", "-k", 4,
                              "--super-class", "mug")
        hits = found["results"][0]["hits"]
        self.assertEqual(len(hits), 4)
        self.assertEqual({hit["item"]["super_class_name"] for hit in hits}, {"mug"})

    def hits(self, *words):
        return self.stack.ok("search", *words, "--collection", "shop")["results"][0]["hits"]

    def test_search__gives_each_product_once_and_cuts_off(self):
        _, _, _, path = kindred.listing(self.products, "test")[0]
        photo = self.products / path
        everything = self.hits(photo, "-k", 1000)
        best = {}
        for hit in everything:
            best.setdefault(hit["item"]["class_id"], hit)
        once = self.hits(photo, "-k", 1000, "--by-class")
        self.assertEqual(once, list(best.values()))
        self.assertLess(len(once), len(everything))
        least = once[2]["score"]
        self.assertEqual(self.hits(photo, "-k", 1000, "--by-class", "--min-score", least - 1e-6),
                         once[:3])

    def test_search__filters_by_class(self):
        _, _, _, path = kindred.listing(self.products, "test")[0]
        rows = kindred.listing(self.products)
        names = [str(rows[0][1]), str(rows[-1][1])]
        hits = self.hits(self.products / path, "-k", 1000, "--class", names[0], "--class", names[1])
        self.assertEqual({str(hit["item"]["class_id"]) for hit in hits}, set(names))

    def test_search__filters_by_attributes(self):
        image, label, _, path = kindred.listing(self.products)[0]
        photo = self.products / path
        add = ("collection", "add", "tagged", photo, "--class-id", label)
        self.stack.ok("collection", "create", "tagged", "--model", "trained")
        self.stack.ok(*add, "--image-id", 1, "--attribute", "brand=Acme", "--attribute", "price=9.5")
        self.stack.ok(*add, "--image-id", 2, "--attribute", "brand=Other", "--attribute", "price=20")
        self.stack.ok(*add, "--image-id", 3)

        def found(*conditions):
            words = [word for condition in conditions for word in ("--where", condition)]
            hits = self.stack.ok("search", photo, "--collection", "tagged", "-k", 9, *words)
            return [int(hit["item"]["image_id"]) for hit in hits["results"][0]["hits"]]

        self.assertEqual(found(), [1, 2, 3])
        self.assertEqual(found("brand=Acme"), [1])
        self.assertEqual(found("brand=Acme", "brand=Other"), [1, 2])
        self.assertEqual(found("price>=10"), [2])
        self.assertEqual(found("price<=20", "brand=Other"), [2])
        self.assertEqual(found("price=9.5"), [1])
        self.assertEqual(found('price="9.5"'), [])
        done = self.stack.run("search", photo, "--collection", "tagged", "--where", "colour=red")
        self.assertEqual(done.status, 1)
        self.assertIn("collection 'tagged' has no attribute 'colour'", done.err)
        item = self.stack.ok("collection", "items", "tagged")["items"][0]
        self.assertEqual([(a["name"], a.get("text") or a["number"]) for a in item["attributes"]],
                         [("brand", "Acme"), ("price", 9.5)])

    def test_search__by_examples_leaves_them_out(self):
        like, other = (row[0] for row in kindred.listing(self.products)[:2])
        by_id = self.hits("--image-id", like, "-k", 6)
        self.assertEqual(self.hits("--like", like, "-k", 6), by_id)
        self.assertNotIn(like, [int(hit["item"]["image_id"]) for hit in by_id])
        hits = self.hits("--like", like, "--unlike", other, "-k", 1000)
        self.assertFalse({like, other} & {int(hit["item"]["image_id"]) for hit in hits})

    def test_search__writes_a_page_of_pictures(self):
        _, _, _, path = kindred.listing(self.products, "test")[0]
        page = kindred.folder() / "search.html"
        done = self.stack.run("search", self.products / path, "--collection", "shop",
                              "--html", page)
        self.assertEqual(done.status, 0, done)
        text = page.read_text(encoding="utf-8")
        self.assertEqual(text.count("data:image/jpeg;base64,"), 6)
        self.assertNotIn("http://", text.replace("http://www.w3.org", ""))

    def test_evaluate__numbers_are_those_of_numpy_and_scikit_learn(self):
        for row in self.report["models"]:
            gallery, gallery_ids = self.embed(row["name"], "train")
            queries, query_ids = self.embed(row["name"], "test")
            labels = {image: (label, above) for split in ("train", "test")
                      for image, label, above, _ in kindred.listing(self.products, split)}
            nearest = neighbours(queries, gallery, gallery_ids, 10)
            for level, kind in enumerate(("class", "super_class")):
                expected = metrics(nearest,
                                   np.array([labels[image][level] for image in query_ids]),
                                   np.array([labels[image][level] for image in gallery_ids]))
                for name, value in expected.items():
                    with self.subTest(model=row["name"], labels=kind, metric=name):
                        self.assertAlmostEqual(row[kind][name], value, places=12)

    def test_evaluate__the_report_names_what_it_measured(self):
        self.assertEqual(self.report["protocol"], "closed-set")
        self.assertEqual(self.report["gallery"], len(kindred.listing(self.products)))
        self.assertEqual(self.report["queries"], len(kindred.listing(self.products, "test")))
        page = (self.report_dir / "report.html").read_text(encoding="utf-8")
        self.assertGreaterEqual(page.count("data:image/jpeg;base64,"), 12 * 6 * 2)

    def check_strips(self, folder, report):
        """Each row of the report has its strip: a cell for the query and each hit, framed."""
        names = [row["strip"] for model in report["models"] for row in model["rows"]]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(sorted(names), sorted(f"rows/{path.name}"
                                               for path in (folder / "rows").iterdir()))
        for model in report["models"]:
            for row in model["rows"]:
                with Image.open(folder / row["strip"]) as strip:
                    self.assertEqual(strip.format, "PNG")
                    pixels = np.asarray(strip.convert("RGB"))
                cells = 1 + len(row["hits"])
                side = (pixels.shape[1] - 8) // cells - 18  # 8 between, frames of 5
                self.assertIn(side, (80, 112, 160))
                self.assertEqual(pixels.shape, (side + 26, cells * (side + 18) + 8, 3))
                for i, hit in enumerate(row["hits"]):
                    frame = (0x2e, 0x9e, 0x4f) if hit["right"] else (0xdd, 0x33, 0x33)
                    left = 8 + (i + 1) * (side + 18)
                    self.assertEqual(tuple(pixels[8, left]), frame)
                    self.assertGreater(pixels[13:13 + side, left + 5:left + 5 + side].std(), 1)

    def test_evaluate__each_row_is_a_strip_too(self):
        self.assertEqual([len(model["rows"]) for model in self.report["models"]], [12, 12])
        self.check_strips(self.report_dir, self.report)
        strip = self.report["models"][1]["rows"][0]["strip"]
        self.assertRegex(strip, r"^rows/closed-set-2-trained-001-[a-z0-9-]+\.png$")
        pages = f"http://{self.stack.facts()['services']['gateway']['http']}/reports"
        with urlopen(f"{pages}/{self.evaluation['id']}/{strip}", timeout=10) as answer:
            self.assertEqual(answer.headers["Content-Type"], "image/png")
            self.assertEqual(answer.read(), (self.report_dir / strip).read_bytes())
        with self.assertRaises(HTTPError):
            urlopen(f"{pages}/{self.evaluation['id']}/rows/sop-9-none-001.png", timeout=10)
        client = Client(self.stack.address("gateway"))
        code, told = client.call("kindred.v1.GatewayService/GetReport",
                                 job_id=self.evaluation["id"], file="rows/sop-9-none-001.png")
        self.assertEqual(code, grpc.StatusCode.NOT_FOUND)
        self.assertIn("rows/sop-9-none-001.png", told)

    def test_evaluate__shows_what_is_asked_for(self):
        rows = kindred.listing(self.products, "test")
        _, label, _, path = rows[0]
        name = path.split("_final")[0]
        out = kindred.folder() / "shown"
        self.stack.ok("evaluate", self.products, "--model", "plain", "--show", f"{name}-1",
                      "--show", "mug", "--out", out)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        self.assertEqual(report["show"], [f"{name}-1", "mug"])
        mine = [path for _, one, _, path in rows if one == label]
        mugs = {one: path for _, one, _, path in reversed(rows) if path.startswith("mug")}
        shown = [row["query"]["path"] for row in report["models"][0]["rows"]]
        self.assertEqual(shown, mine[:10] + [mugs[one] for one in sorted(mugs)])
        self.assertEqual(report["rows_left_out"], len(mine) - len(mine[:10]))
        self.check_strips(out, report)
        page = (out / "report.html").read_text(encoding="utf-8")
        self.assertIn(f"<h3>{name}: {name}-1</h3>", page)

    def test_evaluate__the_details_are_those_of_numpy(self):
        rows = kindred.listing(self.products, "test")
        for model in self.report["models"]:
            details = model["details"]
            queries, query_ids = self.embed(model["name"], "test")
            gallery, gallery_ids = self.embed(model["name"], "train")
            above = {image: label for split in ("train", "test")
                     for image, _, label, _ in kindred.listing(self.products, split)}
            first = neighbours(queries, gallery, gallery_ids, 1)[:, 0]
            right = np.array([above[query] == above[gallery_ids[row]]
                              for query, row in zip(query_ids, first)])
            told = {row["name"]: row for row in details["super_classes"]}
            folders = {label: path.split("_final")[0] for _, _, label, path in rows}
            for label, name in folders.items():
                mine = np.array([above[query] == label for query in query_ids])
                self.assertEqual(told[name]["queries"], mine.sum())
                self.assertAlmostEqual(told[name]["recall_at_1"], right[mine].mean(), places=12)
            counts = np.array(details["confusion"]["counts"])
            self.assertEqual(counts.sum(), len(rows))
            self.assertAlmostEqual(np.trace(counts) / len(rows),
                                   model["super_class"]["accuracy"], places=12)
            centred = queries.astype(np.float64) - queries.mean(axis=0, dtype=np.float64)
            variances = np.linalg.svd(centred, compute_uv=False) ** 2
            np.testing.assert_allclose(details["map"]["shares"],
                                       variances[:2] / variances.sum(), rtol=1e-3)
            self.assertAlmostEqual(sum(details["scores"]["class"]["other"]), 1, places=2)
            ranks = [miss["first"] or 1001 for miss in model["misses"]]
            self.assertEqual(ranks, sorted(ranks, reverse=True))

    def test_evaluate__val_asks_with_the_classes_that_were_held_back(self):
        record = json.loads(self.stack.ok("model", "show", "trained")["training_json"])
        held = set(record["validation_image_ids"])
        self.assertEqual(record["validation"], "classes")
        out = kindred.folder() / "val"
        job = self.stack.ok("evaluate", self.products, "--model", "plain", "--model", "trained",
                            "--protocol", "val", "--protocol", "closed-set", "--out", out)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        self.assertEqual(report["protocol"], "val")
        self.assertEqual(report["queries"], len(held))
        self.assertEqual([other["protocol"] for other in report["also"]], ["closed-set"])
        self.assertEqual([other["protocol"] for other in job["result"]["also"]], ["closed-set"])
        self.assertIn('id="protocols"', (out / "report.html").read_text(encoding="utf-8"))
        labels = {image: (label, above)
                  for image, label, above, _ in kindred.listing(self.products)}
        for row in report["models"]:
            vectors, ids = self.embed(row["name"], "train")
            asks = np.isin(ids, list(held))
            nearest = neighbours(vectors[asks], vectors, ids, 10, ids[asks])
            for level, kind in enumerate(("class", "super_class")):
                mine = np.array([labels[image][level] for image in ids])
                for name, value in metrics(nearest, mine[asks], mine, leave_out=1).items():
                    with self.subTest(model=row["name"], labels=kind, metric=name):
                        self.assertAlmostEqual(row[kind][name], value, places=12)
        for place, row in enumerate(self.report["models"]):  # the same as when asked for alone
            also = report["also"][0]["models"][place]
            told = job["result"]["also"][0]["metrics"][place]
            self.assertEqual(also["class"]["map_at_5"], row["class"]["map_at_5"])
            self.assertEqual(told["by_super_class"]["f1"], row["super_class"]["f1"])

    def test_evaluate__val_wants_models_that_held_the_same_back(self):
        for name, options in (("seen", ("--validation", "none")), ("other", ("--seed", 5)),
                              ("child", ("--model", "seen", "--seed", 9))):
            self.stack.ok("train", self.products, "--loss", "cross-entropy", "--name", name,
                          "--image-size", 32, "--epochs", 1, *options, timeout=300)
        for models, word in ((("plain",), "none of the models was trained on this set"),
                             (("trained", "seen"), "seen held no images back"),
                             (("child",), "seen held no images back"),
                             (("trained", "other"), "trained and other held different images")):
            asked = [word for model in models for word in ("--model", model)]
            done = self.stack.run("evaluate", self.products, *asked, "--protocol", "val")
            self.assertEqual(done.status, 1, done)
            self.assertIn(word, done.err)

    def test_evaluate__the_check_finds_the_broken_images(self):
        found = {row["name"]: row for row in self.report["findings"]["list"]}
        self.assertFalse(self.report["findings"]["ok"])
        self.assertEqual(found["broken_images"]["count"], 2)
        for _, _, _, path in kindred.listing(self.products)[-2:]:
            self.assertTrue(any(path in text for text in found["broken_images"]["examples"]), path)

    def test_embed__rows_are_unit_vectors_in_listing_order(self):
        vectors, ids = self.embed("trained", "test")
        self.assertEqual(list(ids), [row[0] for row in kindred.listing(self.products, "test")])
        self.assertEqual(vectors.dtype, np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    def test_model__export_and_import_keep_the_content(self):
        out = kindred.folder() / "trained.pth"
        self.assertEqual(self.stack.run("model", "export", "trained", out).status, 0)
        model = self.stack.ok("model", "import", out, "--image-size", 64)
        self.assertEqual(model["id"], self.stack.ok("model", "show", "trained")["id"])

    def test_train__tells_how_it_went(self):
        went = self.job["result"]["training"]
        self.assertEqual(went["epochs"], 2)
        told = json.loads(self.stack.ok("model", "show", "trained")["training_json"])
        self.assertEqual(went["recall_at_1"]["value"], told["recall_at_1"])
        self.assertEqual(went["loss"], told["curve"][-1]["loss"])
        page = kindred.folder() / "curves.html"
        self.stack.ok("job", "show", self.job["id"], "--html", page)
        text = page.read_text(encoding="utf-8")
        self.assertIn("<svg", text)
        self.assertNotIn("<script", text)
        done = self.stack.run("job", "list", "--training")
        self.assertIn("trained", done.out)
        self.assertIn("MAP@5", done.out)
        listed = self.stack.ok("job", "list", "--training")
        self.assertEqual({job["kind"] for job in listed["jobs"]}, {"train"})
        missing = self.stack.run("job", "show", self.evaluation["id"], "--html", page)
        self.assertEqual(missing.status, 1)

    def test_train__wrong_settings_queue_nothing(self):
        before = len(self.stack.ok("job", "list")["jobs"])
        for words, said in ((("--loss", "arcface", "--raw"), "raw is not a setting"),
                            (("--loss", "triplet", "--miner", "easy"), "miner is 'easy'"),
                            (("--loss", "triplet", "--dim", 513), "dim is 513")):
            done = self.stack.run("train", self.products, *words)
            self.assertEqual(done.status, 2, done)
            self.assertIn(said, done.err)
        config = kindred.folder() / "config.json"
        config.write_text('{"loss": "triplet", "learning_rat": 0.1}')
        done = self.stack.run("train", self.products, "--config", config)
        self.assertEqual(done.status, 2)
        self.assertIn("'learning_rat' is not a setting of training", done.err)
        self.assertEqual(len(self.stack.ok("job", "list")["jobs"]), before)

    def test_model__a_damaged_one_can_be_removed_and_stops_nothing(self):
        model = self.stack.ok("model", "init", "--name", "hurt", "--image-size", 64, "--seed", 9)
        record = self.stack.data / "models" / model["id"] / "model.json"
        record.write_text(record.read_text()[:-40])
        shown = self.stack.run("model", "show", model["id"], "--json")
        self.assertEqual(shown.error["code"], "DATA_LOSS")
        job = self.stack.ok("train", self.products, "--loss", "triplet", "--epochs", 1,
                            "--image-size", 64, "--name", "beside-it")
        self.assertEqual(job["state"], "done", job)
        self.stack.ok("model", "rm", model["id"])
        self.assertFalse(record.exists())

    def test_collection__changes_snapshot_and_alias(self):
        image, label, above, path = kindred.listing(self.products, "test")[1]
        self.stack.ok("index", self.products, "--model", "plain", "--collection", "second")
        before = int(self.stack.ok("collection", "show", "second")["count"])
        self.stack.ok("collection", "add", "second", self.products / path, "--image-id", image,
                      "--class-id", label, "--super-class-id", above)
        self.assertEqual(int(self.stack.ok("collection", "show", "second")["count"]), before + 1)
        snapshot = self.stack.ok("collection", "snapshot", "second")
        self.stack.ok("collection", "delete", "second", image)
        self.assertEqual(int(self.stack.ok("collection", "show", "second")["count"]), before)
        self.stack.ok("collection", "restore", "second", snapshot["file"])
        self.assertEqual(int(self.stack.ok("collection", "show", "second")["count"]), before + 1)
        unsure = self.stack.run("collection", "delete", "second")  # an empty list of ids
        self.assertEqual(unsure.status, 2, unsure)
        self.assertIn("--yes", unsure.err)
        self.stack.ok("collection", "alias", "live", "second")
        found = self.stack.ok("search", self.products / path, "--collection", "live")
        self.assertEqual(int(found["results"][0]["hits"][0]["item"]["image_id"]), image)


if __name__ == "__main__":
    kindred.main()
