"""Products of norms: textbook values on chains, sound on everything else, infinite where nothing is known."""

from __future__ import annotations

from math import inf, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.graph.graph import Builder, Graph, Input, Operator
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import KINDS, Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.pool import MaxOf, max_pool_windows
from verifier.graph.ops.product import Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.graph.passes.runner import simplify
from verifier.sensitivity.baselines.products import product_of_norms, slope_range

SHARED = Path(__file__).parents[4] / "shared" / "lipschitz"
NORMS = (1, 2, inf)
BOUNDED = ["sigmoid", "tanh", "atan", "erf", "softsign", "softplus", "gelu", "gelu_tanh", "silu", "mish"]
BOUNDED += ["asinh", "hard_swish", "sin", "cos"]
seeds = st.integers(0, 2**32 - 1)


def chained(size: tuple[int, ...], *ops: Operator) -> Graph:
    b = Builder()
    x = at = b.add(Input(size))
    for op in ops:
        at = b.add(op, [at])
    return b.graph([x], [at])


def stretched(graph: Graph, p: float, rng: np.random.Generator, wide: float = 3.0) -> float:
    """The largest `‖f(x) − f(x')‖ / ‖x − x'‖` that was found, over near and far pairs."""
    (i,) = graph.inputs
    shape = graph.nodes[i].shape
    x = wide * rng.standard_normal((400, *shape))
    d = rng.standard_normal(x.shape) * 10.0 ** rng.integers(-4, 1, (400, *[1] * len(shape)))
    d[::2] = np.sign(d[::2]) * abs(d[::2]).max()
    one = rng.integers(0, d[0].size, 400)
    d.reshape(400, -1)[::3] *= (np.arange(d[0].size) == one[::3, None]) + 0.0
    moved_x = x + d
    d = moved_x - x
    with np.errstate(all="ignore"):
        there, here = graph.values(moved_x), graph.values(x)
    rounded = 1e-14 * max(abs(v).max() for v in here)  # what it may take to be moved
    parts = [(there[i] - here[i]).reshape(400, -1) for i in graph.outputs]
    moved = np.linalg.norm(np.concatenate(parts, 1), p, 1) - rounded * sum(a[0].size for a in parts)
    return float((moved / np.linalg.norm(d.reshape(400, -1), p, 1)).max()) * (1 - 1e-9)


# -- the textbook -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", NORMS)
def test_dense_chain(p: float) -> None:
    rng = np.random.default_rng(0)
    Ws = [rng.standard_normal(s) for s in ((5, 3), (4, 5), (2, 4))]
    g = chained((3,), Dense(Ws[0], np.ones(5)), Relu(), Dense(Ws[1]), Curve("sigmoid"), Dense(Ws[2]))
    true = np.prod([np.linalg.norm(W, p) for W in Ws]) * 0.25
    assert true * (1 - 1e-15) <= product_of_norms(g, p) <= true * (1 + 1e-12)


def read(name: str) -> tuple[Graph, np.ndarray]:
    """A case's network as a graph, and its x0."""
    data = np.load(SHARED / f"{name}.npz")
    layers = sorted({k.split(".")[0] for k in data.files if k != "x0"}, key=int)
    x0 = data["x0"].astype(np.float64)[0]
    b = Builder()
    x = at = b.add(Input(x0.shape))
    for k in layers:
        W, bias = (data[f"{k}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        if W.ndim == 4:
            at = b.add(Conv(W, bias, (1, 1), ((0, 0), (0, 0)), (1, 1)), [at])
        else:
            if len(b.nodes[at].shape) > 1:
                at = b.add(Reshape((b.nodes[at].size,)), [at])
            at = b.add(Dense(W, bias), [at])
        if k != layers[-1]:
            at = b.add(Relu(), [at])
    return b.graph([x], [at]), x0


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
@pytest.mark.parametrize("name,value", [("fc_2_16_16_2", 7.5558), ("fc_10_50_50_10", 41.338), ("conv_1x8x8", 28.486)])
def test_reference(name: str, value: float) -> None:
    graph = read(name)[0]
    assert product_of_norms(graph, inf) == pytest.approx(value, rel=2e-5)
    assert product_of_norms(simplify(graph), inf) == pytest.approx(value, rel=2e-5)


# -- slopes -----------------------------------------------------------------------------------------------------------

ELEMENTWISE = [Relu(), Relu(0.1), Relu(-2.0), Relu(3.0), *(Curve(kind) for kind in BOUNDED)]
ELEMENTWISE += [Curve("elu", (1.67, 1.0, 1.05)), Curve("elu", (0.5, 0.5, 1.0)), Curve("elu", (0.0, 1.0, 1.0))]
ELEMENTWISE += [Curve("elu", (-1.0, 2.0, -1.0)), Curve("power", (1.0,))]


@pytest.mark.parametrize("f", ELEMENTWISE, ids=str)
def test_slopes_everywhere(f: Relu | Curve) -> None:
    z = np.concatenate([np.linspace(-20, 20, 400_001), [-1e4, 1e4]])
    slopes = f.slope(z)
    a, b = (float(v) for v in slope_range(f, -inf, inf))
    assert a <= slopes.min() and slopes.max() <= b
    assert slopes.min() - a <= 1e-3 and b - slopes.max() <= 1e-3  # limits are approached
    if f not in (Curve("softsign"), Curve("atan"), Curve("asinh"), Curve("hard_swish")):
        assert slopes.min() - a <= 1e-7 and b - slopes.max() <= 1e-7


@pytest.mark.parametrize("f", ELEMENTWISE, ids=str)
def test_slopes_between(f: Relu | Curve) -> None:
    """Neither chords nor slopes leave the range on any interval, and it is tight where the curve is monotone."""
    rng = np.random.default_rng(0)
    lower = np.concatenate([4 * rng.standard_normal(300), rng.choice([-3.0, 0.0, 3.0], 100)])
    upper = lower + 10.0 ** rng.uniform(-6, 1, 400)
    upper[300:350] = lower[300:350]
    lower[350:] -= 2 * (upper - lower)[350:]
    a, b = slope_range(f, lower, upper)
    z = lower + np.linspace(0, 1, 301)[:, None] * (upper - lower)
    z[-1] = upper
    slopes = f.slope(np.clip(z, np.nextafter(lower, upper), np.nextafter(upper, lower)))
    assert (a <= slopes + 1e-16).all() and (slopes <= b + 1e-16).all()
    if isinstance(f, Curve) and f.kind not in ("sin", "cos"):
        inside = upper > lower
        assert (slopes.min(0) - a <= 0.05 * (upper - lower) + 1e-14)[inside].all()
        assert (b - slopes.max(0) <= 0.05 * (upper - lower) + 1e-14)[inside].all()
    wide = upper - lower > 1e-3
    u, l = z[1:, wide], z[:-1, wide]
    chord = (f.evaluate(u) - f.evaluate(l)) / (u - l)
    assert (a[wide] <= chord + 1e-8).all() and (chord <= b[wide] + 1e-8).all()


def test_decided_rectifiers() -> None:
    lower, upper = np.array([0.0, 0.5, -2.0, -2.0, -1.0, 0.0]), np.array([1.0, 0.7, -1.0, 0.0, 1.0, 0.0])
    a, b = slope_range(Relu(0.25), lower, upper)
    assert a.tolist()[:5] == [1, 1, 0.25, 0.25, 0.25]
    assert b.tolist()[:5] == [1, 1, 0.25, 0.25, 1]


@pytest.mark.parametrize("f", [Curve(k) for k in ("sigmoid", "gelu_tanh", "mish", "atan", "hard_swish")], ids=str)
def test_far_out(f: Curve) -> None:
    """Where formulas of derivatives overflow."""
    for z in (-1e300, -1e9, 1e9, 1e300, -inf, inf):
        a, b = (float(v) for v in slope_range(f, np.float64(z), np.float64(z)))
        assert np.isfinite([a, b]).all() and a <= b


UNBOUNDED = [Curve(k) for k in ("exp", "log", "square", "tan", "asin", "acosh", "atanh", "sinh", "cosh")]
UNBOUNDED += [Curve("power", (p,)) for p in (0.5, 2.0, -1.0)]
UNBOUNDED += [Curve("elu", (1.0, -1.0, 1.0))]
JUMPS = [Step(k) for k in ("sign", "floor", "round", "positive", "zero", "threshold")]


@pytest.mark.parametrize("f", [*UNBOUNDED, *JUMPS], ids=str)
@pytest.mark.parametrize("p", NORMS)
def test_unbounded(f: Operator, p: float) -> None:
    assert product_of_norms(chained((3,), f), p) == inf
    assert product_of_norms(chained((3,), Dense(np.zeros((3, 3))), f, Dense(np.zeros((2, 3)))), p) == inf


def test_kinds_of_curves() -> None:
    """What is not listed has no bound: derivatives, which only graphs of derivatives have."""
    others = set(KINDS) - {*BOUNDED, "elu"} - {f.kind for f in UNBOUNDED}
    assert all(kind.endswith("_slope") for kind in others)


@pytest.mark.parametrize("p", NORMS)
def test_others_are_unbounded(p: float) -> None:
    for op, size in ((Product(), (3, 2)), (Dot(), (3, 4)), (Gate(), (3, 2))):
        assert product_of_norms(chained(size, op), p) == inf


# -- operators of several inputs or outputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("p", NORMS)
def test_softmax(p: float) -> None:
    g = chained((2, 5), Share())
    assert 0.5 <= product_of_norms(g, p) <= 0.5 * (1 + 1e-14)
    assert stretched(g, p, np.random.default_rng(0), 1.0) <= 0.5
    x = np.array([[[0.0, 0.0, -40, -40, -40]] * 2])
    d = 1e-4 * np.array([1.0, -1.0, 0, 0, 0])
    moved = np.linalg.norm((g.evaluate(x + d)[0] - g.evaluate(x)[0])[0, 0], p) / np.linalg.norm(d, p)
    assert moved >= 0.4999  # nothing less is a bound


@pytest.mark.parametrize("p,apart,over", [(1, 1, 4), (2, 1, 2), (inf, 1, 1)])
def test_max_pool(p: float, apart: float, over: float) -> None:
    for stride, value in ((2, apart), (1, over)):
        windows, size = max_pool_windows((1, 4, 4), (2, 2), (stride,) * 2, ((0, 0),) * 2, (1, 1))
        g = chained((1, 4, 4), MaxOf(windows, size))
        assert value <= product_of_norms(g, p) <= value * (1 + 1e-13)
        assert stretched(g, p, np.random.default_rng(0)) <= value


def test_padded_windows_count_once() -> None:
    g = chained((3,), MaxOf(np.array([[0, 0], [1, 2]]), (2,)))
    assert product_of_norms(g, 1) <= 1 + 1e-13


@pytest.mark.parametrize("p,joined", [(1, 2.0), (2, sqrt(2)), (inf, 1.0)])
def test_several_readers(p: float, joined: float) -> None:
    b = Builder()
    x = b.add(Input((3,)))
    r = b.add(Relu(), [x])
    total, both = b.add(Add((1, 1)), [x, r]), b.add(Concat(0), [x, r])
    for out, value in ((total, 2.0), (both, joined)):
        s = product_of_norms(b.graph([x], [out]), p)
        assert value <= s <= value * (1 + 1e-13)
    s = product_of_norms(b.graph([x], [x, r]), p)
    assert joined <= s <= joined * (1 + 1e-13)


def test_unlike_inputs_of_a_sum_are_not_taken_for_alike() -> None:
    """The larger constant of two parts does not stand before the norm of the other."""
    b = Builder()
    x = b.add(Input((2,)))
    big, small = b.add(Scale(np.array(100.0)), [x]), b.add(Scale(np.array(0.01)), [x])
    g = b.graph([x], [b.add(Add((1, 1)), [big, small])])
    for p in NORMS:
        assert 100.01 <= product_of_norms(g, p) * (1 + 1e-14) <= 100.01 * (1 + 1e-13)


@pytest.mark.parametrize("p", NORMS)
def test_merged_weights_may_be_off(p: float) -> None:
    size = 1e12
    g = chained((2,), Dense(np.eye(2), None, Dense(np.full((2, 2), size))))
    assert 1 + size * 2.0**-53 <= product_of_norms(g, p) <= 1.1


@given(seeds)
@settings(max_examples=60)
def test_random_graphs(seed: int) -> None:
    """Whatever is built of these operators never stretches more than it is said to."""
    rng = np.random.default_rng(seed)
    b = Builder()
    at = [b.add(Input((2, 4)))]
    for _ in range(rng.integers(1, 8)):
        x = at[-1] if rng.random() < 0.7 else at[rng.integers(len(at))]
        s, kind = b.nodes[x].shape, rng.integers(8)
        other = [j for j in at if b.nodes[j].shape == s]
        pick = other[rng.integers(len(other))]
        if kind == 0:
            new = b.add(Dense(rng.standard_normal((rng.integers(1, 5), s[-1])), np.ones(1)), [x])
        elif kind == 1:
            new = b.add(ELEMENTWISE[rng.integers(len(ELEMENTWISE))], [x])
        elif kind == 2:
            new = b.add(Add((1, -1)), [x, pick])
        elif kind == 3 and b.nodes[x].size < 30:
            new = b.add(Concat(int(rng.integers(len(s)))), [x, pick])
        elif kind == 4:
            new = b.add(Share(), [x])
        elif kind == 5:
            new = b.add(Take(rng.integers(-1, b.nodes[x].size, 6), (2, 3)), [x])
        elif kind == 6:
            new = b.add(MaxOf(rng.integers(0, b.nodes[x].size, (6, 2)), (2, 3)), [x])
        else:
            new = b.add(Sum((0,), True), [x])
        at.append(new)
    g = b.graph([at[0]], [at[-1], *([at[-2]] if rng.random() < 0.3 else [])])
    for p in NORMS:
        assert stretched(g, p, rng) <= product_of_norms(g, p)


def test_torch_parameters() -> None:
    torch = pytest.importorskip("torch")
    g = chained((2,), Dense(torch.tensor([[1.0, -2.0]])))
    assert product_of_norms(g, inf) == pytest.approx(3)


@pytest.mark.parametrize("p", [3, 0, "inf"])
def test_other_norms_are_refused(p: object) -> None:
    with pytest.raises(ValueError, match="norm"):
        product_of_norms(chained((2,)), p)  # type: ignore[arg-type]
