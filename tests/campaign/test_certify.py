"""Certified accuracy of a data set: no point contradicts it, batches decide what `verify` decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import verifier
from tests.cli.files import ROOT, dense, outputs
from verifier.campaign.certify import Certified, certify
from verifier.executor.local import Local
from verifier.executor.tasks import Task
from verifier.run.certification import attack, ladder, rungs, single
from verifier.run.certification.points import RUNGS, ImageBatch, Status, batch
from verifier.run.certification.question import posed
from verifier.run.certification.setting import Setting
from verifier.search.outcome import Outcome

FC, CONV = str(ROOT / "models/digits_fc.onnx"), str(ROOT / "models/digits_conv.onnx")
inf = float("inf")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Sixty images of those the models were not trained on."""
    raw = load_digits()
    return (raw.images.astype(np.float32) / np.float32(16))[::5][:60], raw.target[::5][:60]


def statuses(r: Certified) -> list[str]:
    return [str(p.status) for p in r.points]


def inside(x: np.ndarray, z: np.ndarray, eps: float, norm: float) -> bool:
    """Whether z is in the ball about x, exactly."""
    away = [abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(x.reshape(-1), z, strict=True)]
    if norm == inf:
        return max(away) <= Fraction(eps)
    return sum(a**norm for a in away) <= Fraction(eps) ** int(norm)


def near(x: np.ndarray, eps: float, norm: float, rng: np.random.Generator, count: int) -> np.ndarray:
    """Points `[count, n]` of the ball in [0, 1], most of them on its edge."""
    way = rng.standard_normal((count, x.size))
    if norm == inf:
        way = np.where(rng.random((count, 1)) < 0.7, np.sign(way), rng.uniform(-1, 1, way.shape))
    elif norm == 1:
        way *= rng.random(way.shape) < 0.05
    size = np.linalg.norm(way, norm, axis=1, keepdims=True)
    return np.clip(x.reshape(-1) + eps * way / np.maximum(size, 1e-12), 0, 1)


@pytest.mark.parametrize("model", [FC, CONV])
@pytest.mark.parametrize(("norm", "eps"), [(inf, 0.02), (inf, 0.06), (2, 0.15), (1, 0.3)])
def test_no_point_contradicts(digits: Any, model: str, norm: float, eps: float) -> None:
    x, y = digits[0][:20], digits[1][:20]
    r = certify(model, x, y, eps, norm=norm, lo=0, hi=1, timeout=3)
    net, rng = verifier.load(model), np.random.default_rng(0)
    for p in r.points:
        image = x[p.index].astype(np.float64)
        clean = net.run(image.reshape(1, -1))[0]
        assert p.label == y[p.index] and p.predicted == clean.argmax() and p.seconds >= 0
        assert (p.status is Status.INCORRECT) == (p.predicted != p.label)
        assert (p.witness is not None) == (p.status is Status.ATTACKED)
        if p.status.certified:
            out = net.run(near(image, eps, norm, rng, 300))
            assert (out.argmax(1) == p.label).all()
        if p.witness is not None:
            assert inside(image, p.witness, eps, norm) and p.witness.min() >= 0 and p.witness.max() <= 1
            assert (p.witness.astype(np.float32) == p.witness).all()
            out = np.array(outputs(model, p.witness.tolist()))
            assert np.delete(out, p.label).max() >= out[p.label]
    assert {p.status for p in r.points} & set(RUNGS)


@pytest.mark.parametrize("model", [FC, CONV])
def test_verdicts_are_those_of_verify(digits: Any, model: str) -> None:
    x, y = digits
    r = certify(model, x, y, 0.08, lo=0, hi=1, timeout=20, indices=range(14, 30))
    for p in r.points:
        ball = verifier.Ball(x[p.index], 0.08, lo=0, hi=1)
        verdict = verifier.verify(model, verifier.robustness(ball, p.label), timeout=20).verdict
        assert (verdict == "unsat") == p.status.certified and (verdict == "sat") == (
            p.status in (Status.ATTACKED, Status.INCORRECT)
        )
    assert r.count(Status.ATTACKED) and r.count(*RUNGS)


@pytest.mark.parametrize("norm", [inf, 2, 1])
@pytest.mark.parametrize("model", [FC, CONV])
def test_bounds_lie_below_what_is_met(digits: Any, model: str, norm: float) -> None:
    s, x, y = posed(model, *digits, norm, 0, 1, "cpu")
    b = batch(np.arange(8), x, y, np.linspace(0.01, 0.1, 8))
    least = [f(s, b).least for f in (rungs.interval, rungs.linear)]
    least.append(np.concatenate([rungs.crown(s, b.take(slice(k, k + 1))).least for k in range(8)]))
    least.append(rungs.crown(s, b).least)
    np.testing.assert_allclose(least[3], least[2], rtol=1e-9, atol=1e-9)  # each image on its own ball
    rng, shape = np.random.default_rng(1), s.graph.nodes[s.graph.inputs[0]].shape
    for k in range(8):
        points = near(x[k], b.eps[k], norm, rng, 500)
        points[0] = x[k]
        out = s.graph.evaluate(points.reshape(-1, *shape))[0].reshape(len(points), -1)
        met = (out[:, y[k], None] - np.delete(out, y[k], 1)).min(0)
        for bound in least:
            assert (bound[k] <= met).all()
    assert np.all(least[0] <= least[1] + 1e-12) and np.all(least[0] <= least[2] + 1e-9)
    assert (least[1] > least[0]).any() and (least[2] > least[1]).any()


def test_balls_are_bounded_many_at_once(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches through all of the cheap rungs, whatever the norm: what is left for `single` CROWN has not proved."""
    x, y = digits
    sizes: list[int] = []

    def spy(s: Setting, b: ImageBatch) -> rungs.Margins:
        sizes.append(len(b))
        return rungs.crown(s, b)

    monkeypatch.setattr(ladder, "crown", spy)
    for norm, eps in ((1, 0.5), (2, 0.25)):
        r = certify(FC, x, y, eps, norm=norm, lo=0, hi=1, timeout=3)
        assert max(sizes) > 8 and r.count(Status.CROWN)
        sizes.clear()


def test_rungs_are_nested(digits: Any) -> None:
    s, x, y = posed(CONV, *digits, inf, 0, 1, "cpu")
    b, _ = attack.predict(s, batch(np.arange(60), x, y, 0.02))
    proved = [f(s, b).proved for f in (rungs.interval, rungs.linear, rungs.crown)]
    for lower, upper in zip(proved, proved[1:], strict=False):
        assert (lower <= upper).all()
    assert 0 < proved[0].sum() < proved[1].sum()
    status = {p.index: p.status for p in certify(CONV, *digits, 0.02, lo=0, hi=1).points}
    assert all((status[i] is Status.INTERVAL) == bool(ok) for i, ok in enumerate(proved[0]) if status[i] in RUNGS)
    for i in np.flatnonzero(~proved[0] & proved[1]):
        found = rungs.crown(s, b.take(slice(i, i + 1)))
        assert single.single(s, b.take(slice(i, i + 1)), 10).status is Status.CROWN and found.proved.all()


def test_what_intervals_prove_stays_proved(tmp_path: Path) -> None:
    """A rectifier's lower line falls below zero, where intervals never do: relu(x_0) + x_1/10, x_0 from -0.6 to 1.4."""
    (tmp_path / "n.onnx").write_bytes(dense(np.eye(2), np.array([[1.0, 0.1], [0.0, 0.0]])))
    s, x, y = posed(tmp_path / "n.onnx", np.array([[0.4, 5.0]], np.float32), np.array([0]), inf, None, None, "cpu")
    b = batch(np.arange(1), x, y, 1.0)
    for bound in (rungs.interval, rungs.linear, rungs.crown):
        assert bound(s, b).least[0, 0] == pytest.approx(0.4, abs=1e-6)


def test_optimised_slopes_prove_more_than_crown(digits: Any) -> None:
    s, x, y = posed(FC, *digits, inf, 0, 1, "cpu")
    found = [single.single(s, batch(np.array([i]), x, y, 0.1), 20).status for i in range(60)]
    assert {Status.CROWN, Status.ALPHA, Status.SEARCH} <= set(found)


@pytest.mark.parametrize("model", [FC, CONV])
def test_a_ball_of_radius_zero(digits: Any, model: str) -> None:
    x, y = digits
    r = certify(model, x, y, 0.0)
    right = verifier.load(model).run(x.reshape(60, -1).astype(np.float64)).argmax(1) == y
    assert [p.status.certified for p in r.points] == right.tolist()
    assert r.natural == r.attacked == r.certified == right.mean() < 1 or right.all()


def test_images_in_another_order(digits: Any) -> None:
    x, y = digits
    order = np.random.default_rng(5).permutation(60)
    straight = statuses(certify(FC, x, y, 0.05, lo=0, hi=1))
    assert statuses(certify(FC, x[order], y[order], 0.05, lo=0, hi=1)) == [straight[i] for i in order]
    some = certify(FC, x, y, 0.05, lo=0, hi=1, indices=order[:9].tolist())
    assert [p.index for p in some.points] == order[:9].tolist()
    assert statuses(some) == [straight[i] for i in order[:9]]


def test_ties_and_nan_are_incorrect(tmp_path: Path) -> None:
    W = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    (tmp_path / "tie.onnx").write_bytes(dense(W))
    r = certify(str(tmp_path / "tie.onnx"), np.array([[0.5, 0.5]] * 3, np.float32), np.arange(3), 0.1)
    assert statuses(r) == ["incorrect"] * 3 and r.natural == r.certified == 0
    (tmp_path / "huge.onnx").write_bytes(dense(np.full((2, 2), 3e38), np.array([[1.0, 1.0], [-1.0, -1.0]])))
    r = certify(str(tmp_path / "huge.onnx"), np.array([[0.9, 0.9]], np.float32), np.array([0]), 0.05, timeout=5)
    assert statuses(r) == ["incorrect"]


@pytest.mark.parametrize("value", [np.nan, inf, -1.0])
def test_no_such_bound_proves(digits: Any, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    s, x, y = posed(FC, *digits, inf, 0, 1, "cpu")
    sure = [p.index for p in certify(FC, *digits, 0.01).points if p.status is Status.INTERVAL]
    b = batch(np.array(sure[:4]), x, y, 0.001)
    before = rungs.interval(s, b)
    assert before.proved.all()
    least = before.least.copy()
    least[1, 3] = value
    assert replace(before, least=least).proved.tolist() == [True, value > 0, True, True]
    monkeypatch.setattr(rungs, "rows_interval", lambda *_: np.full((4, 9), value))
    assert not rungs.interval(s, b).proved.any()


def breaking(of: Any, which: int, error: BaseException) -> Any:
    """A bound that fails on one image."""

    def bound(s: Any, b: Any, *more: Any) -> Any:
        if which in b.index:
            raise error
        return of(s, b, *more)

    return bound


@pytest.mark.parametrize(
    ("error", "rung"), [(ValueError("bad\nnews"), "linear"), (verifier.UnsoundBound("lower above upper"), "interval")]
)
def test_what_breaks_costs_one_image(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, rung: str
) -> None:
    x, y = digits
    db = tmp_path / "r.sqlite"
    plain = statuses(certify(FC, x, y, 0.03, lo=0, hi=1))
    broken = next(i for i, status in enumerate(plain) if status == "certified-crown")
    with monkeypatch.context() as m:
        m.setattr(ladder, rung, breaking(getattr(ladder, rung), broken, error))
        r = certify(FC, x, y, 0.03, lo=0, hi=1, db=db)
    assert [p.index for p in r.points if p.status is Status.ERROR] == [broken]
    assert type(error).__name__ in r.points[broken].reason and "\n" not in r.points[broken].reason
    assert [s for i, s in enumerate(statuses(r)) if i != broken] == [s for i, s in enumerate(plain) if i != broken]
    assert r.certified == sum(s.startswith("certified") for s in plain) / 60 - 1 / 60
    assert r.attacked == certify(FC, x, y, 0.03, lo=0, hi=1).attacked  # nothing was found against it
    again = certify(FC, x, y, 0.03, lo=0, hi=1, db=db)  # an error is no result
    assert statuses(again) == plain and again.resumed == 59


def test_where_memory_is_short(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def bound(s: Any, b: Any, *more: Any) -> Any:
        if len(b) > 3:
            raise MemoryError
        return interval(s, b)

    interval = ladder.interval
    monkeypatch.setattr(ladder, "interval", bound)
    assert certify(FC, *digits, 0.0).certified > 0.9


def test_an_error_while_searching(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: Any) -> Any:
        raise RuntimeError("gone")

    monkeypatch.setattr(single, "make_query", make)
    r = certify(FC, *digits, 0.07, lo=0, hi=1)
    errors = [p for p in r.points if p.status is Status.ERROR]
    assert errors and not r.count(Status.SEARCH) and {p.reason for p in errors} == {"RuntimeError: gone"}


def test_what_counts_as_proved() -> None:
    assert {s for s in Status if s.certified} == set(RUNGS) == {s for s in Status if str(s).startswith("certified-")}


@pytest.mark.parametrize("verdict", ["timeout", "unknown"])
def test_a_search_without_an_answer_proves_nothing(digits: Any, monkeypatch: pytest.MonkeyPatch, verdict: str) -> None:
    plain = certify(FC, *digits, 0.1, lo=0, hi=1)
    monkeypatch.setattr(single, "decide", lambda *_, **__: Outcome(verifier.Verdict(verdict)))
    r = certify(FC, *digits, 0.1, lo=0, hi=1)
    searched = [p.index for p in plain.points if p.status is Status.SEARCH]
    assert searched and {r.points[i].status for i in searched} == {Status.UNKNOWN} and not r.count(Status.SEARCH)


def test_boxes_hold_their_balls_and_little_more(digits: Any) -> None:
    s, x, y = posed(FC, *digits, inf, 0, 1, "cpu")
    b = batch(np.arange(4), x, y, np.array([0.0, 0.1, 1 / 3, 1e-9]))
    lower, upper = s.box(b)
    assert (lower[0] == x[0]).all() and (upper[0] == x[0]).all() and lower.min() >= 0 and upper.max() <= 1
    for k in range(4):
        eps = Fraction(float(b.eps[k]))
        for c, low, up in zip(x[k].tolist(), lower[k].tolist(), upper[k].tolist(), strict=True):
            least, most = max(Fraction(c) - eps, Fraction(0)), min(Fraction(c) + eps, Fraction(1))
            assert least - Fraction(1e-15) <= Fraction(low) <= least and most <= Fraction(up) <= most + Fraction(1e-15)


def test_out_of_time(digits: Any) -> None:
    r = certify(FC, *digits, 0.07, lo=0, hi=1, timeout=0)
    assert r.count(Status.UNKNOWN) and not r.count(Status.SEARCH, Status.ALPHA)
    assert all("out of time" in p.reason for p in r.points if p.status is Status.UNKNOWN)
    assert r.certified + r.count(Status.UNKNOWN) / 60 == pytest.approx(r.attacked)
    assert r.certified <= r.attacked <= r.natural


def test_several_jobs_find_the_same(digits: Any) -> None:
    r = certify(FC, *digits, 0.07, lo=0, hi=1, timeout=30, jobs=2)
    assert statuses(r) == statuses(certify(FC, *digits, 0.07, lo=0, hi=1, timeout=30))
    hits = [p for p in r.points if p.witness is not None]
    assert hits and all(inside(digits[0][p.index], p.witness, 0.07, inf) for p in hits if p.witness is not None)


def test_a_job_that_dies_costs_one_image(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, dead = Local.submit, []

    def submitted(self: Local, task: Task) -> None:
        if not dead:
            dead.append(task.request["index"])
            task = replace(task, memory=1000)
        submit(self, task)

    monkeypatch.setattr(Local, "submit", submitted)
    r = certify(FC, *digits, 0.07, lo=0, hi=1, timeout=30, jobs=2)
    assert [p.index for p in r.points if p.status is Status.ERROR] == dead


def test_modules(digits: Any) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    x, y = digits
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    label = net(torch.from_numpy(x)).argmax(1).numpy()
    r = certify(net, torch.from_numpy(x), torch.from_numpy(label), 0.01)
    assert r.natural == 1 and r.certified > 0.2
    with pytest.raises(verifier.UserError, match="several jobs need an ONNX file"):
        certify(net, x, y, 0.01, jobs=2)


def test_a_model_with_channels_last(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    W = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "W"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 2, 2, 3]), ("y", [1, 3]))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(W, "W")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "last.onnx")
    x = np.random.default_rng(1).random((20, 3, 2, 2)).astype(np.float32)
    label = (x.transpose(0, 2, 3, 1).reshape(20, 12) @ W).argmax(1)
    assert certify(tmp_path / "last.onnx", x, label, 0.0).natural == 1


def test_progress(digits: Any) -> None:
    seen: list[Any] = []
    r = certify(FC, *digits, 0.05, lo=0, hi=1, watch=lambda s: seen.append((s.done, s.total, sum(s.counts.values()))))
    assert seen[0] == (0, 60, 0) and seen[-1] == (60, 60, 60) and len(seen) > 3
    assert [a for a, _, _ in seen] == sorted(a for a, _, _ in seen) == [c for _, _, c in seen]
    assert r.by(Status.INTERVAL) <= r.by(Status.CROWN) <= r.by(Status.ALPHA) <= r.by(Status.SEARCH) == r.certified


def bad(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """What is wrong, and how it is said."""
    yield "eps -1", (FC, x, y, -1.0), {}
    yield "eps nan", (FC, x, y, np.nan), {}
    yield "norm 3", (FC, x, y, 0.1), {"norm": 3}
    yield "timeout", (FC, x, y, 0.1), {"timeout": -1}
    yield "jobs 0", (FC, x, y, 0.1), {"jobs": 0}
    yield "device", (FC, x, y, 0.1), {"device": "tpu"}
    yield "images of shape", (FC, x[:, :4], y, 0.1), {}
    yield "one whole number for each", (FC, x, y[:5], 0.1), {}
    yield "one whole number for each", (FC, x, y * 1.5, 0.1), {}
    yield "at least one", (FC, x[:0], y[:0], 0.1), {}
    yield "classes 0 to 10", (FC, x, y + np.eye(1, 60, 3, int)[0] * (10 - y[3]), 0.1), {}
    yield "image 0: beyond", (FC, x, y, 0.1), {"lo": 0.5}
    yield "image 60", (FC, x, y, 0.1), {"indices": [3, 60]}
    yield "named twice", (FC, x, y, 0.1), {"indices": [3, 3]}
    yield "no such file", ("none.onnx", x, y, 0.1), {}
    yield "lo has 2 entries", (FC, x, y, 0.1), {"lo": [0, 0]}
    broken = x.copy()
    broken[7, 2, 2] = np.nan
    yield "image 7: an entry", (FC, broken, y, 0.1), {}


def test_bad_input_is_refused_in_one_line(digits: Any) -> None:
    for said, given, how in bad(*digits):
        with pytest.raises(verifier.UserError, match=said) as e:
            certify(*given, **how)
        assert "\n" not in str(e.value)


def test_one_output_is_no_classifier(tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(dense(np.ones((1, 2))))
    with pytest.raises(verifier.UserError, match="one output"):
        certify(tmp_path / "one.onnx", np.zeros((1, 2)), np.zeros(1, int), 0.1)
