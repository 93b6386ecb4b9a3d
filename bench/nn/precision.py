"""What bfloat16 does to embeddings: of a data set's photographs, by the same weights, beside float32's.

    python3 bench/nn/precision.py BUILD/bin WEIGHTS DATA       (python3-pil, python3-numpy)

DATA is in Stanford Online Products' layout; the gallery is Ebay_train.txt, the queries Ebay_test.txt. The
photographs come in whole, resized to 224 × 224 by Pillow, for both in the same bytes.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

bench, weights, data = pathlib.Path(sys.argv[1]) / "bench_nn_ours", sys.argv[2], pathlib.Path(sys.argv[3])
SIZE, DIM = 224, 512
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")


def listing(name):
    rows = [line.split(None, 3) for line in (data / name).read_text().splitlines()[1:]]
    return [data / row[3] for row in rows], np.array([int(row[1]) for row in rows])


def pixels(path):
    image = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR)
    return (np.asarray(image, "f4") / 255 - MEAN) / DEVIATION


gallery, gallery_labels = listing("Ebay_train.txt")
queries, query_labels = listing("Ebay_test.txt")
embeddings = {}
with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, "pixels")
    with file.open("wb") as out:
        for path in gallery + queries:
            out.write(pixels(path).tobytes())
    for precision in ("float32", "bfloat16"):
        answer = pathlib.Path(folder, precision)
        subprocess.run([bench, "embed", weights, file, str(SIZE), str(len(gallery) + len(queries)),
                        precision, answer], check=True)
        embeddings[precision] = np.fromfile(answer, "f4").reshape(-1, DIM)

exact, near = embeddings["float32"], embeddings["bfloat16"]
cosine = (exact * near).sum(1)
print(f"{len(cosine)} photographs: cosine of float32 and bfloat16 {cosine.mean():.6f} in the mean, "
      f"{cosine.min():.6f} at least; difference {np.linalg.norm(exact - near, axis=1).max():.2g} at most")
for name, (of_gallery, of_queries) in {"float32": (exact, exact), "bfloat16": (near, near),
                                       "bfloat16 in a float32 gallery": (exact, near)}.items():
    found = (of_queries[len(gallery):] @ of_gallery[:len(gallery)].T).argmax(1)
    right = int((gallery_labels[found] == query_labels).sum())
    print(f"R@1 {right / len(queries):.4f} ({right} of {len(queries)})  {name}")
