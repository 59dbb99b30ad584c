"""Small ONNX models in the making, and what random ones are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass
class Case:
    """A model in the making: nodes that lead from input `x` to the last node's first output."""

    shape: list[int | str]
    opset: int = 13
    nodes: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def tensor(self, a: Any, name: str = "") -> str:
        """A constant; floats become float32."""
        a = np.asarray(a)
        a = a.astype(np.float32) if a.dtype == np.float64 else a
        name = name or f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.array(a, order="C"), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """A node; returns its outputs."""
        names = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(op, list(inputs), names, **given))
        return names

    def bytes(self) -> bytes:
        """The model, serialised."""
        outputs = self.outputs or [self.nodes[-1].output[0]]
        graph = helper.make_graph(
            self.nodes,
            "case",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [onnx.ValueInfoProto(name=n) for n in outputs],
            self.tensors,
        )
        for o in graph.output:
            o.type.tensor_type.elem_type = TensorProto.FLOAT
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(d, 1) for d in {n.domain for n in self.nodes} if d]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def numbers(draw: Draw, shape: Any) -> np.ndarray:
    """Normal numbers, some of them zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.standard_normal(tuple(shape)) * rng.choice([0.0, 1.0, 1.0, 1.0], tuple(shape))


def ints(low: int, high: int) -> st.SearchStrategy[int]:
    """Whole numbers, both ends included."""
    return st.integers(low, high)


def shapes(low: int = 1, high: int = 4, batch: bool = False) -> st.SearchStrategy[list[int]]:
    """Shapes of a few axes."""
    shape = st.lists(ints(1, 4), min_size=low, max_size=high)
    return shape.map(lambda s: [1, *s[1:]]) if batch else shape


def smaller(draw: Draw, shape: list[int]) -> list[int]:
    """A shape that broadcasts to `shape`."""
    cut = shape[draw(ints(0, len(shape))) :]
    return [draw(st.sampled_from([1, d])) for d in cut]
