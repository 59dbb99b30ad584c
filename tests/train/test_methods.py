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

from verifier.train.methods import METHODS
from verifier.train.methods.staps import STAPS
from verifier.train.methods.taps import TAPS
from verifier.train.model import Trainable

from .cases import (
    METHODS_TRIED,
    NETS,
    Data,
    at_corners,
    cross_entropies,
    data,
    fresh,
    loss,
    phases,
    points,
    slopes_agree,
    trainable,
    tried,
    worst_points,
)

FEW = ["dense", "conv_bn", "residual", "pool", "bumps"]


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
    logits = net.module(d.x)
    for progress in (0.0, 1.0):
        result = loss(METHODS_TRIED[how], net, point, progress)
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


_SAY = ("ibp", "crown_ibp", "taps", "mtl_ibp", "cc_ibp", "exp_ibp")
"""Methods whose intervals are of the whole box, unless they are shrunk."""


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
    assert (result.verified is not None) == (
        how.split("-")[0] in _SAY and getattr(METHODS_TRIED[how], "shrink", 1) == 1
    )
    if result.verified is not None:
        assert 0.9 * result.correct.sum() <= result.verified.sum() <= result.correct.sum() < 50
        assert result.layers is not None


@pytest.mark.parametrize(("name", "how"), tried(FEW))
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


def test_fresh_models_are_alike() -> None:
    """What these tests lean on."""
    one, two = fresh("conv_bn"), fresh("conv_bn")
    states = (copy.deepcopy(n.module.state_dict()).values() for n in (one, two))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
