"""Rows as `test --dump` writes them."""

import json
import pickle

import numpy as np


def write_rows(path, rows):
    path.write_bytes(pickle.dumps(rows) if path.suffix == ".pkl" else json.dumps(rows).encode())
    return path


def rows_of(scores, labels):
    return [
        {"path": f"v{place}.mp4", "label": int(label), "scores": row.tolist()}
        for place, (row, label) in enumerate(zip(scores, labels, strict=True))
    ]


def random_rows(count, num_classes, seed=0):
    rng = np.random.default_rng(seed)
    return rows_of(rng.dirichlet(np.full(num_classes, 0.3), count), rng.integers(0, num_classes, count))
