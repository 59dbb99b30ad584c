"""What is maximised: a norm of a row times the Jacobian, or of the Jacobian times a direction, as a graph.

The row (or direction) is an input like the point is, so one graph serves all rows: a batch holds parts of several rows.
"""

from __future__ import annotations

from math import inf, prod

import numpy as np

from verifier.graph.chain import Chain, Node
from verifier.graph.derivative import pull, push
from verifier.graph.graph import Builder, Graph, Input, Shape
from verifier.graph.graph import Node as GraphNode
from verifier.graph.ops.affine import Add, Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape, Take
from verifier.graph.ops.norm import Norm
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.maxima import maxima_to_relu

X, SEED = 1, 2
"""Nodes of the joint graphs: the point, and the row or direction."""
SEED_NAME = "seed of the derivative"


def pulled_back(graph: Graph, counted: np.ndarray | None = None) -> Graph:
    """The row `r` (m entries) times the Jacobian of a network at x (n entries): `(1, n)` from the input `(x, r)`.

    With `counted` its entries at these inputs alone.

    Raises:
        ModelError: some operator has no derivative.
    """
    t = _chain(graph, graph.outputs[0])
    whole = t.finish(pull(t, _seed(t), X), t.shape(X))
    if counted is None:
        return whole
    builder = Builder()
    builder.nodes = list(whole.nodes)
    return builder.graph(whole.inputs, (builder.add(Take(counted, (1, len(counted))), whole.outputs),))


def pushed_forward(graph: Graph) -> Graph:
    """The Jacobian of a network at x times the direction `d` (n entries): `(1, m)` from the input `(x, d)`.

    Raises:
        ModelError: some operator has no derivative.
    """
    t = _chain(graph, graph.inputs[0])
    return t.finish(push(t, _seed(t), X), t.shape(t.graph.outputs[0]))


def _chain(graph: Graph, like: int) -> Chain:
    """The chain rule on a network and a seed of the shape of node `like`."""
    graph, shape = maxima_to_relu(graph), graph.nodes[like].shape
    return Chain(_joint(graph, shape), 1)


def _seed(t: Chain) -> Node:
    return Node(t.add(Reshape((1, *t.shape(SEED))), SEED))


def _joint(graph: Graph, seed: Shape) -> Graph:
    """The network as a function of its input and more, side by side; without what its output does not need."""
    (x,), (out,) = graph.inputs, graph.outputs
    n, m = graph.nodes[x].size, prod(seed)
    nodes = [GraphNode("point_and_seed", Input((n + m,)), (), (n + m,))]
    for name, start, stop, shape in (("point", 0, n, graph.nodes[x].shape), (SEED_NAME, n, n + m, seed)):
        nodes.append(GraphNode(name, Take(np.arange(start, stop), shape), (0,), shape))
    new, needed = {x: X}, {out}
    for i in range(out, -1, -1):
        if i in needed:
            needed.update(graph.nodes[i].inputs)
    for i, node in enumerate(graph.nodes):
        if i != x and i in needed:
            new[i] = len(nodes)
            nodes.append(GraphNode(node.name, node.op, tuple(new[j] for j in node.inputs), node.shape))
    return Graph(tuple(nodes), (0,), (new[out],))


def measured(graph: Graph, dual: float) -> Graph:
    """What is bounded above, of a graph of derivatives J: `Σ|J_j|` for dual 1, `Σ J_j²` for 2, the J_j for inf.

    For others it is the norm itself.  See `Problem.norm` for how a bound of it becomes a bound of the norm.
    """
    (J,), builder = graph.outputs, Builder()
    builder.nodes = list(graph.nodes)
    flat = builder.add(Reshape((prod(graph.nodes[J].shape),)), (J,))
    flat = builder.add(Scale(np.array(1.0)), (flat,))  # moves are looked through: so entries count as they stand here
    if dual == inf:
        return builder.graph(graph.inputs, (flat,))
    if dual == 1:
        both = builder.add(Scale(np.array(2.0)), (builder.add(Relu(), (flat,)),))
        flat = builder.add(Add((1, -1)), (both, flat))
    elif dual == 2:
        flat = builder.add(Curve("square"), (flat,))
    else:
        row = builder.add(Reshape((1, builder.nodes[flat].size)), (flat,))
        return builder.graph(graph.inputs, (builder.add(Norm(dual), (row,)),))
    return builder.graph(graph.inputs, (builder.add(Sum((0,)), (flat,)),))
