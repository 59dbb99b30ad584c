"""Write a trained `torch.nn.Sequential` as a small ONNX file, and compare a file with a freshly trained one.

The file is put together with `onnx.helper`, not traced, so that the same weights always give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4
"""How far regenerated weights may be from the committed ones: processors round differently, training amplifies it."""

Build = Callable[[], tuple[torch.nn.Sequential, tuple[int, ...]]]
"""Trains a network; returns it with the shape of one input."""


def to_onnx(network: torch.nn.Sequential, shape: tuple[int, ...], name: str) -> onnx.ModelProto:
    """`network` as float32 ONNX with input `[batch, *shape]`, output `[batch, m]` and a symbolic batch dimension."""
    nodes, weights, last = [], [], "input"
    outputs = 0
    for i, layer in enumerate(network):
        out = "output" if i == len(network) - 1 else f"h{i}"
        inputs = [last]
        for key, value in layer.named_parameters():
            array = value.detach().numpy().astype(np.float32)
            weights.append(numpy_helper.from_array(array, f"{i}.{key}"))
            inputs.append(f"{i}.{key}")
        match layer:
            case torch.nn.Linear():
                nodes.append(helper.make_node("Gemm", inputs, [out], transB=1))
                outputs = layer.out_features
            case torch.nn.Conv2d():
                pads = [int(p) for p in layer.padding] * 2
                sizes = {"kernel_shape": list(layer.kernel_size), "strides": list(layer.stride), "pads": pads}
                nodes.append(helper.make_node("Conv", inputs, [out], **sizes))
            case torch.nn.ReLU():
                nodes.append(helper.make_node("Relu", inputs, [out]))
            case torch.nn.Flatten():
                nodes.append(helper.make_node("Flatten", inputs, [out], axis=1))
            case _:
                kind = type(layer).__name__
                raise TypeError(f"layer {i} is a {kind}: only Linear, Conv2d, ReLU and Flatten are written")
        last = out
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", outputs])
    graph = helper.make_graph(nodes, name, [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="models")
    onnx.checker.check_model(model, full_check=True)
    return model


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of a model by name."""
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}


def difference(a: onnx.ModelProto, b: onnx.ModelProto) -> float:
    """Largest difference of a weight between two models; infinite when they are not the same network."""
    one, other = weights_of(a), weights_of(b)
    if {k: v.shape for k, v in one.items()} != {k: v.shape for k, v in other.items()}:
        return float("inf")
    if [n.op_type for n in a.graph.node] != [n.op_type for n in b.graph.node]:
        return float("inf")
    return max(float(np.abs(one[k] - other[k]).max()) for k in one)


def main(description: str | None, builds: dict[str, Build]) -> int:
    """Train every network of `builds` (by file name); write it, or with `--check` compare it with the file there is.

    Returns:
        The exit status: 1 when a committed file differs from what the script makes.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the committed files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    wrong = 0
    for name, build in builds.items():
        path = HERE / f"{name}.onnx"
        network, shape = build()
        model = to_onnx(network, shape, name)
        if arguments.check:
            gap = difference(model, onnx.load(path))
            wrong += gap > TOLERANCE
            print(f"{path.name}: {'same' if gap <= TOLERANCE else 'DIFFERENT'}, largest difference {gap:.2g}")
        else:
            path.write_bytes(model.SerializeToString(deterministic=True))
            print(f"{path.name}: written, {path.stat().st_size} bytes")
    return int(wrong > 0)
