"""Tables of results, written and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaign.test_store import ROW
from verifier.campaign.tables import read, table
from verifier.values.errors import UserError


def test_the_competitions_format_reads_back(tmp_path: Path) -> None:
    field = "[('f','a.onnx'),('g','b.onnx')]"
    rows = [replace(ROW, verdict="sat"), replace(ROW, verdict="memory", onnx=field), replace(ROW, onnx="c")]
    (tmp_path / "r.csv").write_text(table(rows))
    assert table(rows).splitlines()[0] == "cat,onnx/a.onnx.gz,vnnlib/p.vnnlib,0.0,sat,1.2500"
    back = read(tmp_path / "r.csv")
    assert [(r.category, r.onnx, r.vnnlib, r.seconds) for r in back] == [
        (r.category, r.onnx, r.vnnlib, r.seconds) for r in rows
    ]
    assert [r.verdict for r in back] == ["sat", "error", "unsat"]


def test_columns_by_name(tmp_path: Path) -> None:
    head = "benchmark,onnx,vnnlib,timeout_s,peer_verdict,peer_wall_s"
    (tmp_path / "r.csv").write_text(f"{head},verdict,wall_s\nb,o,v,60,sat,5.5,unsat,1\n")
    (row,) = read(tmp_path / "r.csv")
    assert (row.verdict, row.seconds, row.timeout) == ("unsat", 1.0, 60.0)
    (tmp_path / "r.csv").write_text(f"{head}\nb,o,v,60,violated,5.5\nb,o,w,60,run_instance_timeout,\n")
    first, second = read(tmp_path / "r.csv")
    assert (first.verdict, first.seconds) == ("sat", 5.5)
    assert (second.verdict, second.reason, second.seconds) == ("error", "run_instance_timeout", 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("onnx,vnnlib,seconds\na,b,1\n", "no column verdict"),
        ("c,o,v,0,sat,soon\n", r"r\.csv:1: no row"),
        ("c,o,v,0,sat,1\nc,o,v,0,sat\n", r"r\.csv:2: no row"),
        ("c,o,v,0,sat,nan\n", "no row"),
        ("c,o,v,0,sat,-1\n", "no row"),
        ("c,o,v,0,,1\n", "no row"),
        ("c,,v,0,sat,1\n", "no row"),
        ("onnx/a.onnx,vnnlib/p.vnnlib,116\n", "no row"),  # a list of instances
        ("onnx/a.onnx,vnnlib/p.vnnlib,116,unsat\n", "no row"),
        ("Some notes about a benchmark.\nAnd more.\n", "no row"),
        ("a,b,c,0,e,1\n", "no line of it has a result"),
        ("onnx,vnnlib,verdict,seconds\n", "no line of it has a result"),
        ("onnx,vnnlib,verdict,seconds\na,b,,1\n", "no row"),
    ],
)
def test_what_cannot_be_read(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "r.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "gone.csv")
