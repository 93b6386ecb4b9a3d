#!/usr/bin/env python3
"""Writes tests/fuzz/corpus: small files of each kind that the fuzz targets begin from.

    /usr/bin/python3 tools/golden/fuzz.py        (needs python3-pil, python3-protobuf, protoc; the tests don't)

Files named crash-*, leak-*, timeout-* or oom-* are inputs that once broke something: a fuzzer found
them, this script leaves them alone. Everything else there is written anew.
"""
import base64
import hashlib
import io
import json
import pathlib
import re
import struct
import subprocess
import tempfile
import zipfile
import zlib

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"
FOUND = re.compile(r"(crash|leak|timeout|oom)-")
CUT = b"\x1e"
ORIENTATION = 0x0112


def write(target, files):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not FOUND.match(old.name):
            old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


# ---- Images ----

def picture(mode, width, height):
    image = Image.new("RGBA", (width, height))
    image.putdata([((x * 29) & 255, (y * 31) & 255, ((x ^ y) * 17) & 255, (255 - x * 9) & 255)
                   for y in range(height) for x in range(width)])
    return image.convert(mode)


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def restart_markers(jpeg):
    """The same file with a DRI segment that doesn't fit it: read on, or refused."""
    return jpeg[:2] + b"\xff\xdd\x00\x04\x00\x01" + jpeg[2:]


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(
        ">I", zlib.crc32(name + content))


def png_with(extra, png):
    """A chunk behind the header, which takes the first 33 bytes."""
    return png[:33] + extra + png[33:]


def big_exif():
    """Big-endian, orientation last of several entries."""
    entries = [(0x010f, 2, 4, b"kd\0\0"), (0x0128, 3, 1, b"\0\2\0\0"), (ORIENTATION, 3, 1, b"\0\7\0\0")]
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries))
    for tag, kind, count, value in entries:
        tiff += struct.pack(">HHI", tag, kind, count) + value
    return tiff + b"\0\0\0\0"


def images():
    rgb, rgba = picture("RGB", 12, 9), picture("RGBA", 9, 12)
    jpeg, png = saved(rgb, "JPEG"), saved(rgb, "PNG")
    files = {
        "plain.jpg": jpeg,
        "progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "full_chroma.jpg": saved(rgb, "JPEG", subsampling=0, quality=95),
        "grey.jpg": saved(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "restarts.jpg": restart_markers(jpeg),
        "cut.jpg": jpeg[:-40],
        "big_endian_exif.jpg": jpeg[:2] + b"\xff\xe1" + struct.pack(
            ">H", 8 + len(big_exif())) + b"Exif\0\0" + big_exif() + jpeg[2:],
        "rgb.png": png,
        "rgba.png": saved(rgba, "PNG"),
        "grey.png": saved(rgb.convert("L"), "PNG"),
        "grey_alpha.png": saved(rgba.convert("LA"), "PNG"),
        "grey16.png": saved(Image.new("I;16", (5, 4), 40000), "PNG"),
        "bits.png": saved(rgb.convert("1"), "PNG"),
        "palette.png": saved(rgb.convert("P", palette=Image.ADAPTIVE, colors=16), "PNG"),
        "transparent.png": saved(rgb, "PNG", transparency=(0, 0, 0)),
        "exif.png": saved(rgb, "PNG", exif=turned(8)),
        "gamma.png": png_with(chunk(b"gAMA", struct.pack(">I", 100000)), png),
        "cut.png": png[:-30],
        "long_chunk.png": png[:33] + struct.pack(">I", 0x45425000) + b"eXIf" + png[33:],
        "huge.png": png[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + png[33:],
        "lossy.webp": saved(rgb, "WEBP", quality=70),
        "lossless.webp": saved(rgb, "WEBP", lossless=True),
        "alpha.webp": saved(rgba, "WEBP", quality=70),
        "exif.webp": saved(rgb, "WEBP", quality=70, exif=turned(6)),
        "animation.webp": saved(rgb, "WEBP", save_all=True, append_images=[picture("RGB", 12, 9).rotate(90)]),
        "a.gif": saved(rgb.convert("P"), "GIF")[:40],
        "empty": b"",
    }
    for orientation in range(2, 9):
        files[f"turned_{orientation}.jpg"] = saved(picture("RGB", 5, 3), "JPEG", exif=turned(orientation))
    write("image", files)


# ---- Listings ----

HEAD = b"image_id class_id super_class_id path\n"
CSV = b"Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)\n"


def listings():
    train = HEAD + b"1 1 1 fruit/apple/1.jpg\n2 1 1 fruit/apple/2.jpg\n3 2 1 fruit/pear/3.jpg\n4 2 1 fruit/pear/4.jpg\n5 3 2 box/5.jpg\n"
    test = HEAD + b"6 1 1 fruit/apple/6.jpg\n7 3 2 box/7 with blanks.jpg\n"
    names = CSV + b'Apple,0,Fruit,0\n"Pear, ""green""",1,Fruit,0\nBox,2,Box,1\n'
    write("listing", {
        "all": train + CUT + test + CUT + names,
        "train": train,
        "test_only": CUT + test,
        "windows": (b"\xef\xbb\xbf" + train + CUT + test + CUT + names).replace(b"\n", b"\r\n"),
        "twice": train + CUT + train,
        "climbing": HEAD + b"1 1 1 a/../../b.jpg\n",
        "absolute": HEAD + b"1 1 1 /b.jpg\n",
        "folder": HEAD + b"1 1 1 b/\n",
        "large_ids": HEAD + b"9223372036854775807 4294967295 4294967295 \xc3\xa4/\xe2\x82\xac.jpg\n",
        "zero_id": HEAD + b"0 1 1 a.jpg\n",
        "two_super_classes": HEAD + b"1 1 1 a.jpg\n2 1 2 b.jpg\n",
        "blank_line": HEAD + b"1 1 1 a.jpg\n\n2 2 1 b.jpg\n",
        "few_fields": HEAD + b"1 1 a.jpg\n",
        "no_header": b"1 1 1 a.jpg\n",
        "other_names": train + CUT + CUT + CSV + b"Apple,1,Fruit,1\n",
        "open_quote": train + CUT + CUT + CSV + b'"Apple,0,Fruit,0\n',
        "large_name_id": train + CUT + CUT + CSV + b"Apple,4294967294,Fruit,4294967294\n",
        "no_column": train + CUT + CUT + b"Class Name,Class ID\nApple,0\n",
        "bad_utf8": HEAD + b"1 1 1 \xff.jpg\n",
        "long_word": HEAD + b"1 1 1 " + b"\xc3\xa4" * 30 + b"/\n",
        "empty": b"",
    })


# ---- Tensor files ----

def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tensor_files():
    data = bytes(range(48))
    two = {"a.weight": entry("F32", [2, 3], 0, 24), "b": entry("F16", [12], 24, 48)}
    scalars = {name: entry(name, [1], 8 * i, 8 * i + size) for i, (name, size) in enumerate(
        [("F64", 8), ("I64", 8)])}
    write("safetensors", {
        "two": safetensors(two, data),
        "metadata": safetensors({"__metadata__": {"format": "pt", "\u00e4": ""}, **two}, data),
        "types": safetensors(scalars, data[:16]),
        "scalar": safetensors({"s": entry("BF16", [], 0, 2)}, data[:2]),
        "bytes": safetensors({"u": entry("U8", [3], 0, 3), "i": entry("I8", [1, 1], 3, 4),
                              "f": entry("BOOL", [2], 4, 6)}, data[:6]),
        "nothing": safetensors({}),
        "no_elements": safetensors({"z": entry("F32", [0, 5], 0, 0)}),
        "no_elements_of_many": safetensors({"z": entry("F32", [0, 1 << 62, 1 << 62], 0, 0)}),
        "huge_shape": safetensors({"z": entry("F32", [1 << 62, 1 << 62], 0, 24)}, data[:24]),
        "overlap": safetensors({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, data[:12]),
        "gap": safetensors({"a": entry("F32", [2], 4, 12)}, data[:12]),
        "tail": safetensors({"a": entry("F32", [2], 0, 8)}, data[:12]),
        "twice": safetensors(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1}'),
        "long_header": struct.pack("<Q", 1 << 62) + b"{}",
        "cut": safetensors(two, data)[:60],
        "empty": b"",
    })


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def counts(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def tensor(name, storage, count, sizes, strides, offset=0, kind=b"FloatStorage"):
    return (text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text(b"storage") + b"ctorch\n" + kind + b"\n" +
            text(storage) + text(b"cpu") + b"J" + struct.pack("<i", count) + b"tQJ" + struct.pack("<i", offset) +
            counts(sizes) + counts(strides) + b"\x89" + ORDERED_DICT + b"tR")


def pickle_of(*tensors):
    return b"\x80\x02" + ORDERED_DICT + b"(" + b"".join(tensors) + b"u."


LONGEST = b"\x8a\x08" + struct.pack("<q", (1 << 63) - 1)


def pickles():
    """Beside storages 0 of 64, 1 of 9 and 2 of no bytes: tests/fuzz/pickle_fuzz.cpp."""
    plain = tensor(b"w", b"0", 16, [4, 4], [4, 1])
    across = tensor(b"t", b"0", 16, [4, 4], [1, 4])
    parameter = text(b"p") + b"ctorch._utils\n_rebuild_parameter\n(" + across[len(text(b"t")):] + b"\x88" + ORDERED_DICT + b"tR"
    far = tensor(b"f", b"0", 16, [2, 1, 2], [1, 77, 2]).replace(b"J" + struct.pack("<i", 77), LONGEST)
    return {
        "plain": pickle_of(plain),
        "several": pickle_of(plain, across, tensor(b"b", b"1", 9, [9], [1], kind=b"ByteStorage")),
        "parameter": pickle_of(parameter),
        "offset": pickle_of(tensor(b"o", b"0", 8, [3], [2], 2, b"DoubleStorage")),
        "repeated": pickle_of(tensor(b"r", b"0", 32, [2, 16], [0, 1], kind=b"HalfStorage")),
        "nothing": pickle_of(tensor(b"n", b"2", 0, [0, 7], [7, 1])),
        "scalar": pickle_of(tensor(b"s", b"0", 8, [], [], 7, b"LongStorage")),
        "far_stride": pickle_of(far),
        "beyond": pickle_of(tensor(b"w", b"0", 16, [4, 4], [5, 1])),
        "negative": pickle_of(tensor(b"w", b"0", 16, [-4, 4], [4, 1])),
        "other_length": pickle_of(tensor(b"w", b"1", 2, [2], [1])),
        "no_storage": pickle_of(tensor(b"w", b"9", 2, [2], [1])),
        "memo": b"\x80\x02" + ORDERED_DICT + b"q\x00r\x00\x01\x00\x00" + text(b"k") + b"q\x01]q\x02K\x01a(K\x02K\x03es"
                b"h\x01j\x00\x01\x00\x00s.",
        "metadata": b"\x80\x02" + ORDERED_DICT + b"}" + text(b"_metadata") + b"}sb.",
        "circle": b"\x80\x02]q\x00h\x00a.",
        "marks": b"\x80\x02((((tttt.",
        "numbers": b"\x80\x02(K\x01M\x01\x02J\xff\xff\xff\xff\x8a\x01\xff\x8a\x00G?\xf0\0\0\0\0\0\0N\x88\x89t\x85\x86.",
        "calls": b"\x80\x02cos\nsystem\n" + text(b"true") + b"\x85R.",
        "old": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        "empty": b"",
    }


def archive(pickle, deflate=False, name="archive"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as z:
        for path, content in [("data.pkl", pickle), ("data/0", bytes(range(64))), ("data/1", bytes(9)),
                              ("data/2", b""), ("version", b"3\n")]:
            z.writestr(zipfile.ZipInfo(f"{name}/{path}"), content,
                       zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED)
    return out.getvalue()


def pth():
    whole = archive(pickles()["several"])
    claims = bytearray(archive(pickles()["plain"]))
    at = claims.index(b"PK\x01\x02")
    claims[at + 24:at + 28] = struct.pack("<I", 0xfffffff0)  # the pickle's length
    write("pickle", pickles())
    write("pth", {
        "stored.pth": whole,
        "deflated.pth": archive(pickles()["several"], deflate=True),
        "no_folder.pth": archive(pickles()["plain"], name=""),
        "not_torch.pth": whole.replace(b"data.pkl", b"date.pkl"),
        "wrong_checksum.pth": whole.replace(b"storage", b"Storage", 1),
        "large_claim.pth": bytes(claims),
        "cut.pth": whole[:200],
        "end_only": whole[-22:],
        "empty": b"",
    })


# ---- Records, reports, requests ----

def records():
    """As lib/models/record.c writes them; the id is the target's."""
    steps = ("rgb8, upright, over white, resize 224x224 bilinear antialiased rgb8, scale 1/255, "
             "mean 0.485 0.456 0.406, std 0.229 0.224 0.225")
    record = {
        "schema_version": 1, "id": "0123456789abcdef", "name": "first", "architecture": "resnet18", "dim": 512,
        "preprocessing": {"image_size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                          "text": steps, "hash": hashlib.sha256(steps.encode()).hexdigest()},
        "parent": "", "source": "import", "data_hash": "", "created": "2026-01-02T03:04:05.678Z",
        "training": {"epochs": [1, {"loss": 0.5, "note": "\u00e4"}]},
    }

    def changed(**fields):
        return json.dumps({**record, **fields}).encode()

    scaled = steps.replace("rgb8, ", "rgb8, jpeg at 1/8 1/4 1/2 if twice the size, ", 1)
    write("record", {
        "plain": changed(),
        "scaled": changed(preprocessing={**record["preprocessing"], "scaled_dct": True, "text": scaled,
                                         "hash": hashlib.sha256(scaled.encode()).hexdigest()}),
        "newer": changed(schema_version=2),
        "other_id": changed(id="fedcba9876543210"),
        "bad_time": changed(created="2026-13-02T03:04:05.678Z"),
        "far_time": changed(created="9999-12-31T23:59:59.999Z"),
        "large_numbers": changed(dim=1e300, training={"x": 1e308, "y": 9223372036854775807}),
        "mean": changed(preprocessing={**record["preprocessing"], "mean": [3e38, -3e38, 1e-45]}),
        "deep": changed(training={"x": json.loads("[" * 40 + "]" * 40)}),
        "twice": changed()[:-1] + b',"dim":1}',
        "list": b"[]",
        "cut": changed()[:300],
        "empty": b"",
    })


def reports():
    picture_uri = b"data:image/jpeg;base64,/9j/4AAQ"
    texts = [b"A title", b"shop", b"q/1.jpg", b"Mugs", b"g/2.jpg", b"Plates", picture_uri, b"a.jpg: broken"]
    half, nan = struct.pack("<d", 0.5), struct.pack("<d", float("nan"))
    write("report", {
        "plain": CUT.join([half] + texts),
        "markup": CUT.join([half] + [b'<b class="x">&amp;\'</b>' + t for t in texts[:6]] + [
            picture_uri + b'" onload="x', b"</li>"]),
        "bare": CUT.join([half] + [b""] * 8),
        "not_a_number": CUT.join([nan] + texts),
        "control": CUT.join([half] + [b"\x01\x7f\t\n" + t for t in texts]),
        "letters": CUT.join([half] + ["ä€😀".encode() + t for t in texts]),
        "bad_utf8": CUT.join([half] + [t + b"\xed\xa0\x80" for t in texts]),
        "empty": b"",
    })


def requests():
    def get(path, *lines, method=b"GET", version=b"HTTP/1.1", ahead=0, body=b""):
        return bytes([ahead]) + b"\r\n".join([method + b" " + path + b" " + version, *lines, b"", body])

    host = b"Host: localhost"
    form = b'--XX\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n\xff\xd8\r\n--XX--\r\n'
    write("http", {
        "metrics": get(b"/metrics", host),
        "health": get(b"/healthz", host, b"Connection: close"),
        "in_two": get(b"/reports/a/report.html", host, ahead=9),
        "old": get(b"/healthz", version=b"HTTP/1.0"),
        "no_host": get(b"/healthz"),
        "head": get(b"/reports/1", host, method=b"HEAD"),
        "post": get(b"/metrics", host, b"Content-Length: 5", method=b"POST", body=b"hello"),
        "form": get(b"/reports/1?k=5&k&a=%C3%A4", host, b"Content-Type: multipart/form-data; boundary=XX",
                    b"Content-Length: %d" % len(form), method=b"POST", body=form),
        "fields": get(b"/reports/1", host, b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: 9",
                      method=b"POST", body=b"k=5&n=%20", ahead=200),
        "foreign": get(b"/reports/1", b"Host: evil.example", b"Origin: http://evil.example", b"Content-Length: 5",
                       method=b"POST", body=b"hello"),
        "chunked": get(b"/x", host, b"Transfer-Encoding: chunked", method=b"PUT",
                       body=b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
        "bad_chunk": get(b"/x", host, b"Transfer-Encoding: chunked", method=b"POST", body=b"ffffffffffffffff1\r\n"),
        "expect": get(b"/x", host, b"Expect: 100-continue", b"Content-Length: 3", method=b"POST"),
        "pipeline": get(b"/healthz", host) + get(b"/metrics", host)[1:] + get(b"/reports/", host)[1:],
        "escapes": get(b"/reports/%2e%2e/%00/%ff%zz?a=b&c=%41#d", host, b"Cookie: a=b; c=\"d\""),
        "absolute": get(b"http://x/healthz", host),
        "options": get(b"*", host, method=b"OPTIONS"),
        "folded": get(b"/healthz", b"Host:", b" x", b"X: y", b"\tz"),
        "bare_newlines": b"\0GET /healthz HTTP/1.1\nHost: x\n\n",
        "two_lengths": get(b"/", host, b"Content-Length: 1", b"Content-Length: 99999999999999999999"),
        "tls": b"\0\x16\x03\x01\x00\x05hello",
        "empty": b"",
    })


# ---- Messages ----

# As tests/fuzz/messages.h lists them.
SERVICES = ["kindred.v1.EmbedderService", "kindred.v1.GatewayService", "kindred.v1.IndexerService",
            "kindred.v1.TrainerService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]


def fill(message, depth=0):
    """Something in every field; of a oneof the last stays."""
    for field in message.DESCRIPTOR.fields:
        many = field.label == field.LABEL_REPEATED
        if field.type == field.TYPE_MESSAGE:
            if depth < 3:
                fill(getattr(message, field.name).add() if many else getattr(message, field.name), depth + 1)
            continue
        if field.type == field.TYPE_STRING:
            value = "\u00e4b"
        elif field.type == field.TYPE_BYTES:
            value = b"\0\xff"
        elif field.type == field.TYPE_ENUM:
            value = field.enum_type.values[-1].number
        elif field.type == field.TYPE_BOOL:
            value = True
        else:
            value = field.number + 200
        if many:
            getattr(message, field.name).extend([value, value])
        else:
            setattr(message, field.name, value)
    return message


def as_json(message):
    """As lib/rpc/json.c prints it, but only what is set."""
    def value(field, one):
        if field.type == field.TYPE_MESSAGE:
            return as_json(one)
        if field.type == field.TYPE_BYTES:
            return base64.b64encode(one).decode()
        if field.type == field.TYPE_ENUM:
            prefix = re.sub("(?<!^)(?=[A-Z])", "_", field.enum_type.name).upper() + "_"
            return field.enum_type.values_by_number[one].name.removeprefix(prefix).lower()
        return one
    return {field.name: [value(field, one) for one in got] if field.label == field.LABEL_REPEATED else value(field, got)
            for field, got in message.ListFields()}


def messages():
    protos = [str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto")]
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", ROOT / "proto", "--include_imports", f"--descriptor_set_out={out.name}",
                        *protos], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    methods = [m for name in SERVICES for m in pool.FindServiceByName(name).methods]
    seeds = {"empty": b"", "unknown": b"\0\xfa\x7f\x20" + b"x" * 32, "unknown_long": b"\0\x6a\xe8\x07" + b"j" * 1000, "group": b"\0\x0b\x0c",
             "long": b"\0\x0a\xff\xff\xff\xff\x0f"}
    for index, method in enumerate(methods):
        for type_, top in [(method.input_type, 0), (method.output_type, 0x80)]:
            body = fill(factory.GetPrototype(type_)()).SerializeToString(deterministic=True)
            seeds.setdefault(type_.name, bytes([top | index]) + body)
    write("message", seeds)
    seeds = {"empty": b"", "twice": b'\0{"model":"a","model":"b"}', "cut": b'\0{"model":"a"', "list": b"\0[]",
             "deep": b"\0" + b'{"model":' + b"[" * 3000, "big": b'\0{"model":99999999999999999999}', "nul": b'\0{"model":"\\u0000"}',
             "base64": b'\0{"images":["AA==","AAA=","A==="]}', "oneof": b'\5{"image":"AA==","image_id":3}'}
    for index, method in enumerate(methods):
        body = as_json(fill(factory.GetPrototype(method.input_type)()))
        seeds.setdefault(method.input_type.name, bytes([index]) + json.dumps(body).encode())
    write("json", seeds)


images()
listings()
tensor_files()
pth()
records()
reports()
requests()
messages()
total = sum(f.stat().st_size for f in CORPUS.rglob("*") if f.is_file())
print(f"{CORPUS}: {total} bytes")
