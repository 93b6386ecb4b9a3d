#!/usr/bin/env python3
"""Writes tests/image/data: small JPEG, PNG and WebP files, and what Pillow makes of them and of a drawn picture.

    /usr/bin/python3 tools/golden/image.py        (needs python3-pil; the tests don't)

The picture comes from a formula that tests/image/picture.h has too.
"""
import hashlib
import pathlib

from PIL import Image, ImageOps, __version__

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "tests" / "image" / "data"

# from width, height, box or None, to width, height
RESIZES = [
    (23, 17, None, 7, 5),
    (9, 7, None, 20, 15),
    (64, 48, None, 16, 16),
    (17, 31, None, 17, 12),  # rows only
    (31, 17, None, 12, 17),  # columns only
    (25, 15, None, 26, 14),
    (5, 1, None, 3, 4),
    (1, 1, None, 3, 2),
    (12, 9, None, 12, 9),  # nothing to do
    (50, 40, (7, 3, 36, 34), 13, 13),
]
LARGE = (301, 203, 224, 224)
LARGE_STEP = 467
FILE_STEP = 7
ORIENTATION = 0x0112


def picture(width, height):
    image = Image.new("RGB", (width, height))
    image.putdata([
        tuple((x * (3 + c) + y * 5 + ((x * y) >> 4) * (c + 1) + (90 if (x ^ y) & 8 else 0)) & 255
              for c in range(3))
        for y in range(height) for x in range(width)
    ])
    return image


def smooth(width, height):
    """A picture that JPEG keeps well: no edges."""
    image = Image.new("RGB", (width, height))
    image.putdata([(40 + 5 * x, 30 + 6 * y, 220 - 3 * x - 2 * y)
                   for y in range(height) for x in range(width)])
    return image


def numbers(name, values):
    values = list(values)
    lines = [f"static const uint8_t {name}[] = {{"]
    for at in range(0, len(values), 24):
        lines.append("    " + ",".join(str(v) for v in values[at:at + 24]) + ",")
    return "\n".join(lines) + "\n};\n"


def write_jpegs():
    DATA.mkdir(parents=True, exist_ok=True)
    image = smooth(37, 29)
    image.save(DATA / "colour.jpg", quality=85)
    image.save(DATA / "full_chroma.jpg", quality=85, subsampling=0)
    image.save(DATA / "progressive.jpg", quality=85, progressive=True)
    image.convert("L").save(DATA / "grey.jpg", quality=85)
    image.convert("CMYK").save(DATA / "cmyk.jpg", quality=85)
    # The same numbers taken as YCCK: Adobe's marker says how the inks were transformed.
    data = bytearray((DATA / "cmyk.jpg").read_bytes())
    data[data.index(b"Adobe") + 11] = 2
    (DATA / "ycck.jpg").write_bytes(data)
    return [f"{name}.jpg" for name in ("colour", "full_chroma", "progressive", "grey", "cmyk", "ycck")]


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def with_alpha(image):
    alpha = Image.new("L", image.size)
    alpha.putdata([min(255, 12 * x + 3 * y) for y in range(image.height) for x in range(image.width)])
    image = image.copy()
    image.putalpha(alpha)
    return image


def write_others():
    image = smooth(37, 29)
    names = []

    def save(name, what, **options):
        what.save(DATA / name, **options)
        names.append(name)

    for orientation in range(2, 9):
        save(f"turned_{orientation}.jpg", image, quality=85, subsampling=0, exif=turned(orientation))
    save("turned_8.png", image, exif=turned(8))
    save("turned_6.webp", image, lossless=True, exif=turned(6))
    save("colour.png", image)
    save("grey.png", image.convert("L"))
    wide = Image.new("I;16", image.size)
    wide.putdata([257 * v for v in image.convert("L").getdata()])
    save("grey16.png", wide)
    save("palette.png", image.quantize(64))
    clear = image.quantize(64)
    clear.info["transparency"] = 5
    save("palette_alpha.png", clear)
    save("alpha.png", with_alpha(image))
    save("grey_alpha.png", with_alpha(image).convert("LA"))
    save("lossless.webp", image, lossless=True)
    save("lossy.webp", image, quality=80)
    save("alpha.webp", with_alpha(image), lossless=True, exact=True)
    return names


def read(path):
    """As kindred does: upright, over white."""
    image = Image.open(path)
    if image.mode == "I;16" or image.mode == "I":
        image = image.point(lambda v: v / 257).convert("L")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def main():
    out = ["/* Made by tools/golden/image.py with Pillow " + __version__ + ": don't edit. */",
           "/* clang-format off */",
           "#ifndef KD_TESTS_IMAGE_GOLDEN_H", "#define KD_TESTS_IMAGE_GOLDEN_H",
           "", "#include <stddef.h>", "#include <stdint.h>", ""]
    rows = []
    for i, (fw, fh, box, tw, th) in enumerate(RESIZES):
        resized = picture(fw, fh)
        if box:
            resized = resized.crop(box)
        out.append(numbers(f"resize_{i}", resized.resize((tw, th), Image.BILINEAR).tobytes()))
        x0, y0, x1, y1 = box or (0, 0, fw, fh)
        rows.append(f"    {{{fw}, {fh}, {x0}, {y0}, {x1 - x0}, {y1 - y0}, {tw}, {th}, resize_{i}}},")
    out += ["static const struct golden_resize {",
            "    uint32_t from_width, from_height, x, y, w, h, width, height;",
            "    const uint8_t *pixels;", "} golden_resizes[] = {", *rows, "};", ""]

    fw, fh, tw, th = LARGE
    large = picture(fw, fh).resize((tw, th), Image.BILINEAR).tobytes()
    out.append(numbers("golden_large_samples", large[::LARGE_STEP]))
    out += ["#define GOLDEN_LARGE_FROM_WIDTH %du" % fw, "#define GOLDEN_LARGE_FROM_HEIGHT %du" % fh,
            "#define GOLDEN_LARGE_SIDE %du" % tw, "#define GOLDEN_LARGE_STEP %du" % LARGE_STEP,
            f'#define GOLDEN_LARGE_SHA256 "{hashlib.sha256(large).hexdigest()}"', ""]

    rows = []
    for name in write_jpegs() + write_others():
        image = read(DATA / name)
        array = "file_" + name.replace(".", "_")
        out.append(numbers(array, image.tobytes()[::FILE_STEP]))
        rows.append(f'    {{"{name}", {image.width}, {image.height}, {array}}},')
    out += [f"#define GOLDEN_FILE_STEP {FILE_STEP}u", "static const struct golden_file {",
            "    const char *name;", "    uint32_t width, height;",
            "    const uint8_t *samples; /* every GOLDEN_FILE_STEP-th byte */",
            "} golden_files[] = {", *rows, "};", "", "#endif"]
    (DATA / "golden.h").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
