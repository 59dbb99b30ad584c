"""Linear bounds of softmax.

Sources: Wei et al., *Convex Bounds on the Softmax Function with Applications to Robustness Verification*, 2023 (the
log-sum-exp bounds); the upper plane in its variational form is ours.  With p_i = exp(x_i − LSE(x)):

* above: `LSE(x) >= ⟨w, x⟩ + H(w)` for every w on the simplex (Gibbs; H the entropy), so the exponent is at most
  `x_i − ⟨w, x⟩ − H(w)`, and exp lies below its chord between the least and the largest log p_i;
* below: `Σ_k exp(x_k)` is at most the sum S of chords, and `exp(x_i − log S(x))` is convex: its tangent anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.values.arrays import Array, counting, identity, namespace
from verifier.values.rounding import dtype_of, gamma, tiny


@dataclass(frozen=True, eq=False)
class Planes:
    """`Σ_k S_l[.., i, k]·x_k + t_l[.., i] <= p_i <= Σ_k S_u[.., i, k]·x_k + t_u[.., i]`.

    Shapes: S `[B, *s, n, n]`, t `[B, *s, n]`.
    """

    S_l: Array
    t_l: Array
    S_u: Array
    t_u: Array


def image(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest shares, rounded outward: own entry at one end, the others at the other; `[B, *s, n]`."""
    xp, n, dtype = namespace(lower), int(lower.shape[-1]), dtype_of(lower)
    g = gamma(4 * n + 64, dtype)
    others_u = _others(upper[..., None, :] - lower[..., :, None], True)  # [.., i]: Σ over k != i of exp(u_k − l_i)
    others_l = _others(lower[..., None, :] - upper[..., :, None], False)
    low, high = 1 / (1 + others_u), 1 / (1 + others_l)
    # An exponent is a difference: its own rounding moves exp by as much as it is long.
    long = 4 * gamma(1, dtype) * (xp.abs(lower) + xp.abs(upper) + xp.amax(xp.abs(lower) + xp.abs(upper), -1)[..., None])
    low, high = low * (1 - g - long), high * (1 + g + long) + tiny(dtype)
    return xp.where(low > 0, low, 0.0), xp.minimum(high, 1.0)


def _others(d: Array, above: bool) -> Array:
    """`Σ_{k != i} exp(d[.., i, k])`; what would overflow is infinite (`above`), or the largest that does not."""
    xp, n = namespace(d), int(d.shape[-1])
    e = xp.exp(xp.minimum(d, _most(d)))
    e = xp.where(d > _most(d), xp.inf, e) if above else e
    i = counting(n, d)
    e[..., i, i] = 0
    return e.sum(-1)


def _most(a: Array) -> float:
    """An exponent that does not overflow, summed."""
    return 80.0 if dtype_of(a) == "float32" else 700.0


def planes(lower: Array, upper: Array) -> Planes:
    """Planes of every entry, tangent at the middle; `lower`, `upper` are `[B, *s, n]`.

    Rounding: a plane's intercept is moved by what computing the plane's value at the bounds' magnitudes may err by.
    """
    xp, n, dtype = namespace(lower), int(lower.shape[-1]), dtype_of(lower)
    low, high = image(lower, upper)
    middle = 0.5 * (lower + upper)
    top = xp.amax(upper, -1)[..., None]
    eye = identity(n, lower)
    reach = xp.maximum(xp.abs(lower), xp.abs(upper))
    g = gamma(8 * n + 64, dtype)

    # Above: weights w = softmax(middle), any w >= 0 near the simplex.
    e = xp.exp(middle - xp.amax(middle, -1)[..., None])
    w = e / e.sum(-1)[..., None]
    entropy = -(w * xp.log(xp.maximum(w, 1e-30))).sum(-1)[..., None]
    log_l, log_u = xp.log(xp.maximum(low, 1e-30)), xp.log(xp.maximum(high, 1e-30))
    a = (high - low) / xp.maximum(log_u - log_l, 1e-6)  # slope of exp's chord, any number >= 0
    c = xp.maximum(high - a * log_u, low - a * log_l)  # exp(v) <= a·v + c between the logs, by its ends
    S_u = a[..., None] * (eye - w[..., None, :])
    t_u = c - a * entropy
    # w sums to one up to rounding: LSE(x) >= ⟨w, x⟩ + H(w) is off by the defect times the size of x.
    off_u = g * (a * (reach + (w * reach).sum(-1)[..., None] + entropy + 1) + xp.abs(c) + a * (xp.abs(log_l) + 1))
    off_u = off_u + a * g * xp.amax(reach, -1)[..., None]

    # Below: chords of exp(x_k − top).
    e_l, e_u = xp.exp(lower - top), xp.exp(upper - top)
    slope = (e_u - e_l) / xp.maximum(upper - lower, 1e-12)
    slope = xp.where(upper - lower > 1e-6, slope, e_u)
    base = xp.maximum(e_u - slope * upper, e_l - slope * lower)
    base = base + g * (e_u + slope * (reach + xp.abs(top)))
    S = ((slope * middle) + base).sum(-1)[..., None]
    own = xp.exp(middle - top)
    L = own / S
    S_l = L[..., None] * (eye - (slope / S)[..., None, :])
    t_l = L - (S_l * middle[..., None, :]).sum(-1)
    off_l = g * (L * (1 + reach + ((slope / S) * (reach + xp.abs(top))).sum(-1)[..., None] + xp.abs(top)))
    off_l = off_l + g * L * (base / S).sum(-1)[..., None]

    # Where a constant is as good in the middle, it is better elsewhere.
    flat_l, flat_u = ~(L > low), ~(a * ((middle - (w * middle).sum(-1)[..., None]) - entropy) + c < high)
    flat_u = flat_u | (low <= 1e-30)  # there the logarithm says nothing
    S_l, t_l = xp.where(flat_l[..., None], 0.0, S_l), xp.where(flat_l, low, t_l - off_l - tiny(dtype))
    S_u, t_u = xp.where(flat_u[..., None], 0.0, S_u), xp.where(flat_u, high, t_u + off_u + tiny(dtype))
    t_l = xp.where(xp.isfinite(t_l), t_l, -xp.inf)
    t_u = xp.where(xp.isfinite(t_u), t_u, xp.inf)
    return Planes(S_l, t_l, S_u, t_u)
