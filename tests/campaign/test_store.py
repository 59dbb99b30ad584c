"""The file of results: what goes in comes out, once a run and instance."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from verifier.campaign.rows import Counterexample, Row, contradict, pack, pairs, row, rows, stem
from verifier.campaign.store import Run, Store, runs
from verifier.values.errors import UserError

RUN = Run(0, "bench", "verifier", "/x/instances.csv", "1+ab", {"device": "cpu", "cap": None}, {"cores": 2}, 12.5, 3)
TEXT = "((X_0 0.1)\n(X_1 -2.0)\n(Y_0 3.0))"
FOUND = Counterexample([0.1, -2.0], [3.0], [0.0, -2.0], [1.0, 2.0], [1, 2], TEXT, {"X": [0.1]})
ROW = Row(
    1, "cat", "onnx/a.onnx.gz", "vnnlib/p.vnnlib", 60.0, "sat", "unsat", 1.25, "why", 7, 2, 0.5, 10**8, 99.0, "digest",
    "on the processor", {"inputs": 2}, {"load": 0.1}, [{"disjunct": 0, "gap": None, "open": 2}], pack(FOUND),
)  # fmt: skip


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    number = store.begin(RUN)
    store.add([replace(ROW, run=number).kept()])
    assert runs(tmp_path / "r.sqlite") == [replace(RUN, id=number)]
    assert rows(tmp_path / "r.sqlite", number) == [row(r) for r in store.results(number)] == [replace(ROW, run=number)]
    assert rows(tmp_path / "r.sqlite", number)[0].found == FOUND
    assert rows(tmp_path / "r.sqlite", number + 1) == []
    store.close()


def test_one_row_a_run_and_instance(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    first, again = store.begin(RUN), store.begin(replace(RUN, total=4, started=13.0))
    others = [store.begin(replace(RUN, version="2")), store.begin(replace(RUN, settings={"device": "cuda"}))]
    assert first == again and len({first, *others}) == 3
    store.add([replace(ROW, run=first).kept()])
    store.add([replace(ROW, run=first, seconds=2.0, ended=100.0).kept()])
    store.add([replace(ROW, run=first, timeout=30.0, ended=98.0).kept()])
    assert [(r.timeout, r.seconds) for r in store.results(first)] == [(30.0, 1.25), (60.0, 2.0)]
    assert [(r.total, r.started) for r in runs(store.path)][0] == (4, 12.5)
    store.close()


def test_infinity_is_refused_not_stored(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    with pytest.raises(ValueError, match="JSON"):
        store.add([replace(ROW, parts=[{"gap": float("inf")}]).kept()])
    assert store.results(1) == []
    store.close()


def test_many_or_none(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    with pytest.raises(ValueError, match="JSON"):
        store.add(r.kept() for r in [ROW, replace(ROW, onnx="b.onnx", facts={"x": float("nan")})])
    assert store.results(1) == []
    store.close()


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database" * 100)
    with sqlite3.connect(tmp_path / "other") as c:
        c.execute("CREATE TABLE t (x)")
    c.close()
    for name, words in (("gone", "no such file"), ("text", "cannot be used"), ("other", "something else")):
        with pytest.raises(UserError, match=words) as e:
            runs(tmp_path / name)
        assert "\n" not in str(e.value) and name in str(e.value)
    for name in ("text", "other"):
        with pytest.raises(UserError):
            Store(tmp_path / name)


def test_digests_of_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    store.learn({"/a": (1, 2, "x"), "/b": (3, 4, "y")})
    store.learn({"/a": (1, 5, "z")})
    assert store.digests() == {"/a": (1, 5, "z"), "/b": (3, 4, "y")}
    store.close()


def test_a_reader_beside_the_writer(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    number = store.begin(RUN)
    for k in range(3):
        store.add([replace(ROW, run=number, onnx=f"{k}.onnx").kept()])
        assert len(rows(tmp_path / "r.sqlite", number)) == k + 1
    store.close()


def test_pairs_by_name_then_by_category() -> None:
    mine = [replace(ROW, onnx="onnx/a.onnx"), replace(ROW, onnx="onnx/b.onnx"), replace(ROW, onnx="c.onnx")]
    theirs = [
        replace(ROW, category="cat_2023", onnx="./cat/onnx/a.onnx", vnnlib="p.vnnlib.gz"),
        replace(ROW, category="x", onnx="b.onnx"),
        replace(ROW, category="cat", onnx="b.onnx", seconds=9.0),
        replace(ROW, category="x", onnx="c.onnx"),
        replace(ROW, category="y", onnx="c.onnx"),
    ]
    assert pairs(mine, theirs) == [(mine[0], theirs[0]), (mine[1], theirs[2]), (mine[2], None)]


def test_words() -> None:
    assert contradict("sat", "unsat") and contradict("unsat", "sat")
    assert not any(contradict(a, b) for a, b in [("sat", "sat"), ("sat", "timeout"), ("unsat", ""), ("", "sat")])
    assert [stem(p) for p in ("a/b.onnx.gz", "b.vnnlib", "x.1.onnx")] == ["b", "b", "x.1"]
    assert stem("[('f','onnx/a.onnx')]") == "[('f','onnx/a.onnx')]"
    assert ROW.solved and ROW.wrong and not replace(ROW, expected="").wrong


@pytest.mark.parametrize("killed", [False, True])
def test_a_file_in_a_folder_that_nobody_may_write_to(killed: bool) -> None:
    """Also where a process was killed, and its last rows are still in the file beside it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "kept"
        folder.mkdir()
        store = Store(Path(name) / "r.sqlite")
        number = store.begin(RUN)
        store.add([replace(ROW, run=number).kept()])
        if not killed:
            store.close()
        for file in Path(name).glob("r.sqlite*"):
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, folder / file.name)
        assert (folder / "r.sqlite-wal").exists() == killed
        store.close()
        for path, mode in ((Path(name), 0o755), (folder, 0o555)):
            path.chmod(mode)
        before = sorted(p.name for p in folder.iterdir())
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:  # root may write anywhere
                os.setgid(65534)
                os.setuid(65534)
            try:
                told = str([len(rows(folder / "r.sqlite", r.id)) for r in runs(folder / "r.sqlite")])
            except BaseException as e:
                told = repr(e)
            os.write(into, told.encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(out, 1000) == b"[1]"
        os.close(out)
        os.close(into)
        assert sorted(p.name for p in folder.iterdir()) == before
        folder.chmod(0o755)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    store.add([replace(ROW, run=store.begin(RUN)).kept()])
    store.close()
    before = (tmp_path / "r.sqlite").read_bytes()
    assert len(rows(tmp_path / "r.sqlite", runs(tmp_path / "r.sqlite")[0].id)) == 1
    assert (tmp_path / "r.sqlite").read_bytes() == before
