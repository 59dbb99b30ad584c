"""Import of torch modules: every operator against the module itself, live parameters, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.graph import from_torch
from verifier.graph.aten_table import TABLE
from verifier.graph.from_torch import TorchModel, load_module, load_torch
from verifier.graph.graph import Affine, Graph
from verifier.graph.ops.affine import Dense
from verifier.values.arrays import Place
from verifier.values.errors import UnsoundBound


class Of(nn.Module):
    """A module of one function of its input and its parameters p0, p1, …; keyword parameters become submodules."""

    def __init__(self, function: Callable[..., Any], *parameters: Tensor, **modules: nn.Module) -> None:
        super().__init__()
        self.function, self.count = function, len(parameters)
        for i, p in enumerate(parameters):
            self.register_parameter(f"p{i}", nn.Parameter(p))
        for name, m in modules.items():
            self.add_module(name, m)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *(getattr(self, f"p{i}") for i in range(self.count)), *self._modules.values())


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def agree(module: nn.Module, *shape: int, batch: int = 1) -> TorchModel:
    """Import in double; compare with the module on another batch, on torch with live parameters and on numpy."""
    module = module.double().eval()
    model = load_torch(module, random(batch, *shape))
    x = 3 * random(5, *shape)
    y = module(x)
    parts = list(y) if isinstance(y, (tuple, list)) else [y]
    for got in (model.graph.evaluate(x), model.graph.cast(Place().array).evaluate(x.numpy())):
        assert len(got) == len(parts)
        for a, b in zip(got, parts, strict=True):
            np.testing.assert_allclose(torch.as_tensor(a).detach(), b.detach(), rtol=1e-11, atol=1e-11)
    assert model.output_shapes == tuple(tuple(p.shape[1:]) for p in parts)
    joined = torch.cat([p.reshape(5, -1) for p in parts], 1).detach().numpy()
    np.testing.assert_allclose(model.run(x.reshape(5, -1).numpy()), joined, rtol=1e-13, atol=1e-13)
    adjoints_hold(model.graph)
    return model


def adjoints_hold(graph: Graph) -> None:
    """⟨A, linear(x)⟩ = ⟨adjoint(A), x⟩ in every affine node."""
    for node in graph.nodes:
        if isinstance(node.op, Affine):
            shapes = [graph.nodes[j].shape for j in node.inputs]
            x, A = [random(2, *s) for s in shapes], random(2, *node.shape)
            rows = node.op.adjoint(A, *shapes)
            left = (A * node.op.linear(*x)).sum()
            right = sum((r * v).sum() for r, v in zip(rows, x, strict=True))
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "linear_no_bias": (lambda: nn.Linear(4, 3, bias=False), (4,)),
    "linear_leading_axes": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "addmm": (lambda: Of(lambda x, b, W: torch.addmm(b, x, W), random(3), random(4, 3)), (4,)),
    "addmm_factors": (
        lambda: Of(lambda x, b, W: torch.addmm(b, x, W, beta=0.5, alpha=-2), random(1, 3), random(4, 3)),
        (4,),
    ),
    "addmm_activation": (lambda: Of(lambda x, W: torch.addmm(x, x, W), random(4, 4)), (4,)),
    "mm": (lambda: Of(lambda x, W: torch.mm(x, W), random(4, 3)), (4,)),
    "matmul": (lambda: Of(lambda x, W: x @ W, random(4, 3)), (2, 4)),
    "matmul_left": (lambda: Of(lambda x, W: W @ x, random(3, 2)), (5, 2, 4)),
    "matmul_vector": (lambda: Of(lambda x, v: x @ v, random(4)), (2, 4)),
    "matmul_ones_in_front": (lambda: Of(lambda x, W: x @ W, random(1, 1, 4, 3)), (2, 5, 4)),
    "batch_norm_1d": (lambda: norm(nn.BatchNorm1d(4)), (4,)),
    "batch_norm_2d": (lambda: norm(nn.BatchNorm2d(3, eps=0.1)), (3, 2, 2)),
    "batch_norm_plain": (lambda: norm(nn.BatchNorm1d(3, affine=False)), (3, 5)),
    "relu": (lambda: nn.ReLU(), (4,)),
    "relu_in_place": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)), (4,)),
    "leaky_relu": (lambda: nn.LeakyReLU(0.3), (4,)),
    "hardtanh": (lambda: nn.Hardtanh(0.0, float("inf")), (4,)),
    "hardtanh_both": (lambda: nn.Hardtanh(-0.5, 1.5), (4,)),
    "clamp_min": (lambda: Of(lambda x: x.clamp_min(0)), (4,)),
    "clamp_low": (lambda: Of(lambda x: x.clamp(min=0.0)), (4,)),
    "clamp_high": (lambda: Of(lambda x: x.clamp(max=0.5)), (4,)),
    "clamp_crossed": (lambda: Of(lambda x: x.clamp(2.0, 1.0) + x), (4,)),
    "relu6": (lambda: nn.ReLU6(), (4,)),
    "adaptive_one": (lambda: nn.AdaptiveAvgPool2d(1), (3, 4, 6)),
    "adaptive_even": (lambda: nn.AdaptiveAvgPool2d((2, 3)), (3, 4, 6)),
    "adaptive_none": (lambda: nn.AdaptiveAvgPool2d((None, 3)), (3, 4, 6)),
    "adaptive_1d": (lambda: nn.AdaptiveAvgPool1d(2), (3, 4)),
    "mean": (lambda: Of(lambda x: x.mean((1, -1))), (3, 4, 2)),
    "mean_keep": (lambda: Of(lambda x: x.mean(-1, keepdim=True) - x), (3, 4)),
    "sum": (lambda: Of(lambda x: x.sum(1) + x.sum((2,)).sum(1, keepdim=True)), (3, 4)),
    "flatten": (lambda: Of(lambda x: (x.flatten(1), x.flatten(2), nn.Flatten()(x))), (3, 4, 2)),
    "view": (lambda: Of(lambda x: x.view(x.size(0), -1).reshape(-1, 6, 4).view(-1, 2, 12)), (3, 4, 2)),
    "squeeze": (lambda: Of(lambda x: x.unsqueeze(2).squeeze(-1).squeeze(2).unsqueeze(-2)), (3, 4, 1)),
    "permute": (lambda: Of(lambda x: x.permute(0, 3, 1, 2).transpose(1, -1).flatten(1)), (3, 4, 2)),
    "permute_ones": (lambda: Of(lambda x: x.permute(0, 2, 1).transpose(-1, -2).mT), (1, 4)),
    "cat": (lambda: Of(lambda x: torch.cat([x, 2 * x, x[:, :1]], 1)), (3, 4)),
    "cat_last": (lambda: Of(lambda x: torch.cat([x, -x], -1)), (3, 4)),
    "cat_constant": (lambda: Of(lambda x, p: torch.cat([p.expand(len(x), -1), x], 1), random(1, 2)), (4,)),
    "stack": (lambda: Of(lambda x: (torch.stack([x, -x], 1), torch.stack([x, 2 * x], -1))), (3, 4)),
    "slice": (lambda: Of(lambda x: x[:, 1:, ::2] + x[:, :2, -2:]), (3, 4)),
    "select": (lambda: Of(lambda x: x[:, 1] - x.select(1, -1)), (3, 4)),
    "index": (lambda: Of(lambda x: x[:, [2, 0, 2]]), (3, 4)),
    "index_pairs": (lambda: Of(lambda x: x[:, [2, 0], [1, 3]]), (3, 4)),
    "index_select": (lambda: Of(lambda x: x.index_select(2, torch.tensor([3, 1]))), (3, 4)),
    "narrow_flip": (lambda: Of(lambda x: x.narrow(1, 1, 2).flip(1).roll(1, 2)), (3, 4)),
    "split": (lambda: Of(lambda x: tuple(reversed(x.split([1, 2], 1)))), (3, 4)),
    "split_even": (lambda: Of(lambda x: x.split(2, 2)[1]), (3, 5)),
    "chunk": (lambda: Of(lambda x: x.chunk(2, 1)[0] * 2), (4,)),
    "unbind": (lambda: Of(lambda x: sum(x.unbind(1))), (3, 4)),
    "expand": (lambda: Of(lambda x: x[:, :, None].expand(-1, -1, 3) + x.repeat(1, 3).reshape(-1, 4, 3)), (4,)),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), (4, 3, 2)),
    "pad": (lambda: Of(lambda x: F.pad(x, (1, 2, 0, 1))), (3, 4)),
    "pad_value": (lambda: Of(lambda x: F.pad(x, (1, -1), value=2.5)), (3, 4)),
    "pad_reflect": (lambda: Of(lambda x: F.pad(x, (1, 2), "reflect") - F.pad(x, (2, 1), "replicate")), (3, 4)),
    "pad_circular": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 4, 4)),
    "add": (lambda: Of(lambda x: x + x.relu()), (4,)),
    "add_alpha": (lambda: Of(lambda x: torch.add(x, x.relu(), alpha=-2) + torch.sub(x, x.relu(), alpha=0.5)), (4,)),
    "add_broadcast": (lambda: Of(lambda x: x[:, :, :1] + x - x[:, :1]), (3, 4)),
    "add_constant": (lambda: Of(lambda x, p: p + x + 1 + p[0], random(3, 1)), (3, 4)),
    "add_widened": (lambda: Of(lambda x, p: x + p, random(1, 3, 4)), (3, 1)),
    "sub_constant": (lambda: Of(lambda x, p: (x - p) + (p - x.relu()) + (1 - x) - (x - 2), random(4)), (3, 4)),
    "sub_alpha": (lambda: Of(lambda x, p: torch.sub(x, p, alpha=3) + torch.rsub(x, 2, alpha=3), random(4)), (4,)),
    "mul": (lambda: Of(lambda x, p: (p * x * 2) * torch.tensor(3), random(3, 1)), (3, 4)),
    "mul_widened": (lambda: Of(lambda x, p: x * p, random(3, 4)), (3, 1)),
    "div": (lambda: Of(lambda x, p: x / (p.abs() + 1) / 3, random(4)), (3, 4)),
    "neg": (lambda: Of(lambda x: -x), (4,)),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Dropout(0.1, inplace=True)), (4,)),
    "copies": (lambda: Of(lambda x: nn.Identity()(x.contiguous().clone().detach()).to(torch.float64)), (4,)),
    "in_place": (lambda: Of(lambda x: x.clone().add_(1).mul_(2).relu_()), (4,)),
    "max_pool_1d": (lambda: nn.MaxPool1d(3, 2, 1), (2, 7)),
    "avg_pool_1d": (lambda: nn.AvgPool1d(3, 2, 1), (2, 7)),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (4,)),
    "tied": (lambda: tied(), (4,)),
}


def norm(layer: Any) -> Any:
    """A batch norm with statistics, weights and biases of its own."""
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.1, 3.0)
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layer


def tied() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


class Together(nn.Module):
    """Several modules side by side: tracing costs more than what is traced."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = [m(x) for m in self.parts]
        return [y for part in outputs for y in (part if isinstance(part, (tuple, list)) else [part])]


def groups(size: int = 6) -> list[tuple[str, ...]]:
    """Cases of one input shape, a few at a time."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, (_, shape) in CASES.items():
        by_shape.setdefault(shape, []).append(name)
    return [tuple(names[i : i + size]) for names in by_shape.values() for i in range(0, len(names), size)]


@pytest.mark.parametrize("names", groups(), ids=",".join)
def test_operators(names: tuple[str, ...]) -> None:
    agree(Together(*(CASES[name][0]() for name in names)), *CASES[names[0]][1])


@pytest.mark.parametrize("name", ["linear_leading_axes", "add_widened", "index_pairs", "pad_value", "cat_constant"])
def test_operator_with_a_larger_example(name: str) -> None:
    make, shape = CASES[name]
    agree(make(), *shape, batch=3)


SWEEP = settings(max_examples=8, deadline=None, derandomize=True, database=None)


@SWEEP
@given(
    d=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, 2, "same", "valid"]),
    groups=st.integers(1, 2),
    bias=st.booleans(),
    batch=st.integers(1, 2),
)
def test_conv(
    d: int, kernel: int, stride: int, dilation: int, padding: Any, groups: int, bias: bool, batch: int
) -> None:
    stride = 1 if padding == "same" else stride
    layer = (nn.Conv1d, nn.Conv2d)[d - 1]
    shape = (2, 7, 6)[: d + 1]
    agree(layer(2, 4, kernel, stride, padding, dilation, groups, bias), *shape, batch=batch)


def test_conv_with_an_uneven_kernel() -> None:
    strided, same = nn.Conv2d(2, 3, (2, 3), (1, 2), (1, 0), (2, 1)), nn.Conv2d(2, 3, (2, 4), padding="same")
    agree(Together(strided, same), 2, 6, 7)


POOL = {"kernel": st.integers(1, 3), "stride": st.integers(1, 4), "padding": st.integers(0, 1), "ceil": st.booleans()}


@SWEEP
@given(**POOL, dilation=st.integers(1, 2))
def test_max_pool(kernel: int, stride: int, padding: int, ceil: bool, dilation: int) -> None:
    padding = min(padding, kernel // 2)
    agree(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil), 2, 7, 6)


@SWEEP
@given(**POOL, include=st.booleans(), divisor=st.sampled_from([None, None, 5]))
def test_avg_pool(kernel: int, stride: int, padding: int, ceil: bool, include: bool, divisor: int | None) -> None:
    padding = min(padding, kernel // 2)
    agree(nn.AvgPool2d(kernel, stride, padding, ceil, include, divisor), 2, 7, 6)


class Block(nn.Module):
    """A residual block, strided as in ResNets."""

    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(n, m, 3, stride, 1, bias=False), norm(nn.BatchNorm2d(m))
        self.b, self.nb = nn.Conv2d(m, m, 3, 1, 1, bias=False), norm(nn.BatchNorm2d(m))
        self.skip = nn.Sequential(nn.Conv2d(n, m, 1, stride), norm(nn.BatchNorm2d(m)))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.na(self.a(x)), inplace=True)
        y = self.nb(self.b(y))
        y += self.skip(x)
        return F.relu(y)


def residual() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), Block(4, 4, 1), Block(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(), nn.Linear(6, 5),
    )  # fmt: skip


def test_residual_network() -> None:
    agree(residual(), 3, 8, 8)


@pytest.mark.parametrize("batch", [1, 4])
def test_single_precision(batch: int) -> None:
    module = residual()
    model = load_torch(module, torch.randn(batch, 3, 8, 8))
    assert model.input_dtype == "float32" and model.chunk is None and model.input_shapes == ((3, 8, 8),)
    assert all(m.training for m in module.modules())  # left as it was
    x = torch.randn(6, 3, 8, 8)
    y = model.run(x.flatten(1).numpy())
    assert y.dtype == np.float64 and y.shape == (6, 5)
    (live,) = model.graph.evaluate(x)
    assert live.dtype == torch.float32
    np.testing.assert_allclose(live.detach(), y, rtol=1e-3, atol=1e-4)


def test_the_graph_holds_the_module_s_own_parameters() -> None:
    module = nn.Linear(4, 3)
    graph = load_module(module, torch.randn(1, 4))
    op = graph.nodes[graph.outputs[0]].op
    assert isinstance(op, Dense) and op.W is module.weight and op.b is module.bias


def test_parameters_are_live() -> None:
    module = Of(lambda x, p, W, c, n, f: f((n(c(x)) * p - p).flatten(1)) @ W, random(2, 1, 1), random(3, 2),
                c=nn.Conv2d(1, 2, 2), n=norm(nn.BatchNorm2d(2)), f=nn.Linear(8, 3)).double().eval()  # fmt: skip
    graph, x = load_module(module, random(1, 1, 3, 3)), random(4, 1, 3, 3)
    for _ in range(2):  # gradients flow, again and again, and steps show
        module.zero_grad()
        (module(x) ** 2).sum().backward()
        expected = {k: p.grad.clone() for k, p in module.named_parameters()}
        module.zero_grad()
        (graph.evaluate(x)[0] ** 2).sum().backward()
        for name, p in module.named_parameters():
            torch.testing.assert_close(p.grad, expected[name], rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.1 * torch.randn_like(p))
        torch.testing.assert_close(graph.evaluate(x)[0], module(x), rtol=1e-9, atol=1e-9)


def test_a_module_for_one_batch_size_is_run_in_chunks() -> None:
    module = nn.Sequential(Of(lambda x: x.reshape(1, 4) * 2), nn.Linear(4, 2))
    model = load_torch(module, torch.randn(1, 2, 2))
    assert model.chunk == 1
    x = torch.randn(5, 4)
    np.testing.assert_allclose(model.run(x), module[1](2 * x).detach(), rtol=1e-5, atol=1e-6)
    pairs = load_torch(Of(lambda x: x.reshape(2, 4).relu()), torch.randn(2, 2, 2))
    assert pairs.chunk == 2
    np.testing.assert_array_equal(pairs.run(x.numpy()), x.relu())


def test_mixed_precision_follows_the_coarser() -> None:
    module = Of(lambda x, m: m(x.double()).float() * 2, m=nn.Linear(4, 3).double())
    assert load_torch(module, torch.randn(1, 4)).input_dtype == "float32"


@pytest.mark.parametrize("wrong", ["relu", "mean", "conv2d"])
def test_a_wrong_rule_is_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = TABLE[wrong]

    def off(c: Any) -> Any:
        y = right(c)
        return from_torch.TABLE["mul"](
            from_torch.Call(c.builder, c.name, None, {"self": y, "other": 1.001}, c.batch, c.shape, c.dtype, c.device)
        )

    monkeypatch.setitem(TABLE, wrong, off)
    module = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), Of(lambda x: x.mean((2, 3))))
    with pytest.raises(UnsoundBound, match="differs from the module by"):
        load_module(module, torch.randn(1, 1, 4, 4))


def test_every_row_of_the_table_is_a_torch_operator() -> None:
    assert all(hasattr(torch.ops.aten, name) for name in TABLE)
