"""Attacks for training stay in their boxes, leave the network alone, and find what can be found."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.train.attack import Attack
from verifier.train.model import Trainable
from verifier.values.errors import UserError

from .cases import NETS, K, data, trainable

ATTACKS = [Attack(), Attack(0), Attack(1), Attack(5, 0.7, 3), Attack(3, 9.0), Attack(restarts=2)]


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def losses(net: Trainable, x: Tensor, clean_x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net.clean(clean_x).graph.evaluate(x)[0], y, reduction="none").detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-7, 0.1, 1e6])
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_points_lie_in_their_boxes_exactly(attack: Attack, eps: float, dtype: torch.dtype) -> None:
    for name in ("dense", "conv_bn", "pool"):
        net, d = trainable(name, dtype), data(name, eps, dtype=dtype)
        x = attack.points(net.clean(d.x), d.y, d.lower, d.upper, random())
        assert (x >= d.lower).all() and (x <= d.upper).all()
        assert x.dtype == dtype and not x.requires_grad


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_alone(name: str, training: bool) -> None:
    net, d = trainable(name, training=training), data(name)
    clean = net.clean(d.x)
    before = copy.deepcopy(net.module.state_dict())
    Attack().points(clean, d.y, d.lower, d.upper, random())
    assert all(torch.equal(a, before[k]) for k, a in net.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.module.parameters())


def test_boxes_that_carry_a_gradient() -> None:
    net, d = trainable("dense"), data("dense")
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    x = Attack().points(net.clean(d.x), d.y, d.lower * scale, d.upper * scale, random())
    assert not x.requires_grad


@pytest.mark.parametrize("name", NETS)
def test_the_worst_of_what_was_seen_is_kept(name: str) -> None:
    """More restarts, whose first are the same, never find less; and steps find more than as many random points."""
    net, d = trainable(name), data(name, 0.5)
    clean = net.clean(d.x)
    found = [losses(net, Attack(4, 0.5, n).points(clean, d.y, d.lower, d.upper, random()), d.x, d.y) for n in (1, 2, 5)]
    assert (found[1] >= found[0] - 1e-12).all() and (found[2] >= found[1] - 1e-12).all()
    blind = losses(net, Attack(0, restarts=25).points(clean, d.y, d.lower, d.upper, random()), d.x, d.y)
    assert found[2].mean() > blind.mean()


def test_a_step_too_far_is_not_kept() -> None:
    """The loss is largest in the middle of the box, where a start lies closer than steps of its width can come."""
    net, d = trainable("dense"), data("dense", 1.0)
    middle = 0.5 * (d.lower + d.upper)
    (at,) = net.clean(d.x).graph.evaluate(middle)

    def near(z: Tensor) -> Tensor:
        return -(z - at).abs().sum(1)

    start, far = (Attack(steps, 1.7).points(net.clean(d.x), d.y, d.lower, d.upper, random(), near) for steps in (0, 6))
    values = [near(net.clean(d.x).graph.evaluate(x)[0]) for x in (start, far)]
    assert (values[1] >= values[0]).all() and (values[1] > values[0]).any()


@pytest.mark.parametrize("attack", [Attack(8), Attack(1, 2.0), Attack(10, 0.2)], ids=str)
def test_the_worst_corner_of_one_layer(attack: Attack) -> None:
    """A margin of an affine map is worst in a corner that the first gradient shows; the steps reach any corner."""
    net = Trainable(nn.Sequential(nn.Flatten(), nn.Linear(6, K)).double(), torch.zeros(1, 6, dtype=torch.float64))
    d = data("dense")
    other = (d.y + 1) % K

    def gap(z: Tensor) -> Tensor:
        return (z.gather(1, other[:, None]) - z.gather(1, d.y[:, None]))[:, 0]

    x = attack.points(net.clean(d.x), d.y, d.lower, d.upper, random(), gap)
    weight = net.module[1].weight.detach()
    worst = torch.where(weight[other] - weight[d.y] > 0, d.upper, d.lower)
    torch.testing.assert_close(x, worst)


def test_starts_are_uniform_and_the_generators() -> None:
    net, d = trainable("dense"), data("dense", 1.0, B=400)
    clean, wide = net.clean(d.x), d.upper - d.lower > 1e-3
    x = Attack(0).points(clean, d.y, d.lower, d.upper, random())
    share = ((x - d.lower) / (d.upper - d.lower))[wide]
    assert abs(share.mean() - 0.5) < 0.03 and abs(share.var() - 1 / 12) < 0.01
    assert torch.equal(x, Attack(0).points(clean, d.y, d.lower, d.upper, random()))
    assert not torch.equal(x, Attack(0).points(clean, d.y, d.lower, d.upper, random(1)))
    state = torch.get_rng_state()
    Attack().points(clean, d.y, d.lower, d.upper, random())
    assert torch.equal(state, torch.get_rng_state())


def test_steps_are_shares_of_the_half_width() -> None:
    """One step from the lower corner's side moves by no more than its size, and by that where nothing stops it."""
    net, d = trainable("dense"), data("dense", 1.0)
    clean = net.clean(d.x)
    start = Attack(0).points(clean, d.y, d.lower, d.upper, random())
    for size, share in ((0.2, 0.2), (0.0, 2.0)):
        moved = Attack(1, size).points(clean, d.y, d.lower, d.upper, random()) - start
        most = share * 0.5 * (d.upper - d.lower)
        assert (moved.abs() <= most + 1e-12).all()
        if size:
            assert ((moved.abs() - most).abs() < 1e-12)[d.upper > d.lower].float().mean() > 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": -1}, "steps = -1: give a whole number, at least 0"),
        ({"steps": 2.5}, "steps = 2.5: give a whole number"),
        ({"steps": True}, "steps = True"),
        ({"size": -0.1}, "size = -0.1: give a number at least 0"),
        ({"size": float("nan")}, "size = nan"),
        ({"size": "big"}, "size = 'big'"),
        ({"restarts": 0}, "restarts = 0: give a whole number, at least 1"),
    ],
)
def test_fields_out_of_range(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Attack(**fields)
