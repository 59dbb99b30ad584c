"""Torch modules that are refused, in one line that names the operator and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import verifier
from verifier.graph.from_torch import load_module
from verifier.values.errors import ModelError

from .test_from_torch import Of


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "unknown": (
        lambda: nn.Sequential(nn.Linear(4, 4), Of(torch.lgamma)),
        (4,),
        r"aten\.lgamma in 1 \(Of\): it is not sup",
    ),
    "own": (lambda: Of(lambda x: x.lgamma()), (4,), r"aten\.lgamma in its own forward"),
    "powers": (lambda: Of(lambda x: x ** torch.arange(4.0)), (4,), "several different powers"),
    "base": (lambda: Of(lambda x: (-2.0) ** x), (4,), "base that is not positive"),
    "order": (lambda: Of(lambda x: x.norm(3, dim=-1)), (4,), "a norm of order 3"),
    "einsum": (lambda: Of(lambda x: torch.einsum("bii->bi", x)), (3, 3), "einsum of bii->bi"),
    "positions": (lambda: Of(lambda x: x.max(-1)[1] + x[:, 0]), (4,), "not supported"),
    "infinity": (lambda: Of(lambda x: (x + torch.tensor([0.0, -torch.inf, 0, 0])).relu()), (4,), "adds infinity"),
    "mix_softmax": (lambda: nn.Softmax(0), (4,), r"aten\.softmax.* batch axis"),
    "mix_attention": (lambda: nn.MultiheadAttention(4, 2), (3, 4), "MultiheadAttention"),
    "zero": (lambda: Of(lambda x: x / torch.zeros(4)), (4,), "divides by zero"),
    "remainder": (lambda: Of(lambda x: x % x.exp()), (4,), "remainder of a division by something that depends"),
    "weights": (lambda: Of(lambda x: F.conv1d(x, x.relu())), (4, 4), r"aten\.conv1d.* an activation stands where"),
    "mix_reshape": (lambda: Of(lambda x: x.reshape(-1, 2)), (4,), r"aten\.(view|reshape).* batch axis"),
    "mix_transpose": (lambda: Of(lambda x: x.transpose(0, 1)), (2,), r"aten\.transpose.* batch axis"),
    "mix_mean": (lambda: Of(lambda x: x - x.mean(0)), (4,), r"aten\.mean.* batch axis"),
    "mix_sum": (lambda: Of(lambda x: x.sum()), (4,), r"aten\.sum.* batch axis"),
    "mix_cat": (lambda: Of(lambda x: torch.cat([x, x])), (4,), r"aten\.cat.* batch axis"),
    "mix_flip": (lambda: Of(lambda x: x.flip(0)), (4,), r"aten\.flip.* batch axis"),
    "mix_select": (lambda: Of(lambda x: x + x[:1]), (4,), "batch axis"),
    "mix_constant": (lambda: Of(lambda x: x + torch.arange(2.0)[:, None]), (4,), "differs along the batch axis"),
    "norm": (lambda: nn.BatchNorm1d(4, track_running_stats=False), (4,), r"batch_norm"),
    "dropout": (lambda: Of(lambda x: F.dropout(x, 0.5, training=True)), (4,), r"dropout|bernoulli|rand"),
    "noise": (lambda: Of(lambda x: x + torch.randn(4)), (4,), r"aten\.randn.* random numbers"),
    "mask": (lambda: Of(lambda x: x[:, torch.tensor([True, False])]), (2,), "not by a mask"),
    "which": (lambda: Of(lambda x: F.max_pool1d(x, 2, return_indices=True)[1] + x), (1, 2), "not supported"),
    "branch": (lambda: Of(lambda x: x if x.sum() > 0 else -x), (4,), "torch.export cannot trace it"),
    "integer": (lambda: Of(lambda x: x.long()), (4,), "has type int64"),
    "half": (lambda: Of(lambda x: x.half().cumsum(-1)), (4,), r"how it rounds to 16 bits .* \.float\(\)"),
    "constant": (lambda: Of(lambda x: torch.ones(2, 3)), (4,), "depends on the input"),
    "infinite": (lambda: Of(lambda x: x * float("inf")), (4,), "not finite"),
    "sum of truths": (lambda: Of(lambda x: ((x > 0) + (x > 1)).to(x.dtype)), (4,), "has type bool"),
    "one of truths": (lambda: Of(lambda x: (x > 0).sum(-1, keepdim=True, dtype=torch.bool) * x), (4,), "has type bool"),
    "filled": (lambda: Of(lambda x: F.pad(x > 0, (1, 1), value=0.5) * 1.0), (4,), "has type bool"),
    "truth of numbers": (lambda: Of(lambda x: torch.logical_and(x, x > 0) * x), (4,), "numbers for truth values"),
    "no number": (lambda: Of(lambda x: torch.logical_not(x) * x), (4,), "numbers for truth values"),
    "decimals": (lambda: Of(lambda x: x.round(decimals=1)), (4,), "rounds to decimals"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, shape, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as caught:
        load_module(make(), torch.randn(2, *shape))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("both", [lambda a, b: a & b, lambda a, b: torch.logical_and(a, b), lambda a, b: a * b])
def test_truth_values_that_are_hardly_ever_true(both: Any) -> None:
    module = Of(lambda x: both(x > 4.9, x < 4.9001).to(x.dtype))
    lower, upper = verifier.bound(verifier.load(module, example=torch.zeros(1, 1)), verifier.Box([0.0], [9.0]))
    assert lower[0] <= 0 and upper[0] >= 1


def test_a_sum_of_truth_values_proves_nothing_wrong() -> None:
    """1 in a band that no sample meets, where a sum of truth values were 2."""

    def forward(x: Tensor) -> Tensor:
        a, b = x > 4.9, x < 4.9001
        return a.to(x.dtype) + b.to(x.dtype) - (a + b).to(x.dtype)

    try:
        upper = verifier.bound(verifier.load(Of(forward), example=torch.zeros(1, 1)), verifier.Box([0.0], [9.0]))[1]
    except ModelError as e:
        assert "bool" in str(e)
    else:
        assert upper[0] >= 1


def test_a_buffer_that_changes_is_refused() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("n", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.n += 1
            return x + self.n

    with pytest.raises(ModelError, match="changes its own buffers"):
        load_module(Counts(), torch.randn(1, 4))


def test_the_message_names_the_module_and_what_is_supported() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.RReLU()))
    with pytest.raises(ModelError, match=r"^Sequential: aten\.rrelu.* in 1\.1 \(RReLU\): .*; supported are linear"):
        load_module(module, torch.randn(1, 4))


@pytest.mark.parametrize("example", [torch.zeros(4), torch.zeros(1, 4).long(), torch.zeros(0, 4), "x"])
def test_bad_examples(example: Any) -> None:
    with pytest.raises(ModelError, match="the example must be"):
        load_module(nn.Linear(4, 2), example)


def test_an_example_that_does_not_fit() -> None:
    with pytest.raises(ModelError, match="forward fails on the example: mat1 .*; give an example of a shape"):
        load_module(nn.Linear(4, 2), torch.zeros(1, 5))
