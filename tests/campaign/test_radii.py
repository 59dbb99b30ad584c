"""Certified radii: what is reported was proved, and lies below every counterexample."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import verifier
from tests.cli.files import ROOT, dense
from verifier.campaign import radii
from verifier.campaign.radii import distance
from verifier.executor.tasks import Here
from verifier.run.certification import ladder, single
from verifier.run.certification.points import Status
from verifier.run.certification.single import Fate

FC = str(ROOT / "models/digits_fc.onnx")
inf = float("inf")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    raw = load_digits()
    return (raw.images.astype(np.float32) / np.float32(16))[::5][:60], raw.target[::5][:60]


def test_what_is_reported_was_proved(digits: Any, tmp_path: Path) -> None:
    x, y = digits
    found = verifier.radii(FC, x, y, 0.06, lo=0, hi=1, timeout=20, indices=[1, *range(18, 26)], db=tmp_path / "r")
    assert [r.index for r in found] == [1, *range(18, 26)] and any(r.proved == 0.06 for r in found)
    net = verifier.load(FC)
    for r in found:
        assert 0 <= r.proved < r.attacked and (r.by is None) == (r.proved == 0)
        if r.proved:
            ball = verifier.Ball(x[r.index], r.proved, lo=0, hi=1)
            assert verifier.verify(net, verifier.robustness(ball, r.label), timeout=20).verdict == "unsat"
        if r.proved < 0.06 and r.predicted == r.label:
            assert r.attacked - r.proved <= 0.0006 and not r.reason
        if r.witness is not None and r.predicted == r.label:
            image = x[r.index].reshape(-1).astype(float).tolist()
            away = max(abs(Fraction(a) - Fraction(b)) for a, b in zip(image, r.witness.tolist(), strict=True))
            assert away <= Fraction(r.attacked) and net.run(r.witness[None])[0].argmax() != r.label
    wrong = [r for r in found if r.predicted != r.label]
    assert wrong and all(r.proved == 0 and r.attacked == inf and r.trials == 1 and r.reason for r in wrong)


def test_a_linear_classifier_is_measured_exactly(tmp_path: Path) -> None:
    W = np.array([[2.0, 1.0], [0.0, 0.0]])
    (tmp_path / "n.onnx").write_bytes(dense(W))
    x = np.array([[0.3, 0.3]], np.float32)
    for norm, dual in ((inf, 3.0), (2, 5**0.5), (1, 2.0)):
        (r,) = verifier.radii(tmp_path / "n.onnx", x, [0], 2.0, norm=norm, tolerance=1e-4)
        exact = 3 * float(x[0, 0]) / dual
        assert exact - 1e-4 <= r.proved < exact <= r.attacked <= exact + 1e-4 and r.by is Status.INTERVAL or norm != inf


def test_bisection_goes_on_where_it_stopped(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"lo": 0, "hi": 1, "timeout": 20, "indices": [19, 20, 22]}
    plain = verifier.radii(FC, *digits, 0.1, **how)
    add, left = single.single, [2]

    def stopped(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return add(*given)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(single, "single", stopped)
        verifier.radii(FC, *digits, 0.1, db=tmp_path / "r", **how)
    again = verifier.radii(FC, *digits, 0.1, db=tmp_path / "r", **how)
    assert [(r.proved, r.by, r.attacked, r.trials) for r in again] == [
        (r.proved, r.by, r.attacked, r.trials) for r in plain
    ]
    with monkeypatch.context() as m:
        m.setattr(ladder.attacks, "predict", lambda *_: pytest.fail("tried again"))
        assert verifier.radii(FC, *digits, 0.1, db=tmp_path / "r", **how)[0].trials == plain[0].trials
    finer = verifier.radii(FC, *digits, 0.1, db=tmp_path / "r", tolerance=2e-4, **how)
    assert all(a.proved <= b.proved < b.attacked <= a.attacked for a, b in zip(again, finer, strict=True))


def test_out_of_time_is_neither_proved_nor_attacked(digits: Any) -> None:
    found = verifier.radii(FC, *digits, 0.2, lo=0, hi=1, timeout=0, indices=range(2, 8))
    exact = verifier.radii(FC, *digits, 0.2, lo=0, hi=1, timeout=20, indices=range(2, 8))
    for r, e in zip(found, exact, strict=True):
        assert 0 < r.proved <= e.attacked and r.attacked > e.proved
    assert any("out of time" in r.reason for r in found)


@pytest.mark.parametrize("norm", [inf, 2, 1])
def test_distances_are_rounded_up(norm: float) -> None:
    rng = np.random.default_rng(0)
    for n in (1, 3, 64):
        for _ in range(50):
            x, z = rng.random((2, n)).astype(np.float32).astype(np.float64)
            away = [abs(Fraction(a) - Fraction(b)) for a, b in zip(x.tolist(), z.tolist(), strict=True)]
            d = distance(x, z, norm)
            exact = max(away) if norm == inf else sum(a ** int(norm) for a in away)
            assert Fraction(d) ** (2 if norm == 2 else 1) >= exact
            assert d <= np.linalg.norm(x - z, norm) * (1 + 1e-12) + 1e-300


@pytest.mark.parametrize(("most", "tolerance"), [(0.0, None), (0.1, 0.0), (0.1, -1.0), (0.1, np.nan)])
def test_bad_numbers(digits: Any, most: float, tolerance: float | None) -> None:
    with pytest.raises(verifier.UserError, match="above 0"):
        verifier.radii(FC, *digits, most, tolerance=tolerance)


@pytest.mark.parametrize("norm", [inf, 2, 1])
@pytest.mark.parametrize("most", [5e-324, 1e-200, 1e160, 1e300])
def test_radii_of_any_size(digits: Any, most: float, norm: float) -> None:
    (found,) = verifier.radii(FC, digits[0][:1], digits[1][:1], most, norm=norm, timeout=0.5)
    assert found.proved == most if most < 1 else found.proved < found.attacked
    assert "Error" not in found.reason


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_timeout_is_of_an_image_not_of_a_trial(jobs: int, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial gets a share of what is left, and all together no more than the image has."""
    x, y = digits
    given: list[tuple[int, float]] = []
    if jobs == 1:

        def slow(s: Any, b: Any, timeout: float) -> Fate:
            given.append((int(b.index[0]), timeout))
            time.sleep(min(timeout, 0.3))
            return Fate(Status.UNKNOWN, "out of time")

        monkeypatch.setattr(single, "single", slow)
    else:

        def answer(asked: Any, send: Any) -> None:
            given.append((asked["index"], asked["timeout"]))
            time.sleep(min(asked["timeout"], 0.3))
            send({"result": {"status": Status.UNKNOWN, "reason": "out of time", "witness": None}})

        monkeypatch.setattr(radii, "executor", lambda *_: Here(answer))
    found = verifier.radii(FC, x, y, 0.06, lo=0, hi=1, timeout=1.0, indices=range(18, 24), jobs=jobs)
    assert len({i for i, _ in given}) >= 2
    for r in found:
        some = [t for i, t in given if i == r.index]
        assert len(some) < 2 or some[0] < 0.5  # the first one does not take it all
        assert sum(min(t, 0.3) for t in some) <= 1.0 + 1e-6 and r.trials >= len(some)
