#!/usr/bin/env python3
"""Writes tests/image/data/broken: what is wrong with images in the world, made from the small good
ones beside it.

    /usr/bin/python3 tools/golden/broken_images.py

A name begins with what kindred does: refuse- (INVALID_ARGUMENT), limit- (RESOURCE_EXHAUSTED), read-
(it gives a picture).
"""
import pathlib
import shutil
import struct
import zlib

DATA = pathlib.Path(__file__).resolve().parents[2] / "tests" / "image" / "data"
OUT = DATA / "broken"


def good(name):
    return (DATA / name).read_bytes()


def patched(data, at, new):
    return data[:at] + new + data[at + len(new):]


def segments(data):
    """(marker, offset) of a JPEG's segments up to the scan."""
    at = 2
    while data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2:at + 4], "big")
        yield marker, at
        if marker == 0xDA:
            return
        at += 2 + size


def where(data, marker):
    return next(at for found, at in segments(data) if found == marker)


def without(data, marker):
    at = where(data, marker)
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2:at + 4], "big"):]


def with_segment(data, marker, content):
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def exif(entries, next_ifd=0):
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + b"".join(
        struct.pack(">HHII", *entry) for entry in entries) + struct.pack(">I", next_ifd)


def chunk(name, content, check=None):
    sum_ = zlib.crc32(name + content) if check is None else check
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", sum_)


def png(width, height, depth=8, colour=2, rows=b"", interlace=0, more=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def jpegs():
    jpeg, cmyk = good("colour.jpg"), good("cmyk.jpg")
    sof, dqt, dht, sos = (where(jpeg, marker) for marker in (0xC0, 0xDB, 0xC4, 0xDA))
    for name, length in (("start", 2), ("tables", dqt + 20), ("header", sof + 6), ("scan", sos + 12),
                         ("half", len(jpeg) // 2), ("end", len(jpeg) - 40)):
        yield f"refuse-jpeg-cut-{name}", jpeg[:length]
    yield "refuse-jpeg-progressive-cut", good("progressive.jpg")[:-60]
    yield "refuse-jpeg-no-quantisation", without(jpeg, 0xDB)
    yield "read-jpeg-standard-huffman", jpeg[:dht] + jpeg[sos:]  # as frames of MJPEG are
    yield "refuse-jpeg-cmyk-no-quantisation", without(cmyk, 0xDB)
    yield "refuse-jpeg-no-frame", without(jpeg, 0xC0)
    yield "refuse-jpeg-no-scan", jpeg[:sos] + b"\xff\xd9"
    yield "refuse-jpeg-width-0", patched(jpeg, sof + 7, b"\0\0")
    yield "refuse-jpeg-height-0", patched(jpeg, sof + 5, b"\0\0")
    yield "refuse-jpeg-no-components", patched(jpeg, sof + 9, b"\0")
    yield "refuse-jpeg-12-bits", patched(jpeg, sof + 4, b"\x0c")
    yield "refuse-jpeg-sampling-0", patched(jpeg, sof + 11, b"\0")
    yield "refuse-jpeg-segment-over-the-end", patched(jpeg, dqt + 2, b"\xff\xff")
    yield "refuse-jpeg-segment-length-0", patched(jpeg, dqt + 2, b"\0\0")
    yield "refuse-jpeg-larger-than-its-data", patched(jpeg, sof + 5, b"\x02\x00\x02\x00")
    yield "refuse-jpeg-arithmetic-marker", patched(jpeg, sof + 1, b"\xc9")
    yield "limit-jpeg-60000-wide", patched(jpeg, sof + 5, b"\xea\x60\xea\x60")
    yield "limit-jpeg-area", patched(jpeg, sof + 5, b"\x3e\x80\x3e\x80")
    yield "read-jpeg-no-end-marker-but-rubbish-behind", jpeg + b"rubbish" * 9
    yield "read-jpeg-exif-empty", with_segment(jpeg, 0xE1, b"Exif\0\0")
    yield "read-jpeg-exif-cut", with_segment(jpeg, 0xE1, exif([(0x112, 3, 1, 6 << 16)])[:17])
    yield "read-jpeg-exif-orientation-9", with_segment(jpeg, 0xE1, exif([(0x112, 3, 1, 9 << 16)]))
    yield "read-jpeg-exif-wrong-type", with_segment(jpeg, 0xE1, exif([(0x112, 2, 1, 6 << 24)]))
    yield "read-jpeg-exif-offset-over-the-end", with_segment(
        jpeg, 0xE1, exif([(0x8769, 4, 1, 0x7FFFFFFF), (0x112, 3, 1, 1 << 16)]))
    yield "read-jpeg-exif-loop", with_segment(jpeg, 0xE1, exif([(0x8769, 4, 1, 8)], next_ifd=8))
    yield "read-jpeg-exif-65535-entries", with_segment(
        jpeg, 0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\0" * 40)
    yield "read-jpeg-icc-wrong", with_segment(jpeg, 0xE2, b"ICC_PROFILE\0\x05\x01" + b"x" * 30)
    yield "read-jpeg-comment", with_segment(jpeg, 0xFE, b"\xff\xd8\xff" * 20)


def pngs():
    rgb = good("colour.png")
    row = b"\0" + b"\x80" * 12
    yield "refuse-png-cut-signature", rgb[:8]
    yield "refuse-png-cut-header", rgb[:20]
    yield "refuse-png-cut-data", rgb[:60]
    yield "refuse-png-crc", patched(rgb, 29, b"\0\0\0\0")
    yield "refuse-png-width-0", png(0, 4, rows=row * 4)
    yield "refuse-png-depth-3", png(4, 4, depth=3, rows=row * 4)
    yield "refuse-png-colour-1", png(4, 4, colour=1, rows=row * 4)
    yield "refuse-png-palette-missing", png(4, 4, colour=3, rows=b"\0\0\0\0\0" * 4)
    yield "refuse-png-rows-missing", png(4, 4, rows=row * 2)
    yield "refuse-png-filter-9", png(4, 4, rows=(b"\x09" + row[1:]) * 4)
    yield "refuse-png-interlaced-cut", png(16, 16, interlace=1, rows=b"\0" * 40)
    yield "refuse-png-chunk-over-the-end", patched(rgb, 33, b"\x7f\xff\xff\xff")
    yield "refuse-png-no-data", rgb[:33] + chunk(b"IEND", b"")
    yield "limit-png-100000-wide", png(100000, 1)
    yield "limit-png-area", png(16384, 16384)
    yield "read-png-exif-rubbish", png(4, 4, rows=row * 4, more=chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"))
    yield "read-png-rows-over", png(4, 4, rows=row * 9)


def webps():
    lossy, lossless = good("lossy.webp"), good("lossless.webp")
    yield "refuse-webp-cut-header", lossy[:14]
    yield "refuse-webp-cut-half", lossy[:len(lossy) // 2]
    yield "refuse-webp-lossless-cut", lossless[:len(lossless) * 2 // 3]
    yield "refuse-webp-no-frame", b"RIFF\x12\0\0\0WEBPVP8 \x06\0\0\0abcdef"
    vp8x = b"VP8X\x0a\0\0\0\x02\0\0\0\x24\0\0\x1c\0\0" + b"ANIM\x06\0\0\0\0\0\0\0\0\0"
    yield "refuse-webp-animation", b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x
    large = b"VP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2
    yield "refuse-webp-16-million-wide", b"RIFF" + struct.pack("<I", 4 + len(large)) + b"WEBP" + large
    yield "read-webp-rubbish-behind", lossless + b"rubbish" * 9


def others():
    yield "refuse-empty", b""
    yield "refuse-one-byte", b"\xff"
    yield "refuse-text", b"This is not an image.\n"
    yield "refuse-html", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "refuse-gif", b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    yield "refuse-zeros", b"\0" * 64
    yield "refuse-heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    for source in (jpegs, pngs, webps, others):
        for name, data in source():
            (OUT / name).write_bytes(data)


main()
