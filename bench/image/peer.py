"""The same photographs as a Python user prepares them, on one thread; the lines are those of
bench_image_ours (ours.c).

    peer.py torchvision|pillow LIST

torchvision stops at the resized bytes, which favours it; Pillow goes on to normalised floats.
"""

import io
import json
import pathlib
import sys
import time

import numpy as np

SIZE, KEPT = 224, 32

files = [pathlib.Path(line).read_bytes() for line in pathlib.Path(sys.argv[2]).read_text().splitlines()]

if sys.argv[1] == "torchvision":
    import torch
    import torchvision
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms import functional

    torch.set_num_threads(1)
    files = [torch.from_numpy(np.frombuffer(file, np.uint8).copy()) for file in files]
    about = f"torchvision {torchvision.__version__}"

    @torch.inference_mode()
    def prepare(file):
        return functional.resize(decode_jpeg(file, ImageReadMode.RGB), [SIZE, SIZE], antialias=True)

    def mean_of(made):
        return float(torch.stack(made).float().mean()) / 255
else:
    import PIL
    from PIL import Image, features

    about = f"Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}"
    MEAN = np.array([0.485, 0.456, 0.406], np.float32)
    STD = np.array([0.229, 0.224, 0.225], np.float32)

    def prepare(file):
        image = Image.open(io.BytesIO(file)).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR)
        return (np.asarray(image, np.float32) / 255 - MEAN) / STD

    def mean_of(made):
        return float((np.stack(made) * STD + MEAN).mean(dtype=np.float64))

print(json.dumps({"ready": about}), flush=True)
for line in sys.stdin:
    passes, kept = int(line), [None] * min(KEPT, len(files))
    start = time.perf_counter()
    for _ in range(passes):
        for i, file in enumerate(files):
            kept[i % KEPT] = prepare(file)
    seconds = time.perf_counter() - start
    print(json.dumps({"images_per_second": passes * len(files) / seconds, "mean": mean_of(kept)}),
          flush=True)
