"""What single training methods are: their limits, their formulas by hand, their fields."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.train.attack import Attack, Objective
from verifier.train.bounds import interval
from verifier.train.cut import cut
from verifier.train.method import Batch, Method, box, worst_case
from verifier.train.methods import taps
from verifier.train.methods.cc_ibp import CCIBP
from verifier.train.methods.crown_ibp import CROWNIBP
from verifier.train.methods.exp_ibp import ExpIBP
from verifier.train.methods.ibp import IBP
from verifier.train.methods.mtl_ibp import MTLIBP
from verifier.train.methods.pgd import PGD
from verifier.train.methods.sabr import SABR, small_box
from verifier.train.methods.staps import STAPS
from verifier.train.methods.taps import TAPS, Latent, linked
from verifier.train.methods.trades import TRADES
from verifier.train.model import Trainable
from verifier.values.errors import UserError

from .cases import (
    METHODS_TRIED,
    Data,
    K,
    at_corners,
    cross_entropies,
    data,
    loss,
    trainable,
    worst_points,
)

SAME_AS_IBP = [
    SABR(lambda_=1.0), MTLIBP(alpha=1.0), CCIBP(alpha=1.0), ExpIBP(alpha=1.0), MTLIBP(alpha=1.0, scale=3.0),
    CROWNIBP(beta_start=0.0), CROWNIBP(), CROWNIBP(fusion=True),
]  # fmt: skip


@pytest.mark.parametrize("method", SAME_AS_IBP, ids=str)
def test_intervals_alone(method: Method) -> None:
    for name in ("dense", "conv_bn"):
        net, d = trainable(name, training=True), data(name, 0.2)
        parameters = list(net.module.parameters())
        one, two = loss(method, net, d), loss(IBP(), net, d)
        torch.testing.assert_close(one.robust, two.robust)
        for a, b in zip(*(torch.autograd.grad(o.robust.sum(), parameters) for o in (one, two)), strict=True):
            torch.testing.assert_close(a, b)
        assert one.verified is None or torch.equal(one.verified, two.verified)


@pytest.mark.parametrize(
    "method",
    [SABR(lambda_=0.0, size=0.25), MTLIBP(alpha=0.0), CCIBP(alpha=0.0), ExpIBP(alpha=0.0), TRADES(beta=0.0)],
    ids=str,
)
def test_attacks_alone(method: Method) -> None:
    for name in ("dense", "conv_bn"):
        net, d = trainable(name, training=True), data(name, 0.2)
        parameters = list(net.module.parameters())
        one, two = loss(method, net, d).robust, loss(PGD(), net, d).robust
        if isinstance(method, TRADES):
            two = loss(method, net, d).clean
        torch.testing.assert_close(one, two)
        grads = (torch.autograd.grad(o.sum(), parameters, allow_unused=True) for o in (one, two))
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("how", [m for m, f in METHODS_TRIED.items() if isinstance(f, (MTLIBP, CCIBP, ExpIBP))])
def test_mixed_losses_lie_between(how: str) -> None:
    """Between the loss at the attacked point and that of the bounds, and nearer the bounds with a larger alpha."""
    net, d = trainable("dense"), data("dense", 0.2)
    tries = [loss(dataclasses.replace(METHODS_TRIED[how], alpha=a, scale=1.0), net, d).robust for a in (0, 0.2, 0.7, 1)]
    for less, more in zip(tries, tries[1:], strict=False):
        assert (less < more).all()


def test_the_mixtures_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    at_corners(monkeypatch)
    net, d = trainable("dense"), data("dense", 0.2)
    ibp, pgd = loss(IBP(), net, d).robust, loss(PGD(), net, d).robust
    torch.testing.assert_close(loss(MTLIBP(alpha=0.3), net, d).robust, 0.3 * ibp + 0.7 * pgd)
    torch.testing.assert_close(loss(ExpIBP(alpha=0.3), net, d).robust, ibp**0.3 * pgd**0.7)
    graph = net.clean(d.x).graph
    (z,) = graph.evaluate(Attack().points(net.clean(d.x), d.y, d.lower, d.upper))
    bound = interval(graph, d.lower, d.upper).margins(d.y)
    mixed = -0.3 * bound + 0.7 * (z - z.gather(1, d.y[:, None]))
    torch.testing.assert_close(loss(CCIBP(alpha=0.3), net, d).robust, F.cross_entropy(mixed, d.y, reduction="none"))


@pytest.mark.parametrize("cls", [MTLIBP, CCIBP, ExpIBP])
def test_the_attack_of_a_wider_box(cls: type) -> None:
    """Stretched about the clean input, cut to the data, and never less than the box."""
    d = data("dense", 0.2)
    d = Data(d.x, d.y, *box(d.x, 0.2, (0, 1)))
    net = trainable("dense")
    batch = Batch(net.clean(d.x), net, d.y, d.lower, d.upper, None, 1.0)
    for scale in (1.0, 1.5, 3.0):
        lower, upper = cls(scale=scale, data_lower=0, data_upper=1).attacked(batch)
        for a, b in zip((lower, upper), box(d.x, 0.2 * scale, (0, 1)), strict=True):
            torch.testing.assert_close(a, b)
    outside = Data(d.x, d.y, d.x - 5, d.x + 5)
    batch = Batch(net.clean(d.x), net, d.y, outside.lower, outside.upper, None, 1.0)
    lower, upper = cls(scale=2.0, data_lower=0, data_upper=1).attacked(batch)
    assert torch.equal(lower, outside.lower) and torch.equal(upper, outside.upper)
    lower, upper = cls(scale=2.0, data_lower=-100, data_upper=100).attacked(batch)
    torch.testing.assert_close(lower, d.x - 10)
    torch.testing.assert_close(upper, d.x + 10)
    # Bounds are of the box itself.
    one, two = (loss(cls(scale=s, alpha=1.0), net, d).robust for s in (1.0, 3.0))
    torch.testing.assert_close(one, two)
    assert (loss(cls(scale=3.0, alpha=0.0), net, d).robust > loss(cls(alpha=0.0), net, d).robust).any()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_small_boxes(share: float) -> None:
    """Inside the box, of its share, and the attacked point in it or as near as can be."""
    net, d = trainable("conv"), data("conv", 0.4)
    clean = net.clean(d.x)
    batch = Batch(clean, net, d.y, d.lower, d.upper, torch.Generator().manual_seed(0), 1.0)
    lower, upper = small_box(batch, Attack(4), share)
    x = Attack(4).points(clean, d.y, d.lower, d.upper, torch.Generator().manual_seed(0))
    assert (lower >= d.lower).all() and (upper <= d.upper).all()
    torch.testing.assert_close(upper - lower, share * (d.upper - d.lower))
    assert (lower - 1e-12 <= x).all() and (x <= upper + 1e-12).all()
    free = (x - d.lower > share * (d.upper - d.lower) / 2) & (d.upper - x > share * (d.upper - d.lower) / 2)
    torch.testing.assert_close((0.5 * (lower + upper))[free], x[free])


@pytest.mark.parametrize("cls", [SABR, STAPS])
def test_smaller_boxes_lose_less(cls: type) -> None:
    net, d = trainable("dense"), data("dense", 0.3)
    values = [loss(cls(lambda_=share), net, d, 0.5).robust.mean() for share in (0.0, 0.3, 0.6, 1.0)]
    assert values == sorted(values)
    assert loss(cls(shrink=0.5), net, d, 0.5).robust.mean() < loss(cls(), net, d, 0.5).robust.mean()


@pytest.mark.parametrize("how", [m for m, f in METHODS_TRIED.items() if isinstance(f, (TAPS, STAPS))])
def test_intervals_alone_while_eps_grows(how: str) -> None:
    method = METHODS_TRIED[how]
    net, d = trainable("conv"), data("conv", 0.2)
    plain = (
        SABR(8, 0.2, 1, lambda_=method.lambda_, shrink=method.shrink)
        if isinstance(method, STAPS)
        else SABR(lambda_=1.0, shrink=method.shrink)
    )
    torch.testing.assert_close(loss(method, net, d, 0.999).robust, loss(plain, net, d).robust)
    assert (loss(method, net, d, 1.0).robust != loss(plain, net, d).robust).any()


@pytest.mark.parametrize(("name", "layers"), [("dense", 1), ("conv", 1), ("conv_bn", 2), ("residual", 1), ("pool", 2)])
def test_a_latent_attack_lies_between(name: str, layers: int) -> None:
    """The attacked part is at most what intervals bound, and at least what the clean inputs' own attack finds."""
    net, d = trainable(name), data(name, 0.2)
    batch = Batch(net.clean(d.x), net, d.y, d.lower, d.upper, torch.Generator().manual_seed(0), 1.0)
    part = Latent(Attack(20, 0.3, 4), layers, 1.0, 1.0)
    ibp = loss(IBP(), net, d).robust
    attacked = part.robust(batch, d.lower, d.upper).loss / ibp
    assert (attacked <= ibp + 1e-9).all() and (attacked < ibp - 1e-3).any()
    assert (attacked >= cross_entropies(net, d, worst_points(net, d))[0] - 1e-2).all()


def test_the_latent_loss_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attack a wrong class, each in the latent box; the product with the interval loss."""
    at_corners(monkeypatch)
    net, d = trainable("dense"), data("dense", 0.2)
    graph = net.clean(d.x).graph
    place = cut(graph, 1)
    bounds = interval(graph, d.lower, d.upper)
    l, u = (a.clamp(min=0) for a in bounds.layers[graph.nodes[place.node].inputs[0]])
    (z,) = place.behind.evaluate(Attack().points(net.clean(d.x), d.y, l, u))
    expected = F.cross_entropy(z, d.y, reduction="none") * worst_case(bounds.margins(d.y), d.y)[0]
    torch.testing.assert_close(loss(TAPS(), net, d).robust, expected)


def test_each_class_is_attacked_by_itself() -> None:
    """Behind the cut everything is linear here: the worst margins are attained each in a corner of its own."""
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.LeakyReLU(1.0), nn.Linear(8, K)).double()
    model, d = Trainable(net, torch.zeros(1, 6, dtype=torch.float64)), data("dense", 0.5)
    batch = Batch(model.clean(d.x), model, d.y, d.lower, d.upper, None, 1.0)
    part = Latent(Attack(8), 1, 1.0, 1.0)
    graph = batch.clean.graph
    l, u = (a.clamp(min=0) for a in interval(graph, d.lower, d.upper).layers[1])
    W, b = net[4].weight @ net[2].weight, net[4].weight @ net[2].bias + net[4].bias
    C = torch.eye(K, dtype=torch.float64)[d.y][:, None] - torch.eye(K, dtype=torch.float64)
    rows = C @ W
    worst = C @ b + torch.einsum("bkn,bn->bk", rows.clamp(min=0), l) + torch.einsum("bkn,bn->bk", rows.clamp(max=0), u)
    found = part.robust(batch, d.lower, d.upper).loss / loss(IBP(), model, d).robust
    torch.testing.assert_close(found, torch.logsumexp(-worst, 1))


def test_the_weight_is_the_attacked_parts() -> None:
    """`grad(weight) = grad(0) + weight·(grad(1) − grad(0))`, the value the same."""
    net, d = trainable("conv"), data("conv", 0.2)
    values, grads = [], []
    for weight in (1.0, 2.0, 5.0):
        result = loss(TAPS(weight=weight), net, d).robust
        values.append(result.detach())
        grads.append(torch.cat([g.flatten() for g in torch.autograd.grad(result.sum(), list(net.module.parameters()))]))
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(grads[2] - grads[0], 4 * (grads[1] - grads[0]))
    assert (grads[1] - grads[0]).abs().max() > 1e-3


def test_the_link_from_points_to_boxes() -> None:
    """All of an end's motion at the end, none from the middle on, half of it half-way; degenerate boxes move once."""
    lower = torch.tensor([0.0, 0, 0, 0, 0, 1], requires_grad=True)
    upper = torch.tensor([2.0, 2, 2, 2, 2, 1], requires_grad=True)
    x = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 1.0])
    y = linked(x, lower, upper)
    assert torch.equal(y, x)
    l, u = torch.autograd.grad(y.sum(), (lower, upper))
    assert l.tolist() == [1, 0.5, 0, 0, 0, 0.5] and u.tolist() == [0, 0, 0, 0.5, 1, 0.5]


def test_latent_boxes_are_attacked_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many samples are attacked together changes nothing, where attacks are the same."""
    at_corners(monkeypatch)
    net, d = trainable("conv"), data("conv", 0.3)
    parameters, found = list(net.module.parameters()), []
    for numbers in (1, 2**11, 2**30):
        monkeypatch.setattr(taps, "BLOCK", numbers)
        result = loss(TAPS(), net, d).robust
        found.append((result.detach(), torch.autograd.grad(result.sum(), parameters)))
    for value, grads in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        torch.testing.assert_close(grads, found[0][1])


def test_trades_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    at_corners(monkeypatch)
    net, d = trainable("dense"), data("dense", 0.3)
    graph = net.clean(d.x).graph
    p, q = (torch.softmax(graph.evaluate(x)[0], 1) for x in (d.x, Attack().points(net, d.y, d.lower, d.upper)))
    expected = -p.gather(1, d.y[:, None])[:, 0].log() + 3 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(loss(TRADES(beta=3.0), net, d).robust, expected)


def test_trades_attacks_the_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the clean prediction, which no gradient moves, to that of the attacked point."""
    net, d = trainable("dense"), data("dense", 0.3)
    z = net.clean(d.x).logits
    other = torch.randn(z.shape, generator=torch.Generator().manual_seed(0), dtype=z.dtype)
    seen = []

    def points(
        self: Attack, clean: object, y: Tensor, lower: Tensor, upper: Tensor, g: object, climb: Objective
    ) -> Tensor:
        seen.append(climb(other))
        return lower

    monkeypatch.setattr(Attack, "points", points)
    loss(TRADES(), net, d)
    p, q = torch.softmax(z, 1), torch.softmax(other, 1)
    torch.testing.assert_close(seen, [(p * (p / q).log()).sum(1).detach()])
    assert not seen[0].requires_grad


def test_trades_attacks_with_steps() -> None:
    net, d = trainable("dense"), data("dense", 0.3)
    at = {steps: loss(TRADES(steps=steps), net, d).robust.mean() for steps in (0, 8)}
    assert at[8] > at[0]


def test_linear_bounds_go_from_start_to_end() -> None:
    """At progress p the share of the linear bounds is start + p·(end − start); margins are mixed, losses if fused."""
    net, d = trainable("dense"), data("dense", 0.2)
    for fusion in (False, True):
        whole = loss(CROWNIBP(beta_end=1.0, fusion=fusion), net, d).robust
        none = loss(IBP(), net, d).robust
        for progress in (0.0, 0.25, 1.0):
            one = loss(CROWNIBP(beta_start=0.8, beta_end=0.2, fusion=fusion), net, d, progress)
            beta = 0.8 - 0.6 * progress
            two = loss(CROWNIBP(beta_start=beta, beta_end=beta, fusion=fusion), net, d)
            torch.testing.assert_close(one.robust, two.robust)
            if fusion:
                torch.testing.assert_close(one.robust, beta * whole + (1 - beta) * none)
        assert (whole != none).any()
    crown = loss(CROWNIBP(beta_end=1.0), net, d).robust
    fused = loss(CROWNIBP(beta_end=1.0, fusion=True), net, d).robust
    assert not torch.allclose(crown, fused)


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (SABR, {"lambda_": 1.5}, "^SABR: lambda = 1.5: give a number at least 0 and at most 1$"),
        (SABR, {"shrink": 0.0}, "^SABR: shrink = 0.0: give a number above 0 and at most 1$"),
        (SABR, {"steps": -1}, "steps = -1"),
        (STAPS, {"lambda_": -0.1}, "STAPS: lambda"),
        (STAPS, {"center_size": -1}, "STAPS: center_size"),
        (STAPS, {"attacked": 0}, "STAPS: attacked"),
        (STAPS, {"weight": 0}, "STAPS: weight"),
        (STAPS, {"shrink": 2}, "STAPS: shrink"),
        (TAPS, {"attacked": 1.5}, "^TAPS: attacked = 1.5: give a whole number, at least 1$"),
        (TAPS, {"weight": 0.0}, "TAPS: weight = 0.0: give a number above 0$"),
        (TAPS, {"shrink": -1}, "TAPS: shrink"),
        (MTLIBP, {"alpha": "half"}, "MTLIBP: alpha = 'half': give a number"),
        (CCIBP, {"alpha": 1.01}, "CCIBP: alpha"),
        (ExpIBP, {"scale": 0.5}, "ExpIBP: scale = 0.5: give a number at least 1$"),
        (MTLIBP, {"data_lower": float("inf")}, "data_lower"),
        (MTLIBP, {"data_lower": 0.5, "data_upper": 0.2}, "data_upper = 0.2: give a number at least 0.5"),
        (CROWNIBP, {"beta_start": 2}, "CROWNIBP: beta_start"),
        (CROWNIBP, {"beta_end": True}, "CROWNIBP: beta_end"),
        (CROWNIBP, {"fusion": 1}, "CROWNIBP: fusion = 1: give true or false"),
        (CROWNIBP, {"flat": "yes"}, "CROWNIBP: flat"),
        (PGD, {"restarts": 0}, "restarts"),
        (TRADES, {"beta": -1}, "TRADES: beta = -1: give a number at least 0$"),
        (TRADES, {"size": None}, "size = None"),
    ],
)
def test_fields_out_of_range(cls: type, fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cls(**fields)
