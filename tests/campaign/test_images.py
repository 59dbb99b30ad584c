"""The file of results of `certify`: nothing is lost or done twice, and another question is refused."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import verifier
from tests.cli.files import ROOT, dense
from verifier.campaign.certify import Certified, certify
from verifier.campaign.images import Kept
from verifier.campaign.store import Store
from verifier.run.certification import ladder
from verifier.run.certification.points import Point, Status
from verifier.run.certification.question import digest_graph

FC, CONV = str(ROOT / "models/digits_fc.onnx"), str(ROOT / "models/digits_conv.onnx")
inf = float("inf")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Sixty images of those the models were not trained on."""
    raw = load_digits()
    return (raw.images.astype(np.float32) / np.float32(16))[::5][:60], raw.target[::5][:60]


def statuses(r: Certified) -> list[str]:
    return [str(p.status) for p in r.points]


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which images are begun."""
    begun: list[int] = []
    predict = ladder.attacks.predict

    def told(s: Any, b: Any) -> Any:
        begun.extend(b.index.tolist())
        return predict(s, b)

    monkeypatch.setattr(ladder.attacks, "predict", told)
    return begun


def test_nothing_is_done_twice(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = digits
    begun, db = counting(monkeypatch), tmp_path / "r.sqlite"
    first = certify(FC, x, y, 0.05, lo=0, hi=1, indices=range(10, 40), db=db)
    assert sorted(begun) == list(range(10, 40)) and first.resumed == 0
    whole = certify(FC, x, y, 0.05, lo=0, hi=1, db=db)
    assert sorted(begun) == list(range(60)) and whole.resumed == 30
    assert [vars(p) for p in whole.points[10:40]] == [vars(p) | {"witness": w} for p, w in zip(
        first.points, (p.witness for p in whole.points[10:40]), strict=True)]  # fmt: skip
    for a, b in zip(first.points, whole.points[10:40], strict=True):
        assert (a.witness is None) == (b.witness is None) and (a.witness is None or (a.witness == b.witness).all())
    assert statuses(whole) == statuses(certify(FC, x, y, 0.05, lo=0, hi=1))


def test_more_time_for_what_is_unknown(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "r.sqlite"
    first = certify(FC, *digits, 0.07, lo=0, hi=1, timeout=0, db=db)
    begun = counting(monkeypatch)
    certify(FC, *digits, 0.07, lo=0, hi=1, timeout=0, db=db)
    assert begun == []
    more = certify(FC, *digits, 0.07, lo=0, hi=1, timeout=20, db=db)
    assert begun == [p.index for p in first.points if p.status is Status.UNKNOWN] and not more.count(Status.UNKNOWN)


def test_another_question_is_refused(digits: Any, tmp_path: Path) -> None:
    x, y = digits
    db = tmp_path / "r.sqlite"
    how: dict[str, Any] = {"lo": 0, "hi": 1, "db": db, "indices": [0]}
    certify(FC, x, y, 0.05, **how)
    other = x.copy()
    other[59, 0, 0] += np.float32(0.25)
    cases: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("another model", (CONV, x, y, 0.05), {}),
        ("other data", (FC, other, y, 0.05), {}),
        ("other data", (FC, x, (y + 1) % 10, 0.05), {}),
        ("another eps", (FC, x, y, 0.04), {}),
        ("another norm", (FC, x, y, 0.05), {"norm": 2}),
        ("another norm or range", (FC, x, y, 0.05), {"hi": 1.5}),
    ]
    for what, given, more in cases:
        with pytest.raises(verifier.UserError, match=what) as e:
            certify(*given, **(how | more))
        assert "\n" not in str(e.value)
    with pytest.raises(verifier.UserError, match="another eps"):
        verifier.radii(FC, x, y, 0.05, **how)
    assert certify(FC, x, y, 0.05, **how).resumed == 1


def test_a_weight_more_or_less_is_another_model(tmp_path: Path) -> None:
    W = np.random.default_rng(0).standard_normal((3, 2))
    (tmp_path / "a.onnx").write_bytes(dense(W, np.eye(3)))
    W[1, 1] = np.nextafter(np.float32(W[1, 1]), np.float32(inf))
    (tmp_path / "b.onnx").write_bytes(dense(W, np.eye(3)))
    a, b = (digest_graph(verifier.load(tmp_path / f"{name}.onnx").graph) for name in "ab")
    assert a != b and a == digest_graph(verifier.load(tmp_path / "a.onnx").graph)


def test_files_that_are_none(digits: Any, tmp_path: Path) -> None:
    x, y = digits
    (tmp_path / "text").write_text("index,label\n" * 100)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (a)").connection.close()
    for name in ("text", "other", "none/r.sqlite"):
        with pytest.raises(verifier.UserError, match="cannot be used") as e:
            certify(FC, x, y, 0.01, db=tmp_path / name)
        assert name in str(e.value) and "\n" not in str(e.value)
    with Store(tmp_path / "used"), pytest.raises(verifier.UserError, match="another process"):
        certify(FC, x, y, 0.01, db=tmp_path / "used")


def test_half_written_rows_are_not_there(tmp_path: Path) -> None:
    point = Point(3, 1, 1, 0.1, Status.CROWN, 0.5, 10.0)
    with Store(tmp_path / "r") as store:
        known = Kept(store, {"model": "m"}, 9)
        known.add([point])
        store._c.execute("PRAGMA max_page_count = 1")  # no room for another page
        known.add([replace(point, index=4), replace(point, index=2**70, reason="x" * 10**5)])
        assert "cannot be written" in known.lost
        known.add([replace(point, index=5)])
        assert [i for i, _ in known.points] == [3, 4, 2**70, 5]  # an answer wants them all the same
    with Store(tmp_path / "r") as store:
        assert [vars(p) for p in Kept(store, {"model": "m"}, 9).points.values()] == [vars(point)]
