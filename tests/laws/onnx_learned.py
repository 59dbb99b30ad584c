"""Cases of operators of the domain ai.onnx.ml, with random attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .onnx_models import Case, Draw, ints, numbers

Make = Callable[[Draw], Case]


def _flat(draw: Draw, *shape: int) -> list[float]:
    return [float(np.float32(v)) for v in numbers(draw, shape).reshape(-1)]


def _node(m: Case, op: str, *inputs: str, label: bool = False, **attributes: Any) -> list[str]:
    """A node; of a classifier the scores are asked for."""
    given = {k: v for k, v in attributes.items() if v is not None and v != []}
    names = m.node(op, *inputs, outputs=1 + label, domain="ai.onnx.ml", **given)
    m.outputs = names[label:]
    return names


def _rows(draw: Draw) -> tuple[Case, int]:
    n = draw(ints(1, 4))
    return Case(draw(st.sampled_from([[1, n], [3, n]]))), n


def _scaler(draw: Draw) -> Case:
    m, n = _rows(draw)
    _node(m, "Scaler", "x", offset=_flat(draw, n), scale=_flat(draw, draw(st.sampled_from([1, n]))))
    if len(m.nodes[0].attribute[1].floats) == 1:
        del m.nodes[0].attribute[0].floats[1:]
    return m


def _normalizer(draw: Draw) -> Case:
    m, _ = _rows(draw)
    _node(m, "Normalizer", "x", norm=draw(st.sampled_from(["L1", "L2"])))
    return m


def _regressor(draw: Draw) -> Case:
    m, n = _rows(draw)
    k = draw(ints(1, 3))
    b = _flat(draw, k) if draw(st.booleans()) else None
    _node(m, "LinearRegressor", "x", coefficients=_flat(draw, k, n), intercepts=b, targets=k)
    return m


def _classifier(draw: Draw) -> Case:
    m, n = _rows(draw)
    k = draw(ints(1, 4))
    how = draw(st.sampled_from(["NONE", "LOGISTIC", "SOFTMAX"] if k > 1 else ["NONE", "LOGISTIC"]))
    labels: dict[str, Any] = {"classlabels_ints": list(range(5, 5 + max(k, 2)))}
    if draw(st.booleans()):
        labels = {"classlabels_strings": [f"kind {i}" for i in range(max(k, 2))]}
    b = _flat(draw, k)
    _node(m, "LinearClassifier", "x", label=True, coefficients=_flat(draw, k, n), intercepts=b,
          post_transform=how, **labels)  # fmt: skip
    return m


def _extractor(draw: Draw) -> Case:
    m, n = _rows(draw)
    if draw(st.booleans()):
        at = draw(st.lists(ints(0, n - 1), min_size=1, max_size=4))
        _node(m, "ArrayFeatureExtractor", "x", m.tensor(np.array(at, np.int64)))
        return m
    m = Case([1, n])
    values = m.tensor(numbers(draw, [n]) if draw(st.booleans()) else np.arange(n) * 3.0)
    (best,) = m.node("ArgMax", "x", axis=1)
    _node(m, "ArrayFeatureExtractor", values, best)
    return m


def _imputer(draw: Draw) -> Case:
    m, n = _rows(draw)
    (x,) = m.node("Round", "x")
    new = _flat(draw, draw(st.sampled_from([1, n])))
    gone = draw(st.sampled_from([float("nan"), 0.0, 1.0]))
    _node(m, "Imputer", x, imputed_value_floats=new, replaced_value_float=gone)
    return m


def _binarizer(draw: Draw) -> Case:
    m, _ = _rows(draw)
    _node(m, "Binarizer", "x", threshold=draw(st.sampled_from([None, 0.5])))
    return m


def _vectorizer(draw: Draw) -> Case:
    m, n = _rows(draw)
    (y,) = m.node("Tanh", "x")
    names = draw(st.lists(st.sampled_from(["x", y]), min_size=1, max_size=3))
    _node(m, "FeatureVectorizer", *names, inputdimensions=[n] * len(names))
    return m


def _kernel(draw: Draw) -> dict[str, Any]:
    kind = draw(st.sampled_from(["LINEAR", "POLY", "RBF", "SIGMOID"]))
    parameters = [0.5, draw(st.sampled_from([0.0, 1.0])), draw(st.sampled_from([2.0, 3.0]))]
    return {"kernel_type": kind, "kernel_params": parameters}


def _svr(draw: Draw) -> Case:
    m, n = _rows(draw)
    k = draw(ints(1, 4))
    if draw(st.integers(0, 4)) == 0:  # no vectors: a linear function
        _node(m, "SVMRegressor", "x", coefficients=_flat(draw, n), rho=_flat(draw, 1), n_supports=0)
        return m
    _node(m, "SVMRegressor", "x", coefficients=_flat(draw, k), support_vectors=_flat(draw, k, n), n_supports=k,
          rho=_flat(draw, 1), **_kernel(draw))  # fmt: skip
    return m


def _svc(draw: Draw) -> Case:
    m, n = _rows(draw)
    k = draw(ints(2, 3))
    sizes = [draw(ints(1, 3)) for _ in range(k)]
    how = draw(st.sampled_from([None, "LOGISTIC"]))
    _node(m, "SVMClassifier", "x", label=True, coefficients=_flat(draw, k - 1, sum(sizes)), post_transform=how,
          support_vectors=_flat(draw, sum(sizes), n), vectors_per_class=sizes, rho=_flat(draw, k * (k - 1) // 2),
          classlabels_ints=list(range(k)), **_kernel(draw))  # fmt: skip
    return m


def _forest(draw: Draw, n: int) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Trees with random comparisons, and where their leaves are."""
    names = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    a: dict[str, Any] = {f"nodes_{k}": [] for k in names}
    leaves: list[tuple[int, int]] = []
    modes = draw(st.sampled_from([["BRANCH_LEQ"], ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"]]))
    for tree in range(draw(ints(1, 3))):
        depth = draw(ints(1, 3))
        for i in range(2 ** (depth + 1) - 1):
            leaf = i >= 2**depth - 1
            if leaf:
                leaves.append((tree, i))
            row = (tree, i, 0 if leaf else draw(ints(0, n - 1)), "LEAF" if leaf else draw(st.sampled_from(modes)),
                   0.0 if leaf else draw(st.sampled_from([-0.5, 0.0, 0.25])), 0 if leaf else 2 * i + 1,
                   0 if leaf else 2 * i + 2)  # fmt: skip
            for key, value in zip(a, row, strict=True):
                a[key].append(value)
    return a, leaves


def _trees(draw: Draw) -> Case:
    m, n = _rows(draw)
    a, leaves = _forest(draw, n)
    k = draw(ints(1, 2))
    given = [(t, i, j) for t, i in leaves for j in range(k)]
    tree, node, target = (list(c) for c in zip(*given, strict=True))
    _node(m, "TreeEnsembleRegressor", "x", n_targets=k, target_treeids=tree, target_nodeids=node, target_ids=target,
          target_weights=_flat(draw, len(given)), base_values=_flat(draw, k) if draw(st.booleans()) else None,
          aggregate_function=draw(st.sampled_from([None, "SUM", "AVERAGE"])), **a)  # fmt: skip
    return m


def _tree_classes(draw: Draw) -> Case:
    m, n = _rows(draw)
    a, leaves = _forest(draw, n)
    k = draw(ints(2, 3))
    which = draw(st.sampled_from([[0], [1], [0, 1]] if k == 2 else [[0, 1, 2], [0, 2]]))  # classes that leaves give
    one = which == [0] and k == 2
    given = [(t, i, j) for t, i in leaves for j in which]
    tree, node, target = (list(c) for c in zip(*given, strict=True))
    weights = numbers(draw, [len(given)])
    weights = abs(weights) if draw(st.booleans()) else weights
    how = draw(st.sampled_from(["NONE", "LOGISTIC"] if one else ["NONE", "LOGISTIC", "SOFTMAX"]))
    base = _flat(draw, 1 if one else k) if one or (k == 3 and len(which) == k) else []
    base = base if draw(st.booleans()) else []
    _node(m, "TreeEnsembleClassifier", "x", label=True, class_treeids=tree, class_nodeids=node, class_ids=target,
          class_weights=[float(np.float32(w)) for w in weights], classlabels_int64s=list(range(k)),
          post_transform=how, base_values=base, **a)  # fmt: skip
    return m


CASES: dict[str, Make] = {
    f"ai.onnx.ml.{name}": case
    for name, case in {
        "ArrayFeatureExtractor": _extractor, "Binarizer": _binarizer, "FeatureVectorizer": _vectorizer,
        "Imputer": _imputer, "LinearClassifier": _classifier, "LinearRegressor": _regressor,
        "Normalizer": _normalizer, "SVMClassifier": _svc, "SVMRegressor": _svr, "Scaler": _scaler,
        "TreeEnsembleClassifier": _tree_classes, "TreeEnsembleRegressor": _trees,
    }.items()
}  # fmt: skip
