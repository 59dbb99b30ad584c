"""Small random models that compute in whole-number and short floating-point types, as onnxruntime takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
ANY = ("Add", "Sub", "Mul", "Abs", "Sign", "Clip", "Where", "Cast", "CastLike")
WIDE = ("ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare", "MatMul", "CumSum", "Pow", "Max", "Relu", "Neg")
"""Operators that onnxruntime has for int32 and int64 only (Neg for no type without a sign)."""
HALF = ("Add", "Mul", "Sub", "Relu", "MatMul", "Sigmoid", "Cast", "Neg", "Div")


class Typed:
    """A model in the making: float32 `[1, n]` in, float32 out; all constants are short dyadic numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.nodes, self.tensors = rng, list[Any](), list[Any]()
        self.n = int(rng.integers(1, 4))
        self.kinds: set[str] = set()

    def constant(self, a: Any) -> str:
        """A tensor."""
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(a), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node; its output."""
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def dense(self, x: str, size: float, dtype: Any = np.float32) -> str:
        """A layer from n to n whose products are exact."""
        W = self.rng.integers(-3, 4, (self.n, self.n))
        x = self.add("MatMul", x, self.constant(W.astype(dtype)))
        return self.add("Mul", x, self.constant(np.array([size], dtype)))

    def whole(self, x: str) -> str:
        """From float32 to a whole type, a few operators there, and back."""
        rng, kind = self.rng, str(self.rng.choice(WHOLE))
        y = self.add("Cast", x, to=getattr(TensorProto, kind))
        for _ in range(int(rng.integers(0, 3))):
            op = str(rng.choice([*ANY, *(WIDE if kind in ("INT32", "INT64") else ())]))
            y, kind = self._operator(op, y, kind)
        return self.add("Cast", y, to=TensorProto.FLOAT)

    def _operator(self, op: str, y: str, kind: str) -> tuple[str, str]:
        rng, dtype = self.rng, kind.lower()
        self.kinds.add(f"{op} {kind}")
        few = self.constant(rng.integers(0, 4, self.n).astype(dtype))
        if op in ("Add", "Sub", "Mul"):
            return self.add(op, y, y if rng.random() < 0.4 and op != "Sub" else few), kind
        if op == "Clip":
            return self.add(op, y, self.constant(np.array(1, dtype)), self.constant(np.array(100, dtype))), kind
        if op == "Where":
            cond = self.add("Greater", y, few) if kind in ("INT32", "INT64") else None
            cond = cond or self.constant(rng.random(self.n) < 0.5)
            return self.add(op, cond, y, few), kind
        if op in ("Cast", "CastLike"):
            other = str(rng.choice(WHOLE))
            like = self.constant(np.zeros(1, other.lower()))
            to = getattr(TensorProto, other)
            return (self.add(op, y, to=to) if op == "Cast" else self.add(op, y, like)), other
        if op in ("ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare"):
            s = self.add(op, y, self.constant(np.array([1])), keepdims=1)
            return self.add("Add", s, few), kind
        if op == "MatMul":
            return self.add(op, y, self.constant(rng.integers(-3, 4, (self.n, self.n)).astype(dtype))), kind
        if op == "CumSum":
            return self.add(op, y, self.constant(np.array(1))), kind
        if op == "Pow":
            return self.add(op, y, self.constant(np.array([rng.integers(0, 4)], dtype))), kind
        if op == "Max":
            return self.add(op, y, few), kind
        return self.add(op, y), kind

    def half(self, x: str) -> str:
        """From float32 to float16, a few operators there, and back."""
        y = self.add("Cast", x, to=TensorProto.FLOAT16)
        for _ in range(int(self.rng.integers(0, 3))):
            op = str(self.rng.choice(HALF))
            self.kinds.add(f"{op} FLOAT16")
            few = self.constant((self.rng.integers(1, 9, self.n) / 8).astype(np.float16))
            if op in ("Add", "Mul", "Sub", "Div"):
                y = self.add(op, y, few)
            elif op == "MatMul":
                y = self.dense(y, 0.5, np.float16)
            elif op == "Cast":
                y = self.add(op, self.add(op, y, to=TensorProto.FLOAT), to=TensorProto.FLOAT16)
            else:
                y = self.add(op, y)
        return self.add("Cast", y, to=TensorProto.FLOAT)

    def bytes(self, parts: Callable[[Typed, str], str]) -> bytes:
        """The model: a layer, what `parts` adds, and a sum."""
        y = parts(self, "x")
        y = self.add("MatMul", y, self.constant(self.rng.integers(-2, 3, (self.n, 1)).astype(np.float32)))
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", self.n), (y, 1))]
        graph = helper.make_graph(self.nodes, "typed", ends[:1], ends[1:], self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return bytes(onnx.ModelProto.SerializeToString(model))


def mixed(net: Typed, x: str) -> str:
    """A layer of some size, then one or two excursions into another type."""
    size = float(2.0 ** net.rng.choice([-2, 0, 3, 6, 12, 20, 30, 33, 60]))
    half = net.rng.random() < 0.3
    y = net.dense(x, min(size, 2.0**12) if half else size)
    y = net.half(y) if half else net.whole(y)
    return net.whole(net.add("Mul", y, net.constant(np.array([0.5], np.float32)))) if net.rng.random() < 0.3 else y
