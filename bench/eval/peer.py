"""pytorch-metric-learning's AccuracyCalculator on the vectors that bench_eval_ours wrote.

    peer.py FILE N DIM THREADS
"""

import json
import resource
import sys
import time

import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

path, n, dim, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
with open(path, "rb") as file:
    vectors = np.fromfile(file, "<f4", n * dim).reshape(n, dim)
    labels = np.fromfile(file, "<u4", n).astype(np.int64)

# The metrics that both have, for classes and for super-classes, as ours; the neighbours by its own
# choice (FAISS).
calculator = AccuracyCalculator(
    include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count")
query, label = torch.from_numpy(vectors), torch.from_numpy(labels)
start = time.perf_counter()
found = calculator.get_accuracy(query, label)
calculator.get_accuracy(query, label // 25)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mib": peak, **found}))
