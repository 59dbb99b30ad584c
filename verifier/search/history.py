"""What became of every subproblem, told to whoever wants to know: a writer of proofs, a picture of the tree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from verifier.values.arrays import Array, to_numpy


class Observer(Protocol):
    """Is told, once a batch is done, what became of it; subproblems have numbers, roots the first ones."""

    def split(self, number: np.ndarray, children: np.ndarray, at: Any) -> None:
        """Subproblems `[D]` were split into `[2, D]`, the upper halves first; `at` says where."""

    def verified(self, number: np.ndarray, by: str, reason: Any) -> None:
        """Subproblems `[D]` hold no counterexample: `by` what kind of argument, and what it needs."""

    def given_up(self, number: np.ndarray) -> None:
        """Subproblems `[D]` can be neither verified nor split."""


class History:
    """Numbers subproblems, and holds back what is said of a batch until it is certain that the batch is done."""

    def __init__(self, observer: Observer, roots: int) -> None:
        self._observer, self._next, self._said = observer, roots, list[Callable[[], None]]()
        self._kept = roots

    def split(self, number: Array, at: Any) -> np.ndarray:
        """Numbers `[2, D]` for the halves of subproblems `[D]`."""
        parents = to_numpy(number)
        children = self._next + np.arange(2 * len(parents)).reshape(2, -1)
        self._next += children.size
        self._said.append(partial(self._observer.split, parents, children, at))
        return children

    def verified(self, number: Array, by: str, reason: Any = None) -> None:
        """Subproblems `[D]` are."""
        if len(number):
            self._said.append(partial(self._observer.verified, to_numpy(number), by, reason))

    def given_up(self, number: Array) -> None:
        """Subproblems `[D]` are."""
        if len(number):
            self._said.append(partial(self._observer.given_up, to_numpy(number)))

    def keep(self) -> None:
        """The batch is done: tell."""
        for told in self._said:
            told()
        self._said, self._kept = [], self._next

    def forget(self) -> None:
        """The batch is put back."""
        self._said, self._next = [], self._kept
