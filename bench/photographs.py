"""Photographs of a data set in Stanford Online Products' layout as the network takes them, and their
embeddings: whole, resized to 224 × 224 by Pillow, for everybody in the same bytes. (python3-pil, python3-numpy)
"""

import pathlib
import subprocess
import tempfile

import numpy as np
from PIL import Image

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
GROCERY = SHARED / "datasets/grocery"
WEIGHTS = SHARED / "models/resnet18-imagenet/resnet18-imagenet.safetensors"
SIZE, DIM = 224, 512
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")


def listing(data, name):
    """Paths and classes."""
    rows = [line.split(None, 3) for line in (data / name).read_text().splitlines()[1:]]
    return [data / row[3] for row in rows], np.array([int(row[1]) for row in rows])


def pixels(path):
    image = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR)
    return (np.asarray(image, "f4") / 255 - MEAN) / DEVIATION


def embed(bench, weights, paths, *precisions):
    """By bench_nn_ours: of each precision N × 512, of length 1."""
    with tempfile.TemporaryDirectory() as folder:
        file, answer = pathlib.Path(folder, "pixels"), pathlib.Path(folder, "embeddings")
        with file.open("wb") as out:
            for path in paths:
                out.write(pixels(path).tobytes())
        found = []
        for precision in precisions:
            subprocess.run([bench, "embed", weights, file, str(SIZE), str(len(paths)), precision, answer],
                           check=True)
            found.append(np.fromfile(answer, "f4").reshape(-1, DIM))
    return found
