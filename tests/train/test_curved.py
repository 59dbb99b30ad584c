"""Lines of curves for training: they enclose, they are as good as the verifier's own, and their gradient is right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from verifier.graph.ops.curves import Curve
from verifier.relax import curves
from verifier.train import curved

CURVES = [
    *(Curve(k) for k in ("sigmoid", "tanh", "atan", "erf", "softsign", "softplus", "exp", "square", "sin", "cos")),
    *(Curve(k) for k in ("gelu", "gelu_tanh", "silu", "mish", "hard_swish", "log", "tanh_slope")),
    Curve("elu", (1.0, 1.0, 1.0)), Curve("elu", (0.7, 2.0, 1.5)), Curve("power", (3.0,)), Curve("power", (0.5,)),
]  # fmt: skip
N = 1000


def intervals(f: Curve, dtype: torch.dtype = torch.float64, widest: float = 4.0) -> tuple[Tensor, Tensor]:
    """Random ones `[N]` of all widths, where f is defined."""
    g = torch.Generator().manual_seed(0)
    middle, share = (torch.rand(N, generator=g, dtype=torch.float64) for _ in range(2))
    half = 0.5 * widest * share**3
    middle = 0.2 + half + 3 * middle if f.kind == "log" or f.parameters == (0.5,) else 8 * middle - 4
    return (middle - half).to(dtype), (middle + half).to(dtype)


@pytest.mark.parametrize("f", CURVES, ids=str)
def test_gradients(f: Curve) -> None:
    """Slopes and constants of both lines, end by end; but for a few that go over to another kind of line just there."""
    lower, upper = intervals(f)
    step = 1e-6

    def parts(l: Tensor, u: Tensor) -> Tensor:
        lines = curved.lines(f, l, u)
        assert lines.t_l is not None
        return torch.stack([lines.s_l, lines.t_l, lines.s_u, lines.t_u])

    l, u = lower.clone().requires_grad_(), upper.clone().requires_grad_()
    ours = [torch.autograd.grad(part.sum(), (l, u), retain_graph=True) for part in parts(l, u)]
    with torch.no_grad():
        by_lower = (parts(lower + step, upper) - parts(lower - step, upper)) / (2 * step)
        by_upper = (parts(lower, upper + step) - parts(lower, upper - step)) / (2 * step)
    for part in range(4):
        for a, b in zip(ours[part], (by_lower[part], by_upper[part]), strict=True):
            wide = upper - lower > 1e-3  # narrower ones are taken for points, up to their width
            wrong = wide & ((a - b).abs() > 1e-4 * (1 + b.abs()))
            assert wrong.sum() <= N // 200, (part, lower[wrong], upper[wrong], a[wrong], b[wrong])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("f", CURVES, ids=str)
def test_lines_enclose_and_are_no_looser(f: Curve, dtype: torch.dtype) -> None:
    lower, upper = intervals(f, dtype)
    ours, theirs = curved.lines(f, lower, upper), curves.lines(f, lower, upper)
    z = lower + torch.linspace(0, 1, 101, dtype=dtype)[:, None] * (upper - lower)
    z = torch.minimum(z, upper)
    y, slack = f.evaluate(z), 1e-5 if dtype is torch.float32 else 1e-12
    assert ours.t_l is not None and theirs.t_l is not None
    assert (ours.s_l * z + ours.t_l <= y + slack * (1 + y.abs())).all()
    assert (ours.s_u * z + ours.t_u >= y - slack * (1 + y.abs())).all()
    # What lies between curve and line on average: any slope is sound, a bad one is far away.
    loss = [(y - (k.s_l * z + k.t_l)).mean(0) + (k.s_u * z + k.t_u - y).mean(0) for k in (ours, theirs)]
    near = 1e-3 if dtype is torch.float32 else 1e-5
    assert (loss[0] <= loss[1] + near * (1 + y.abs().amax(0))).all()


def test_where_nothing_can_be_said() -> None:
    """Poles and waves that turn too often: constants, and gradients that are numbers."""
    lower = torch.tensor([-1.0, 0.0, -50.0, 1e7], dtype=torch.float64, requires_grad=True)
    upper = torch.tensor([1.0, 2.0, 50.0, 2e7], dtype=torch.float64, requires_grad=True)
    waves = curved.lines(Curve("sin"), lower, upper)
    assert waves.t_l is not None
    assert waves.s_l[2:].tolist() == [0, 0] and waves.t_l[2:].tolist() == pytest.approx([-1, -1])
    grads = torch.autograd.grad((waves.s_l + waves.t_l + waves.s_u + waves.t_u).sum(), (lower, upper))
    assert all(torch.isfinite(g).all() for g in grads)
    poles = curved.slope(Curve("power", (-1.0,)), 1, lower, upper)
    assert torch.isfinite(poles).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(poles.sum(), (lower, upper)))
