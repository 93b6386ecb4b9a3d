"""kill -9 of any service in the middle of an index job: the job ends done, each image is there once."""

import unittest

import kindred


class IndexCrash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=6, views=10)
        cls.expected = [row[0] for row in kindred.listing(cls.products)]
        cls.stack = kindred.Stack("crash").up("--datasets", kindred.folder())

    def index_and_kill(self, service, seed):
        """A model of its own for each case: nothing of it is in the cache."""
        name = f"of-{service}"
        self.stack.ok("model", "init", "--name", name, "--image-size", 128, "--seed", seed)
        started = self.stack.ok("index", self.products, "--model", name, "--collection", name,
                                "--detach")
        job_id = started["id"]

        def under_way():
            job = self.stack.job(job_id)
            self.assertNotIn(job["state"], ("done", "failed"), "the job ended before the kill")
            return int(job.get("progress", {}).get("done", 0)) > 0
        kindred.wait_until(under_way, 60)
        killed = self.stack.kill(service)
        self.stack.wait_back(service, killed)
        job = self.stack.wait_job(job_id, timeout=180)
        self.assertEqual(int(job["result"]["images"]), len(self.expected))
        items = self.stack.ok("collection", "items", name)
        items = items["items"] if isinstance(items, dict) else items
        self.assertEqual([int(item["image_id"]) for item in items], self.expected)

    def test_index_job__survives_the_embedder(self):
        self.index_and_kill("embedder", 1)

    def test_index_job__survives_the_indexer(self):
        self.index_and_kill("indexer", 2)

    def test_index_job__survives_the_gateway(self):
        self.index_and_kill("gateway", 3)


class DamagedCollection(unittest.TestCase):
    def test_a_damaged_collection__is_said_to_be_and_can_be_deleted(self):
        stack = kindred.Stack("damaged").up("--datasets", kindred.folder())
        products = kindred.draw("worn", products=1, views=3)
        stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        stack.ok("index", products, "--model", "plain", "--collection", "worn")
        database = stack.data / "collections" / "worn" / "collection.db"
        killed = stack.kill("indexer")
        database.write_bytes(b"not a database " * 100)
        for ending in ("-wal", "-shm"):
            database.with_name(database.name + ending).unlink(missing_ok=True)
        stack.wait_back("indexer", killed)
        photo = products / kindred.listing(products, "test")[0][3]
        for asked in (("search", photo, "--collection", "worn"),
                      ("index", products, "--model", "plain", "--collection", "worn"),
                      ("collection", "add", "worn", photo, "--image-id", 1, "--class-id", 1,
                       "--super-class-id", 1)):
            failed = stack.run(*asked, "--json")
            self.assertEqual(failed.status, 1, failed)
            self.assertEqual(failed.error["code"], "DATA_LOSS", failed)
            self.assertIn("worn", failed.error["message"])
        kept = stack.run("model", "rm", "plain", "--json")
        self.assertEqual(kept.error["code"], "FAILED_PRECONDITION", kept)
        stack.ok("collection", "delete", "worn", "--yes")
        stack.ok("model", "rm", "plain")


class RedisCrash(unittest.TestCase):
    def test_redis_down__is_said_and_jobs_are_still_there_when_it_is_back(self):
        stack = kindred.Stack("redis").up("--datasets", kindred.folder())
        products = kindred.draw("small", products=2, views=5)
        stack.ok("model", "init", "--name", "plain", "--image-size", 32)
        job = stack.ok("index", products, "--model", "plain", "--collection", "shop")
        killed = stack.kill("redis")

        # Redis may be back before the command asks: then the list is there.
        told = stack.run("job", "list", "--json")
        if told.status != 0:
            self.assertEqual(told.status, 3, told)
            self.assertEqual(told.error["code"], "UNAVAILABLE")
        stack.wait_back("redis", killed)
        photo = products / kindred.listing(products, "test")[0][3]
        found = stack.ok("search", photo, "--collection", "shop")
        self.assertEqual(len(found["results"][0]["hits"]), 5)
        shown = kindred.wait_until(lambda: stack.job(job["id"]), 30)
        self.assertEqual(shown["state"], "done")


if __name__ == "__main__":
    kindred.main()
