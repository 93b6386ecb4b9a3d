#!/usr/bin/env python3
"""Writes tests/eval/data/cases.json: what lib/eval must measure, found another way.

Each case is a small set of unit vectors. Those of the cases with ties have coordinates that are
multiples of a power of two, so that every score is exact in float32; the others' scores lie apart by
more than float32's rounding. All is computed from the whole ranking by the definitions in
lib/eval/eval.h; accuracy, precision, recall, F1 and the original MAP@5 are scikit-learn's, NMI and AMI
too, and where no scores tie, P@1, R-precision and MAP@R must equal pytorch-metric-learning's
AccuracyCalculator. Run from anywhere with NumPy, scikit-learn, PyTorch and pytorch-metric-learning;
the output is the same on every run.
"""

import json
import pathlib
from collections import defaultdict

import numpy as np
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.metrics import (accuracy_score, adjusted_mutual_info_score, f1_score,
                             normalized_mutual_info_score, precision_score, recall_score)

DEPTH = 1000
BINS = 4096
GAP = 1e-6  # of scores that must not tie
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/eval/data/cases.json"
MACRO = {"average": "macro", "zero_division": 0}


def rank(scores, self_id, ids):
    """Gallery rows without the query itself, best first; of equal scores the lower id."""
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))
    return [row for row in order if ids[row] != self_id]


def average_precision(right, depth, positives):
    total = sum(np.mean(right[: i + 1]) for i in range(min(depth, len(right))) if right[i])
    return total / min(depth, positives)


def vote(labels, scores, k, by_score):
    weights = defaultdict(float)
    for label, score in list(zip(labels, scores))[:k]:
        weights[label] += max(score, 0.0) if by_score else 1.0
    most = max(weights.values())
    return next(label for label in labels if weights[label] == most)


def measure(rankings, scores, query_labels, gallery_labels, k, by_score):
    sums, truths, votes, without = defaultdict(list), [], [], 0
    for ranking, row, truth in zip(rankings, scores, query_labels):
        labels = [gallery_labels[i] for i in ranking]
        right = [label == truth for label in labels]
        positives = sum(right)
        if positives == 0:
            without += 1
            continue
        for depth in (1, 5, 10, 100, 1000):
            sums[f"recall_at_{depth}"].append(any(right[:depth]))
        for depth in (5, 10):
            sums[f"precision_at_{depth}"].append(sum(right[:depth]) / depth)
        sums["map_at_5"].append(average_precision(right, 5, positives))
        sums["map_at_r"].append(average_precision(right, positives, positives))
        sums["r_precision"].append(np.mean(right[:positives]))
        first = labels[:5]
        sums["original_map_at_5"].append(
            precision_score([truth] * len(first), first, average="macro", zero_division=1))
        truths.append(truth)
        votes.append(vote(labels, [row[i] for i in ranking], k, by_score))
    assert truths, "a case needs a query with a positive"
    return {
        **{name: float(np.mean(values)) for name, values in sums.items()},
        "accuracy": float(accuracy_score(truths, votes)),
        "precision": float(precision_score(truths, votes, **MACRO)),
        "recall": float(recall_score(truths, votes, **MACRO)),
        "f1": float(f1_score(truths, votes, **MACRO)),
        "queries": len(truths),
        "without_positives": without,
    }


def pairs(scores, rankings, query_labels, gallery_labels, fmr):
    """FNMR and threshold by the bins of lib/eval, for scores that are exact."""
    same, other = [], []
    for ranking, row, truth in zip(rankings, scores, query_labels):
        for i in ranking:
            (same if gallery_labels[i] == truth else other).append(row[i])
    if not same or not other:
        return None
    bins = {False: np.zeros(BINS, int), True: np.zeros(BINS, int)}
    for kind, values in ((True, same), (False, other)):
        for value in values:
            bins[kind][min(int((value + 1) * BINS / 2), BINS - 1)] += 1
    at = BINS
    while at > 0 and bins[False][at - 1:].sum() <= fmr * len(other):
        at -= 1
    return {"fmr": fmr, "threshold": at * 2 / BINS - 1,
            "fnmr": 1 - float(bins[True][at:].sum() / len(same))}


def check_with_peer(queries, gallery, query_labels, gallery_labels, expected, same_set):
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k=len(gallery) - (1 if same_set else 0),
        knn_func=CustomKNN(CosineSimilarity()))
    args = [torch.from_numpy(queries), torch.tensor(query_labels)]
    if not same_set:
        args += [torch.from_numpy(gallery), torch.tensor(gallery_labels)]
    got = calculator.get_accuracy(*args)
    for ours, theirs in (("recall_at_1", "precision_at_1"), ("r_precision", "r_precision"),
                         ("map_at_r", "mean_average_precision_at_r")):
        assert abs(expected[ours] - got[theirs]) < 1e-6, (ours, expected[ours], got[theirs])


def case(name, queries, query_ids, query_labels, gallery, gallery_ids, gallery_labels, *,
         exact, per_super=3, k=5, by_score=False):
    """query_ids name the gallery image that is the query itself, where there is one."""
    queries, gallery = queries.astype(np.float32), gallery.astype(np.float32)
    ids = [int(i) for i in gallery_ids]
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    rankings = [rank(row, int(i), ids) for row, i in zip(scores, query_ids)]
    if exact:
        assert (scores.astype(np.float32) == scores).all()
    else:
        for ranking, row in zip(rankings, scores):
            for a, b in zip(ranking, ranking[1:]):
                assert row[a] - row[b] > GAP or (gallery[a] == gallery[b]).all(), name
    out = {
        "name": name, "dim": int(gallery.shape[1]), "vote_k": k, "vote_by_score": by_score,
        "selves": [int(i) for i in query_ids], "gallery_ids": ids,
        "queries": [float(x) for x in queries.ravel()],
        "gallery": [float(x) for x in gallery.ravel()],
        "nearest": [[ids[row] for row in ranking[:10]] for ranking in rankings],
    }
    for kind, divide in (("class", 1), ("super_class", per_super)):
        ql = [int(label) // divide for label in query_labels]
        gl = [int(label) // divide for label in gallery_labels]
        expected = measure(rankings, scores, ql, gl, k, by_score)
        distinct = len({row.tobytes() for row in gallery}) == len(gallery)
        same_set = list(query_ids) == list(gallery_ids)
        mixed = not same_set and set(out["selves"]) & set(ids)  # the peer can't leave one out
        if not exact and distinct and not mixed and expected["without_positives"] == 0:
            check_with_peer(queries, gallery, ql, gl, expected, same_set)
        out[kind] = {"query_labels": ql, "gallery_labels": gl, "expected": expected}
        if exact:
            out[kind]["pairs"] = [pairs(scores, rankings, ql, gl, fmr) for fmr in (0.01, 0.2)]
    return out


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def apart(vectors):
    """Whether all scores of each vector to those that differ lie apart."""
    scores = np.sort(vectors.astype(np.float64) @ np.unique(vectors, axis=0).T.astype(np.float64))
    return (np.diff(scores) > GAP).all()


def around(rng, labels, dim, noise):
    """Directions around one for each label: the nearer, the smaller the noise."""
    while True:
        found = around_once(rng, labels, dim, noise)
        if apart(found):
            return found


def around_once(rng, labels, dim, noise):
    centres = unit(rng.normal(size=(int(max(labels)) + 1, dim)))
    return unit(centres[labels] + noise * rng.normal(size=(len(labels), dim)))


def coarse(rng, n, dim, nonzero):
    """nonzero (a power of 4) coordinates of one absolute value: all scores are exact, many tie."""
    out = np.zeros((n, dim))
    for row in out:
        at = rng.permutation(dim)[:nonzero]
        row[at] = rng.choice([-1, 1], nonzero) / np.sqrt(nonzero)
    return out


def split(name, rng, labels, vectors, n_queries, **options):
    """Queries and gallery apart; ids in no order, and none of a query in the gallery."""
    order = rng.permutation(len(labels))
    labels, vectors = labels[order], vectors[order]
    ids = rng.permutation(10 * len(labels))[: len(labels)] + 1
    q, g = slice(0, n_queries), slice(n_queries, None)
    return case(name, vectors[q], ids[q], labels[q], vectors[g], ids[g], labels[g], **options)


def cases():
    rng = np.random.default_rng(20260101)

    labels = rng.integers(0, 8, size=70)
    yield split("clear", rng, labels, around(rng, labels, 6, 0.1), 25, exact=False)
    yield split("noisy", rng, labels, around(rng, labels, 4, 0.8), 25, exact=False)
    yield split("votes by score", rng, labels, around(rng, labels, 4, 0.6), 25, exact=False, k=7,
                by_score=True)
    yield split("one votes", rng, labels, around(rng, labels, 4, 0.6), 25, exact=False, k=1)
    yield split("ties", rng, labels, coarse(rng, 70, 4, 1), 25, exact=True)
    yield split("fewer ties", rng, labels, coarse(rng, 70, 8, 4), 25, exact=True, k=20)
    yield split("all equal", rng, labels, np.tile([[1.0, 0, 0]], (70, 1)), 25, exact=True)

    labels = rng.integers(0, 60, size=100)  # many labels have one image, or none in the gallery
    yield split("lone classes", rng, labels, around(rng, labels, 5, 0.3), 40, exact=False,
                per_super=7)

    labels = rng.integers(0, 3, size=19)  # the whole gallery fits into the ten ranks
    yield split("small gallery", rng, labels, coarse(rng, 19, 6, 4), 10, exact=True, per_super=2)
    one = np.ones((3, 1))
    yield case("one gallery image", one, [5, 6, 7], [1, 2, 1], one[:1], [9], [1], exact=True)

    labels = rng.integers(0, 10, size=60)  # Stanford Online Products: each queries all others
    vectors, ids = around(rng, labels, 5, 0.4), rng.permutation(600)[:60] + 1
    yield case("each queries all others", vectors, ids, labels, vectors, ids, labels, exact=False)
    twos = np.arange(60) % 30  # two of each: one positive
    near = around(rng, twos, 4, 0.3)
    yield case("pairs", near, ids, twos, near, ids, twos, exact=False)

    some = rng.permutation(60)[:20]  # some queries stand in the gallery, one asks twice
    asks = np.concatenate([some[:10], some[:1]])
    inside = np.concatenate([some[:5], np.setdiff1d(np.arange(60), some)])
    yield case("some queries in the gallery", vectors[asks], ids[asks], labels[asks],
               vectors[inside], ids[inside], labels[inside], exact=False)

    copies = np.repeat(np.arange(12), 5)  # each picture five times, under two labels
    labels = np.where(np.arange(60) % 5 < 3, copies, (copies + 1) % 12)
    yield split("duplicates", rng, labels, around(rng, np.arange(12), 4, 0.4)[copies], 20,
                exact=False)

    labels = np.concatenate([np.zeros(15), np.zeros(40), np.ones(2)]).astype(int)
    yield split("one label rules", rng, labels, coarse(rng, 57, 6, 4), 15, exact=True)

    labels = np.concatenate([np.arange(100, 116), [0, 0, 0, 0]])
    vectors = coarse(rng, 20, 6, 4)  # one query alone has a positive
    yield case("almost no positives", vectors[7:17], np.arange(7, 17), labels[7:17],
               np.delete(vectors, range(7, 17), 0), np.delete(np.arange(20), range(7, 17)),
               np.delete(labels, range(7, 17)), exact=True, per_super=1)

    big = np.array([2**63 - 1, 2**53 + 1, 2**53, 7, 3, 2, 1], dtype=object)  # ids of every size
    labels = np.array([4294967295, 1, 4294967295, 1, 1, 4294967295, 1])
    yield case("large ids", np.ones((3, 1)), big[:3], labels[:3], np.ones((7, 1)), big, labels,
               exact=True)

    labels = rng.integers(0, 2, size=1500)  # more positives than ranks that recall looks at
    yield split("deep", rng, labels, coarse(rng, 1500, 4, 4), 4, exact=True, per_super=2)


def clusterings():
    rng = np.random.default_rng(20260102)
    truth = rng.integers(0, 9, size=200)
    yield "equal", truth, truth
    yield "renamed", truth, (truth * 7 + 3) % 9
    yield "unrelated", truth, rng.integers(0, 12, size=200)
    yield "near", truth, np.where(rng.random(200) < 0.2, rng.integers(0, 9, size=200), truth)
    yield "one cluster", truth, np.zeros(200, int)
    yield "both one", np.zeros(20, int), np.ones(20, int)
    yield "all apart", truth, np.arange(200)
    yield "both apart", np.arange(50), np.arange(50)[::-1]
    yield "few", np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    yield "lone classes", np.arange(120) // 2, rng.integers(0, 60, size=120)


def main():
    found = {
        "cases": list(cases()),
        "clusterings": [{"name": name, "a": [int(x) for x in a], "b": [int(x) for x in b],
                         "nmi": float(normalized_mutual_info_score(a, b)),
                         "ami": float(adjusted_mutual_info_score(a, b))}
                        for name, a, b in clusterings()],
    }
    OUT.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{OUT}: {len(found['cases'])} cases, {OUT.stat().st_size} bytes")


main()
