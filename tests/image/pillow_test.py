"""The way from a file to the model's square of pixels beside Pillow's: decode, turn upright, resize.

    pillow_test.py PIXELS FOLDER     (PIXELS: tests/image/pixels.c; FOLDER has photographs)

The mean absolute error over the folder is at most 1/255, 2/255 where the JPEG was decoded at a
fraction of its size, and no image has twice that. Exit status 77: the folder isn't there.
"""

import subprocess
import sys
from pathlib import Path

import numpy
from PIL import Image, ImageOps

AT_MOST = 150  # images
LEAST_SIDE = 32  # of a model's input


def pillows(path, side):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    return numpy.asarray(image.resize((side, side), Image.BILINEAR), dtype=numpy.int16)


def ours(program, side, form, paths):
    done = subprocess.run([program, str(side), form, *map(str, paths)], check=True,
                          capture_output=True, timeout=300)
    return numpy.frombuffer(done.stdout, dtype=numpy.uint8).reshape(len(paths), side, side, 3)


def compare(program, side, form, paths, limit):
    errors = [float(numpy.abs(pillows(path, side) - mine).mean())
              for path, mine in zip(paths, ours(program, side, form, paths))]
    mean, most = sum(errors) / len(errors), max(errors)
    print(f"{side} x {side} {form}: {len(paths)} images, mean absolute error {mean:.3f}/255, "
          f"of one image at most {most:.3f}/255 (limit {limit})")
    assert mean <= limit and most <= 2 * limit, paths[errors.index(most)]


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        print(f"skipped: no photographs in {folder}")
        sys.exit(77)
    paths = paths[::max(1, len(paths) // AT_MOST)]
    smallest = min(min(Image.open(path).size) for path in paths)
    compare(program, 224, "whole", paths, 1)
    compare(program, 96, "whole", paths, 1)
    # At the largest sides that let each image be decoded at a half, a quarter and an eighth.
    for by in (2, 4, 8):
        if smallest // (2 * by) >= LEAST_SIDE:
            compare(program, smallest // (2 * by), "scaled", paths, 2)
    compare(program, LEAST_SIDE, "scaled", paths, 2)


main()
