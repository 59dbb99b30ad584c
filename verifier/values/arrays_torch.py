"""The numpy functions that bounding uses, over torch tensors.  Imported only where torch is used."""

from __future__ import annotations

from typing import Any

import torch
from torch import (  # noqa: F401  (names shared with numpy, re-exported)
    Tensor,
    abs,
    amax,
    amin,
    arange,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctanh,
    argmax,
    argsort,
    broadcast_to,
    ceil,
    cos,
    cosh,
    exp,
    expm1,
    floor,
    fmax,
    fmin,
    isfinite,
    log,
    log1p,
    nextafter,
    round,
    sign,
    sin,
    sinh,
    sqrt,
    stack,
    tan,
    tanh,
    where,
)

float32, float64, int64, bool_ = torch.float32, torch.float64, torch.int64, torch.bool
inf = float("inf")


def _pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Numbers become tensors of the other argument's type and device."""
    if not isinstance(a, Tensor):
        return torch.as_tensor(a, dtype=b.dtype, device=b.device), b
    if not isinstance(b, Tensor):
        return a, torch.as_tensor(b, dtype=a.dtype, device=a.device)
    return a, b


def maximum(a: Any, b: Any) -> Tensor:
    """Elementwise maximum; either side may be a number."""
    if not isinstance(b, Tensor):
        return torch.clamp(a, min=b)
    return torch.maximum(*_pair(a, b))


def minimum(a: Any, b: Any) -> Tensor:
    """Elementwise minimum; either side may be a number."""
    if not isinstance(b, Tensor):
        return torch.clamp(a, max=b)
    return torch.minimum(*_pair(a, b))


def power(a: Tensor, p: float) -> Tensor:
    """`a^p`."""
    return torch.pow(a, p)


def concatenate(arrays: Any, axis: int = 0) -> Tensor:
    """Join along an axis."""
    return torch.cat(list(arrays), dim=axis)


def zeros(shape: Any, dtype: Any, like: Tensor) -> Tensor:
    """Zeros on the device of `like`."""
    return torch.zeros(shape, dtype=dtype, device=like.device)


def transpose(a: Tensor, axes: Any) -> Tensor:
    """Permute axes."""
    return a.permute(*axes)


def einsum(subscripts: str, *arrays: Tensor) -> Tensor:
    """Sum of products."""
    return torch.einsum(subscripts, *arrays)


def flatnonzero(a: Tensor) -> Tensor:
    """Indices of what is true."""
    return torch.nonzero(a.reshape(-1)).reshape(-1)
