"""Models whose floating-point types do not match: one meaning in real arithmetic, and no runtime that runs them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from tests.cli.files import start
from verifier.graph import compare
from verifier.graph.mixed import COMPUTED
from verifier.run.model import remarks
from verifier.values.errors import ModelError

FLOAT, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16


def model(
    nodes: list[Any], tensors: dict[str, Any], ends: tuple[int, int] = (FLOAT, FLOAT), shape: Any = (1, 2)
) -> bytes:
    """From x to y."""
    x, y = (
        helper.make_tensor_value_info(n, t, list(s)) for n, t, s in zip("xy", ends, (shape, ["?"] * 2), strict=True)
    )
    stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()]
    graph = helper.make_graph(nodes, "mixed", [x], [y], stored)
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], **attributes)


W = np.array([[1.0, -1.0], [1 / 3, 2.0]])
"""Doubles, of which one is no float32."""
NET = [node("MatMul", "x W", "h"), node("Relu", "h", "r"), node("Add", "r b", "y")]
WEIGHTS = {"W": W, "b": np.array([0.1, -0.2])}


def exact(x: list[float]) -> list[Fraction]:
    """Of NET, in rational numbers."""
    h = [sum(Fraction(v) * Fraction(W[i, j]) for i, v in enumerate(x)) for j in range(2)]
    return [max(v, Fraction(0)) + Fraction(b) for v, b in zip(h, WEIGHTS["b"], strict=True)]


def test_it_is_read_in_doubles() -> None:
    data = model(NET, WEIGHTS)
    with pytest.raises(Exception, match="different types"):
        onnxruntime.InferenceSession(data)
    net = verifier.load(data)
    x = [1.0, float(np.float32(0.3))]
    assert net.run(np.array([x]))[0] == pytest.approx([float(v) for v in exact(x)], rel=1e-15)  # not as float32 would
    assert (
        net.input_dtype == "float32" and len(remarks(net)) == 1 and "float32 and float64 at node 'h'" in remarks(net)[0]
    )
    lower, upper = verifier.bound(net, verifier.Box(x, x))
    assert all(a <= v <= b for a, v, b in zip(lower, exact(x), upper, strict=True))
    assert (upper - lower < 1e-12).all()


def question(folder: Path, literal: str) -> Path:
    path = folder / "p.vnnlib"
    box = "".join(f"(declare-const X_{i} Real)(assert (>= X_{i} -1.0))(assert (<= X_{i} 1.0))" for i in range(2))
    path.write_text(f"{box}(declare-const Y_0 Real)(declare-const Y_1 Real)(assert {literal})")
    return path


def test_verdicts_and_where_a_counterexample_says_how_it_was_computed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(NET, WEIGHTS))
    assert verifier.verify(path, question(tmp_path, "(>= Y_0 1.44)"), timeout=20).verdict == "unsat"
    spec = question(tmp_path, "(>= Y_0 1.43)")
    result = verifier.verify(path, spec, timeout=20)
    assert result.verdict == "sat" and result.witness is not None and COMPUTED in result.reason
    x = result.witness.flat.tolist()
    assert exact(x)[0] >= Fraction("1.43") and [float(np.float32(v)) for v in x] == x
    assert result.witness.text().splitlines()[-1] == f"; outputs {COMPUTED}"
    files = [tmp_path / "r.txt", tmp_path / "page.html"]
    process = start("verify", str(path), str(spec), "--results", str(files[0]), "--report", str(files[1]))
    out, err = process.communicate(timeout=60)
    assert out.startswith("sat\n((X_0") and COMPUTED in out and COMPUTED in err
    assert all(COMPUTED in f.read_text() for f in files)


def test_the_reading_is_compared_with_another_evaluator() -> None:
    net = verifier.load(model(NET, WEIGHTS))
    wrong = verifier.load(model(NET, {**WEIGHTS, "b": np.array([0.1, -0.3])}))
    compare.check(net)
    with pytest.raises(ModelError, match="differs by .* from what another evaluator computes"):
        compare.check(net, wrong.graph)


def test_operators_without_kernels_of_doubles_are_compared_with_onnx_itself() -> None:
    """onnxruntime has no Conv of doubles."""
    rng = np.random.default_rng(0)
    K, nodes = rng.standard_normal((2, 1, 2, 2)), [node("Conv", "x K", "c"), node("Flatten", "c", "y")]
    net = verifier.load(model(nodes, {"K": K}, shape=(1, 1, 3, 3)))
    x = rng.standard_normal(9).astype(np.float32).astype(np.float64)
    expected = [sum(K[o, 0, a, b] * x[3 * (i + a) + j + b] for a in (0, 1) for b in (0, 1))
                for o in (0, 1) for i in (0, 1) for j in (0, 1)]  # fmt: skip
    assert net.run(x[None])[0] == pytest.approx(expected, rel=1e-12)
    lower, upper = verifier.bound(net, verifier.Box(x, x))
    assert (lower <= np.array(expected) + 1e-12).all() and (upper >= np.array(expected) - 1e-12).all()


def test_weights_of_16_bits_among_others_are_what_they_are() -> None:
    short = {"W": W.astype(np.float16), "b": WEIGHTS["b"]}
    net = verifier.load(
        model([node("MatMul", "x W", "h"), node("Cast", "h", "r", to=FLOAT), node("Add", "r b", "y")], short)
    )
    y = np.array([1.0, 0.5]) @ W.astype(np.float16).astype(float) + WEIGHTS["b"]
    assert net.run(np.array([[1.0, 0.5]]))[0] == pytest.approx(y, rel=1e-15)


def test_what_only_declares_another_output_is_read() -> None:
    """Weights and inputs are doubles, the output says float32."""
    net = verifier.load(model(NET, WEIGHTS, (DOUBLE, FLOAT)))
    assert net.input_dtype == "float64" and remarks(net)


@pytest.mark.parametrize(
    ("nodes", "tensors", "words"),
    [
        (
            [node("MatMul", "x W", "h"), node("Cast", "h", "r", to=HALF), node("Relu", "r", "y")],
            {"W": W},
            "'r' .*16 bits",
        ),
        ([node("MatMul", "x W", "h"), node("CastLike", "h z", "y")], {"W": W, "z": np.zeros(1, np.float16)}, "16 bits"),
    ],
)
def test_what_rounds_on_purpose_is_refused(nodes: list[Any], tensors: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        verifier.load(model(nodes, tensors))


def test_types_that_may_differ_are_no_clash() -> None:
    """A power's exponent may have a type of its own: onnxruntime runs it, and nothing is said."""
    net = verifier.load(model([node("Pow", "x p", "y")], {"p": np.array([2.0])}))
    assert not remarks(net) and net.run(np.array([[0.1, 3.0]]))[0, 0] == np.float32(np.float32(0.1) ** 2)


def test_a_model_that_lacks_more_than_types_is_refused_as_before() -> None:
    with pytest.raises(ModelError, match="Nonsense"):
        verifier.load(model([node("MatMul", "x W", "h"), node("Nonsense", "h", "y")], {"W": W}))


def test_a_query_with_names_is_answered(tmp_path: Path) -> None:
    path, query = tmp_path / "m.onnx", tmp_path / "q.vnnlib"
    path.write_bytes(model(NET, WEIGHTS))
    query.write_text("""(vnnlib-version <2.0>)
(declare-network f (declare-input X real [1,2]) (declare-output Y real [1,2]))
(assert (and (>= X[0,0] -1) (<= X[0,0] 1) (>= X[0,1] -1) (<= X[0,1] 1) (>= Y[0,0] 1.43)))""")
    result = verifier.verify(path, query, timeout=20)
    assert result.verdict == "sat" and result.witness is not None and COMPUTED in result.witness.text()


def test_onnx_is_left_alone() -> None:
    """What is in memory stays as it was given."""
    proto = onnx.load_model_from_string(model(NET, WEIGHTS))
    before = proto.SerializeToString()
    verifier.load(proto)
    assert proto.SerializeToString() == before


def test_every_command_says_how_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(NET, WEIGHTS))
    for command in ("bound", "lipschitz"):
        process = start(command, str(path), "--input", "0.5,0.25", "--eps", "0.01")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "do not match" in err, err


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16"])
@pytest.mark.parametrize("op", ["Cast", "CastLike"])
def test_weights_that_are_stored_short_are_what_is_stored(kind: str, op: str) -> None:
    """onnxruntime is not given arrays of types that numpy lacks: they are part of the model that it computes."""
    import ml_dtypes

    short = W.astype(getattr(ml_dtypes, kind, None) or np.float16)
    cast = node("Cast", "W", "w", to=FLOAT) if op == "Cast" else node("CastLike", "W x", "w")
    graph = helper.make_graph(
        [cast, node("MatMul", "x w", "y")],
        "short",
        [helper.make_tensor_value_info("x", FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(short, "W")],
    )
    net = verifier.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    lower, upper = verifier.bound(net, verifier.Box(np.ones(2), np.ones(2)))
    expected = short.astype(np.float64).sum(0)
    assert (lower <= expected).all() and (expected <= upper).all() and (upper - lower < 1e-6).all() and not remarks(net)


@pytest.mark.parametrize("cast", [True, False])
def test_inputs_of_two_types(cast: bool, tmp_path: Path) -> None:
    """Each is given numbers of its own type; without a Cast no runtime adds them up."""
    nodes = [node("Cast", "b", "c", to=FLOAT)] if cast else []
    nodes.append(node("Add", "a c" if cast else "a b", "y"))
    ends = [helper.make_tensor_value_info(n, t, [1, 2]) for n, t in (("a", FLOAT), ("b", DOUBLE), ("y", FLOAT))]
    graph = helper.make_graph(nodes, "two", ends[:2], ends[2:])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    net = verifier.load(data)
    assert net.input_dtype == "float32" and bool(remarks(net)) is not cast
    assert net.run(np.array([[1.0, 2.0]]), np.array([[0.5, 0.25]]))[0].tolist() == [1.5, 2.25]
    spec = tmp_path / "p.vnnlib"
    box = "".join(f"(declare-const X_{i} Real)(assert (>= X_{i} 0.1))(assert (<= X_{i} 0.2))" for i in range(4))
    for end, verdict in ((0.41, "unsat"), (0.39, "sat")):
        spec.write_text(f"{box}(declare-const Y_0 Real)(declare-const Y_1 Real)(assert (>= Y_0 {end}))")
        assert verifier.verify(data, spec, timeout=20).verdict == verdict
