"""How the rows of a folded network hang together: what `bounds.renew` needs to know of it, found once.

Only blocks that are not zero are kept: a gradient's rows walk through gates and never reach the neurons below them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from verifier.bounds.fold import Folded
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Take
from verifier.graph.ops.product import Dot, Product
from verifier.values.arrays import Array, to_numpy
from verifier.values.sets import InputSet


@dataclass(frozen=True, eq=False)
class Read:
    """What a layer reads of one part of the rows.

    Attributes:
        part: which.
        columns: entries of what the layer reads (flattened), at: the rows of the part that they are.
        take: gathers them from the part, or None where they are the whole part in order.
    """

    part: int
    columns: Array
    take: Take | None


@dataclass(frozen=True, eq=False)
class Plan:
    """How the rows of a folded network hang together.

    Attributes:
        F: the network, in double precision.
        reads: per layer.
        blocks: (part, layer) -> coefficients `[rows, units]` where they are not all zero; the objectives are part -1.
        behind: per part, the layers that its rows depend on, the last first; likewise for the objectives.
        columns: per part, the inputs that walks of its rows may reach (all, when None); X: (part, part met) -> the
            coefficients of these inputs in the rows of the part met.
        narrow: layers of which only the value is read, not the sign beside it (gates).
        common: parts that depend on the first n inputs alone, and the layers that read nothing else; none where a
            product is among these.
        ball: what the box is cut to, if anything; then, per part: which columns it is about, and what it is there.
    """

    F: Folded
    reads: tuple[tuple[Read, ...], ...]
    blocks: dict[tuple[int, int], Array]
    behind: dict[int, tuple[int, ...]]
    columns: dict[int, Array | None]
    X: dict[tuple[int, int], Array]
    narrow: tuple[bool, ...]
    common: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    ball: InputSet | None = None
    round: dict[int, tuple[Array, InputSet | None]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Rounding steps behind one entry of a walk, at most."""
        F = self.F
        widest = max((len(F.z), len(F), len(F.varying)), default=1)
        return (len(F.layers) + 2) * (3 * widest + 20)


def plan(F: Folded, ball: InputSet | None = None, n: int = 0) -> Plan:
    """How the rows of a folded network (with layers) hang together; `ball` is about the first n of its inputs."""
    H, rows_H, place = to_numpy(F.z.H), to_numpy(F.rows.H), F.place
    narrow = tuple(isinstance(f.op, Gate) for f in F.layers)
    reads = []
    for layer, half in zip(F.layers, narrow, strict=True):
        index = to_numpy(layer.take.index).reshape(layer.take.size)
        index = (index[..., 0] if half else index).reshape(-1)
        found = []
        for p, (part, _) in enumerate(F.parts):
            here = np.flatnonzero((index >= part.start) & (index < part.stop))
            if len(here):
                at, size = index[here] - part.start, part.stop - part.start
                whole = len(at) == size == len(index) and bool((at == np.arange(size)).all())
                found.append(Read(p, place.array(here), None if whole else Take(place.array(at), (len(at),))))
        reads.append(tuple(found))
    blocks: dict[tuple[int, int], Array] = {}
    behind: dict[int, tuple[int, ...]] = {}
    columns: dict[int, Array | None] = {}
    X: dict[tuple[int, int], Array] = {}
    own = {p: to_numpy(F.z.X[part]) for p, (part, _) in enumerate(F.parts)} | {-1: to_numpy(F.rows.X)}
    every = [*((p, H[part]) for p, (part, _) in enumerate(F.parts)), (-1, rows_H)]
    for p, some in every:
        direct = set()
        for k, layer in enumerate(F.layers):
            block = some[:, layer.units]
            if (block != 0).any():
                blocks[p, k] = place.array(np.ascontiguousarray(block))
                direct.add(k)
        below = direct.union(*(behind[r.part] for k in direct for r in reads[k]))
        behind[p] = tuple(sorted(below, reverse=True))
        met = {p, *(r.part for k in below for r in reads[k])}
        used = np.flatnonzero(np.any([(own[q] != 0).any(0) for q in met], axis=0))
        few = 2 * len(used) < len(F.varying)
        columns[p] = place.array(used) if few else None
        X |= {(p, q): place.array(np.ascontiguousarray(own[q][:, used] if few else own[q])) for q in met}
    about = {}
    for p, kept in columns.items() if ball is not None else ():
        inputs = F.varying if kept is None else F.varying[to_numpy(kept)]
        inside = np.flatnonzero(inputs < n)
        assert ball is not None
        about[p] = place.array(inside), ball.only(inputs[inside]) if len(inside) else None
    common = _common(F, reads, behind, own, n)
    return Plan(F, tuple(reads), blocks, behind, columns, X, narrow, common, ball, about)


def _common(
    F: Folded, reads: list[tuple[Read, ...]], behind: dict[int, tuple[int, ...]], own: dict[int, np.ndarray], n: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`Plan.common`."""
    others, layers = F.varying >= n, set[int]()
    parts = {p for p in range(len(F.parts)) if not (own[p][:, others] != 0).any()}
    for k, read in enumerate(reads):
        if all(r.part in parts and layers.issuperset(behind[r.part]) for r in read):
            layers.add(k)
    parts = {p for p in parts if layers.issuperset(behind[p])}
    if any(isinstance(F.layers[k].op, (Product, Dot)) for k in layers):
        return (), ()
    return tuple(sorted(parts)), tuple(sorted(layers))
