"""A device that is none: tensors that say they are on `cuda`, compute on the processor, and refuse what CUDA refuses.

`torch.cuda` itself is not asked for anything, so this runs where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CUDA = torch.device("cuda", 0)
HOST_ONLY = (torch.Tensor.numpy, torch.Tensor.__array__, torch.from_numpy)


class Far(torch.Tensor):
    """A tensor on the device."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        """Put `near` there."""
        far: Far = torch.Tensor._make_wrapper_subclass(cls, near.size(), dtype=near.dtype, device=CUDA)
        far.near = near
        return far

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute near, hand back far."""
        if func == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return CUDA
        if func in HOST_ONLY:
            raise TypeError("can't convert cuda:0 device type tensor to numpy: copy it to the host first")
        flat, spec = tree_flatten((args, dict(kwargs or {})))
        home = False
        own = {}
        for k, a in enumerate(flat):
            if isinstance(a, Far):
                own[id(a.near)], flat[k] = a, a.near
            elif isinstance(a, torch.Tensor) and (a.ndim or func is torch.Tensor.__getitem__):
                raise RuntimeError(f"{func.__name__}: one tensor is on cuda, one of shape {list(a.shape)} on the host")
            elif isinstance(a, np.ndarray):
                raise RuntimeError(f"{func.__name__}: a tensor on cuda meets a numpy array of shape {list(a.shape)}")
            elif isinstance(a, torch.device) or a in ("cpu", "cuda"):
                home, flat[k] = torch.device(a).type == "cpu", "cpu"
        args, kwargs = tree_unflatten(flat, spec)
        found = func(*args, **kwargs)
        if home or func is torch.Tensor.cpu:
            return found
        return tree_map(lambda a: (own[id(a)] if id(a) in own else Far(a)) if isinstance(a, torch.Tensor) else a, found)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Never reached: there is nothing in the tensor itself."""
        raise AssertionError(f"{func} went around the device")


class _Sent(TorchFunctionMode):
    """Tensors that are made on the device, or sent there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], (str, torch.device)):
            kwargs["device"], args = args[1], (args[0], *args[2:])
        target = kwargs.get("device")
        if target is None or torch.device(target).type != "cuda" or any(isinstance(a, Far) for a in args):
            return func(*args, **kwargs)
        return Far(func(*args, **{**kwargs, "device": "cpu"}))


@contextmanager
def device() -> Iterator[None]:
    """While inside, there is a device `cuda`."""
    there, torch.cuda.is_available = torch.cuda.is_available, lambda: True
    try:
        with _Sent():
            yield
    finally:
        torch.cuda.is_available = there
