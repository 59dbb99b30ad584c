"""Several inputs and outputs, by name and in order: sets, results, what is fixed, what moves, and what is refused."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph import from_onnx

RNG = np.random.default_rng(3)
W, V = (RNG.normal(size=s).astype(np.float32) for s in ((5, 6), (6, 3)))
MASK = np.array([1, 0, 2])


def three() -> onnx.ModelProto:
    """`y = relu([a, b] W) V * mask` and `z = sigmoid(relu([a, b] W))`: inputs of 2, 3 and (whole numbers) 3 entries."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("MatMul", ["c", "W"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "V"], ["v"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["v", "m"], ["y"]),
        helper.make_node("Sigmoid", ["r"], ["z"]),
    ]
    ends = [info("a", 1, [1, 2]), info("b", 1, ["batch", 3]), info("mask", 7, ["batch", 3])]
    stored = [numpy_helper.from_array(W, "W"), numpy_helper.from_array(V, "V")]
    graph = helper.make_graph(nodes, "three", ends, [info("y", 1, [1, 3]), info("z", 1, [1, 6])], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("three") / "three.onnx"
    onnx.save(three(), file)
    return file


@pytest.fixture(scope="module")
def net(path: Path) -> Any:
    return verifier.load(path, fixed={"mask": MASK})


def f(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r = np.maximum(x @ W.astype(float), 0)
    return r @ V * MASK, 1 / (1 + np.exp(-r))


def jacobians(x: np.ndarray) -> list[np.ndarray]:
    """Those of y, of all patterns met."""
    return [(V * MASK).T.astype(float) @ (h[:, None] * W.T) for h in np.unique(x @ W > 0, axis=0)]


def test_bounds_by_name_hold_what_is_sampled(net: Any, path: Path) -> None:
    a, b = RNG.normal(size=2), RNG.normal(size=3)
    x = np.concatenate([a + RNG.uniform(-0.1, 0.1, (2000, 2)), b + RNG.uniform([-1, 0, 0], [0, 0.5, 0], (2000, 3))], 1)
    sets = {"b": (b + [-1, 0, 0], b + [0, 0.5, 0]), "a": verifier.Ball(a, 0.1)}
    found = verifier.bound(net, sets)
    assert list(found.outputs) == ["y", "z"] and found.outputs["y"][0].shape == (1, 3)
    for y, (low, up) in zip(f(x), found.outputs.values(), strict=True):
        assert (low <= y + 1e-6).all() and (y <= up + 1e-6).all() and (up - low < 20).all()
    lower, upper = found
    assert np.array_equal(lower, np.concatenate([low.ravel() for low, _ in found.outputs.values()]))
    by_file = verifier.bound(path, sets | {"mask": MASK})  # whole numbers are fixed as they are given
    in_order = verifier.bound(path, [sets["a"], sets["b"], MASK])
    flat = verifier.bound(net, verifier.Box(np.r_[a - 0.1, sets["b"][0]], np.r_[a + 0.1, sets["b"][1]]))
    for other in (by_file, in_order, flat):
        assert np.allclose(other, found, atol=1e-12)
    assert list(verifier.bound(verifier.load(net, outputs="z"), sets).outputs) == ["z"]
    assert np.allclose(verifier.bound(verifier.load(path, fixed={"mask": MASK}, outputs=["z", "y"]), sets)[0][6:],
                       lower[:3])  # fmt: skip


def test_a_ball_is_not_measured_along_what_stands_still(net: Any) -> None:
    """Rows with large weights on a fixed input are bounded as if that were a constant, which it is."""
    b = np.array([3.0, -2.0, 1.0])
    sets = verifier.input_set(net, {"a": [0.2, -0.1], "b": b}, eps={"a": 0.5}, norm=2)
    baked = verifier.load(net, fixed={"b": b})
    for method in ("interval", "forward", "crown", "alpha-crown"):
        low, up = verifier.bound(net, sets, method)
        want = verifier.bound(baked, verifier.Ball([0.2, -0.1], 0.5, norm=2), method)
        assert np.allclose(low, want[0], atol=1e-5) and np.allclose(up, want[1], atol=1e-5), method
    d = RNG.normal(size=(3000, 2))
    x = np.c_[[0.2, -0.1] + 0.5 * d / np.linalg.norm(d, axis=1)[:, None], np.tile(b, (3000, 1))]
    y = np.concatenate(f(x), 1)
    assert (low - 1e-6 <= y.min(0)).all() and (y.max(0) <= up + 1e-6).all()


def test_questions_with_networks_of_their_own(net: Any) -> None:
    box = verifier.Box([-1] * 5, [1] * 5)
    low, up = verifier.find_range(net, box=box, output=3, timeout=1)
    assert 0.4999 < low <= 0.5 and f(RNG.uniform(-1, 1, (500, 5)))[1][:, 0].max() <= up
    assert verifier.verify(verifier.equivalent(net, net, box, 1e-3), timeout=10).verdict == "unsat"
    assert verifier.verify(verifier.robust(verifier.load(net, outputs="z"), [0.5] * 5, 1e-5)).verdict == "unsat"
    assert verifier.verify(verifier.monotonicity(net, input=0, box=box, output=4)).verdict in ("sat", "unsat")


@pytest.mark.parametrize(("norm", "wrt"), [(2, "a"), (inf, ["b"]), (1, "a"), ((inf, 1), "b"), (2, None), ((2, 3), "a")])
def test_lipschitz_by_some_inputs(net: Any, norm: Any, wrt: Any) -> None:
    """The largest norm of the columns that move, met from both sides where it is known."""
    only = verifier.load(net, outputs="y")
    sets = {"a": ([-1, -1], [1, 1]), "b": ([-1] * 3, [1] * 3)}
    found = verifier.lipschitz(only, sets, norm, wrt=wrt, timeout=20)
    columns = {"a": slice(0, 2), "b": slice(2, 5), None: slice(0, 5)}[wrt[0] if isinstance(wrt, list) else wrt]
    pieces = [J[:, columns] for J in jacobians(RNG.uniform(-1, 1, (3000, 5)))]
    if norm == (2, 3):
        d = RNG.normal(size=(4000, 2))
        best = max((np.linalg.norm(J @ d.T, 3, axis=0) / np.linalg.norm(d, axis=1)).max() for J in pieces)
        assert best <= found.upper and found.lower <= best * 1.01
        return
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    best = max(abs(signs @ J).sum(1).max() if norm == (inf, 1) else np.linalg.norm(J, norm) for J in pieces)
    assert found.settled and found.lower <= best * (1 + 1e-6) and best <= found.upper * (1 + 1e-6)


def test_what_is_fixed_by_its_values_does_not_move(net: Any) -> None:
    only, b = verifier.load(net, outputs="y"), [0.1, 0.2, 0.3]
    fixed = verifier.lipschitz(only, {"a": ([-1, -1], [1, 1]), "b": b}, 2)
    baked = verifier.lipschitz(verifier.load(only, fixed={"b": b}), {"a": ([-1, -1], [1, 1])}, 2)
    moving = verifier.lipschitz(only, {"a": ([-1, -1], [1, 1]), "b": verifier.Ball(b, 0)}, 2)
    assert fixed.upper == pytest.approx(baked.upper, rel=1e-3) and moving.lower > fixed.upper * 1.05
    everywhere = [verifier.lipschitz(only, None, 2, wrt=w, timeout=5) for w in ("a", None)]
    assert everywhere[0].upper < everywhere[1].upper and everywhere[0].lower <= everywhere[0].upper


def test_sets_are_joined_exactly(net: Any) -> None:
    both = verifier.input_set(net, {"a": verifier.Ball([1, 2], 0.5), "b": ([0, 0, 0], [1, 0, 3])})
    box = both.box()
    assert np.allclose(box.lower, [0.5, 1.5, 0, 0, 0]) and (box.lower[2:] == 0).all()
    assert np.allclose(box.upper, [1.5, 2.5, 1, 0, 3]) and list(box.upper[2:]) == [1, 0, 3]
    plain = verifier.input_set(net, [([0, 0], 1), [5, 6, 7]])
    assert isinstance(plain, verifier.Box) and list(plain.upper) == [1, 1, 5, 6, 7]
    round_ = verifier.input_set(net, {"a": [1, 2], "b": [0, 0, 0]}, eps=0.5, norm=2)
    assert (round_.norm, round_.eps, list(round_.center)) == (2, 0.5, [1, 2, 0, 0, 0])
    part = verifier.input_set(net, {"a": [1, 2], "b": [4, 5, 6]}, eps={"a": 0.5}, norm=2, lo={"a": 1})
    assert (part.norm, list(part.lo[2:]), list(part.hi[2:])) == (2, [4, 5, 6], [4, 5, 6])
    assert list(part.lo[:2]) == pytest.approx([1, 1.5])
    one = verifier.input_set(net, {"a": verifier.Ball([1, 2], 0.5, norm=2), "b": 0.0})
    assert one.norm == 2 and list(one.hi[2:]) == [0, 0, 0]
    adjacent = verifier.input_set(net, {"a": verifier.Ball([1, 2], 0), "b": ([1] * 3, [np.nextafter(1, 2)] * 3)}).box()
    assert (adjacent.lower[2:] == 1).all() and (adjacent.upper[2:] == np.nextafter(1, 2)).all()
    named = verifier.by_name(net, [1, 2, 3, 4, 5])
    assert {k: v.tolist() for k, v in named.items()} == {"a": [[1, 2]], "b": [[3, 4, 5]]}


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({"a": [0, 0]}, "input 'b' of shape [1, 3]: nothing is given"),
        ({"a": [0, 0], "q": 1}, "'q': three has no such input; it has a [1, 2], b [1, 3]"),
        ([[0, 0]], "a list of 1, but three has the inputs a [1, 2], b [1, 3]"),
        ({"a": [0, 0, 0], "b": 0}, "'a' has 3 entries"),
        ({"a": verifier.Box([0], [1]), "b": 0}, "'a' of shape [1, 2]: the set has 1 entries; give 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(net: Any, sets: Any, words: str) -> None:
    for ask in (verifier.bound, verifier.lipschitz, verifier.jacobian):
        with pytest.raises(verifier.UserError) as caught:
            ask(net, sets)
        assert words in str(caught.value).replace(str(net.path), "three")


def test_one_number_fixes_all_entries(path: Path) -> None:
    """As the guide says of every option that takes values, whatever the input's type."""
    box = {"a": verifier.Box([0, 0], [1, 1]), "b": 0.5}
    one, all_of_them = verifier.bound(path, {**box, "mask": 1}), verifier.bound(path, {**box, "mask": [1, 1, 1]})
    assert np.array_equal(one[0], all_of_them[0]) and np.array_equal(one[1], all_of_them[1])
    assert verifier.load(path, fixed={"mask": 1}).input_names == ("a", "b")
    with pytest.raises(verifier.UserError, match="say which, as a.0., in Python"):
        verifier.monotone(path, {**box, "mask": 1}, "a", ("y", 0))


def test_whole_numbers_are_fixed_or_named(path: Path) -> None:
    for ask, words in (
        (lambda: verifier.load(path), "input 'mask' is int64 [batch, 3]; only floating-point inputs (float16,"),
        (lambda: verifier.load(path, fixed={"mask": [1, 1]}), "2 values are given to fix it at; give one, or 3"),
        (lambda: verifier.load(path, fixed={"mask": [1, 0.5, 1]}), "cannot be fixed at 0.5; give numbers of its type"),
        (lambda: verifier.load(path, fixed={"mask": [1, 1, 2**70]}), "cannot be fixed"),
        (lambda: verifier.load(path, fixed={"mask": MASK, "a": [1e300, 0]}), "beyond its type"),
        (lambda: verifier.load(path, fixed={"m": 1}), "no input 'm' to be fixed; its inputs are a float32 [1, 2], b"),
        (lambda: verifier.load(path, fixed={"mask": MASK}, outputs="w"), "nor a tensor inside; its outputs are y, z"),
        (lambda: verifier.bound(path, {"a": 0, "b": 0, "mask": (0, 1)}), "'mask' is int64 [batch, 3]: it can only be"),
        (lambda: verifier.bound(path, {"a": 0, "b": 0}), "input 'mask' is int64"),
    ):  # fmt: skip
        with pytest.raises(verifier.UserError) as caught:
            ask()
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_model_that_is_fixed_is_the_one_that_runs(path: Path, net: Any) -> None:
    """onnxruntime, too, has the constants; and so has what is read again."""
    x = RNG.normal(size=(4, 5)).astype(np.float32)
    y, z = f(x.astype(float))
    assert np.allclose(net.run(x[:, :2], x[:, 2:]), np.concatenate([y, z], 1), atol=1e-5)
    again = from_onnx.load(net.source)
    assert again.input_names == ("a", "b") and str(net.path) == str(path)
    assert np.allclose(again.run(x[:, :2], x[:, 2:]), net.run(x[:, :2], x[:, 2:]))
    model = three()
    assert len(verifier.load(model, fixed={"mask": MASK}).input_shapes) == 2 and len(model.graph.input) == 3


def test_verify_and_data_questions(net: Any) -> None:
    only = verifier.load(net, outputs="z")
    x = np.array([[0.3, -0.2, 0.5, 0.1, -0.4], [1.0, 0.5, -0.5, 0.2, 0.3]])
    label = f(x)[1].argmax(1)
    ball = verifier.input_set(only, {"a": x[0, :2], "b": x[0, 2:]}, eps=1e-4)
    assert verifier.verify(only, verifier.robustness(ball, int(label[0])), timeout=20).verdict == "unsat"
    found = verifier.verify(only, verifier.robustness(ball, int(1 - (label[0] > 0))), timeout=20)
    assert found.verdict == "sat" and [name for name, _ in found.witness.shapes] == ["a", "b"]
    certified = verifier.certify(only, x, label, 1e-4, timeout=20)
    assert certified.natural == certified.certified == 1
    assert 0 < verifier.tightness(verifier.load(net, outputs="y"), x) <= 1


def test_monotone_by_name(net: Any) -> None:
    sets = {"a": ([-1, -1], [1, 1]), "b": [0.1, 0.2, 0.3]}
    named, numbered = verifier.monotone(net, sets, ("a", 1), ("y", 2)), verifier.monotone(net, sets, 1, 2)
    assert named.direction == numbered.direction
    assert (named.lower, named.upper) == pytest.approx((numbered.lower, numbered.upper))
    for where, words in (("a", "say which"), (("a", 2), "from 0 to 1"), (("q", 0), "has no such input")):
        with pytest.raises(verifier.UserError, match=words):
            verifier.monotone(net, sets, where)
    z = verifier.lipschitz(net, sets, outputs=["z"], timeout=2).functionals
    assert z.shape == (6, 9) and not z[:, :3].any()


def test_a_torch_module_of_two_inputs() -> None:
    """Called with a tuple of examples; inputs are called what its forward calls them."""
    import torch

    class Sum(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = torch.relu(a - 2 * b)
            return h, h.sum(1, keepdim=True)

    net = verifier.load(Sum(), (torch.zeros(1, 2), torch.zeros(1, 2)))
    low, up = verifier.bound(net, {"a": (0, 1), "b": torch.tensor([0.5, -0.25])})
    assert np.allclose(low, [0, 0.5, 0.5], atol=1e-6) and np.allclose(up, [0, 1.5, 1.5], atol=1e-6)
    sets = {"a": (-1, 1), "b": (-1, 1)}
    constants = [verifier.lipschitz(net, sets, wrt=w, outputs=[0], timeout=9).upper for w in (None, "a", "b")]
    assert constants == pytest.approx([3, 1, 2], rel=1e-3)
    assert verifier.monotone(net, sets, ("b", 1), 1).direction == "decreasing"


def same(one: Any, other: Any) -> bool:
    """Whether two questions about the same network are one: the property of all entries behind one another."""
    (_, a), (_, b) = one.posed(), other.posed()
    a, b = (getattr(q, "property", q) for q in (a, b))
    parts = ("lower", "upper", "inner_lower", "inner_upper", "A_y", "d", "start", "literal", "strict")
    alike = all(np.array_equal(getattr(a, p), getattr(b, p)) for p in parts)
    return alike and np.array_equal(a.A_x, b.A_x) if a.A_x is not None and b.A_x is not None else alike


def test_questions_by_name(path: Path, net: Any) -> None:
    """The same questions as by numbers of entries; whole numbers are fixed where they are given among the sets."""
    sets = {"a": ([-1, -1], [1, 1]), "b": verifier.Ball([0, 0.5, 0], 0.25)}
    flat, whole = verifier.input_set(net, sets), {**sets, "mask": MASK}
    entries: list[tuple[Any, Any, int, int]] = [(("b", 2), "z[1]", 4, 4), ("a[1]", ("y", 2), 1, 2), (3, 8, 3, 8)]
    for given, out, i, k in entries:
        plain = verifier.monotonicity(net, input=i, box=flat, output=k, tolerance=0.5)
        for model, box in ((net, sets), (path, whole), (path, list(whole.values()))):
            assert same(verifier.monotonicity(model, input=given, box=box, output=out, tolerance=0.5), plain), given
            by_name = verifier.output_range(model, box, output=out, upper=0.75)
            assert same(by_name, verifier.output_range(net, flat, output=k, upper=0.75))
    low, high = verifier.find_range(path, whole, output="z[0]", timeout=1)
    x = np.c_[RNG.uniform(-1, 1, (500, 2)), np.array([0, 0.5, 0]) + RNG.uniform(-0.25, 0.25, (500, 3))]
    assert low <= f(x)[1][:, 0].min() and f(x)[1][:, 0].max() <= high
    top = verifier.verify(verifier.output_range(path, whole, output=("z", 0), upper=high + 0.01), timeout=20)
    assert top.verdict == "unsat" and high < 1
    far = verifier.verify(verifier.output_range(path, whole, output="z[0]", upper=float(f(x)[1][:, 0].max()) - 0.01))
    assert far.witness is not None and far.witness.y[3] > f(x)[1][:, 0].max() - 0.02


def test_networks_compared_by_name(path: Path, net: Any, tmp_path: Path) -> None:
    """Those outputs that are asked about; whole numbers are fixed in both; inputs in another order are refused."""
    other, turned = three(), three()
    other.graph.initializer[1].CopyFrom(numpy_helper.from_array(V * np.float32(2), "V"))
    a, b = turned.graph.input[0], turned.graph.input[1]
    ends = [type(v).FromString(v.SerializeToString()) for v in (b, a, turned.graph.input[2])]
    turned.graph.ClearField("input")
    turned.graph.input.extend(ends)
    onnx.save(other, tmp_path / "other.onnx")
    onnx.save(turned, tmp_path / "turned.onnx")
    sets = {"mask": MASK, "a": verifier.Ball([0.3, -0.2], 0.05), "b": verifier.Ball([0.5, 0.1, -0.4], 0.05)}

    def asked(name: str, **how: Any) -> Any:
        return verifier.verify(verifier.equivalent(path, tmp_path / f"{name}.onnx", sets, 0.1, **how), timeout=20)

    for outputs in ("z", [4, 5], ("z", 1), "z[2]"):
        assert asked("other", outputs=outputs).verdict == "unsat", outputs
    for how in ({}, {"outputs": ["y"]}, {"outputs": ("z", "y")}, {"outputs": [0, 2]}, {"outputs": ["y[2]", ("y", 0)]}):
        found = asked("other", **how)
        assert found.verdict == "sat" and abs(f(found.witness.x[None, :5])[0]).max() > 0.1 - 1e-5, how
    with pytest.raises(verifier.UserError, match="has the inputs a, b, .* b, a; what is compared goes by position"):
        asked("turned")


def test_robust_by_name(path: Path) -> None:
    """The classes are the entries of one output; what it says of the centre is the label."""
    a, b = np.array([0.3, -0.2]), np.array([0.5, 0.1, -0.4])
    z = f(np.concatenate([a, b])[None])[1][0]
    near = {"a": verifier.Ball(a, 0.01, 2), "b": b, "mask": MASK}
    for x, eps in (({"a": a, "b": b, "mask": MASK}, {"a": 0.01}), (near, None)):
        kept = verifier.robust(path, x, eps, norm=2, output="z")
        lost = verifier.robust(path, x, eps, norm=2, output="z", label=int(z.argmin()))
        assert verifier.verify(kept, timeout=10).verdict == "unsat"
        found = verifier.verify(lost, timeout=10)
        assert found.verdict == "sat" and np.linalg.norm(found.witness.x[:2] - a) <= 0.01
        assert (found.witness.x[2:] == b.astype(np.float32)).all()
    with pytest.raises(verifier.UserError, match="label 6 of 6 classes"):
        verifier.verify(verifier.robust(path, near, label=6, output="z"))


def test_robust_in_the_models_order(path: Path, net: Any) -> None:
    """A list of centres or of sets is read as by name; a list of numbers, nested or not, is all inputs at once."""
    import torch

    a, b = np.array([0.3, -0.2]), np.array([0.5, 0.1, -0.4])
    least = int(f(np.concatenate([a, b])[None])[1][0].argmin())
    near = [verifier.Ball(a, 0.01, 2), verifier.Ball(b, 0.01, 2)]
    for x, eps in (([a, b], 0.01), (near, None), ((near[0], b), None), ([near[0], b.tolist()], None)):
        found = verifier.verify(verifier.robust(net, x, eps, norm=2, output="z", label=least), timeout=10)
        assert found.verdict == "sat" and np.linalg.norm(found.witness.flat[:2] - a) <= 0.01
    tracked = torch.tensor([*a, *b], requires_grad=True)
    for x in ([*a, *b], [[*a, *b]], np.concatenate([a, b]), tracked, [tracked[:2], tracked[2:]]):
        assert verifier.verify(verifier.robust(net, x, 1e-5, output="z"), timeout=10).verdict == "unsat"
    with pytest.raises(verifier.UserError, match="eps goes by the inputs' names, x does not"):
        verifier.robust(path, np.concatenate([a, b]), {"a": 0.01})
    with pytest.raises(verifier.UserError, match="center: not an array of numbers"):
        verifier.robust(net, [tracked], 0.01)  # torch does not make an array of it


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"input": "q"}, "input 'q': three has no such input; it has a [1, 2], b [1, 3]"),
        ({"input": "a"}, "input 'a' has 2 entries: say which, as a[0], in Python ('a', 0)"),
        ({"input": "a[2]"}, "input 'a', entry 2: give"),
        ({"output": ("z", 6)}, "output 'z', entry 6: give"),
        ({"output": 9}, "output 9 of 9; give"),
        ({"box": {"a": 0}}, "input 'b' of shape [1, 3]: nothing is given"),
        ({"box": {"a": verifier.Ball([0, 0], 1, 2), "b": 0}}, "give a Box, or a Ball of the maximum norm"),
    ],
)
def test_what_questions_do_not_find_is_named(net: Any, how: Any, words: str) -> None:
    usual = {"input": 0, "box": {"a": (0, 1), "b": 0}, "tolerance": 0.1}
    with pytest.raises(verifier.UserError) as caught:
        verifier.verify(verifier.monotonicity(net, **(usual | how)))
    assert words in str(caught.value).replace(str(net.path), "three")


def test_sets_of_their_own_are_products(net: Any, path: Path) -> None:
    """Balls of several inputs, or beside a box: bounds, verdicts and witnesses are about all of them together."""
    a, b = np.array([0.3, -0.2]), np.array([0.5, 0.125, -0.4])
    ball = verifier.Ball(b, 0.5, 1, hi=0.5)
    given = [
        verifier.input_set(net, {"a": a, "b": b}, eps={"a": 0.25, "b": 0.5}, norm={"a": 2, "b": 1}, hi={"b": 0.5}),
        verifier.input_set(path, {"a": verifier.Ball(a, 0.25, 2), "b": ball, "mask": MASK}),
    ]
    for s in given:
        assert [(p.norm, p.eps, list(at)) for at, p in s.balls()] == [(2, 0.25, [0, 1]), (1, 0.5, [2, 3, 4])]
        assert list(s.box().upper[2:]) == pytest.approx([0.5, 0.5, 0.1])
    d = RNG.normal(size=(4000, 5))
    d[:, :2] *= 0.25 / np.linalg.norm(d[:, :2], axis=1, keepdims=True)
    d[:, 2:] *= 0.5 / abs(d[:, 2:]).sum(1, keepdims=True)
    x = np.minimum(np.concatenate([a, b]) + d, [9, 9, 0.5, 0.5, 0.5])
    y = np.concatenate(f(x), 1)
    for method in ("crown", "alpha-crown"):
        low, up = verifier.bound(net, given[0], method)
        assert (low <= y.min(0) + 1e-6).all() and (y.max(0) <= up + 1e-6).all()
        by_name = verifier.bound(path, {"a": verifier.Ball(a, 0.25, 2), "b": ball, "mask": MASK}, method)
        assert np.array_equal(by_name, (low, up))
    box = verifier.bound(net, given[0].box())
    assert (up - low)[:3].sum() < 0.95 * (box[1] - box[0])[:3].sum()
    low, up = verifier.find_range(net, given[0], output="y[0]", timeout=1)
    assert low <= y[:, 0].min() and y[:, 0].max() <= up and up - low < 0.95 * (box[1] - box[0])[0]
    met = y[:, 0].max() - 0.01
    found = verifier.verify(verifier.output_range(net, given[0], output="y[0]", upper=float(met)), timeout=20)
    point = found.witness.flat
    assert found.verdict == "sat" and f(point[None])[0][0, 0] > met - 1e-5
    assert np.linalg.norm(point[:2] - a) <= 0.25 and abs(point[2:] - b).sum() <= 0.5 and point[2:].max() <= 0.5
    part = verifier.input_set(net, {"a": verifier.Ball(a, 0.25, 2), "b": (0, 1)})
    assert [list(at) for at, _ in part.balls()] == [[0, 1]] and list(part.box().lower[2:]) == [0, 0, 0]
    mixed = verifier.input_set(net, {"a": verifier.Ball(a, 0.25, 2), "b": b}, eps=0.5, norm=float("inf"))
    assert list(mixed.box().upper[2:]) == pytest.approx(b + 0.5) and len(mixed.parts()) == 2
    with pytest.raises(verifier.UserError, match="give a Box, or a Ball of the maximum norm"):
        verifier.verify(verifier.equivalent(net, net, given[0], 0.1))


@pytest.mark.parametrize("norm", [2, 1])
def test_robust_in_a_product(path: Path, norm: float) -> None:
    a, b = np.array([0.3, -0.2]), np.array([0.5, 0.125, -0.4])
    z = f(np.concatenate([a, b])[None])[1][0]
    for eps, verdict in ((1e-3, "unsat"), (3.0, "sat")):
        x = {"a": verifier.Ball(a, eps, norm), "b": verifier.Ball(b, eps), "mask": MASK}
        found = verifier.verify(verifier.robust(path, x, output="z", label=int(z.argmax())), timeout=20)
        assert found.verdict == verdict
    point = found.witness.flat
    assert np.linalg.norm(point[:2] - a, norm) <= 3 and abs(point[2:] - b).max() <= 3
    other = f(point[None])[1][0]
    assert other[z.argmax()] <= np.delete(other, z.argmax()).max() + 1e-6
