"""Nothing is called a counterexample before the original model says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verifier.spec.property import Property
from verifier.spec.witness import Witness, satisfying
from verifier.values.rounding import inward

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Replay:
    """Rounds candidates into the input set in the model's type and runs the original model on them.

    Attributes:
        prop: the question.
        run: the original model, `[P, n]` -> `[P, m]`.
        dtype: the model's input type (`"float16"`, `"float32"` or `"float64"`).
    """

    prop: Property
    run: Run
    dtype: str

    def __call__(self, x: np.ndarray, boxes: np.ndarray) -> Witness | None:
        """The first candidate that is a counterexample exactly, or None.

        Args:
            x: `[P, n]` points near the input set.
            boxes: `[P]` which box of the property each point belongs to.
        """
        lower, upper = inward(self.prop.inner_lower[boxes], self.prop.inner_upper[boxes], self.dtype)
        kept = (lower <= upper).all(1) & np.isfinite(x).all(1)  # a box may hold no number of the model's type
        if not kept.any():
            return None
        with np.errstate(over="ignore"):
            point = np.clip(x[kept].astype(self.dtype), lower[kept], upper[kept]).astype(np.float64)
        for i, _ in satisfying(self.prop, point, self.run(point)):
            y = self.run(point[i : i + 1])  # alone, as a checker will run it: a batch may round differently
            for _, j in satisfying(self.prop, point[i : i + 1], y):
                return Witness(point[i], y[0], j)
        return None
