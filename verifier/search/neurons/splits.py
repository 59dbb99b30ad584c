"""Parts of a neuron-splitting search, as a struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.bounds.dual import Multipliers
from verifier.search.subproblems import joined, taken
from verifier.values.arrays import Array, counting, namespace


@dataclass(frozen=True, eq=False)
class Splits:
    """D parts of a folded network's box, cut at points of some neurons' inputs.

    Attributes:
        lower, upper: `[D, N]` bounds of the neurons' inputs, splits included.
        sign: `[D, N]` the splits taken: +1 for z >= its point, -1 for z <= its point, 2 for both, else 0.
        alpha: `[D, U]`, beta: `[D, N]`, weight: `[D, K]`: the multipliers of the part's bound (see `bounds.dual`).
        goal: `[D]` which disjunct is to be refuted.
        bound: `[D]` the best lower bound of its rows so far.
        pick: `[D]` the neuron to split next.
        share: `[D]` of the root: halved by every split.
        second: `[D, U]` of the multipliers, or None where all neurons are rectifiers.
        point: `[D]` where the picked neuron's input is split; zero where None.
        number: `[D]` by which an observer knows them; None where nobody observes.
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
    second: Array | None = None
    point: Array | None = None
    number: Array | None = None

    def __len__(self) -> int:
        """D."""
        return int(self.goal.shape[0])

    @property
    def root(self) -> Array:
        """`[D]`: a disjunct on the whole box is a root."""
        return self.goal

    @property
    def gap(self) -> Array:
        """`[D]` how far each is from being refuted."""
        return -self.bound

    def take(self, at: Array) -> Splits:
        """The parts at positions `at` (an array of them, or a slice)."""
        return taken(self, at)

    def multipliers(self) -> Multipliers:
        """Those of the parts' bounds."""
        return Multipliers(self.alpha, self.beta, self.weight, None, self.second)


def children(s: Splits) -> Splits:
    """Both halves of every part: first all with the picked neuron's input above its point, then all with it below."""
    xp, D = namespace(s.bound), len(s)
    both = joined([s, s])
    at = counting(2 * D, s.bound)
    pick = both.pick
    lower, upper, sign = both.lower, both.upper, both.sign
    both.share[:] = both.share * 0.5
    lower[at[:D], pick[:D]] = 0 if s.point is None else s.point
    upper[at[D:], pick[D:]] = 0 if s.point is None else s.point
    for half, side in ((slice(0, D), 1), (slice(D, 2 * D), -1)):
        old = sign[at[half], pick[half]]
        sign[at[half], pick[half]] = xp.where((old == -side) | (old == 2), old * 0 + 2, old * 0 + side)
    return both
