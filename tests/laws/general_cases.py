"""Random graphs in which every nonlinear operator meets every affine one, with boxes on which they are defined.

Each builder ends in a dense layer and takes an operator to place; operators without a value everywhere get an input
that keeps away from where they have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.relax import curve_cases
from verifier.graph.graph import Affine, Builder, Elementwise, Graph, Input, Rowwise
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import KINDS, Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.ops.product import Difference, Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.slopes import SLOPES
from verifier.graph.ops.steps import KINDS as STEPS
from verifier.graph.ops.steps import Step
from verifier.graph.passes.dots import dots

from .cases import Rng, layer, wide

PARAMETERS = {
    "elu": [(1.0, 1.0, 1.0), (0.3, 1.0, 1.5), (2.0, 2.0, 1.0)],
    "elu_slope": [(2.0,)],
    "power": [(0.5,), (-1.0,), (3.0,), (-0.5,), (4.0,), (1 / 3,), (-2.0,)],
}  # fmt: skip
CURVES = [Curve(kind, p) for kind in KINDS for p in PARAMETERS.get(kind, [()])]
ELEMENTWISE: list[Elementwise] = [
    *(f for f in CURVES if f.kind not in SLOPES),
    *(Step(kind, 0.25 if kind == "threshold" else 0.0) for kind in STEPS),
    Relu(), Relu(0.1), Relu(-0.5),
    *(f for f in CURVES if f.kind in SLOPES),
]  # fmt: skip
ROWWISE: list[Rowwise] = [Product(), Dot(), Difference(), Share(), Gate()]


def name_of(op: Any) -> str:
    parts = [getattr(op, "kind", type(op).__name__.lower()), *(f"{p:.2g}" for p in getattr(op, "parameters", ()))]
    return "-".join([*parts, f"{op.leak:g}"] if isinstance(op, Relu) else parts)


def jumps(op: Any) -> bool:
    return isinstance(op, Step)


def positive(op: Any) -> bool:
    """Whether an operator wants positive numbers."""
    roots = (0.5, -0.5, 1 / 3)
    return isinstance(op, Curve) and (op.kind == "log" or (op.kind == "power" and op.parameters[0] in roots))


def apart(op: Any) -> bool:
    """Whether it wants numbers that are not zero."""
    return positive(op) or (isinstance(op, Curve) and op.kind == "power" and op.parameters[0] < 0)


SHRUNK = {"tan": 1.3, "asin": 0.95, "atanh": 0.9}
"""Curves of small numbers only, and how far they are let go."""


def put(b: Builder, op: Elementwise, x: int) -> int:
    """The operator applied to a node, after what makes it well defined: a square plus a constant."""
    if apart(op):
        x = b.add(Scale(np.array(0.3), np.array(0.4)), [b.add(Curve("square"), [x])])
    if isinstance(op, Curve) and op.kind in SHRUNK:
        x = b.add(Scale(np.array(SHRUNK[op.kind])), [b.add(Curve("tanh"), [x])])
    if isinstance(op, Curve) and op.kind == "acosh":
        x = b.add(Scale(np.array(0.3), np.array(1.2)), [b.add(Curve("square"), [x])])
    return b.add(op, [x])


# ---- shapes of networks, each around one elementwise operator ----


def plain(rng: Rng, op: Elementwise) -> Graph:
    b = Builder()
    source = b.add(Input((3,)))
    x = put(b, op, b.add(layer(rng, 5, 3), [source]))
    x = put(b, op, b.add(layer(rng, 4, 5), [x]))
    return b.graph([source], [b.add(layer(rng, 2, 4), [x])])


def direct(rng: Rng, op: Elementwise) -> Graph:
    """On the input itself, and as the output itself beside it."""
    b = Builder()
    source = b.add(Input((3,)))
    x = put(b, op, source)
    y = put(b, op, b.add(layer(rng, 2, 3), [x]))
    return b.graph([source], [b.add(Concat(0), [y, b.add(Take(np.array([1]), (1,)), [source])])])


def residual(rng: Rng, op: Elementwise) -> Graph:
    """Sums of what went through and what did not; one value feeds two different operators."""
    b = Builder()
    source = b.add(Input((3,)))
    z = b.add(layer(rng, 4, 3), [source])
    x, y = put(b, op, z), b.add(Curve("tanh"), [z])
    w = b.add(Add((1, -1, 1)), [x, y, b.add(layer(rng, 4, 3), [source])])
    v = put(b, op, b.add(layer(rng, 4, 4), [w]))
    return b.graph([source], [b.add(layer(rng, 2, 4), [b.add(Add((1, 1, -1)), [v, w, z])])])


def moved(rng: Rng, op: Elementwise) -> Graph:
    """Chains of moves with zeros between a value and the operator (which must be defined at zero: a shift after)."""
    b = Builder()
    source = b.add(Input((2, 3)))
    z = b.add(layer(rng, 3, 3), [source])  # [2, 3]
    t = b.add(Transpose((1, 0)), [b.add(Take(np.array([0, -1, 4, 4, 2, -1, 1, 5]), (4, 2)), [z])])  # [2, 4]
    c = b.add(Concat(1), [t, b.add(Reshape((2, 3)), [b.add(Transpose((1, 0)), [z])])])  # [2, 7]
    x = b.add(Reshape((14,)), [put(b, op, c)])
    y = b.add(Sum((0,), False), [put(b, op, t)])  # [4]
    return b.graph([source], [b.add(layer(rng, 2, 18), [b.add(Concat(0), [x, y])])])


def conv(rng: Rng, op: Elementwise) -> Graph:
    b = Builder()
    source = b.add(Input((1, 3, 3)))
    w = rng.normal(size=(2, 1, 2, 2)) * 0.5, rng.normal(size=(2, 2, 2, 2)) * 0.4
    pads = ((1, 0), (0, 1))
    x = put(b, op, b.add(Conv(w[0], rng.normal(size=2) * 0.3, (1, 1), pads, (1, 1)), [source]))
    x = put(b, op, b.add(Conv(w[1], None, (1, 1), ((0, 0), (0, 0)), (1, 1)), [x]))
    return b.graph([source], [b.add(layer(rng, 2, 8), [b.add(Reshape((8,)), [x])])])


def apart_by(b: Builder, x: int, y: int) -> int:
    """How far the rectified y is from the rectified x, for nodes of shape `[n]`."""
    n = b.nodes[x].size
    parts = [b.add(Reshape((n, 1)), [v]) for v in (x, y, b.add(Add((1, -1)), [y, x]))]
    return b.add(Difference(), [b.add(Concat(1), parts)])


def gated(rng: Rng, op: Elementwise) -> Graph:
    """A product of two branches, of which one is the operator's, its difference to a rectified one, and gates."""
    b = Builder()
    source = b.add(Input((3,)))
    x = put(b, op, b.add(layer(rng, 4, 3), [source]))
    y = b.add(layer(rng, 4, 3), [source])
    pair = b.add(Concat(1), [b.add(Reshape((4, 1)), [v]) for v in (x, y)])
    p, d = b.add(Product(), [pair]), apart_by(b, x, y)
    gates = [
        b.add(Gate(0.1), [pair]),
        b.add(Gate(), [b.add(Take(np.arange(8).reshape(4, 2)[:, ::-1], (4, 2)), [pair])]),
    ]
    return b.graph([source], [b.add(layer(rng, 2, 4), [b.add(Add((1, -1, 1, -1)), [p, d, *gates])])])


def attention(rng: Rng, op: Elementwise) -> Graph:
    """Softmax of products of an operator's values, times values again."""
    b = Builder()
    source = b.add(Input((2, 2)))
    q, k, v = (put(b, op, b.add(layer(rng, 2, 2, 0.7), [source])), *(b.add(layer(rng, 2, 2), [source]) for _ in "kv"))
    left = b.add(Take(np.array([0, 1, 0, 1, 2, 3, 2, 3]), (2, 2, 2)), [q])
    right = b.add(Take(np.array([0, 1, 2, 3, 0, 1, 2, 3]), (2, 2, 2)), [k])
    pairs = b.add(Concat(3), [b.add(Reshape((2, 2, 2, 1)), [a]) for a in (left, right)])
    weights = b.add(Share(), [b.add(Sum((2,), False), [b.add(Product(), [pairs])])])  # [2, 2]
    first = b.add(Take(np.array([0, 0, 1, 1, 2, 2, 3, 3]), (2, 2, 2)), [weights])
    second = b.add(Take(np.array([0, 1, 2, 3, 0, 1, 2, 3]), (2, 2, 2)), [v])
    pairs = b.add(Concat(3), [b.add(Reshape((2, 2, 2, 1)), [a]) for a in (first, second)])
    mixed = b.add(Reshape((4,)), [b.add(Sum((1,), False), [b.add(Product(), [pairs])])])
    return dots(b.graph([source], [b.add(layer(rng, 2, 4), [mixed])]))  # the first sum is an inner product


def constant(rng: Rng, op: Elementwise) -> Graph:
    """Rows that do not depend on the input: a layer of zeros, entries that are always zero, an input times zero."""
    b = Builder()
    source = b.add(Input((3,)))
    W = rng.normal(size=(4, 3)) * [[1], [0], [1], [0]]
    x = put(b, op, b.add(Dense(W, rng.normal(size=4)), [source]))
    y = put(b, op, b.add(Scale(np.array(0.0), np.array(0.7)), [source]))
    z = b.add(layer(rng, 2, 7), [b.add(Concat(0), [x, y])])
    none = b.add(Scale(np.array(0.0)), [b.add(Take(np.array([0]), (1,)), [x])])
    return b.graph([source], [b.add(Concat(0), [z, none])])


SHAPES: dict[str, Callable[[Rng, Elementwise], Graph]] = {
    f.__name__: f for f in (plain, direct, residual, moved, conv, gated, attention, constant)
}


def shaped(shape: str, op: Elementwise, seed: int) -> Graph:
    return SHAPES[shape](np.random.default_rng([seed, *shape.encode(), *name_of(op).encode()]), op)


def assorted(rng: Rng) -> Graph:
    """Any operators one after the other, with shortcuts."""
    b = Builder()
    source = b.add(Input((3,)))
    x = b.add(layer(rng, 4, 3), [source])
    for _ in range(3):
        op = ELEMENTWISE[rng.integers(len(ELEMENTWISE))]
        y = b.add(layer(rng, 4, 4, 0.7), [put(b, op, x)])
        how = rng.integers(4)
        if how == 0:
            y = b.add(layer(rng, 4, 2), [b.add(Product(), [b.add(Reshape((2, 2)), [y])])])
        elif how == 1:
            y = b.add(Share(), [y])
        elif how == 2:
            y = apart_by(b, x, y)
        x = b.add(Add((1, -1)), [y, x]) if rng.random() < 0.5 else y
    return b.graph([source], [b.add(layer(rng, 2, 4), [x])])


# ---- values beyond double precision ----

LD = np.longdouble
FINE = LD(2.0**-59)


@np.errstate(all="ignore")
def fine_values(graph: Graph, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of points `[B, P, n]`, the real value of every node `[B, P, size]`, and what is unknown of it."""
    B, P = x.shape[:2]
    value: list[np.ndarray] = []
    off: list[np.ndarray] = []
    for node in wide(graph).nodes:
        op, v, e = node.op, [value[j] for j in node.inputs], [off[j] for j in node.inputs]
        if isinstance(op, Input):
            y = x.reshape(B * P, *node.shape).astype(LD)
            unknown = y * 0
        elif isinstance(op, Affine):
            y, size = op.evaluate(*v), op.absolute()
            unknown = size.linear(*e) + FINE * size.evaluate(*(abs(a) for a in v))
        elif isinstance(op, Curve):
            y = curve_cases.value(op, v[0])
            unknown = 1.1 * abs(op.slope(v[0].astype(np.float64))) * e[0] + FINE * abs(y)
        elif isinstance(op, Product):
            y, pair, errors = op.evaluate(*v), abs(v[0]), e[0]
            unknown = pair[..., 0] * errors[..., 1] + pair[..., 1] * errors[..., 0] + FINE * abs(y)
        elif isinstance(op, Dot):
            y, pair, errors = op.evaluate(*v), abs(v[0]), e[0]
            k = pair.shape[-1] // 2
            swapped = np.concatenate([pair[..., k:], pair[..., :k]], -1)
            unknown = (swapped * errors).sum(-1) + FINE * (swapped * pair).sum(-1)
        elif isinstance(op, Share):
            y = op.evaluate(*v)
            unknown = y * (2 * e[0].max(-1)[..., None] + FINE * (op.shape(node.shape)[-1] + 4))
        elif isinstance(op, Rowwise):
            y = op.evaluate(*v)
            unknown = 2 * e[0].sum(-1) + FINE * abs(v[0]).sum(-1)
        else:  # a jump is as good as never met
            y = op.evaluate(*v)
            unknown = e[0] + FINE * abs(y)
        value.append(y)
        off.append(unknown)
    return [v.reshape(B, P, -1) for v in value], [e.reshape(B, P, -1) for e in off]
