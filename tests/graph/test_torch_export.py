"""What torch modules may be wrapped in, take and compute in; and what is said where one cannot be traced."""

from __future__ import annotations

import random as python_random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import verifier
from verifier.graph.from_torch import load_torch
from verifier.graph.ops.fit import Fit
from verifier.values.errors import ModelError

from .test_from_torch import Of


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 3))


def frozen(m: nn.Module) -> Any:
    return torch.jit.freeze(torch.jit.script(m.eval()))


WRAPPED: dict[str, Callable[[nn.Module], Any]] = {
    "scripted": torch.jit.script,
    "traced": lambda m: torch.jit.trace(m.eval(), torch.zeros(1, 4)),
    "frozen": frozen,
    "compiled": torch.compile,
    "in parallel": nn.DataParallel,
    "compiled in parallel": lambda m: torch.compile(nn.DataParallel(m)),
    "exported": lambda m: torch.export.export(m.eval(), (torch.zeros(2, 4),)),
    "exported, open": lambda m: torch.export.export(
        m.eval(), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch.jit has been deprecated
@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped(how: str) -> None:
    module = small()
    wrapped = WRAPPED[how](module)
    model = verifier.load(wrapped) if how.startswith("exported") else verifier.load(wrapped, torch.zeros(1, 4))
    x = torch.randn(6, 4)
    expected = module.eval()(x).detach().numpy()
    (y,) = model.graph.evaluate(x)
    np.testing.assert_allclose(y.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(model.run(x.numpy()), expected, atol=1e-6)


def test_exported_while_it_trained() -> None:
    program = torch.export.export(small().train(), (torch.zeros(2, 4),))
    with pytest.raises(ModelError, match=r"random numbers, as dropout does in training.*module\.eval\(\)"):
        verifier.load(program)
    program = torch.export.export(nn.Sequential(nn.BatchNorm1d(4)).train(), (torch.zeros(2, 4),))
    with pytest.raises(ModelError, match=r"changes its own buffers|statistics of the batch.*module\.eval\(\)"):
        verifier.load(program)


def computed() -> dict[str, nn.Module]:
    """Modules whose weights are computed."""
    old = torch.nn.utils.weight_norm  # the hooks of old
    pruned = nn.Linear(4, 4)
    prune.l1_unstructured(pruned, "weight", 0.5)
    modules = {
        "old weight norm": old(nn.Linear(4, 4)), "old spectral norm": torch.nn.utils.spectral_norm(nn.Linear(4, 4)),
        "weight norm": parametrizations.weight_norm(nn.Linear(4, 4)),
        "spectral norm": parametrizations.spectral_norm(nn.Linear(4, 4)), "pruned": pruned,
        "orthogonal": parametrizations.orthogonal(nn.Linear(4, 4)),
        "cayley": parametrizations.orthogonal(nn.Linear(4, 4), "weight", "cayley"),
        "householder": parametrizations.orthogonal(nn.Linear(4, 3), "weight", "householder"),
    }  # fmt: skip
    return modules


@pytest.mark.filterwarnings("ignore")  # the hooks of old have been deprecated
def test_weights_that_are_computed() -> None:
    for name, module in computed().items():
        x = torch.randn(5, 4)
        model = load_torch(module, torch.randn(1, 4))
        np.testing.assert_allclose(model.graph.evaluate(x)[0].detach(), module.eval()(x).detach(), atol=1e-5), name


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, state: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(self.a(state) - self.b(goal.flatten(1)))
        return y, y + goal[:, 0]


@pytest.mark.parametrize(
    "given",
    [(torch.zeros(1, 3), torch.zeros(1, 2, 2)), {"state": torch.zeros(2, 3), "goal": torch.zeros(2, 2, 2)}],
    ids=["by position", "by name"],
)
def test_several_inputs(given: Any) -> None:
    module = Several()
    model = load_torch(module, given)
    assert model.input_shapes == ((3,), (2, 2)) and model.input_names == ("state", "goal")
    assert model.output_shapes == ((2,), (2,)) and model.chunk is None
    x, z = torch.randn(5, 3), torch.randn(5, 2, 2)
    expected = torch.cat(module(x, z), 1).detach()
    np.testing.assert_allclose(torch.cat(model.graph.evaluate(x, z), 1).detach(), expected, atol=1e-6)
    np.testing.assert_allclose(model.run(x.numpy(), z.flatten(1).numpy()), expected, atol=1e-6)


class Named(nn.Module):
    def forward(self, *, x: Tensor) -> Tensor:
        return 2 * x


def test_an_input_by_name_alone() -> None:
    model = load_torch(Named(), {"x": torch.zeros(1, 3)})
    np.testing.assert_array_equal(model.run(np.ones((2, 3))), 2)
    with pytest.raises(ModelError, match=r"forward fails on the example: .*load\(module, \{'x': a\}\) by name"):
        load_torch(Named(), torch.zeros(1, 3))


# --- types of 16 bits ---


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=["half", "bfloat16"])
def test_short_types_are_bounded_with_their_rounding(kind: torch.dtype) -> None:
    """Layers inside that round: values differ from real arithmetic, bounds hold them."""
    inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2)).to(kind)
    module = Of(lambda x, m: m(x.to(kind)).float().sigmoid() * 2, m=inner)
    model = load_torch(module, torch.zeros(1, 4))
    assert any(isinstance(node.op, Fit) for node in model.graph.nodes)
    box = verifier.Box([0.1, 0.2, 0.3, 0.4], [0.11, 0.21, 0.31, 0.41])
    lower, upper = verifier.bound(model, box)
    x = np.random.default_rng(1).uniform(box.lower, box.upper, (200, 4))
    y = model.run(x)
    assert (lower <= y).all() and (y <= upper).all() and (upper - lower < 0.7).all()
    at = verifier.Box(x[0], x[0])
    lower, upper = verifier.bound(model, at)
    exact = 2 / (1 + np.exp(-inner.double()(torch.from_numpy(x[:1])).detach().numpy()[0]))
    assert (abs(y[0] - exact) > 1e-6).any()
    assert (lower <= y[0]).all() and (y[0] <= upper).all() and (lower < exact).all() and (exact < upper).all()


def test_half_modules_round_wherever_they_compute() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Flatten(), nn.ReLU(), nn.Linear(4, 2)).half()
    model = load_torch(module, torch.zeros(1, 4).half())
    assert model.input_dtype == "float16"
    assert [node.op.how for node in model.graph.nodes if isinstance(node.op, Fit)] == ["rounds", "rounds"]
    box = verifier.Box([0.5] * 4, [0.6] * 4)
    lower, upper = verifier.bound(model, box)
    y = model.run(np.random.default_rng(1).uniform(0.5, 0.6, (100, 4)))
    assert (lower <= y).all() and (y <= upper).all()
    assert verifier.verify(model, verifier.robustness(verifier.Ball([0.5] * 4, 1e-4), label=int(y[0].argmax()))).verdict


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "bfloat16": (lambda: nn.Linear(4, 2).bfloat16(), torch.zeros(1, 4).bfloat16(), r"bfloat16: .*module\.float\(\)"),
    "attention in half": (
        lambda: Of(lambda x: F.scaled_dot_product_attention(*(x.half(),) * 3).float()),
        torch.zeros(1, 2, 4),
        r"scaled_dot_product_attention.*how it rounds to 16 bits",
    ),
    "tokens": (lambda: nn.Embedding(9, 2), torch.zeros(1, 4).long(), "type int64: .*into the module, as a buffer"),
    "two types": (Several, (torch.zeros(1, 3), torch.zeros(1, 2, 2).double()), "the same batch size, type and device"),
    "an input missing": (Several, torch.zeros(1, 3), r"missing .*give an example of each .*load\(module, \(a, b\)\)"),
    "an input too many": (lambda: nn.Linear(4, 2), (torch.zeros(1, 4),) * 2, r"positional arg.*give what its forward"),
    "its type": (lambda: nn.Linear(4, 2).double(), torch.zeros(1, 4), r"dtype.*module\.float\(\)"),
    "its shape": (lambda: nn.Conv2d(3, 2, 3), torch.zeros(1, 4), r"example of a shape that it takes, \[B, \.\.\.\]"),
    "no numbers": (lambda: nn.Linear(4, 2, device="meta"), torch.zeros(1, 4), "on the device meta.*load them first"),
    "no forward": (lambda: nn.Module(), torch.zeros(1, 4), "give it a forward"),
    "a branch": (
        lambda: Of(lambda x: x if x.sum() > 0 else -x),
        torch.zeros(1, 4),
        r"cannot trace it at test_torch_export\.py:\d+: .*depends on the input.*choose with torch\.where",
    ),
    "a number": (lambda: Of(lambda x: x * float(x[0, 0])), torch.zeros(1, 4), "choose with torch.where"),
    "an assertion": (lambda: Of(asserted), torch.zeros(1, 4), "leave out asserts"),
    "numpy": (lambda: Of(lambda x: torch.from_numpy(x.numpy() * 2)), torch.zeros(1, 4), "torch's own functions"),
    "the user's error": (lambda: Of(lambda x: x.nothing), torch.zeros(1, 4), "fails on the example: .*no attribute"),
    "counting": (lambda: Counting(), torch.zeros(1, 4), "change from one call to the next"),
    "drawing": (lambda: Of(lambda x: x * python_random.random()), torch.zeros(1, 4), "change from one call to the nex"),
    "dropping always": (
        lambda: Of(lambda x: F.dropout(x, 0.5, training=True)), torch.zeros(1, 4), r"as dropout does.*eval\(\)",
    ),
    "the batch's statistics": (
        lambda: nn.BatchNorm1d(4, track_running_stats=False), torch.zeros(2, 4), r"statistics of the batch.*eval\(\)",
    ),
    "places of values": (
        lambda: Of(lambda x: x.gather(1, x.argmax(1, keepdim=True))), torch.zeros(1, 4), "come from depends on the inp",
    ),
    "sums of places": (lambda: Of(lambda x: x.argmax(1, keepdim=True) + 1), torch.zeros(1, 4), "has type int64"),
    "many in order": (lambda: Of(lambda x: x.sort(-1)[0]), torch.zeros(1, 99), "orders 99 entries.*at most 64"),
    "which are largest": (lambda: Of(lambda x: x.topk(2)[1].float()), torch.zeros(1, 4), "result 1 of aten.topk"),
}  # fmt: skip


def asserted(x: Tensor) -> Tensor:
    assert (x > -100).all()
    return x


class Counting(nn.Module):
    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x + self.n


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_advice(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, example, message = REFUSED[name]
    module = make()
    with pytest.raises(ModelError, match=message) as caught:
        load_torch(module, example)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # the tracer's own talk would stand beside our one line


def test_an_example_is_asked_for() -> None:
    with pytest.raises(ModelError, match=r"Linear: .*load\(module, example\)"):
        verifier.load(nn.Linear(4, 2))
