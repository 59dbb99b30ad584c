"""Rows pulled back through the linear bounds of any nonlinear operator."""

from __future__ import annotations

from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values.arrays import Array, counting, namespace, rows_of

SHORT = 4
"""A last axis that is no longer is dealt with entry by entry: loops over so few numbers cost more than the numbers."""


def through(A: Array, f: Lines | Planes, owner: Array | None) -> tuple[Array, Array]:
    """Rows `[P, *input shape]` over a nonlinear operator's input, and what the intercepts add, `[P]`.

    Args:
        A: `[P, *shape]` rows over its output.
        f: linear bounds on B domains.
        owner: `[P]` the domain of each row; None when rows of one domain stand together.

    Sound because: a positive coefficient takes the bound below, a negative one the bound above.
    """
    xp, P, B = namespace(f.t_u), A.shape[0], f.t_u.shape[0]
    each = B == 1 or (owner is None and B == P)
    if not each and owner is None and isinstance(f, Lines):
        return _together(A.reshape(B, P // B, *A.shape[1:]), f)
    if not each and owner is None:
        owner = counting(P, A) // (P // B)

    def of(a: Array) -> Array:
        return a if each else rows_of(a, owner)

    positive, negative = xp.maximum(A, 0.0), xp.minimum(A, 0.0)
    shift = _dot(positive, of(f.t_l)) + _dot(negative, of(f.t_u))
    if isinstance(f, Planes):
        return _mix(positive, of(f.S_l)) + _mix(negative, of(f.S_u)), shift
    if f.s_l.ndim > f.t_u.ndim:
        return _spread(positive, negative, of(f.s_l), of(f.s_u)), shift
    return positive * of(f.s_l) + negative * of(f.s_u), shift


def _together(A: Array, f: Lines) -> tuple[Array, Array]:
    """The same for rows `[B, R, *shape]`, R of each domain, without copying the lines for each of them."""
    xp = namespace(A)
    B, R = A.shape[0], A.shape[1]
    positive, negative = xp.maximum(A, 0.0), xp.minimum(A, 0.0)
    assert f.t_l is not None
    t_l, t_u = (a.reshape(B, -1) for a in (f.t_l, f.t_u))
    if bool(xp.isfinite(t_l).all()) and bool(xp.isfinite(t_u).all()):
        shift = (positive.reshape(B, R, -1) @ t_l[..., None] + negative.reshape(B, R, -1) @ t_u[..., None])[..., 0]
    else:
        parts = (
            _dot(v.reshape(B * R, -1), rows_of(t, counting(B * R, A) // R))
            for v, t in ((positive, t_l), (negative, t_u))
        )
        shift = sum(parts).reshape(B, R)
    s_l, s_u = f.s_l[:, None], f.s_u[:, None]
    wide = f.s_l.ndim > f.t_u.ndim
    Y = _spread(positive, negative, s_l, s_u) if wide else positive * s_l + negative * s_u
    return Y.reshape(B * R, *Y.shape[2:]), shift.reshape(B * R)


def _spread(positive: Array, negative: Array, s_l: Array, s_u: Array) -> Array:
    """Coefficients of all that an operator of several numbers reads, on the last axis."""
    k = int(s_l.shape[-1])
    if k > SHORT:
        return positive[..., None] * s_l + negative[..., None] * s_u
    each = [positive * s_l[..., i] + negative * s_u[..., i] for i in range(k)]
    return namespace(positive).stack(each, -1)


def _mix(A: Array, S: Array) -> Array:
    """`Σ_i A[.., i]·S[.., i, k]`."""
    return (A[..., None, :] @ S)[..., 0, :] if S.shape[0] > 1 else _shared(A, S[0])


def _shared(A: Array, S: Array) -> Array:
    """The same with one S for all rows: a product of matrices for each row of the softmax."""
    xp, n, shape = namespace(A), int(A.shape[-1]), A.shape
    by_group = xp.transpose(A.reshape(shape[0], -1, n), (1, 0, 2)) @ S.reshape(-1, n, n)
    return xp.transpose(by_group, (1, 0, 2)).reshape(shape)


def _dot(A: Array, t: Array) -> Array:
    """`Σ A·t` of each row; an infinite intercept counts where its coefficient is not zero."""
    xp, P = namespace(A), A.shape[0]
    A, t = A.reshape(P, -1), t.reshape(t.shape[0], -1)
    finite = xp.isfinite(t)
    if not bool(finite.all()):
        touched = ((A != 0) & ~finite).any(1)
        return xp.where(touched, -xp.inf, _dot(A, xp.where(finite, t, 0.0)))
    return A @ t[0] if t.shape[0] == 1 else xp.einsum("pn,pn->p", A, t)
