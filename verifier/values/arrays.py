"""One set of array functions over numpy and torch.

Bounding code is written once against the functions here.  On the CPU it runs on numpy, which starts in a tenth of the
time that importing torch takes; on a GPU, and where gradients in the weights are wanted, it runs on torch.  Torch is
imported only when a torch array is asked for.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A numpy array or a torch tensor; the docstrings give shapes."""


def namespace(a: Array) -> Any:
    """Return the functions for the kind of array `a` is: the numpy module, or its look-alike over torch."""
    if isinstance(a, (np.ndarray, np.generic)):
        return np
    return _torch_namespace()


def _torch_namespace() -> ModuleType:
    from verifier.values import arrays_torch

    return arrays_torch


def is_torch(a: Array) -> bool:
    """Whether `a` is a torch tensor (without importing torch)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(a, torch.Tensor)


def rows_of(a: Array, index: Array) -> Array:
    """`a[index]` along the first axis, as a new array."""
    if isinstance(a, np.ndarray):
        return a.take(index, axis=0, mode="clip")  # twice as fast as indexing: no bounds to check one by one
    return a[index]


def counting(n: int, like: Array) -> Array:
    """The numbers `0 … n − 1`, on the device of `like`: a device does not index by what is on the host."""
    if isinstance(like, (np.ndarray, np.generic)):
        return np.arange(n)
    import torch

    return torch.arange(n, device=like.device)


def repeat(a: Array, times: int) -> Array:
    """Every entry of `[P]` so many times, one after the other."""
    return a.repeat(times) if isinstance(a, np.ndarray) else a.repeat_interleave(times)


def largest(a: Array, count: int) -> Array:
    """Positions `[P, count]` of the largest entries of each row of `[P, n]`, in no order that matters."""
    if isinstance(a, np.ndarray):
        return np.argpartition(a, a.shape[1] - count, axis=1)[:, a.shape[1] - count :]
    return a.topk(count, dim=1).indices


def total(a: Array) -> Array:
    """The sum over the last axis; two entries are added up by hand, which numpy does ten times faster than its sum."""
    return a[..., 0] + a[..., 1] if a.shape[-1] == 2 else a.sum(-1)


def identity(n: int, like: Array) -> Array:
    """The identity matrix `[n, n]`, in the type and where `like` is."""
    if isinstance(like, (np.ndarray, np.generic)):
        return np.eye(n, dtype=like.dtype)
    import torch

    return torch.eye(n, dtype=like.dtype, device=like.device)


def erf(a: Array) -> Array:
    """The error function."""
    if isinstance(a, (np.ndarray, np.generic)):
        from scipy.special import erf as special  # only here: most networks do without

        return special(a)
    import torch

    return torch.erf(a)


def to_numpy(a: Array) -> np.ndarray:
    """`a` on the host as numpy; shares memory where it can."""
    return np.asarray(a) if isinstance(a, (np.ndarray, np.generic)) else a.detach().cpu().numpy()


@dataclass(frozen=True)
class Place:
    """Where and how precisely to compute.

    Attributes:
        kind: `"numpy"` or `"torch"`.
        dtype: `"float32"` or `"float64"`.
        device: a torch device name; `"cpu"` for numpy.
    """

    kind: str = "numpy"
    dtype: str = "float64"
    device: str = "cpu"

    def array(self, a: Array, dtype: str | None = None) -> Array:
        """`a` as an array of this place (`dtype` overrides); integers and booleans keep their type."""
        name = dtype or (self.dtype if _is_float(a) else str(a.dtype).removeprefix("torch."))
        if hasattr(a, "tocsr"):
            if self.kind == "numpy":
                return a.astype(name)
            a = a.toarray()  # on a device dense products are cheaper than the bookkeeping of sparse ones
        if self.kind == "numpy":
            return np.asarray(to_numpy(a), dtype=name, order="C")
        import torch

        if not is_torch(a):
            a = np.ascontiguousarray(a)
            a = torch.from_numpy(a if a.flags.writeable else a.copy())
        return a.to(device=self.device, dtype=getattr(torch, name))

    @property
    def xp(self) -> Any:
        """The functions for arrays of this place."""
        return np if self.kind == "numpy" else _torch_namespace()


def _is_float(a: Array) -> bool:
    return "float" in str(a.dtype)


def place_of(a: Array) -> Place:
    """The place that `a` lives at."""
    if isinstance(a, (np.ndarray, np.generic)):
        return Place("numpy", str(a.dtype), "cpu")
    return Place("torch", str(a.dtype).removeprefix("torch."), str(a.device))
