"""Schedules, initial weights, regularisers, architectures."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from verifier.train import initialize
from verifier.train.architectures import ARCHITECTURES, build
from verifier.train.augment import augmented
from verifier.train.bounds import interval
from verifier.train.model import Trainable
from verifier.train.regularize import TAU, l1, stable
from verifier.train.schedule import Blend, Ramp, Steps
from verifier.values.errors import UserError


@pytest.mark.parametrize("shape", ["smooth", "linear", "constant"])
def test_a_ramp_rises_from_zero_to_its_end(shape):
    ramp = Ramp(0.3, 2, 12, shape)
    values = [ramp.at(e) for e in np.linspace(0, 20, 401)]
    assert ramp.at(0) == ramp.at(1.99) == 0 and ramp.at(12) == ramp.at(500) == 0.3
    assert all(a <= b + 1e-15 for a, b in zip(values, values[1:], strict=False))
    if shape != "constant":  # no jumps
        assert max(np.diff(values)) < 0.3 / 100


def test_the_smooth_ramp_is_a_power_then_a_line():
    ramp = Ramp(1.0, 0, 100, "smooth")
    mid = 25
    assert ramp.at(10) / ramp.at(20) == pytest.approx((10 / 20) ** 4)
    slopes = np.diff([ramp.at(e) for e in range(mid, 101)])
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-9)
    before = (ramp.at(mid) - ramp.at(mid - 1e-4)) / 1e-4
    assert before == pytest.approx(slopes[0], rel=1e-4)


@pytest.mark.parametrize(
    "bad", [(0.1, 5, 3, "smooth"), (-0.1, 0, 3, "linear"), (0.1, 0, 3, "cosine"), (0.1, -1, 3, "linear")]
)
def test_ramps_that_make_no_sense(bad):
    with pytest.raises(UserError):
        Ramp(*bad)


def test_steps():
    rate = Steps(1.0, (3, 5), 0.1)
    assert [rate.at(e) for e in (0, 2.9, 3, 4, 5, 9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_share_moves_evenly_and_stays():
    share = Blend(0.2, 0.7, 4, 8)
    assert [share.at(e) for e in (0, 4, 5, 6, 8, 100)] == pytest.approx([0.2, 0.2, 0.325, 0.45, 0.7, 0.7])
    assert share.at(8) == 0.7 and Blend(0.7, 0.7, 4, 8).at(5.3) == 0.7  # exactly
    assert Blend(0.0, 1.0, 3, 3).at(2.9) == 0.0 and Blend(0.0, 1.0, 3, 3).at(3) == 1.0


def test_ibp_weights_keep_the_width_of_bounds():
    torch.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(400, 400), nn.ReLU())], nn.Linear(400, 3))
    last = net[-1].weight.clone()
    initialize.ibp(net, torch.Generator().manual_seed(1))
    assert torch.equal(net[-1].weight, last)
    assert net[0].weight.std().item() == pytest.approx(math.sqrt(2 * math.pi) / 400, rel=0.02)
    x = torch.rand(5, 400)
    layers = interval(Trainable(net, x[:1]).clean(x).graph, x - 0.01, x + 0.01).layers
    widths = [float((u - l).detach().mean()) for l, u in layers.values()]
    assert 0.5 < widths[-1] / widths[0] < 2, widths
    other = nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(400, 400), nn.ReLU())], nn.Linear(400, 3))
    initialize.ibp(other, torch.Generator().manual_seed(1))
    assert torch.equal(net[0].weight, other[0].weight)


def test_l1_counts_weights_only():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    assert l1(net).item() == pytest.approx((net[0].weight.abs().sum() + net[3].weight.abs().sum()).item())


def _stable_by_hand(layers, r0):
    total = 0.0
    for l, u in layers:
        c, r = (l + u) / 2, (u - l) / 2
        total += max(0.0, TAU - r0 / float(r.mean()))
        act, ina = c[l > 0], -c[u < 0]
        if len(act) > 1 and len(ina) > 1:
            for a, b in ((act.mean(), ina.mean()), (act.var(correction=0), ina.var(correction=0))):
                if a > 0 and b > 0:
                    total += max(0.0, TAU - min(float(a / b), float(b / a)))
    return total / (TAU * len(layers))


def test_the_regularisers_are_what_the_paper_says():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 3)).double()
    x = torch.rand(4, 6, dtype=torch.float64)
    for eps in (1e-3, 0.1, 3.0):
        lower, upper = x - eps, x + eps
        bounds = interval(Trainable(net, x[:1]).clean(x).graph, lower, upper)
        got = stable(bounds.graph, bounds.layers, lower, upper)
        layers = [(l.detach(), u.detach()) for l, u in bounds.layers.values()]
        assert got.item() == pytest.approx(_stable_by_hand(layers, eps), rel=1e-9)
        got.backward()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e8])
def test_regularisers_stay_finite_on_dead_layers(weight):
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    nn.init.constant_(net[0].weight, weight)
    nn.init.constant_(net[0].bias, -1.0)
    x = torch.rand(2, 3)
    bounds = interval(Trainable(net, x[:1]).clean(x).graph, x - 0.1, x + 0.1)
    got = stable(bounds.graph, bounds.layers, x - 0.1, x + 0.1)
    got.backward()
    assert torch.isfinite(got) and all(torch.isfinite(p.grad).all() for p in net[0].parameters())


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("bn", [False, True])
def test_architectures(name, bn):
    for shape in ((1, 28, 28), (3, 32, 32)):
        net = build(name, shape, 7, normalize=([0.5], [0.25]), width=4, bn=bn).eval()
        assert net(torch.rand(2, *shape)).shape == (2, 7)
        assert any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in net.modules()) == bn
        x = torch.rand(2, *shape)
        torch.testing.assert_close(net(x), net[1:]((x - 0.5) / 0.25))
        Trainable(net, x[:1])


def test_the_literatures_sizes():
    whole = build("cnn7", (3, 32, 32), 10)  # Shi et al. 2021, width 64
    assert [tuple(p.shape) for n, p in whole.named_parameters() if p.ndim > 1] == [
        (64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (128, 128, 3, 3), (512, 128 * 256), (10, 512)
    ]  # fmt: skip
    assert sum(p.numel() for p in build("cnn3", (1, 28, 28), 10).parameters()) == 416 + 8224 + 15690
    assert [m.out_channels for m in build("cnn5", (3, 32, 32), 10) if isinstance(m, nn.Conv2d)] == [16, 16, 32]
    for name, out in (("cnn5", 7), ("cnn7", 14)):  # of any width: the dense layer has 512
        dense = [m for m in build(name, (1, 28, 28), 10, width=4) if isinstance(m, nn.Linear)]
        assert [(m.in_features, m.out_features) for m in dense] == [(8 * out * out, 512), (512, 10)]


def test_architectures_that_do_not_fit():
    with pytest.raises(UserError, match="images"):
        build("cnn3", (12,), 2)
    with pytest.raises(UserError, match="use one of"):
        build("cnn4", (1, 28, 28), 2)


def _moved(x, i, j, flip):
    wide = nn.functional.pad(x.flip(3) if flip else x, [1] * 4, mode="replicate")
    return wide[0, :, i : i + 4, j : j + 5]


def test_augmented_images_are_shifts_and_mirrors():
    x = torch.arange(2 * 1 * 4 * 5, dtype=torch.float32).reshape(2, 1, 4, 5)
    assert augmented(x, 0, False, torch.Generator()) is x
    ways = [(i, j, flip) for i in range(3) for j in range(3) for flip in (False, True)]
    seen = set()
    for seed in range(60):
        y = augmented(x, 1, True, torch.Generator().manual_seed(seed))
        for b in range(2):
            found = [w for w in ways if torch.equal(_moved(x[b : b + 1], *w), y[b])]
            assert len(found) == 1
            seen.add(found[0])
    assert seen == set(ways)
