"""Spectral norms from above, with everything that rounding may have done.

‖A‖₂ is the largest singular value of A.  Whatever LAPACK or a power iteration says of it is a proposal, from which a
bound that holds in exact arithmetic is made (after Rump, *Verified bounds for singular values*, BIT 51, 2011).  Power
iteration alone approaches ‖A‖₂ from below, so it bounds nothing, unless the matrix has no negative entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import gcd, inf, prod, sqrt

import numpy as np

from verifier.graph.graph import Affine, Shape
from verifier.graph.ops.adjoint import Adjoint, Tangent
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Move
from verifier.search.budget import Budget
from verifier.sensitivity.spectral import middle
from verifier.values.arrays import to_numpy
from verifier.values.rounding import gamma, tiny

ENTRIES = 4_000_000
"""Operators with larger matrices are bounded without them."""
FLOOR = 1e-8
"""The least entry of a positive vector whose largest is 1."""
STEPS = 30
PER_PRODUCT = 3e-10
"""Seconds that a multiply-add of a decomposition into eigenvalues takes, with all that follows: twice the measured."""

FOREVER = Budget()
_TINY = tiny("float64")
Linear = Callable[[np.ndarray], np.ndarray]


def up(value: float, operations: int = 1) -> float:
    """A non-negative number that came of so many operations without cancellation, rounded up; NaN is infinity."""
    if not value < inf:
        return inf
    return float(np.nextafter(value * (1 + gamma(operations + 2, "float64")), inf)) if value else 0.0


def norm_above(A: np.ndarray) -> float:
    """At least ‖A‖₂ of `[m, n]`; infinity where A is not finite.

    The least of `sqrt(‖A‖₁‖A‖∞)` and what `sensitivity.spectral.middle` makes of eigenvectors, both rounded up.
    """
    A = np.asarray(A, np.float64)
    top = float(abs(A).max(initial=0.0))
    if not top < inf:  # NaN, too
        return inf
    if top == 0.0:
        return 0.0
    # a power of two: nothing is rounded, or by less than tiny
    scale = 2.0 ** int(np.clip(np.frexp(top)[1], -1020, 1020))
    with np.errstate(all="ignore"):
        A, lost = A / scale, _TINY * A.size
        rows, columns = abs(A).sum(1).max(), abs(A).sum(0).max()
        best = up(sqrt(up(rows, A.shape[1]) * up(columns, A.shape[0])), 2)
        try:
            best = min(best, float(middle(A[None])[0]))
        except np.linalg.LinAlgError:
            pass
        return up(up(best + lost) * scale)


def frobenius_above(A: np.ndarray, error: np.ndarray | float = 0.0) -> float:
    """At least ‖B‖_F of every B with `|B − A| <= error`; error is taken a little larger, for its own rounding."""
    size = abs(A) + error * (1 + gamma(A.size + 2, "float64")) + _TINY
    top = float(size.max(initial=0.0))
    if not top < inf:
        return inf
    return up(up(sqrt(float(((size / top) ** 2).sum())), A.size + 4) * top, 2) if top else 0.0


def seconds(m: int, n: int) -> float:
    """About how long `norm_above` takes for a matrix `[m, n]`, on the slow side: nothing in it looks at the clock."""
    k = min(m, n)
    return PER_PRODUCT * k * k * (m + n)


def _collatz(
    forward: Linear, backward: Linear, shape: Shape, terms: int, steps: int, budget: Budget = FOREVER
) -> float:
    """At least the norm of a map without negative coefficients; it and its transpose sum at most `terms` products.

    Out of time it says what it has found, or infinity.

    Sound because `‖R‖₂² = ρ(RᵀR) <= max_i (RᵀR v)_i / v_i` for every positive v (Collatz, Wielandt).  Power iteration
    looks for the v that makes it an equality; the first, of ones, gives at most ‖R‖₁‖R‖∞.
    """
    v, best = np.ones(shape), inf
    with np.errstate(all="ignore"):
        for _ in range(max(1, steps)):
            if budget.spent():
                break
            y = forward(v)
            if not y.any():  # no coefficient is other than zero: the first v is ones
                return 0.0
            w = backward(y)
            top = float(w.max())
            if not 0.0 < top < inf:
                best = min(best, inf if top else 0.0)
                break
            best = min(best, float((w / v).max()))
            v = np.maximum(w / top, FLOOR)
    underflow = terms**2 * _TINY / FLOOR
    return up(sqrt(up(up(best, 2 * terms + 2) + underflow)), 2)


def affine_norm_above(op: Affine, which: int, *shapes: Shape, budget: Budget = FOREVER) -> float:
    """At least the norm ℓ2→ℓ2 of an affine operator in one of its inputs, the others held fixed.

    What takes longer than there is time is left out, which loosens it.

    The least of what can be had: the matrix, where it is small enough to be formed; `sqrt(‖W‖₁‖W‖∞)` (exact for moves,
    scales and sums) and better vectors than ones (`_collatz`), of the magnitudes; and for a convolution

        ‖W‖₂ <= sqrt(number of patches that a number is in)·‖kernel as a matrix `[out, in·taps]`‖₂

    (Tsuzuku et al. 2018, arXiv 1802.04034, after Cisse et al. 2017), since an image laid out as patches repeats every
    number at most so often.  Merged weights count with what they may differ from the model's (see `graph.weights`).
    """
    plain, record = separate(op)
    sizes, terms = plain.absolute(), op.terms(*shapes)
    off = 0.0 if record is None else up(gamma(terms, "float64") * _schur(record, which, shapes, terms))
    best = _schur(sizes, which, shapes, terms)
    if not isinstance(op, (Move, Scale, Sum, Add)):
        size = op.W.shape if isinstance(op, Dense) else (prod(op.shape(*shapes)), prod(shapes[which]))
        if size[0] * size[1] <= ENTRIES and seconds(*size) <= budget.left():
            best = min(best, norm_above(_matrix(plain, which, shapes)))
        else:
            best = min(best, _magnitudes(sizes, which, shapes, terms, budget), _patches(plain, budget))
    return up(best + off)


def separate(op: Affine) -> tuple[Affine, Affine | None]:
    """An operator without its record of magnitudes, and the operator of these, where there is a record.

    The model's own weights lie within `gamma(op.terms(...))` times the magnitudes of the operator's (`graph.weights`).
    """
    if isinstance(op, (Adjoint, Tangent)):
        plain, record = separate(op.op)
        return replace(op, op=plain), None if record is None else replace(op, op=record)
    if getattr(op, "magnitude", None) is None:
        return op, None
    return replace(op, magnitude=None), op.absolute()  # type: ignore[type-var]


def ones_at(which: int, shapes: tuple[Shape, ...]) -> list[np.ndarray]:
    """Inputs `[1, *shape]`: ones for one of them, zeros for the others."""
    return [np.full((1, *s), float(i == which)) for i, s in enumerate(shapes)]


def _schur(sizes: Affine, which: int, shapes: tuple[Shape, ...], terms: int) -> float:
    """At least `sqrt(‖W‖₁‖W‖∞)`, which ‖W‖₂ does not exceed (Schur's test)."""
    rows = float(sizes.linear(*ones_at(which, shapes)).max(initial=0.0))
    columns = float(sizes.adjoint(np.ones((1, *sizes.shape(*shapes))), *shapes)[which].max(initial=0.0))
    # Roots first: a product of small numbers may round to zero, which bounds nothing.
    root = up(sqrt(up(rows, terms)), 2) * up(sqrt(up(columns, terms)), 2)
    return float(np.nextafter(up(root, 2), np.inf)) if rows and columns else 0.0


def _matrix(op: Affine, which: int, shapes: tuple[Shape, ...]) -> np.ndarray:
    """The matrix of an operator, or of one with the same norm."""
    if isinstance(op, Dense):
        return op.W.toarray() if hasattr(op.W, "toarray") else to_numpy(op.W)
    n, m = prod(shapes[which]), prod(op.shape(*shapes))
    if n > m:
        return op.adjoint(np.eye(m).reshape(m, *op.shape(*shapes)), *shapes)[which].reshape(m, n)
    x = [np.zeros((n, *s)) for s in shapes]
    x[which] = np.eye(n).reshape(n, *shapes[which])
    return op.linear(*x).reshape(n, m)


def _magnitudes(sizes: Affine, which: int, shapes: tuple[Shape, ...], terms: int, budget: Budget) -> float:
    """`_collatz` of an operator of magnitudes."""

    def forward(v: np.ndarray) -> np.ndarray:
        x = ones_at(which, shapes)
        x[which] = v
        return sizes.linear(*x)

    def backward(y: np.ndarray) -> np.ndarray:
        return sizes.adjoint(y, *shapes)[which]

    return _collatz(forward, backward, (1, *shapes[which]), terms, STEPS, budget)


def _patches(op: Affine, budget: Budget = FOREVER) -> float:
    """The kernel's norm times the square root of how many taps can read one number; infinity if this is no Conv.

    Position o reads number i by tap t where `o·stride + t·dilation = i + pad`: every `stride / gcd`-th tap, if any.
    """
    if not isinstance(op, Conv):
        return inf
    W = op.W.reshape(op.groups, -1, prod(op.W.shape[1:]))
    if len(W) * seconds(*W.shape[1:]) > budget.left():
        return inf
    taps = prod(-(-k // (t // gcd(t, d))) for k, t, d in zip(op.W.shape[2:], op.stride, op.dilation, strict=True))
    return up(max(norm_above(group) for group in W) * sqrt(taps), 2)
