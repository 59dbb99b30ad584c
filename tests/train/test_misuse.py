"""What a user's own training loop can get wrong is right, or refused in one line."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.train.bounds import interval
from verifier.train.data import Data
from verifier.train.evaluate import lifeless
from verifier.train.loop import fit
from verifier.train.method import box
from verifier.train.methods.adversarial import Mixed
from verifier.train.methods.crown_ibp import CROWNIBP
from verifier.train.methods.ibp import IBP
from verifier.train.methods.mtl_ibp import MTLIBP
from verifier.train.model import Trainable
from verifier.train.recipe import parse
from verifier.values.errors import ModelError, UserError

X = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 3, (8,), generator=torch.Generator().manual_seed(1))


def small(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), *more, nn.Linear(6, 3))


@pytest.fixture
def net() -> Trainable:
    return Trainable(small(nn.BatchNorm1d(6)), X[:1])


def test_a_box_is_cut_where_the_caller_says_so() -> None:
    lower, upper = box(X, 0.3)
    assert torch.equal(lower, X - 0.3) and torch.equal(upper, X + 0.3) and bool((lower < 0).any())
    lower, upper = box(X, 0.3, domain=(0, 1))
    assert torch.equal(lower, (X - 0.3).clamp(min=0)) and torch.equal(upper, (X + 0.3).clamp(max=1))


def test_a_box_of_images_that_the_loader_has_normalised() -> None:
    images = torch.rand(4, 3, 5, 5)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).reshape(3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).reshape(3, 1, 1)
    x, ends = (images - mean) / std, ((0 - mean) / std, (1 - mean) / std)
    lower, upper = box(x, 0.1 / std, ends)
    for a, b in zip((lower, upper), box(images, 0.1, (0, 1)), strict=True):
        torch.testing.assert_close(a, (b - mean) / std)
    assert bool(((lower <= x) & (x <= upper)).all())
    with pytest.raises(UserError, match="is not within the domain"):
        box(x, 0.1, (0, 1))


@pytest.mark.parametrize("eps", [-0.1, float("nan"), torch.tensor([0.1, -0.1, 0.1])])
def test_a_radius_that_is_none_is_refused(eps: float | Tensor) -> None:
    with pytest.raises(UserError, match="not negative"):
        box(X, eps)


@pytest.mark.parametrize(
    "ends",
    [
        lambda: ((2 * X - 1 - 0.1).clamp(0, 1), (2 * X - 1 + 0.1).clamp(0, 1)),  # x normalised, boxes not
        lambda: (2 * X - 0.9, 2 * X - 1.1),
        lambda: (X * float("nan"), X + 0.1),
        lambda: (X - 0.1, X * float("nan")),
    ],
)
def test_boxes_that_do_not_hold_their_points_are_refused(net: Trainable, ends: Callable[[], tuple]) -> None:
    x = X if "nan" in str(ends()) else 2 * X - 1
    for method in (IBP(), MTLIBP()):
        with pytest.raises(UserError, match="of x is not in its box"):
            method.loss(net, x, Y, *ends())


def test_shapes_and_classes_that_do_not_fit_are_refused(net: Trainable) -> None:
    lower, upper = box(X, 0.1)
    with pytest.raises(UserError, match=r"classes are from 1 to 3; the network has 3, counted from 0"):
        IBP().loss(net, X, torch.arange(8) % 3 + 1, lower, upper)
    with pytest.raises(UserError, match="classes are from -1"):
        IBP().loss(net, X, torch.arange(8) % 3 - 1, lower, upper)
    for x, y, l in ((X, Y, lower[:1]), (X, Y.double(), lower), (X, Y[:4], lower)):
        with pytest.raises(UserError, match="give all of one shape"):
            IBP().loss(net, x, y, l, upper)


def test_labels_from_one_are_said_in_data() -> None:
    x, y = np.random.default_rng(0).random((20, 6)).astype(np.float32), np.arange(20) % 3
    Data(x, y, x, y, 3).check()
    with pytest.raises(UserError, match="counted from 0; subtract 1"):
        Data(x, y + 1, x, y + 1, 4).check()
    with pytest.raises(UserError, match="from 1 to 3, but there are 3 classes, from 0 on"):
        Data(x, y + 1, x, y + 1, 3).check()


def test_a_loss_that_changes_on_the_way_needs_to_know_how_far_it_is(net: Trainable) -> None:
    ends = box(X, 0.1)
    with pytest.raises(UserError, match="give progress"):
        CROWNIBP().loss(net, X, Y, *ends)
    early, late = (CROWNIBP().loss(net, X, Y, *ends, progress=p).robust for p in (0.0, 1.0))
    assert bool((early < late).any())
    torch.testing.assert_close(late, IBP().loss(net, X, Y, *ends).robust)
    CROWNIBP(beta_end=1.0).loss(net, X, Y, *ends)
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match="progress"):
            IBP().loss(net, X, Y, *ends, progress=wrong)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])  # noqa: S301
def test_a_copy_trains_its_own_module(net: Trainable, copied: Callable[[Trainable], Trainable]) -> None:
    twin = copied(net)
    assert all(p is not q for p, q in zip(net.module.parameters(), twin.module.parameters(), strict=True))
    IBP().loss(twin, X, Y, *box(X, 0.1)).robust.mean().backward()
    assert all(p.grad is not None for p in twin.module.parameters())
    assert all(p.grad is None for p in net.module.parameters())
    with torch.no_grad():
        twin.module[0].weight.mul_(3)  # type: ignore[operator]
    x = X[:2]
    torch.testing.assert_close(twin.clean(x).logits, twin.module(x))
    assert not torch.allclose(twin.clean(x).logits, net.clean(x).logits)


def _assigned(module: nn.Sequential) -> None:
    module.load_state_dict(copy.deepcopy(module.state_dict()), assign=True)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m.__setitem__(3, nn.Linear(6, 3)), r"3(\.\w+)?"),
        (lambda m: m.__setitem__(1, nn.Tanh()), "1"),
        (_assigned, r"0\.bias"),
        (lambda m: m.double(), r"2\.running_mean"),
        (lambda m: m.append(nn.ReLU()), "4"),
    ],
)
def test_a_module_that_is_no_longer_what_was_imported_is_refused(
    net: Trainable, change: Callable[[nn.Module], None], what: str
) -> None:
    change(net.module)
    with pytest.raises(ModelError, match=rf"Sequential: {what} is no longer what was imported .*make a new Trainable"):
        IBP().loss(net, X, Y, *box(X, 0.1))
    with pytest.raises(ModelError, match="no longer"):
        net.clean(X)
    own = X.to(next(net.module.parameters()).dtype)
    again = Trainable(net.module.eval(), own[:1])
    torch.testing.assert_close(again.clean(own).logits, net.module(own))


def test_what_changes_in_place_is_followed(net: Trainable) -> None:
    net.module.load_state_dict({k: v * 1.5 for k, v in net.module.state_dict().items()})
    net.module.eval()
    torch.testing.assert_close(net.clean(X).logits, net.module(X))


def test_half_precision_is_refused(net: Trainable) -> None:
    lower, upper = box(X, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ModelError, match="autocast is on"):
        IBP().loss(net, X, Y, lower, upper)
    with pytest.raises(ModelError, match="float16"):
        IBP().loss(net, X.half(), Y, lower.half(), upper.half())
    plain = Trainable(small(), X[:1])
    plain.module.double()
    with pytest.raises(ModelError, match="inputs are of float32, parameters of float64"):
        IBP().loss(plain, X, Y, lower, upper)


class Dropped(nn.Module):
    """Dropout as a function."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p, self.a, self.norm, self.b = p, nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.dropout(F.relu(self.norm(self.a(x))), self.p, self.training))


@pytest.mark.parametrize("training", [False, True])
def test_random_functions_are_refused(training: bool) -> None:
    module = Dropped().train(training)
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    with pytest.raises(ModelError, match="bernoulli_ is random in training mode"):
        Trainable(module, X[:1])
    assert module.training is training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    Trainable(Dropped(0.0), X[:1])
    with pytest.raises(ModelError, match="rrelu"):
        Trainable(small(nn.RReLU()), X[:1])


def test_eps_that_would_not_come_to_its_end_is_refused() -> None:
    with pytest.raises(UserError, match="ramp_end 20 is after the last epoch, 5"):
        parse({"schedule": {"epochs": 5, "ramp_end": 20.0}})
    parse({"schedule": {"epochs": 5, "ramp_end": 20.0, "shape": "constant"}})
    parse({"schedule": {"epochs": 5, "ramp_end": 5.0}})


def test_dead_layers_are_said(net: Trainable, tmp_path: Path) -> None:
    assert lifeless(IBP().loss(net, X, Y, *box(X, 0.1))) is None
    module = small()
    with torch.no_grad():
        module[0].bias.fill_(-100)  # type: ignore[operator]
    x, y = np.random.default_rng(0).random((40, 3)).astype(np.float32), np.arange(40) % 3
    schedule = {"eps": 0.05, "epochs": 1, "ramp_end": 0.5, "lr": 1e-6}
    recipe = parse({"schedule": schedule, "train": {"batch": 20, "stabilize": 0.0}})
    log = fit(recipe, Data(x, y, x, y, 3), module, folder=tmp_path).log
    assert "all neurons are dead" in log[0]["note"] and log[0]["dead"] == 1.0
    assert "all neurons are dead" in (tmp_path / "log.csv").read_text()


def test_what_is_attacked_is_cut_where_the_recipe_says_so() -> None:
    method = parse({"method": {"name": "mtl_ibp", "scale": 2.0}, "data": {"lower": -1.0, "upper": 2.0}}).method
    assert isinstance(method, Mixed) and (method.data_lower, method.data_upper) == (-1.0, 2.0)
    assert MTLIBP(scale=2.0).data_lower is None


def test_the_loop_of_the_guide_proves_what_attacks_do_not_break() -> None:
    """The block is run as it stands there, on inputs that the loader has normalised: the domain is the user's."""
    text = Path("docs/guide/train.md").read_text()
    block = next(b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "Trainable" in b)
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 3, 256))
    raw = torch.from_numpy(np.clip(0.5 + 0.3 * np.eye(3)[y] + 0.05 * rng.normal(size=(256, 3)), 0, 1)).float()
    x = (raw - 0.5) / 0.25
    names: dict[str, object] = {"module": small(), "x": x, "eps": 0.2, "ramp": 20}
    names["batches"] = [(x[k : k + 64], y[k : k + 64]) for k in (0, 64, 128, 192) * 10]
    with pytest.raises(UserError, match="domain"):
        exec(block, dict(names))
    exec(block.replace("domain=(0, 1)", "domain=(-2, 2)").replace("1e-3", "2e-2"), names)
    loss, net = names["loss"], names["net"]
    assert float(loss.verified.double().mean()) > 0.5  # type: ignore[attr-defined]
    lower, upper = names["boxes"]  # type: ignore[misc]
    last = x[192:]
    assert bool(((lower <= last) & (last <= upper)).all()) and float((upper - lower).mean()) > 0.3
    found = interval(net.clean(last).graph, lower, upper).output()  # type: ignore[attr-defined]
    z = net.module(lower + torch.rand_like(lower) * (upper - lower))  # type: ignore[attr-defined]
    assert bool(((found[0] <= z + 1e-4) & (z <= found[1] + 1e-4)).all())


class Two(nn.Module):
    """A network of two inputs, the second of which may be missing."""

    def __init__(self, optional: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        if optional:
            self.forward = self.of_one_or_two  # type: ignore[method-assign]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.layer(torch.cat([a, b], 1))

    def of_one_or_two(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        return self.layer(a if b is None else torch.cat([a, b], 1))


def test_several_inputs_are_refused() -> None:
    """In one line that says what to do; a second one that may be missing is none."""
    a, b = torch.zeros(1, 1), torch.zeros(1, 2)
    for optional, example, what in (
        (False, X, "its forward takes a, b"),
        (False, (a, b), "its forward takes a, b"),
        (True, (a, b), "its example is a tuple"),
        (True, {"a": a, "b": b}, "its example is a dict"),
    ):
        with pytest.raises(ModelError, match=f"Two: training needs one input tensor, and {what}; wrap it"):
            Trainable(Two(optional), example)  # type: ignore[arg-type]
    assert Trainable(Two(True), X).shape == (3,)
