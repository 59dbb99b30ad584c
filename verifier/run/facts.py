"""What a strategy is chosen from, told to a reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Graph, Input
from verifier.graph.ops.relu import Relu
from verifier.run.strategy import counted
from verifier.search.outcome import Open
from verifier.search.query import MOST_SYMBOLS
from verifier.spec.property import Property
from verifier.values.log import heard, note

Facts = dict[str, Any]


def facts(net: Any, graph: Graph, prop: Property) -> Facts:
    """Numbers about a question, fit for JSON.

    `inputs`, `varying` (inputs that a box of the property leaves free), `outputs`, `disjuncts`, `boxes`, `clauses`
    (disjunctions that are not multiplied out, see `spec.clauses`); `units` by name of nonlinear operator; `affine`
    nodes; `multiply_adds` of an evaluation; `input_shape` (of one input), `dtype`.
    """
    units: dict[str, int] = {}
    for node in graph.nodes:
        if not isinstance(node.op, (Affine, Input)):
            name = type(node.op).__name__
            units[name] = units.get(name, 0) + int(node.size)
    affine = [(n.op, graph.shapes_in(i)) for i, n in enumerate(graph.nodes) if isinstance(n.op, Affine)]
    used = np.unique(prop.box)
    shapes = [list(map(int, s)) for s in net.input_shapes]
    return {
        "inputs": prop.n_inputs,
        "varying": int((prop.lower[used] < prop.upper[used]).any(0).sum()),
        "outputs": prop.n_outputs,
        "disjuncts": prop.n_disjuncts,
        "boxes": len(used),
        "clauses": 0 if prop.clauses is None else len(prop.clauses),
        "units": units,
        "affine": len(affine),
        "multiply_adds": int(sum(op.work(*shapes) for op, shapes in affine)),
        "input_shape": shapes[0] if len(shapes) == 1 else [],
        "dtype": str(net.input_dtype),
    }


def splits(f: Facts) -> str:
    """What a search for these facts splits, in one line."""
    total = sum(f["units"].values())
    if not total:
        return "nothing to split: the network is affine, and bounds decide"
    kinks = set(f["units"]) <= {Relu.__name__}
    what = "the signs of rectifiers" if kinks else "what nonlinear operators read, at any point"
    if f["varying"] <= MOST_SYMBOLS:
        return f"splits of the {f['varying']} inputs that vary, in turns with splits of {what} ({total:,} units)"
    return f"splits of {what} ({total:,} units); of the {f['varying']:,} inputs that vary where that is too large"


def lines(strategy: str, f: Facts) -> list[str]:
    """A strategy and what it was chosen from, a line each."""
    units = ", ".join(f"{count:,} {name}" for name, count in f["units"].items()) or "no nonlinear unit"
    clauses = f", {counted(f['clauses'], 'clause')} kept as they are" if f.get("clauses") else ""
    return [
        f"facts: {counted(f['inputs'], 'input')} ({f['varying']:,} vary), {counted(f['outputs'], 'output')}, {units}, "
        f"{f['multiply_adds']:,} multiply-adds an evaluation, {f['dtype']}",
        f"facts: {counted(f['disjuncts'], 'disjunct')} on {counted(f['boxes'], 'box')}{clauses}",
        f"strategy: {strategy}",
        f"strategy: {splits(f)}",
    ]


def tell(strategy: str, f: Facts, explain: Callable[[str, Facts], None] | None) -> None:
    """Say to the log, and to whoever wants it explained, what is done and why."""
    if heard("verify"):
        for line in lines(strategy, f):
            note("verify", "%s", line)
    if explain is not None:
        explain(strategy, f)


def parts(rest: tuple[Open, ...]) -> list[dict[str, Any]]:
    """What is open, fit for JSON: a gap that is not known is None."""
    told = []
    for o in rest:
        gap = float(o.gap) if np.isfinite(o.gap) else None
        part = {"disjunct": o.disjunct, "gap": gap, "open": o.parts}
        told.append(part if o.undecided is None else {**part, "undecided": o.undecided})
    return told
