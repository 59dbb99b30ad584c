"""Intervals of a maximum are those of the larger of its entries, though bounding writes it with rectifiers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.laws.cases import HOST, Rng, layer, points
from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.graph.convert_windows import max_pool_windows
from verifier.graph.graph import Affine, Builder, Graph, Input
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.maxima import maxima_to_relu
from verifier.run import bound as bounds
from verifier.run.certification.points import batch
from verifier.run.certification.rungs import crown, interval, linear
from verifier.run.certification.setting import setting
from verifier.train.bounds import interval as trained
from verifier.values.arrays import Place

WINDOWS = [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 0)), ((3, 3), (2, 2), (1, 1)), ((1, 5), (1, 1), (0, 2))]


def pooling(rng: Rng, k: int) -> Graph:
    """Convolution, maxima of rectifiers, a convolution, maxima without, a dense end."""
    b = Builder()
    x = source = b.add(Input((1, 6, 6)))
    for c, n, first in ((1, 2, True), (2, 3, False)):
        conv = Conv(rng.normal(size=(n, c, 2, 2)), rng.normal(size=n), (1, 1), ((1, 0), (0, 1)), (1, 1))
        x = b.add(conv, [x])
        x = b.add(Relu(), [x]) if first else x
        kernel, stride, pad = WINDOWS[k]
        pads = tuple((p, p) for p in pad)
        at, size = max_pool_windows(b.nodes[x].shape, kernel, stride, pads, (1, 1))
        x = b.add(MaxOf(at, size), [x])
    x = b.add(Reshape((b.nodes[x].size,)), [x])
    x = b.add(Relu(), [b.add(layer(rng, 4, b.nodes[x].size), [x])])
    return b.graph([source], [b.add(layer(rng, 3, 4), [x])])


def by_hand(graph: Graph, lower: np.ndarray, upper: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Interval arithmetic, maxima as they are, without rounding."""
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    for node in graph.nodes:
        if isinstance(node.op, Input):
            ends.append((lower.reshape(1, *node.shape), upper.reshape(1, *node.shape)))
            continue
        (l, u) = ends[node.inputs[0]]
        if isinstance(node.op, Affine):
            c, r = node.op.evaluate((l + u) / 2), node.op.absolute().linear((u - l) / 2)
            ends.append((c - r, c + r))
        else:
            ends.append((node.op.evaluate(l), node.op.evaluate(u)))
    return ends


def posed(k: int, seed: int = 0) -> tuple[Graph, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, k])
    graph, center = pooling(rng, k), rng.normal(size=36)
    radius = rng.random(36) * 0.3
    return graph, center - radius, center + radius


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("k", range(len(WINDOWS)))
def test_interval_bounds_of_a_network_are_interval_arithmetic(
    k: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "about", lambda net, box: SimpleNamespace(net=net, inputs=box))
    monkeypatch.setattr(bounds, "by_name", lambda *_: {})
    monkeypatch.setattr(bounds, "boundable", lambda net, *_: net)
    graph, lower, upper = posed(k)
    l, u = by_hand(graph, lower, upper)[-1]
    rng, box = np.random.default_rng(1), verifier.Box(lower, upper)
    y = graph.evaluate(points(rng, lower[None], upper[None], 200)[0].reshape(-1, 1, 6, 6))[0]
    found = verifier.bound(maxima_to_relu(graph), box, "interval", dtype=dtype)
    tolerance = (1e-9 if dtype == "float64" else 1e-3) * (u - l)[0].max()
    for a, b in zip(found, (l[0], u[0]), strict=True):  # (the last layer's rows are taken through the one before)
        np.testing.assert_allclose(a, b, atol=tolerance)
    assert (found[0] <= y.min(0)).all() and (y.max(0) <= found[1]).all()


@pytest.mark.parametrize("place", [HOST, Place("torch", "float64")], ids=lambda p: p.kind)
@pytest.mark.parametrize("symbols", [0, 36])
@pytest.mark.parametrize("k", range(len(WINDOWS)))
def test_bounds_of_neurons_are_no_wider(k: int, symbols: int, place: Place) -> None:
    graph, lower, upper = posed(k)
    ends = by_hand(graph, lower, upper)
    net = prepare(maxima_to_relu(graph), place)
    games = [i for i in net.maxima if net.graph.nodes[i].name == graph.nodes[3].name]
    assert games
    box = boxes(place.array(lower[None]), place.array(upper[None]), place.array(np.arange(symbols)), "float64")
    found = propagate(net, box, None, set(), None, 10**6)
    source = max(net.sources)  # what the last rectifier reads, behind all maxima
    low, high = (np.asarray(a) for a in found.interval[source])
    l, u = ends[len(graph.nodes) - 3]
    assert (low >= l - 1e-9).all() and (high <= u + 1e-9).all()
    x = points(np.random.default_rng(0), lower[None], upper[None], 300)[0].reshape(-1, 1, 6, 6)
    value = net.graph.values(place.array(x))
    for i, (a, b) in found.image.items():
        v = np.asarray(value[i])
        assert (np.asarray(a) <= v + 1e-12).all() and (v <= np.asarray(b) + 1e-12).all()


def test_certified_by_intervals_is_what_interval_arithmetic_proves() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2)]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        module[-1].weight.mul_(20)  # type: ignore[operator]
    x = torch.rand(40, 1, 8, 8, dtype=torch.float64)
    y = module(x).argmax(1)
    s = setting(module, x[:1].numpy(), np.inf, None, None)
    margins = trained(verifier.load(module, x[:1]).graph.cast(torch.as_tensor), x - 0.05, x + 0.05).margins(y)
    b = batch(np.arange(40), x.numpy().reshape(40, -1), y.numpy(), 0.05)
    least = interval(s, b).least
    for k in range(40):
        ours = np.delete(margins[k].detach().numpy(), int(y[k]))
        np.testing.assert_allclose(least[k], ours, rtol=1e-7, atol=1e-7)
    assert 3 < interval(s, b).proved.sum() < 40
    some = b.take(np.arange(4))
    one, two, three = (f(s, some).least for f in (interval, linear, crown))
    assert (one <= two).all() and (two <= three).all()
