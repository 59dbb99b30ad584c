"""Local Lipschitz constants against exact ones, samples and pairs; what can be asked for, and what is refused."""

from __future__ import annotations

import time
from functools import cache
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.laws.cases import GRAPHS, Net, chain
from tests.laws.general_nets import network
from tests.sensitivity.cases import inside, loaded, operator_norm
from verifier.graph.derivative import jacobian
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.run.asked import ask
from verifier.search.budget import Budget, OutOfTime
from verifier.sensitivity.baselines.mixed_integer import lipmip

NORMS = ((inf, inf), (2.0, 2.0), (1.0, 1.0), (1.0, inf), (2.0, inf))
norms = pytest.mark.parametrize("norm", NORMS)


def of(ops: list[Any], n: int = 2) -> Net:
    b = Builder()
    source = at = b.add(Input((n,)))
    for op in ops:
        at = b.add(op, [at])
    return Net(b.graph([source], [at]), "float64")


@cache
def tiny(seed: int) -> tuple[Graph, np.ndarray, np.ndarray]:
    """A rectifier network of few neurons, some with weights that tie, and a box."""
    rng = np.random.default_rng(seed)
    sizes = tuple(int(v) for v in rng.integers(1, 5, 4))
    graph = chain(rng, sizes, leak=float(rng.choice([0.0, 0.0, 0.1, -0.5])))
    if rng.random() < 0.3:
        graph = graph.cast(lambda a: np.round(2 * a) / 2)
    center, eps = 0.5 * rng.normal(size=sizes[0]), float(rng.choice([0.1, 0.5, 1.5]))
    return graph, center - eps, center + eps


def each(values: np.ndarray, goals: np.ndarray, K: int) -> np.ndarray:
    found = np.full(K, -inf)
    np.maximum.at(found, goals[:, 0], values)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_exact_at_every_stage(seed: int) -> None:
    """From the first bound to the last: the upper ones fall to the exact constants, the lower ones rise to them."""
    graph, low, high = tiny(seed)
    rng, K = np.random.default_rng(seed), graph.nodes[graph.outputs[0]].size
    for p in (inf, 1.0):
        dual = 1 if p == inf else inf
        attained, exact = lipmip(graph, low, high, p)
        J = jacobian(graph).evaluate(rng.uniform(low, high, (300, len(low))))[0]
        met = np.linalg.norm(J, dual, axis=2).max(0)
        asked = ask(graph, verifier.Box(low, high), (p, inf), None, None, "net", 1e-7, True)
        search = asked.search(lambda *_: None)
        search.root()
        upper, lower = search.upper.copy(), search.lower.copy()
        for _ in range(400):
            ended = search.run(Budget.seconds(0.004))
            assert (search.upper <= upper).all() and (search.lower >= lower).all()
            upper, lower = search.upper.copy(), search.lower.copy()
            assert (lower <= upper + 1e-9 * (1e-3 + abs(upper))).all()
            top = each(upper, search.problem.goals, K)
            assert (top >= met - 1e-9 * (1 + met)).all()
            if attained == pytest.approx(exact, rel=1e-6):
                assert (top >= np.minimum(exact, attained) - 1e-7 * (1 + exact)).all() or degenerate(graph)
            if ended:
                break
        assert ended
        assert (top <= exact + 1e-5 * (1 + exact)).all()
        bottom = each(lower, search.problem.goals, K)
        assert (bottom <= exact + 1e-7 * (1 + exact)).all()


def degenerate(graph: Graph) -> bool:
    """Whether weights were rounded, so that cells without an inside, which the exact program counts, are likely."""
    return all((2 * n.op.W == np.round(2 * n.op.W)).all() for n in graph.nodes if isinstance(n.op, Dense))


def check(graph: Graph, region: Any, norm: tuple[float, float], found: Any, rng: np.random.Generator) -> None:
    """The bound holds for derivatives, near and far pairs; what is attained is, in the set."""
    x = inside(region, 150, rng)
    with np.errstate(all="ignore"):
        J = (
            jacobian(graph)
            .evaluate(x.reshape(-1, *graph.nodes[graph.inputs[0]].shape))[0]
            .reshape(len(x), -1, x.shape[1])
        )
    assert max(operator_norm(each, *norm) for each in J) <= found.upper * (1 + 1e-12) + 1e-12
    y = graph.evaluate(x.reshape(-1, *graph.nodes[graph.inputs[0]].shape))[0].reshape(len(x), -1)
    rise = np.linalg.norm(y[1:] - y[:-1], norm[1], axis=1)
    apart = np.linalg.norm(x[1:] - x[:-1], norm[0], axis=1)
    assert (rise <= found.upper * apart * (1 + 1e-9) + 1e-11 * (1 + abs(y).max())).all()
    assert 0 <= found.lower <= found.upper
    at = found.point.reshape(1, *graph.nodes[graph.inputs[0]].shape)
    attained = operator_norm(jacobian(graph).evaluate(at)[0].reshape(J.shape[1:]), *norm)
    assert attained >= found.lower * (1 - 1e-9) - 1e-12
    if isinstance(region, verifier.Box):
        assert (found.point >= region.lower).all() and (found.point <= region.upper).all()
    else:
        assert np.linalg.norm(found.point - region.center, region.norm) <= region.eps * (1 + 1e-12)


@norms
@pytest.mark.parametrize("seed", range(8))
def test_any_network(seed: int, norm: tuple[float, float]) -> None:
    """Curves, products, softmax, rectifiers, shortcuts; boxes and balls; any time."""
    rng = np.random.default_rng([seed, NORMS.index(norm)])
    graph, lower, upper = network(rng, jumps=False)
    ball = verifier.Ball((lower + upper) / 2, float((upper - lower).max() / 2), int(rng.integers(1, 3)))
    region = (verifier.Box(lower, upper), ball)[seed % 2]
    found = verifier.lipschitz(Net(graph, "float64"), region, norm, timeout=float(rng.choice([0.02, 0.15])))
    if found.lower:
        check(graph, region, norm, found, rng)


@norms
@pytest.mark.parametrize("name", ["conv", "pooled", "residual", "moves", "sources", "mirrored", "thinned"])
def test_structures(name: str, norm: tuple[float, float]) -> None:
    rng = np.random.default_rng(len(name))
    graph = GRAPHS[name](rng)
    n = graph.nodes[graph.inputs[0]].size
    center = 0.3 * rng.normal(size=n)
    for region in (
        verifier.Box(center - 0.2, center + 0.3),
        verifier.Ball(center, 0.4, 1),
        verifier.Ball(center, 0.4, 2),
    ):
        found = verifier.lipschitz(Net(graph, "float64"), region, norm, timeout=0.05)
        check(graph, region, norm, found, rng)


@norms
def test_what_is_known(norm: tuple[float, float]) -> None:
    """Affine maps, constants, dead networks, points, one input, one output."""
    rng = np.random.default_rng(0)
    W, box = rng.normal(size=(3, 2)), verifier.Box([-1, -2], [1, 2])
    found = verifier.lipschitz(of([Dense(W, np.ones(3))]), box, norm)
    assert found.upper == pytest.approx(operator_norm(W, *norm), rel=1e-9)
    assert found.lower == pytest.approx(found.upper, rel=1e-9) and found.settled
    still = [of([Dense(0 * W, np.ones(3))]), of([Dense(W, -50 * np.ones(3)), Relu()])]
    still += [of([Dense(0 * W, np.ones(3)), Curve("tanh"), Dense(W.T, None)])]
    for net in still:
        assert verifier.lipschitz(net, box, norm).upper <= 1e-12
    net = of([Dense(W, None), Curve("tanh"), Dense(W.T, None)])
    point = np.array([0.3, -0.2])
    found = verifier.lipschitz(net, verifier.Box(point, point), norm)
    J = jacobian(net.graph).evaluate(point[None])[0][0]
    assert found.upper == pytest.approx(operator_norm(J, *norm), rel=1e-9)
    one = of([Dense(np.array([[2.0]]), None), Curve("tanh"), Dense(np.array([[-3.0]]), None)], 1)
    found = verifier.lipschitz(one, verifier.Box([-0.5], [1.0]), norm)
    assert found.lower <= 6.0 <= found.upper and found.upper == pytest.approx(6.0, rel=1e-3)


def test_functionals() -> None:
    """Several outputs, a matrix and margins are what a last layer of theirs would be."""
    rng = np.random.default_rng(2)
    graph = chain(rng, (3, 6, 4))
    box = verifier.Box([-0.5] * 3, [0.6] * 3)
    C = rng.normal(size=(2, 4))
    kept = {"outputs": C}, {"outputs": [2, 0]}, {"margins": 1}, {"outputs": 3}, {"outputs": [[0, 1, 0, -1]]}
    margins = np.array([[-1, 1, 0, 0], [0, 1, -1, 0], [0, 1, 0, -1]])
    rows = C, np.eye(4)[[2, 0]], margins, np.eye(4)[[3]], np.array([[0, 1, 0, -1]])
    for how, A in zip(kept, rows, strict=True):
        b = Builder()
        b.nodes = list(graph.nodes)
        other = Net(b.graph(graph.inputs, [b.add(Dense(A.astype(float), None), graph.outputs)]), "float64")
        for norm in NORMS:
            asked = verifier.lipschitz(Net(graph, "float64"), box, norm, **how, timeout=20)
            made = verifier.lipschitz(other, box, norm, timeout=20)
            assert (asked.functionals == A).all()
            assert asked.settled and made.settled
            assert asked.upper == pytest.approx(made.upper, rel=3e-4)


def test_balls_are_less_than_boxes() -> None:
    """x² has the slope 2·x: on a ball less than on its box."""
    net = of([Dense(np.array([[1.0, 1.0]]), None), Curve("square")])
    for norm, reach in ((1, 0.5), (2, 0.5 * 2**0.5)):
        found = verifier.lipschitz(net, verifier.Ball([1.0, 1.0], 0.5, norm), (inf, inf))
        assert found.lower <= 4 * (2 + reach) * (1 + 1e-9)
        assert found.upper == pytest.approx(4 * (2 + reach), rel=1e-3)
        assert found.lower == pytest.approx(found.upper, rel=1e-3)
    box = verifier.lipschitz(net, verifier.Ball([1.0, 1.0], 0.5), (inf, inf))
    assert box.upper == pytest.approx(12.0, rel=1e-3)


@norms
def test_no_time(norm: tuple[float, float]) -> None:
    """A sound bound at once."""
    rng = np.random.default_rng(3)
    graph = chain(rng, (10, 60, 60, 60, 5))
    region = verifier.Box([-0.5] * 10, [0.5] * 10)
    start = time.monotonic()
    found = verifier.lipschitz(Net(graph, "float64"), region, norm, timeout=0)
    assert time.monotonic() - start < 2
    J = jacobian(graph).evaluate(inside(region, 50, rng))[0]
    assert max(operator_norm(each, *norm) for each in J) <= found.upper < inf
    assert not found.settled and "product" in found.why


@pytest.mark.parametrize("norm", [*NORMS, (1.5, inf), (40.0, inf)])
def test_out_of_time_at_any_step(norm: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the bounding of the whole set is stopped, what is known by then holds, and gets no worse."""
    rng = np.random.default_rng(4)
    graph, region = chain(rng, (3, 8, 7, 4)), verifier.Box([-0.3] * 3, [0.4] * 3)
    net = Net(graph, "float64")
    J = jacobian(graph).evaluate(inside(region, 200, rng))[0]
    most, uppers, kept = max(operator_norm(each, *norm) for each in J), [], Budget.check
    for stop in (0, 1, 2, 3, 5, 8, 13, 21, 34, 1000):
        left, raised = iter(range(stop)), list[bool]()

        def check(self: Budget, work: float = 0.0, left: Any = left, raised: list[bool] = raised) -> None:
            if next(left, None) is None:
                raised.append(True)
                raise OutOfTime

        monkeypatch.setattr(Budget, "check", check)
        found = verifier.lipschitz(net, region, norm, timeout=1 if stop == 1000 else 60, tolerance=inf)
        assert most <= found.upper < inf and 0 <= found.lower <= found.upper
        assert ("out of time" in found.why) == bool(raised)
        uppers.append(found.upper)
    monkeypatch.setattr(Budget, "check", kept)
    assert (np.diff(uppers) <= 1e-9).all() and uppers[-1] < uppers[0]


def test_time_is_kept() -> None:
    """On a network whose whole set takes many times as long to bound."""
    rng = np.random.default_rng(5)
    net = Net(chain(rng, (40, 300, 300, 300, 300, 10)), "float64")
    region = verifier.Box([-0.5] * 40, [0.5] * 40)
    for norm in ((inf, inf), (2.0, 2.0), (1.7, inf)):
        start = time.monotonic()
        found = verifier.lipschitz(net, region, norm, timeout=0.5)
        assert time.monotonic() - start < 2.5 and found.upper < inf
    start = time.monotonic()
    lower, upper = verifier.jacobian(net, region, within=0.5)
    assert time.monotonic() - start < 2.5 and (lower <= upper).all()
    J = jacobian(net.graph).evaluate(inside(region, 5, rng))[0]
    assert (J >= lower).all() and (J <= upper).all()


STEP = [Dense(np.eye(2), None), Step("sign")]
WRONG: dict[str, tuple[list[Any] | None, Any, dict[str, Any]]] = {
    "step": (STEP, None, {}),
    "size": (None, verifier.Box([0], [1]), {}),
    "set": (None, (0, 1), {}),
    "p": (None, None, {"norm": 0.5}),
    "q": (None, None, {"norm": (inf, 0)}),
    "nan": (None, None, {"norm": np.nan}),
    "words": (None, None, {"norm": "large"}),
    "triple": (None, None, {"norm": (1, 2, 3)}),
    "output": (None, None, {"outputs": 2}),
    "below": (None, None, {"outputs": [0, -5]}),
    "half": (None, None, {"outputs": 0.5}),
    "none": (None, None, {"outputs": []}),
    "columns": (None, None, {"outputs": [[1.0, 2.0, 3.0]]}),
    "endless": (None, None, {"outputs": [[np.inf, 0.0]]}),
    "text": (None, None, {"outputs": "a"}),
    "both": (None, None, {"outputs": 0, "margins": 1}),
    "margin": (None, None, {"margins": 2}),
    "half a margin": (None, None, {"margins": 0.5}),
    "tolerance": (None, None, {"tolerance": np.nan}),
}


@pytest.mark.parametrize("what", WRONG)
def test_refused_in_one_line(what: str) -> None:
    ops, region, how = WRONG[what]
    net = of(ops or [Dense(np.eye(2), None), Relu()])
    with pytest.raises(verifier.UserError) as e:
        verifier.lipschitz(net, region or verifier.Box([-1, -1], [1, 1]), **how)
    assert str(e.value) and "\n" not in str(e.value)


def test_what_cannot_be_bounded_is_refused_in_one_line() -> None:
    """A leak above 1 makes a concave kink; the node is named."""
    net = loaded(nn.Sequential(nn.Linear(2, 2).double(), nn.LeakyReLU(2.0)), 2)
    for door in (verifier.lipschitz, verifier.bound):
        with pytest.raises(verifier.UserError, match="leak above 1"):
            door(net, verifier.Box([-1, -1], [1, 1]))


@pytest.mark.parametrize("how", [{"timeout": "a"}, {"timeout": -1}, {"tolerance": float("nan")}])
def test_limits_are_numbers(how: dict[str, Any]) -> None:
    """Time and tolerance, of every door."""
    net, box = loaded(nn.Sequential(nn.Linear(2, 2).double()), 2), verifier.Box([-1, -1], [1, 1])
    for door in (verifier.lipschitz, verifier.jacobian, lambda n, b, **k: verifier.monotone(n, b, 0, **k)):
        with pytest.raises(verifier.UserError, match="not negative"):
            door(net, box, **how)
    with pytest.raises(verifier.UserError, match="ask for one"):
        verifier.monotone(net, box, 0, [[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(verifier.UserError, match="the inputs 0 to 1"):
        verifier.monotone(net, box, True)


@pytest.mark.parametrize("scale", [1e-310, 1e-290, 1e-200, 1e-160, 1e-100])
@pytest.mark.parametrize("norm", [(2, 2), (2, np.inf), (1.5, np.inf)])
def test_constants_whose_squares_are_no_numbers(scale, norm):
    """Squares of small numbers round to zero, which bounds nothing."""
    W = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
    net = torch.nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(scale * W))
    found = verifier.lipschitz(
        verifier.load(net, torch.zeros(1, 3, dtype=torch.float64)), verifier.Ball(np.zeros(3), 1.0), norm, timeout=2
    )
    m = net.weight.detach().numpy() / scale
    dual = norm[0] / (norm[0] - 1)
    truth = np.linalg.norm(m, 2) if norm[1] == 2 else np.linalg.norm(m, dual, axis=1).max()
    assert found.lower / scale <= truth * (1 + 1e-9) and found.upper / scale >= truth * (1 - 1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("norm", [1, 2, inf, (1.5, 3)])
def test_what_overflows_on_the_whole_space_is_infinite(norm: Any) -> None:
    """Weights whose products are no numbers, behind a neuron that is never active where anybody looks."""
    first = Dense(np.array([[1e200, 1e200], [1.0, 0.5]]), np.array([-1e204, 0.0]))
    second = Dense(np.array([[1e200, 0.0], [0.0, 1.0]]))
    found = verifier.lipschitz(of([first, Relu(), second, Relu(), Dense(np.eye(2))]), None, norm, timeout=5)
    assert 0.99 < found.lower < found.upper == inf
    assert (found.lowers <= found.uppers).all() and not np.isnan(found.uppers).any()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("norm", [(inf, inf), (1, inf), (2, 2), (1, 1)])
def test_a_point(activation: Any, norm: tuple[float, float]) -> None:
    """At one input nothing can be split; the constant is the norm of the Jacobian there."""
    torch.manual_seed(1)
    net = loaded(nn.Sequential(nn.Linear(2, 5), activation(), nn.Linear(5, 3)).double(), 2)
    x = np.array([0.3, -0.4])
    low, high = verifier.jacobian(net, verifier.Box(x, x))
    for region in (verifier.Box(x, x), verifier.Ball(x, 0), verifier.Ball(x, 0.0, norm=2), verifier.Ball(x, 0, norm=1)):
        found = verifier.lipschitz(net, region, norm=norm, timeout=10)
        assert found.lower <= operator_norm((low + high) / 2, *norm) * (1 + 1e-9)
        assert found.upper >= operator_norm((low + high) / 2, *norm) * (1 - 1e-9) > 0
        assert found.settled and found.upper <= found.lower * (1 + 1e-4)


def test_what_is_known_of_all_inputs_is_told_before_what_takes_long() -> None:
    """Steps may take longer than there is time: who watches can answer in their place, and is never wrong."""
    torch.manual_seed(0)
    net = loaded(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double(), 3)
    told: list[tuple[str, Any]] = []
    found = verifier.lipschitz(net, norm=2, timeout=20, watch=lambda phase, s: told.append((phase, s.result())))
    assert [phase for phase, _ in told] == ["looking for steep points", "semidefinite programming"]
    uppers = [known.upper for _, known in told] + [found.upper]
    assert np.isfinite(uppers).all() and uppers == sorted(uppers, reverse=True)
    assert told[0][1].lower == 0 and 0 < told[1][1].lower <= found.upper
    assert all((known.lowers <= known.uppers).all() for _, known in told)


def test_a_derivative_that_only_the_kink_itself_has_is_none() -> None:
    """`x − relu(x) + relu(−x)` is zero, though at 0, where both rectifiers are shut, the chain rule says 1."""
    hidden = Dense(np.array([[1.0], [-1.0], [1.0]]), np.array([0.0, 0.0, 10.0]))
    net = of([hidden, Relu(), Dense(np.array([[-1.0, 1.0, 1.0]]), np.array([-10.0]))], 1)
    for norm in (1, 2, inf):
        found = verifier.lipschitz(net, verifier.Box([-1.0], [1.0]), norm, timeout=5)
        assert 0 <= found.lower < 1e-9 and (found.lowers < 1e-9).all()
