"""Small questions, decided once before processes are copied: what is set up at first use is then there already."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

from verifier.run.clock import keep_memory

READY = (
    "hashlib", "numpy", "numpy.ma", "numpy.random", "onnx", "onnx.numpy_helper", "onnxruntime",
    "verifier.campaign.answer", "verifier.graph.from_onnx", "verifier.run.cells", "verifier.run.joint",
    "verifier.run.peel", "verifier.run.verify", "verifier.run.violated",
)  # fmt: skip
"""What is imported before the first fork; an instance that needs more imports it itself."""
INPUTS = 3
PROPERTY = """
(declare-const X_0 Real) (declare-const X_1 Real) (declare-const X_2 Real) (declare-const Y_0 Real)
(assert (<= X_0 1)) (assert (>= X_0 -1)) (assert (<= X_1 1.5)) (assert (>= X_1 -1)) (assert (<= X_2 1e-1))
(assert (>= X_2 -1)) (assert (or (and (>= Y_0 {})) (and (<= Y_0 -2))))
"""


def warm() -> None:
    """Import what instances need, and use it once."""
    keep_memory()
    for name in READY:
        importlib.import_module(name)
    rehearse()


def rehearse() -> None:
    """Decide two questions about a small network, one with each answer, and forget them.

    Registries of onnxruntime, compiled patterns and the like cost an easy instance as much as its answer does.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from verifier.graph.ops.table import ready
    from verifier.run.verify import verify
    from verifier.search.neurons import problem, tree  # which these questions do not come to

    assert problem and tree
    ready()
    rng = np.random.default_rng(0)
    weights = {
        "A": rng.normal(size=(INPUTS, 8)), "a": rng.normal(size=8), "B": rng.normal(size=(8, 1)) / 8, "b": np.zeros(1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "A", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "B", "b"], ["y"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])] for name, size in (("x", INPUTS), ("y", 1))
    ]
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "small", *ends, constants), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    with tempfile.TemporaryDirectory() as folder:
        net, spec = Path(folder) / "small.onnx", Path(folder) / "small.vnnlib"
        net.write_bytes(model.SerializeToString())
        for limit in (-1, 1.2):
            spec.write_text(PROPERTY.format(limit))
            verify(net, spec, timeout=5.0, device="cpu")
