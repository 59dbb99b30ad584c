"""What to do, in what order: chosen from the graph, the property and the machine, never from a name."""

from __future__ import annotations

import os
from dataclasses import dataclass

from verifier.graph.graph import Affine, Graph, Input
from verifier.graph.ops.relu import Relu
from verifier.search.query import MOST_SYMBOLS
from verifier.values import given
from verifier.values.arrays import Place
from verifier.values.errors import UserError
from verifier.values.extras import need


@dataclass(frozen=True)
class Strategy:
    """The plan for one question.

    Attributes:
        place: where bulk bounding runs.
        threads: on how many of the processor's cores.
        starts, steps: of the first gradient search; it is repeated with more after the root has been bounded.
        reason: why, in one line.
    """

    place: Place
    threads: int
    starts: int
    steps: int
    reason: str


def choose(graph: Graph, n_disjuncts: int, device: str = "auto") -> Strategy:
    """The plan.

    Raises:
        UserError: an unknown device, or `cuda` where there is none.
    """
    work = graph.work
    place = place_on(device, "float32")
    why = "on the processor" if place.device == "cpu" else "on the GPU"
    starts = max(1, min(64, int(2e8 / max(1, work) / max(1, n_disjuncts) / 10)))
    threads = cores() if place.kind == "numpy" else 1
    question = f"{work:,} multiply-adds an evaluation, {counted(n_disjuncts, 'disjunct')}"
    return Strategy(
        place,
        threads,
        starts,
        10,
        f"{why}, {counted(threads, 'thread')}: {question}",
    )


def counted(n: int, word: str) -> str:
    """So many of something, in words: `1 thread`, `2 threads`."""
    return f"{n:,} {word}" + ("" if n == 1 else "es" if word.endswith("x") else "s")


def ways(graph: Graph) -> str:
    """How a search would go about a network, in one line; the property decides which inputs vary at all."""
    inputs = sum(graph.nodes[i].size for i in graph.inputs)
    nonlinear = [n for n in graph.nodes if not isinstance(n.op, (Affine, Input))]
    if not nonlinear:
        return "none: the network is affine, and bounds decide"
    units = sum(n.size for n in nonlinear)
    kinks = all(isinstance(n.op, Relu) for n in nonlinear)
    what = "signs of rectifiers" if kinks else "values that nonlinear operators read, at any point"
    if inputs <= MOST_SYMBOLS:
        return f"splits of the {inputs} inputs, in turns with splits of {what} ({units:,} units)"
    return f"splits of {what} ({units:,} units); of inputs, should few of the {inputs:,} vary or the rest be too large"


def cores() -> int:
    """Cores this process may use: `OMP_NUM_THREADS` if it is set, else what the system grants."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def place_on(device: str, dtype: str) -> Place:
    """The GPU for `cuda`, else the processor: `auto` picks no device that the whole of it was not measured on.

    Raises:
        UserError: an unknown device or type, or `cuda` where there is none.
    """
    given.choice("dtype", dtype, ("float32", "float64"))
    check_device(device)
    return Place("torch", dtype, "cuda") if device == "cuda" else Place("numpy", dtype)


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        UserError: it is unknown, or `cuda` where there is none, or no torch.
    """
    given.choice("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not _has_gpu():
        raise UserError("device cuda: no CUDA device is found; use the device cpu")


def _has_gpu() -> bool:
    need("device cuda", "torch", "torch")
    import torch

    return torch.cuda.is_available()
