"""`verifier info`."""

from __future__ import annotations

from collections import Counter
from math import prod

from verifier.graph.graph import Affine, Graph
from verifier.graph.ops.table import supported
from verifier.run.model import boundable, load


def command(model: str | None) -> None:
    """Print what a model is made of, or what is supported."""
    if model is None:
        print("ONNX operators:", ", ".join(sorted(supported())))
        return
    net = load(model)
    names = zip(getattr(net, "input_names", ["input"]), net.input_shapes, strict=True)
    for name, shape in names:
        print(f"input   {name} {list(shape)} {net.input_dtype}")
    for name, shape in zip(getattr(net, "output_names", ["output"]), net.output_shapes, strict=True):
        print(f"output  {name} {list(shape)}")
    graph = boundable(net)
    kinds = Counter(type(n.op).__name__ for n in graph.nodes)
    neurons = sum(n.size for n in graph.nodes if not isinstance(n.op, Affine)) - sum(prod(s) for s in net.input_shapes)
    work = sum(n.op.work(*graph.shapes_in(i)) for i, n in enumerate(graph.nodes) if isinstance(n.op, Affine))
    print(f"after simplification: {', '.join(f'{v} {k}' for k, v in kinds.items())}")
    print(f"neurons {neurons:,}, multiply-adds an evaluation {work:,}")
    for line in _layers(graph):
        print(line)
    print("supported: yes, and it agrees with onnxruntime on random inputs")


def _layers(graph: Graph) -> list[str]:
    return [
        f"  {i:3d} {type(n.op).__name__:10s} {list(n.shape)}  from {list(n.inputs)}" for i, n in enumerate(graph.nodes)
    ]
