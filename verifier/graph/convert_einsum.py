"""Einsum: sums of products named by letters."""

from __future__ import annotations

from collections import Counter
from math import prod
from string import ascii_uppercase

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale
from verifier.graph.convert_products import paired
from verifier.graph.ops.affine import Dense, Sum
from verifier.graph.ops.moves import Transpose

Operand = tuple[Value, str]
"""A tensor and a letter for each of its axes."""


def einsum(call: Call) -> int:
    """Einsum of any number of operands, contracted from the left."""
    operands, result = _parsed(call)
    sizes: dict[str, int] = {}
    for value, letters in operands:
        for letter, d in zip(letters, call.shape(value), strict=True):
            if sizes.setdefault(letter, d) != d and 1 not in (sizes[letter], d):
                raise ValueError(f"Einsum of axes of sizes {sizes[letter]} and {d} under one letter")
            sizes[letter] = max(sizes[letter], d)
    first, *rest = [_plain(call, o, sizes) for o in operands]
    while rest:
        second, *rest = rest
        kept = result + "".join(letters for _, letters in rest)
        out = "".join(c for c in dict.fromkeys(first[1] + second[1]) if c in kept)
        first = _contracted(call, first, second, out, sizes), out
    y = _reduced(call, first, result)
    if not isinstance(y, int):
        raise ValueError("Einsum of constants")
    return y


def _parsed(call: Call) -> tuple[list[Operand], str]:
    """Operands with their letters, and the letters of the result; an ellipsis becomes capital letters not in use."""
    left, arrow, result = call.get("equation").replace(" ", "").partition("->")
    terms = left.split(",")
    values = [v for v in call.inputs if v is not None]
    if len(terms) != len(values):
        raise ValueError(f"Einsum equation for {len(terms)} operands with {len(values)}")
    ranks = [len(call.shape(v)) - len(t.replace("...", "")) for v, t in zip(values, terms, strict=True)]
    free = [c for c in ascii_uppercase if c not in left]
    widest = max((r for r, t in zip(ranks, terms, strict=True) if "..." in t), default=0)
    dots = "".join(free[:widest])
    letters = [t.replace("...", dots[len(dots) - r :] if r else "") for r, t in zip(ranks, terms, strict=True)]
    if not arrow:
        counts = Counter("".join(terms).replace(".", ""))
        result = "..." + "".join(sorted(c for c, n in counts.items() if n == 1))
    return list(zip(values, letters, strict=True)), result.replace("...", dots)


def _plain(call: Call, operand: Operand, sizes: dict[str, int]) -> Operand:
    """The operand broadcast to the sizes of its letters, diagonals taken where one stands twice."""
    value, letters = operand
    unique = "".join(dict.fromkeys(letters))
    at = call.positions(value) if isinstance(value, int) else value
    at = np.broadcast_to(at, tuple(sizes[c] for c in letters))
    if unique != letters:
        at = np.einsum(at, [unique.index(c) for c in letters], list(range(len(unique))))
    return (call.take(value, at) if isinstance(value, int) else at), unique


def _reduced(call: Call, operand: Operand, out: str) -> Value:
    """The operand summed over what `out` leaves out, its axes in the order of `out`."""
    value, letters = operand
    if isinstance(value, np.ndarray):
        return np.einsum(value, [letters.index(c) for c in letters], [letters.index(c) for c in out])
    drop = tuple(i for i, c in enumerate(letters) if c not in out)
    value = call.add(Sum(drop, False), value) if drop else value
    left = [c for c in letters if c in out]
    order = tuple(left.index(c) for c in out)
    return value if order == tuple(range(len(order))) else call.add(Transpose(order), value)


def _contracted(call: Call, a: Operand, b: Operand, out: str, sizes: dict[str, int]) -> Value:
    """The sum of products of two operands over the letters that `out` leaves out."""
    a, b = (
        (_reduced(call, o, kept), kept)
        for o, other in ((a, b), (b, a))
        for kept in ["".join(c for c in o[1] if c in out or c in other[1])]
    )
    summed = "".join(c for c in a[1] if c in b[1] and c not in out)
    if isinstance(a[0], np.ndarray) and isinstance(b[0], np.ndarray):
        names = list(dict.fromkeys(a[1] + b[1]))
        return np.einsum(a[0], [names.index(c) for c in a[1]], b[0], [names.index(c) for c in b[1]],
                         [names.index(c) for c in out])  # fmt: skip
    if isinstance(a[0], np.ndarray):
        a, b = b, a
    if isinstance(b[0], np.ndarray) and all(c in summed or c not in a[1] for c in b[1]):
        return _by_matrix(call, a, b, out, summed, sizes)
    full = out + summed
    shape = tuple(sizes[c] for c in full)
    if prod(shape) > 1 << 25:
        raise ValueError(f"Einsum of {prod(shape)} products")
    x, y = (_spread(call, o, full, shape) for o in (a, b))
    assert isinstance(x, int)
    if isinstance(y, int):
        p = paired(call, call.reshape(x, (*shape, 1)), call.reshape(y, (*shape, 1)))
    else:
        p = scale(call, x, call.finite(np.asarray(y, np.float64), call.name), None)
    axes = tuple(range(len(out), len(full)))
    return call.add(Sum(axes, False), p) if axes else p


def _spread(call: Call, operand: Operand, full: str, shape: tuple[int, ...]) -> Value:
    """The operand with an axis for every letter."""
    value, letters = operand
    at = call.positions(value) if isinstance(value, int) else value
    at = at.transpose([letters.index(c) for c in full if c in letters])
    at = np.broadcast_to(
        at.reshape([sizes if c in letters else 1 for c, sizes in zip(full, shape, strict=True)]), shape
    )
    return call.take(value, at) if isinstance(value, int) else at


def _by_matrix(call: Call, a: Operand, b: Operand, out: str, summed: str, sizes: dict[str, int]) -> Value:
    """A product with a constant that shares only the summed letters."""
    lead = "".join(c for c in a[1] if c not in summed)
    new = "".join(c for c in b[1] if c not in summed)
    x = _reduced(call, a, lead + summed)
    assert isinstance(x, int) and isinstance(b[0], np.ndarray)
    W = call.finite(b[0].astype(np.float64), call.name).transpose([b[1].index(c) for c in new + summed])
    n, m = prod(sizes[c] for c in summed), prod(sizes[c] for c in new)
    x = call.reshape(x, (*(sizes[c] for c in lead), n))
    y = call.reshape(call.add(Dense(W.reshape(m, n)), x), tuple(sizes[c] for c in lead + new))
    return _reduced(call, (y, lead + new), out)
