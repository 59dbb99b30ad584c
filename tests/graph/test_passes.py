"""Each rewrite keeps the function of random graphs, and what it rounds is covered by the magnitudes it records."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.graph.from_onnx import check, load
from verifier.graph.graph import Affine, Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.runner import PASSES, simplify
from verifier.graph.passes.scales import fold_scales
from verifier.graph.weights import compact, compose
from verifier.values.rounding import gamma

BENCHMARKS = Path(__file__).parents[2].parent / "shared" / "benchmarks"
ints = st.integers


KINDS = ["dense", "scale", "reshape", "take", "transpose", "relu", "sum", "add", "concat", "conv"]


class Maker:
    """Draws a graph: every new node takes recent ones, so that chains, skips and shared nodes all occur."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.b = draw, Builder()
        self.rng = np.random.default_rng(draw(ints(0, 2**32 - 1)))
        self.kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))  # few, so that they meet each other

    def numbers(self, *shape: int) -> np.ndarray:
        """Weights as models have them: float32, some zero, some powers of two."""
        a = self.rng.standard_normal(shape).astype(np.float32).astype(np.float64)
        kind = self.draw(st.sampled_from(["plain", "plain", "sparse", "signs"]))
        if kind == "sparse":
            a = a * (self.rng.random(shape) < 0.3)
        return np.sign(a) if kind == "signs" else a

    def graph(self) -> Graph:
        shape = self.draw(st.sampled_from([(1, 4), (4,), (1, 2, 3, 3), (2, 4, 4), (1, 3, 4), (2, 3)]))
        at = [self.b.add(Input(shape), (), "x")]
        for _ in range(self.draw(ints(1, 9))):
            x = at[-1] if self.draw(ints(0, 3)) else self.draw(st.sampled_from(at))
            at.append(self.step(x, at))
        outputs = [at[-1], *self.draw(st.lists(st.sampled_from(at), max_size=1))]
        return self.b.graph(at[:1], outputs)

    def step(self, x: int, at: list[int]) -> int:
        s = self.b.nodes[x].shape
        return getattr(self, self.draw(st.sampled_from(self.kinds)))(x, s, at)

    def dense(self, x: int, s: Any, at: Any) -> int:
        m = self.draw(ints(1, 5))
        b = self.numbers(m) if self.draw(st.booleans()) else None
        return self.b.add(Dense(self.numbers(m, s[-1]), b), [x]) if s else x

    def scale(self, x: int, s: Any, at: Any) -> int:
        def part() -> np.ndarray | None:
            cut = s[self.draw(ints(0, len(s))) :]
            shape = [self.draw(st.sampled_from([1, d])) for d in cut]
            return self.numbers(*shape) if self.draw(st.booleans()) else None

        a, t = part(), part()
        return self.b.add(Scale(a, t), [x])

    def reshape(self, x: int, s: Any, at: Any) -> int:
        flat = prod(s)
        choices = [(flat,), (1, flat), s, (1, *s), tuple(d for d in s if d != 1), tuple(reversed(s))]
        choices += [(2, flat // 2)] if flat % 2 == 0 else []
        return self.b.add(Reshape(self.draw(st.sampled_from(choices))), [x])

    def take(self, x: int, s: Any, at: Any) -> int:
        index = self.draw(st.lists(ints(-1, prod(s) - 1), min_size=1, max_size=6))
        size = self.draw(st.sampled_from([(len(index),), (1, len(index))]))
        return self.b.add(Take(np.array(index), size), [x])

    def transpose(self, x: int, s: Any, at: Any) -> int:
        return self.b.add(Transpose(tuple(self.draw(st.permutations(range(len(s)))))), [x])

    def relu(self, x: int, s: Any, at: Any) -> int:
        return self.b.add(Relu(self.draw(st.sampled_from([0.0, 0.5]))), [x])

    def sum(self, x: int, s: Any, at: Any) -> int:
        axes = tuple(sorted(self.draw(st.sets(ints(0, len(s) - 1), max_size=1)))) if s else ()
        return self.b.add(Sum(axes, self.draw(st.booleans()) or len(s) < 2), [x])

    def add(self, x: int, s: Any, at: Any) -> int:
        other = [j for j in at if self.b.nodes[j].shape == s]
        return self.b.add(Add((1, self.draw(st.sampled_from([1, -1])))), [x, self.draw(st.sampled_from(other))])

    def concat(self, x: int, s: Any, at: Any) -> int:
        other = [j for j in at if self.b.nodes[j].shape == s]
        more = self.draw(st.lists(st.sampled_from(other), max_size=2))
        return self.b.add(Concat(self.draw(ints(0, len(s) - 1))), [x, *more]) if s and prod(s) < 30 else x

    def conv(self, x: int, s: Any, at: Any) -> int:
        if len(s) == 4 and s[0] == 1:
            x = self.b.add(Reshape(s[1:]), [x])
            s = s[1:]
        if len(s) not in (2, 3):
            return x
        r, out = len(s) - 1, self.draw(ints(1, 3))
        groups = self.draw(st.sampled_from([1, s[0]])) if out % s[0] == 0 else 1
        kernel = [self.draw(st.sampled_from([1, 2, n])) for n in s[1:]]
        pads = tuple((self.draw(ints(0, 1)), self.draw(ints(0, 1))) for _ in range(r))
        if any(n + sum(p) < k for n, p, k in zip(s[1:], pads, kernel, strict=True)):
            return x
        stride = tuple(self.draw(ints(1, 2)) for _ in range(r))
        b = self.numbers(out) if self.draw(st.booleans()) else None
        W = self.numbers(out, s[0] // groups, *kernel)
        return self.b.add(Conv(W, b, stride, pads, (1,) * r, groups), [x])


@st.composite
def graphs(draw: Any) -> Graph:
    return Maker(draw).graph()


def magnitudes(graph: Graph, *x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs with absolute values everywhere."""
    nodes = [n.op.absolute() if isinstance(n.op, Affine) else n.op for n in graph.nodes]
    values: list[Any] = [None] * len(nodes)
    for i, a in zip(graph.inputs, x, strict=True):
        values[i] = abs(a)
    for i, node in enumerate(graph.nodes):
        if values[i] is None:
            values[i] = nodes[i].evaluate(*(values[j] for j in node.inputs))
    return tuple(values[i] for i in graph.outputs)


def same(before: Graph, after: Graph) -> None:
    """Both compute the same; the new magnitudes are not below the old."""
    assert [after.nodes[i].shape for i in after.outputs] == [before.nodes[i].shape for i in before.outputs]
    assert [after.nodes[i].shape for i in after.inputs] == [before.nodes[i].shape for i in before.inputs]
    x = np.random.default_rng(0).standard_normal((3, *before.nodes[before.inputs[0]].shape))
    for y, z, size in zip(before.evaluate(x), after.evaluate(x), magnitudes(before, x), strict=True):
        assert (abs(y - z) <= 1e-12 * size + 1e-300).all()
    for node in after.nodes:
        assert node.shape == node.op.shape(*(after.nodes[j].shape for j in node.inputs))
    for new, old in zip(magnitudes(after, x), magnitudes(before, x), strict=True):
        assert (new >= old * (1 - 1e-12)).all()


@pytest.mark.parametrize("rewrite", dict.fromkeys([*PASSES, simplify]), ids=lambda f: f.__name__)
@settings(max_examples=100, deadline=None)
@given(graph=graphs())
def test_keeps_the_function(rewrite: Any, graph: Graph) -> None:
    same(graph, rewrite(graph))


@settings(max_examples=100, deadline=None)
@given(graph=graphs())
def test_every_prefix_of_the_passes_keeps_the_function(graph: Graph) -> None:
    current = graph
    for rewrite in PASSES:
        current = rewrite(current)
        same(graph, current)


def exact(a: np.ndarray) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(np.asarray(a, np.float64))


@settings(max_examples=100, deadline=None)
@given(seed=ints(0, 2**32 - 1), sizes=st.lists(ints(1, 6), min_size=4, max_size=5), scales=st.booleans())
def test_magnitudes_cover_the_rounding_of_merged_weights(seed: int, sizes: list[int], scales: bool) -> None:
    """|W − exact W| <= gamma(terms)·(M − |W|), which is what evaluation leaves of the allowance; the same for b."""
    rng = np.random.default_rng(seed)
    layers: list[Any] = []
    for n, m in zip(sizes[:-1], sizes[1:], strict=True):
        layers.append(Dense(rng.standard_normal((m, n)) * 10.0 ** rng.integers(-8, 8, (m, n)), rng.standard_normal(m)))
        if scales:
            layers.append(Scale(rng.standard_normal(m), rng.standard_normal(m)))
    W, b = exact(np.eye(sizes[0])), exact(np.zeros(sizes[0]))
    builder = Builder()
    at = builder.add(Input((sizes[0],)))
    for layer in layers:
        at = builder.add(layer, [at])
        if isinstance(layer, Dense):
            W, b = exact(layer.W) @ W, exact(layer.W) @ b + exact(layer.b)
        else:
            W, b = exact(layer.s)[:, None] * W, exact(layer.s) * b + exact(layer.t)
    graph = fold_scales(builder.graph([0], [at]))
    merged = graph.nodes[1].op
    for node in graph.nodes[2:]:
        merged = compose(node.op, merged)  # type: ignore[arg-type]
    assert isinstance(merged, Dense) and merged.magnitude is not None and merged.b is not None
    allowance = Fraction(gamma(merged.terms(), "float64"))
    for value, true, size in ((merged.W, W, merged.magnitude.W), (merged.b, b, merged.magnitude.b)):
        value, size = exact(value), exact(size)
        assert (abs(value - true) <= allowance * (size - abs(value))).all()
        assert (size >= abs(true)).all()


def build(shape: tuple[int, ...], *ops: Any) -> Graph:
    b = Builder()
    at = b.add(Input(shape))
    for op in ops:
        at = b.add(op, [at])
    return b.graph([0], [at])


def kinds(graph: Graph) -> list[str]:
    return [type(n.op).__name__ for n in graph.nodes]


def test_normalisation_flatten_and_bias_fold_into_the_first_layer() -> None:
    rng = np.random.default_rng(0)
    g = build(
        (1, 1, 1, 5), Scale(None, rng.random((1, 1, 1, 5))), Scale(rng.random(5), None), Reshape((1, 5)),
        Dense(rng.random((4, 5))), Scale(None, rng.random(4)), Relu(), Dense(rng.random((2, 4))),
    )  # fmt: skip
    s = simplify(g)
    assert kinds(s) == ["Input", "Reshape", "Dense", "Relu", "Dense"]
    same(g, s)


def test_batch_normalisation_folds_into_a_padded_convolution_but_its_shift_before_one_does_not() -> None:
    rng = np.random.default_rng(0)
    conv = Conv(rng.random((2, 3, 3, 3)), None, (1, 1), ((1, 1), (1, 1)), (1, 1))
    norm = Scale(rng.random((2, 1, 1)), rng.random((2, 1, 1)))
    after = build((1, 3, 4, 4), Reshape((3, 4, 4)), conv, Reshape((1, 2, 4, 4)), norm, Relu())
    assert kinds(simplify(after)) == ["Input", "Reshape", "Conv", "Relu", "Reshape"]
    before = build((3, 4, 4), Scale(None, rng.random((3, 1, 1))), conv)
    assert kinds(simplify(before)) == ["Input", "Scale", "Conv"]
    same(after, simplify(after))
    same(before, simplify(before))


def test_widening_chains_merge_and_sparse_bottlenecks_stay() -> None:
    rng = np.random.default_rng(0)
    wide = build((2,), Dense(rng.random((30, 2))), Dense(rng.random((400, 30))), Dense(rng.random((500, 400))))
    assert [n.op.W.shape for n in simplify(wide).nodes[1:]] == [(500, 2)]  # type: ignore[attr-defined]
    thin = build((400,), Dense(rng.random((3, 400))), Dense(rng.random((400, 3))))
    assert [n.op.W.shape for n in simplify(thin).nodes[1:]] == [(3, 400), (400, 3)]  # type: ignore[attr-defined]
    A, B = (np.eye(m, n) + np.eye(m, n, 7) for m, n in ((500, 900), (900, 500)))
    sparse = simplify(build((900,), Dense(A), Dense(B), Relu(), Dense(B.T.copy())))
    assert all(hasattr(n.op.W, "tocsr") for n in sparse.nodes if isinstance(n.op, Dense))
    assert sum(n.op.W.nnz for n in sparse.nodes if isinstance(n.op, Dense)) <= 2 * (900 + 900 + 500)


def test_shared_layers_are_not_multiplied() -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    h = b.add(Dense(rng.random((50, 40))), [b.add(Input((40,)))])
    scaled = b.add(Scale(rng.random(50), None), [h])
    twice = b.add(Take(np.arange(50).repeat(3), (150,)), [scaled])
    g = b.graph([0], [b.add(Relu(), [h]), b.add(Relu(), [twice])])
    assert sorted(kinds(simplify(g))) == ["Dense", "Input", "Relu", "Relu", "Scale", "Take"]


def test_a_kernel_that_covers_its_input_becomes_dense() -> None:
    rng = np.random.default_rng(0)
    g = build((2, 4, 5), Conv(rng.random((3, 2, 4, 5)), rng.random(3), (1, 1), ((0, 0), (0, 0)), (1, 1)), Reshape((3,)))
    assert kinds(simplify(g)) == ["Input", "Reshape", "Dense"]
    same(g, simplify(g))


def test_an_affine_tail_becomes_a_sum_of_layers() -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.add(Input((1, 4)))
    h = b.add(Relu(), [b.add(Dense(rng.random((8, 4))), [x])])
    left = b.add(Dense(rng.random((2, 8))), [h])
    right = b.add(Dense(rng.random((1, 2))), [b.add(Take(np.array([1, 3]), (1, 2)), [x])])
    both = b.add(Concat(1), [b.add(Dense(rng.random((1, 2))), [left]), right])
    g = b.graph([x], [b.add(Dense(rng.random((2, 2)), rng.random(2)), [both])])
    s = simplify(g)
    assert kinds(s) == ["Input", "Dense", "Relu", "Dense", "Dense", "Add"]
    same(g, s)


def test_compact_keeps_the_matrix() -> None:
    W = np.zeros((400, 300))
    W[::7, ::11] = 1.5
    assert hasattr(compact(W), "tocsr")
    assert (compact(W).toarray() == W).all()
    assert compact(np.ones((400, 300))).sum() == 120_000


SMALL = sorted(BENCHMARKS.glob("*/onnx/*.onnx.gz")) if BENCHMARKS.is_dir() else []


@pytest.mark.skipif(not SMALL, reason="the shared benchmarks are not here")
def test_real_networks_stay_what_they_are() -> None:
    tried = set()
    for path in SMALL:
        family = path.parts[-3]
        if family in tried or path.stat().st_size > 700_000:
            continue
        try:
            model = load(path)
        except Exception as e:
            assert type(e).__name__ == "ModelError" and str(path) in str(e)
            continue
        tried.add(family)
        check(model, simplify(model.graph))
    assert len(tried) >= 8
