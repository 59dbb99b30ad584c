"""What every relaxation is made of."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.values.arrays import Array


@dataclass(frozen=True, eq=False)
class Lines:
    """`s_l·z + t_l <= f(z) <= s_u·z + t_u` for every z between the bounds it was made from.

    Attributes:
        s_l, s_u: `[B, *input shape]`; for functions of several numbers `s·z` sums over the last axis.
        t_l, t_u: `[B, *shape]`; `t_l` is None where it is zero throughout.
    """

    s_l: Array
    t_l: Array | None
    s_u: Array
    t_u: Array
