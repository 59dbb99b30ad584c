"""Parts of a neuron-splitting search, as a struct of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from verifier.values.arrays import Array, namespace, rows_of


@dataclass(frozen=True, eq=False)
class Splits:
    """D parts of a folded network's box, cut by the signs of some neurons' inputs.

    Attributes:
        lower, upper: `[D, U]` bounds of the neurons' inputs, splits included.
        sign: `[D, U]` the splits taken: +1 for z >= 0, -1 for z <= 0, else 0.
        alpha, beta: `[D, U]`; weight: `[D, K]`: the multipliers of the part's bound (see `bounds.dual`).
        goal: `[D]` which disjunct is to be refuted.
        bound: `[D]` the best lower bound of its rows so far.
        pick: `[D]` the neuron to split next.
        share: `[D]` of the root: halved by every split.
    """

    lower: Array
    upper: Array
    sign: Array
    alpha: Array
    beta: Array
    weight: Array
    goal: Array
    bound: Array
    pick: Array
    share: Array

    def __len__(self) -> int:
        """D."""
        return int(self.goal.shape[0])

    def take(self, at: Array) -> Splits:
        """The parts at positions `at` (an array of them, or a slice)."""
        part = (lambda a: a[at]) if isinstance(at, slice) else (lambda a: rows_of(a, at))
        return Splits(*(part(getattr(self, n)) for n in _FIELDS))


_FIELDS = tuple(f.name for f in fields(Splits))


def join(parts: Sequence[Splits]) -> Splits:
    """All of them, in order."""
    if len(parts) == 1:
        return parts[0]
    xp = namespace(parts[0].bound)
    return Splits(*(xp.concatenate([getattr(p, n) for p in parts]) for n in _FIELDS))


def children(s: Splits) -> Splits:
    """Both halves of every part: first all with the picked neuron's input `>= 0`, then all with it `<= 0`."""
    xp, D = namespace(s.bound), len(s)
    both = join([s, s])
    at = xp.arange(2 * D)
    pick = both.pick
    lower, upper, sign = both.lower, both.upper, both.sign
    both.share[:] = both.share * 0.5
    lower[at[:D], pick[:D]] = 0
    upper[at[D:], pick[D:]] = 0
    sign[at[:D], pick[:D]] = 1
    sign[at[D:], pick[D:]] = -1
    return both
