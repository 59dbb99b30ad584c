"""Products of two activations walked back as products of matrices: the same rows as one product at a time."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.bounds import backward
from verifier.bounds.attention import attentions
from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward, rows_interval
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.product import Dot, Product, Share
from verifier.graph.passes.dots import dots
from verifier.values.arrays import Place, to_numpy

PLACES = [Place("numpy", "float64"), Place("torch", "float64"), Place("numpy", "float32")]


def multiplied(b: Builder, x: int, y: int, m: int, n: int, k: int, flip: bool) -> int:
    """`x yᵀ` for x `[m, k]`, y `[n, k]` (stored `[k, n]` where flipped), as the importer writes it."""
    left = np.broadcast_to(np.arange(m * k).reshape(m, 1, k), (m, n, k))
    right = np.arange(n * k).reshape(k, n).T if flip else np.arange(n * k).reshape(n, k)
    right = np.broadcast_to(right[None], (m, n, k))
    pair = [b.add(Take(a.reshape(-1).copy(), (m, n, k, 1)), (j,)) for a, j in ((left, x), (right, y))]
    return b.add(Sum((2,), False), (b.add(Product(), (b.add(Concat(3), pair),)),))


def heads(rng: np.random.Generator, last: bool) -> Graph:
    """Attention over 4 tokens of width 3, with a residual; `last`: the second product ends the network."""
    b = Builder()
    x = b.add(Input((4, 3)))
    q, k, v = (b.add(Dense(rng.normal(size=(3, 3)), rng.normal(size=3)), (x,)) for _ in range(3))
    p = b.add(Share(), (b.add(Scale(np.array(0.5)), (multiplied(b, q, k, 4, 4, 3, False),)),))
    mixed = multiplied(b, p, v, 4, 3, 4, True)
    if last:
        return b.graph([x], [b.add(Reshape((12,)), (mixed,))])
    h = b.add(Curve("tanh"), (b.add(Dense(rng.normal(size=(3, 3)), None), (b.add(Add((1, 1)), (mixed, x)),)),))
    return b.graph([x], [b.add(Reshape((12,)), (b.add(Add((1, 1)), (h, mixed)),))])


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
@pytest.mark.parametrize("last", [False, True])
def test_the_same_rows(last: bool, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        whole = heads(rng, last)
        graph = dots(whole)
        assert len(attentions(graph)) == 2 and not any(isinstance(n.op, Product) for n in graph.nodes)
        some = rng.normal(size=(7, 4, 3))
        assert np.allclose(graph.evaluate(some)[0], whole.evaluate(some)[0], rtol=1e-12, atol=1e-12)
        lower = rng.normal(size=(1, 12))
        upper = lower + rng.choice([0.05, 0.5]) * rng.random((1, 12))
        net = prepare(graph, place)
        box = boxes(place.array(lower), place.array(upper), place.array(np.arange(12)), place.dtype)
        found = []
        for fused in (True, False):
            if not fused:
                monkeypatch.setattr(backward, "one_slope", lambda f: False)
            bounds = propagate(net, box, None, set(), {}, 10**6)
            host = {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in bounds.interval.items()}
            C = np.random.default_rng(seed + 50).normal(size=(5, 12))
            rows = make_rows(graph, net, magnitudes(graph, lower[0], upper[0], host), C, None, np.zeros(5))
            ids = place.array(np.arange(5)[None])
            planes = rows_backward(net, rows, ids, bounds.weights(net), bounds.relaxed)
            plain = rows_interval(net, rows, ids, bounds.image, (box.lower, box.upper))
            found.append([to_numpy(a).astype(float) for a in (planes.A, planes.b, planes.error, plain[0])])
            monkeypatch.undo()
        share = {"float32": 1e-3, "float64": 1e-10}[place.dtype]
        for a, c in zip(*found, strict=True):
            assert np.allclose(a, c, rtol=share, atol=share * (1 + abs(c).max()))
        x = np.random.default_rng(9).uniform(lower, upper, (500, 12))
        y = graph.evaluate(x.reshape(500, 4, 3))[0] @ C.T
        A, b, error, least = found[0]
        assert (y >= x @ A.T + b - error - 1e-12).all()
        assert (y >= least - 1e-12).all()


def test_what_is_no_matrix_product_stays() -> None:
    """Other users of the products, a sum over another axis, or a factor that is not repeated."""
    rng = np.random.default_rng(0)
    for kind in ("used", "axis", "own"):
        b = Builder()
        x = b.add(Input((4, 3)))
        left = np.broadcast_to(np.arange(12).reshape(4, 1, 3), (4, 4, 3)).copy()
        if kind == "own":
            left[0, 1] = left[1, 1]
        right = np.broadcast_to(np.arange(12).reshape(1, 4, 3), (4, 4, 3)).copy()
        pair = [b.add(Take(a.reshape(-1), (4, 4, 3, 1)), (x,)) for a in (left, right)]
        product = b.add(Product(), (b.add(Concat(3), pair),))
        z = b.add(Sum((1 if kind == "axis" else 2,), False), (product,))
        y = b.add(Dense(rng.normal(size=(1, b.nodes[z].size)), None), (b.add(Reshape((b.nodes[z].size,)), (z,)),))
        outputs = [y, product] if kind == "used" else [y]
        graph = dots(b.graph([x], outputs))
        assert attentions(graph) == {}
        assert any(isinstance(n.op, Dot) for n in graph.nodes) == (kind == "own")
