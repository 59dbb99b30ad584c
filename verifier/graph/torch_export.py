"""Tracing a `torch.nn.Module`: what `torch.export` makes of it, or in one line why not and what to do about it."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from verifier.graph.graph import Shape
from verifier.values.errors import ModelError

TYPES = (torch.float16, torch.float32, torch.float64)
"""Types that an example may have."""
_WRONG = (  # what a forward says that fails on its example; what to do
    (r'required "forward"', "give it a forward"),
    (r"missing .*required|missing a required", "give an example of each of its inputs: load(module, (a, b))"),
    (r"too many positional|positional arguments? but|keyword|invalid data type 'str'|indices must be integers",
     "give what its forward takes: load(module, (a, b)) by position, load(module, {'x': a}) by name"),
    (r"same device|different devices|device type|on device", "bring both to one device: module.to(example.device)"),
    (r"dtype|scalar type|same type", "give the example in the module's type, or convert the module: module.float()"),
    (r"uninitialized|LazyModule", "call the module once on the example first"),
    (r"shape|size|dim|channel|length|broadcast", "give an example of a shape that it takes, [B, ...]"),
)  # fmt: skip
_UNTRACED = (  # what the tracer says; what to do
    (r"data.?dependent|unbacked|symbolic shape",
     "it asks for a value that depends on the input (if, while, assert, float(x), x[mask]); choose with torch.where, "
     "and leave out asserts"),
    (r"numpy|\.tolist|data_ptr|__array__", "it leaves torch (numpy): write that with torch's own functions"),
    (r"assigned during export|was mutated|side effect|global", "its forward keeps things in attributes: return them"),
)  # fmt: skip
_ELSE = "write what it names with torch's own functions, or export it (torch.onnx.export) and give the file"


@dataclass(frozen=True)
class Example:
    """What a module is called with, tensors aside: how positional and named arguments are made of a list of tensors.

    Attributes:
        tensors: the example inputs `[B, ...]`, in order.
        spec: of `(args, kwargs)`.
    """

    tensors: tuple[Tensor, ...]
    spec: pytree.TreeSpec

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of each input, without the batch axis."""
        return tuple(tuple(t.shape[1:]) for t in self.tensors)

    @property
    def batch(self) -> int:
        """Size of the batch axis."""
        return len(self.tensors[0])

    @property
    def dtype(self) -> torch.dtype:
        """Type of all inputs."""
        return self.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return self.tensors[0].device

    def call(self, module: Any, tensors: list[Tensor]) -> Any:
        """What the module makes of tensors in the place of the example's."""
        args, kwargs = pytree.tree_unflatten(tensors, self.spec)
        return module(*args, **kwargs)


def example_of(who: str, given: Any) -> Example:
    """The example of a module: a tensor, a tuple of its arguments, or a mapping of them by name.

    Raises:
        ModelError: it holds something else than floating-point tensors of one type, batch axis in front.
    """
    named = isinstance(given, Mapping)
    call = ((), dict(given)) if named else (tuple(given) if isinstance(given, (tuple, list)) else (given,), {})
    leaves, spec = pytree.tree_flatten(call)
    whole = [t for t in leaves if isinstance(t, Tensor) and not t.dtype.is_floating_point]
    if whole:
        raise ModelError(
            f"{who}: an example of type {_named(whole[0].dtype)}: the example must be of real numbers, in float32 or "
            "float64; what is decided (tokens, lengths) belongs into the module, as a buffer"
        )
    if any(isinstance(t, Tensor) and t.dtype == torch.bfloat16 for t in leaves):
        raise ModelError(
            f"{who}: an example of type bfloat16: the example must be float32 or float64; convert the module "
            "(module.float()), or let its forward take float32 and convert inside: then its rounding is bounded, too"
        )
    if not leaves or any(not isinstance(t, Tensor) or t.dtype not in TYPES or t.ndim < 2 or not len(t) for t in leaves):
        raise ModelError(f"{who}: the example must be a float32 or float64 tensor with a batch axis in front, [B, ...]")
    if len({(len(t), t.dtype, t.device) for t in leaves}) > 1:
        raise ModelError(f"{who}: the examples of its inputs must have the same batch size, type and device")
    return Example(tuple(t.detach() for t in leaves), spec)


def unwrapped(module: Any) -> nn.Module:
    """The module inside what compiles it, spreads it over devices, or is an exported program."""
    if isinstance(module, torch.export.ExportedProgram):
        return module.module()
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif isinstance(module, nn.Module) and isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner  # of torch.compile
        else:
            return module


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and back to what each submodule had."""
    before = {m: m.training for m in module.modules() if hasattr(m, "training")}  # a frozen script has none
    with suppress(NotImplementedError):  # an exported program has the mode that it was exported in
        if before:
            module.eval()
    try:
        yield
    finally:
        for m, training in before.items():
            m.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what a tracer has to say: what is wrong is raised, and its graphs would stand beside our one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def traced(module: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """The program of a module in evaluation mode.

    Raises:
        ModelError: its forward fails on the example, or cannot be traced; with what to do.
    """
    who = type(module).__name__
    if any(p.is_meta for p in module.parameters()):
        raise ModelError(f"{who}: its parameters are on the device meta, where they have no numbers; load them first")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            example.call(module, [t.clone() for t in example.tensors])
    except MemoryError:
        raise
    except Exception as e:  # the user's own code: anything may come
        raise ModelError(f"{who}: its forward fails on the example: {line(e)}; {_advice(e, _WRONG)}") from e
    args, kwargs = pytree.tree_unflatten(list(example.tensors), example.spec)
    try:
        with _quiet():
            if isinstance(module, torch.jit.ScriptModule):
                exported = _from_script(module, args, kwargs)
            else:
                exported = torch.export.export(module, args, kwargs, strict=False)
            # An empty table decomposes nothing that has a rule of ours, but makes in-place operators functional.
            return exported.run_decompositions({})
    except MemoryError:
        raise
    except Exception as e:
        raise ModelError(f"{who}: torch.export cannot trace it{_place(e)}: {line(e)}; {_advice(e, _UNTRACED)}") from e


def _from_script(module: Any, args: Any, kwargs: Any) -> torch.export.ExportedProgram:
    """The program of a scripted or traced module."""
    from torch._export.converter import TS2EPConverter

    return TS2EPConverter(module, args, kwargs or None).convert()


def line(e: BaseException) -> str:
    """The first line of a message."""
    return next(iter(str(e).strip().splitlines()), type(e).__name__)[:300]


def _advice(e: Exception, table: tuple[tuple[str, str], ...]) -> str:
    text = f"{type(e).__name__} {line(e)}"
    return next((what for pattern, what in table if re.search(pattern, text, re.IGNORECASE)), _ELSE)


def _place(e: Exception) -> str:
    """Where in the user's files the tracer stood, as far as its message says."""
    found = re.findall(r'File "([^"]+)", line (\d+)', str(e))
    return f" at {found[-1][0].rsplit('/', 1)[-1]}:{found[-1][1]}" if found else ""


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
