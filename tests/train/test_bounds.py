"""Interval bounds for training: they enclose, they are the verifier's own, and their gradient is right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.relu import Relu
from verifier.relax import table
from verifier.train import bounds
from verifier.train.bounds import INCREASING, image, interval
from verifier.train.model import Trainable
from verifier.values.errors import ModelError

from .cases import NETS, K, data, points, slopes_agree, trainable


def margins_at(net: Trainable, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """True margins `[count, B, K]` at points `[count, B, *shape]`."""
    (z,) = net.clean(x[0]).graph.evaluate(x.flatten(0, 1))
    z = z.reshape(*x.shape[:2], -1)
    return z.gather(2, y[None, :, None].expand(len(z), -1, 1)) - z


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("eps", [1e-9, 0.1, 3.0])
@pytest.mark.parametrize("name", NETS)
def test_everything_in_the_box_is_enclosed(name: str, eps: float, training: bool) -> None:
    net, d = trainable(name, training=training), data(name, eps)
    graph = net.clean(d.x).graph
    b = interval(graph, d.lower, d.upper)
    lower, upper = b.output()
    for x in points(d.lower, d.upper, 60):
        values = graph.values(x)
        for j, (l, u) in b.layers.items():
            slack = 1e-12 * (1 + values[j].abs())
            assert (l <= values[j] + slack).all() and (values[j] <= u + slack).all()
        z = values[graph.outputs[0]]
        slack = 1e-12 * (1 + b.radius.reshape(len(z), -1).sum(1, keepdim=True) + z.abs())
        assert (lower <= z + slack).all() and (z <= upper + slack).all()
        assert (b.margins(d.y) <= z.gather(1, d.y[:, None]) - z + slack).all()
    assert (b.margins(d.y).gather(1, d.y[:, None]) == 0).all()
    assert set(b.layers) == {j for n in graph.nodes for j in n.inputs if not _linear(n.op)}


def _linear(op: object) -> bool:
    from verifier.graph.graph import Affine

    return isinstance(op, Affine)


@pytest.mark.parametrize("name", NETS)
def test_they_are_the_verifiers_own(name: str) -> None:
    """Margins and outputs equal `verifier.bound` of the same module, box by box."""
    net, d = trainable(name), data(name, 0.2, B=3)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    margins, (lower, upper) = b.margins(d.y).detach(), (a.detach() for a in b.output())
    loaded = verifier.load(net.module, d.x[:1])
    for i in range(len(d.x)):
        box = verifier.Box(d.lower[i].flatten().numpy(), d.upper[i].flatten().numpy())
        l, u = verifier.bound(loaded, box, "interval")
        rows = np.eye(K)[int(d.y[i])] - np.eye(K)
        m, _ = verifier.bound(loaded, box, "interval", rows=rows)
        for ours, theirs in ((lower[i], l), (-upper[i], -u), (margins[i], m)):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_margins_do_not_depend_on_how_they_are_summed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, d = trainable(name), data(name)
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    before = b.margins(d.y)
    monkeypatch.setattr(bounds, "PAIRS", 0)
    torch.testing.assert_close(b.margins(d.y), before)


def test_margins_of_one_layer_are_exact() -> None:
    """The least difference of two outputs of an affine map lies in a corner; bounds of the outputs alone miss it."""
    net = Trainable(nn.Sequential(nn.Flatten(), nn.Linear(6, K)).double(), torch.zeros(1, 6, dtype=torch.float64))
    d = data("dense")
    b = interval(net.clean(d.x).graph, d.lower, d.upper)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 6)
    x = d.lower + corners[:, None] * (d.upper - d.lower)
    torch.testing.assert_close(b.margins(d.y), margins_at(net, x, d.y).amin(0))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_gradients(name: str, training: bool) -> None:
    net, d = trainable(name, training=training), data(name, 0.3)
    w = torch.rand(len(d.y), K, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def value() -> torch.Tensor:
        return (interval(net.clean(d.x).graph, d.lower, d.upper).margins(d.y) * w).sum()

    slopes_agree(value, list(net.module.parameters()))


def test_a_shrunk_interval() -> None:
    l, u = torch.tensor([[-1.0, 1.0, -2.0, 0.0]]), torch.tensor([[2.0, 3.0, -1.0, 4.0]])
    low, high = image(Relu(), l, u, "", 0.5)
    assert low.tolist() == [[0, 1, 0, 0]] and high.tolist() == [[1, 3, 0, 4]]
    low, high = image(Relu(0.1), l, u, "", 0.5)
    torch.testing.assert_close(low, torch.tensor([[-0.1, 1, -0.2, 0]]))
    torch.testing.assert_close(high, torch.tensor([[1, 3, -0.1, 4]]))


def test_shrinking_reaches_every_layer() -> None:
    net, d = trainable("dense"), data("dense", 1.0)
    graph = net.clean(d.x).graph
    whole, small = interval(graph, d.lower, d.upper), interval(graph, d.lower, d.upper, shrink=0.5)
    first, *later = whole.layers
    assert all(torch.equal(a, b) for a, b in zip(whole.layers[first], small.layers[first], strict=True))
    for j in later:
        assert ((small.layers[j][1] - small.layers[j][0]).sum() < (whole.layers[j][1] - whole.layers[j][0]).sum()).all()
    assert (small.margins(d.y) >= whole.margins(d.y) - 1e-12).all()


@pytest.mark.parametrize("kind", INCREASING)
def test_increasing_curves_have_the_image_of_the_table(kind: str) -> None:
    l, u = data("dense", 9.0).lower * 3, data("dense", 9.0).upper * 3
    for a, b in zip(image(Curve(kind), l, u, ""), table.image(Curve(kind), l, u), strict=True):
        torch.testing.assert_close(a, b)


def test_what_has_no_bounds_is_refused() -> None:
    last = Trainable(nn.Sequential(nn.Linear(3, K), nn.ReLU()), torch.zeros(1, 3))
    x = torch.zeros(2, 3)
    with pytest.raises(ModelError, match="last layer must be affine"):
        interval(last.clean(x).graph, x, x + 1)
    steep = Trainable(nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU(2.0), nn.Linear(3, K)), torch.zeros(1, 3))
    interval(steep.clean(x).graph, x, x + 1)  # increasing all the same
    mirrored = Trainable(nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU(-2.0), nn.Linear(3, K)), torch.zeros(1, 3))
    b = interval(mirrored.clean(x).graph, x, x + 1)
    assert (margins_at(mirrored, points(x, x + 1, 90), torch.zeros(2).long()) >= b.margins(torch.zeros(2).long())).all()
