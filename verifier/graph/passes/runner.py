"""All rewrites in their order."""

from __future__ import annotations

from collections.abc import Callable

from verifier.graph.graph import Graph, Tick, nothing
from verifier.graph.passes.convolutions import conv_to_dense
from verifier.graph.passes.dense import absorb_moves, merge_dense
from verifier.graph.passes.dots import dots
from verifier.graph.passes.moves import tidy_moves
from verifier.graph.passes.scales import fold_scales
from verifier.graph.passes.sparsify import sparsify
from verifier.graph.passes.tails import collapse_tails

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    tidy_moves,
    fold_scales,
    conv_to_dense,
    tidy_moves,
    absorb_moves,
    merge_dense,
    collapse_tails,
    tidy_moves,
    sparsify,
    dots,
)


def simplify(graph: Graph, tick: Tick = nothing) -> Graph:
    """The same function with fewer and cheaper operators; parameters must be numpy arrays.

    Inputs and outputs keep their order and shapes.  Between rewrites `tick` is called.
    """
    for rewrite in PASSES:
        tick()
        graph = rewrite(graph)
    return graph
