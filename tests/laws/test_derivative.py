"""The derivative of a network as a network: it is the Jacobian, and whatever is claimed of it on a box holds there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.graph.derivative import jacobian, jvp
from verifier.graph.from_torch import load_torch
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.adjoint import Constant
from verifier.graph.ops.affine import Add, Dense
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Reshape
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.runner import simplify
from verifier.run.bound import METHODS, bound
from verifier.values.arrays import Place
from verifier.values.box import Box

from . import cases, folded_cases
from .cases import GRAPHS, HOST, PLACES, Net, layer, points, sparse_layers
from .derivative_cases import MODULES, SMOOTH, autograd, next_to_kinks, of_graph
from .general_cases import ELEMENTWISE, SHAPES, fine_values, name_of, shaped
from .general_nets import network
from .test_general import BOXES, check_rows, check_walk, domains, made

SHARED = Path(__file__).parents[3] / "shared" / "lipschitz"
NAMES = list(SHAPES)
swept = pytest.mark.parametrize("k", SMOOTH, ids=lambda k: name_of(ELEMENTWISE[k]))


def close(got: np.ndarray, wanted: np.ndarray, tol: float = 1e-9) -> None:
    assert got.shape == wanted.shape
    assert (abs(got - wanted) <= tol * (1 + abs(wanted).max(initial=0))).all(), abs(got - wanted).max()


def is_the_jacobian(rng: np.random.Generator, graph: Graph, x: np.ndarray, J: np.ndarray) -> None:
    """All rows, some combined, and directions; against J `[P, m, n]` at points `[P, *shape]`."""
    P, m, n = J.shape
    whole = jacobian(graph)
    assert whole.nodes[whole.outputs[0]].shape == (m, n)
    close(whole.evaluate(x)[0], J)
    rows, ways = rng.normal(size=(3, m)), rng.normal(size=(3, n))
    close(jacobian(graph, rows).evaluate(x)[0], rows @ J)
    moved = jvp(graph, ways)
    assert moved.nodes[moved.outputs[0]].shape == (3, m)
    close(moved.evaluate(x)[0], np.swapaxes(J @ ways.T, 1, 2))
    h, way = 1e-6, ways[0].reshape(x.shape[1:]) / abs(ways[0]).max()
    central = (graph.evaluate(x + h * way)[0] - graph.evaluate(x - h * way)[0]).reshape(P, m) / (2 * h)
    off = abs(central - J @ way.reshape(-1))
    rough = np.sort(off / (1 + abs(J).max((1, 2))[:, None]), 0)  # a kink may lie between
    assert (rough[: P - 1] <= 1e-5).all()


@pytest.mark.parametrize("name", MODULES)
def test_torch_agrees(name: str) -> None:
    """Of modules, as torch differentiates them: nothing of ours but the import is between."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    make, shape = MODULES[name]
    module = make().double().eval()
    graph = simplify(load_torch(module, torch.randn(1, *shape).double()).graph.cast(HOST.array))
    x = rng.normal(size=(4, *shape))
    is_the_jacobian(rng, graph, x, autograd(module, x))


@swept
def test_every_operator_in_compositions(k: int) -> None:
    rng = np.random.default_rng(k)
    for shape in (NAMES[k % len(NAMES)], NAMES[(k + 3) % len(NAMES)]):
        if shape == "gated":  # it holds differences
            shape = "attention"
        graph = shaped(shape, ELEMENTWISE[k], 0)
        x = 0.7 * rng.normal(size=(4, *graph.nodes[graph.inputs[0]].shape))
        is_the_jacobian(rng, graph, x, of_graph(graph, x))


@pytest.mark.parametrize("name", GRAPHS)
def test_rectifiers(name: str) -> None:
    rng = np.random.default_rng(1)
    graph = GRAPHS[name](rng)
    x = rng.normal(size=(4, *graph.nodes[graph.inputs[0]].shape))
    J = of_graph(graph, x)
    is_the_jacobian(rng, graph, x, J)
    if name in ("thinned", "residual"):
        is_the_jacobian(rng, sparse_layers(graph), x, J)


# ---- bounds ----


def setting(graph: Graph, seed: int, kind: str, jumps: bool = True) -> Any:
    """As `test_general.setting`, of a derivative: boxes of an input, points in them, some next to kinks, and values."""
    rng = np.random.default_rng(seed)
    lower, upper = domains(rng, kind, graph.nodes[graph.inputs[0]].size)
    with np.errstate(all="ignore"):
        x = points(rng, lower, upper, 6)
        near = [next_to_kinks(rng, graph, l, u, 8) for l, u in zip(lower, upper, strict=True)]
        x = np.concatenate([x, np.stack([np.resize(p, (8, x.shape[2])) if len(p) else x[i, :1].repeat(8, 0)
                                         for i, p in enumerate(near)])], 1)  # fmt: skip
        symbols = np.flatnonzero((lower < upper).any(0))
        hull = boxes(lower.min(0)[None], upper.max(0)[None], symbols, "float64")
        sure = propagate(prepare(graph, HOST), hull, None, set(), {}, 10**6).interval
        size = magnitudes(graph, lower.min(0), upper.max(0), sure)
        return graph, lower, upper, symbols, size, x, *fine_values(graph, x)


def check(place: Place, graph: Graph, seed: int, kind: str, interval: bool = False) -> None:
    """Intervals, forms, planes of the backward walk and rows enclose the derivative."""
    given = setting(graph, seed, kind)
    x, value, off = given[5:]
    with np.errstate(all="ignore"):
        r = made(place, given, interval)
        bounds = r.walk({}, known=False)
        met = check_walk(r, bounds, x, value, off) + check_rows(r, bounds, x, value, off)
    assert met, "all bounds are infinite"


KINDS = list(BOXES)


@swept
def test_bounds_enclose(k: int) -> None:
    """Every operator's derivative, on one kind of box, at one place, forward and in reverse."""
    op = ELEMENTWISE[k]
    graph = shaped(NAMES[k % 3], op, 1)
    n, m = graph.nodes[graph.inputs[0]].size, graph.nodes[graph.outputs[0]].size
    rng = np.random.default_rng(k)
    J = jacobian(graph, rng.normal(size=(2, m))) if k % 2 else jvp(graph, rng.normal(size=(2, n)))
    check(PLACES[k % 4], J, k, KINDS[k % len(KINDS)], k % 5 == 3)
    check(PLACES[(k + 2) % 4], jacobian(shaped("residual", op, 2)), k, KINDS[(k + 2) % len(KINDS)])


@pytest.mark.parametrize("kind", BOXES)
@pytest.mark.parametrize("name", ["mirrored", "conv", "residual", "moves", "sources", "pooled"])
def test_bounds_of_rectifiers_enclose(name: str, kind: str) -> None:
    """(`sources` feeds rectifiers to rectifiers.)"""
    seed = KINDS.index(kind)
    graph = GRAPHS[name](np.random.default_rng(seed))
    check(PLACES[(seed + len(name)) % 4], jacobian(graph), seed, kind, seed == 3)


@cache
def folded(seed: int) -> folded_cases.Case:
    """Of a random network's Jacobian."""
    rng = np.random.default_rng(seed + 300)
    graph, lower, upper = network(rng, jumps=False)
    return folded_cases.case(rng, jacobian(graph, rng.normal(size=(2, 2))), lower, upper, HOST, 150)


folds = pytest.mark.parametrize("seed", range(6))


@folds
def test_folded(seed: int) -> None:
    c, rng = folded(seed), np.random.default_rng(seed)
    folded_cases.is_the_network(c)
    folded_cases.holds_whatever_is_chosen(c, rng, 8)
    folded_cases.gradients(c, rng)


@folds
def test_folded_and_climbed(seed: int) -> None:
    folded_cases.climbs(folded(seed))


@folds
def test_folded_and_split(seed: int) -> None:
    folded_cases.splits_cover(folded(seed))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["chain", "leaky", "conv", "residual", "pooled"])
def test_what_a_user_gets_encloses(name: str, dtype: str) -> None:
    """Every method's bounds, against torch's Jacobian at corners, inside, and on both sides of kinks; CROWN's are the
    tighter."""
    rng = np.random.default_rng(len(name))
    graph = GRAPHS[name](rng)
    J = jacobian(graph)
    n = graph.nodes[graph.inputs[0]].size
    lower = (0.4 * rng.normal(size=n) - 0.3).astype(np.float32).astype(float)
    upper = (lower + 0.6 * rng.random(n)).astype(np.float32).astype(float)
    x = np.concatenate([points(rng, lower[None], upper[None], 30)[0], next_to_kinks(rng, J, lower, upper, 60)])
    truth = of_graph(graph, x.reshape(len(x), *graph.nodes[graph.inputs[0]].shape)).reshape(len(x), -1)
    widths = {}
    for method in METHODS:
        low, up = bound(Net(J), Box(lower, upper), method, dtype=dtype)
        slack = 1e-12 * (1 + abs(truth).max())
        assert (truth >= low - slack).all() and (truth <= up + slack).all(), method
        widths[method] = (up - low).sum()
    assert widths["alpha-crown"] <= widths["crown"] * 1.001 + 1e-3
    assert widths["crown"] <= widths["interval"] * 1.001 + 1e-3
    assert len(np.unique(np.round(truth, 9), axis=0)) > 3, "no kinks were met"


def test_a_known_range() -> None:
    """|x| has slope ±1 about zero, 1 above; what is decided is exact; a part's sign decides."""
    b = Builder()
    source = b.add(Input((1,)))
    J = jacobian(b.graph([source], [b.add(Relu(-1.0), [source])]))
    for low, up, least, most in ((-1.0, 2.0, -1.0, 1.0), (0.5, 2.0, 1.0, 1.0), (-2.0, -0.5, -1.0, -1.0)):
        for method in METHODS:
            got = bound(Net(J), Box([low], [up]), method)
            np.testing.assert_allclose(np.ravel(got), [least, most], atol=1e-12)
    net, box = prepare(J, HOST), boxes(np.array([[-1.0]]), np.array([[2.0]]), np.array([0]), "float64")
    (gate,) = (i for i, node in enumerate(J.nodes) if isinstance(node.op, Gate))
    for sign in (1, -1):
        parts = {j: np.full((1, *J.nodes[j].shape), sign if j == 0 else 0, np.int8) for j in net.sources}
        found = propagate(net, box, parts, set(), {}, 100)
        np.testing.assert_allclose(np.ravel(found.image[gate]), [sign, sign], atol=1e-12)


def test_what_is_not_decided_alone_is_bounded() -> None:
    """Values that only decided gates pass on need no rows of their own; of gates, only the sign of z counts."""
    rng = np.random.default_rng(3)
    graph = cases.chain(rng, (3, 8, 8, 8, 2))
    J = jacobian(graph, np.ones((1, 2)))
    net = prepare(J, HOST)
    assert [type(J.nodes[j].op) for j in net.passed] == [Dense, Dense]
    assert all(j in net.by_sign for j in net.sources if j not in net.passed and not isinstance(J.nodes[j].op, Constant))
    lower = 0.3 * rng.normal(size=(1, 3))
    box = boxes(lower, lower + 0.3, np.arange(0), "float64")
    exact = propagate(net, box, None, set(), {}, 100)
    everything = prepare(J, HOST)
    object.__setattr__(everything, "passed", {})
    full = propagate(everything, box, None, set(), {}, 100)
    narrower = 0
    for j, gates in net.passed.items():
        for i in gates:
            z = exact.interval[J.nodes[J.nodes[i].inputs[0]].inputs[1]]
            open_ = ((z[0] < 0) & (z[1] > 0)).reshape(exact.interval[j][0].shape)
            for a, c in zip(exact.interval[j], full.interval[j], strict=True):
                assert np.allclose(a[open_], c[open_], rtol=1e-9, atol=1e-12)
                narrower += int((abs(a - c) > 1e-6)[~open_].sum())
    assert narrower > 0


def by_hand(twice: bool) -> Graph:
    """A value that one gate passes on by a sign that depends on another gate of it, or that a curve reads as well."""
    rng = np.random.default_rng(5)
    b = Builder()
    source = b.add(Input((3,)))
    v, z = (b.add(layer(rng, 4, 3), [source]) for _ in "vz")

    def gate(z: int) -> int:
        return b.add(Gate(), [b.add(Concat(1), [b.add(Reshape((4, 1)), [j]) for j in (v, z)])])

    y = gate(z)
    last = gate(b.add(layer(rng, 4, 4), [y])) if twice else b.add(Curve("tanh"), [v])
    return b.graph([source], [b.add(layer(rng, 2, 4), [b.add(Add((1, 1)), [y, last])])])


def test_values_that_others_read_are_bounded() -> None:
    """What gates pass on is bounded whatever they decide, where its sign comes later, or a curve reads it."""
    for twice in (True, False):
        graph = by_hand(twice)
        net = prepare(graph, HOST)
        assert not net.passed and len(net.quiet) == 1 + twice
        for kind in KINDS:
            check(HOST, graph, 7, kind, interval=True)


def test_a_gate_on_what_may_have_no_value() -> None:
    """A comparison makes a number of none: behind the last logarithm that may not exist nothing is known."""
    b = Builder()
    source = b.add(Input((2,)))
    y = b.add(Relu(), [b.add(Curve("log"), [source])])
    J = jacobian(b.graph([source], [b.add(Dense(np.ones((1, 2))), [y])]))
    net = prepare(J, HOST)
    assert [J.nodes[i].op for i in net.fragile] == [Curve("log")]
    with np.errstate(all="ignore"):
        low, up = bound(Net(J), Box([-1.0, 0.5], [1.0, 0.9]))
    assert low[0] == -np.inf and up[0] == np.inf


@pytest.mark.parametrize("forward", [False, True])
def test_magnitudes_of_merged_layers_widen_nothing(forward: bool) -> None:
    """A convolution that records large magnitudes costs rounding, not width."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(2, 1, 2, 2))
    shape: Any = ((1, 1), ((0, 0), (0, 0)), (1, 1))
    widths = []
    for large in (None, Conv(abs(W) * 1e4, None, *shape)):
        b = Builder()
        source = b.add(Input((1, 4, 4)))
        op = Conv(W, rng.normal(size=2) * 0, *shape, magnitude=large)
        y = b.add(Relu(), [b.add(op, [b.add(Relu(0.1), [source])])])
        graph = b.graph([source], [b.add(Dense(np.ones((1, 18))), [b.add(Reshape((18,)), [y])])])
        J = jvp(graph, np.eye(16)[:2]) if forward else jacobian(graph)
        low, up = bound(Net(J), Box([-1.0] * 16, [1.0] * 16), "interval")
        widths.append((up - low).sum())
    assert widths[1] <= widths[0] * (1 + 1e-6)


# ---- against auto_LiRPA ----


def reference(name: str) -> tuple[Graph, np.ndarray, Any]:
    weights = {k: v.astype(float) for k, v in np.load(SHARED / f"{name}.npz").items()}
    op = Curve("tanh") if name.startswith("tanh") else Curve("sigmoid") if name.startswith("sigmoid") else Relu()
    b, x0 = Builder(), weights["x0"]
    source = x = b.add(Input(tuple(x0.shape[1:] if x0.shape[0] == 1 else x0.shape)))
    for i, k in enumerate(sorted({int(k.split(".")[0]) for k in weights if k != "x0"})):
        W, c = weights[f"{k}.weight"], weights[f"{k}.bias"]
        x = x if i == 0 else b.add(op, [x])
        if W.ndim == 4:
            x = b.add(Conv(W, c, (1, 1), ((0, 0), (0, 0)), (1, 1)), [x])
        else:
            x = x if len(b.nodes[x].shape) == 1 else b.add(Reshape((b.nodes[x].size,)), [x])
            x = b.add(Dense(W, c), [x])
    return b.graph([source], [x]), x0.reshape(-1), np.load(SHARED / f"{name}_bounds.npz")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
@pytest.mark.parametrize(
    "name", ["fc_2_16_16_2", "fc_10_50_50_10", "conv_1x8x8", "tanh_2_16_16_2", "sigmoid_10_50_50_10"]
)
def test_no_looser_than_the_reference(name: str) -> None:
    """Entry by entry, up to rounding.  Of curves one walk is looser here and there, for products have several planes
    that none of which is best; then it is the sum of widths that is smaller, and climbing makes all of them so."""
    graph, x0, known = reference(name)
    J = jacobian(graph)
    smooth = not name.startswith(("fc", "conv"))
    radii = sorted({k.split("eps")[1] for k in known.files})
    for eps in radii:
        box = Box(x0 - float(eps), x0 + float(eps))
        methods = [("interval", "ibp"), ("crown", "crown")]
        if smooth and eps == radii[-1]:
            methods.append(("alpha-crown", "alpha_crown"))
        for method, theirs in methods:
            low, up = bound(Net(J), box, method)
            lb, ub = (known[f"{theirs}_jac_{side}_eps{eps}"].reshape(-1) for side in ("lb", "ub"))
            size = abs(np.stack([lb, ub])).max()
            slack = 1e-6 * (ub - lb) + 1e-9 * size
            if smooth and method != "interval":
                assert (up - low).sum() <= (ub - lb).sum()
                slack = (1e-2 if method == "crown" else 1e-4) * size
            assert (low >= lb - slack).all() and (up <= ub + slack).all(), (eps, method)
