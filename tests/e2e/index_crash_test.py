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
