"""`verifier.tightness` at the edges: tiny boxes, margins behind reshapes, kinks, what is refused, rows in parts."""

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from verifier.run.tightness import conflicts, exact, profile
from verifier.train import tightness as core
from verifier.values.errors import ModelError, PropertyError


def _dense(*sizes, seed=0, bias=True):
    torch.manual_seed(seed)
    layers = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b, bias=bias), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def _points(B, *shape, seed=0):
    return torch.rand(B, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class _Then(nn.Module):
    """A network, and something behind it."""

    def __init__(self, net, then):
        super().__init__()
        self.net, self.then = net, then

    def forward(self, x):
        return self.then(self.net(x))


@pytest.mark.parametrize("eps", [1e-30, 1e-300, 5e-324, 1e30])
def test_the_size_of_the_box_cancels_exactly(eps):
    net, x = verifier.load(_dense(4, 6, 3), _points(1, 4)), _points(3, 4)
    of_one = verifier.tightness(net, x, per_output=True)
    torch.testing.assert_close(verifier.tightness(net, x, eps, per_output=True), of_one, rtol=1e-14, atol=0)


def test_boxes_are_cut_to_the_range_of_the_data():
    net = verifier.load(_dense(3, 5, 2), _points(1, 3))
    x = torch.tensor([[0.0, 0.5, 0.9], [1.0, 0.25, 0.75]], dtype=torch.float64)
    radius = torch.tensor([[0.15, 0.3, 0.2], [0.15, 0.275, 0.275]], dtype=torch.float64)  # half-widths for 0.3, by hand
    cut = verifier.tightness(net, x, 0.3, lo=0, hi=1, per_output=True)
    torch.testing.assert_close(cut, verifier.tightness(net, x, radius, per_output=True))
    small = verifier.tightness(net, x, 1e-40, lo=0, hi=1, per_output=True)  # in the limit half of what lies at an end
    half = torch.tensor([[0.5, 1, 1], [0.5, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(small, verifier.tightness(net, x, half, per_output=True), rtol=1e-14, atol=0)


def test_one_radius_for_each_input():
    net, x, radius = verifier.load(_dense(4, 6, 3), _points(1, 4)), _points(3, 4), [0.1, 0.0, 0.3, 0.2]
    each = verifier.tightness(net, x, radius, per_output=True)
    torch.testing.assert_close(each, verifier.tightness(net, x, torch.tensor([radius] * 3), per_output=True))
    assert not torch.allclose(each, verifier.tightness(net, x, per_output=True), rtol=1e-3)


@pytest.mark.parametrize("then", [lambda y: y.reshape(-1, 2, 2), lambda y: y.flip(1) + torch.arange(4.0).double()])
def test_margins_are_merged_into_the_last_layer_through_what_only_moves(then):
    net, x, y = _dense(5, 8, 4), _points(3, 5), [0, 3, 1]
    bare = verifier.tightness(net, x, margins=y, per_output=True)
    behind = _Then(net, then)
    flipped = [3 - k for k in y] if then(torch.zeros(1, 4).double()).ndim == 2 else y
    found = verifier.tightness(behind, x, margins=flipped, per_output=True)
    torch.testing.assert_close(found.sort(1).values, bare.sort(1).values)


def test_rows_of_margins_follow_their_points():
    net, x = verifier.load(_dense(5, 8, 4), _points(1, 5)), _points(4, 5)
    together = verifier.tightness(net, x, margins=[2, 0, 2, 1], per_output=True)
    for b, y in enumerate([2, 0, 2, 1]):
        alone = verifier.tightness(net, x[b : b + 1], margins=[y], per_output=True)
        torch.testing.assert_close(together[b : b + 1], alone)
    assert together.detach().std(0).min() > 1e-3  # else the order could not be seen


@pytest.mark.parametrize("kind", ["local", "linear"])
def test_parts_are_put_together_again(monkeypatch, kind):
    net, x = verifier.load(_dense(5, 8, 4), _points(1, 5)), _points(7, 5)
    radius = _points(7, 5, seed=1)
    whole = verifier.tightness(net, x, radius, kind=kind, per_output=True)
    pairs, layers = conflicts(net, x, kind=kind), profile(net, x, radius, kind=kind)
    for numbers in (8, 24, 64, 100):  # one row of a point; three; two points; three
        monkeypatch.setattr(core, "NUMBERS", numbers)
        torch.testing.assert_close(verifier.tightness(net, x, radius, kind=kind, per_output=True), whole)
        assert conflicts(net, x, kind=kind) == pairs
        assert dict(profile(net, x, radius, kind=kind)) == pytest.approx(dict(layers), rel=1e-12)


@pytest.mark.parametrize("kind", ["local", "linear"])
def test_few_rows_are_under_way_at_once(monkeypatch, kind):
    most = 0

    def watched(_, absolute):
        nonlocal most
        most = max(most, *(a.numel() for a in absolute.values()))

    monkeypatch.setattr(core, "_rescale", watched)
    monkeypatch.setattr(core, "NUMBERS", 100)
    net, x = verifier.load(_dense(5, 50, 50, 20), _points(1, 5)), _points(7, 5)
    verifier.tightness(net, x, kind=kind)
    profile(net, x, kind=kind)
    assert most == 100


def test_a_rectifier_at_zero_is_on():
    net = _dense(3, 6, 2, bias=False)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert verifier.tightness(net, zero) == verifier.tightness(net, zero, kind="linear")


def test_points_are_taken_as_given():
    net = _dense(1, 1, 1)
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[0].bias.fill_(-1)
    x = torch.tensor([[1 - 1e-12], [1 + 1e-12]], dtype=torch.float64)  # off, on; in single precision both are 1
    values = verifier.tightness(net, x, per_output=True)
    assert torch.isnan(values[0, 0]) and values[1, 0] == 1


class _Sine(nn.Module):
    def forward(self, x):
        return torch.sin(3 * x)


@pytest.mark.parametrize("act", [nn.Tanh(), _Sine()], ids=["rising", "both ways"])
def test_smooth_activations_count_by_their_slope_and_its_gradient(act):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), act, nn.Linear(5, 2)).double()
    x, (first, _, last) = _points(2, 3), net
    z = first(x)
    slope = 1 - torch.tanh(z) ** 2 if isinstance(act, nn.Tanh) else 3 * torch.cos(3 * z)
    assert isinstance(act, nn.Tanh) or (slope < 0).any()
    J = torch.einsum("kh,bh,hi->bki", last.weight, slope, first.weight).abs().sum(2)
    A = torch.einsum("kh,bh,hi->bki", last.weight.abs(), slope.abs(), first.weight.abs()).sum(2)
    found = verifier.tightness(net, x, per_output=True)
    torch.testing.assert_close(found, J / A)
    (g,), (h,) = (torch.autograd.grad(v.sum(), first.weight, retain_graph=True) for v in (found, J / A))
    torch.testing.assert_close(g, h)


def test_a_regulariser_follows_the_optimiser_without_importing_again():
    net, x = _dense(4, 6, 3), _points(5, 4)
    loaded, adam = verifier.load(net, x[:1]), torch.optim.Adam(net.parameters(), 0.01)
    before = verifier.tightness(net, x)
    for _ in range(30):
        adam.zero_grad()
        (-verifier.tightness(loaded, x, per_output=True).log().mean()).backward()
        adam.step()
    assert verifier.tightness(loaded, x) == pytest.approx(verifier.tightness(net, x), abs=1e-12)
    assert verifier.tightness(loaded, x) > before + 0.05


def test_numbers_that_vanish_in_one_layer_are_scaled_all_the_same():
    net, x = _dense(4, 6, 3, bias=False), _points(2, 4)
    whole = verifier.tightness(net, x, per_output=True, kind="linear").detach()
    with torch.no_grad():
        net[2].weight.mul_(2.0**-1020)  # rows of the last layer are about 1e-308 each
    torch.testing.assert_close(verifier.tightness(net, x, per_output=True, kind="linear").detach(), whole)
    with torch.no_grad():
        net[2].weight.fill_(5e-324)  # the least number there is: its inverse is none
    assert verifier.tightness(net, x, kind="linear") == pytest.approx(_same_sign(net[0].weight), rel=1e-12)


def _same_sign(W):
    """Tightness with equal weights in the last layer: sums of columns over sums of their magnitudes."""
    return float(W.detach().sum(0).abs().sum() / W.detach().abs().sum())


def test_conflicts_are_counted():
    net = _dense(2, 2, 1, bias=False)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        net[2].weight.fill_(1.0)
    x = torch.tensor([[3.0, 1.0], [1.0, 3.0], [4.0, 1.0]])  # both neurons on, the first alone, both
    assert conflicts(net, x) == 2 and conflicts(net, x[1:2]) == 0 and exact(net, x[1:2]) and not exact(net, x)
    assert conflicts(net, x, kind="linear") == 3


class _Root(nn.Module):
    def forward(self, x):
        return torch.sqrt(torch.relu(x - 10))


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (_Then(_dense(3, 4), torch.sign), "sign: Step"),
        (_Root(), "sqrt: its slope at x is infinite"),
        (_Then(_dense(3, 4), lambda y: y * y.flip(1)), "mul: Product"),
        (_Then(_dense(3, 4), lambda y: y.softmax(1)), "softmax: Share"),
    ],
    ids=["step", "infinite", "product", "softmax"],
)
def test_operators_without_tightness(net, says):
    with pytest.raises(ModelError, match=says) as e:
        verifier.tightness(net, _points(2, 3))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"eps": 0.0}, "a box without width"),
        ({"eps": [[0.1] * 3, [0.0] * 3]}, "a box without width"),
        ({"eps": [0.1, 0.2]}, r"eps of shape \[2\]"),
        ({"eps": np.nan}, "finite"),
        ({"eps": 0.1, "lo": 0.9}, "outside the range"),
        ({"margins": [0]}, "one class from 0 to 3 for each of 2"),
        ({"margins": [0, 4]}, "one class from 0 to 3"),
        ({"margins": [0.0, 1.0]}, "one class from 0 to 3"),
    ],
)
def test_arguments_that_do_not_fit(given, says):
    net = verifier.load(_dense(3, 4), _points(1, 3))
    with pytest.raises(PropertyError, match=says):
        verifier.tightness(net, _points(2, 3) * 0.5, **given)


def test_weights_that_are_no_numbers_are_said():
    net = _dense(3, 4, 2)
    loaded = verifier.load(net, _points(1, 3))
    with torch.no_grad():
        net[2].weight[0, 0] = torch.inf
    with pytest.raises(ModelError, match="not finite"):
        verifier.tightness(loaded, _points(2, 3), kind="linear")


@pytest.mark.parametrize("shape", [(100, 64), (4,), (2, 3), (3, 4, 1)])
def test_points_of_another_size_are_not_cut_into_points(shape):
    """64 numbers are no 32 points of two."""
    net = verifier.load(_dense(2, 6, 3), _points(1, 2))
    for ask in (verifier.tightness, profile, exact):
        with pytest.raises(PropertyError, match="takes 2 numbers a point"):
            ask(net, np.zeros(shape))
    for fits in ((2,), (1, 2), (5, 2), (5, 2, 1), (2, 1)):
        assert 0 < verifier.tightness(net, np.ones(fits)) <= 1
