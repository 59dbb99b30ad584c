"""Files of results of earlier versions are read as they are, become files of this one when written to, lose nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import verifier
from tests.campaign.test_bench import write
from tests.campaign.test_store import FOUND
from tests.cli.files import MODEL, ROOT, SAT, UNSAT
from verifier.campaign import bench as benchmark
from verifier.campaign import schema
from verifier.campaign.bench import Settings, bench
from verifier.campaign.images import Kept
from verifier.campaign.rows import pack, rows
from verifier.campaign.store import Store, results, runs
from verifier.cli.app import run
from verifier.run.certification.points import Status
from verifier.run.certification.question import described, posed

BENCH = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, tool TEXT NOT NULL, source TEXT NOT NULL, version TEXT NOT NULL, settings TEXT NOT NULL,
    machine TEXT NOT NULL, started REAL NOT NULL, total INTEGER NOT NULL, UNIQUE (tool, source, version, settings));
CREATE TABLE IF NOT EXISTS results (
    run INTEGER NOT NULL REFERENCES runs, onnx TEXT NOT NULL, vnnlib TEXT NOT NULL, timeout REAL NOT NULL,
    digest TEXT NOT NULL, category TEXT NOT NULL, expected TEXT NOT NULL, verdict TEXT NOT NULL, seconds REAL NOT NULL,
    reason TEXT NOT NULL, domains INTEGER, open INTEGER, gap REAL, memory INTEGER, ended REAL NOT NULL,
    detail TEXT NOT NULL, witness BLOB, PRIMARY KEY (run, onnx, vnnlib, timeout));
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, digest TEXT NOT NULL);
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""
CERTIFY = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE results (
    image INTEGER NOT NULL, label INTEGER NOT NULL, predicted INTEGER NOT NULL, eps REAL NOT NULL,
    status TEXT NOT NULL, seconds REAL NOT NULL, timeout REAL NOT NULL, reason TEXT NOT NULL, witness BLOB,
    PRIMARY KEY (image, eps));
"""
FC = str(ROOT / "models/digits_fc.onnx")
AWKWARD = 0.1 + 0.2
"""A number that takes seventeen digits."""


def earlier_bench(db: Path, source: Path, digests: dict[str, str], version: str = "1+old") -> None:
    """As `bench` of version 1 wrote it: two instances done, one with a counterexample, beside another tool's."""
    settings = json.dumps(dict(cap=None, device="auto", fresh=False, memory_gb=1.0, threads=1), sort_keys=True)
    made = [
        (1, "verifier", str(source), version, settings, '{"cores": 2}', 12.5, 3),
        (2, "peer", "/x/peer.csv", "abcd", "{}", "{}", 11.0, 1),
    ]
    parts = [{"disjunct": 0, "gap": 1.5}]
    detail = {"strategy": "é", "facts": {"inputs": 2}, "phases": {"load": AWKWARD}, "parts": parts}
    told = [
        (1, MODEL, UNSAT, 20.0, digests[UNSAT], "cat", "unsat", "unsat", AWKWARD, "why", 7, 0, None, 10**8, 50.0,
         json.dumps({**detail, "files": {UNSAT: "d"}}), None),
        (1, MODEL, SAT, AWKWARD, digests[SAT], "cat", "", "sat", 2.0, "why", None, None, 0.25, None, 49.0,
         json.dumps(detail), pack(FOUND)),
        (2, MODEL, UNSAT, 0.0, "", "", "", "sat", 3.0, "", None, None, None, None, 0.0, "{}", None),
    ]  # fmt: skip
    with closing(sqlite3.connect(db)) as c:
        c.executescript(BENCH)
        c.executemany(f"INSERT INTO runs VALUES ({','.join('?' * 8)})", made)
        c.executemany(f"INSERT INTO results VALUES ({','.join('?' * 17)})", told)
        c.execute("INSERT INTO files VALUES ('/a', 1, 2, 'x')")
        c.commit()


def earlier_certify(db: Path, about: dict[str, str], points: list[tuple[Any, ...]]) -> None:
    """As `certify` wrote it."""
    with closing(sqlite3.connect(db)) as c:
        c.executescript(CERTIFY)
        c.executemany("INSERT INTO about VALUES (?, ?)", [("format", "1"), *about.items()])
        c.executemany("INSERT INTO results VALUES (?,?,?,?,?,?,?,?,?)", points)
        c.commit()


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, Path]:
    """A file of `bench`, and the list of instances that it is of."""
    source = write(tmp_path, f"{MODEL},{UNSAT},20", f"{MODEL},{SAT},{AWKWARD!r}", f"gone.onnx,{SAT},20")
    instances = benchmark.read(source)
    with Store(None) as store:
        digests = benchmark._digests(instances, store)
    named = {i.spec: benchmark._digest(i, digests[i.key]) for i in instances if i.model == MODEL}
    earlier_bench(tmp_path / "old.sqlite", source, named)
    return tmp_path / "old.sqlite", source


def test_a_file_of_bench_is_read_as_it_is(old: tuple[Path, Path], tmp_path: Path) -> None:
    before = old[0].read_bytes()
    first, peer = runs(old[0])
    assert (first.id, first.kind, first.tool, first.version, first.total) == (1, "bench", "verifier", "1+old", 3)
    assert first.settings["threads"] == 1 and first.machine == {"cores": 2} and peer.tool == "peer"
    sat, unsat = rows(old[0], 1)  # as they ended
    assert sat.key == (MODEL, SAT, AWKWARD) and unsat.key == (MODEL, UNSAT, 20.0)
    assert unsat.seconds == unsat.phases["load"] == AWKWARD and unsat.strategy == "é" and unsat.files == {UNSAT: "d"}
    assert (unsat.domains, unsat.open, unsat.gap, unsat.memory, unsat.expected) == (7, 0, None, 10**8, "unsat")
    assert sat.found == FOUND and sat.gap == 0.25 and sat.category == "cat" and not sat.files
    assert [r.verdict for r in rows(old[0], 2)] == ["sat"]
    assert old[0].read_bytes() == before


def test_a_file_of_bench_goes_on(
    old: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Resumed, listed, reported on, compared, and rid of a run."""
    db, source = old
    before = [rows(db, k) for k in (1, 2)]
    monkeypatch.setattr(benchmark, "version", lambda: "1+old")
    state = bench(source, db, Settings(threads=1, memory_gb=1.0))
    assert (state.run, state.resumed, state.total) == (1, 2, 3) and [r.verdict for r in state.rows][2] == "error"
    assert [rows(db, 1)[:2], rows(db, 2)] == before
    with Store(db) as store:
        assert store.digests()["/a"] == (1, 2, "x")
    with closing(sqlite3.connect(db)) as c:
        assert c.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        tables = {r[0] for r in c.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == {"runs", "results", "files"}
    assert run(["bench", "--db", str(db), "--list"]) == 0
    assert [line.split()[:2] for line in capfd.readouterr().out.splitlines()] == [["1", "verifier"], ["2", "peer"]]
    assert run(["report", str(db), "-o", str(tmp_path / "p.html")]) == 0
    assert "3 instances of verifier 1+old, beside peer" in capfd.readouterr().out
    assert run(["bench", "--db", str(db), "--delete", "1"]) == 0
    assert [r.id for r in runs(db)] == [2] and rows(db, 1) == [] and rows(db, 2) == before[1]


@pytest.mark.parametrize("words", [["report", "DB", "-o", "PAGE"], ["bench", "--db", "DB", "--list"]])
def test_a_file_of_bench_is_listed_and_reported_on_without_a_change(
    old: tuple[Path, Path], tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = old[0].read_bytes()
    assert run([str({"DB": old[0], "PAGE": tmp_path / "p"}.get(w, w)) for w in words]) == 0
    assert "verifier 1+old" in capfd.readouterr().out and old[0].read_bytes() == before


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    raw = load_digits()
    return (raw.images.astype(np.float32) / np.float32(16))[::5][:20], raw.target[::5][:20]


def test_a_file_of_certify_goes_on(digits: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x, y = digits
    db, eps = tmp_path / "r.sqlite", AWKWARD / 10
    about = described(*posed(FC, x, y, np.inf, 0, 1, "cpu")) | {"eps": repr(eps)}
    witness = np.random.default_rng(0).random(64)
    packed = zlib.compress(witness.tobytes(), 1)
    points = [
        (3, int(y[3]), int(y[3]), eps, "certified-search", 1.25, 60.0, "", None),
        (1, int(y[1]), int(y[1]), eps, "attacked", AWKWARD, 60.0, "", packed),
        (2, int(y[2]), int(y[2]), eps, "error", 0.5, 60.0, "broke", None),
        (0, int(y[0]), int(y[0]), eps, "unknown", 0.5, 10.0, "out of time", None),
    ]
    earlier_certify(db, about, points)
    shutil.copy(db, tmp_path / "copy")
    before = db.read_bytes()
    (kept,) = runs(db)
    assert (kept.kind, kept.settings) == ("certify", about) and len(results(db, 1)) == 4
    assert run(["bench", "--db", str(db), "--list"]) == 0
    assert capfd.readouterr().out.split()[:5] == ["1", "verifier", "certify", "4", "results"]
    assert db.read_bytes() == before
    r = verifier.certify(FC, x, y, eps, lo=0, hi=1, timeout=60, db=db)
    assert r.resumed == 2 and r.points[3].status is Status.SEARCH and r.points[3].seconds == 1.25
    assert r.points[1].status is Status.ATTACKED and (r.points[1].witness == witness).all()
    assert r.points[1].seconds == AWKWARD and not {Status.ERROR, Status.UNKNOWN} & {p.status for p in r.points}
    assert verifier.certify(FC, x, y, eps, lo=0, hi=1, timeout=60, db=db).resumed == 20
    for other, lo, said in ((0.01, 0, "another eps"), (eps, None, "another norm")):
        with pytest.raises(verifier.UserError, match=said):
            verifier.certify(FC, x, y, other, lo=lo, hi=1, db=tmp_path / "copy")
    assert run(["bench", "--db", str(db), "--delete", "1"]) == 0  # then it may be of something else
    assert verifier.certify(FC, x[:2], y[:2], 0.01, hi=1, db=db).resumed == 0
    capfd.readouterr()
    assert run(["report", str(db), "-o", str(tmp_path / "p")]) == 2
    assert "holds results of `verifier certify` alone" in capfd.readouterr().err


def test_a_file_of_radii_goes_on(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `radii` find now, put into a file as it was written before, is all that they need."""
    x, y = digits
    how: dict[str, Any] = {"lo": 0, "hi": 1, "timeout": 60, "indices": [11, 16]}
    found = verifier.radii(FC, x, y, 0.3, db=tmp_path / "new", **how)
    with Store(tmp_path / "new") as store:
        (kept,) = store.runs()
        points = list(Kept(store, kept.settings, 2).points.values())
    assert len(points) > 2
    packed = [None if p.witness is None else zlib.compress(p.witness.tobytes(), 1) for p in points]
    told = [(p.index, p.label, p.predicted, p.eps, str(p.status), p.seconds, p.timeout, p.reason, w) for p, w in zip(
        points, packed, strict=True)]  # fmt: skip
    earlier_certify(tmp_path / "old", kept.settings, told)
    monkeypatch.setattr(verifier.campaign.radii, "climb", lambda *_: pytest.fail("tried again"))
    again = verifier.radii(FC, x, y, 0.3, db=tmp_path / "old", **how)
    assert [vars(r) | {"witness": 0} for r in again] == [vars(r) | {"witness": 0} for r in found]


def test_one_file_holds_both(digits: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x, y = digits
    db, source = tmp_path / "r.sqlite", write(tmp_path, f"{MODEL},{UNSAT},20")
    for resumed in (0, 1):
        assert bench(source, db).resumed == verifier.certify(FC, x[:1], y[:1], 0.01, db=db).resumed == resumed
    assert [r.kind for r in runs(db)] == ["bench", "certify"]
    assert run(["report", str(db), "-o", str(tmp_path / "p")]) == 0
    assert "1 instances of verifier" in capfd.readouterr().out


@pytest.mark.parametrize("kind", ["bench", "certify"])
def test_killed_while_it_becomes_a_new_one(
    kind: str, old: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing: what is there afterwards is the file as it was."""
    db = old[0]
    if kind == "certify":
        db = tmp_path / "c"
        earlier_certify(db, {"eps": "1"}, [(0, 1, 1, 1.0, "unknown", 0.0, 0.0, "", None)])
    before = [results(db, r.id) for r in runs(db)]
    monkeypatch.setattr(schema, "VERSION", "x;")  # the last statement fails
    with pytest.raises(verifier.UserError, match="cannot be used"):
        Store(db)
    monkeypatch.undo()
    with closing(sqlite3.connect(db)) as c:
        assert c.execute("PRAGMA user_version").fetchone() == (1 if kind == "bench" else 0,)
    assert [results(db, r.id) for r in runs(db)] == before
    with Store(db) as store:
        assert [store.results(r.id) for r in store.runs()] == before


def test_a_newer_file_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    db = str(tmp_path / "r.sqlite")
    Store(Path(db)).close()
    with closing(sqlite3.connect(db)) as c:
        c.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    source = str(write(tmp_path, f"{MODEL},{UNSAT},20"))
    certify = ["certify", "--model", FC, "--data", "digits", "--eps", "0.01", "--count", "2"]
    for words in (
        ["bench", source, "--db", db], ["bench", "--db", db, "--list"], ["bench", "--db", db, "--delete", "1"],
        ["report", db, "-o", str(tmp_path / "p")], [*certify, "--db", db], [*certify, "--radius", "--db", db],
    ):  # fmt: skip
        assert run(words) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.count("\n") == 1 and db in err
        assert f"version {schema.VERSION + 1} of the format" in err and "update" in err


def test_a_file_that_was_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """With a journal beside it, which only a writer may roll back: it is read all the same."""
    earlier_certify(tmp_path / "live", {"eps": "1"}, [(0, 1, 1, 1.0, "unknown", 0.0, 0.0, "", None)])
    with closing(sqlite3.connect(tmp_path / "live", isolation_level=None)) as c:
        c.execute("PRAGMA cache_size = 1")
        c.execute("BEGIN IMMEDIATE")
        for k in range(1, 200):
            c.execute("INSERT INTO results VALUES (?, 1, 1, 1.0, 'error', 0, 0, ?, NULL)", (k, "x" * 3000))
        for ending in ("", "-journal"):
            shutil.copy(f"{tmp_path / 'live'}{ending}", f"{tmp_path / 'dead'}{ending}")
        c.execute("ROLLBACK")
    assert [r.verdict for r in results(tmp_path / "dead", 1)] == ["unknown"]
    with Store(tmp_path / "dead") as store:
        assert [r.key for r in store.results(1)] == [(0, 1.0)]
