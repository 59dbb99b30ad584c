"""Nonlinear operators compute what torch and onnxruntime compute, and their derivatives are those of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.relax import curve_cases
from verifier.graph.graph import Rowwise
from verifier.graph.ops.curves import KINDS, Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.norm import Norm
from verifier.graph.ops.product import Difference, Dot, Product, Share
from verifier.relax.shapes import domain
from verifier.relax.table import FAMILIES
from verifier.values.arrays import to_numpy

CURVES = curve_cases.curves(KINDS)
swept = pytest.mark.parametrize("f", CURVES, ids=curve_cases.curve_id)

TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "atan": torch.atan, "erf": torch.erf, "softsign": F.softsign,
    "softplus": lambda z: F.softplus(z, threshold=1e3), "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"), "silu": F.silu, "mish": F.mish, "hard_swish": F.hardswish,
    "exp": torch.exp, "log": torch.log, "square": torch.square, "power": torch.pow, "sin": torch.sin, "cos": torch.cos,
    "tan": torch.tan, "asin": torch.asin, "asinh": torch.asinh, "acosh": torch.acosh, "atanh": torch.atanh,
    "sinh": torch.sinh, "cosh": torch.cosh,
    "elu": lambda z, a, b, gain: gain * torch.where(z > 0, z, a * torch.expm1(torch.clamp(z, max=0) / b)),
}  # fmt: skip
SLOPES: dict[str, Callable[..., torch.Tensor]] = {
    "sigmoid_slope": lambda z: torch.sigmoid(z) * torch.sigmoid(-z), "tanh_slope": lambda z: torch.cosh(z) ** -2,
    "atan_slope": lambda z: 1 / (1 + z * z), "erf_slope": lambda z: 2 / np.sqrt(np.pi) * torch.exp(-z * z),
    "softsign_slope": lambda z: (1 + abs(z)) ** -2, "elu_slope": lambda z, b: torch.exp(torch.clamp(z, max=0) / b),
}  # fmt: skip
"""Derivatives, in double precision; those that are missing by torch's own derivative of the function."""


def derivative(f: Curve, z: torch.Tensor) -> torch.Tensor:
    wide = z.double().requires_grad_()
    if f.kind in SLOPES:
        return SLOPES[f.kind](wide, *f.parameters).detach().to(z.dtype)
    (g,) = torch.autograd.grad(TORCH[f.kind.removesuffix("_slope")](wide).sum(), wide)
    return g.to(z.dtype)


ONNX = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "atan": "Atan", "erf": "Erf", "softsign": "Softsign", "softplus": "Softplus",
    "gelu": "Gelu", "mish": "Mish", "hard_swish": "HardSwish", "exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos",
    "tan": "Tan", "elu": "Elu", "power": "Pow", "asin": "Asin", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh",
    "sinh": "Sinh", "cosh": "Cosh",
}  # fmt: skip


def numbers(f: Curve, far: float = 12.0) -> np.ndarray:
    """Where the curve is defined, of every size, and next to where it bends."""
    rng = np.random.default_rng(1)
    z = np.concatenate([rng.normal(size=300) * 10 ** rng.uniform(-3, 1, 300), rng.uniform(-far, far, 300)])
    special = np.array(curve_cases.SPECIAL[f.kind])
    z = np.concatenate([z, special + 1e-3, special - 1e-3, special + 1e-7])
    low, high = domain(f)
    if high < np.inf:
        return z[abs(z) < high]
    if low > 0:
        return abs(z[z != 0]) + low
    return z[abs(z) <= far] if np.isnan(f.evaluate(np.array([-1.0]))).sum() == 0 else abs(z)


@swept
def test_agrees_with_torch(f: Curve) -> None:
    with np.errstate(all="ignore"):
        z = numbers(f)
        ours = f.evaluate(z)
    for array, dtype, tol in ((z, torch.float64, 1e-12), (z.astype(np.float32), torch.float32, 3e-6)):
        x = torch.from_numpy(array)
        theirs = derivative(f, x) if f.kind.endswith("_slope") else TORCH[f.kind](x, *f.parameters)
        twin = f.evaluate(x)
        assert twin.dtype is theirs.dtype is dtype
        size = abs(ours) * (1 + abs(z) * (f.kind == "elu_slope")) + curve_cases.cancelling(f, abs(z)) + 1e-30
        if dtype is torch.float32:  # of the rounded number
            with np.errstate(all="ignore"):
                exact = f.evaluate(array.astype(np.float64))
            assert f.evaluate(array).dtype == np.float32
            for got in (theirs, twin, torch.from_numpy(f.evaluate(array))):
                assert (abs(to_numpy(got) - exact) <= tol * size)[abs(exact) < 1e30].all()
        else:
            for got in (theirs, twin):
                assert (abs(to_numpy(got) - ours) <= tol * size).all()


@pytest.mark.parametrize("f", [f for f in CURVES if f.kind in ONNX], ids=curve_cases.curve_id)
def test_agrees_with_onnxruntime(f: Curve) -> None:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    if f.kind == "elu" and f.parameters[1:] != (1.0, 1.0):
        return  # one of several nodes
    attributes = {"elu": {"alpha": f.parameters[:1] and f.parameters[0]}}.get(f.kind, {})
    inputs, constants = ["x"], []
    if f.kind == "power":
        inputs, constants = ["x", "p"], [helper.make_tensor("p", TensorProto.FLOAT, [], [f.parameters[0]])]
    node = helper.make_node(ONNX[f.kind], inputs, ["y"], **attributes)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [None]) for n in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 22)], ir_version=10
    )
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.errstate(all="ignore"):
        z = numbers(f, 8.0).astype(np.float32)
        single = tuple(float(np.float32(p)) for p in f.parameters)
        ours = Curve(f.kind, single).evaluate(z.astype(np.float64))
    (got,) = session.run(None, {"x": z})
    size = abs(ours) + (abs(z) if f.kind.startswith("gelu") else 0) + 1e-6
    size = size + 0.1 * (f.kind in ("erf", "sigmoid", "tanh", "elu"))
    near = abs(ours) < 1e4
    assert (abs(got - ours) <= 1e-5 * size * (1 + abs(z)))[near].all()


KINKED = ("elu", "hard_swish", "power", "log", "elu_slope", "softsign_slope")


@swept
def test_slope_is_the_derivative(f: Curve) -> None:
    """Against central differences in extended precision, away from kinks."""
    with np.errstate(all="ignore"):
        z = numbers(f, 6.0)
        z = z[(abs(z) > 1e-2) & (abs(abs(z) - 3) > 1e-2)] if f.kind in KINKED else z
        z = z[abs(np.cos(z)) > 0.05] if f.kind == "tan" else z
        z = z[abs(abs(z) - 1) > 1e-2] if f.kind in ("asin", "acosh", "atanh") else z
        z = z[abs(z) > 1e-4].astype(np.longdouble)
        h = abs(z) * np.longdouble(1e-6)
        central = (curve_cases.value(f, z + h) - curve_cases.value(f, z - h)) / (2 * h)
        own = f.slope(z.astype(np.float64))
    value = abs(curve_cases.value(f, z))
    size = abs(central) + value * 1e-6 + 1e-8
    rounding = 8 * np.finfo(np.longdouble).eps * (value + curve_cases.cancelling(f, z * 0)) / h
    assert (abs(own - central) <= 1e-6 * size + rounding).all()
    for dtype, tol in ((torch.float64, 1e-11), (torch.float32, 3e-5)):
        twin = to_numpy(f.slope(torch.from_numpy(z.astype(np.float64)).to(dtype)))
        assert (abs(twin - own) <= tol * (abs(own) + 1)).all()


def test_every_operator_of_several_numbers_is_swept() -> None:
    assert {Product, Dot, Difference, Share, Gate, Norm} == {k for k in FAMILIES if issubclass(k, Rowwise)}


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(
    "op", [Product(), Dot(), Difference(), Share(), Gate(), Gate(-0.3), Norm(1.5)], ids=lambda op: type(op).__name__
)
def test_gradients(op: Any, n: int) -> None:
    """Of sums of results with random weights, against central differences along what the entries may do."""
    rng = np.random.default_rng(n)
    width = 2 * n if isinstance(op, Dot) else op.width or n
    x = rng.normal(size=(6, 3, width))
    ways = rng.normal(size=(8, *x.shape))
    if isinstance(op, Difference):  # d follows
        x[..., 2], ways[..., 2] = x[..., 1] - x[..., 0], ways[..., 1] - ways[..., 0]
    assert op.shape((3, width)) == ((3, width) if isinstance(op, Share) else (3,))
    y = op.evaluate(x)
    assert y.shape == (6, *op.shape((3, width)))
    g = rng.normal(size=y.shape)
    own = op.gradient(g, x)
    assert own.shape == x.shape
    h = 1e-6
    for v in ways:
        central = (g * (op.evaluate(x + h * v) - op.evaluate(x - h * v))).sum() / (2 * h)
        np.testing.assert_allclose((own * v).sum(), central, rtol=1e-6, atol=1e-8)
    twin = op.gradient(torch.from_numpy(g), torch.from_numpy(x))
    np.testing.assert_allclose(to_numpy(twin), own, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(to_numpy(op.evaluate(torch.from_numpy(x))), y, rtol=1e-12, atol=1e-14)
    if isinstance(op, Share):
        np.testing.assert_allclose(y, F.softmax(torch.from_numpy(x), -1).numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="last axis"):
        Product().shape(shape)
    if not shape:
        with pytest.raises(ValueError, match="last axis"):
            Share().shape(shape)


def test_unknown_kinds() -> None:
    with pytest.raises(KeyError):
        Curve("sigmoidal")
