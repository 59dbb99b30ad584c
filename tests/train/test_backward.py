"""Linear bounds for training: they enclose, they are the verifier's own, and their gradient is right."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import verifier
from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward
from verifier.graph.ops.pool import MaxOf
from verifier.run.model import boundable
from verifier.train.backward import _through_maxima, fused, least, margin_rows
from verifier.train.bounds import interval
from verifier.train.model import Trainable
from verifier.values.arrays import Place
from verifier.values.errors import ModelError

from .cases import LINEAR, Data, K, data, fresh, points, slopes_agree, trainable
from .test_bounds import margins_at


def ready(name: str, eps: float, training: bool = False) -> tuple[Trainable, Data]:
    return trainable(name, training=training), data(name, eps)


def rows_of(y: Tensor) -> Tensor:
    return margin_rows(y, K).double()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("eps", [1e-9, 0.1, 1.0])
@pytest.mark.parametrize("name", LINEAR)
def test_everything_in_the_box_is_enclosed(name: str, eps: float, flat: bool) -> None:
    net, d = ready(name, eps)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    random = torch.randn(len(d.y), 3, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.cat([rows_of(d.y), random], 1)
    bound = least(b, d.lower, d.upper, rows, flat=flat)
    x = points(d.lower, d.upper)
    (z,) = b.graph.evaluate(x.flatten(0, 1))
    values = torch.einsum("brk,pbk->pbr", rows, z.reshape(len(x), -1, K))
    assert (bound <= values + 1e-11 * (1 + values.abs())).all()
    assert (bound.gather(1, d.y[:, None]) == 0).all()


@pytest.mark.parametrize("name", LINEAR)
def test_they_shrink_with_the_box(name: str) -> None:
    """On a point a bound is the value; a bound that claims nothing would not be."""
    net, d = ready(name, 1e-9)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    true = margins_at(net, d.x[None], d.y)[0]
    torch.testing.assert_close(least(b, d.lower, d.upper, rows_of(d.y)), true, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in LINEAR if n != "pool"])
def test_they_are_the_verifiers_own(name: str) -> None:
    """The rows of `crown` over the interval bounds of every layer."""
    net, d = trainable(name), data(name, 0.2, B=3)
    graph = boundable(verifier.load(net.module, d.x[:1]))
    place = Place("torch", "float64")
    ours = least(interval(net.clean(d.x).graph, d.lower, d.upper), d.lower, d.upper, rows_of(d.y)).detach()
    prepared = prepare(graph, place)
    for i in range(len(d.x)):
        l, u = (a[i].reshape(1, -1) for a in (d.lower, d.upper))
        box = boxes(l, u, place.array(np.zeros(0, np.int64)), "float64", None)
        first = propagate(prepared, box, None, set(), None, 10**6).interval
        size = magnitudes(graph, l[0].numpy(), u[0].numpy(), {j: (a.numpy(), b.numpy()) for j, (a, b) in first.items()})
        rows = make_rows(graph, prepared, size, rows_of(d.y)[i].numpy(), None, np.zeros(K))
        bounds = propagate(prepared, box, None, set(rows.start), None, 10**6)
        planes = rows_backward(
            prepared, rows, place.array(np.arange(K)[None]), bounds.weights(prepared), bounds.relaxed
        )
        c, r = 0.5 * (l + u)[0], 0.5 * (u - l)[0]
        theirs = planes.b + planes.A @ c - planes.A.abs() @ r
        torch.testing.assert_close(ours[i], theirs, rtol=1e-5, atol=1e-5)


def test_a_flat_lower_line() -> None:
    """One neuron z in [-1, 3]: relu(z) >= z by the closer line, >= 0 by the flat one; and below, the chord."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[2].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    x = torch.zeros(1, 1, dtype=torch.float64)
    b = interval(Trainable(net, x).clean(x).graph, x - 1, x + 3)
    rows = torch.eye(2, dtype=torch.float64)[None]
    assert least(b, x - 1, x + 3, rows)[0].tolist() == pytest.approx([-1, -3])
    assert least(b, x - 1, x + 3, rows, flat=True)[0].tolist() == pytest.approx([0, -3])


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("name", "training"), [*((n, False) for n in LINEAR), ("conv_bn", True), ("residual", True)]
)  # without batch norms both are the same
def test_gradients(name: str, training: bool, flat: bool) -> None:
    net, d = ready(name, 0.3, training)
    w = torch.rand(len(d.y), K, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def margins() -> Tensor:
        b = interval(net.clean(d.x).graph, d.lower, d.upper)
        return (least(b, d.lower, d.upper, rows_of(d.y), flat=flat) * w).sum()

    def loss() -> Tensor:
        b = interval(net.clean(d.x).graph, d.lower, d.upper)
        return fused(b, d.lower, d.upper, d.y, b.margins(d.y), flat=flat).sum()

    slopes_agree(margins, list(net.module.parameters()))
    slopes_agree(loss, list(net.module.parameters()))


@pytest.mark.parametrize("scale", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("eps", [1e-9, 0.05, 0.3, 3.0])
@pytest.mark.parametrize("name", LINEAR)
def test_a_fused_loss_is_never_below_a_loss_in_the_box(name: str, eps: float, scale: float) -> None:
    net, d = trainable(name, scale=scale), data(name, eps)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    margins = b.margins(d.y)
    loss = fused(b, d.lower, d.upper, d.y, margins)
    true = torch.logsumexp(-margins_at(net, points(d.lower, d.upper), d.y), 2)
    assert (loss >= true - 1e-9 * (1 + true.abs())).all()
    assert (loss <= torch.logsumexp(-margins, 1) + 1e-9).all()  # intervals alone already know as much


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e3, 1e6, 1e15])
def test_a_fused_loss_of_enormous_margins(size: float, dtype: torch.dtype) -> None:
    net, d = fresh("dense", dtype), data("dense", 0.3, dtype=dtype)
    with torch.no_grad():
        net.module[-1].weight.mul_(size)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    loss = fused(b, d.lower, d.upper, d.y, b.margins(d.y))
    true = torch.logsumexp(-margins_at(net, points(d.lower, d.upper), d.y), 2)
    assert torch.isfinite(loss).all() and (loss >= true * (1 - 1e-5) - 1e-5).all() and loss.max() > size / 10
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss.sum(), list(net.module.parameters())))


@pytest.mark.parametrize("eps", [1e-9, 0.1, 0.5, 2.0])
def test_a_fused_loss_of_one_layer_is_the_chords(eps: float) -> None:
    """Without hidden layers the worst point is a corner, and margins' bounds are exact: the formula by hand."""
    torch.manual_seed(0)
    net = Trainable(nn.Sequential(nn.Flatten(), nn.Linear(6, K)).double(), torch.zeros(1, 6, dtype=torch.float64))
    d = data("dense", eps)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    ours = fused(b, d.lower, d.upper, d.y, b.margins(d.y)).detach()
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 6)
    m = margins_at(net, d.lower + corners[:, None] * (d.upper - d.lower), d.y).detach()
    for i, y in enumerate(d.y.tolist()):
        total = np.zeros(len(corners))
        for j in set(range(K)) - {y}:
            values = m[:, i, j].numpy()
            l, u = values.min(), values.max()
            total += np.exp(-l) + (np.exp(-u) - np.exp(-l)) / (u - l) * (values - l)
        assert float(ours[i]) == pytest.approx(np.log1p(total.max()), rel=1e-6)


def test_maxima_with_repeated_entries() -> None:
    """Lines over windows that hold an entry twice, or nothing but one entry, at corners and inside."""
    g = torch.Generator().manual_seed(0)
    sound_and_tight = 0
    for trial in range(60):
        windows = torch.randint(0, 5, (4, 3), generator=g)
        windows[0] = windows[0, 0]
        windows[1, 2] = windows[1, 0]
        op = MaxOf(windows, (4,))
        lower = torch.randn(2, 5, generator=g, dtype=torch.float64)
        upper = lower + torch.rand(2, 5, generator=g, dtype=torch.float64) * (0.3 if trial % 2 else 2)
        upper[:, 0] = lower[:, 0]
        A = torch.randn(2, 6, 4, generator=g, dtype=torch.float64)
        over, shift = _through_maxima(op, A, lower, upper)
        x = points(lower, upper, 300, trial)
        true = torch.einsum("brm,pbm->pbr", A, op.evaluate(x.flatten(0, 1)).reshape(300, 2, 4))
        bound = torch.einsum("brn,pbn->pbr", over, x) + shift
        assert (bound <= true + 1e-12).all()
        alone = torch.zeros_like(A)
        alone[:, :, 0] = A[:, :, 0]  # a window of one entry is that entry
        over, shift = _through_maxima(op, alone, lower, upper)
        torch.testing.assert_close(over[:, :, windows[0, 0]], A[:, :, 0])
        assert (shift == 0).all()
        rivals = upper[:, windows[1]].masked_fill(windows[1] == windows[1, 0], -inf).amax(1)
        won = lower[:, windows[1, 0]] > rivals
        alone = torch.zeros_like(A)
        alone[:, :, 1] = A[:, :, 1]  # a repeated entry that wins is the maximum, whatever its copy may be
        over, shift = _through_maxima(op, alone, lower, upper)
        torch.testing.assert_close(over[won][:, :, windows[1, 0]], A[won][:, :, 1])
        assert (shift[won] == 0).all()
        sound_and_tight += int(won.sum())
    assert sound_and_tight > 10


def test_what_has_no_lines_is_refused() -> None:
    net, d = ready("product", 0.1)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    with pytest.raises(ModelError, match="no linear bounds to train with"):
        least(b, d.lower, d.upper, rows_of(d.y))
