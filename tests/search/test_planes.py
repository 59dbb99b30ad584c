"""The law of complete clipping: not tighter than the linear program it stands for, not looser than no half-space."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from verifier.bounds.fold import Folded, Linear
from verifier.bounds.intermediate import Hull
from verifier.search.clipping.complete import minimise
from verifier.search.clipping.planes import clipper
from verifier.values.arrays import Place, to_numpy

PLACES = [Place("numpy", "float32"), Place("torch", "float32"), Place("numpy", "float64")]


def box(rng: np.random.Generator, U: int, k: int, place: Place) -> Folded:
    """A folded network of which only the box matters."""
    none = Linear(*(place.array(a) for a in (np.zeros((U, k)), np.zeros((U, U)), np.zeros(U), np.zeros(U))))
    ends = (place.array(np.full(U, s)) for s in (-9.0, 9.0))
    center, radius = place.array(rng.normal(size=k)), place.array(rng.uniform(0.01, 1, k))
    host = np.arange(U)
    return Folded(
        place, none, none, (slice(0, U),), host, host, place.array(np.zeros(U)), *ends, np.arange(k), center, radius
    )


def double(place: Place) -> Place:
    return Place(place.kind, "float64", place.device)


@pytest.mark.parametrize("k", [1, 3, 31, 70])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_between_no_half_space_and_the_linear_program(place: Place, k: int) -> None:
    rng, U, B = np.random.default_rng(k), 6, 8
    E = box(rng, U, k, double(place))
    F = E.to(place)
    low, up = (rng.normal(size=(U, k)) * (rng.random((U, k)) < 0.7) for _ in range(2))
    low_b, up_b = rng.normal(size=U), rng.normal(size=U)
    hull = Hull(*(E.place.array(a) for a in (low, low_b, up, up_b))).to(E, place)
    given = [to_numpy(a).astype(float) for a in (hull.low, hull.low_b, hull.up, hull.up_b)]
    center, radius = to_numpy(E.center), to_numpy(E.radius)
    A = rng.normal(size=(B, k))
    b = -A @ center + (abs(A) @ radius) * rng.uniform(-0.9, 0.95, B)  # cuts the box somewhere
    at = np.stack([rng.permutation(U) for _ in range(B)])
    found = clipper(E, F, hull)(E.place.array(A), E.place.array(b), place.array(at), chunk=100)
    lower, upper = (to_numpy(a).astype(float) for a in found)
    gains = []
    for i in range(B):
        for n, u in enumerate(at[i]):
            for value, plane, c in (
                (lower[i, n], given[0][u], given[1][u]),
                (-upper[i, n], -given[2][u], -given[3][u]),
            ):
                lp = linprog(
                    plane, A[i][None], [-b[i]], bounds=list(zip(center - radius, center + radius, strict=True))
                )
                free = plane @ center - abs(plane) @ radius + c
                size = abs(plane) @ (abs(center) + radius) + abs(c) + 1
                assert value <= lp.fun + c + 1e-9 * size, "tighter than the linear program"
                assert value >= free - 1e-4 * size, "looser than without the half-space"
                if lp.fun + c > free + 0.005 * size:
                    gains.append((value - free) / (lp.fun + c - free))
    assert np.mean(gains) > (0.8 if k > 10 else 0.5), "the half-space is of no use"


def test_the_batch_and_its_order_do_not_matter() -> None:
    rng, U, k, B = np.random.default_rng(0), 5, 40, 7
    place = Place("numpy", "float32")
    E = box(rng, U, k, double(place))
    hull = Hull(*(rng.normal(size=s) for s in ((U, k), U, (U, k), U))).to(E, place)
    A, b = rng.normal(size=(B, k)), rng.normal(size=B)
    at = np.broadcast_to(np.arange(U), (B, U))
    clip, order = clipper(E, E.to(place), hull), rng.permutation(B)
    whole = clip(A, b, at)
    for got, want in zip(clip(A[order], b[order], at, chunk=1), whole, strict=True):
        assert np.allclose(got, want[order], rtol=1e-5, atol=1e-5)


def test_as_good_as_the_exact_median_on_many_inputs() -> None:
    rng, U, k, B = np.random.default_rng(1), 30, 500, 4
    place = Place("numpy", "float32")
    E = box(rng, U, k, double(place))
    hull = Hull(*(rng.normal(size=s) for s in ((U, k), U, (U, k), U))).to(E, place)
    A = rng.normal(size=(B, k))
    b = -A @ E.center + (abs(A) @ E.radius) * 0.5
    at = np.broadcast_to(np.arange(U), (B, U))
    lower, _ = clipper(E, E.to(place), hull)(A, b, at)
    planes, c = (np.broadcast_to(a.astype(float), (B, *a.shape)) for a in (hull.low, hull.low_b))
    ends = [np.broadcast_to(e, (B, k)) for e in (E.center - E.radius, E.center + E.radius)]
    exact = minimise(planes, c, *ends, A[:, None], b[:, None], sweeps=1)
    free = hull.low @ E.center - abs(hull.low) @ E.radius + hull.low_b
    gained, possible = (lower - free).sum(), (exact - free).sum()
    assert possible > 1 and gained > 0.97 * possible
