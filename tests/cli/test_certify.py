"""`verifier certify`: what it prints and writes, that it goes on where it was killed, and what it refuses."""

from __future__ import annotations

import contextlib
import csv
import json
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.files import ROOT, outputs, start
from verifier.cli.app import run
from verifier.cli.certify import beyond, drawn, images
from verifier.cli.data import number, read
from verifier.values.errors import UserError

FC, CONV = str(ROOT / "models/digits_fc.onnx"), str(ROOT / "models/digits_conv.onnx")
FAST = ["certify", "--model", FC, "--data", "digits", "--timeout", "20"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as f:
        return list(csv.DictReader(f))


def test_table_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, facts, points = tmp_path / "t.csv", tmp_path / "t.json", tmp_path / "t.npz"
    files = ["--csv", str(table), "--json", str(facts), "--counterexamples", str(points)]
    assert run([*FAST, "--eps", "15/255", "--range", "40:100", *files]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("60 images, eps 15/255, norm inf\n") and "Traceback" not in err
    found, about = rows(table), json.loads(facts.read_text())
    assert [int(r["index"]) for r in found] == list(range(40, 100)) and about["rows"][7]["index"] == 47
    proved = sum(r["status"].startswith("certified-") for r in found)
    lines = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.splitlines() if "│" in line}
    assert (
        int(lines["certified"])
        == proved
        == round(60 * about["certified"])
        == sum(n for status, n in about["counts"].items() if status.startswith("certified-"))
    )
    assert int(lines["attacked"]) == about["counts"]["attacked"] > 0 and about["eps"] == 15 / 255
    x, y = read("digits")
    with np.load(points) as f:
        assert f["index"].tolist() == [int(r["index"]) for r in found if r["status"] == "attacked"]
        assert f["x"].shape[1:] == x.shape[1:]
        assert f["label"].tolist() == y[f["index"]].tolist()
        for i, z, becomes in zip(f["index"], f["x"], f["becomes"], strict=True):
            assert abs(z - x[i]).max() <= 15 / 255 + 1e-12
            assert np.argmax(outputs(FC, z.reshape(-1).tolist())) == becomes != y[i]
            row = next(r for r in found if r["index"] == str(i))
            assert row["becomes"] == str(becomes) and about["rows"][int(i) - 40]["becomes"] == becomes
    assert all((r["becomes"] == "") == (r["status"] != "attacked") for r in found)


def test_radii(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    assert run([*FAST, "--eps", "0.05", "--count", "6", "--radius", "--tolerance", "0.01", "--csv", str(table)]) == 0
    assert "certified radii of 6 images" in capsys.readouterr().out
    for r in rows(table):
        proved = float(r["certified_radius"])
        assert 0 <= proved <= 0.05 and proved < float(r["attacked_radius"] or 1)


def known(db: Path) -> dict[str, tuple[Any, ...]]:
    with closing(sqlite3.connect(db, timeout=10)) as c:
        try:
            return {r[0]: r for r in c.execute("SELECT key, * FROM results")}
        except sqlite3.OperationalError as e:
            assert "no such table" in str(e)
            return {}


def test_killed_at_random_moments(tmp_path: Path) -> None:
    command = ["certify", "--model", FC, "--data", "digits", "--eps", "0.1", "--count", "60", "--timeout", "60"]
    db, rng, before, kills = tmp_path / "r.sqlite", random.Random(3), dict[str, tuple[Any, ...]](), 0
    began = time.monotonic()
    whole = start(*command, "--csv", str(tmp_path / "whole.csv"))
    whole.communicate(timeout=200)
    took = time.monotonic() - began
    for _ in range(8):
        process = start(*command, "--db", str(db), "--csv", str(tmp_path / "t.csv"))
        try:
            process.communicate(timeout=rng.uniform(0.3, 0.9) * took)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        after = known(db) if db.exists() else {}
        assert before.items() <= after.items()  # nothing is lost, nothing done again
        before = after
        if kills == 3:
            break
    process = start(*command, "--db", str(db), "--csv", str(tmp_path / "t.csv"))
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0 and known(db).items() >= before.items() and kills >= 2 and len(known(db)) == 60
    same = [[(r["index"], r["predicted"], r["status"]) for r in rows(tmp_path / f)] for f in ("t.csv", "whole.csv")]
    assert same[0] == same[1] and len(same[0]) == 60


def test_jobs_end_with_their_parent(tmp_path: Path) -> None:
    command = ["certify", "--model", CONV, "--data", "digits", "--eps", "0.12", "--count", "90", "--timeout", "30"]
    process = start(*command, "--jobs", "2", "--db", str(tmp_path / "r.sqlite"))
    children: list[int] = []
    for _ in range(600):
        with contextlib.suppress(OSError):  # threads come and go
            servers = below(process.pid)
            children = [*servers, *(c for s in servers for c in below(s))]
        if len(children) == 3 or process.poll() is not None:
            break
        time.sleep(0.05)
    assert len(children) == 3
    process.kill()
    process.communicate()
    for _ in range(200):
        if not any(alive(c) for c in children):
            return
        time.sleep(0.05)
    pytest.fail("processes are left")


def below(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(c) for t in tasks for c in (t / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_resumed_and_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = ["--db", str(tmp_path / "r.sqlite")]
    assert run([*FAST, "--eps", "0.01", "--count", "5", *db]) == 0
    assert run([*FAST, "--eps", "0.01", "--count", "9", *db]) == 0
    assert "5 were there before" in capsys.readouterr().err
    for other in (["--eps", "0.02"], ["--eps", "0.01", "--norm", "2"], ["--eps", "0.01", "--hi", "2"],
                  ["--eps", "0.01", "--model", CONV]):  # fmt: skip
        assert run([*FAST, *other, *db]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "holds results for " in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--eps", "x"], "--eps x"),
        (["--eps", "-1"], "--eps -1"),
        (["--eps", "1/0"], "--eps 1/0"),
        (["--eps", "0.1", "--count", "0"], "--count 0"),
        (["--eps", "0.1", "--range", "5"], "A:B"),
        (["--eps", "0.1", "--range", "9:4"], "--range 9:4"),
        (["--eps", "0.1", "--range", "999:1000"], "--range 999:1000"),
        (["--eps", "0.1", "--range", "0:4", "--count", "3"], "give one of them"),
        (["--eps", "0.1", "--data", "none"], "no data there"),
        (["--eps", "0.1", "--data", "none.npz"], "no such file"),
        (["--eps", "0.1", "--model", "none.onnx"], "none.onnx: no such file"),
        (["--eps", "0.1", "--norm", "3"], "--norm"),
        (["--eps", "0.1", "--csv", "none/t.csv"], "does not exist"),
        (["--eps", "0.1", "--lo", "0.5"], "image 0: beyond"),
        (["--eps", "0.1", "--lo", "inf"], "nothing lies in it"),
        (["--eps", "0.1", "--hi", "-inf"], "nothing lies in it"),
        (["--eps", "0.1", "--lo", "1", "--hi", "0"], "nothing lies in it"),
        (["--eps", "0.1", "--tolerance", "0.01"], "--tolerance 0.01"),
        (["--eps", "0.1", "--jobs", "0"], "jobs 0"),
        (["--eps", "0", "--radius"], "above 0"),
        ([], "--eps"),
    ],
)
def test_refusals(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FAST, *more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("verifier: ") and err.count("\n") == 1 and said in err


def test_data_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 1, 28, 28), np.uint8), y=np.arange(4))
    assert run(["certify", "--model", FC, "--data", str(tmp_path / "d.npz"), "--eps", "0.1"]) == 2
    assert "images of shape [1, 28, 28]" in capsys.readouterr().err


def test_a_file_of_test_images_alone(tmp_path: Path) -> None:
    x, y = read("digits")
    np.savez(tmp_path / "a.npz", x_test=x, y_test=y)
    np.savez(tmp_path / "b.npz", x=x, y=y)
    for name in "ab":
        a, b = read(str(tmp_path / f"{name}.npz"))
        assert (a == x).all() and (b == y).all()
    np.savez(tmp_path / "c.npz", z=x)
    np.savez(tmp_path / "e.npz", x_test=x)
    np.savez(tmp_path / "f.npz", x_test=np.array([None, "a"]), y_test=np.arange(2))
    for name, said in {"c": "no array x_test", "e": "no array y_test", "f": "cannot be read"}.items():
        with pytest.raises(UserError, match=f"{name}.npz: {said}|{name}.npz: has {said}"):
            read(str(tmp_path / f"{name}.npz"))
    (tmp_path / "d.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:900])
    for name in "cd":
        with pytest.raises(UserError, match=f"{name}.npz"):
            read(str(tmp_path / f"{name}.npz"))


def test_which_images() -> None:
    assert list(images(None, None, 5)) == list(images(9, None, 5)) == list(images(None, ":", 5)) == list(range(5))
    assert list(images(None, "2:", 5)) == [2, 3, 4] and list(images(None, ":2", 5)) == [0, 1]
    assert number("2/255") == 2 / 255 and number("1e-3") == 1e-3


def test_more_images_than_there_are_is_said() -> None:
    assert beyond(None, None, images(None, None, 5), 5) == beyond(5, None, images(5, None, 5), 5) == ""
    assert beyond(None, "2:", images(None, "2:", 5), 5) == beyond(None, ":5", images(None, ":5", 5), 5) == ""
    assert beyond(None, "3:9", images(None, "3:9", 5), 5) == "--range 3:9: there are 5 images; 2 are taken, 3 to 4"
    assert beyond(9, None, images(9, None, 5), 5) == "--count 9: there are 5 images; 5 are taken, 0 to 4"


def test_the_command_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FAST, "--eps", "0.001", "--range", "350:9999"]) == 0
    assert "--range 350:9999: there are" in capsys.readouterr().err


def test_quiet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run([*FAST, "--eps", "0.01", "--count", "3", "--quiet", "--db", str(tmp_path / "r")]) == 0
    assert capsys.readouterr().err == ""


def test_forty_columns_keep_the_numbers() -> None:
    rows = [("", "images", "share", "seconds"), ("classified right (natural)", "10000", "100.00%", ""),
            ("  and by optimised slopes", "1234", "12.34%", "12345.67")]  # fmt: skip
    for width in (40, 63, 64, 100):
        lines = drawn(rows, "10000 images", width).splitlines()
        assert all(len(line) <= width for line in lines)
        assert {"10000", "100.00%", "1234", "12.34%", "12345.67"} <= set(" ".join(lines).split())
