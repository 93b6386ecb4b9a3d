#!/usr/bin/env python3
"""Writes tests/nn/loss_golden.h: what pytorch-metric-learning computes, in double, for embeddings
that a formula gives (tests/nn/loss_support.c has the same one).

    pip install pytorch-metric-learning==2.9.0
    python3 tools/golden/losses.py > tests/nn/loss_golden.h
    clang-format-19 -i tests/nn/loss_golden.h
"""
import numpy as np
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

N, DIM, CLASSES = 10, 6, 5  # class 4 is in no batch
LABELS = [0, 0, 0, 1, 1, 2, 2, 1, 3, 2]


def noise(stream, count):
    """count numbers in -1..1 from a 32-bit integer hash, as tools/golden/nn.py has it."""
    mask = np.uint64(0xFFFFFFFF)
    x = (np.arange(count, dtype=np.uint64) + np.uint64(stream * 0x9E3779B9 & 0xFFFFFFFF)) & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & mask
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / 2147483648.0 - 1.0


def single(array):
    """In double, but of float's values: the tests' input."""
    return torch.from_numpy(np.asarray(array).astype(np.float32).astype(np.float64))


def embeddings(labels, stream):
    return single([0.7 * noise(2000 + label, DIM) + 0.6 * noise(stream + i, DIM)
                   for i, label in enumerate(labels)])


def batch(kind):
    labels = [0] * N if kind == "ONE_LABEL" else LABELS
    rows = embeddings(labels, 2100)
    if kind == "DUPLICATES":  # the same point twice in a class, in another class, in direction only
        rows[1], rows[4], rows[3] = rows[0], rows[0], 2 * rows[7]
    if kind == "OPPOSITE":
        rows[1], rows[5] = -rows[0], -rows[0]
    return rows, torch.tensor(labels)


def earlier(b):
    labels = [(label + b) % 4 for label in LABELS]
    return embeddings(labels, 2400 + b * N), torch.tensor(labels)


WEIGHTS = single([noise(2200 + c, DIM) for c in range(CLASSES)])
BIAS = single(noise(2300, CLASSES))


class CrossEntropy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.W = torch.nn.Parameter(WEIGHTS.t().clone())

    def forward(self, rows, labels, indices_tuple=None):
        return torch.nn.functional.cross_entropy(rows @ self.W + BIAS, labels)


def make_distance(o):
    if o.get("distance") == "COSINE":
        return distances.CosineSimilarity()
    return distances.LpDistance(normalize_embeddings=not o.get("raw", False))


def make_loss(o):
    m, s = o.get("margin", 0), o.get("scale", 0)
    pair = {}
    if o["loss"] in ("CONTRASTIVE", "TRIPLET"):
        pair["distance"] = make_distance(o)
        if o.get("reduction") == "SUM":
            pair["reducer"] = reducers.SumReducer()
    cosine = o.get("distance") == "COSINE"
    p = o.get("positive_margin", 0)
    return {
        "CROSS_ENTROPY": lambda: CrossEntropy(),
        "NORM_SOFTMAX": lambda: losses.NormalizedSoftmaxLoss(CLASSES, DIM, temperature=1 / s),
        "ARCFACE": lambda: losses.ArcFaceLoss(CLASSES, DIM, margin=m, scale=s),
        "COSFACE": lambda: losses.CosFaceLoss(CLASSES, DIM, margin=m, scale=s),
        "PROXY_ANCHOR": lambda: losses.ProxyAnchorLoss(CLASSES, DIM, margin=m, alpha=s),
        # ours are margins of 1 - cosine
        "CONTRASTIVE": lambda: losses.ContrastiveLoss(
            pos_margin=1 - p if cosine else p, neg_margin=1 - m if cosine else m, **pair),
        "TRIPLET": lambda: losses.TripletMarginLoss(margin=m, smooth_loss=m == 0, **pair),
        "MULTI_SIMILARITY": lambda: losses.MultiSimilarityLoss(
            alpha=o["positive_scale"], beta=s, base=m),
        "SUPERVISED_CONTRASTIVE": lambda: losses.SupConLoss(temperature=1 / s),
    }[o["loss"]]()


def make_miner(o):
    distance = make_distance(o)
    return {
        "ALL": lambda: None,
        "SEMI_HARD": lambda: miners.TripletMarginMiner(
            margin=o["margin"], type_of_triplets="semihard", distance=distance),
        "BATCH_HARD": lambda: miners.BatchHardMiner(distance=distance),
    }[o.get("miner", "ALL")]()


def evaluate(kind, batches, o):
    """Value and gradients of the embeddings and of a head's weights."""
    rows, labels = batch(kind)
    rows.requires_grad_(True)
    loss, miner, weights = make_loss(o), make_miner(o), None
    if "memory" in o:
        loss = losses.CrossBatchMemory(loss, DIM, memory_size=o["memory"], miner=miner)
        for b in range(batches):
            loss(*earlier(b))
        value = loss(rows, labels)
    else:
        weights = getattr(loss, "proxies", getattr(loss, "W", None))
        if weights is not None:
            weights.data = WEIGHTS.clone() if hasattr(loss, "proxies") else WEIGHTS.t().clone()
        value = loss(rows, labels, miner(rows, labels) if miner else None)
    value.backward()
    if weights is not None:
        weights = weights.grad if hasattr(loss, "proxies") else weights.grad.t()
    return value.item(), rows.grad, weights


def case(name, loss, kind="PLAIN", batches=0, **options):
    return name, kind, batches, {"loss": loss, **options}


def cases():
    ms = {"margin": 0.5, "scale": 50, "positive_scale": 2}
    heads = [("CROSS_ENTROPY", {}), ("NORM_SOFTMAX", {"scale": 20}),
             ("ARCFACE", {"margin": 28.6, "scale": 64}), ("COSFACE", {"margin": 0.35, "scale": 64}),
             ("PROXY_ANCHOR", {"margin": 0.1, "scale": 32})]
    for name, options in heads:
        yield case("defaults", name, **options)
        yield case("duplicates", name, "DUPLICATES", **options)
        yield case("opposite vectors", name, "OPPOSITE", **options)
    yield case("a margin beyond which the angle may not go", "ARCFACE", margin=120, scale=10)
    yield case("a gentle scale", "COSFACE", margin=0.2, scale=8)
    yield case("a gentle scale", "PROXY_ANCHOR", margin=0.3, scale=8)
    yield case("one label", "PROXY_ANCHOR", "ONE_LABEL", margin=0.1, scale=32)

    yield case("defaults", "CONTRASTIVE", margin=0.5)
    yield case("positive margin", "CONTRASTIVE", margin=1.2, positive_margin=0.6)
    yield case("cosine", "CONTRASTIVE", margin=0.9, positive_margin=0.1, distance="COSINE")
    yield case("raw, sum", "CONTRASTIVE", margin=1.5, raw=True, reduction="SUM")
    yield case("batch-hard", "CONTRASTIVE", margin=1.2, miner="BATCH_HARD")
    yield case("semi-hard", "CONTRASTIVE", margin=0.9, miner="SEMI_HARD")
    yield case("duplicates", "CONTRASTIVE", "DUPLICATES", margin=1.2)
    yield case("opposite vectors", "CONTRASTIVE", "OPPOSITE", margin=1.2)
    yield case("one label", "CONTRASTIVE", "ONE_LABEL", margin=0.5)
    yield case("memory, filling", "CONTRASTIVE", batches=1, memory=64, margin=1.2)
    yield case("memory, full", "CONTRASTIVE", batches=3, memory=24, margin=1.2)

    for margin in (0.2, 0):
        soft = "margin" if margin else "soft margin"
        for miner in ("ALL", "BATCH_HARD", "SEMI_HARD"):
            if margin == 0 and miner == "SEMI_HARD":
                continue
            o = {"margin": margin, "miner": miner}
            yield case(f"{soft}, {miner}", "TRIPLET", **o)
            yield case(f"{soft}, {miner}, cosine", "TRIPLET", distance="COSINE", **o)
            yield case(f"{soft}, {miner}, raw, sum", "TRIPLET", raw=True, reduction="SUM", **o)
            yield case(f"{soft}, {miner}, memory", "TRIPLET", batches=3, memory=24, **o)
        yield case(f"{soft}, duplicates", "TRIPLET", "DUPLICATES", margin=margin)
        yield case(f"{soft}, opposite vectors", "TRIPLET", "OPPOSITE", margin=margin)
    yield case("memory, empty", "TRIPLET", memory=24, margin=0.2)

    yield case("defaults", "MULTI_SIMILARITY", **ms)
    yield case("other scales", "MULTI_SIMILARITY", margin=0.3, scale=10, positive_scale=5)
    yield case("duplicates", "MULTI_SIMILARITY", "DUPLICATES", **ms)
    yield case("opposite vectors", "MULTI_SIMILARITY", "OPPOSITE", **ms)
    yield case("one label", "MULTI_SIMILARITY", "ONE_LABEL", **ms)
    yield case("memory, full", "MULTI_SIMILARITY", batches=3, memory=24, **ms)
    yield case("defaults", "SUPERVISED_CONTRASTIVE", scale=10)
    yield case("a gentle scale", "SUPERVISED_CONTRASTIVE", scale=2)
    yield case("duplicates", "SUPERVISED_CONTRASTIVE", "DUPLICATES", scale=10)
    yield case("opposite vectors", "SUPERVISED_CONTRASTIVE", "OPPOSITE", scale=10)
    yield case("memory, filling", "SUPERVISED_CONTRASTIVE", batches=1, memory=64, scale=10)
    yield case("memory, full", "SUPERVISED_CONTRASTIVE", batches=3, memory=24, scale=10)


def number(value):
    text = f"{value:.7g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def numbers(tensor):
    return "{" + ", ".join(number(v) for v in tensor.flatten().tolist()) + "}"


def option(key, value):
    enums = {"loss": "LOSS", "miner": "MINER", "distance": "DISTANCE", "reduction": "REDUCTION"}
    if key in enums:
        return f".{key} = KD_{enums[key]}_{value}"
    if key == "raw":
        return ".raw = true"
    return f".{key} = {value}" if key in ("memory", "classes") else f".{key} = {number(value)}"


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print("/* Made by tools/golden/losses.py from pytorch-metric-learning; do not edit. */")
    print("#ifndef KD_TESTS_NN_LOSS_GOLDEN_H\n#define KD_TESTS_NN_LOSS_GOLDEN_H\n")
    print('#include "lib/nn/loss.h"\n#include "tests/nn/loss_support.h"\n')
    print("struct golden_loss {\n    const char *name;\n    loss_batch batch;")
    print("    size_t earlier; /* batches that the memory has seen */")
    print("    kd_loss_options options;\n    double value;")
    print("    float gradient[LOSS_N * LOSS_DIM];")
    print("    float weights_gradient[LOSS_CLASSES * LOSS_DIM]; /* of a head */\n};")
    print("static const struct golden_loss golden_losses[] = {")
    for name, kind, batches, options in cases():
        value, gradient, weights = evaluate(kind, batches, options)
        assert np.isfinite(value) and gradient.isfinite().all() and value > 0, (name, options)
        if weights is not None:
            options["classes"] = CLASSES
        text = ", ".join(option(k, v) for k, v in options.items())
        print(f'    {{"{name.lower().replace("_", "-")}", LOSS_{kind}, {batches}, {{{text}}},')
        print(f"        {value:.9g}, {numbers(gradient)},")
        print(f"        {numbers(weights) if weights is not None else '{0}'}}},")
    print("};\n\n#endif")


main()
