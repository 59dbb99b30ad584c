"""Which runs a page is about, and what is put beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaign.test_store import ROW, RUN
from verifier.campaign.store import Run, Store
from verifier.report.content import collect, listed
from verifier.values.errors import UserError


def fill(db: Path, *runs: Run, rows: int = 1) -> None:
    store = Store(db)
    for k, run in enumerate(runs):
        number = store.begin(run)
        for i in range(rows):
            store.add([replace(ROW, run=number, onnx=f"{run.source}_{i}.onnx", seconds=k + 1.0).kept()])
    store.close()


OLD = replace(RUN, version="1")
NEW, NEW_TOO = replace(RUN, version="2", source="/x/a"), replace(RUN, version="2", source="/x/b")
OTHER = replace(RUN, tool="other", version="", source="/x/a", settings={})


def test_all_runs_of_the_latest_version_and_settings(tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    fill(db, OLD, NEW, replace(NEW, settings={"device": "cuda"}), NEW_TOO)
    content = collect(db)
    assert [r.id for r in content.mine.runs] == [2, 4] and len(content.pairs) == 2
    assert content.mine.label == "verifier 2, run 2, 4"  # the same version at other settings is beside it
    assert content.theirs is not None and [r.id for r in content.theirs.runs] == [3]


def test_another_tool_beside(tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    fill(db, NEW, OTHER, NEW_TOO)
    content = collect(db)
    assert content.theirs is not None and content.theirs.label == "other" and content.mine.label == "verifier 2"
    assert [None if o is None else o.seconds for _, o in content.pairs] == [2.0, None]
    assert collect(db, against=[]).theirs is None
    assert [r.id for r in collect(db, [2], [1]).mine.runs] == [2]


def test_runs_without_a_common_instance_are_not_beside(tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    fill(db, NEW, replace(OTHER, source="/y/z"))
    assert collect(db).theirs is None
    fill(db, OTHER)
    assert collect(db).theirs is not None


def test_a_table_beside(tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    fill(db, NEW, rows=2)
    (tmp_path / "peer.csv").write_text("onnx,vnnlib,verdict,seconds\nz/a_1.onnx,p.vnnlib,sat,3\n")
    content = collect(db, table=tmp_path / "peer.csv")
    assert content.theirs is not None and content.theirs.label == "peer"
    assert [None if o is None else o.verdict for _, o in content.pairs] == [None, "sat"]
    assert len(content.disagreements) == 1


def test_refusals(tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    with pytest.raises(UserError, match="no such file"):
        collect(db)
    Store(db).close()
    with pytest.raises(UserError, match="no run of verifier"):
        collect(db)
    fill(db, NEW)
    for chosen, against in (([7], None), (None, [7])):
        with pytest.raises(UserError, match="no run 7; its runs are 1"):
            collect(db, chosen, against)
    fill(db, OLD, rows=0)
    with pytest.raises(UserError, match="no result yet"):
        collect(db, [2])
    assert [r.id for r in collect(db).mine.runs] == [1]  # a run without a result yet does not hide the others
    with pytest.raises(UserError, match="table of results"):
        collect(db, table=tmp_path / "gone.csv")


def test_results_of_certify_have_another_page(tmp_path: Path) -> None:
    """They stand in the same kind of file, and in the list; what to do is said."""
    db = tmp_path / "r.sqlite"
    store = Store(db)
    store.begin(replace(RUN, kind="certify"))
    store.close()
    with pytest.raises(UserError, match="results of `verifier certify` alone, .* --report PAGE"):
        collect(db)
    fill(db, NEW)
    for chosen, against in (([1], None), (None, [1])):
        with pytest.raises(UserError, match="run 1 is one of `verifier certify`, .* --report PAGE"):
            collect(db, chosen, against)
    assert [r.id for r in collect(db).mine.runs] == [2]


def test_list(tmp_path: Path) -> None:
    fill(tmp_path / "r.sqlite", NEW, OTHER)
    assert [line.split() for line in listed(tmp_path / "r.sqlite")] == [
        ["1", "verifier", "2", "1", "of", "3", "results", "/x/a"],
        ["2", "other", "1", "of", "3", "results", "/x/a"],
    ]
