"""Planes around softmax enclose it, and are no looser than the log-sum-exp bounds of Wei et al. (2023)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from verifier.graph.ops.product import Share
from verifier.relax import share, table
from verifier.values.arrays import Place, to_numpy

LD = np.longdouble
PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
WIDTHS = (1, 2, 3, 7, 40)
sized = pytest.mark.parametrize("n", WIDTHS)


def exact(x: np.ndarray) -> np.ndarray:
    """In extended precision."""
    e = np.exp(x.astype(LD) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@cache
def boxes(n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`[N, n]` twice: usual, points, nearly points, far from zero, far from each other, one entry alone varying."""
    rng = np.random.default_rng([n, 3])
    pairs = []
    for spread, width, shift in (
        (1.0, 1.0, 0.0), (1.0, 0.1, 0.0), (2.0, 3.0, 0.0), (1.0, 1e-4, 0.0), (1.0, 1e-7, 0.0), (3.0, 0.5, 100.0),
        (10.0, 5.0, 0.0), (1.0, 0.5, -1e4), (30.0, 1.0, 0.0), (1.0, 100.0, 0.0), (1e3, 10.0, 0.0), (1.0, 0.0, 0.0),
        (1.0, 20.0, 5.0), (0.0, 1.0, 0.0), (0.0, 1e-3, 1e6),
    ):  # fmt: skip
        for _ in range(4):
            c = rng.normal(size=n) * spread + shift
            w = width * rng.random((2, n))
            pairs.append((c - w[0], c + w[1]))
            some = rng.random(n) < 0.4
            pairs.append((np.where(some, c - w[0], c), np.where(some, c + w[1], c)))
    a = np.array(pairs).astype(dtype)
    return np.minimum(a[:, 0], a[:, 1]), np.maximum(a[:, 0], a[:, 1])


@cache
def points(n: int, dtype: str) -> np.ndarray:
    """`[N, P, n]`: ends, corners, the middle, corners with one entry turned, and uniform ones."""
    rng = np.random.default_rng([n, 4])
    lower, upper = (a.astype(LD)[:, None] for a in boxes(n, dtype))
    N = len(lower)
    t = rng.random((N, 40, n))
    t[:, :16] = np.rint(t[:, :16])
    t[:, 0], t[:, 1], t[:, 2] = 0, 1, 0.5
    one = np.broadcast_to(np.eye(n)[rng.integers(n, size=6)], (N, 6, n))
    t[:, 3:9], t[:, 9:15] = one, 1 - one
    x = lower + (upper - lower) * t
    return np.where(t == 1, upper, np.where(t == 0, lower, x))


def at(place: Place, n: int) -> Any:
    return tuple(place.array(a) for a in boxes(n, place.dtype))


def host(f: share.Planes) -> list[np.ndarray]:
    return [to_numpy(a).astype(LD) for a in (f.S_l, f.t_l, f.S_u, f.t_u)]


def concrete(S: np.ndarray, t: np.ndarray, lower: np.ndarray, upper: np.ndarray, sign: int) -> np.ndarray:
    """The least (sign 1) or largest values of planes over boxes."""
    low, high = (a.astype(LD)[:, None] for a in (lower, upper))
    ends = (S * low, S * high)
    return t + (np.minimum(*ends) if sign == 1 else np.maximum(*ends)).sum(-1)


@sized
@placed
def test_planes_enclose(place: Place, n: int) -> None:
    with np.errstate(all="ignore"):
        S_l, t_l, S_u, t_u = host(table.lines(Share(), *at(place, n)))  # type: ignore[arg-type]
    assert np.isfinite(S_l).all() and np.isfinite(S_u).all() and not np.isnan(t_l).any() and not np.isnan(t_u).any()
    x = points(n, place.dtype)
    p = exact(x)
    for S, t, sign in ((S_l, t_l, 1), (S_u, t_u, -1)):
        plane = np.einsum("bpk,bik->bpi", x, S) + t[:, None]
        slack = LD(2.0**-58) * (np.einsum("bpk,bik->bpi", abs(x), abs(S)) + abs(t[:, None]) + p)
        wrong = sign * (plane - p) > slack
        for b, q, i in np.argwhere(wrong)[:1]:
            raise AssertionError(
                f"{'lower' if sign == 1 else 'upper'} plane {i} on {boxes(n, place.dtype)[0][b]!r} .. "
                f"{boxes(n, place.dtype)[1][b]!r} at {x[b, q]}: {plane[b, q, i]} for {p[b, q, i]} "
                f"({wrong.any((1, 2)).sum()} boxes)"
            )


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("width", [0.9e-6, 1.1e-6, 1e-5])
def test_planes_enclose_where_a_chord_is_hardly_one(width: float, n: int) -> None:
    """In the middle, where planes are tight: on boxes about as wide as those on which slopes are derivatives."""
    center = np.linspace(0.0, 0.5, n)[None]
    lower, upper = center - width / 2, center + width / 2
    S_l, t_l, S_u, t_u = host(table.lines(Share(), lower, upper))  # type: ignore[arg-type]
    x = ((lower.astype(LD) + upper) / 2)[:, None]
    p = exact(x)[0, 0]
    assert ((S_l * x).sum(-1) + t_l <= p).all() and ((S_u * x).sum(-1) + t_u >= p).all()


@sized
@placed
def test_image_is_the_range(place: Place, n: int) -> None:
    """The extreme points are known; where numbers are of moderate size nothing but rounding is added."""
    lower, upper = boxes(n, place.dtype)
    with np.errstate(all="ignore"):
        low, high = (to_numpy(a).astype(LD) for a in table.image(Share(), *at(place, n)))
    p = exact(points(n, place.dtype))
    assert (low[:, None] <= p * (1 + LD(2.0**-58))).all() and (high[:, None] >= p * (1 - LD(2.0**-58))).all()
    eye = np.eye(n, dtype=bool)
    ends = (a[:, None] for a in (lower, upper))
    l, u = ends
    least = np.stack([exact(np.where(eye[i], l, u))[:, 0, i] for i in range(n)], 1)
    most = np.stack([exact(np.where(eye[i], u, l))[:, 0, i] for i in range(n)], 1)
    assert (low <= least).all() and (high >= np.minimum(most, 1)).all()
    usual = np.maximum(abs(lower), abs(upper)).max(1) < 40
    tol = 400 * (n + 16) * float(np.finfo(place.dtype).eps)
    assert (low >= least * (1 - tol) - 1e-30)[usual].all() and (high <= most * (1 + tol) + 1e-30)[usual].all()


def wei(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log-sum-exp bounds (Wei et al. 2023, L^{lse}, U^{lse}) as tangents in the middle: `S_l, t_l, S_u, t_u`.

    Below: `exp(x_i) / Σ chords` at the middle, and its gradient.  Above: with p between its least and largest value,
    `p <= a·(x_i − LSE(x)) + c`, concave in x, by its tangent in the middle.
    """
    l, u = (a.astype(LD) for a in (lower, upper))
    n, m = l.shape[-1], (l + u) / 2
    eye = np.eye(n)
    width = np.where(u > l, u - l, 1)
    slope = np.where(u > l, (np.exp(u) - np.exp(l)) / width, np.exp(u))
    total = (np.exp(l) + slope * (m - l)).sum(-1)[:, None]
    value = np.exp(m) / total
    S_l = value[..., None] * (eye - (slope / total)[:, None])
    t_l = value - (S_l * m[:, None]).sum(-1)
    low = np.stack([exact(np.where(eye[i] > 0, l, u))[:, i] for i in range(n)], 1)
    high = np.stack([exact(np.where(eye[i] > 0, u, l))[:, i] for i in range(n)], 1)
    a = np.where(high > low, (high - low) / np.where(high > low, np.log(high) - np.log(low), 1), low)
    w = exact(m)
    lse = np.log(np.exp(m).sum(-1))[:, None]
    top = a * (m - lse) + low - a * np.log(low)
    S_u = a[..., None] * (eye - w[:, None])
    return S_l, t_l, S_u, top - (S_u * m[:, None]).sum(-1)


@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_no_looser_than_log_sum_exp(n: int) -> None:
    """In the middle and concretised over the box, on both sides, up to what widths of nearly nothing cost."""
    lower, upper = boxes(n, "float64")
    good = np.maximum(abs(lower), abs(upper)).max(1) < 25
    lower, upper = lower[good], upper[good]
    assert len(lower) > 40
    S_l, t_l, S_u, t_u = host(table.lines(Share(), lower, upper))  # type: ignore[arg-type]
    V_l, v_l, V_u, v_u = wei(lower, upper)
    low, high = (a.astype(LD) for a in table.image(Share(), lower, upper))
    middle = ((lower + upper) / 2).astype(LD)[:, None]
    inner = exact(points(n, "float64")[good])
    x = points(n, "float64")[good]
    for S, t, V, v, sign in ((S_l, t_l, V_l, v_l, 1), (S_u, t_u, V_u, v_u, -1)):
        plane = np.einsum("bpk,bik->bpi", x, V) + v[:, None]
        assert (sign * (plane - inner) <= 1e-12).all(), "what it is compared with is unsound"
        ours, theirs = ((a * middle).sum(-1) + b for a, b in ((S, t), (V, v)))
        assert (sign * (ours - theirs) >= -1e-7).all(), "in the middle"
        flat = low if sign == 1 else high
        ours, theirs = (concrete(a, b, lower, upper, sign) for a, b in ((S, t), (V, v)))
        best = np.maximum(ours, flat) if sign == 1 else np.minimum(ours, flat)
        assert (sign * (best - theirs) >= -1e-7).all(), "over the box"


@sized
def test_torch_gives_the_same_planes(n: int) -> None:
    a, b = (host(table.lines(Share(), *at(Place(kind), n))) for kind in ("numpy", "torch"))  # type: ignore[arg-type]
    x = points(n, "float64")[:, :3]
    size = abs(x).max((1, 2))[:, None, None]
    for k in (0, 2):
        p, q = (np.einsum("bpk,bik->bpi", x, f[k]) + f[k + 1][:, None] for f in (a, b))
        assert (abs(p - q) <= 1e-12 * (1 + size)).all()
        assert np.isclose(a[k], b[k], rtol=1e-8, atol=1e-10).all()


@placed
def test_more_axes(place: Place) -> None:
    """Leading axes are carried along."""
    lower, upper = (a[:6] for a in boxes(7, place.dtype))
    one = host(table.lines(Share(), place.array(lower), place.array(upper)))  # type: ignore[arg-type]
    shaped = tuple(place.array(a.reshape(2, 3, 7)) for a in (lower, upper))
    many = host(table.lines(Share(), *shaped))  # type: ignore[arg-type]
    for p, q in zip(one, many, strict=True):
        assert np.allclose(p.reshape(q.shape), q, rtol=1e-6, atol=1e-7) and q.shape[:2] == (2, 3)


@placed
def test_numbers_that_are_none_stay_so(place: Place) -> None:
    """NaN or infinite bounds claim no more than that shares lie between 0 and 1."""
    inf, nan = np.inf, np.nan
    lower = np.array([[nan, 0.0], [0.0, nan], [-inf, 0.0], [0.0, 0.0], [-inf, -inf], [1e38, 0.0]], place.dtype)
    upper = np.array([[nan, 1.0], [1.0, 1.0], [1.0, 1.0], [inf, 1.0], [inf, inf], [2e38, 1.0]], place.dtype)
    with np.errstate(all="ignore"):
        low, high = (to_numpy(a) for a in table.image(Share(), place.array(lower), place.array(upper)))
        S_l, t_l, S_u, t_u = host(table.lines(Share(), place.array(lower), place.array(upper)))  # type: ignore[arg-type]
    assert not (low[:5] > 1e-3).any() or np.isfinite(lower[:5][(low[:5] > 1e-3).any(1)]).any()
    assert not (high[[0, 4]] < 1).any() and not (low[[0, 4]] > 0).any()
    for S, t, sign in ((S_l, t_l, 1), (S_u, t_u, -1)):
        for b in (0, 4):
            claims = np.isfinite(t[b]) & np.isfinite(S[b]).all(-1)
            assert not (claims & (sign * (t[b] - (0 if sign == 1 else 1)) > 0)).any()
