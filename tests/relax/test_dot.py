"""Planes around inner products enclose them: sums of planes around products, with one choice for all of a sum."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifier.graph.ops.product import Dot
from verifier.relax import product
from verifier.values.arrays import Place, to_numpy

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
@pytest.mark.parametrize("k", [1, 2, 7, 64])
def test_planes_and_intervals_enclose(k: int, place: Place) -> None:
    rng = np.random.default_rng(k)
    for scale in (1e-3, 1.0, 1e4):
        center = rng.normal(size=(30, 2 * k)) * scale
        width = abs(rng.normal(size=(30, 2 * k))) * scale * rng.choice([0.0, 1e-6, 0.1, 1.0], (30, 1))
        lower, upper = (a.astype(place.dtype) for a in (center - width, center + width))
        lower, upper = np.minimum(lower, upper), np.maximum(lower, upper)
        x = np.clip(lower + (upper - lower) * rng.random((200, 30, 2 * k)), lower, upper)
        x[:50] = np.where(rng.random((50, 30, 2 * k)) < 0.5, lower, upper)
        exact = x.astype(np.longdouble)
        y = (exact[..., :k] * exact[..., k:]).sum(-1)
        low, up = place.array(lower)[None], place.array(upper)[None]
        choice = tuple(place.array(rng.random((1, 30)), place.dtype) for _ in range(2))
        for alpha in (None, choice):
            f = product.dot_lines(low, up, alpha)
            s_l, t_l, s_u, t_u = (to_numpy(a)[0].astype(np.longdouble) for a in (f.s_l, f.t_l, f.s_u, f.t_u))
            assert (y >= (s_l * exact).sum(-1) + t_l - 1e-17 * abs(t_l)).all()
            assert (y <= (s_u * exact).sum(-1) + t_u + 1e-17 * abs(t_u)).all()
            middle = 0.5 * (lower.astype(float) + upper)
            gap = ((s_u - s_l) * middle).sum(-1) + t_u - t_l
            r = 0.5 * (upper.astype(float) - lower)
            size = (abs(middle) + r)[:, :k] * (abs(middle) + r)[:, k:]
            if alpha is None:  # McCormick's: the products of the radii on either side
                eps = 40 * (k + 4) * np.finfo(place.dtype).eps
                assert (gap <= 2 * (r[:, :k] * r[:, k:]).sum(-1) * (1 + 1e-9) + eps * size.sum(-1)).all()
        a, b = (to_numpy(v)[0] for v in product.dot_image(low, up))
        assert (a <= y).all() and (y <= b).all()


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_sum_that_loses_its_small_terms(sign: float, place: Place) -> None:
    """At a point: 8 products of one, and 120 that vanish in a sum which begins with those (rational arithmetic)."""
    k, u = 128, float(np.finfo(place.dtype).eps) / 2
    x = np.concatenate([np.ones(8), np.full(120, 0.9 * u), np.full(k, sign)]).astype(place.dtype)
    exact = [Fraction(float(v)) for v in x]
    y = sum((a * b for a, b in zip(exact[:k], exact[k:], strict=True)), Fraction(0))
    at = place.array(x)[None]
    f, image = product.dot_lines(at, at), product.dot_image(at, at)
    found = (f.s_l, f.t_l, f.t_u, *image)
    s, t_l, t_u, low, high = ([Fraction(v) for v in to_numpy(a).ravel().tolist()] for a in found)
    plane = sum((a * b for a, b in zip(s, exact, strict=True)), Fraction(0))
    assert plane + t_l[0] <= y <= plane + t_u[0]
    assert low[0] <= y <= high[0]


def test_what_it_computes() -> None:
    rng = np.random.default_rng(0)
    x, op = rng.normal(size=(5, 3, 8)), Dot()
    assert op.shape((3, 8)) == (3,)
    assert np.allclose(op.evaluate(x), np.einsum("bik,bik->bi", x[..., :4], x[..., 4:]))
    g, h = rng.normal(size=(5, 3)), 1e-6
    slope = op.gradient(g, x)
    for i in range(8):
        step = np.zeros(8)
        step[i] = h
        numeric = g * (op.evaluate(x + step) - op.evaluate(x - step)) / (2 * h)
        assert np.allclose(slope[..., i], numeric, atol=1e-6)
    for shape in ((), (3,), (2, 0)):
        with pytest.raises(ValueError, match="inner product"):
            op.shape(shape)
