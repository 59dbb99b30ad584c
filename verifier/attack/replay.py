"""Nothing is called a counterexample before the original model says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verifier.spec.property import Property
from verifier.spec.witness import Witness, admissible, satisfies, satisfying

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Replay:
    """Rounds candidates into the input set in the model's type and runs the original model on them.

    Attributes:
        prop: the question.
        run: the original model, `[P, n]` -> `[P, m]`.
        real: the network in double precision, `[P, n]` -> `[P, m]`.
        dtype: the model's input type (`"float16"`, `"float32"` or `"float64"`).
        second: the original as it runs otherwise, where that differs by more than rounding: it must agree.
    """

    prop: Property
    run: Run
    real: Run
    dtype: str
    second: Run | None = None

    def __call__(self, x: np.ndarray, boxes: np.ndarray) -> Witness | None:
        """The first candidate that is a counterexample exactly, or None.

        Args:
            x: `[P, n]` points near the input set.
            boxes: `[P]` which box of the property each point belongs to.
        """
        lower, upper = admissible(self.prop, boxes, self.dtype)
        kept = (lower <= upper).all(1) & np.isfinite(x).all(1)
        if not kept.any():
            return None
        lower, upper, boxes = lower[kept], upper[kept], boxes[kept]
        with np.errstate(over="ignore"):
            near = x[kept] if self.prop.ball is None else self.prop.ball.rounded(x[kept], self.dtype)
            point = np.clip(near.astype(self.dtype).astype(np.float64), lower, upper)
        for i, _ in satisfying(self.prop, point, self.run(point), boxes):
            one, box = point[i : i + 1], boxes[i : i + 1]
            y = self.run(one)  # alone, as a checker will run it: a batch may round differently
            for _, j in satisfying(self.prop, one, y, box):
                if self._holds_otherwise(one, j) and self._holds_for_reals(one, box, j):
                    return Witness(point[i], y[0], j)
        return None

    def _holds_otherwise(self, one: np.ndarray, j: int) -> bool:
        """Where the original has a second way to run: is it a counterexample there, too?"""
        return self.second is None or satisfies(self.prop, j, one[0], self.second(one)[0])

    def _holds_for_reals(self, one: np.ndarray, box: np.ndarray, j: int) -> bool:
        """Where an input had to leave its interval to be a number of the model's type: does the input inside, too?"""
        inside = np.clip(one, self.prop.lower[box], self.prop.upper[box])
        return bool((inside == one).all()) or satisfies(self.prop, j, inside[0], self.real(inside)[0])
