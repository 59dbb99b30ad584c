"""What kernels of float32 may be off by before a code: more than arithmetic in float32 is, on any way there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from verifier.bounds.inside import settled
from verifier.bounds.kernels import known_off
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape
from verifier.graph.ops.near import Near
from verifier.graph.ops.product import Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import near
from verifier.values.arrays import Place

N = 24
RNG = np.random.default_rng(0)
Way = Callable[[Builder, int], int]


def dense(b: Builder, x: int, m: int = N) -> int:
    n = b.nodes[x].shape[-1]
    return b.add(Dense(RNG.normal(size=(m, n)) * 3, RNG.normal(size=m)), (x,))


def product(b: Builder, x: int) -> int:
    parts = [b.add(Reshape((N, 1)), (k,)) for k in (dense(b, x), dense(b, x))]
    return b.add(Product(), (b.add(Concat(1), parts),))


def normalised(b: Builder, x: int) -> int:
    """Divided by its own length."""
    h = dense(b, x)
    total = b.add(Sum((0,)), (b.add(Curve("square"), (h,)),))
    inverse = b.add(Curve("power", (-0.5,)), (b.add(Scale(None, np.array(1e-2)), (total,)),))
    both = [b.add(Reshape((N, 1)), (k,)) for k in (h, b.add(Dense(np.ones((N, 1)), None), (inverse,)))]
    return b.add(Product(), (b.add(Concat(1), both),))


WAYS: dict[str, Way] = {
    "dense": dense,
    "two": lambda b, x: dense(b, b.add(Relu(0.1), (dense(b, x),))),
    "sum": lambda b, x: b.add(Add((1, -1)), (dense(b, x), x)),
    "product": product,
    "normalised": normalised,
    "threshold": lambda b, x: b.add(Step("threshold", -50.0), (dense(b, x),)),
    "share": lambda b, x: b.add(Share(), (b.add(Scale(np.array(0.1)), (dense(b, x),)),)),
    **{k: lambda b, x, k=k: b.add(Curve(k), (dense(b, x),)) for k in ("sigmoid", "tanh", "gelu", "silu", "sin")},  # type: ignore[misc]
    "elu": lambda b, x: b.add(Curve("elu", (1.0, 1.0, 1.0)), (dense(b, x),)),
    "exp": lambda b, x: b.add(Curve("exp"), (b.add(Scale(np.array(0.01)), (dense(b, x),)),)),
}


def made(way: Way) -> Graph:
    """Codes of the input, a way, and what comes of it on the way to another code."""
    b = Builder()
    x = b.add(Input((N,)))
    q = b.add(Step("round", 0.0, -128.0, 127.0), (b.add(Scale(np.array(100.0)), (x,)),))
    y = way(b, b.add(Scale(np.array(0.013)), (q,)))
    return b.graph([x], [b.add(Near(4 * N, 128.0), (b.add(Scale(np.array(7.3)), (y,)),))])


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("width", [0.0, 0.05, np.inf])
def test_arithmetic_in_float32_stays_within(name: str, width: float) -> None:
    graph = made(WAYS[name])
    center = RNG.uniform(-1, 1, N)
    lower, upper = center - width, center + width
    found = known_off(graph, lower, upper, None) if width == np.inf else settled(graph, lower, upper)
    made_ = found.nodes[found.outputs[0]].op
    assert isinstance(made_, Near) and made_.off is not None
    reach = min(width, 2.0)
    x = RNG.uniform(center - reach, center + reach, (200, N))
    fine = graph.evaluate(x)[0]
    q = [graph.nodes[i].op.evaluate(v) for i, v in ((2, np.round(x * 100)),)][0]
    coarse = [*graph.cast(Place("numpy", "float32").array).nodes]
    values = {2: q.astype(np.float32)}
    for i, node in enumerate(coarse):
        if i > 2:
            values[i] = node.op.evaluate(*(values[j] for j in node.inputs))
    apart = abs(values[len(coarse) - 1].astype(float) - fine).reshape(200, -1)
    assert (apart <= made_.off.reshape(-1)).all()
    if width == 0.05:
        assert apart.max() > 0 and (name == "normalised" or made_.off.max() < 1e-2 * (1 + abs(fine).max()))


def test_nothing_is_known_of_what_is_not_settled() -> None:
    graph = made(dense)
    made_ = graph.nodes[graph.outputs[0]].op
    assert isinstance(made_, Near) and made_.off is None
    assert settled(made(dense), np.zeros(N), np.ones(N)) is not graph


def test_lines_hold_what_is_as_far_off_as_can_be() -> None:
    off = RNG.random(N)
    lower = RNG.normal(size=(3, N))
    upper = lower + RNG.random((3, N))
    op = Near(1, 1.0, off)
    found, (low, high) = near.lines(op, lower, upper), near.image(op, lower, upper)
    assert found.t_l is not None
    for z in (lower, upper):
        assert (found.s_l * z + found.t_l <= z - off + 1e-15).all() and (
            z + off - 1e-15 <= found.s_u * z + found.t_u
        ).all()
        assert (low <= z - off).all() and (z + off <= high).all()
    unknown = near.lines(Near(1, 1.0), lower, upper)
    assert unknown.t_l is not None and (unknown.t_l == -np.inf).all() and (unknown.t_u == np.inf).all()
