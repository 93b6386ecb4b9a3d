"""A disk of 1 MiB that fills up, under each folder that a service writes to. A write that doesn't fit
is an error that names the file and leaves nothing behind; once there is room the same works."""

import fcntl
import os
import signal
import unittest

import faults
import grpc
import kindred
from client import OK, Client

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INDEXER = "kindred.v1.IndexerService"
MODEL, DIM = "aaaabbbbccccdddd", 512


def rows(first, n):
    """Upsert's items: n images, each with a vector of its own."""
    made = []
    for number in range(first, first + n):
        values = [0.0] * DIM
        values[number % DIM] = 1.0
        item = {"image_id": number, "class_id": number, "super_class_id": 1,
                "super_class_name": "x", "uri": f"/photographs/{number}.jpg"}
        made.append({"item": item, "values": values})
    return made


class Collections(unittest.TestCase):
    """The indexer alone."""

    def setUp(self):
        name = self.id().rpartition(".")[2]
        self.disk = faults.SmallDisk(self, kindred.folder() / name / "collections")
        self.indexer = faults.Service("indexer", data=name)
        self.addCleanup(self.indexer.end)
        self.client = Client(self.indexer.address)
        self.ok("CreateCollection", name="shop", model_id=MODEL, dim=DIM)

    def start_again(self):
        self.indexer.start()
        self.client = Client(self.indexer.address)

    def ok(self, method, **values):
        code, answer = self.client.call(f"{INDEXER}/{method}", **values)
        self.assertEqual(code, OK, f"{method}: {answer}")
        return answer

    def full(self, method, says, **values):
        code, answer = self.client.call(f"{INDEXER}/{method}", **values)
        self.assertEqual(code, EXHAUSTED, f"{method}: {answer}")
        self.assertIn(says, answer)

    def ids(self):
        return [item.image_id for item in self.ok("ListItems", collection="shop",
                                                  page_size=1000).items]

    def names(self):
        return sorted(one.name for one in self.ok("ListCollections").collections)

    def fill(self):
        """Upserts until no more fit; returns the ids that were acknowledged."""
        number = 1
        while True:
            code, answer = self.client.call(f"{INDEXER}/Upsert", collection="shop",
                                            model_id=MODEL, items=rows(number, 8))
            if code != OK:
                break
            number += 8
            self.assertLess(number, 1000, "1 MiB took more than 2 MiB")
        self.assertEqual(code, EXHAUSTED, answer)
        self.assertIn("disk is full", answer)
        self.assertIn("collections/shop/collection.db", answer)
        self.assertGreater(number, 8)
        return list(range(1, number))

    def search(self, number):
        hits = self.ok("Search", collection="shop", model_id=MODEL, k=3,
                       queries=[{"values": rows(number, 1)[0]["values"]}]).results[0].hits
        return hits[0].item.image_id

    def test_upsert__keeps_what_was_acknowledged_and_goes_on_with_room(self):
        there = self.fill()
        self.assertEqual(self.ids(), there)
        self.assertEqual(self.search(5), 5)
        self.full("Upsert", "disk is full", collection="shop", model_id=MODEL,
                  items=rows(1, 1) + rows(900, 8))  # a replaced image among them
        self.assertEqual(self.ids(), there)

        self.disk.fill()  # to the last byte
        self.indexer.kill()
        self.start_again()
        self.assertEqual(self.ids(), there, "what was acknowledged is on the full disk")
        self.assertEqual(self.search(5), 5)

        self.disk.resize("4m")
        self.ok("Upsert", collection="shop", model_id=MODEL, items=rows(900, 8))
        self.assertEqual(self.ids(), there + list(range(900, 908)))
        self.assertEqual(self.indexer.end(), 0)
        self.start_again()
        self.assertEqual(self.ids(), there + list(range(900, 908)))

    def test_read_only__searches_go_on_and_changes_say_why(self):
        there = list(range(1, 21))
        self.ok("Upsert", collection="shop", model_id=MODEL, items=rows(1, 20))
        self.assertEqual(self.indexer.end(), 0)
        self.disk.read_only(True)
        self.start_again()
        self.assertEqual(self.ids(), there)
        self.assertEqual(self.search(5), 5)
        refused = {"Upsert": {"collection": "shop", "model_id": MODEL, "items": rows(30, 1)},
                   "DeleteItems": {"collection": "shop", "image_ids": [3]},
                   "CreateCollection": {"name": "more", "model_id": MODEL, "dim": DIM},
                   "SetAlias": {"alias": "front", "collection": "shop"},
                   "DeleteCollection": {"name": "shop"}}
        for method, values in refused.items():
            code, answer = self.client.call(f"{INDEXER}/{method}", **values)
            self.assertNotEqual(code, OK, method)
            self.assertRegex(answer, "[Rr]ead-only", method)
        self.assertEqual(self.ids(), there)
        self.assertEqual(self.names(), ["shop"])
        self.assertEqual(self.search(5), 5)
        self.disk.read_only(False)
        del refused["DeleteCollection"]
        for method, values in refused.items():
            self.ok(method, **values)
        self.assertEqual(self.ids(), [number for number in there if number != 3] + [30])

    def test_start__a_collection_that_has_no_room_to_open_opens_later(self):
        self.ok("Upsert", collection="shop", model_id=MODEL, items=rows(1, 8))
        self.assertEqual(self.indexer.end(), 0)
        self.disk.fill()
        self.start_again()
        for _ in range(2):
            self.full("Search", "shop", collection="shop", model_id=MODEL, k=3,
                      queries=[{"values": rows(1, 1)[0]["values"]}])
        self.disk.make_room()
        kindred.wait_until(lambda: self.search(5) == 5)
        self.assertEqual(self.ids(), list(range(1, 9)))
        self.assertEqual(self.ok("GetCollection", name="shop").collection.damage, "")

    def test_create_and_alias__leave_nothing_behind(self):
        self.disk.fill()
        before = sorted(os.listdir(self.disk.path))
        for _ in range(2):
            self.full("CreateCollection", "more", name="more", model_id=MODEL, dim=DIM)
            self.full("SetAlias", ".aliases.json", alias="front", collection="shop")
        self.assertEqual(self.names(), ["shop"])
        self.assertEqual(sorted(os.listdir(self.disk.path)), before)
        self.disk.make_room()
        self.ok("CreateCollection", name="more", model_id=MODEL, dim=DIM)
        self.ok("SetAlias", alias="front", collection="shop")
        self.assertEqual(self.names(), ["more", "shop"])

    def test_restore__leaves_the_collection_that_was(self):
        self.ok("Upsert", collection="shop", model_id=MODEL, items=rows(1, 20))
        file = self.ok("SnapshotCollection", name="shop").file
        self.ok("Upsert", collection="shop", model_id=MODEL, items=rows(21, 1))
        self.disk.fill()
        self.full("RestoreCollection", "collection.db", name="shop", file=file)
        self.assertEqual(self.ids(), list(range(1, 22)))
        self.disk.make_room()
        self.ok("RestoreCollection", name="shop", file=file)
        self.assertEqual(self.ids(), list(range(1, 21)))

    def test_delete__makes_room(self):
        self.fill()
        self.disk.fill()
        self.ok("DeleteCollection", name="shop")
        self.ok("CreateCollection", name="next", model_id=MODEL, dim=DIM)
        self.ok("Upsert", collection="next", model_id=MODEL, items=rows(1, 8))


class Stack(unittest.TestCase):
    """A whole stack whose folders are small disks."""

    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=1, views=6)
        cls.photo = cls.products / kindred.listing(cls.products, "test")[0][3]

    def up(self, *small):
        self.stack = kindred.Stack(self.id().rpartition(".")[2])
        self.disks = {name: faults.SmallDisk(self, self.stack.data / name) for name in small}
        self.addCleanup(self.stack.end)  # before the disks go
        self.stack.up("--datasets", kindred.folder())

    def fails(self, says, *args):
        failed = self.stack.run(*args, "--json")
        self.assertEqual(failed.status, 1, failed)
        self.assertEqual(failed.error["code"], "RESOURCE_EXHAUSTED", failed)
        self.assertIn(says, failed.error["message"])
        self.assertIn("No space left on device", failed.error["message"])

    def failed_job(self, says, *args):
        """Runs the job to its end; returns its id."""
        failed = self.stack.run(*args, "--json")
        self.assertEqual(failed.status, 1, failed)
        job = self.stack.ok("job", "list")["jobs"][0]
        self.assertEqual(job["state"], "failed")
        self.assertEqual(job["error"]["code"], 8, job)  # RESOURCE_EXHAUSTED
        self.assertIn(says, job["error"]["message"])
        return job["id"]

    def test_models_runs_and_reports(self):
        self.up("models", "runs", "reports")
        self.fails("models", "model", "init", "--name", "plain", "--image-size", 32)
        self.assertEqual(self.stack.ok("model", "list")["models"], [])
        self.disks["models"].resize("300m")
        self.stack.ok("model", "init", "--name", "plain", "--image-size", 32)

        trained = self.failed_job("safetensors", "train", self.products, "--loss", "triplet",
                                  "--image-size", 32, "--epochs", 1, "--name", "trained")
        self.assertLess(1024 * 1024 - self.disks["runs"].free(), 64 * 1024, "leftovers")
        self.disks["runs"].resize("500m")
        self.stack.ok("job", "retry", trained)
        self.stack.wait_job(trained)
        self.stack.ok("model", "show", "trained")

        self.disks["reports"].fill(leave=256 * 1024)  # some strips fit
        measured = self.failed_job("report", "evaluate", self.products, "--model", "plain")
        missing = self.stack.run("job", "show", measured, "--json").json
        self.assertNotIn("report", missing.get("result") or {})
        self.assertEqual(list((self.stack.data / "reports").glob("*/rows")), [], "leftovers")
        self.disks["reports"].make_room()
        self.disks["reports"].resize("20m")
        self.stack.ok("job", "retry", measured)
        self.stack.wait_job(measured)

    def test_collections__an_index_job_waits_for_room(self):
        self.up("collections")
        self.stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        self.disks["collections"].fill(leave=300 * 1024)
        job = self.stack.ok("index", self.products, "--model", "plain", "--collection", "shop",
                            "--detach")["id"]
        client = Client(self.stack.address("gateway"))

        def is_full():
            code, answer = client.call(f"{INDEXER}/Upsert", collection="shop",
                                       model_id=self.stack.ok("model", "list")["models"][0]["id"],
                                       items=rows(100000, 200))
            return code == EXHAUSTED and answer
        self.assertIn("collections/shop/collection.db", kindred.wait_until(is_full))
        added = ["collection", "add", "shop", self.photo, "--class-id", 1, "--super-class-id", 1]
        self.assertEqual(self.stack.job(job)["state"], "running")
        self.disks["collections"].make_room()
        self.stack.wait_job(job)
        self.stack.ok(*added, "--image-id", 77777)
        items = self.stack.ok("collection", "items", "shop")["items"]
        self.assertEqual([int(item["image_id"]) for item in items],
                         [row[0] for row in kindred.listing(self.products)] + [77777])
        found = self.stack.ok("search", self.photo, "--collection", "shop")
        self.assertEqual(len(found["results"][0]["hits"]), 5)

    def test_redis__jobs_that_were_acknowledged_are_there(self):
        """With appendfsync always Redis ends when its disk is full, and is started again."""
        self.up("redis")
        self.stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        index = ["index", self.products, "--model", "plain", "--collection", "shop"]
        before = self.stack.ok(*index)["id"]
        self.disks["redis"].fill()
        acknowledged = []
        for _ in range(3):
            told = self.stack.run(*index, "--detach", "--json")
            if told.status == 0:  # a little room was left in the file's last page
                acknowledged.append(told.json["id"])
                continue
            self.assertIn((told.status, told.error["code"]),
                          [(3, "UNAVAILABLE"), (1, "RESOURCE_EXHAUSTED")], told)
        self.disks["redis"].make_room()
        kindred.wait_until(lambda: self.stack.run("job", "list").status == 0, 60)
        again = kindred.wait_until(
            lambda: self.stack.run(*index, "--detach", "--json"), 60).json["id"]
        for job in (before, again, *acknowledged):
            self.stack.wait_job(job)
        listed = [job["id"] for job in self.stack.ok("job", "list")["jobs"]]
        self.assertEqual(len(listed), len(set(listed)))
        self.assertLessEqual({before, again, *acknowledged}, set(listed))


class Unreadable(unittest.TestCase):
    """A file that can't be opened just now: here because another process holds a lease on it."""

    def test_index_job__waits_for_the_image(self):
        stack = kindred.Stack("unreadable").up("--datasets", kindred.folder())
        products = kindred.draw("leased", products=1, views=4)
        stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        with open(products / kindred.listing(products)[3][3], "rb") as image:
            try:
                fcntl.fcntl(image, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError as problem:
                self.skipTest(f"no leases on this file system: {problem}")
            signal.signal(signal.SIGIO, signal.SIG_IGN)  # how the kernel asks for it
            job = stack.ok("index", products, "--model", "plain", "--collection", "shop",
                           "--detach")["id"]

            def is_held_up():
                shown = stack.job(job)
                self.assertNotIn(shown["state"], ("done", "failed"))
                return shown["state"] == "running"
            kindred.wait_until(is_held_up)
        done = stack.wait_job(job)
        self.assertEqual(int(done["result"]["skipped"]), 0)
        items = stack.ok("collection", "items", "shop")["items"]
        self.assertEqual([int(item["image_id"]) for item in items],
                         [row[0] for row in kindred.listing(products)])


if __name__ == "__main__":
    kindred.main()
