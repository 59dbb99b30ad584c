"""Gates that give way gradually, for gradient search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.graph.graph import Graph
from verifier.graph.ops.gate import Gate
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True, eq=False)
class Ramp(Gate):
    """A gate whose gradient sees a ramp in the place of its jump.

    Attributes:
        half: `[*shape]` half of the ramp's length along z.
    """

    half: Array = None

    def gradient(self, g: Array, x: Array) -> Array:
        """By v, and by z where it is near enough to zero."""
        xp, v, z = namespace(x), x[..., 0], x[..., 1]
        by_z = xp.where(xp.abs(z) <= self.half, g * v * (1 - self.leak) / (2 * self.half + 1e-30), g * 0)
        return xp.stack([super().gradient(g, x)[..., 0], by_z], -1)


def ramped(graph: Graph, z: dict[int, tuple[np.ndarray, np.ndarray]]) -> Graph:
    """The graph with a ramp for every gate, half as long as z varies.

    Args:
        z: gate -> bounds `[*shape]` of what opens and shuts it.
    """
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.op, Gate):
            low, high = z[i]
            nodes[i] = replace(node, op=Ramp(node.op.leak, half=0.25 * (high - low)))
    return replace(graph, nodes=tuple(nodes))
