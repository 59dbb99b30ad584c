"""Conjunctions of disjunctions, from the text to the answer."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph.ops.curves import Curve
from verifier.run import clauses
from verifier.run.model import boundable
from verifier.run.peel import peeled
from verifier.run.reduced import reduced
from verifier.run.verify import Result
from verifier.search.budget import Budget
from verifier.spec.builders import output_property, with_clauses
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.spec.witness import satisfies


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
    r = reduced(boundable(net), prop, Budget())
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


def squashed(path: Path) -> str:
    """Three scores, each through a sigmoid."""
    W = np.array([[4.0, -4.0, 1.0], [1.0, 2.0, -3.0]], np.float32)
    nodes = [helper.make_node("MatMul", ["x", "W"], ["h"]), helper.make_node("Sigmoid", ["h"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 2), ("y", 3))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(W, "W")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def test_a_last_layer_is_left_out_only_where_clauses_are_about_order_too(tmp_path: Path) -> None:
    """A score of 2 has a sigmoid of less than 1."""
    net = verifier.load(squashed(tmp_path / "n.onnx"))
    base = output_property(-np.ones(2), np.ones(2), [[(np.array([1.0, -1.0, 0.0]), 0.0)]])
    order = with_clauses(base, [[[([0, 1, -1], 0.0)], [([1, 0, -1], 0.0)]]] * 12)
    level = with_clauses(base, [[[([0, 1, -1], 0.0)], [([0, -1, 0], -0.999999)]], [[([0, -1, 0], -1.5)]]])
    graph = boundable(net)
    assert not any(isinstance(n.op, Curve) for n in peeled(graph, order).nodes)
    assert any(isinstance(n.op, Curve) for n in peeled(graph, level).nodes)
    assert verifier.verify(net, level, timeout=20).verdict == "unsat"


def chosen(path: Path) -> str:
    """y = (table[place] + x_1, x_1): the place is the whole part of x_0; the table is (0, 0, 0, 5)."""
    stored = {"table": np.array([0, 0, 0, 5], np.float32), "zero": np.array([0]), "one": np.array([1]),
              "two": np.array([2])}  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one"], ["which"]),
        helper.make_node("Slice", ["x", "one", "two"], ["rest"]),
        helper.make_node("Cast", ["which"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["entry"]),
        helper.make_node("Add", ["entry", "rest"], ["sum"]),
        helper.make_node("Concat", ["sum", "rest"], ["y"], axis=0),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
    initial = [numpy_helper.from_array(a, n) for n, a in stored.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


@pytest.mark.parametrize("needed, verdict", [(4.5, "sat"), (6.5, "unsat")])
def test_clauses_hold_in_cells(needed: float, verdict: str, tmp_path: Path) -> None:
    path = chosen(tmp_path / "n.onnx")
    base = output_property([0.0, -1.0], [3.5, 1.0], [[([-1.0, 0.0], 0.0)]])
    some = [[[([-1.0, 0.0], -needed)], [([0.0, 1.0], -9.0 - k)]] for k in range(12)]
    result = verifier.verify(path, with_clauses(base, some), timeout=30)
    assert result.verdict == verdict
    assert result.witness is None or result.witness.flat[0] >= 3


def test_clauses_about_what_names_a_cell_are_refused(tmp_path: Path) -> None:
    """Within a cell such an input is one number, elsewhere in it a literal may hold."""
    either = [f"(or (and (>= (+ X_0 Y_1) 3.3) (>= Y_0 4)) (<= Y_1 -{k + 9}))" for k in range(12)]
    (tmp_path / "p.vnnlib").write_text(version1(2, 2, np.array([0.0, 0.0]), np.array([3.5, 0.0]), either))
    assert verifier.read(tmp_path / "p.vnnlib").clauses is not None
    with pytest.raises(verifier.UserError, match="Gather"):
        verifier.verify(chosen(tmp_path / "n.onnx"), tmp_path / "p.vnnlib", timeout=20)


def test_clauses_stay_with_their_disjuncts_when_a_contradiction_goes() -> None:
    def all_of(y: int, shift: int) -> str:
        return " ".join(f"(or (>= Y_{y} {shift + k}) (>= Y_{1 - y} {shift + 90 + k}))" for k in range(12))

    text = version1(1, 3, np.zeros(1), np.ones(1), [
        f"(or (and (>= (+ Y_2 Y_1) 1) (<= (+ Y_2 Y_1) 0) {all_of(0, 0)}) (and (>= Y_2 5) {all_of(1, 20)}))"
    ])  # fmt: skip
    prop = parse(text.encode())
    assert prop.n_disjuncts == 1 and prop.clauses is not None
    for y, expected in (([40.0, 0, 5], False), ([0, 40.0, 5], True), ([130.0, 0, 5], True), ([0, 40.0, 4], False)):
        assert satisfies(prop, 0, np.zeros(1), np.array(y)) == expected


def test_no_box_of_many_is_forgotten(tmp_path: Path) -> None:
    """More boxes than are bounded one by one, and a counterexample in the last one only."""
    net = verifier.load(network(tmp_path / "n.onnx", [1, 6, 3], seed=3))
    ends = [(k / 4, k / 4 + 0.1) for k in range(12)]
    boxes = " ".join(f"(and (>= X_0 {a}) (<= X_0 {b}))" for a, b in ends)
    y = net.run(np.array([[a] for a, _ in ends] + [[b] for _, b in ends]))[:, 0]
    sign = 1 if y[11] > y[:11].max() else -1
    best = (sign * y).reshape(2, 12).max(0)
    assert best[11] > best[:11].max()
    for level, verdict in ((float(best[11]) - 1e-4, "sat"), (float(best[11]) + 1.0, "unsat")):
        either = [f"(or (>= (* {sign} Y_0) {level:.6f}) (<= Y_1 -{k + 90}) )" for k in range(12)]
        text = f"{version1(1, 3, np.zeros(1), np.full(1, 3.0), either)}(assert (or {boxes}))"
        (tmp_path / "p.vnnlib").write_text(text)
        prop = verifier.read(tmp_path / "p.vnnlib")
        assert len(prop.lower) == 12 > clauses.MOST_BOXES and prop.clauses is not None
        r = reduced(boundable(net), prop, Budget())
        assert verdict == "unsat" or (r.prop.n_disjuncts and 11 in r.origin)
        assert verifier.verify(net, prop, timeout=30).verdict == verdict


def test_each_cell_has_the_clauses_of_its_own_disjunct(tmp_path: Path) -> None:
    """Of two disjuncts the second one can hold, in the last cell; its number there is another."""
    parts = [" ".join(f"(or (>= Y_0 {level}) (>= Y_1 {k + 9}))" for k in range(12)) for level in (50, 4.5)]
    places = [f"(and (>= X_0 {a}) (<= X_0 {b}) {part})" for (a, b), part in zip(((0, 1), (3, 3.5)), parts, strict=True)]
    for order in (places, places[::-1]):
        text = version1(2, 2, np.array([0.0, -1.0]), np.array([3.5, 1.0]), [f"(or {' '.join(order)})"])
        (tmp_path / "p.vnnlib").write_text(text)
        prop = verifier.read(tmp_path / "p.vnnlib")
        assert prop.n_disjuncts == 2 and prop.clauses is not None
        result = verifier.verify(chosen(tmp_path / "n.onnx"), tmp_path / "p.vnnlib", timeout=20)
        assert result.verdict == "sat" and result.witness.flat[0] >= 3


@pytest.mark.parametrize("op, at_the_edge", [("<=", True), ("<", False)])
def test_an_edge_belongs_to_a_clause_that_is_not_strict(op: str, at_the_edge: bool) -> None:
    text = version1(1, 2, np.zeros(1), np.ones(1), [f"(or ({op} Y_0 {k}) ({op} Y_1 -{k + 9}))" for k in range(12)])
    prop = parse(text.encode())
    assert prop.clauses is not None
    assert satisfies(prop, 0, np.zeros(1), np.zeros(2)) == at_the_edge
    assert satisfies(prop, 0, np.zeros(1), np.array([-5e-324, 0.0]))


def test_what_touches_zero_from_above_is_not_refuted(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]),
                              opset_imports=[helper.make_opsetid("", 13)], ir_version=8)  # fmt: skip
    onnx.save(model, tmp_path / "n.onnx")
    either = [f"(or (<= Y_0 0) (<= Y_1 -{k + 9}))" for k in range(12)]
    (tmp_path / "p.vnnlib").write_text(version1(2, 2, -np.ones(2), np.ones(2), either))
    net, prop = verifier.load(tmp_path / "n.onnx"), verifier.read(tmp_path / "p.vnnlib")
    assert prop.clauses is not None and reduced(boundable(net), prop, Budget()).prop.n_disjuncts
    assert verifier.verify(net, prop, timeout=20).verdict == "sat"
