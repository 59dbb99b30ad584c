"""The exact answer to a property of a small ReLU network, as a mixed-integer program (HiGHS through cvxpy).

This shares nothing with the verifier; it is what the expected verdicts in `instances.csv` rest on.
"""

from __future__ import annotations

from pathlib import Path

import cvxpy
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Matrix `[m, n]` and offset `[m]` of each affine layer; a ReLU stands between one and the next."""


def layers(path: Path) -> Layers:
    """The affine layers of a model that `models/export.py` wrote, convolutions as dense matrices."""
    model = onnx.load(path)
    weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).astype(np.float64)) for w in model.graph.initializer}
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    result = []
    for node in model.graph.node:
        if node.op_type == "Gemm":
            result.append((weights[node.input[1]].numpy(), weights[node.input[2]].numpy()))
        elif node.op_type == "Conv":
            sizes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            stride, padding = sizes["strides"], sizes["pads"][:2]
            n = int(np.prod(shape))
            probe = torch.cat([torch.zeros(1, n), torch.eye(n)]).double().view(-1, *shape)
            out = torch.nn.functional.conv2d(probe, weights[node.input[1]], weights[node.input[2]], stride, padding)
            shape = list(out.shape[1:])
            flat = out.flatten(1).numpy()
            result.append(((flat[1:] - flat[0]).T, flat[0]))
    return result


def replay(path: Path, x: np.ndarray) -> np.ndarray:
    """Outputs `[m]` of the model for the flat input `x`, as onnxruntime on the CPU computes them."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    put = session.get_inputs()[0]
    return session.run(None, {put.name: x.astype(np.float32).reshape(1, *put.shape[1:])})[0].ravel()


def slack(
    network: Layers, lower: np.ndarray, upper: np.ndarray, A_x: np.ndarray, A_y: np.ndarray, d: np.ndarray
) -> tuple[float, np.ndarray | None]:
    """By how much the literals `A_x·x + A_y·y <= d` can be met together on the box `lower <= x <= upper`.

    Returns:
        The largest t with `A_x·x + A_y·y + t <= d` for some x (negative: the disjunct is `unsat`), and that x;
        minus infinity and None when no x of the box meets the literals without outputs.
    """
    x = cvxpy.Variable(len(lower))
    constraints = [x >= lower, x <= upper]
    h: cvxpy.Expression = x
    low, high = lower, upper
    for i, (weight, bias) in enumerate(network):
        z = weight @ h + bias
        positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
        low, high = positive @ low + negative @ high + bias - 1e-6, positive @ high + negative @ low + bias + 1e-6
        if i == len(network) - 1:
            h = z
            break
        on = cvxpy.Variable(len(bias), boolean=True)
        h = cvxpy.Variable(len(bias))
        constraints += [h >= 0, h >= z, h <= cvxpy.multiply(np.maximum(high, 0), on)]
        constraints += [h <= z - cvxpy.multiply(np.minimum(low, 0), 1 - on)]
        low, high = np.maximum(low, 0), np.maximum(high, 0)
    t = cvxpy.Variable()
    on_outputs = np.abs(A_y).sum(1) > 0
    constraints += [A_x @ x + A_y @ h + cvxpy.multiply(on_outputs.astype(float), t) <= d, t <= 1e3]
    problem = cvxpy.Problem(cvxpy.Maximize(t), constraints)
    problem.solve(solver=cvxpy.HIGHS)
    if problem.status in ("infeasible", "infeasible_or_unbounded"):
        return float("-inf"), None
    if problem.status != "optimal":
        raise RuntimeError(f"the mixed-integer program ended as {problem.status}")
    return float(problem.value), x.value
