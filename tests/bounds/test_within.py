"""Parts of quantised networks: what splits at jumps leave is exact; no point is lost, least of all one at a jump."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.bounds.dual import Region, back, slopes
from verifier.bounds.intermediate import start
from verifier.bounds.within import narrowed
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import STAIRS, Step
from verifier.search.domains import roots
from verifier.search.neurons import tree
from verifier.search.query import make_query
from verifier.spec.builders import output_property
from verifier.values.arrays import Place


def network(rng: np.random.Generator, kind: str) -> Graph:
    """Whole numbers all the way, so that jumps are met exactly: codes, sums of codes by halves, a shortcut."""
    b = Builder()
    x = b.add(Input((3,)))
    q = b.add(Step("round", 0.0, -4.0, 3.0), (b.add(Scale(np.array(2.0)), (x,)),))
    z = b.add(Dense(rng.integers(-3, 4, (5, 3)) * 0.5, rng.integers(-2, 3, 5) * 0.5), (q,))
    h = b.add(Step(kind.split()[0], 0.0, -3.0, 6.0), (z,))
    if " " in kind:  # another staircase on the same rows, which may belong to the other side of a jump
        h = b.add(Add((1, -1)), (h, b.add(Step(kind.split()[1], 0.0, -3.0, 6.0), (z,))))
    r = b.add(Relu(), (b.add(Dense(rng.integers(-2, 3, (4, 5)) * 1.0), (h,)),))
    p = b.add(Step("round", 0.0, -8.0, 8.0), (b.add(Dense(rng.integers(-2, 3, (4, 4)) * 0.5), (r,)),))
    y = b.add(Dense(rng.integers(-3, 4, (2, 4)) * 1.0), (b.add(Add(), (p, r)),))
    return b.graph((x,), (y,))


def jumps(op: Step, low: float, up: float) -> np.ndarray:
    """All points between two at which a staircase rises."""
    shift = 1.0 - STAIRS[op.kind]
    at = np.arange(max(op.low, np.floor(low) - 1), min(op.high, np.ceil(up) + 1)) + shift
    return at[(at > low) & (at < up)]


@pytest.mark.parametrize("kind", [*sorted(STAIRS), "ceil floor", "floor ceil", "floor round"])
@pytest.mark.parametrize("seed", range(2))
def test_no_point_is_lost(kind: str, seed: int) -> None:
    """Of parts that a point lies in by its values of staircases, bounds hold at the point."""
    rng = np.random.default_rng([seed, *kind.encode()])
    graph = network(rng, kind)
    row = np.array([1.0, -0.7])
    prop = output_property(np.full(3, -1.25), np.full(3, 1.75), [[(row, -1e3)]], "within")
    with np.errstate(all="ignore"):
        query = make_query(graph, prop, Place("numpy", "float32"))
        d = roots(query)
        found = tree.root(query, d)
        found.alive[:] = True
        planted = tree.plant(query, d, found)
        F, met = planted.fast, 0
        points = np.concatenate([rng.integers(-5, 8, (16, 3)) / 4, rng.uniform(-1.25, 1.75, (16, 3))])
        for x in np.clip(points, -1.25, 1.75):
            z = (x @ F.z.X.astype(float).T + F.z.c)[None]
            h = np.zeros((1, len(F)))
            for layer in F.layers:  # float32 holds all these halves
                h[:, layer.units] = layer.real(layer.gather(z))
                z = z + h[:, layer.units] @ F.z.H[:, layer.units].astype(float).T
            lower, upper, sign = F.lower[None] * 1, F.upper[None] * 1, F.lower[None] * 0
            for layer in F.layers:
                if not isinstance(layer.op, Step):
                    continue
                index, value = np.asarray(layer.take.index), h[0, layer.units]
                for j, y in zip(index, value, strict=True):
                    at = jumps(layer.op, lower[0, j], upper[0, j])
                    if rng.random() < 0.5 or not len(at):
                        continue
                    at = rng.choice(at) if rng.random() < 0.5 else at[abs(at - z[0, j]).argmin()]
                    above = y > at - (1.0 - STAIRS[layer.op.kind])  # the value decides, also at the jump itself
                    met += bool(z[0, j] == at)
                    (lower if above else upper)[0, j] = at
                    side = 1.0 if above else -1.0
                    sign[0, j] = side if sign[0, j] in (0, side) else 2.0
            r = Region(lower, upper, sign, F.center[None], F.radius[None])
            new = narrowed(F, r)
            assert (new.lower <= z).all() and (z <= new.upper).all()
            assert (new.lower >= lower).all() and (new.upper <= upper).all()
            value = float(graph.evaluate(x[None])[0][0] @ row) + 1e3
            m = start(F, new, 1)
            goal = planted.fast.place.array(np.zeros(1, np.int64))
            bound = back(F, new, slopes(F, new, m.alpha, m.second), planted.objective(goal), m).bound
            exact = tree.decisive(planted, new, goal, m)[0]
            assert float(bound[0]) <= value + 1e-3 and float(exact[0]) <= value
        assert met > 4
