"""Ensembles of decision trees of the domain ai.onnx.ml: a leaf's weight where all comparisons on its way hold.

A leaf is reached where the sum of the truth values on its way, each turned to say "this way", is their number: a
rectifier of that sum less the number, plus one, is 1 there and 0 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale
from verifier.graph.convert_learned import classes, defined, features, floats, no_label, opposite, transformed
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step

_LEAVES = 1 << 16
"""Most leaves of an ensemble."""
_MODES = {
    "BRANCH_LEQ": ("not_negative", -1.0), "BRANCH_LT": ("positive", -1.0),
    "BRANCH_GTE": ("not_negative", 1.0), "BRANCH_GT": ("positive", 1.0), "BRANCH_EQ": ("zero", 1.0),
}  # fmt: skip
"""Each comparison as a step of `sign·(x − threshold)`."""
Test = tuple[str, float, int, float]
"""A step, its sign, the feature, and the threshold."""
Place = tuple[int, int]
"""A tree and a node of it."""


@dataclass(frozen=True)
class _Leaf:
    """A leaf: which tests must hold (True) or fail on the way to it."""

    place: Place
    way: tuple[tuple[int, bool], ...]


def tree_regressor(call: Call) -> int:
    """TreeEnsembleRegressor."""
    count, trees = int(call.get("n_targets", 1)), len(set(call.get("nodes_treeids") or ()))
    how = call.get("aggregate_function", "SUM")
    if how not in ("SUM", "AVERAGE"):
        raise ValueError(f"{call.op} with aggregate_function {how}; SUM and AVERAGE are supported")
    weights = floats(call, "target_weights") / (trees if how == "AVERAGE" else 1)
    y = _summed(call, count, "target", weights, floats(call, "base_values"), how == "AVERAGE")
    return transformed(call, y)


def tree_classifier(call: Call) -> list[Value]:
    """TreeEnsembleClassifier: a score a class; the label is none of them."""
    no_label(call)
    weights, base = floats(call, "class_weights"), floats(call, "base_values")
    count, ids = len(classes(call)), set(call.get("class_ids") or ())
    if count == 2 and ids == {0}:  # one score for two classes
        return _binary(call, weights, base)
    if base.size and (count == 2 or ids != set(range(count))):
        raise ValueError(f"{call.op} with base values for {count} classes, of which {len(ids)} have leaves")
    y = _summed(call, count, "class", weights, base, False)
    return [y, transformed(call, y)]


def _binary(call: Call, weights: np.ndarray, base: np.ndarray) -> list[Value]:
    """Scores of two classes from one: of weights that are not negative a probability, else the score of the second."""
    y = _summed(call, 1, "class", weights, base, False)
    kind = call.get("post_transform", "NONE")
    if kind == "NONE":
        return [y, opposite(call, y, 1.0 if (weights >= 0).all() else 0.0)]
    if kind != "LOGISTIC":
        raise ValueError(f"{call.op} of one score for two classes with post_transform {kind}")
    return [y, call.add(Curve("sigmoid"), opposite(call, y, 0.0))]


def _summed(call: Call, count: int, what: str, weights: np.ndarray, base: np.ndarray, rounded: bool) -> int:
    """The weights of the leaves that are reached, added up: `[rows, count]`."""
    defined(call)
    x, _, n = features(call)
    tests, leaves = _read(call, n)
    at = {leaf.place: k for k, leaf in enumerate(leaves)}
    W = np.zeros((count, len(leaves)))
    given = zip(*(call.get(f"{what}_{name}") or () for name in ("treeids", "nodeids", "ids")), weights, strict=True)
    for tree, node, target, weight in given:
        if (tree, node) in at:  # else no input comes there
            W[target if count > 1 else 0, at[tree, node]] += weight
    if base.size not in (0, count):
        raise ValueError(f"{call.op} with {base.size} base values for {count} scores")
    spread = Dense(2 * abs(W), None if not base.size else abs(base)) if rounded else None
    return call.add(Dense(W, base if base.size else None, spread), _reached(call, x, tests, leaves))


def _reached(call: Call, x: int, tests: list[Test], leaves: list[_Leaf]) -> int:
    """For each leaf whether it is reached, 1 or 0: `[rows, leaves]`."""
    if not tests:
        raise ValueError(f"{call.op} of trees that compare nothing")
    parts, order = [], []
    for kind in sorted({t[0] for t in tests}):
        mine = [k for k, t in enumerate(tests) if t[0] == kind]
        sign, column, threshold = (np.array([tests[k][i] for k in mine]) for i in (1, 2, 3))
        moved = scale(call, call.take(x, call.positions(x)[:, column]), sign, -sign * threshold)
        parts.append(call.add(Step(kind), moved))
        order += mine
    place = {k: i for i, k in enumerate(order)}
    S, t = np.zeros((len(leaves), len(tests))), np.ones(len(leaves))
    for i, leaf in enumerate(leaves):
        for k, holds in leaf.way:
            S[i, place[k]] += 1.0 if holds else -1.0
            t[i] -= 1.0 if holds else 0.0
    held = call.add(Concat(1), *parts) if len(parts) > 1 else parts[0]
    return call.add(Relu(), call.add(Dense(S, t), held))


def _read(call: Call, n: int) -> tuple[list[Test], list[_Leaf]]:
    """The comparisons of all trees, equal ones once, and the leaves."""
    get = {name: call.get(f"nodes_{name}") or () for name in
           ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")}  # fmt: skip
    nodes = {(t, i): k for k, (t, i) in enumerate(zip(get["treeids"], get["nodeids"], strict=True))}
    below = {(get["treeids"][k], child) for k, mode in enumerate(get["modes"]) if mode != b"LEAF"
             for child in (get["truenodeids"][k], get["falsenodeids"][k])}  # fmt: skip
    tests: dict[Test, int] = {}
    leaves: list[_Leaf] = []
    stack: list[tuple[Place, dict[int, bool], int]] = [(root, {}, 0) for root in reversed(nodes) if root not in below]
    while stack:
        place, way, depth = stack.pop()
        if depth > len(nodes):
            raise ValueError(f"{call.op} whose tree {place[0]} leads back to where it came from")
        k = nodes[place]
        mode = get["modes"][k].decode()
        if mode == "LEAF":
            leaves.append(_Leaf(place, tuple(way.items())))
            if len(leaves) > _LEAVES:
                raise ValueError(f"{call.op} with more than {_LEAVES} leaves")
            continue
        test, turned = _test(call, mode, int(get["featureids"][k]), float(get["values"][k]), n)
        number = tests.setdefault(test, len(tests))
        for child, holds in ((get["truenodeids"][k], not turned), (get["falsenodeids"][k], turned)):
            if way.get(number, holds) == holds:  # else nobody comes here
                stack.append(((place[0], child), {**way, number: holds}, depth + 1))
    return list(tests), leaves


def _test(call: Call, mode: str, feature: int, threshold: float, n: int) -> tuple[Test, bool]:
    """A node's comparison, and whether it holds where the node goes the false way."""
    turned = mode == "BRANCH_NEQ"
    known = _MODES.get("BRANCH_EQ" if turned else mode)
    if known is None or not 0 <= feature < n or not np.isfinite(threshold):
        raise ValueError(f"{call.op} with a node {mode} of feature {feature} at {threshold:g}")
    return (*known, feature, threshold), turned
