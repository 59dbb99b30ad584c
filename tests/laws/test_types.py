"""Models that compute in whole numbers and short floating-point types: what onnxruntime gives is never refuted.

Attack and candidates are switched off, so that nothing but bounds decides.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

import verifier
from tests.laws.typed_nets import Typed, mixed
from verifier.graph import from_onnx
from verifier.graph.from_onnx import Model
from verifier.graph.importer import Importer
from verifier.graph.ops.fit import Fit
from verifier.run import verify as run
from verifier.spec.property import Property
from verifier.spec.vnnlib import read
from verifier.values.errors import ModelError, PropertyError, UnsoundBound, UserError


@pytest.fixture
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No counterexample is ever found."""
    monkeypatch.setattr(run, "attack", lambda *a, **k: None)
    monkeypatch.setattr(run, "Replay", lambda *a, **k: lambda x, box: None)


def question(folder: Path, lower: np.ndarray, upper: np.ndarray, literal: str) -> Property:
    lines = [f"(declare-const X_{i} Real)" for i in range(len(lower))] + ["(declare-const Y_0 Real)"]
    for i, (a, b) in enumerate(zip(lower, upper, strict=True)):
        lines.append(f"(assert (>= X_{i} {a}))(assert (<= X_{i} {b}))")
    (folder / "p.vnnlib").write_text("\n".join([*lines, f"(assert {literal})"]))
    found = read(folder / "p.vnnlib")
    assert isinstance(found, Property)
    return found


def ask(net: Model, prop: Property) -> str:
    try:
        return str(verifier.verify(net, prop, timeout=0.2).verdict.value)
    except UnsoundBound:
        raise
    except PropertyError as e:
        assert "narrow the input set" in str(e)
        return "refused"


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize("block", range(3))
def test_planted_counterexamples_are_never_refuted(block: int, tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for seed in range(1000 + 15 * block, 1015 + 15 * block):
        rng = np.random.default_rng(seed)
        data = Typed(rng)
        (tmp_path / "m.onnx").write_bytes(data.bytes(mixed))
        try:
            net = from_onnx.load(tmp_path / "m.onnx")
            net.session()
        except UserError:  # no kernel for it, or an output that does not depend on the input
            found["unread"] += 1
            continue
        lower = rng.integers(-12, 12, data.n) / 4.0
        upper = lower + rng.integers(0, 24, data.n) / 4.0
        x = np.concatenate([lower[None], upper[None], lower + rng.random((60, data.n)) * (upper - lower)])
        y = net.run(np.clip(np.round(x * 4) / 4, lower, upper))[:, 0]
        if not np.isfinite(y).all():
            continue
        low, high = float(y.min()), float(y.max())
        near = 1e-6 * max(abs(low), abs(high))  # whole numbers are rounded on their way to float32
        sign, end = [("<=", low + near), (">=", high - near)][seed % 2]
        verdict = ask(net, question(tmp_path, lower, upper, f"({sign} Y_0 {end:.17g})"))
        assert verdict != "unsat", (seed, sorted(data.kinds))
        found[verdict] += 1
        verdict = ask(net, question(tmp_path, lower, upper, f"(<= Y_0 {low - abs(low) - 3:.17g})"))
        found["proved"] += verdict == "unsat"
        box = verifier.Box(lower, upper)
        for method in ("interval", "crown"):
            least, most = verifier.bound(net, box, method=method)
            assert least[0] <= low + near and high - near <= most[0], (seed, method)
    assert found["proved"] >= 3 and found["refused"] >= 1, found  # it says no more often than it must, but it says it


def model(nodes: list[object], n: int = 1, tensors: dict[str, np.ndarray] | None = None, kind: int = 1) -> bytes:
    stored = [numpy_helper.from_array(a, k) for k, a in (tensors or {}).items()]
    ends = [helper.make_tensor_value_info(name, kind, [1, n]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def loaded(folder: Path, data: bytes) -> Model:
    (folder / "m.onnx").write_bytes(data)
    return from_onnx.load(folder / "m.onnx")


def node(op: str, inputs: str, output: str, **attributes: object) -> object:
    return helper.make_node(op, inputs.split(), [output], **attributes)


INT32 = [node("Cast", "x", "i", to=TensorProto.INT32), node("Mul", "i i", "j"), node("Cast", "j", "y", to=1)]


def test_a_product_that_wraps(tmp_path: Path) -> None:
    """Inside the type's range exact, at its edge split, beyond it a counterexample or a refusal, and never a proof."""
    net = loaded(tmp_path, model(INT32))
    one = np.ones(1)
    inside = question(tmp_path, 1000 * one, 46340 * one, "(<= Y_0 980000)")
    assert verifier.verify(net, inside, timeout=20).verdict == "unsat"
    beyond = question(tmp_path, 50000 * one, 60000 * one, "(<= Y_0 0)")
    assert verifier.verify(net, beyond, timeout=20).verdict == "sat"
    never = question(tmp_path, 50000 * one, 60000 * one, "(>= Y_0 2147483648)")
    assert verifier.verify(net, never, timeout=20).verdict == "unsat"  # no int32 is that large
    rare = question(tmp_path, 50000 * one, 50001 * one, "(>= Y_0 2147483640)")
    with pytest.raises(PropertyError, match=r"node 'j' comes to 2.5\d*e\+09 .* int32 holds -2147483648 to 2147483647"):
        verifier.verify(net, rare, timeout=20)
    low, high = verifier.bound(net, verifier.Box(50000 * one, 60000 * one))
    assert low[0] <= -2147483648 and high[0] >= 2147483647


def test_whole_numbers_that_doubles_do_not_hold_are_refused(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "i", to=TensorProto.INT64), node("Add", "i c", "j"), node("Cast", "j", "y", to=1)]
    loaded(tmp_path, model(nodes, tensors={"c": np.array([2**53])}))
    with pytest.raises(ModelError, match="2\\^53"):
        loaded(tmp_path, model(nodes, tensors={"c": np.array([2**53 + 1])}))


@pytest.mark.parametrize("op", ["Div", "ReduceMean", "ReduceL2", "ReduceLogSumExp", "Pow"])
def test_operators_that_cut_are_refused_for_whole_numbers(op: str, tmp_path: Path) -> None:
    """What they give is no real arithmetic."""
    inputs = "i c" if op in ("Div", "Pow") else "i"
    nodes = [node("Cast", "x", "i", to=TensorProto.INT32), node(op, inputs, "j"), node("Cast", "j", "y", to=1)]
    with pytest.raises(ModelError, match=f"'j' \\({op}\\).*whole numbers"):
        loaded(tmp_path, model(nodes, 2, {"c": np.array([-1, 3], np.int32)}))


def test_a_type_that_is_not_read_is_named(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "i", to=TensorProto.FLOAT8E4M3FN), node("Cast", "i", "y", to=1)]
    with pytest.raises(ModelError, match="float8e4m3fn"):
        loaded(tmp_path, model(nodes))


def test_an_island_of_float16_is_rounded_as_the_model_rounds(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Cast", "h", "f", to=1), node("Sub", "f x", "y")]
    net = loaded(tmp_path, model(nodes))
    box = verifier.Box([1000.1], [1000.2])
    low, high = verifier.bound(net, box)
    assert -0.5 <= low[0] <= -0.1 and high[0] >= 0.0  # 1000.1 becomes 1000
    assert verifier.verify(net, question(tmp_path, box.lower, box.upper, "(<= Y_0 -0.05)"), timeout=20).verdict == "sat"
    far = question(tmp_path, box.lower, box.upper, "(<= Y_0 -1.0)")
    assert verifier.verify(net, far, timeout=20).verdict == "unsat"
    low, high = verifier.bound(net, verifier.Box([60000.0], [70000.0]))
    assert not np.isfinite(low[0]) and not np.isfinite(high[0])  # beyond 65504 it is infinite


def test_a_double_that_float32_does_not_hold(tmp_path: Path) -> None:
    """1e39 becomes infinity in float32, and a clip makes a number of that again."""
    nodes = [node("Cast", "x", "f", to=1), node("Cast", "f", "d", to=11), node("Clip", "d l h", "y")]
    limits = {"l": np.array(-1e40), "h": np.array(1e40)}
    net = loaded(tmp_path, model(nodes, tensors=limits, kind=11))
    one = np.ones(1)
    _, high = verifier.bound(net, verifier.Box(1e39 * one, 2e39 * one))
    assert high[0] >= 1e40
    assert verifier.bound(net, verifier.Box(one, 2 * one))[1][0] <= 2.0 + 1e-9
    wide = question(tmp_path, 1e39 * one, 2e39 * one, "(>= Y_0 5e39)")
    assert ask(net, wide) != "unsat"


def test_types_follow_shape_inference() -> None:
    """The type that the importer notes for every tensor is the one that onnx infers."""
    rng, checked = np.random.default_rng(5), 0
    for _ in range(60):
        net = Typed(rng)
        checked += _same_types(net.bytes(mixed))
    assert checked > 200


def _same_types(data: bytes) -> int:
    import onnx

    proto = shape_inference.infer_shapes(onnx.load_model_from_string(data))
    read_ = Importer(Path("m.onnx"), proto)
    try:
        read_.run()
    except ModelError:
        return 0
    names = {1: "float32", 10: "float16", 9: "bool", 11: "float64"}
    count = 0
    for v in proto.graph.value_info:
        kind = v.type.tensor_type.elem_type
        name = names.get(kind, onnx.TensorProto.DataType.Name(kind).lower())
        if isinstance(read_.values.get(v.name), int):
            assert read_.types[v.name] == name, v.name
            count += 1
    return count


def test_nothing_is_held_where_ranges_are_known() -> None:
    """Truth values and positions fit every type: counting them needs no operator of its own."""
    nodes = [
        node("Greater", "x c", "b"),
        node("Cast", "b", "i", to=TensorProto.INT64),
        node("ReduceSum", "i", "s", keepdims=1),
        node("Cast", "s", "h", to=TensorProto.INT8),
        node("Cast", "h", "y", to=1),
    ]
    import onnx

    graph = Importer(
        Path("m.onnx"), onnx.load_model_from_string(model(nodes, 3, {"c": np.zeros(1, np.float32)}))
    ).run().graph  # fmt: skip
    assert not any(isinstance(n.op, Fit) for n in graph.nodes)
