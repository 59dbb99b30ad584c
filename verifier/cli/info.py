"""`verifier info`."""

from __future__ import annotations

import argparse
from collections import Counter
from math import prod

from verifier.cli.inputs import network
from verifier.graph.contents import Contents, contents
from verifier.graph.graph import Affine, Graph, Input
from verifier.graph.ops.table import supported
from verifier.run.model import boundable, computed, remarks, single
from verifier.run.strategy import choose, ways
from verifier.values.errors import ModelError

SHOWN = 12
"""Nodes that are listed one by one; of more, how many there are."""


def command(a: argparse.Namespace) -> None:
    """Print what a model is made of and how it would be treated, or what is supported.

    Raises:
        ModelError: it cannot be read; what is in it has been printed, where that much could be.
    """
    model = a.model
    if model is None:
        print("ONNX operators:", ", ".join(sorted(supported())))
        return
    found = contents(model)
    _declarations(found)
    try:
        net = network(a)
        graph = boundable(single(net))
    except ModelError:
        _refused(found)
        raise
    print(f"network    {list(net.input_shapes)} {net.input_dtype} -> {list(net.output_shapes)} (batch of one)")
    for line in remarks(net):
        print(f"read       {line}")
    _treatment(graph)
    for line in _layers(graph):
        print(line)
    whom = "its doubles in another evaluator" if computed(net) else "onnxruntime"
    print(f"supported: yes, and it agrees with {whom} on random inputs")


def _declarations(found: Contents) -> None:
    """What the file says."""
    print(f"file       operator set {found.opset}{', by ' + found.producer if found.producer else ''}")
    for what, tensors in (("input", found.inputs), ("output", found.outputs)):
        for name, kind, shape in tensors:
            print(f"{what:10s} {name} {shape} {kind}")
    print(f"parameters {found.parameters:,} in initializers")
    print("operators ", ", ".join(f"{n} {op}" for op, n in found.operators.items()))


def _refused(found: Contents) -> None:
    """Where operators stand that cannot be read."""
    for name, op in found.refused[:SHOWN]:
        print(f"not supported: node '{name}' ({op})")
    if len(found.refused) > SHOWN:
        print(f"not supported: {len(found.refused) - SHOWN} nodes more")


def _treatment(graph: Graph) -> None:
    """How the engine would go about it."""
    kinds = Counter(_name(graph, i) for i in range(len(graph.nodes)) if i not in graph.inputs)
    neurons = sum(n.size for n in graph.nodes if not isinstance(n.op, (Affine, Input)))
    work = sum(n.op.work(*graph.shapes_in(i)) for i, n in enumerate(graph.nodes) if isinstance(n.op, Affine))
    print(f"simplified {', '.join(f'{v} {k}' for k, v in kinds.items())}")
    print(f"neurons {neurons:,}, multiply-adds an evaluation {work:,}")
    print(f"search     {ways(graph)}")
    print(f"strategy   {choose(graph, 1).reason}")


def _name(graph: Graph, i: int) -> str:
    op = graph.nodes[i].op
    kind = getattr(op, "kind", None)
    return f"{type(op).__name__}({kind})" if isinstance(kind, str) else type(op).__name__


def _layers(graph: Graph) -> list[str]:
    size = max((len(_name(graph, i)) for i in range(len(graph.nodes))), default=0)
    return [
        f"  {i:3d} {_name(graph, i):{size}s} {list(n.shape)} = {prod(n.shape):,}  from {list(n.inputs)}"
        for i, n in enumerate(graph.nodes)
    ]
