"""Laws of a quantised network's differences from its float one: the same function, sound bounds, and tighter ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import verifier
from tests.quantised import network, quantised, random_weights
from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.graph.graph import Affine, Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.product import Difference
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.graph.passes.runner import simplify
from verifier.run.joint import Joint, Part
from verifier.spec.apart import over_differences
from verifier.spec.builders import output_property
from verifier.values.arrays import Place
from verifier.values.verdict import Verdict

from .cases import chain, conv, leaky, pooled, residual
from .test_differences import Model, lower_bound

Rng = np.random.Generator


def images(rng: Rng) -> Graph:
    """Convolutions with rectifiers."""
    steps = [replace(n, op=Relu()) if isinstance(n.op, Relu) else n for n in conv(rng).nodes]
    return replace(conv(rng), nodes=tuple(steps))


def waves(rng: Rng) -> Graph:
    """A curve between a rectifier and another one."""
    b = Builder()
    x = b.add(Input((3,)))
    h = b.add(Relu(), [b.add(Dense(rng.normal(size=(5, 3)), rng.normal(size=5)), [x])])
    h = b.add(Curve("tanh"), [b.add(Dense(rng.normal(size=(5, 5)), rng.normal(size=5)), [h])])
    h = b.add(Relu(), [b.add(Dense(rng.normal(size=(5, 5)), rng.normal(size=5)), [h])])
    return b.graph([x], [b.add(Dense(rng.normal(size=(2, 5)), None), [h])])


GRAPHS: list[Callable[[Rng], Graph]] = [chain, images, residual, pooled, waves, leaky]
ORDERS = pytest.mark.parametrize("turned", [False, True], ids=["float first", "quantised first"])


def in_codes(graph: Graph, rng: Rng, wide: bool = False) -> Graph:
    """The same with every input, rectifier and output in codes; these saturate at some places, or (wide) never.

    Scales are powers of two, so that halves between codes are met exactly; weights are rounded, too.
    """
    build, new = Builder(), dict[int, int]()

    def coded(i: int, low: float) -> int:
        s, shift = 2.0 ** rng.integers(-6, -2), 1e4 if wide else float(rng.choice([1.0, 16.0, 200.0]))
        codes = build.add(Step("round", 0.0, low * shift, shift), [build.add(Scale(np.array(1 / s), None), [i])])
        return build.add(Scale(np.array(s), None), [codes])

    def rounded(a: np.ndarray) -> np.ndarray:
        return np.rint(a * 32) / 32 if a.dtype.kind == "f" else a

    for i, node in enumerate(graph.nodes):
        op = node.op.cast(rounded) if isinstance(node.op, Affine) else node.op
        drop = isinstance(op, Relu) and op.leak == 0 and bool(rng.random() < 0.5)  # codes from zero on do what it did
        new[i] = new[node.inputs[0]] if drop else build.add(op, [new[j] for j in node.inputs], node.name)
        if isinstance(op, (Relu, Input)) or i in graph.outputs:
            new[i] = coded(new[i], 0.0 if drop else -1.0)
    return build.graph([0], [new[i] for i in graph.outputs])


def pair(make: Callable[[Rng], Graph], rng: Rng, turned: bool, wide: bool = False) -> Joint:
    """A network and its quantised one on the same inputs."""
    first = make(rng)
    models = [Model(first), Model(in_codes(first, rng, wide))]
    n = int(np.prod(models[0].input_shapes[0]))
    return Joint(tuple(Part(m, (np.arange(n),), (0,)) for m in (models[::-1] if turned else models)), n)


def at_ties(rng: Rng, lower: np.ndarray, upper: np.ndarray, count: int) -> np.ndarray:
    """Points of a box, many with entries half between codes and at the ends."""
    x = rng.uniform(lower, upper, (count, len(lower)))
    near = np.rint(x * 128) / 128
    x = np.where(rng.random(x.shape) < 0.5, near, x)
    end = np.where(rng.random(x.shape) < 0.5, lower, upper)
    return np.clip(np.where(rng.random(x.shape) < 0.2, end, x), lower, upper)


@ORDERS
@pytest.mark.parametrize("make", GRAPHS, ids=lambda m: m.__name__)
def test_the_same_function_and_its_differences(make: Callable[[Rng], Graph], turned: bool) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        joint = pair(make, rng, turned)
        found = joint.compared
        assert found is not None
        assert make is leaky or any(isinstance(n.op, Difference) for n in found.graph.nodes)
        x = at_ties(rng, np.full(joint.n, -2.0), np.full(joint.n, 2.0), 200)
        values = found.graph.evaluate(x)[0]
        (y,) = joint.graph.evaluate(x)
        m = y.shape[1] // 2
        assert sorted(map(sorted, found.pairs.tolist())) == [[k, k + m] for k in range(m)]
        # Sums of the differences, of the same codes: what rounds in the graph is the same node.
        want = values[:, found.pairs[:, 1]] - values[:, found.pairs[:, 0]]
        assert abs(values[:, 2 * m :] - want).max() < 1e-9 * (1 + abs(y).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", GRAPHS, ids=lambda m: m.__name__)
def test_bounds_of_every_node_hold(make: Callable[[Rng], Graph], dtype: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        joint = pair(make, rng, bool(seed % 2))
        assert joint.compared is not None
        graph = simplify(joint.compared.graph)
        center, radius = np.rint(rng.normal(size=joint.n) * 32) / 32, 2.0 ** rng.integers(-8, 1, joint.n)
        lower, upper = ((center + s * radius).astype(dtype) for s in (-1, 1))
        box = boxes(lower[None], upper[None], np.arange(joint.n), dtype)
        bounds = propagate(prepare(graph, Place("numpy", dtype)), box, None, set(), {}, 10**6)
        values = graph.values(at_ties(rng, lower.astype(float), upper.astype(float), 1000))
        for j, (l, u) in bounds.interval.items():
            assert (l[0] <= values[j] + 1e-12).all() and (values[j] - 1e-12 <= u[0]).all()


@pytest.mark.parametrize("make", GRAPHS, ids=lambda m: m.__name__)
def test_rows_are_sound_and_tighter(make: Callable[[Rng], Graph]) -> None:
    apart = alone = 0.0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        joint = pair(make, rng, bool(seed % 2), wide=True)
        found = joint.compared
        assert found is not None
        center = np.rint(rng.normal(size=joint.n) * 8) / 64
        lower, upper = center - 0.25, center + 0.25
        plain = simplify(joint.graph)
        row = np.zeros(plain.nodes[plain.outputs[0]].size)
        row[0], row[len(row) // 2] = rng.permutation([-1.0, 1.0])
        prop = over_differences(output_property(lower, upper, [[(row, 0.0)]]), found.pairs)
        assert prop is not None and not prop.A_y[0, : len(row)].any()
        least = float((plain.evaluate(at_ties(rng, lower, upper, 2000))[0] @ row).min())
        got = lower_bound(simplify(found.graph), prop.A_y[0], lower, upper)
        other = lower_bound(plain, row, lower, upper)
        assert got <= least and other <= least
        apart, alone = apart + least - got, alone + least - other
    assert apart < (1.02 if make in (waves, leaky) else 0.85) * alone  # through other curves nothing is followed


def other_ways() -> dict[str, Graph]:
    """What a float network is compared with that its quantised one is not: nothing is claimed but what is so."""
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    made = {}
    for name, first, step, last in (
        ("two scales", Scale(np.array([4.0, 8.0, 16.0]), None), Step("round"), Dense(W / 8, b)),
        ("a negative scale", Scale(np.array(-4.0), None), Step("round", 0.0, -8.0, 8.0), Dense(-W / 4, b)),
        ("no likeness", Scale(np.array(4.0), None), Step("round", 0.0, -8.0, 8.0), Dense(-W, b)),
        ("little likeness", Scale(np.array(4.0), None), Step("round", 0.0, -8.0, 8.0), Dense(abs(W), b)),
        ("one end", Scale(np.array(4.0), None), Step("round", 0.0, 0.0), Dense(W / 4, b)),
        ("a floor", Scale(np.array(4.0), None), Step("floor", 0.0, -8.0, 8.0), Dense(W / 4, b)),
        ("a shift", Scale(np.array(4.0), np.array(3.0)), Step("round", 0.0, -8.0, 8.0), Dense(W / 4, b)),
        ("far ends", Scale(np.array(4.0), None), Step("round", 0.0, -(2.0**31), 2.0**31), Dense(W / 4, b)),
    ):
        build = Builder()
        x = build.add(Input((3,)))
        h = build.add(Relu(), [build.add(last, [build.add(step, [build.add(first, [x])])])])
        made[name] = build.graph([x], [build.add(Add((1, 1)), [h, h])])
    return made


@pytest.mark.parametrize("name", other_ways())
def test_whatever_is_compared_bounds_hold(name: str) -> None:
    rng = np.random.default_rng(0)
    build = Builder()
    x = build.add(Input((3,)))
    h = build.add(Relu(), [build.add(Dense(rng.normal(size=(4, 3)), rng.normal(size=4)), [x])])
    first, second = Model(build.graph([x], [build.add(Add((1, 1)), [h, h])])), Model(other_ways()[name])
    joint = Joint(tuple(Part(m, (np.arange(3),), (0,)) for m in (first, second)), 3)
    found = joint.compared
    assert (found is not None) == (name in ("little likeness", "a shift"))
    if found is None:
        return
    lower, upper = np.array([-1.0, -0.25, 0.0]), np.array([0.5, 0.25, 3.0])
    y = joint.graph.evaluate(at_ties(rng, lower, upper, 2000))[0]
    for k, sign in ((k, s) for k in range(4) for s in (1.0, -1.0)):
        row = np.zeros(12)
        row[8 + k] = sign
        bound = lower_bound(simplify(found.graph), row, lower, upper)
        assert bound <= (sign * (y[:, 4 + k] - y[:, k])).min()


@pytest.mark.parametrize(("how", "signed", "reach"), [("qdq", False, 0.1), ("qoperator", True, 0.02)])
def test_the_question_is_decided_and_what_differs_is_never_equivalent(how: str, signed: bool, reach: float) -> None:
    """Planted: a distance that a point has is no `unsat`; three times as much is one, in either order."""
    rng = np.random.default_rng(1)
    model = network(random_weights(rng, (4, 16, 16, 2)), (4,))
    data = rng.random((100, 4))
    f, q = verifier.load(model), verifier.load(quantised(model, how, data, signed, signed))
    box = verifier.Box(np.full(4, 0.5 - reach), np.full(4, 0.5 + reach))
    x = rng.uniform(box.lower, box.upper, (20000, 4)).astype(np.float32)
    top = float(abs(f.run(x) - q.run(x)).max())
    for nets in ((f, q), (q, f)):
        assert verifier.verify(verifier.equivalent(*nets, box, 3 * top), timeout=60).verdict is Verdict.UNSAT
        near = verifier.verify(verifier.equivalent(*nets, box, 0.99 * top), timeout=1)
        assert near.verdict is not Verdict.UNSAT
        assert verifier.verify(verifier.equivalent(*nets, box, 0.5 * top), timeout=60).verdict is Verdict.SAT
