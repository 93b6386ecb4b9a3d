"""What bfloat16 does to embeddings: of a data set's photographs, by the same weights, beside float32's.

    python3 bench/nn/precision.py BUILD/bin WEIGHTS DATA       (python3-pil, python3-numpy)

DATA is in Stanford Online Products' layout; the gallery is Ebay_train.txt, the queries Ebay_test.txt.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from photographs import embed, listing  # noqa: E402 (beside the folders of the benchmarks)

bench, weights, data = pathlib.Path(sys.argv[1]) / "bench_nn_ours", sys.argv[2], pathlib.Path(sys.argv[3])
gallery, gallery_labels = listing(data, "Ebay_train.txt")
queries, query_labels = listing(data, "Ebay_test.txt")
exact, near = embed(bench, weights, gallery + queries, "float32", "bfloat16")
cosine = (exact * near).sum(1)
print(f"{len(cosine)} photographs: cosine of float32 and bfloat16 {cosine.mean():.6f} in the mean, "
      f"{cosine.min():.6f} at least; difference {np.linalg.norm(exact - near, axis=1).max():.2g} at most")
for name, (of_gallery, of_queries) in {"float32": (exact, exact), "bfloat16": (near, near),
                                       "bfloat16 in a float32 gallery": (exact, near)}.items():
    found = (of_queries[len(gallery):] @ of_gallery[:len(gallery)].T).argmax(1)
    right = int((gallery_labels[found] == query_labels).sum())
    print(f"R@1 {right / len(queries):.4f} ({right} of {len(queries)})  {name}")
