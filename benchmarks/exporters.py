"""What exporters make of common modules, read and bounded: modules × exporters × operator sets.

    python -m benchmarks.exporters                        # everything: a table, then what went wrong
    python -m benchmarks.exporters --only vit,lstm --exporters dynamo,script --opsets 18,23
    python -m benchmarks.exporters --verbose

Each model is read, its outputs at points are compared with the module's, and samples of a box with the bounds there.  A
cell says how that went: `=` all well; `.` the exporter itself cannot write it so; `x` refused in one line, and
onnxruntime cannot run what was written, either; `R` refused although it can; `v` other values than the module's; `o`
samples outside their bounds; `∞` bounds that are infinite; `!` anything else.  Exit
status 1 if any cell is something else than the first three.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import verifier
from benchmarks.exporters_nets import NETS, Net
from verifier.values.arrays import Place
from verifier.values.errors import UserError

OPSETS = (13, 18, 20, 22, 23, 24)
EXPORTERS = ("dynamo", "dynamo plain", "dynamo batch", "script", "script plain", "script batch")
MODULE = "module"
"""The module itself, with no exporter between."""
WELL, UNWRITTEN, UNRUN = "=", ".", "x"


@dataclass(frozen=True)
class Outcome:
    """How reading and bounding one model went: the cell's sign, and what was said or measured."""

    sign: str
    said: str = ""


class Unwritten(Exception):
    """The exporter cannot write this module at this operator set."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk a lot, in Python and past it."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    before = logging.root.manager.disable
    os.dup2(nowhere, 1)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(before)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def exported(module: Any, example: torch.Tensor, exporter: str, opset: int) -> bytes:
    """The ONNX file that an exporter writes.

    Raises:
        Unwritten: it writes none, or one of another operator set.
    """
    kind, _, how = exporter.partition(" ")
    try:
        with quiet():
            return _dynamo(module, example, opset, how) if kind == "dynamo" else _script(module, example, opset, how)
    except Unwritten:
        raise
    except Exception as e:
        raise Unwritten(f"{type(e).__name__}: {next(iter(str(e).splitlines()), '')[:150]}") from None


def _remembered() -> None:
    """Let torch look up how operators are translated once an operator set, not once an export: half of its time."""
    from torch.onnx._internal.exporter import _registration

    registry: Any = _registration.ONNXRegistry
    if not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


def _dynamo(module: Any, example: torch.Tensor, opset: int, how: str) -> bytes:
    dynamic = ({0: torch.export.Dim("batch")},) if how == "batch" else None
    with contextlib.suppress(ImportError, AttributeError):  # none of torch's public names
        _remembered()
    given = example.expand(2, *example.shape[1:]).clone() if how == "batch" else example
    program = torch.onnx.export(
        module, (given,), dynamo=True, opset_version=opset, verbose=False, optimize=how != "plain",
        dynamic_shapes=dynamic, external_data=False,
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    written = next(o.version for o in proto.opset_import if o.domain == "")
    if written != opset:
        raise Unwritten(f"written in operator set {written}")
    return bytes(proto.SerializeToString())


def _script(module: Any, example: torch.Tensor, opset: int, how: str) -> bytes:
    held = io.BytesIO()
    torch.onnx.export(
        module, (example,), held, dynamo=False, opset_version=opset, do_constant_folding=how != "plain",
        input_names=["x"], dynamic_axes={"x": {0: "batch"}} if how == "batch" else None,
    )  # fmt: skip
    return held.getvalue()


def outcome(net: Net, module: Any, model: Any, points: int = 24) -> Outcome:
    """Read a model of the module, compare values, bound a box and look at samples there.

    Args:
        model: an ONNX file's bytes, or the module itself.
    """
    try:
        read = verifier.load(model, net.example()) if isinstance(model, torch.nn.Module) else verifier.load(model)
        return _looked_at(net, module, read, points)
    except UserError as e:
        return Outcome("R" if isinstance(model, torch.nn.Module) or _runs(model, net) else UNRUN, str(e))
    except Exception as e:  # whatever it is, it belongs into the table
        return Outcome("!", f"{type(e).__name__}: {next(iter(str(e).splitlines()), '')[:300]}")


def _runs(model: bytes, net: Net) -> bool:
    """Whether onnxruntime runs a model at all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: net.example().numpy()})
    except Exception:  # onnxruntime has no common type of error
        return False
    return True


def _looked_at(net: Net, module: Any, read: Any, points: int) -> Outcome:
    x = net.example().reshape(1, -1).numpy().astype(np.float64)
    rng = np.random.default_rng(5)
    lower, upper = verifier.bound(read, verifier.Box(x[0] - net.eps, x[0] + net.eps))
    corners = np.where(rng.random((points // 2, x.size)) < 0.5, -net.eps, net.eps)
    inside = rng.uniform(-net.eps, net.eps, (points - points // 2, x.size))
    samples = (x + np.concatenate([corners, inside])).astype(np.float32)
    with torch.no_grad():
        truth = module(torch.from_numpy(samples).reshape(-1, *net.shape)).reshape(points, -1).double().numpy()
    scale = 1.0 + np.abs(truth).max(0)
    if (np.abs(read.run(samples) - truth) > 1e-4 * scale).any():
        return Outcome("v", f"other values by {np.abs(read.run(samples) - truth).max():.3g}")
    graph = read.graph.cast(Place("numpy", "float64").array)
    own = np.concatenate([y.reshape(points, -1) for y in graph.evaluate(_shaped(graph, samples))], 1)
    if (np.abs(own - truth) > 1e-4 * scale).any():
        return Outcome("v", f"its graph has other values by {np.abs(own - truth).max():.3g}")
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        return Outcome("∞", f"{int((~np.isfinite(lower) | ~np.isfinite(upper)).sum())} of {len(lower)} bounds")
    off = np.maximum(lower - truth, truth - upper).max()
    if off > 2e-5 * scale.max():
        return Outcome("o", f"by {off:.3g}")
    spread = truth.max(0) - truth.min(0)
    return Outcome(WELL, f"{np.mean(upper - lower) / max(np.mean(spread), 1e-12):.1f} times as wide as samples")


def _shaped(graph: Any, samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float64).reshape(len(samples), *graph.nodes[graph.inputs[0]].shape)


def cell(net: Net, module: Any, exporter: str, opset: int) -> Outcome:
    """One cell of the table."""
    if exporter == MODULE:
        return outcome(net, module, module)
    try:
        data = exported(module, net.example(), exporter, opset)
    except Unwritten as e:
        return Outcome(UNWRITTEN, str(e))
    return outcome(net, module, data)


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of modules, or beginnings of them")
    parser.add_argument("--exporters", default=",".join((*EXPORTERS, MODULE)))
    parser.add_argument("--opsets", default=",".join(map(str, OPSETS)))
    parser.add_argument("--verbose", action="store_true", help="say what every cell is about")
    given = parser.parse_args()
    names = [n for n in NETS if not given.only or n.startswith(tuple(given.only.split(",")))]
    opsets = [int(o) for o in given.opsets.split(",")]
    kinds = given.exporters.split(",")
    print(f"{'':26}" + "".join(f"{k:16}" for k in kinds))
    print(f"{'':26}" + "".join(f"{' '.join(map(str, opsets)) if k != MODULE else '':16}"[:16].ljust(16) for k in kinds))
    counts: dict[str, int] = {}
    wrong: list[str] = []
    began = time.time()
    for name in names:
        net, module = NETS[name], NETS[name].made()
        line = f"{name:26}"
        for kind in kinds:
            row = [cell(net, module, kind, o) for o in (opsets if kind != MODULE else opsets[:1])]
            line += f"{'  '.join(c.sign for c in row):16}" + ""
            for o, c in zip(opsets, row, strict=False):
                counts[c.sign] = counts.get(c.sign, 0) + 1
                if given.verbose or c.sign not in (WELL, UNWRITTEN):
                    wrong.append(f"{c.sign} {name}, {kind} {'' if kind == MODULE else o}: {c.said}")
        print(line, flush=True)
    print("\n" + "\n".join(wrong))
    print(f"\n{counts}, {time.time() - began:.0f} s")
    return 1 if set(counts) - {WELL, UNWRITTEN, UNRUN} else 0


if __name__ == "__main__":
    sys.exit(main())
