"""`verifier info`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import Any

from verifier.cli.inputs import fixings
from verifier.cli.write import Answer
from verifier.graph.contents import Contents
from verifier.graph.diagnose import Problem
from verifier.graph.graph import Affine, Graph, Input
from verifier.graph.ops.table import supported
from verifier.run.diagnose import Diagnosis, Layer, Part, called, diagnose, stability
from verifier.run.model import computed
from verifier.run.strategy import choose, ways
from verifier.values.errors import ModelError, PropertyError, UserError

SHOWN = 200
"""Problems that are listed one by one; of more, how many there are.  A file has them all."""


def command(a: argparse.Namespace) -> None:
    """Print what a model is made of and how it would be treated, or what is supported.

    Raises:
        ModelError: it cannot be read; what is in it, and all that stands in the way, has been printed.
    """
    if a.model is None:
        if a.json is not None or a.input or a.output:
            raise UserError("no MODEL is given; without one, give no options")
        print("ONNX operators:", ", ".join(sorted(supported())))
        return
    found = diagnose(a.model, fixed=fixings(a), outputs=a.output)
    layers, how = _stability(found, a.spec)
    decided = not found.readable and _decided(a)
    lines = [*_declarations(found.contents), *(_treatment(found) if found.readable else _refused(found))]
    lines += _stable(layers, how)
    lines += [f"supported on the inputs of {a.spec}: yes, with what it fixes"] if decided else []
    answer = Answer(a.json)
    answer.say("\n".join(lines))
    data = _as_data(a, found) | ({"bounds": how, "stability": [asdict(layer) for layer in layers]} if how else {})
    answer.write(a.json, lambda: json.dumps(data, indent=1) + "\n")
    answer.done()
    if not found.readable and not decided:
        nodes = [p for p in found.problems if p.what == "node"]
        more = f" ({len(nodes)} nodes are not supported)" if len(nodes) > 1 else ""
        raise ModelError(found.error + more)


def _stability(found: Diagnosis, spec: str | None) -> tuple[Sequence[Layer], str]:
    """What is unstable on the inputs of a property, the smallest box around all of them, and by which bounds.

    Raises:
        PropertyError: they do not fit, or there are none.
    """
    if spec is None or found.net is None or found.graph is None:
        return (), ""
    from verifier.run.pose import pose

    prop = pose(found.net, spec, accept_real=True).prop
    if not prop.n_disjuncts:
        raise PropertyError(f"{spec}: the property contradicts itself: its input set is empty; correct its bounds")
    return stability(found.graph, prop.lower.min(0), prop.upper.max(0))


def _decided(a: argparse.Namespace) -> bool:
    """Whether a model that is not readable by itself is so with the inputs that a property decides, as for `verify`."""
    from verifier.run import cells
    from verifier.spec.property import Property
    from verifier.spec.vnnlib import read

    prop = None if a.spec is None or a.input or a.output else read(a.spec)
    if not isinstance(prop, Property) or not prop.n_disjuncts:
        return False
    try:
        cells.divide(a.model, prop)
    except ModelError:
        return False
    return True


def _stable(layers: Sequence[Layer], how: str) -> list[str]:
    """A line for each nonlinear node."""
    if not layers:
        return ["nothing is unstable: the network is affine"] if how else []
    rows = [("node", "operator", "units", "unstable", "stable")]
    rows += [(x.name, x.operator, f"{x.units:,}", f"{x.unstable:,}", f"{x.units - x.unstable:,}") for x in layers]
    units, unstable = sum(x.units for x in layers), sum(x.unstable for x in layers)
    rows.append(("all", "", f"{units:,}", f"{unstable:,}", f"{units - unstable:,}"))
    wide = [max(len(row[k]) for row in rows) for k in range(5)]
    lines = ["  ".join(f"{c:{'<' if k < 2 else '>'}{wide[k]}s}" for k, c in enumerate(row)) for row in rows]
    return [f"on the inputs of the property, by {how}:", *(f"  {line}" for line in lines)]


def _declarations(found: Contents) -> list[str]:
    """What the file says."""
    lines = [f"file       operator set {found.opset}{', by ' + found.producer if found.producer else ''}"]
    for what, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{what:10s} {name} {shape} {kind}" for name, kind, shape in tensors]
    lines.append(f"parameters {found.parameters:,} in initializers")
    return [*lines, "operators  " + ", ".join(f"{n} {op}" for op, n in found.operators.items())]


def _refused(found: Diagnosis) -> list[str]:
    """What stands in the way, and how the rest would be bounded."""
    nodes = sum(found.contents.operators.values())
    lines = [line for p in found.problems[:SHOWN] for line in _told(p)]
    if len(found.problems) > SHOWN:
        lines.append(f"not supported: {len(found.problems) - SHOWN} more (--json FILE has all)")
    if found.unseen:
        what = "they read something of unknown shape; their operators were looked at"
        lines.append(f"not looked at: {found.unseen} of {nodes} nodes: {what}")
    if found.parts:
        lines += ["the rest would be bounded so:", *_table(found.parts)]
    return [*lines, "supported: no"]


def _told(p: Problem) -> list[str]:
    """A problem in up to three lines."""
    own = f", named '{p.node}'" if p.node and p.node != p.name else ""
    of = {"node": f"node '{p.name}' ({p.operator}){own}", "model": "the model"}.get(p.what, f"{p.what} '{p.name}'")
    lines = [f"not supported: {of}{f', {p.tensor}' if p.tensor else ''}", f"  why: {p.why}"]
    return [*lines, f"  do:  {p.advice}"] if p.advice else lines


def _table(some: Sequence[Part]) -> list[str]:
    """What the network is made of, a line each."""
    rows = [(p.operator, f"{p.nodes:,} node{'s' * (p.nodes != 1)}", f"{p.entries:,} numbers", p.how) for p in some]
    wide = [max(len(row[k]) for row in rows) for k in range(3)]
    return [f"  {name:{wide[0]}s}  {n:>{wide[1]}s}  {size:>{wide[2]}s}  {how}" for name, n, size, how in rows]


def _treatment(found: Diagnosis) -> list[str]:
    """How the engine would go about it."""
    net, graph = found.net, found.graph
    assert net is not None and graph is not None
    kinds = Counter(called(node) for i, node in enumerate(graph.nodes) if i not in graph.inputs)
    neurons = sum(n.size for n in graph.nodes if not isinstance(n.op, (Affine, Input)))
    whom = "its doubles in another evaluator" if computed(net) else "onnxruntime"
    return [
        f"network    {list(net.input_shapes)} {net.input_dtype} -> {list(net.output_shapes)} (batch of one)",
        *(f"read       {line}" for line in found.remarks),
        f"simplified {', '.join(f'{v} {k}' for k, v in kinds.items())}",
        *_table(found.parts),
        f"neurons {neurons:,}, multiply-adds an evaluation {_work(graph):,}",
        f"search     {ways(graph)}",
        f"strategy   {choose(graph, 1).reason}",
        *_layers(graph),
        f"supported: yes, and it agrees with {whom} on random inputs",
    ]


def _work(graph: Graph) -> int:
    return int(graph.work)


def _layers(graph: Graph) -> list[str]:
    size = max((len(called(node)) for node in graph.nodes), default=0)
    return [
        f"  {i:3d} {called(n):{size}s} {list(n.shape)} = {prod(n.shape):,}  from {list(n.inputs)}"
        for i, n in enumerate(graph.nodes)
    ]


def _as_data(a: argparse.Namespace, found: Diagnosis) -> dict[str, Any]:
    """Everything, fit for JSON."""
    c, graph = found.contents, found.graph
    ends = {
        what: [{"name": name, "type": kind, "shape": shape} for name, kind, shape in some]
        for what, some in (("inputs", c.inputs), ("outputs", c.outputs))
    }
    data: dict[str, Any] = {"model": a.model, "readable": found.readable, "error": found.error or None}
    data |= {"opset": c.opset, "producer": c.producer, **ends, "parameters": c.parameters, "operators": c.operators}
    data |= {"problems": [asdict(p) for p in found.problems], "unseen": found.unseen}
    data |= {"parts": [asdict(p) for p in found.parts], "remarks": list(found.remarks)}
    return data if graph is None else data | {"multiply_adds": _work(graph), "strategy": choose(graph, 1).reason}
