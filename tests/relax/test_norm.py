"""Planes around norms enclose them, whatever the exponent, the size and the width; and are close where they can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from verifier.graph.ops.norm import Norm
from verifier.relax import norm
from verifier.values.arrays import Place, to_numpy

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
EXPONENTS = (1 + 1e-12, 1.001, 1.3, 2.0, 3.7, 33.0, 1001.0, 1e7, 1e14)
LD = np.longdouble


def true(x: np.ndarray, r: float) -> np.ndarray:
    """The norm in extended precision."""
    size = abs(x.astype(LD))
    top = np.maximum(size.max(-1, keepdims=True), np.finfo(LD).tiny)
    return top[..., 0] * ((size / top) ** LD(r)).sum(-1) ** (1 / LD(r))


def boxes(rng: np.random.Generator, n: int, scale: float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    center = rng.normal(size=(30, n)) * scale * rng.choice([0.0, 1e-3, 1.0], (30, n))
    width = abs(rng.normal(size=(30, n))) * scale * rng.choice([0.0, 1e-6, 0.1, 2.0], (30, 1))
    a, b = (center - width).astype(dtype), (center + width).astype(dtype)
    return np.minimum(a, b), np.maximum(a, b)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
@pytest.mark.parametrize("r", EXPONENTS)
@np.errstate(all="ignore")
def test_planes_and_intervals_enclose(r: float, place: Place) -> None:
    op, single = Norm(r), place.dtype == "float32"
    for n in (1, 2, 40):
        for scale in (1e-36, 1e-3, 1.0, 1e34) if single else (1e-305, 1e-3, 1.0, 1e300):
            rng = np.random.default_rng(n)
            lower, upper = boxes(rng, n, scale, place.dtype)
            x = np.clip(lower + (upper - lower) * rng.random((100, 30, n)), lower, upper).astype(place.dtype)
            x[:50] = np.where(rng.random((50, 30, n)) < 0.5, lower, upper)
            y, exact = true(x, r), x.astype(LD)
            low, up = place.array(lower)[None], place.array(upper)[None]
            f = norm.lines(op, low, up)
            s_l, t_l, s_u, t_u = (to_numpy(a)[0].astype(LD) for a in (f.s_l, f.t_l, f.s_u, f.t_u))
            assert s_l.shape == s_u.shape == (30, n) and t_l.shape == t_u.shape == (30,)
            assert (y >= (s_l * exact).sum(-1) + t_l).all()
            assert (y <= (s_u * exact).sum(-1) + t_u).all()
            a, b = (to_numpy(v)[0] for v in norm.image(op, low, up))
            assert (a <= y).all() and (y <= b).all() and (a >= 0).all()
            most = true(np.maximum(abs(lower), abs(upper)), r)
            assert (b <= most * (1 + 1e-4 if single else 1 + 1e-12) + (1e-36 if single else 1e-305)).all()


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
@np.errstate(all="ignore")
def test_a_few_of_the_smallest_numbers(place: Place) -> None:
    """Where every result is rounded to a whole number of them."""
    rng, least = np.random.default_rng(0), LD(np.finfo(place.dtype).smallest_subnormal)
    ends = np.sort(rng.integers(-4, 9, (2, 300, 3)), 0)
    ends[1, ::3] = ends[0, ::3]
    lower, upper = ((a * least).astype(place.dtype) for a in ends)
    corners = np.where(rng.random((8, 300, 3)) < 0.5, ends[0], ends[1])
    for r in (1.3, 2.0, 33.0):
        y = true(corners, r) * least
        low, up = (place.array(a)[None] for a in (lower, upper))
        f, image = norm.lines(Norm(r), low, up), norm.image(Norm(r), low, up)
        s_l, t_l, s_u, t_u, a, b = (to_numpy(v)[0].astype(LD) for v in (f.s_l, f.t_l, f.s_u, f.t_u, *image))
        assert (y >= (s_l * corners).sum(-1) * least + t_l).all() and (y <= (s_u * corners).sum(-1) * least + t_u).all()
        assert (a <= y).all() and (y <= b).all()


@pytest.mark.parametrize("r", EXPONENTS)
def test_points_are_known(r: float) -> None:
    """On a box of one point both planes give the value; on a narrow one they miss by its width squared."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 5))
    for width, miss in ((0.0, 1e-11), (1e-4, 1e-7 * min(r, 1e4))):
        f, y = norm.lines(Norm(r), x - width, x + width), true(x, r)
        assert ((f.s_u * x).sum(-1) + f.t_u - y <= miss * y).all()
        if r < 1e9:
            assert (y - (f.s_l * x).sum(-1) - f.t_l <= (miss + 1e-15 * r) * y).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_says_nothing(bad: float) -> None:
    lower, upper = np.zeros((3, 2)), np.ones((3, 2))
    upper[1, 0] = bad
    with np.errstate(all="ignore"):
        f, (_, high) = norm.lines(Norm(1.5), lower, upper), norm.image(Norm(1.5), lower, upper)
    assert f.t_u[1] == high[1] == np.inf and np.isfinite(f.t_u[[0, 2]]).all() and np.isfinite(high[[0, 2]]).all()
    assert (f.t_l <= 0).all() and np.isfinite(f.s_u).all() and np.isfinite(f.s_l).all()


@pytest.mark.parametrize("r", [1.001, 1.5, 4.0, 300.0])
def test_what_it_computes(r: float) -> None:
    rng = np.random.default_rng(1)
    x, op = rng.normal(size=(50, 3, 6)) * 10.0 ** rng.integers(-200, 200, (50, 1, 1)), Norm(r)
    assert op.shape((3, 6)) == (3,)
    assert np.allclose(op.evaluate(x), true(x, r).astype(float), rtol=1e-12)
    assert np.allclose(to_numpy(op.evaluate(torch.from_numpy(x))), op.evaluate(x), rtol=1e-12)
    assert op.evaluate(np.zeros((1, 4))) == 0 and (op.gradient(np.ones(1), np.zeros((1, 4))) == 0).all()
    g = op.gradient(np.ones((50, 3)), x)
    assert np.allclose((g * x).sum(-1), op.evaluate(x), rtol=1e-10)  # homogeneous
    assert np.allclose((abs(g) ** (r / (r - 1))).sum(-1), 1, rtol=1e-9)  # of the dual norm one
    assert np.isnan(op.evaluate(np.array([[np.nan, 1.0]])))
    for wrong in (1.0, 0.5, np.inf, np.nan):
        with pytest.raises(ValueError, match="exponent"):
            Norm(wrong)
