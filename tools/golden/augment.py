#!/usr/bin/env python3
"""Writes tests/image/data/augment.h: what torchvision and Pillow make of a small picture of many colours.

    /usr/bin/python3 tools/golden/augment.py      (needs python3-torchvision; the tests don't)

torchvision is given floats and its answer is rounded once: on bytes it cuts off what is behind the point.
"""
import math
import pathlib

import PIL
import torch
import torchvision
import torchvision.transforms.functional as F
from PIL import Image

from image import numbers

TO = pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "image" / "data" / "augment.h"
WIDTH, HEIGHT = 12, 10
PURE = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255),
        (255, 255, 255), (0, 0, 0), (128, 128, 128), (255, 254, 255), (1, 0, 0), (200, 10, 10)]
SATURATIONS = [0, 0.6, 1.1, 1.4, 2]
HUES = [-0.25, -0.1, 0.003, 0.1, 0.25, 0.5]
SIGMAS = [0.26, 0.5, 0.8, 1, 1.7, 3]
BOX = (3, 2, 5, 7)  # x, y, width, height
MEAN = (0.485, 0.456, 0.406)


def colors():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata(PURE + [((x * 37 + y * 91) % 256, (x * 83 + y * 29 + 80) % 256, (x * x * 7 + y * 53) % 256)
                          for y in range(1, HEIGHT) for x in range(WIDTH)])
    return image


def to_floats(image):
    return F.pil_to_tensor(image).double() / 255


def to_bytes(tensor):
    assert tensor.min() >= -1e-6 and tensor.max() <= 1 + 1e-6
    return (tensor * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).flatten().tolist()


def main():
    image = colors()
    floats = to_floats(image)
    out = [f"/* Made by tools/golden/augment.py with torchvision {torchvision.__version__} and Pillow "
           f"{PIL.__version__}: don't edit. */",
           "/* clang-format off */",
           "#ifndef KD_TESTS_IMAGE_AUGMENT_GOLDEN_H", "#define KD_TESTS_IMAGE_AUGMENT_GOLDEN_H",
           "", "#include <stdint.h>", "",
           f"#define GOLDEN_COLORS_WIDTH {WIDTH}u", f"#define GOLDEN_COLORS_HEIGHT {HEIGHT}u",
           numbers("golden_colors", image.tobytes()),
           numbers("golden_gray", Image.merge("RGB", [image.convert("L")] * 3).tobytes())]

    def table(name, values, make):
        rows = []
        for i, value in enumerate(values):
            out.append(numbers(f"{name}_{i}", to_bytes(make(value))))
            rows.append(f"    {{{value}, {name}_{i}}},")
        out.extend([f"static const struct golden_value golden_{name}s[] = {{", *rows, "};", ""])

    out += ["struct golden_value {", "    double value;", "    const uint8_t *pixels;", "};", ""]
    table("saturation", SATURATIONS, lambda factor: F.adjust_saturation(floats, factor))
    table("hue", HUES, lambda turn: F.adjust_hue(floats, turn))
    table("sigma", SIGMAS, lambda sigma: F.gaussian_blur(floats, 2 * math.ceil(3 * sigma) + 1, sigma))
    x, y, w, h = BOX
    fill = torch.tensor(MEAN, dtype=torch.double)[:, None, None]
    out += [f"#define GOLDEN_ERASE {{{x}, {y}, {w}, {h}}}",
            numbers("golden_erased", to_bytes(F.erase(floats, y, x, h, w, fill))),
            "#endif"]
    TO.write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
