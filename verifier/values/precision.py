"""All the bits of a type, whatever the program around has allowed torch: `values.rounding` counts on them.

On a GPU torch multiplies float32 numbers in TF32 where it is allowed to, which keeps 10 bits of 23; convolutions are
allowed to from the start.  On a processor `set_float32_matmul_precision("medium")` allows bfloat16, which keeps 7.
(What torch calls reduced-precision reductions is about 16-bit types alone, which no `Place` has.)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from verifier.values.arrays import Place
from verifier.values.errors import UserError

_OVERRIDES = ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATE_DOUBLE_PRECISION")
"""Variables by which NVIDIA's libraries change their arithmetic, whatever torch asks them for."""


@contextmanager
def full_precision(place: Place) -> Iterator[None]:
    """Compute at `place` in full precision; the caller's settings are back when the last one has left.

    The settings belong to the process: while any thread is inside, all of them have full precision.

    Raises:
        UserError: the device multiplies with fewer bits all the same, or somebody has changed a setting meanwhile, so
            that nothing is known of the results.

    Sound because: in full precision a product is rounded once in its own type, which is the model that `gamma` is a
    bound for.  Convolutions without cuDNN are sums of products; cuDNN may choose Winograd's or Fourier's algorithm
    (NNPACK, on processors, too), whose errors `gamma(n)·|W||x|` does not bound.  What is to be proved is not handed on
    unless the settings are, at the end, what they were made at the start.
    """
    if place.kind == "numpy":
        yield
        return
    import torch

    with ExitStack() as stack:
        for device in ("cpu", "cuda"):  # of this thread alone; float16 and bfloat16 within
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_HELD)
        check_bits(place)
        yield
        _HELD.check()


def check_bits(place: Place) -> None:
    """Multiply numbers whose last bits matter; all products are exact, so nothing but the same numbers may come back.

    Raises:
        UserError: others do.
    """
    forced = [v for v in _OVERRIDES if os.environ.get(v, "0") not in ("", "0")]
    if place.device != "cpu" and forced:
        raise UserError(f"device {place.device}: {forced[0]} reduces its precision; unset it")
    import torch
    from torch.nn import functional as F

    dtype = getattr(torch, place.dtype)
    n = 64 * 64
    x = (1 + torch.arange(n, dtype=dtype) * torch.finfo(dtype).eps).reshape(64, 64).to(place.device)
    one = torch.eye(64, dtype=dtype).to(place.device)
    kernel = torch.zeros(4, 4, 3, 3, dtype=dtype)
    kernel[range(4), range(4), 1, 1] = 1
    image = x.reshape(1, 4, 32, 32)
    same = (x @ one == x).all() & (F.conv2d(image, kernel.to(place.device), padding=1) == image).all()
    if not bool(same):
        raise UserError(f"device {place.device}: it multiplies {place.dtype} with too few bits; use the device cpu")


@dataclass(frozen=True)
class _Setting:
    """One setting of torch: how it is read and set, and what full precision needs it to be."""

    get: Callable[[], Any]
    set: Callable[[Any], Any]
    full: Any


def _settings() -> list[_Setting]:
    """Those that the installed torch has: since 2.9 one for each kind of product (`fp32_precision`)."""
    import torch

    b: Any = torch.backends
    found = [
        _Setting(lambda: b.cudnn.enabled, lambda v: setattr(b.cudnn, "enabled", v), False),
        _Setting(torch._C._get_nnpack_enabled, b.nnpack.set_flags, False),
    ]
    if hasattr(b.cudnn, "conv"):
        leaves = (b.cuda.matmul, b.cudnn.conv, b.mkldnn.matmul, b.mkldnn.conv)
        return found + [_Setting(*_leaf(leaf), "ieee") for leaf in leaves]
    tf32 = _Setting(lambda: b.cudnn.allow_tf32, lambda v: setattr(b.cudnn, "allow_tf32", v), False)
    # (this one is `cuda.matmul.allow_tf32`, too)
    return [*found, tf32, _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")]


def _leaf(leaf: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    def put(value: str) -> None:
        leaf.fp32_precision = "none"  # as the backend has it; a value of its own would stay when that is changed
        if leaf.fp32_precision != value:
            leaf.fp32_precision = value

    return lambda: leaf.fp32_precision, put


class _Held:
    """Torch's settings while somebody needs full precision; shared by all threads, as the settings are."""

    def __init__(self) -> None:
        self._lock, self._inside, self._changed = threading.Lock(), 0, False
        self._before: list[tuple[_Setting, Any]] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before, self._changed = [(s, s.get()) for s in _settings()], False
            else:
                self._changed |= self._reduced()  # those who are inside must hear of it
            for s, _ in self._before:
                if s.get() != s.full:
                    s.set(s.full)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            for s, old in self._before if not self._inside else ():
                if s.get() == s.full:  # else somebody else has set it since, and means it
                    s.set(old)

    def check(self) -> None:
        """See `full_precision`."""
        with self._lock:
            if self._changed or self._reduced():
                raise UserError("torch's precision was changed while bounds were computed; run again")

    def _reduced(self) -> bool:
        return any(s.get() != s.full for s, _ in self._before)


_HELD = _Held()
