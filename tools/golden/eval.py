#!/usr/bin/env python3
"""Writes tests/eval/data/cases.json: what lib/eval must measure, found another way.

Each case is a small set of integer vectors, so that scores are exact and ties are real. Recall@k,
MAP@5 and the vote are computed from the whole ranking by the definitions in lib/eval/eval.h;
accuracy, precision, recall and F1 are scikit-learn's over the votes. Run with Debian's Python
(python3-numpy, python3-sklearn) from anywhere; the output is the same on every run.
"""

import json
import pathlib
from collections import Counter

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

K = 10
DEPTH = 5
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/eval/data/cases.json"


def rank(query, query_id, gallery, gallery_ids):
    """Gallery rows without the query itself, best first; of equal scores the lower id."""
    scores = -((gallery - query) ** 2).sum(axis=1)
    order = sorted(range(len(gallery_ids)), key=lambda row: (-scores[row], gallery_ids[row]))
    return [row for row in order if gallery_ids[row] != query_id]


def average_precision(relevant, positives):
    total = 0.0
    for i in range(min(DEPTH, len(relevant))):
        if relevant[i]:
            total += np.mean(relevant[: i + 1])
    return total / min(DEPTH, positives)


def vote(labels):
    votes = Counter(labels[:DEPTH])
    most = max(votes.values())
    return next(label for label in labels if votes[label] == most)


def measure(rankings, query_labels, gallery_labels):
    recalls = {1: [], 5: [], 10: []}
    precisions, truths, votes = [], [], []
    without = 0
    for ranking, truth in zip(rankings, query_labels):
        labels = [gallery_labels[row] for row in ranking]
        positives = labels.count(truth)
        if positives == 0:
            without += 1
            continue
        for k, found in recalls.items():
            found.append(truth in labels[:k])
        precisions.append(average_precision([label == truth for label in labels], positives))
        truths.append(truth)
        votes.append(vote(labels))
    assert truths, "a case needs a query with a positive"
    macro = {"average": "macro", "zero_division": 0}
    return {
        "recall_at_1": float(np.mean(recalls[1])),
        "recall_at_5": float(np.mean(recalls[5])),
        "recall_at_10": float(np.mean(recalls[10])),
        "map_at_5": float(np.mean(precisions)),
        "accuracy": float(accuracy_score(truths, votes)),
        "precision": float(precision_score(truths, votes, **macro)),
        "recall": float(recall_score(truths, votes, **macro)),
        "f1": float(f1_score(truths, votes, **macro)),
        "queries": len(truths),
        "without_positives": without,
    }


def case(name, queries, query_ids, query_labels, gallery, gallery_ids, gallery_labels):
    query_labels = [int(label) for label in query_labels]
    gallery_labels = [int(label) for label in gallery_labels]
    query_ids = [int(i) for i in query_ids]
    gallery_ids = [int(i) for i in gallery_ids]
    rankings = [rank(q, i, gallery, gallery_ids) for q, i in zip(queries, query_ids)]
    return {
        "name": name,
        "query_ids": query_ids,
        "query_labels": query_labels,
        "gallery_ids": gallery_ids,
        "gallery_labels": gallery_labels,
        "hits": [[gallery_ids[row] for row in ranking[:K]] for ranking in rankings],
        "expected": measure(rankings, query_labels, gallery_labels),
    }


def around(rng, labels, dim, noise):
    """Integer vectors around a centre for each label: the nearer, the smaller the noise."""
    centres = rng.integers(-9, 10, size=(max(labels) + 1, dim))
    return centres[labels] + rng.integers(-noise, noise + 1, size=(len(labels), dim))


def split(name, rng, labels, vectors, n_queries):
    """Queries and gallery apart; ids in no order."""
    order = rng.permutation(len(labels))
    labels, vectors = labels[order], vectors[order]
    ids = rng.permutation(10 * len(labels))[: len(labels)] + 1
    q, g = slice(0, n_queries), slice(n_queries, None)
    return case(name, vectors[q], ids[q], labels[q], vectors[g], ids[g], labels[g])


def cases():
    rng = np.random.default_rng(20260101)

    labels = rng.integers(0, 8, size=140)
    yield split("clear", rng, labels, around(rng, labels, 12, 4), 40)
    yield split("noisy", rng, labels, around(rng, labels, 4, 25), 40)
    yield split("ties", rng, labels, rng.integers(0, 2, size=(140, 2)), 40)
    yield split("all equal", rng, labels, np.ones((140, 3), dtype=int), 40)

    labels = rng.integers(0, 70, size=130)  # many labels have one image, or none in the gallery
    yield split("lone classes", rng, labels, around(rng, labels, 6, 8), 50)

    labels = rng.integers(0, 3, size=19)  # the whole gallery fits into the ten ranks
    yield split("small gallery", rng, labels, around(rng, labels, 3, 8), 10)
    one = np.ones((3, 1), dtype=int)
    yield case("one gallery image", one, [5, 6, 7], [1, 2, 1], one[:1], [9], [1])

    labels = rng.integers(0, 12, size=60)  # Stanford Online Products: each queries all others
    vectors, ids = around(rng, labels, 5, 10), rng.permutation(600)[:60] + 1
    yield case("each queries all others", vectors, ids, labels, vectors, ids, labels)
    pairs = np.arange(60) % 30  # two of each: one positive
    near = around(rng, pairs, 3, 6)
    yield case("pairs", near, ids, pairs, near, ids, pairs)

    some = rng.permutation(60)[:20]  # some queries stand in the gallery, one asks twice
    asks = np.concatenate([some[:10], some[:1]])
    inside = np.concatenate([some[:5], np.setdiff1d(np.arange(60), some)])
    yield case("some queries in the gallery", vectors[asks], ids[asks], labels[asks],
               vectors[inside], ids[inside], labels[inside])

    copies = np.repeat(np.arange(12), 5)  # each picture five times, under two labels
    labels = np.where(np.arange(60) % 5 < 3, copies, (copies + 1) % 12)
    yield split("duplicates", rng, labels, around(rng, np.arange(12), 6, 5)[copies], 20)

    labels = np.concatenate([np.zeros(15), np.zeros(40), np.ones(2)]).astype(int)
    yield split("one label rules", rng, labels, rng.integers(-5, 6, size=(57, 3)), 15)

    labels = np.concatenate([np.arange(100, 116), [0, 0, 0, 0]])
    yield split("almost no positives", rng, labels, rng.integers(-5, 6, size=(20, 3)), 10)

    big = np.array([2**63 - 1, 2**53 + 1, 2**53, 7, 3, 2, 1], dtype=object)  # ids of every size
    labels = np.array([4294967295, 1, 4294967295, 1, 1, 4294967295, 1])
    yield case("large ids", np.ones((3, 1), dtype=int), big[:3], labels[:3],
               np.ones((7, 1), dtype=int), big, labels)


def main():
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases())
    OUT.write_text("[\n" + lines + "\n]\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
