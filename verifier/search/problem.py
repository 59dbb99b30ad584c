"""What branch and bound is run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from verifier.search.budget import Budget
from verifier.search.subproblems import Subproblems

if TYPE_CHECKING:
    from verifier.search.history import History

S = TypeVar("S", bound=Subproblems)


@dataclass(frozen=True, eq=False)
class Step(Generic[S]):
    """What became of a batch.

    Attributes:
        unverified: subproblems for the frontier.
        given_up: those that can be neither verified nor split.
        bounded: how many were bounded.
        verified: how many were verified, of the batch or of what it was split into.
        worst: the largest gap of any that is not verified, where there is one.
    """

    unverified: S | None = None
    given_up: S | None = None
    bounded: int = 0
    verified: int = 0
    worst: float | None = None


class Problem(Protocol[S]):
    """What is searched.

    Attributes:
        most: the largest batch; known when no root waits.
        waiting: how many roots are not verified, and no subproblems yet: `sow` is called until there are none.
        history: told what becomes of subproblems, if anybody wants to know.
    """

    most: int
    waiting: int
    history: History | None

    def sow(self, budget: Budget) -> Step[S]:
        """Some work on roots that wait; those of them that are ready to be split come as subproblems."""

    def expand(self, s: S, budget: Budget) -> Step[S]:
        """Bound and split a batch; what it does by time it does by the clock of the budget.

        Raises:
            Found: a counterexample.
            MemoryError: the batch is too large.  OutOfTime: a step looked at the clock, and time is up.
        """
