"""VNN-LIB 2.0 end to end on small networks: `sat` checked by text and onnxruntime alone, `unsat` sampled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from tests.query2 import STANDARD, Net, computed, holds2, needs_standard, nets, recheck
from verifier.values.errors import ModelError, PropertyError


def network(
    path: Path,
    inputs: Mapping[str, list[int]],
    outputs: Mapping[str, list[int]],
    seed: int = 0,
    shift: float = 0.0,
    gain: float = 1.0,
    dtype: str = "float32",
) -> str:
    """Inputs flattened and joined, ten ReLUs (`hidden`), then one Gemm and Reshape an output."""
    rng = np.random.default_rng(seed)
    size = {name: int(np.prod(shape)) for name, shape in {**inputs, **outputs}.items()}
    tensors: dict[str, np.ndarray] = {"flat": np.array([1, -1])}
    nodes = []
    for name in inputs:
        nodes.append(helper.make_node("Reshape", [name, "flat"], [f"{name}_flat"]))
    nodes.append(helper.make_node("Concat", [f"{name}_flat" for name in inputs], ["all"], axis=1))
    n = sum(size[name] for name in inputs)
    tensors["W"] = (rng.standard_normal((10, n)) / np.sqrt(n)).astype(dtype)
    tensors["bias"] = (rng.standard_normal(10) * 0.1).astype(dtype)
    nodes.append(helper.make_node("Gemm", ["all", "W", "bias"], ["before"], transB=1))
    nodes.append(helper.make_node("Relu", ["before"], ["hidden"]))
    for name, shape in outputs.items():
        tensors[f"W_{name}"] = (gain * rng.standard_normal((size[name], 10))).astype(dtype)
        tensors[f"b_{name}"] = np.full(size[name], shift, dtype)
        tensors[f"s_{name}"] = np.array(shape, np.int64)
        nodes.append(helper.make_node("Gemm", ["hidden", f"W_{name}", f"b_{name}"], [f"g_{name}"], transB=1))
        nodes.append(helper.make_node("Reshape", [f"g_{name}", f"s_{name}"], [name]))
    info, kind = helper.make_tensor_value_info, TensorProto.FLOAT if dtype == "float32" else TensorProto.DOUBLE
    graph = helper.make_graph(
        nodes, "test", [info(k, kind, s) for k, s in inputs.items()],
        [info(k, kind, s) for k, s in outputs.items()],
        [numpy_helper.from_array(a, k) for k, a in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def for_net(folder: Path, net: Net, seed: int = 0, shift: float = 0.0, gain: float = 1.0) -> str:
    """A network that fits a declaration."""
    ins, outs = ({v[1].lower(): list(v[3]) for v in net.variables if v[0] == k} for k in ("input", "output"))
    return network(folder / f"{net.name}{seed}_{shift}.onnx", ins, outs, seed, shift, gain)


def answer(folder: Path, text: str, models: Any, **how: Any) -> Any:
    """The verdict; a counterexample is checked."""
    path = folder / "q.vnnlib"
    path.write_text(text)
    result = verifier.verify(models, path, timeout=60, **how)
    if result.verdict == "sat":
        recheck(text, models if isinstance(models, dict) else {nets(text)[0].name: models}, result.witness.text())
    return result


def sampled(
    text: str, models: dict[str, str], boxes: dict[str, tuple[Any, Any]], equal: dict[str, str], n: int
) -> bool:
    """Whether a random point satisfies the query; inputs are drawn from boxes, or equal to another one."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        values: dict[str, Any] = {}
        for net in nets(text):
            for kind, name, _, shape, _ in net.variables:
                if kind == "input":
                    lo, hi = boxes.get(name, (0, 0))
                    drawn = (rng.random(shape) * (np.asarray(hi) - lo) + lo).astype(np.float32)
                    values[name] = values[equal[name]] if name in equal else drawn
        for net in nets(text):
            inputs = [values[v[1]] for v in net.variables if v[0] == "input"]
            results = [v for v in net.variables if v[0] != "input"]
            file = models.get(net.name) or models[net.equal_to]
            for v, y in zip(results, computed(net, file, inputs), strict=True):
                values[v[1]] = y.reshape(v[3])
        if holds2(text, values):
            return True
    return False


@needs_standard
@pytest.mark.parametrize("name", ["acc", "cartpole", "drones", "dubinsrejoin", "lunarlander", "single_network"])
def test_the_standards_examples_on_networks_of_ours(name: str, tmp_path: Path) -> None:
    """With enough networks (seeds, shifts of the outputs) both verdicts come; none is contradicted by sampling."""
    text = (STANDARD / f"{name}.vnnlib").read_text()
    (net,) = nets(text)
    q = verifier.read(STANDARD / f"{name}.vnnlib")
    box = {net.variables[0][1]: (q.property.lower[0], q.property.upper[0])}
    seen = set()
    for seed, shift in ((0, 0.0), (1, -1.0), (2, 0.0), (3, 0.0), (4, 0.0), (5, -30.0), (6, 400.0), (7, 0.0), (8, 0.0)):
        file = for_net(tmp_path, net, seed, shift, 0.001 if seed == 1 else 1.0)
        verdict = answer(tmp_path, text, file).verdict
        assert verdict in ("sat", "unsat")
        if verdict == "unsat":
            assert not sampled(text, {net.name: file}, box, {}, 50)
        seen.add(str(verdict))
        if len(seen) == 2:
            break
    assert seen == {"sat", "unsat"}


@needs_standard
def test_hidden_example(tmp_path: Path) -> None:
    text = (STANDARD / "intermediate_nodes.vnnlib").read_text().replace('[1,2] "onnx"', '[1,10] "hidden"')
    (net,) = nets(text)
    file = for_net(tmp_path, net)
    for bound, verdict in (("(assert (>= N[0,1] -0.5))", "sat"), ("(assert (<= N[0,1] -0.5))", "unsat")):
        loose = text.replace("(assert (<= Y[0] 1.0))", "").replace("(assert (<= (* -1.0 Y[0]) 0.0))", "")
        assert answer(tmp_path, f"{loose}\n{bound}", file).verdict == verdict


@needs_standard
@pytest.mark.parametrize("least", [0.05, 60.0])
def test_three_networks_example(least: float, tmp_path: Path) -> None:
    text = (STANDARD / "multiple_networks.vnnlib").read_text().replace("3.991125645861615", str(least))
    rest = [
        f"(assert (and (>= {v}[{i}] -0.5) (<= {v}[{i}] 0.5)))" for v in "ACE" for i in range(5) if v != "A" or i % 2
    ]
    text += "\n".join(["", *rest])
    f, g = nets(text)[0], nets(text)[2]
    models = {"AcasXu": for_net(tmp_path, f, 1), "AcasZu": for_net(tmp_path, g, 2)}
    assert answer(tmp_path, text, models).verdict == ("sat" if least < 1 else "unsat")
    models["AcasYu"] = models["AcasXu"]
    assert answer(tmp_path, text, models).verdict == ("sat" if least < 1 else "unsat")


@needs_standard
def test_contradictory_example(tmp_path: Path) -> None:
    text = (STANDARD / "test_linearise.vnnlib").read_text()
    assert answer(tmp_path, text, for_net(tmp_path, nets(text)[0])).verdict == "unsat"


def two(asserts: str, relation: str = "(equal-to f)", n: int = 2) -> str:
    box = "".join(f"(assert (and (<= -1.0 X[{i}]) (<= X[{i}] 1.0)))\n" for i in range(n))
    return (
        f"(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [{n}]) (declare-output Y real [1]))\n"
        f"(declare-network g {relation} (declare-input Z real [{n}]) (declare-output W real [1]))\n{box}{asserts}"
    )


@pytest.mark.parametrize(("margin", "verdict"), [(0.2, "sat"), (8.0, "unsat")])
def test_monotone(margin: float, verdict: str, tmp_path: Path) -> None:
    text = two(
        f"(assert (== X[1] Z[1]))(assert (<= X[0] Z[0]))(assert (<= Z[0] 1.0))(assert (>= Y[0] (+ W[0] {margin})))"
    )
    file = network(tmp_path / "f.onnx", {"x": [1, 2]}, {"y": [1, 1]}, 3)
    result = answer(tmp_path, text, {"f": file})
    assert result.verdict == verdict
    if verdict == "unsat":
        assert not sampled(text, {"f": file}, {"X": (-1, 1), "Z": (-1, 1)}, {}, 20)


@pytest.mark.parametrize(("eps", "verdict"), [(0.05, "sat"), (6.0, "unsat")])
def test_equivalent(eps: float, verdict: str, tmp_path: Path) -> None:
    same = "".join(f"(assert (== X[{i}] Z[{i}]))" for i in range(2))
    text = two(f"{same}(assert (or (> (- Y[0] W[0]) {eps}) (> (- W[0] Y[0]) {eps})))", "(isomorphic-to f)")
    f, g = (network(tmp_path / f"{k}.onnx", {"x": [1, 2]}, {"y": [1, 1]}, k) for k in (0, 1))
    result = answer(tmp_path, text, {"f": f, "g": g})
    assert result.verdict == verdict and (verdict == "sat" or result.witness is None)
    if verdict == "unsat":
        assert not sampled(text, {"f": f, "g": g}, {"X": (-1, 1)}, {"Z": "X"}, 100)


@pytest.mark.parametrize("order", [("float32", "float64"), ("float64", "float32")])
def test_networks_of_two_types(order: tuple[str, str], tmp_path: Path) -> None:
    """A counterexample is made of numbers that both types have (`recheck` feeds them exactly)."""
    text = two("(assert (== X[0] Z[0]))(assert (== X[1] Z[1]))(assert (> (- Y[0] W[0]) 0.5))", "(isomorphic-to f)")
    models = {
        name: network(tmp_path / f"{name}.onnx", {"x": [1, 2]}, {"y": [1, 1]}, seed, dtype=dtype)
        for seed, (name, dtype) in enumerate(zip("fg", order, strict=True))
    }
    assert answer(tmp_path, text, models).verdict == "sat"


def test_one_network_on_the_same_inputs_is_there_once(tmp_path: Path) -> None:
    """Its two outputs are then the same numbers, and no gap between them is possible."""
    same = "".join(f"(assert (== X[{i}] Z[{i}]))" for i in range(2))
    file = network(tmp_path / "f.onnx", {"x": [1, 2]}, {"y": [1, 1]})
    result = answer(tmp_path, two(f"{same}(assert (!= Y[0] W[0]))"), {"f": file, "g": file})
    assert result.verdict == "unsat"


@pytest.mark.parametrize(("least", "verdict"), [(0.3, "sat"), (30.0, "unsat")])
def test_a_product_of_input_and_output(least: float, verdict: str, tmp_path: Path) -> None:
    text = (
        "(vnnlib-version <2.0>)\n(declare-network acc (declare-input X real [3]) (declare-output Y real []))\n"
        + "".join(f"(assert (and (>= X[{i}] -1.0) (<= X[{i}] 2.0)))\n" for i in range(3))
        + f"(assert (>= (- (* X[0] Y) (* 0.5 X[1] X[1])) {least}))(assert (<= (* 2.0 X[2] X[2] X[2]) (* X[1] X[0])))"
    )
    file = network(tmp_path / "acc.onnx", {"x": [3]}, {"y": []}, 5)
    assert answer(tmp_path, text, file).verdict == verdict
    if verdict == "unsat":
        assert not sampled(text, {"acc": file}, {"X": (-1, 2)}, {}, 100)


@pytest.mark.parametrize("seed", range(12))
def test_random_polynomials(seed: int, tmp_path: Path) -> None:
    """No verdict is contradicted by sampling or by a check of the counterexample."""
    rng = np.random.default_rng(seed)
    names = ["X[0]", "X[1]", "Y[0]", "Y[1]"]
    terms = [f"(* {rng.normal():.3f} {' '.join(rng.choice(names, rng.integers(1, 5)))})" for _ in range(3)]
    text = (
        (
            "(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [1,2]) (declare-output Y real [1,2]))\n"
            + "".join(f"(assert (and (>= X[0,{i}] -1.0) (<= X[0,{i}] 1.0)))\n" for i in range(2))
            + f"(assert (>= (+ {' '.join(terms)}) {10 ** rng.uniform(-1, 1.5):.3f}))"
        )
        .replace("X[0]", "X[0,0]")
        .replace("X[1]", "X[0,1]")
        .replace("Y[0]", "Y[0,0]")
        .replace("Y[1]", "Y[0,1]")
    )
    file = network(tmp_path / "f.onnx", {"x": [1, 2]}, {"y": [1, 2]}, seed)
    result = answer(tmp_path, text, file)
    assert result.verdict in ("sat", "unsat")
    if result.verdict == "unsat":
        assert not sampled(text, {"f": file}, {"X": (-1, 1)}, {}, 200)


@pytest.mark.parametrize(("least", "verdict"), [(0.0, "sat"), (100.0, "unsat")])
def test_several_inputs_outputs_and_hidden(least: float, verdict: str, tmp_path: Path) -> None:
    text = (
        "(vnnlib-version <2.0>)\n(declare-network f\n(declare-input A real [1,2,2])\n(declare-input B real [3])\n"
        '(declare-hidden H real [1,10] "hidden")\n(declare-output C real [2])\n(declare-output D real [1,1])\n)\n'
        + "".join(f"(assert (and (>= A[0,{i},{j}] -1.0) (<= A[0,{i},{j}] 1.0)))" for i in range(2) for j in range(2))
        + "".join(f"(assert (== B[{i}] {v}))" for i, v in enumerate((0.5, -0.1, 0.25)))
        + f"(assert (>= (+ C[0] D[0,0] H[0,3]) {least}))(assert (!= C[0] C[1]))"
    )
    file = network(tmp_path / "f.onnx", {"a": [1, 2, 2], "b": [3]}, {"c": [2], "d": [1, 1]}, 2)
    path = tmp_path / "q.vnnlib"
    path.write_text(text)
    result = verifier.verify(file, path, timeout=60)
    assert result.verdict == verdict
    if verdict == "sat":
        w = result.witness
        assert [t.name for t in w.tensors] == ["A", "B", "H", "C", "D"]
        assert len(w.x) == 7 and len(w.y) == 13


def test_version_1_flattens_tensors_in_order(tmp_path: Path) -> None:
    file = network(tmp_path / "f.onnx", {"a": [1, 2], "b": [1]}, {"c": [2], "d": [1, 1]}, 2)
    decl = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in range(3))
    box = "".join(f"(assert (>= X_{i} -1))(assert (<= X_{i} 1))" for i in range(3))
    for text, verdict in (("(assert (>= Y_2 Y_0))", "sat"), ("(assert (>= Y_2 1000))", "unsat")):
        (tmp_path / "p.vnnlib").write_text(decl + box + text)
        result = verifier.verify(file, tmp_path / "p.vnnlib", timeout=60)
        assert result.verdict == verdict
        if verdict == "sat":
            x, y = result.witness.flat, result.witness.y
            net = Net("f", "", [("output", "c", "", (2,), ""), ("output", "d", "", (1,), "")])
            assert np.concatenate([a.reshape(-1) for a in computed(net, file, [x[:2], x[2:]])]).tolist() == y.tolist()


def test_element_types(tmp_path: Path) -> None:
    text = two("(assert (== X[0] Z[0]))(assert (== X[1] Z[1]))(assert (> Y[0] 0.0))").replace("real", "float32")
    file = network(tmp_path / "f.onnx", {"x": [1, 2]}, {"y": [1, 1]})
    with pytest.raises(PropertyError, match=r"q\.vnnlib:2: X is declared float32, .*--accept-real"):
        answer(tmp_path, text, {"f": file})
    result = answer(tmp_path, text, {"f": file}, accept_real=True)
    assert result.verdict == "sat" and result.witness.text().startswith("X float32 [2]\n")
    with pytest.raises(PropertyError, match=r"q\.vnnlib:2: X has element type float64, but float32 in"):
        answer(tmp_path, text.replace("float32", "float64"), {"f": file}, accept_real=True)


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    text = two("(assert (> Y[0] 0.0))(assert (and (<= -1.0 Z[0]) (<= Z[0] 1.0)))(assert (== Z[1] 0.0))")
    f = network(tmp_path / "f.onnx", {"x": [1, 2]}, {"y": [1, 1]})
    g = network(tmp_path / "g.onnx", {"x": [1, 2]}, {"y": [1, 1]}, 1)
    wide = network(tmp_path / "w.onnx", {"x": [1, 3]}, {"y": [1, 1]})
    more = network(tmp_path / "m.onnx", {"x": [1, 2], "z": [1]}, {"y": [1, 1]})
    for models, message in (
        ({"g": f, "f": g}, r":3: g is equal-to f, but .* is another model"),
        ({"f": f, "h": g}, "no network `h`"),
        ({"f": wide}, r":2: X has shape \[2\], but \[1, 3\]"),
        ({"f": more}, r":2: f declares 1 inputs, but .* has 2"),
    ):
        with pytest.raises(PropertyError, match=message):
            answer(tmp_path, text, models)
    assert verifier.verify({"g": f}, tmp_path / "q.vnnlib").verdict == "sat"  # named by the one that is equal to it
    independent = text.replace("(equal-to f)", "")
    with pytest.raises(PropertyError, match="no model for network g; add --network g=FILE"):
        answer(tmp_path, independent, {"f": f})
    with pytest.raises(PropertyError, match="the networks f, g; give a model for each"):
        answer(tmp_path, independent, f)
    hidden = text.replace("(declare-output Y", '(declare-hidden H real [10] "nothing") (declare-output Y')
    with pytest.raises(ModelError, match="no node computes a tensor 'nothing'"):
        answer(tmp_path, hidden, {"f": f})
