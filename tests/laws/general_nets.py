"""Small random networks of every family of nonlinear operators."""

from __future__ import annotations

import numpy as np

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Reshape
from verifier.graph.ops.product import Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step

KINDS: list[tuple[str, tuple[float, ...]]] = [
    ("sigmoid", ()),
    ("tanh", ()),
    ("sin", ()),
    ("cos", ()),
    ("exp", ()),
    ("softplus", ()),
    ("gelu", ()),
    ("silu", ()),
    ("square", ()),
    ("power", (3.0,)),
    ("elu", (1.0, 1.0, 1.0)),
    ("atan", ()),
    ("mish", ()),
]


def network(rng: np.random.Generator, jumps: bool = True) -> tuple[Graph, np.ndarray, np.ndarray]:
    """A network of one to four inputs and two outputs, and a box: layers, residuals, sources with several users.

    Without `jumps` it has a derivative.
    """
    n = int(rng.integers(1, 5))
    b = Builder()
    x = b.add(Input((n,)))

    def dense(j: int, m: int, scale: float) -> int:
        k = b.nodes[j].size
        return b.add(Dense(rng.normal(size=(m, k)) * scale / np.sqrt(k), rng.normal(size=m) * 0.3), (j,))

    def curve(j: int) -> int:
        return b.add(Curve(*KINDS[rng.integers(len(KINDS))]), (j,))

    def nonlinear(j: int) -> int:
        m, which = b.nodes[j].size, rng.integers(0, 6 if jumps else 4)
        if which == 5:
            pair = [b.add(Reshape((m, 1)), (k,)) for k in (dense(j, m, 1.0), j)]
            return b.add(Gate(float(rng.choice([0.0, 0.1]))), (b.add(Concat(1), pair),))
        if which == 0:
            return b.add(Relu(float(rng.choice([0.0, 0.1]))), (j,))
        if which == 1:
            return curve(j)
        if which == 2:
            pair = [b.add(Reshape((m, 1)), (k,)) for k in (j, dense(j, m, 1.0))]
            return b.add(Product(), (b.add(Concat(1), pair),))
        if which == 3:
            return b.add(Share(), (j,))
        return b.add(Step(str(rng.choice(["sign", "floor", "round", "positive"]))), (j,))

    h = dense(x, 5, 1.5)
    for _ in range(rng.integers(1, 4)):
        a = nonlinear(h)
        if rng.random() < 0.4:
            a = b.add(Add((1, 1)), (a, curve(h)))
        h = dense(a, 5, 1.2)
    graph = b.graph([x], [dense(nonlinear(h), 2, 1.0)])
    width = rng.choice([0.1, 0.5, 1.0])
    lower = rng.normal(size=n) * 0.5 - width
    return graph, lower, lower + 2 * width * (0.1 + 0.9 * rng.random(n))
