"""The index of a collection through its calls: sealed, approximate, changed while it is searched, killed
in the middle of writing. What is in the files is indexer.crash's and indexer.segments' business."""

import math
import random
import unittest

import faults
import grpc
import kindred
from client import OK, Client

INDEXER = "kindred.v1.IndexerService"
MODEL, DIM, BATCH = "aaaabbbbccccdddd", 24, 200


def vector(seed):
    drawn = random.Random(seed)
    values = [drawn.gauss(0, 1) for _ in range(DIM)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def rows(first, n):
    return [{"item": {"image_id": number, "class_id": number % 50, "super_class_id": 1},
             "values": vector(number)} for number in range(first, first + n)]


class Index(unittest.TestCase):
    def setUp(self):
        self.indexer = faults.Service("indexer", "--seal-rows", 500, "--recall-share", 1)
        self.addCleanup(self.indexer.end)
        self.client = Client(self.indexer.address)

    def ok(self, method, **values):
        code, answer = self.client.call(f"{INDEXER}/{method}", **values)
        self.assertEqual(code, OK, f"{method}: {answer}")
        return answer

    def refused(self, says, method, **values):
        code, answer = self.client.call(f"{INDEXER}/{method}", **values)
        self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT, answer)
        self.assertIn(says, answer)

    def shown(self):
        return self.ok("GetCollection", name="shop").collection

    def settle(self):
        kindred.wait_until(lambda: not self.shown().index_state.building, 60)

    def put(self, first, n):
        self.ok("Upsert", collection="shop", model_id=MODEL, items=rows(first, n))

    def search(self, seeds, exact):
        """The ids of each query's ten nearest."""
        answer = self.ok("Search", collection="shop", model_id=MODEL, k=10, exact=exact,
                         queries=[{"values": vector(seed)} for seed in seeds])
        return [[hit.item.image_id for hit in result.hits] for result in answer.results]

    def check_search(self):
        seeds = [f"query {number}" for number in range(20)]
        exact, found = self.search(seeds, True), self.search(seeds, False)
        right = sum(len(set(a) & set(b)) for a, b in zip(exact, found))
        self.assertGreaterEqual(right, 0.9 * 200)

    def test_index__is_built_changed_and_found_again(self):
        create = {"name": "shop", "model_id": MODEL, "dim": DIM}
        self.refused("no index 'tree'", "CreateCollection", index={"kind": "tree"}, **create)
        self.refused("recall is 2", "CreateCollection", index={"target_recall": 2}, **create)
        made = self.ok("CreateCollection", index={"kind": "hnsw"}, durability={"window_ms": 200},
                       **create).collection
        self.assertEqual((made.index, made.index_settings.storage), ("hnsw", "int8"))
        self.assertEqual(made.durability.window_ms, 200)
        for first in range(0, 2600, BATCH):
            self.put(first, BATCH)
        self.settle()
        state = self.shown().index_state
        self.assertGreater(state.approximate_segments, 0, state)
        self.assertEqual(state.growing + state.sealed, 2600)
        self.assertGreaterEqual(state.recall, 0.9499)
        self.check_search()
        kindred.wait_until(lambda: self.shown().index_state.live_queries > 0, 10)
        self.assertGreaterEqual(self.shown().index_state.live_recall, 0.8)
        self.assertIn('kindred_index_live_recall{collection="shop"}', self.indexer.metrics())

        self.put(100, BATCH)  # dead rows
        self.indexer.kill()
        self.indexer.start()
        self.client = Client(self.indexer.address)
        self.assertEqual(self.shown().count, 2600)
        self.check_search()
        self.settle()
        self.check_search()

        self.refused("60001 ms", "UpdateCollection", name="shop", durability={"window_ms": 60001})
        changed = self.ok("UpdateCollection", name="shop", index={"kind": "exact"}).collection
        self.assertEqual((changed.index, changed.durability.window_ms), ("exact", 200))
        seeds = list(range(5))
        self.assertEqual(self.search(seeds, False), self.search(seeds, True))
        self.assertEqual([ids[0] for ids in self.search(seeds, False)], seeds)
        self.ok("DeleteItems", collection="shop", image_ids=list(range(2600)))
        kindred.wait_until(lambda: self.shown().index_state.segments == 0, 30)

        self.search(seeds, False)
        recall = 'kindred_index_live_recall{collection="shop"}'
        self.assertIn(recall, self.indexer.metrics())
        self.ok("DeleteCollection", name="shop")
        self.assertNotIn(recall, self.indexer.metrics())
        self.assertEqual(self.indexer.end(), 0)


if __name__ == "__main__":
    kindred.main()
