#!/usr/bin/env python3
"""Reads an event file of ours: events_check.py PROGRAM [--tensorboard]

PROGRAM FILE writes the sample (tests/trainer/events_test.c says what is in it). It is read with what
stands here, which knows the format but nothing of kindred; with --tensorboard by TensorBoard itself,
and where this Python has none the test is skipped (77).
"""
import os
import struct
import subprocess
import sys
import tempfile

NAME = "events.out.tfevents.kindred"


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected():
    """tag -> [(step, wall time, value)]"""
    curves = {"train/loss": [], "train/rate": [], "validation/recall@1": [], "größe": []}
    for step in range(100):
        wall = 1700000000.5 + step
        curves["train/loss"].append((step, wall, float32(1 / (step + 1))))
        curves["train/rate"].append((step, wall, float32(1e-6 * step)))
        if step % 10 == 0:
            curves["validation/recall@1"].append((step, wall, float32(step / 100)))
            curves["größe"].append((step, wall, float32(-step)))
    return curves


# ---- A reader of its own ----


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        head = data[at : at + 8]
        (length,) = struct.unpack("<Q", head)
        (head_sum,) = struct.unpack("<I", data[at + 8 : at + 12])
        body = data[at + 12 : at + 12 + length]
        (body_sum,) = struct.unpack("<I", data[at + 12 + length : at + 16 + length])
        assert len(body) == length, f"record at {at} is cut"
        assert head_sum == masked(head) and body_sum == masked(body), f"record at {at} is damaged"
        yield body
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """(number, value) of a message: integers of varints, bytes of all else."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                assert key & 7 == 2, f"wire type {key & 7}"
                size, at = varint(data, at)
            value = data[at : at + size]
            assert len(value) == size
            at += size
        yield key >> 3, value


def read_plainly(path):
    with open(path, "rb") as file:
        all_records = list(records(file.read()))
    first = dict(fields(all_records[0]))
    assert first[3] == b"brain.Event:2", first
    assert abs(struct.unpack("<d", first[1])[0] - os.path.getmtime(path)) < 60
    curves = {}
    for record in all_records[1:]:
        event = dict(fields(record))
        wall, step = struct.unpack("<d", event[1])[0], event.get(2, 0)
        for number, value in fields(event[5]):
            assert number == 1
            scalar = dict(fields(value))
            (number,) = struct.unpack("<f", scalar[2])
            curves.setdefault(scalar[1].decode(), []).append((step, wall, number))
    return curves


# ---- TensorBoard ----


def read_with_tensorboard(folder):
    try:
        import tensorboard
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as why:
        print(f"skipped: {sys.executable} has no TensorBoard ({why}); "
              "cmake -D KINDRED_TENSORBOARD_PYTHON=… names one that has")
        sys.exit(77)
    print("TensorBoard", tensorboard.__version__)
    accumulator = EventAccumulator(folder, size_guidance={"scalars": 0})
    accumulator.Reload()
    assert accumulator.file_version == 2.0, accumulator.file_version
    return {tag: [(e.step, e.wall_time, e.value) for e in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]}


def main():
    program, *options = sys.argv[1:]
    assert crc32c(b"123456789") == 0xE3069283
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, NAME)
        subprocess.run([program, path], check=True)
        if options == ["--tensorboard"]:
            curves = read_with_tensorboard(folder)
        else:
            curves = read_plainly(path)
    want = expected()
    assert sorted(curves) == sorted(want), sorted(curves)
    for tag, points in want.items():
        assert curves[tag] == points, (tag, curves[tag], points)
        print(f"{tag}: {len(points)} points, the last {curves[tag][-1]}")


main()
