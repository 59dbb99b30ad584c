"""A counterexample as VNN-LIB 2.0 states it: a value for every declared variable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.spec.property import Array


@dataclass(frozen=True, eq=False)
class Tensor:
    """The value of one variable.

    Attributes:
        name, dtype, shape: as declared (`real` included).
        values: the entries, row-major, as doubles; exact in the model's type.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: Array

    def text(self) -> str:
        """`name type [d1,d2]`, then one value a line, shortest digits that read back."""
        head = f"{self.name} {self.dtype} [{','.join(map(str, self.shape))}]"
        return "\n".join([head, *(repr(float(v)) for v in np.ravel(self.values))])
