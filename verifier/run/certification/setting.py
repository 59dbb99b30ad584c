"""A classifier and the balls it is asked about, ready for bounding, attacking and searching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from verifier.attack.replay import Replay
from verifier.bounds.inside import settled
from verifier.bounds.network import Network as Prepared
from verifier.bounds.network import prepare
from verifier.graph.graph import Graph
from verifier.run import strategy
from verifier.run.certification.points import ImageBatch
from verifier.run.model import Network, boundable, load, name_of, second_run, single
from verifier.run.peel import peeled
from verifier.spec import builders
from verifier.spec.property import Property
from verifier.values import given
from verifier.values.arrays import Place
from verifier.values.ball import Ball
from verifier.values.errors import ModelError
from verifier.values.extras import need

inf = float("inf")
Range = np.ndarray | None
"""One side of the range of inputs: `[1]`, `[n]`, or none."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything about a data set's question but the data.

    Attributes:
        net: the classifier as loaded.
        graph: it in double precision on numpy, without a last layer that keeps the order of outputs.
        fast: the same in single precision.
        exact: prepared for bounding in double precision.
        plan: where and how a single question is searched.
        norm: of the balls.  lo, hi: what they are cut to.
    """

    net: Network
    graph: Graph
    fast: Graph
    exact: Prepared
    plan: strategy.Strategy
    norm: float
    lo: Range
    hi: Range

    @property
    def inputs(self) -> int:
        """Entries of an input."""
        return self.graph.nodes[self.graph.inputs[0]].size

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return self.graph.nodes[self.graph.outputs[0]].size

    @property
    def widest(self) -> int:
        """Entries of the widest layer."""
        return max(node.size for node in self.graph.nodes)

    def box(self, b: ImageBatch) -> tuple[np.ndarray, np.ndarray]:
        """The smallest boxes `[B, n]` of doubles around the balls, rounded outward."""
        eps = b.eps[:, None]
        lower = np.where(eps > 0, np.nextafter(b.x - eps, -inf), b.x)
        upper = np.where(eps > 0, np.nextafter(b.x + eps, inf), b.x)
        low, high = (-inf if self.lo is None else self.lo), (inf if self.hi is None else self.hi)
        return np.maximum(lower, low), np.minimum(upper, high)

    def ball(self, b: ImageBatch, k: int = 0) -> Ball | None:
        """The k-th ball, where it is more than a box."""
        return None if self.norm == inf else Ball(b.x[k], float(b.eps[k]), self.norm)

    def property(self, b: ImageBatch, k: int) -> Property:
        """The question that `verify` would be asked about the k-th image."""
        label = int(b.label[k])
        return builders.robustness(
            b.x[k], float(b.eps[k]), label, self.classes, self.lo, self.hi, f"image {b.index[k]}", self.norm
        )

    def replay(self, prop: Property) -> Replay:
        """The judge of its counterexamples: the original model, in exact arithmetic."""
        shape = self.graph.nodes[self.graph.inputs[0]].shape

        def real(x: np.ndarray) -> np.ndarray:
            return np.asarray(self.graph.evaluate(x.reshape(len(x), *shape))[0]).reshape(len(x), -1)

        return Replay(prop, self.net.run, real, self.net.input_dtype, second_run(self.net))


def setting(
    model: Any,
    example: np.ndarray,
    norm: float,
    lo: Any,
    hi: Any,
    device: str = "auto",
    sample: np.ndarray | None = None,
) -> Setting:
    """Load a classifier.

    Args:
        model: a file, a model in memory, a torch module, or what `load` returned.
        example: `[1, *shape]` an input, for a torch module.
        norm: 1, 2 or infinity.  lo, hi: the range of inputs, numbers or `[n]`.
        device: `auto` (the processor), `cpu` or `cuda`.
        sample: `[P, n]` inputs to compare it with the original on.

    Raises:
        UserError: it cannot be read or bounded, or is no classifier; a norm or device there is not.
    """
    norm = given.norm("norm", norm)
    strategy.check_device(device)
    given_example = None if isinstance(model, (str, bytes)) or hasattr(model, "graph") else _example(model, example)
    net = single(load(model, given_example))
    whole = boundable(net, sample)
    n, K = whole.nodes[whole.inputs[0]].size, whole.nodes[whole.outputs[0]].size
    if K < 2:
        raise ModelError(f"{name_of(net)}: it has one output; a classifier has one a class, at least two")
    ends = []
    for name, end in (("lo", lo), ("hi", hi)):
        ends.append(None if end is None else given.spread(name, end, n, "the input", finite=False))
    low, high = ends
    reach = (np.full(n, s * np.inf) if end is None else np.broadcast_to(end, n) for s, end in ((-1, low), (1, high)))
    whole = settled(whole, *reach)  # no ball reaches beyond
    graph = peeled(whole, builders.robustness(np.zeros(n), 0.0, 0, K))
    plan = strategy.choose(graph, K - 1, device)
    exact = prepare(graph, Place(plan.place.kind, "float64", plan.place.device))
    return Setting(net, graph, graph.cast(Place("numpy", "float32").array), exact, plan, norm, *ends)


def _example(model: Any, x: np.ndarray) -> Any:
    """An input for a torch module, in the type of its parameters; None for what is none."""
    if not hasattr(model, "parameters"):
        return None
    need(f"{type(model).__name__}, a torch module", "torch", "torch")
    import torch

    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return torch.as_tensor(x).to(dtype)
