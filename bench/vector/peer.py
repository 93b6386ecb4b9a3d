"""A peer's searches on the vectors that bench_vector_ours drew; asked and answering as that one.

    peer.py faiss|usearch|usearch-i8|hnswlib FILE N QUERIES DIM THREADS TRUTH
"""

import json
import pathlib
import sys
import time
from importlib import metadata

import numpy as np

name, path, n, n_queries, dim, threads, truth_path = sys.argv[1:8]
n, n_queries, dim, threads = int(n), int(n_queries), int(dim), int(threads)
K = 10
LINKS, WIDTH = 16, 200  # M and efConstruction, as ours
drawn = np.memmap(path, "<f4", "r", shape=(n + n_queries, dim))
truth = np.fromfile(truth_path, "<u4").reshape(n_queries, K)


def resident():
    fields = pathlib.Path("/proc/self/status").read_text().split()
    return int(fields[fields.index("RssAnon:") + 1]) / 1024


def recall(found, first=0):
    found = np.asarray(found).reshape(-1, K)
    right = truth[first:first + len(found)]
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, right)]))


class Faiss:
    def __init__(self):
        import faiss
        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        self.about = f"faiss {faiss.__version__}, {faiss.get_compile_options().strip()}"

    def load(self):
        self.flat = self.faiss.IndexFlatIP(dim)
        self.flat.add(rows)

    def exact(self, batch):
        return self.flat.search(batch, K)[1]

    def build(self):
        self.graph = self.faiss.IndexHNSWFlat(dim, LINKS, self.faiss.METRIC_INNER_PRODUCT)
        self.graph.hnsw.efConstruction = WIDTH
        self.graph.add(rows)

    def approximate(self, width):
        self.graph.hnsw.efSearch = width
        return self.graph.search(queries, K)[1]


class Usearch:
    def __init__(self, dtype="f32"):
        import usearch
        from usearch import index
        self.index, self.dtype = index, dtype
        self.about = f"usearch {usearch.__version__}, {dtype}"

    def load(self):
        pass

    def exact(self, batch):
        return self.index.search(rows, batch, K, self.index.MetricKind.IP, exact=True,
                                 threads=threads).keys

    def build(self):
        self.graph = self.index.Index(ndim=dim, metric="ip", dtype=self.dtype, connectivity=LINKS,
                                      expansion_add=WIDTH)
        self.graph.add(np.arange(n), rows, threads=threads)
        self.about += f", {self.graph.hardware_acceleration}"

    def approximate(self, width):
        self.graph.expansion_search = width
        return self.graph.search(queries, K, threads=threads).keys


class Hnswlib:
    def __init__(self):
        import hnswlib
        self.hnswlib = hnswlib
        self.about = f"hnswlib {metadata.version('hnswlib')}"

    def load(self):
        raise NotImplementedError

    def build(self):
        self.graph = self.hnswlib.Index(space="ip", dim=dim)
        self.graph.init_index(max_elements=n, M=LINKS, ef_construction=WIDTH, random_seed=1)
        self.graph.set_num_threads(threads)
        self.graph.add_items(rows, np.arange(n))

    def approximate(self, width):
        self.graph.set_ef(width)
        return self.graph.knn_query(queries, K)[0]


rows = np.ascontiguousarray(drawn[:n])
queries = np.ascontiguousarray(drawn[n:])
peer = {"faiss": Faiss, "usearch": Usearch, "usearch-i8": lambda: Usearch("i8"),
        "hnswlib": Hnswlib}[name]()
print(json.dumps({"ready": peer.about}), flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    answer = {}
    before, start = resident(), time.perf_counter()
    if word == "load":
        peer.load()
    elif word == "build":
        peer.build()
        answer = {"seconds": time.perf_counter() - start, "mib": resident() - before}
    elif word == "exact":
        size, batches = map(int, numbers)
        found = [peer.exact(queries[i * size:(i + 1) * size]) for i in range(batches)]
        seconds = time.perf_counter() - start
        answer = {"rate": size * batches / seconds, "recall": recall(np.concatenate(
            [np.asarray(f).reshape(-1, K) for f in found]))}
    elif word == "approximate":
        width, passes = map(int, numbers)
        for _ in range(passes):
            found = peer.approximate(width)
        seconds = time.perf_counter() - start
        answer = {"rate": n_queries * passes / seconds, "recall": recall(found)}
    print(json.dumps(answer), flush=True)
