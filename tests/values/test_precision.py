"""Bounds on a device count on all the bits of float32, whatever the program around has allowed torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import verifier
from tests.device import device
from verifier.run import bound as bounds
from verifier.run import strategy
from verifier.values import precision
from verifier.values.arrays import Place
from verifier.values.errors import UserError
from verifier.values.precision import full_precision

HERE = Place("torch", "float32")
LEAVES = [(b, o) for b in ("cuda", "mkldnn") for o in ("matmul", "conv")]
KEYS = [("generic", "all"), ("cuda", "all"), ("cuda", "rnn"), ("mkldnn", "all"), *LEAVES]


def now() -> dict[Any, Any]:
    """Torch's settings, as it tells them."""
    told: dict[Any, Any] = {k: torch._C._get_fp32_precision_getter(*k) for k in KEYS}
    return told | {"cudnn": torch.backends.cudnn.enabled, "nnpack": torch._C._get_nnpack_enabled()}


def is_full() -> bool:
    seen = now()
    return all(seen[k] == "ieee" for k in LEAVES) and not seen["cudnn"] and not seen["nnpack"]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = now()
    yield
    torch.backends.cudnn.allow_tf32 = True  # (what it is without being set)
    for k, v in before.items():
        if isinstance(k, tuple):
            torch._C._set_fp32_precision_setter(*k, v)
    torch.backends.cudnn.enabled = before["cudnn"]
    torch.backends.nnpack.set_flags(before["nnpack"])


def ten_bits(a: torch.Tensor) -> torch.Tensor:
    """Float32 as TF32 keeps it."""
    return ((a.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) if a.dtype == torch.float32 else a


@pytest.fixture
def tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions as a GPU computes them: with few bits where torch's settings allow it."""

    def like(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def few(a: torch.Tensor, w: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
            allowed = torch.backends.cudnn.enabled and torch.backends.cudnn.conv.fp32_precision != "ieee"
            return f(ten_bits(a), ten_bits(w), *more, **named) if allowed else f(a, w, *more, **named)

        return few

    for name in ("conv2d", "conv_transpose2d"):
        monkeypatch.setattr(F, name, like(getattr(F, name)))
    monkeypatch.setattr(strategy, "place_on", lambda device, dtype: Place("torch", dtype))
    monkeypatch.setattr(bounds, "place_on", lambda device, dtype: Place("torch", dtype))


@cache
def convolution(seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A convolution, a point, and its value there in double precision."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(75, 2)).double()
    x = torch.rand(1, 2, 5, 5, dtype=torch.float64)
    return verifier.load(module, x), x.numpy().reshape(-1), module(x).detach().numpy()[0]


def missed(seed: int) -> bool:
    net, x, y = convolution(seed)
    lower, upper = verifier.bound(net, verifier.Box(x, x), "crown", dtype="float32")
    return not ((lower <= y) & (y <= upper)).all()


@pytest.mark.usefixtures("tensor_cores")
def test_bounds_hold_where_convolutions_may_be_rounded_to_ten_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(missed(seed) for seed in range(3))
    monkeypatch.setattr(bounds, "full_precision", nullcontext)
    assert all(missed(seed) for seed in range(3))  # without the guard: the emulation is one


@pytest.mark.usefixtures("tensor_cores")
def test_no_counterexample_is_refuted_by_few_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Flatten()).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(3)[1:2].T @ torch.eye(3)[1:2] * (1 + 2.0**-12))  # type: ignore[operator]
        module[0].bias.fill_(-1 - 2.0**-13)  # type: ignore[operator]
    net = verifier.load(module, torch.zeros(1, 1, 4, 4, dtype=torch.float64))
    asked = tmp_path / "q.vnnlib"
    lines = [f"(declare-const {v}_{i} Real)" for v in "XY" for i in range(16)]
    lines += [f"(assert (>= X_{i} 0)) (assert (<= X_{i} {int(i == 0)}))" for i in range(16)]
    asked.write_text("\n".join([*lines, "(assert (>= Y_0 0.0001))"]))
    monkeypatch.setattr("verifier.run.verify.attack", lambda *_: None)
    assert verifier.verify(net, asked, timeout=20).verdict == "sat"
    monkeypatch.setattr("verifier.run.verify.full_precision", nullcontext)
    assert verifier.verify(net, asked, timeout=20).verdict == "unsat"


@pytest.mark.parametrize(
    "allow",
    [
        lambda: None,
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
        lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),  # type: ignore[attr-defined]
        lambda: setattr(torch.backends.cudnn, "enabled", False),
    ],
)
def test_settings_are_full_inside_and_the_callers_afterwards(allow: Callable[[], None]) -> None:
    allow()
    before = now()
    with full_precision(HERE):
        assert is_full()
        with full_precision(HERE):
            assert is_full()
        assert is_full()
    assert now() == before
    with pytest.raises(ZeroDivisionError), full_precision(HERE):
        raise ZeroDivisionError
    assert now() == before


def test_what_was_inherited_is_inherited_again() -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    with full_precision(HERE):
        pass
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    assert all(now()[k] == "ieee" for k in LEAVES)


def test_numpy_needs_no_torch_and_changes_nothing() -> None:
    before = now()
    with full_precision(Place("numpy", "float32")):
        assert now() == before


def test_autocast_is_off_inside() -> None:
    x = torch.full((8, 8), 1 + 2.0**-20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ torch.eye(8)).dtype == torch.bfloat16
        with full_precision(HERE):
            assert torch.equal(x @ torch.eye(8), x)
        assert (x @ torch.eye(8)).dtype == torch.bfloat16


def test_threads_that_overlap_keep_each_other_full() -> None:
    before, seen = now(), []
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with full_precision(HERE):
            inside.set()
            leave.wait(20)
            seen.append(is_full())

    thread = threading.Thread(target=other)
    with full_precision(HERE):
        thread.start()
        assert inside.wait(20)
    assert is_full()  # the other one is still inside
    leave.set()
    thread.join()
    assert seen == [True] and now() == before


def test_a_setting_that_changes_meanwhile_costs_the_result() -> None:
    for again in (False, True):
        with pytest.raises(UserError, match="precision was changed"), full_precision(HERE):
            torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
            if again:  # somebody else needs full precision, and sets it
                with pytest.raises(UserError, match="precision was changed"), full_precision(HERE):
                    pass
        torch.backends.cudnn.conv.fp32_precision = "none"  # type: ignore[attr-defined]


def test_a_device_that_rounds_all_the_same_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, before = F.conv2d, now()
    monkeypatch.setattr(F, "conv2d", lambda a, w, **named: plain(ten_bits(a), w, **named))
    with pytest.raises(UserError, match="too few bits"), full_precision(HERE):
        pytest.fail("it was let in")
    assert now() == before


def test_variables_that_change_the_arithmetic_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with full_precision(HERE):
        pass  # of GPUs alone
    with (
        device(),
        pytest.raises(UserError, match="NVIDIA_TF32_OVERRIDE"),
        full_precision(Place("torch", device="cuda")),
    ):
        pytest.fail("it was let in")


def test_older_torch_has_two_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_float32_matmul_precision("high")
    monkeypatch.delattr(type(torch.backends.cudnn), "conv")
    assert len(precision._settings()) == 4
    with full_precision(HERE):
        assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32


def test_auto_is_the_processor() -> None:
    graph = verifier.load("models/digits_conv.onnx").graph
    with device():
        assert strategy.choose(graph, 1, "auto").place == Place("numpy", "float32")
        assert strategy.choose(graph, 1, "cuda").place == Place("torch", "float32", "cuda")
