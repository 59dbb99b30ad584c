"""Constants from any norm lp of the input to functionals: exact, sampled, near p = 1, 2 and infinity."""

from __future__ import annotations

from itertools import product
from math import inf
from typing import Any

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from tests.laws.general_nets import network
from tests.sensitivity.cases import inside, jacobians, layers, loaded
from verifier.graph.derivative import jacobian
from verifier.graph.graph import Graph
from verifier.run.asked import ask
from verifier.run.lipschitz import product as product_bound
from verifier.search.budget import Budget

POWERS = (1.0001, 1.02, 1.3, 1.7, 2.5, 4.0, 30.0, 5000.0)
powers = pytest.mark.parametrize("p", POWERS)


def dual(v: np.ndarray, p: float) -> np.ndarray:
    """Norms of rows in the norm dual to lp."""
    r, top = p / (p - 1), abs(v).max(-1)
    return top * ((abs(v) / np.where(top > 0, top, 1.0)[..., None]) ** r).sum(-1) ** (1 / r)


def over_patterns(graph: Graph, box: verifier.Box, p: float) -> np.ndarray:
    """The largest norm of each row over all linear pieces with an inside, by linear programming."""
    from scipy.optimize import linprog

    weights = [(n.op.W, n.op.b) for n in graph.nodes if hasattr(n.op, "W")]
    best = np.zeros(weights[-1][0].shape[0])
    ends = [*zip(box.lower, box.upper, strict=True), (None, 1.0)]
    hidden = [len(W) for W, _ in weights[:-1]]
    for bits in product((0.0, 1.0), repeat=sum(hidden)):
        A, c, rows, at = np.eye(len(box.lower)), np.zeros(len(box.lower)), [], 0
        for (W, b), k in zip(weights[:-1], hidden, strict=True):
            on, at = np.array(bits[at : at + k]), at + k
            A, c = W @ A, W @ c + (0 if b is None else b)
            rows += [(np.where(s, -a, a), np.where(s, v, -v)) for s, a, v in zip(on, A, c, strict=True)]
            A, c = A * on[:, None], c * on
        J = weights[-1][0] @ A
        if (dual(J, p) <= best).all():
            continue
        G = np.array([[*a, 1.0] for a, _ in rows])
        found = linprog(np.r_[np.zeros(A.shape[1]), -1.0], A_ub=G, b_ub=[v for _, v in rows], bounds=ends)
        if found.status == 0 and found.x[-1] > 1e-9:
            best = np.maximum(best, dual(J, p))
    return best


@powers
@pytest.mark.parametrize("seed", range(3))
def test_exact_on_small_rectifier_networks(seed: int, p: float) -> None:
    """Both bounds close to a thousandth around the largest over all patterns that occur, for each functional."""
    rng = np.random.default_rng(seed)
    sizes = ((2, 5, 2), (3, 3, 3, 2), (1, 4, 4, 3))[seed]
    graph, n = chain(rng, sizes), sizes[0]
    box = verifier.Box([-1.0] * n, [0.8] * n)
    exact = over_patterns(graph, box, p)
    found = verifier.lipschitz(Net(graph, "float64"), box, (p, inf), each=True, timeout=20, tolerance=5e-4)
    assert found.settled and found.norm == (p, inf)
    assert found.uppers is not None and found.lowers is not None
    assert (found.uppers >= exact * (1 - 1e-9)).all()
    assert (found.uppers <= exact * (1 + 1e-3) + 1e-9).all() and (found.lowers >= exact * (1 - 1e-3) - 1e-9).all()
    assert (found.lowers <= exact * (1 + 1e-9) + 1e-12).all()
    assert found.upper == found.uppers.max()


@powers
@pytest.mark.parametrize("seed", range(4))
def test_holds_for_derivatives_and_pairs(seed: int, p: float) -> None:
    """Any network; boxes and balls of any norm; any time."""
    rng = np.random.default_rng([seed, POWERS.index(p)])
    graph, lower, upper = network(rng, jumps=False)
    ball = verifier.Ball((lower + upper) / 2, float((upper - lower).max() / 2), int(rng.integers(1, 3)))
    region = (verifier.Box(lower, upper), ball)[seed % 2]
    found = verifier.lipschitz(Net(graph, "float64"), region, (p, inf), timeout=float(rng.choice([0.02, 0.3])))
    x = inside(region, 150, rng)
    with np.errstate(all="ignore"):
        J, (y,) = jacobian(graph).evaluate(x)[0], graph.evaluate(x)
    assert dual(J, p).max() <= found.upper * (1 + 1e-12) + 1e-12
    rise = abs(y[1:] - y[:-1]).max(1)
    apart = dual(x[1:] - x[:-1], p / (p - 1))
    rise, apart = rise[apart > 0], apart[apart > 0]
    assert (rise <= found.upper * apart * (1 + 1e-9) + 1e-11 * (1 + abs(y).max())).all()
    assert 0 <= found.lower <= found.upper
    attained = dual(jacobian(graph).evaluate(found.point[None])[0][0], p).max()
    assert attained >= found.lower * (1 - 1e-9) - 1e-12


@pytest.mark.parametrize("net", ["relu", "tanh"])
@pytest.mark.parametrize(("p", "near"), [(1.0, 1 + 1e-9), (2.0, 2 - 1e-9), (2.0, 2 + 1e-9), (inf, 1e9), (inf, 1e300)])
def test_near_the_norms_that_are_known(p: float, near: float, net: str) -> None:
    """As p nears 1, 2 and infinity, so do the constants."""
    from torch import nn

    module = layers(4, (3, 6, 5, 2), {"relu": nn.ReLU, "tanh": nn.Tanh}[net])
    box = verifier.Box([-0.3] * 3, [0.4] * 3)
    found = [verifier.lipschitz(loaded(module, 3), box, (q, inf), tolerance=1e-5, timeout=30) for q in (p, near)]
    assert all(f.settled for f in found)
    assert found[0].upper == pytest.approx(found[1].upper, rel=2.1e-5)
    assert found[0].lower == pytest.approx(found[1].lower, rel=2.1e-5)


@pytest.mark.parametrize("scale", [1e-290, 1e-160, 1e-120, 1e-9, 1e12, 1e140, 1e290])
@pytest.mark.parametrize("p", [1.001, 1.5, 3.0, 100.0])
def test_gradients_of_any_size(p: float, scale: float) -> None:
    """Powers neither overflow nor underflow."""
    graph = chain(np.random.default_rng(1), (3, 5, 2))
    box = verifier.Box([-0.5] * 3, [0.5] * 3)
    C = np.array([[1.0, 2.0], [0.5, -1.0]])
    plain = verifier.lipschitz(Net(graph, "float64"), box, (p, inf), outputs=C, each=True, tolerance=1e-4)
    found = verifier.lipschitz(Net(graph, "float64"), box, (p, inf), outputs=scale * C, each=True, tolerance=1e-4)
    assert plain.settled and found.settled and found.uppers is not None and plain.uppers is not None
    assert found.uppers / scale == pytest.approx(plain.uppers, rel=3e-4)
    J = C @ jacobian(graph).evaluate(inside(box, 300, np.random.default_rng(0)))[0]
    assert (dual(J, p).max(0) <= found.uppers / scale * (1 + 1e-12)).all()


@powers
def test_more_time_never_loosens(p: float) -> None:
    net = Net(chain(np.random.default_rng(3), (3, 8, 6, 2)), "float64")
    asked = ask(net.graph, verifier.Box([-1] * 3, [1] * 3), (p, inf), None, None, "net", 0.0, False)
    search = asked.search(lambda *_: None)
    search.root()
    first = search.upper.max()
    upper, lower = search.upper.copy(), search.lower.copy()
    for _ in range(10):
        search.run(Budget.seconds(0.02))
        assert (search.upper <= upper).all() and (search.lower >= lower).all()
        assert (search.lower.max() <= search.upper.max() * (1 + 1e-9)).all()
        upper, lower = search.upper.copy(), search.lower.copy()
    assert search.upper.max() < first


@powers
def test_the_product_of_norms_holds(p: float) -> None:
    """What is known without looking at the set: between those of the norms that have a formula."""
    graph = chain(np.random.default_rng(5), (4, 6, 5, 3))
    box = verifier.Box([-1] * 4, [1] * 4)
    bound = product_bound(ask(graph, box, (p, inf), None, None, "net", 1e-4, False), Budget())
    J = jacobian(graph).evaluate(inside(box, 300, np.random.default_rng(0)))[0]
    assert dual(J, p).max() <= bound < inf
    ends = [product_bound(ask(graph, box, (q, inf), None, None, "net", 1e-4, False), Budget()) for q in (1.0, 2.0, inf)]
    assert bound <= max(ends) * (1 + 1e-12)
    found = verifier.lipschitz(Net(graph, "float64"), box, (p, inf), timeout=0)
    assert found.upper == bound and "product" in found.why


def test_one_functional_needs_no_second_norm() -> None:
    """Its absolute value is every norm of it; margins, rows and each are as of other norms."""
    net, box = loaded(layers(2, (3, 6, 4)), 3), verifier.Box([-0.2] * 3, [0.3] * 3)
    one = verifier.lipschitz(net, box, 1.5, outputs=2)
    assert one.norm == (1.5, inf) and one.settled
    assert verifier.lipschitz(net, box, (1.5, 7.0), outputs=2).upper == pytest.approx(one.upper, rel=1e-4)
    margins = verifier.lipschitz(net, box, (1.5, inf), margins=1, each=True)
    assert margins.uppers is not None and margins.settled
    J = jacobians(layers(2, (3, 6, 4)), inside(box, 100, np.random.default_rng(0)))
    rows: Any = margins.functionals @ J
    assert (dual(rows, 1.5).max(0) <= margins.uppers).all()
    ball = verifier.lipschitz(net, verifier.Ball([0, 0, 0], 0.3, 2), (1.5, inf), outputs=2)
    around = verifier.lipschitz(net, verifier.Ball([0, 0, 0], 0.3), (1.5, inf), outputs=2)
    assert ball.settled and ball.upper <= around.upper * 1.001


@pytest.mark.parametrize("norm", [0.5, (0.5, inf), (-2, inf), (np.nan, inf), (1.5, 0.5), (inf, -inf)])
def test_refused_in_one_line(norm: Any) -> None:
    net, box = loaded(layers(2, (3, 6, 4)), 3), verifier.Box([-0.2] * 3, [0.3] * 3)
    with pytest.raises(verifier.UserError, match="norm") as e:
        verifier.lipschitz(net, box, norm)
    assert "\n" not in str(e.value)
