"""Retrieval measured from outside, by NumPy and scikit-learn."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score


def neighbours(queries, gallery, gallery_ids, k, selves=None):
    """Row numbers of the k nearest of each query, ties to the lower image id. selves: each query's
    own id, which is left out of its answer."""
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    if selves is not None:
        scores[np.asarray(selves)[:, None] == gallery_ids[None, :]] = -np.inf
    return np.stack([np.lexsort((gallery_ids, -row))[:k] for row in scores])


def vote(labels):
    """Majority of the labels; a tie goes to the one that comes first."""
    values, counts = np.unique(labels, return_counts=True)
    best = set(values[counts == counts.max()])
    return next(label for label in labels if label in best)


def metrics(nearest, query_labels, gallery_labels, leave_out=0):
    """Recall@k and MAP@5 as lib/eval/eval.h defines them, the vote's by scikit-learn. leave_out: how
    many gallery images are the query itself."""
    found = gallery_labels[nearest]
    hits = found == query_labels[:, None]
    positives = (gallery_labels[None, :] == query_labels[:, None]).sum(axis=1) - leave_out
    counted = positives > 0
    precision = np.cumsum(hits[:, :5], axis=1) / np.arange(1, 6)
    average = (precision * hits[:, :5]).sum(axis=1) / np.minimum(5, np.maximum(positives, 1))
    votes = np.array([vote(row[:5]) for row in found])[counted]
    truth = query_labels[counted]
    macro = {"average": "macro", "zero_division": 0}
    return {
        "recall_at_1": hits[counted, :1].any(axis=1).mean(),
        "recall_at_5": hits[counted, :5].any(axis=1).mean(),
        "recall_at_10": hits[counted, :10].any(axis=1).mean(),
        "map_at_5": average[counted].mean(),
        "accuracy": accuracy_score(truth, votes),
        "precision": precision_score(truth, votes, **macro),
        "recall": recall_score(truth, votes, **macro),
        "f1": f1_score(truth, votes, **macro),
    }
