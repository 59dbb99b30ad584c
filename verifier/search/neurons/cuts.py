"""Cuts learned from refuted parts: few splits that no counterexample takes all at once.

Source: BICCOS (Zhou et al., *Scalable Neural Network Verification with Branch-and-bound Inferred Cutting Planes*,
2024).  There a cut may be kept because its multipliers say so; here each is proved again, from the root's bounds and
the kept splits alone.  A cut serves twice.  Where a part takes all of its splits but one, the last is impossible and
its neuron decided.  And it is a fact for the dual: the cut over indicators zb, with `h <= u·zb` and
`h − z <= −l·(1 − zb)`, gives

    Σ_{z_i >= 0} h_i/u_i + Σ_{z_i <= 0} (h_i − z_i)/(−l_i) <= (number of splits) − 1

at every point of interest (for leaks other than zero h stands for its part above `leak·z`, over `1 − leak`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.dual import Facts, Multipliers, Region
from verifier.bounds.fold import Folded
from verifier.search.neurons.splits import Splits
from verifier.search.neurons.tree import CLEAR, Tree, decisive
from verifier.values.arrays import Array, namespace

MOST = 256
"""Cuts that are kept."""


@dataclass(frozen=True, eq=False)
class Cuts:
    """C sets of splits.

    Attributes:
        sign: `[C, U]` the splits of each (+1, -1, else 0).
        goal: `[C]` for which disjunct.
    """

    sign: Array
    goal: Array

    def __len__(self) -> int:
        """C."""
        return int(self.goal.shape[0])

    def join(self, more: Cuts) -> Cuts:
        """These and more, the latest kept."""
        xp = namespace(self.sign)
        return Cuts(xp.concatenate([self.sign, more.sign])[-MOST:], xp.concatenate([self.goal, more.goal])[-MOST:])

    def imply(self, s: Splits) -> tuple[Splits, int]:
        """Parts with decided what a cut decides, without those that a cut refutes; and how often one did either.

        Sound because: a counterexample in the part has the signs that its bounds say, so it cannot have the one sign
        that is missing from a cut whose other splits it takes.
        """
        xp, zero = namespace(s.lower), s.lower * 0
        state = xp.where(s.lower >= 0, zero + 1, xp.where(s.upper <= 0, zero - 1, zero))
        taken = state @ self.sign.T  # splits taken, less splits contradicted
        known = xp.abs(state) @ xp.abs(self.sign).T
        size = xp.abs(self.sign).sum(1)[None]
        mine = s.goal[:, None] == self.goal[None]
        refuted = (mine & (taken == size)).any(1)
        last = mine & (taken == known) & (taken == size - 1)
        forbid = xp.where(last, taken * 0 + 1, taken * 0) @ self.sign * (state == 0)
        lower = xp.where(forbid < 0, xp.maximum(s.lower, 0.0), s.lower)
        upper = xp.where(forbid > 0, xp.minimum(s.upper, 0.0), s.upper)
        served = int(refuted.sum()) + int((forbid != 0).any(1).sum())
        return replace(s, lower=lower, upper=upper).take(xp.flatnonzero(~refuted)), served

    def facts(self, F: Folded) -> Facts:
        """The cuts for the dual on a folded network, each scaled to vary by about one."""
        xp = F.place.xp
        sign, one = F.place.array(self.sign, F.place.dtype), 1 - F.leak
        on, off = xp.maximum(sign, 0.0) / (F.upper * one), xp.maximum(-sign, 0.0) / (-F.lower * one)
        size = xp.abs(sign).sum(1)
        H = (on + off) / size[:, None]
        Z = -(on * F.leak + off) / size[:, None]
        X = size[:, None] * 0 + F.center[None] * 0
        return Facts(X, Z, H, (1 - size) / size)


def learn(tree: Tree, s: Splits, m: Multipliers, most: int = 16, drop: float = 0.3, steps: int = 6) -> Cuts | None:
    """Cuts from refuted parts: their splits but for those of the smallest multipliers, proved again.

    Args:
        s: parts that are refuted.  m: the multipliers that refute them.
        most: how many parts to try, those with the fewest splits.
        drop: share of the splits left out.
        steps: of the climb that proves them.
    """
    F = tree.fast
    xp = F.place.xp
    at = xp.argsort(xp.abs(s.sign).sum(1))[:most]
    s, m, zero = s.take(at), m.take(at), F.lower[None] * 0
    order = xp.argsort(-(m.beta + 1) * xp.abs(s.sign), 1)
    rank = xp.argsort(order, 1)
    sign = xp.where(rank < xp.abs(s.sign).sum(1)[:, None] * (1 - drop), s.sign, s.sign * 0)
    lower = xp.where(sign > 0, xp.maximum(F.lower[None] + zero, 0.0), F.lower[None])
    upper = xp.where(sign < 0, xp.minimum(F.upper[None] + zero, 0.0), F.upper[None])
    r = Region(lower, upper, sign, F.center[None], F.radius[None])
    first = Multipliers(m.alpha, m.beta * xp.abs(sign), m.weight)
    best = ascend(F, r, tree.objective(s.goal), first, Rates(steps, alpha=0.1, beta=0.5), CLEAR).best
    bound, _ = decisive(tree, r, s.goal, best)
    good = xp.flatnonzero((bound > 0) & (xp.abs(sign).sum(1) > 0))
    return Cuts(sign[good], s.goal[good]) if len(good) else None


class Learner:
    """Decides when to learn: now and then at first, more often while cuts serve, less while they don't.

    Attributes:
        cuts: what has been learned.
        paying: whether they have served often enough lately to be facts for the dual, too.
        always: learn every round, whatever it brings (for measurements).
    """

    def __init__(self, always: bool = False) -> None:
        self.cuts: Cuts | None = None
        self._always = always
        self.paying = always
        self._round, self._next, self._wait, self._served = 0, 8, 8, 0

    def imply(self, s: Splits) -> Splits:
        """See `Cuts.imply`."""
        if self.cuts is None:
            return s
        s, served = self.cuts.imply(s)
        self._served += served
        return s

    def watch(self, tree: Tree, s: Splits, m: Multipliers) -> None:
        """Refuted parts of a round, and what refutes them."""
        self._round += 1
        if not len(s) or not (self._always or self._round >= self._next):
            return
        new = learn(tree, s, m)
        if new is not None:
            self.cuts = new if self.cuts is None else self.cuts.join(new)
        self.paying = self._always or self._served > self._wait
        self._wait = 2 if self.paying else 2 * self._wait
        self._next, self._served = self._round + self._wait, 0
