"""Conjunctions of disjunctions, from the text to the answer."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.run import clauses
from verifier.run.model import boundable
from verifier.run.verify import Result
from verifier.search.budget import Budget
from verifier.spec.builders import output_property, with_clauses
from verifier.spec.property import Property


def network(path: Path, sizes: list[int], seed: int = 0) -> str:
    """Layers of random weights with rectifiers between them."""
    rng = np.random.default_rng(seed)
    nodes, initial, x = [], [], "x"
    for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        last = k == len(sizes) - 2
        W, t = rng.normal(size=(a, b)) / np.sqrt(a), 0.1 * rng.normal(size=b)
        initial += [numpy_helper.from_array(v.astype(np.float32), f"{n}{k}") for n, v in (("W", W), ("b", t))]
        nodes.append(helper.make_node("Gemm", [x, f"W{k}", f"b{k}"], ["y" if last else f"h{k}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{k}"], [f"r{k}"]))
        x = f"r{k}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", sizes[0]), ("y", sizes[-1]))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return str(path)


def version1(n: int, m: int, low: np.ndarray, high: np.ndarray, formulas: list[str]) -> str:
    text = "".join(f"(declare-const {v}_{i} Real)\n" for v, k in (("X", n), ("Y", m)) for i in range(k))
    text += "".join(f"(assert (>= X_{i} {a:.6f}))(assert (<= X_{i} {b:.6f}))\n" for i, (a, b) in
                    enumerate(zip(low, high, strict=True)))  # fmt: skip
    return text + "".join(f"(assert {f})\n" for f in formulas)


def version2(text: str, n: int, m: int) -> str:
    """The same in version 2.0."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("(declare"))
    for letter, k in (("X", n), ("Y", m)):
        for i in reversed(range(k)):
            body = body.replace(f"{letter}_{i}", f"{letter}[0,{i}]")
    return (f"(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [1,{n}]) "
            f"(declare-output Y real [1,{m}]))\n{body}")  # fmt: skip


def forty(y: np.ndarray, shift: float) -> list[str]:
    """Forty disjunctions of 2 to 10 literals; each holds at the best point of a sample `y` `[P, m]` plus a shift."""
    rng, said = np.random.default_rng(1), []
    for _ in range(40):
        pairs = [rng.choice(y.shape[1], 2, replace=False) for _ in range(rng.integers(2, 11))]
        v = np.stack([y[:, i] - y[:, j] for i, j in pairs])
        centre = v.mean(1)
        t = (v - centre[:, None]).min() + shift
        said.append("(or " + " ".join(f"(< (- Y_{i} Y_{j}) {c + t:.6f})" for (i, j), c in
                                      zip(pairs, centre, strict=True)) + ")")  # fmt: skip
    return said


def holds(text: str, x: np.ndarray, y: np.ndarray) -> bool:
    """By onnxruntime's outputs, clause by clause (in floating point: thresholds are far from them)."""
    import re

    clauses = re.findall(r"\(or (.*)\)\)", text)
    literal = re.compile(r"\(< \(- Y_(\d+) Y_(\d+)\) (\S+?)\)")
    return all(any(y[int(i)] - y[int(j)] < float(d) for i, j, d in literal.findall(c)) for c in clauses)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shift, verdict", [(-0.05, "unsat"), (1.5, "sat")])
def test_forty_disjunctions(tmp_path: Path, version: int, shift: float, verdict: str) -> None:
    net = verifier.load(network(tmp_path / "n.onnx", [3, 12, 12, 10]))
    x = np.random.default_rng(2).uniform(-0.5, 0.5, (2000, 3))
    text = version1(3, 10, np.full(3, -0.5), np.full(3, 0.5), forty(net.run(x), shift))
    path = tmp_path / "p.vnnlib"
    path.write_text(text if version == 1 else version2(text, 3, 10))
    prop = verifier.read(path)
    prop = prop if isinstance(prop, Property) else prop.property
    assert prop.n_disjuncts == 1 and prop.clauses is not None and len(prop.clauses) == 40
    result = verifier.verify(net, path, timeout=60)
    assert result.verdict == verdict
    if result.witness is not None:
        assert result.witness.disjunct == 0 and holds(text, result.witness.x, result.witness.y)


def pixels(y: np.ndarray, wrong: bool, n_classes: int) -> list[str]:
    """Every pixel is classified otherwise than at `y`, or (not `wrong`) some pixel is, and all others may be."""
    each = []
    for p in range(len(y) // n_classes):
        at = p * n_classes + np.arange(n_classes)
        own = int(at[y[at].argmax()])
        each.append("(or " + " ".join(f"(>= Y_{k} Y_{own})" for k in at if k != own) + ")")
    return each if wrong else ["(or " + " ".join(each) + ")"]


def segmented(tmp_path: Path, wrong: bool, eps: float) -> tuple[Result, Property]:
    """A network from 16 numbers to 16 x 16 pixels of 3 classes."""
    net = verifier.load(network(tmp_path / "n.onnx", [16, 24, 768], seed=4))
    x = np.random.default_rng(0).uniform(-1, 1, 16).round(3)
    y = net.run(x[None])[0]
    path = tmp_path / "p.vnnlib"
    path.write_text(version1(16, 768, x - eps, x + eps, pixels(y, wrong, 3)))
    return verifier.verify(net, path, timeout=60), verifier.read(path)


@pytest.mark.parametrize("wrong, eps, verdict", [(True, 0.3, "unsat"), (False, 0.0, "unsat"), (False, 0.3, "sat")])
def test_pixels(tmp_path: Path, wrong: bool, eps: float, verdict: str) -> None:
    result, prop = segmented(tmp_path, wrong, eps)
    assert (prop.clauses is not None) == wrong
    assert result.verdict == verdict


def test_most_pixels_wrong_at_once_is_found(tmp_path: Path) -> None:
    """The whole output is turned over: a wide box around a point where every pixel can be."""
    W = np.concatenate([np.eye(1), -np.eye(1)] * 64).astype(np.float32)  # 64 pixels of 2 classes: x against −x
    nodes = [helper.make_node("Gemm", ["x", "W"], ["y"], transB=1)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 1), ("y", 128))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(W, "W")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "n.onnx")
    either = [f"(or (> Y_{2 * p + 1} Y_{2 * p}) (>= Y_{2 * p} 9))" for p in range(64)]
    for low, verdict in ((-1.0, "sat"), (0.5, "unsat")):
        (tmp_path / "p.vnnlib").write_text(version1(1, 128, np.array([low]), np.array([1.0]), either))
        result = verifier.verify(str(tmp_path / "n.onnx"), tmp_path / "p.vnnlib", timeout=60)
        assert result.verdict == verdict
        assert result.witness is None or result.witness.x[0] < 0


def test_strict_clauses_do_not_hold_on_their_edge(tmp_path: Path) -> None:
    net = verifier.load(network(tmp_path / "n.onnx", [1, 2, 2]))
    for op, verdict in (("<=", "sat"), ("<", "unknown")):
        either = [f"(or ({op} X_0 0) ({op} (+ Y_0 {k + 100}) 0))" for k in range(12)]
        text = version1(1, 2, np.zeros(1), np.ones(1), either)
        (tmp_path / "p.vnnlib").write_text(text)
        result = verifier.verify(net, tmp_path / "p.vnnlib", timeout=2)
        assert result.verdict == verdict or (op == "<" and result.verdict in ("timeout", "unsat"))
        assert op == "<=" or result.witness is None


def test_deep_alternation_and_pickling(tmp_path: Path) -> None:
    net = verifier.load(network(tmp_path / "n.onnx", [2, 8, 4]))
    tree = "(<= Y_0 -50)"
    for k in range(60):
        tree = f"(and (or (<= Y_1 {k}) {tree}) (or (<= Y_2 -{k + 60}) {tree}))" if k < 6 else (
            f"(and (or (<= Y_3 {k}) (<= Y_2 {k})) (or (<= Y_0 -{k + 90}) {tree}))")  # fmt: skip
    text = version1(2, 4, -np.ones(2), np.ones(2), [tree])
    (tmp_path / "p.vnnlib").write_text(text)
    prop = verifier.read(tmp_path / "p.vnnlib")
    assert len(prop.clauses.nest.levels) > 1
    again = pickle.loads(pickle.dumps(prop))  # noqa: S301
    assert verifier.verify(net, again, timeout=60).verdict == verifier.verify(net, prop, timeout=60).verdict == "unsat"


def test_what_bounds_decide_leaves_the_formula(tmp_path: Path) -> None:
    net = verifier.load(network(tmp_path / "n.onnx", [2, 8, 4]))
    either = [f"(or (<= Y_0 -{k + 90}) (>= Y_1 -{k + 90}) (<= Y_2 0))" for k in range(20)]  # the second is always true
    either += [f"(or (<= Y_0 -{k + 90}) (<= Y_3 {k}))" for k in range(-10, 10)]  # the first is never
    (tmp_path / "p.vnnlib").write_text(version1(2, 4, -np.ones(2), np.ones(2), either))
    prop = verifier.read(tmp_path / "p.vnnlib")
    assert prop.clauses is not None
    r = clauses.reduced(boundable(net), prop, Budget())
    assert r.nested is None and r.prop.n_disjuncts <= 1


def test_clauses_from_python(tmp_path: Path) -> None:
    net = verifier.load(network(tmp_path / "n.onnx", [2, 8, 4]))
    y = net.run(np.zeros((1, 2)))[0]
    base = output_property(-np.ones(2), np.ones(2), [[(np.eye(4)[0], 99.0)]])
    for shift, verdict in ((1e-3, "sat"), (-50.0, "unsat")):
        some = [[[(np.eye(4)[k % 4], y[k % 4] + shift)], [(np.eye(4)[(k + 1) % 4], -99.0)]] for k in range(12)]
        assert verifier.verify(net, with_clauses(base, some), timeout=60).verdict == verdict
    with pytest.raises(verifier.UserError, match="finite coefficients"):
        with_clauses(base, [[[(np.ones(3), 0.0)]]])
