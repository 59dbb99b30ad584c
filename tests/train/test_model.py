"""A module seen as a graph with live weights: clean passes, batch norms, what is refused."""

import copy

import pytest
import torch
from torch import nn

from verifier.train.model import Trainable
from verifier.values.errors import ModelError


def _net(dtype=torch.float64):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, 2, bias=False),
        nn.BatchNorm2d(3, affine=False), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8),
        nn.ReLU(), nn.Linear(8, 3),
    ).to(dtype)  # fmt: skip
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            if m.affine:
                nn.init.normal_(m.weight)
                nn.init.normal_(m.bias)
    return net


def _buffers(net):
    return {k: v.clone() for k, v in net.named_buffers()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_clean_pass_is_the_modules_own(training, momentum):
    net = _net()
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.momentum = momentum
    other = copy.deepcopy(net)
    model = Trainable(net, torch.rand(2, 2, 5, 5, dtype=torch.float64))
    net.train(training)
    other.train(training)
    for seed in range(3):
        x = torch.randn(7, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        a, b = model.clean(x).logits, other(x)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        for ours, theirs in zip(
            torch.autograd.grad((a**2).sum(), list(net.parameters())),
            torch.autograd.grad((b**2).sum(), list(other.parameters())),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    moved = _buffers(other)
    for k, v in _buffers(net).items():
        torch.testing.assert_close(v, moved[k], rtol=1e-10, atol=1e-12)


def test_the_settled_graph_computes_the_pass():
    net = _net()
    model = Trainable(net, torch.rand(1, 2, 5, 5, dtype=torch.float64))
    net.train()
    x = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    clean = model.clean(x)
    before = _buffers(net)
    torch.testing.assert_close(clean.graph.evaluate(x)[0], clean.logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(clean.detached().evaluate(x)[0], clean.logits.detach(), rtol=1e-10, atol=1e-10)
    assert all(torch.equal(v, before[k]) for k, v in _buffers(net).items())
    assert not any(type(n.op).__name__ in ("Scale", "Standardize") for n in clean.graph.nodes)
    assert all(p.grad is None for p in net.parameters())
    (a,) = torch.autograd.grad(clean.graph.evaluate(x)[0].square().sum(), net[0].weight, retain_graph=True)
    (b,) = torch.autograd.grad(clean.logits.square().sum(), net[0].weight)
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_weights_are_followed_through_an_optimizer():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model = Trainable(net, torch.rand(1, 2, 3))
    sgd = torch.optim.SGD(net.parameters(), lr=0.5)
    x = torch.rand(4, 2, 3)
    for _ in range(3):
        sgd.zero_grad()
        model.clean(x).logits.square().sum().backward()
        sgd.step()
        torch.testing.assert_close(model.clean(x).logits, net(x))


def test_refreshed_statistics_are_those_of_all_batches():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    model = Trainable(net, torch.rand(1, 3))
    net.eval()
    x = torch.randn(30, 3) * 3 + 1
    model.refresh(x.split(10))
    torch.testing.assert_close(net[0].running_mean, x.mean(0))
    within = torch.stack([part.var(0) for part in x.split(10)]).mean(0)
    torch.testing.assert_close(net[0].running_var, within)
    assert net[0].momentum == 0.1 and not net.training
    # An uneven last batch counts by its size.
    model.refresh([x[:20], x[20:25], x[25:]])
    torch.testing.assert_close(net[0].running_mean, x.mean(0))


def test_residual_sums_keep_their_scales():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm, self.b = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.a(x)
            return self.b(torch.relu(self.norm(h) + h))

    net = Residual()
    model = Trainable(net, torch.rand(1, 4))
    net.train()
    x = torch.randn(5, 4)
    clean = model.clean(x)
    torch.testing.assert_close(clean.graph.evaluate(x)[0], clean.logits)


class _Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return x @ (2 * self.W).T


class _Transposed(_Doubled):
    def forward(self, x):
        return x @ self.W.T


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)), "Dropout"),
        (_Doubled(), "computed from parameters"),
        (nn.Linear(4, 3).requires_grad_(False), None),
        (_Transposed(), None),
        (nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2))), "class scores"),
    ],
)
def test_what_would_not_follow_the_training_is_refused(net, said):
    x = torch.rand(2, 4)
    if said is None:
        torch.testing.assert_close(Trainable(net, x).clean(x).logits, net(x))
    else:
        with pytest.raises(ModelError, match=said):
            Trainable(net, x)


def test_one_value_a_channel_is_no_batch():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model = Trainable(net, torch.rand(1, 4))
    net.train()
    with pytest.raises(ModelError, match="larger batches"):
        model.clean(torch.rand(1, 4))
