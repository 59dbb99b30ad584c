"""Laws of training methods, swept over every one of the table."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.train.attack import Attack
from verifier.train.bounds import interval
from verifier.train.cut import cut
from verifier.train.method import Batch, Loss, Method, box, worst_case
from verifier.train.methods import METHODS
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
from verifier.values.errors import ModelError, UserError

from .cases import (
    LAYERED,
    METHODS_TRIED,
    NETS,
    Data,
    K,
    data,
    fresh,
    phases,
    points,
    slopes_agree,
    trainable,
    tried,
    worst_points,
)

FEW = ["dense", "conv_bn", "residual", "pool", "bumps"]


def loss(method: Method, net: Trainable, d: Data, progress: float = 1.0, seed: int = 0) -> Loss:
    generator = torch.Generator().manual_seed(seed)
    return method.loss(net, d.x, d.y, d.lower, d.upper, generator=generator, progress=progress)


def at_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks return a corner of every box, always the same one."""

    def points(
        self: Attack, clean: object, y: Tensor, lower: Tensor, upper: Tensor, *rest: object, **more: object
    ) -> Tensor:
        one = torch.rand(lower.shape[1:], generator=torch.Generator().manual_seed(9)) < 0.5
        return torch.where(one, lower, upper).detach()

    monkeypatch.setattr(Attack, "points", points)


def cross_entropies(net: Trainable, d: Data, x: Tensor) -> tuple[Tensor, Tensor]:
    """At points `[count, B, *shape]`: `[count, B]`, and whether they are classified right."""
    (z,) = net.clean(d.x).graph.evaluate(x.flatten(0, 1))
    y = d.y.repeat(len(x))
    right = (z.gather(1, y[:, None]) > z.scatter(1, y[:, None], -torch.inf)).all(1)
    return F.cross_entropy(z, y, reduction="none").reshape(len(x), -1), right.reshape(len(x), -1)


def test_all_are_swept() -> None:
    assert {name.split("-")[0] for name in METHODS_TRIED} == set(METHODS)
    for name, method in METHODS_TRIED.items():
        assert type(method) is METHODS[name.split("-")[0]]
        assert dataclasses.is_dataclass(method) and method.__dataclass_params__.frozen
    assert len(set(METHODS.values())) == len(METHODS)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "how"), tried(["dense", "conv_bn"]))
def test_no_radius_is_the_clean_loss(name: str, how: str, training: bool) -> None:
    net, d = trainable(name, training=training), data(name)
    point = Data(d.x, d.y, d.x, d.x)
    result = loss(METHODS_TRIED[how], net, point, 0.0)
    logits = net.module(d.x)
    torch.testing.assert_close(result.robust, F.cross_entropy(logits, d.y, reduction="none"))
    torch.testing.assert_close(result.clean, result.robust)
    assert torch.equal(result.correct, logits.argmax(1) == d.y)


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize(("name", "how"), tried(["dense", "pool"]))
def test_hardly_a_radius_is_nearly_the_clean_loss(name: str, how: str, progress: float) -> None:
    """Without the short way that a box of no width takes."""
    net, d = trainable(name), data(name, 1e-9)
    method = METHODS_TRIED[how]
    result = loss(method, net, d, progress)
    expected = result.clean**2 if isinstance(method, (TAPS, STAPS)) and progress == 1 else result.clean
    # A shrunken ReLU changes undecided neurons only, of which so small a box has none.
    torch.testing.assert_close(result.robust, expected, rtol=1e-5, atol=1e-5)


CLAIMS = {
    m: f for m, f in METHODS_TRIED.items() if f.bounds_worst_case or m in ("taps", "mtl_ibp", "cc_ibp", "exp_ibp")
}
"""Methods that say something about the whole box."""


@cache
def looked_at(name: str, eps: float, training: bool) -> tuple[Tensor, Tensor]:
    """Cross-entropy `[count, B]` at sampled points, corners and attacked points, and whether each is right."""
    net, d = trainable(name, training=training), data(name, eps)
    return cross_entropies(net, d, torch.cat([points(d.lower, d.upper, 90), worst_points(net, d)]))


@pytest.mark.parametrize("eps", [1e-6, 0.05, 0.3, 2.0])
@pytest.mark.parametrize(("name", "how"), tried(list(NETS), CLAIMS))
def test_upper_bounds_and_proofs_hold(name: str, how: str, eps: float) -> None:
    for training in (False, True) if name in ("conv_bn", "residual") else (False,):
        method, net, d = METHODS_TRIED[how], trainable(name, training=training), data(name, eps)
        ce, right = looked_at(name, eps, training)
        for progress in phases(method):
            result = loss(method, net, d, progress)
            if method.bounds_worst_case:
                assert (result.robust >= ce - 1e-9 * (1 + ce)).all()
            assert result.verified is not None and right[:, result.verified].all()


@pytest.mark.parametrize("how", METHODS_TRIED)
def test_something_is_proved(how: str) -> None:
    """Where a method says at all what it proves: most samples of tiny boxes, none whose class is wrong."""
    net, d = trainable("conv"), data("conv", 1e-4, B=50)
    result = loss(METHODS_TRIED[how], net, d)
    if METHODS_TRIED[how].bounds_worst_case:
        assert result.verified is not None
    if result.verified is not None:
        assert 0.9 * result.correct.sum() <= result.verified.sum() <= result.correct.sum() < 50
        assert result.layers is not None


@pytest.mark.parametrize(
    ("name", "how"), [(n, m) for n, m in tried(FEW) if n in LAYERED or not isinstance(METHODS_TRIED[m], CROWNIBP)]
)
def test_gradients(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With attacks held at corners, which move with latent boxes as the link of TAPS says, and its weight at 1."""
    at_corners(monkeypatch)
    method = METHODS_TRIED[how]
    if isinstance(method, (TAPS, STAPS)):
        method = dataclasses.replace(method, weight=1.0)
    for training in (False, True) if name == "conv_bn" else (False,):
        net, d = trainable(name, training=training), data(name, 0.2, B=4)
        for progress in phases(method):
            slopes_agree(lambda: loss(method, net, d, progress).robust.sum(), list(net.module.parameters()))  # noqa: B023


@pytest.mark.parametrize("progress", [0.3, 1.0])
@pytest.mark.parametrize("how", METHODS_TRIED)
def test_the_generator_decides(how: str, progress: float) -> None:
    net, d = trainable("conv"), data("conv", 0.3)
    state = torch.get_rng_state()
    first, again = (loss(METHODS_TRIED[how], net, d, progress).robust for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("progress", [0.3, 1.0])
@pytest.mark.parametrize(("name", "how"), tried(["dense", "conv_bn", "rows"]))
def test_samples_do_not_know_each_other(name: str, how: str, progress: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In evaluation mode, with attacks held at corners: a permutation of the batch permutes all results."""
    at_corners(monkeypatch)
    net, d = trainable(name), data(name, 0.3)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    one = loss(METHODS_TRIED[how], net, d, progress)
    two = loss(METHODS_TRIED[how], net, Data(*(a[order] for a in (d.x, d.y, d.lower, d.upper))), progress)
    torch.testing.assert_close(two.robust, one.robust[order])
    assert one.verified is None or torch.equal(two.verified, one.verified[order])


@cache
def worn(name: str, state: str, dtype: torch.dtype) -> Trainable:
    """A network in training mode, as usual or in a bad way."""
    net = fresh(name, dtype, training=True)
    with torch.no_grad():
        if state == "dead":
            for m in net.module:
                if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) or (name == "dense" and isinstance(m, nn.Linear)):
                    m.bias.sub_(1e5)
        elif state == "zero":
            for p in net.module.parameters():
                p.zero_()
        elif state == "certain":  # of the first class: its loss rounds to zero
            net.module[-1].weight.zero_()
            net.module[-1].bias.copy_(torch.tensor([1e4, 0, 0, 0]))
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("state", ["live", "dead", "zero", "certain"])
@pytest.mark.parametrize("how", METHODS_TRIED)
def test_losses_and_gradients_are_finite(how: str, state: str, dtype: torch.dtype) -> None:
    for name, eps in itertools.product(("dense", "conv_bn"), (1e-12, 0.3, 1e4)):
        net, d = worn(name, state, dtype), data(name, eps, dtype=dtype)
        if state == "certain":
            d.y.zero_()
        for progress in phases(METHODS_TRIED[how]):
            result = loss(METHODS_TRIED[how], net, d, progress)
            assert torch.isfinite(result.robust).all()
            grads = torch.autograd.grad(result.robust.sum(), list(net.module.parameters()), allow_unused=True)
            assert all(torch.isfinite(g).all() for g in grads if g is not None)


def test_statistics_are_those_of_the_clean_pass() -> None:
    """Whatever a method bounds and attacks, the batch norms have seen the clean inputs, once."""
    net, d = fresh("conv_bn", training=True), data("conv_bn", 0.5)
    before = copy.deepcopy(net.module.state_dict())
    net.module(d.x)
    after = copy.deepcopy(net.module.state_dict())
    assert not torch.equal(before["1.running_mean"], after["1.running_mean"])
    for how, method in METHODS_TRIED.items():
        net.module.load_state_dict(before)
        loss(method, net, d)
        for k, a in net.module.state_dict().items():
            torch.testing.assert_close(a, after[k], msg=f"{how} {k}")
    assert all(p.grad is None for p in net.module.parameters())


# ---- what single methods are ----


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
    d = Data(d.x, d.y, *box(d.x, 0.2))
    net = trainable("dense")
    batch = Batch(net.clean(d.x), net, d.y, d.lower, d.upper, None, 1.0)
    for scale in (1.0, 1.5, 3.0):
        lower, upper = cls(scale=scale).attacked(batch)
        for a, b in zip((lower, upper), box(d.x, 0.2 * scale), strict=True):
            torch.testing.assert_close(a, b)
    outside = Data(d.x, d.y, d.x - 5, d.x + 5)
    batch = Batch(net.clean(d.x), net, d.y, outside.lower, outside.upper, None, 1.0)
    lower, upper = cls(scale=2.0).attacked(batch)
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


def test_trades_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    at_corners(monkeypatch)
    net, d = trainable("dense"), data("dense", 0.3)
    graph = net.clean(d.x).graph
    p, q = (torch.softmax(graph.evaluate(x)[0], 1) for x in (d.x, Attack().points(net, d.y, d.lower, d.upper)))
    expected = -p.gather(1, d.y[:, None])[:, 0].log() + 3 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(loss(TRADES(beta=3.0), net, d).robust, expected)


def test_trades_attacks_the_divergence() -> None:
    net, d = trainable("dense"), data("dense", 0.3)
    at = {steps: loss(TRADES(steps=steps), net, d).robust.mean() for steps in (0, 8)}
    assert at[8] > at[0]


# ---- where networks are cut ----


@pytest.mark.parametrize("name", NETS)
def test_a_cut_network_is_the_network(name: str) -> None:
    net, d = trainable(name), data(name)
    graph, found = net.clean(d.x).graph, 0
    for layers in range(5):
        try:
            place = cut(graph, layers)
        except ModelError as e:
            assert f"with {layers} nonlinear layers" in str(e) and "\n" not in str(e)
            continue
        values = graph.values(d.x)
        torch.testing.assert_close(place.behind.evaluate(values[place.node])[0], values[graph.outputs[0]])
        assert sum(not isinstance(n.op, _LINEAR) for n in place.behind.nodes) == layers
        found += 1
    # Behind each activation, and before the first one.
    layers = {"residual": 4, "conv_bn": 4, "pool": 4, "dense": 3, "conv": 3, "rows": 2, "average": 2, "bumps": 3}
    assert found >= 2 and found == layers.get(name, found)


def _linear() -> tuple[type, ...]:
    from verifier.graph.graph import Affine, Input

    return (Affine, Input)


_LINEAR = _linear()


def test_where_a_network_is_cut() -> None:
    """Straight after a nonlinear layer where it can be; where a branch passes over that, before the next."""
    net, d = trainable("residual"), data("residual", 0.1)
    graph = net.clean(d.x).graph
    one, two, three = (i for i, n in enumerate(graph.nodes) if not isinstance(n.op, _LINEAR))
    assert [cut(graph, k).node for k in (0, 2)] == [three, one]
    assert (cut(graph, 1).node,) == graph.nodes[three].inputs and (cut(graph, 3).node,) == graph.nodes[one].inputs
    values = graph.values(d.x)
    assert not torch.allclose(cut(graph, 1).behind.evaluate(values[two])[0], values[graph.outputs[0]])
    with pytest.raises(ModelError, match="with 4 nonlinear layers .* numbers that can be: 0, 1, 2, 3"):
        cut(graph, 4)
    with pytest.raises(ModelError, match="with 4 nonlinear"):
        loss(TAPS(attacked=4), net, d)


def test_a_branch_over_every_place_is_seen() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, K)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(torch.relu(x))) + x)

    net = Trainable(Skip().double(), torch.zeros(1, 6, dtype=torch.float64))
    with pytest.raises(ModelError, match="numbers that can be: none"):
        loss(TAPS(), net, data("dense"))


# ---- fields ----


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


def test_fresh_models_are_alike() -> None:
    """What these tests lean on."""
    one, two = fresh("conv_bn"), fresh("conv_bn")
    states = (copy.deepcopy(n.module.state_dict()).values() for n in (one, two))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
