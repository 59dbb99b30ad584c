"""What the original model says of images, and a gradient search for counterexamples over many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from verifier.attack.gradient import evaluate, search, targets
from verifier.run.certification.points import ImageBatch
from verifier.run.certification.setting import Setting
from verifier.spec.property import Property

STEPS = 12
RIVALS = 4
"""Gradient steps, and how many rivals of an image are gone for: those whose scores are nearest to the label's."""
NUMBERS = 4e6
"""Numbers that the points of one block may hold in the widest layer."""


def predict(s: Setting, b: ImageBatch) -> tuple[ImageBatch, np.ndarray]:
    """Classes by the original model, and whether each image's own wins; a tie or a NaN is no win."""
    y = np.asarray(s.net.run(b.x), np.float64).reshape(len(b), -1)
    fine, each = np.isfinite(y).all(1), np.arange(len(b))
    rivals = y.copy()
    rivals[each, b.label] = -np.inf
    with np.errstate(invalid="ignore"):
        right = fine & (y[each, b.label] > rivals.max(1))
    predicted = np.where(fine, np.nan_to_num(y).argmax(1), -1)
    return replace(b, predicted=predicted.astype(np.int64)), right


def attack(s: Setting, b: ImageBatch) -> list[np.ndarray | None]:
    """For every image a counterexample `[n]`, or None where none was found; each one replayed as `verify` does.

    The search begins at the centres, once for each of the nearest rivals, so it does not depend on the batch.
    """
    found: list[np.ndarray | None] = [None] * len(b)
    block = max(1, int(NUMBERS / (min(RIVALS, s.classes - 1) * s.widest))) if s.norm == np.inf else 1
    for at in range(0, len(b), block):
        some = b.take(slice(at, at + block))
        for k, x in _hits(s, some):
            if found[at + k] is None:
                prop = s.property(some, k)
                witness = s.replay(prop)(x, np.zeros(len(x), np.int64))
                found[at + k] = None if witness is None else witness.x
    return found


def _hits(s: Setting, b: ImageBatch) -> Iterator[tuple[int, np.ndarray]]:
    """Images with points `[P, n]` that look like counterexamples, step by step."""
    prop = _joint(s, b)
    t = targets(prop, np.arange(prop.n_disjuncts), 1, np.random.default_rng(0))
    for x, box in search(s.fast, prop, t, STEPS):
        for k in np.unique(box):
            yield int(k), x[box == k][:4]


def _joint(s: Setting, b: ImageBatch) -> Property:
    """The questions of all images side by side: a box an image, a disjunct for each of its nearest rivals."""
    K, R, B = s.classes, min(RIVALS, s.classes - 1), len(b)
    score, _ = evaluate(s.fast, b.x)
    score[np.arange(B), b.label] = -np.inf
    rival = np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=1, kind="stable")[:, :R]
    literal, where = np.unique(b.label[:, None] * K + rival, return_inverse=True)
    A, each = np.zeros((len(literal), K)), np.arange(len(literal))
    A[each, literal // K] = 1.0
    A[each, literal % K] = -1.0
    lower, upper = s.box(b)
    zero, no = np.zeros(len(literal)), np.zeros(len(literal), bool)
    return Property(
        lower, upper, lower, upper, np.repeat(np.arange(B), R), np.arange(B * R + 1), where.reshape(-1),
        A, None, zero, zero, no, no, "images", ball=s.ball(b),
    )  # fmt: skip
