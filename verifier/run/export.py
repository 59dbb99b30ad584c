"""A torch module as an ONNX file that computes the same."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from verifier.values.errors import ModelError, UnsoundBound, Unwritten
from verifier.values.extras import need

OPSET = 18


def export(module: Any, example: Any, path: Path) -> None:
    """Write `module` as it computes in evaluation mode, normalisation and batch norms inside.

    Args:
        module: a torch module of one tensor argument.
        example: an input `[B, *shape]`.
        path: of the `.onnx` file; input `input` `[batch, *shape]`, output `output`.

    Raises:
        UserError: onnxscript is not installed, which torch's exporter needs.
        ModelError: torch's exporter cannot write it.
        UnsoundBound: the file computes something else than the module, by more than rounding explains.
        Unwritten: the file cannot be written.
    """
    need("writing a module as ONNX", "torch")
    import torch

    was = {m: m.training for m in module.modules()}
    given = torch.cat([example[:1]] * 2).detach()  # two, or the exporter takes the batch axis for a constant
    aside = path.with_name(f".{path.name}.{os.getpid()}.onnx")
    try:
        module.eval()
        with _quiet():
            program = torch.onnx.export(
                module,
                (given,),
                dynamo=True,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
            )
        if program is None:
            raise ModelError(f"{type(module).__name__}: torch's exporter gave nothing")
        program.save(str(aside), external_data=False)
        _compare(module, given, aside)
        os.replace(aside, path)
    except (ModelError, UnsoundBound):
        raise
    except OSError as e:
        raise Unwritten(f"{path}: cannot be written ({e.strerror})") from None
    except Exception as e:  # the exporter runs the user's own code
        raise ModelError(
            f"{type(module).__name__}: cannot be written as ONNX: {(str(e).splitlines() or [''])[0]}"
        ) from e
    finally:
        aside.unlink(missing_ok=True)
        for m, training in was.items():
            m.training = training


def _compare(module: Any, example: Any, path: Path) -> None:
    """Run both on a few inputs; the reader of ONNX files compares its own graph with the file in the same way.

    Raises:
        UnsoundBound: they differ.
    """
    import torch

    from verifier.run.model import load

    net = load(path)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((8, *example.shape[1:]), generator=generator).to(example)
    x = torch.cat([example, noise, 10 * noise])
    with torch.no_grad():
        y = module(x).reshape(len(x), -1).double().cpu().numpy()
    flat = x.reshape(len(x), -1).cpu().numpy()
    found = np.concatenate([net.run(flat[i : i + 1]) for i in range(len(flat))])
    scale = np.abs(y).max(1, keepdims=True) + 1
    worst = float((np.abs(found - y) / scale).max())
    if not worst <= 1e-4:
        raise UnsoundBound(f"{path.name}: the file's outputs differ from the module's by {worst:.3g} of their size")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of operators that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
