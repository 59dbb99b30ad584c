"""An output that is also an input, or another output, is refused before anything runs: every command, every pair."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.cli.files import MODEL, SAT, UNSAT, dense
from verifier.cli.app import run
from verifier.cli.options import parser
from verifier.cli.places import Reads, Writes

NAMED = "verify --network"


@cache
def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command's parser; `verify` also as it is with `--network`."""
    found: dict[str, argparse.ArgumentParser] = {}
    for named in (False, True):
        whole = parser(named)
        (every,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
        found |= {name: c for name, c in every.choices.items() if not named}
        if named:
            found[NAMED] = every.choices["verify"]
    return found


def options(command: argparse.ArgumentParser, kind: type) -> list[argparse.Action]:
    return [o for o in command._actions if isinstance(o.type, kind)]


def test_every_option_that_names_a_file_says_whether_it_reads_or_writes() -> None:
    files, count = ("FILE", "FOLDER", "DIR", "PAGE", "TABLE", "MODEL", "SPEC", "SOURCE", "LIST"), 0
    for name, command in commands().items():
        for o in command._actions:
            if o.nargs == 0 or o.choices:  # takes no value, or one of a few words
                continue
            assert o.type is not None and o.type is not Path, f"{name} {o.dest}: its type is not declared"
            if any(word in str(o.metavar).replace("|", "=").split("=") for word in files):
                assert isinstance(o.type, (Reads, Writes)), f"{name} {o.dest}: read or written?"
                count += 1
    assert count > 40


def words(o: argparse.Action, value: str) -> list[str]:
    return [o.option_strings[-1], value] if o.option_strings else [value]


def command_line(name: str, command: argparse.ArgumentParser, given: dict[str, str]) -> list[str]:
    """A command with what it needs, and some options with values of ours."""
    line, needed = [name.split()[0]], {"eps": "0.1", "input_index": "0"}
    for o in command._actions:
        value = given.get(o.dest, needed.get(o.dest) if o.required else None)
        if value is None and o.required and isinstance(o.type, Reads):
            value = {"spec": UNSAT}.get(o.dest, MODEL)
        if value is None and o.dest == "network" and name == NAMED:
            value = MODEL
        if value is not None:
            value = f"f={value}" if o.dest == "network" else value
            line += words(o, value)
    return line


def pairs() -> Iterator[tuple[str, str, str]]:
    for name, command in commands().items():
        for w in options(command, Writes):
            for other in (*options(command, Reads), *options(command, Writes)):
                if other is not w and not (name == "verify" and other.dest == "network"):
                    yield name, w.dest, other.dest


@pytest.mark.parametrize("how", ["same", "relative", "symlink", "hard link"])
def test_one_file_for_two_things(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    tried = 0
    for name, out, other in pairs():
        command = commands()[name]
        types = {o.dest: o.type for o in command._actions}
        file = tmp_path / "sub" / "log.csv.pb.svg"
        for pattern in getattr(types[out], "within", ()) or getattr(types[other], "within", ()):
            file = tmp_path / "sub" / pattern.replace("*", "x")
        file.write_text("precious")
        link = tmp_path / f"link{file.suffix}"
        link.unlink(missing_ok=True)
        if how == "symlink":
            link.symlink_to(file)
        elif how == "hard link":
            os.link(file, link)
        second = {"same": str(file), "relative": os.path.join("..", "sub", file.name)}.get(how, str(link))
        given = {
            dest: str(file.parent) if getattr(types[dest], "within", ()) else path
            for dest, path in ((out, str(file)), (other, second))
        }
        assert run(command_line(name, command, given)) == 2, (name, out, other)
        printed, err = capfd.readouterr()
        assert printed == "" and err.count("\n") == 1, (name, out, other, err)
        assert "would overwrite it" in err or "name two files" in err, (name, out, other, err)
        assert file.read_text() == "precious" and sorted(p.name for p in file.parent.iterdir()) == [file.name]
        file.unlink()
        tried += 1
    assert tried > 60


def refused(capfd: pytest.CaptureFixture[str], *line: Any) -> None:
    assert run([str(word) for word in line]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "would overwrite it" in err, err


def test_weights_that_lie_beside_a_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = onnx.load_from_string(dense(np.ones((40, 2)), np.ones((1, 40))))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    before = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "instances.csv").write_text(f"m.onnx,{UNSAT},10\n")
    os.link(tmp_path / "w.bin", tmp_path / "link")
    for out in (tmp_path / "w.bin", tmp_path / "link"):
        refused(capfd, "verify", tmp_path / "m.onnx", UNSAT, "--json", out)
        refused(capfd, "verify", UNSAT, "--network", f"f={tmp_path / 'm.onnx'}", "--results", out)
        refused(capfd, "verify", f"[('f','{tmp_path / 'm.onnx'}')]", UNSAT, "--results", out)
        refused(capfd, "bench", tmp_path, "--csv", out, "--db", tmp_path / "r.sqlite")
    assert (tmp_path / "w.bin").read_bytes() == before and not (tmp_path / "r.sqlite").exists()


def test_what_a_list_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for source, name in ((MODEL, "m.onnx"), (UNSAT, "p.vnnlib")):
        (tmp_path / name).write_bytes(Path(source).read_bytes())
    (tmp_path / "instances.csv").write_text("m.onnx,p.vnnlib,10\n")
    for name in ("m.onnx", "p.vnnlib", "instances.csv"):
        refused(capfd, "bench", tmp_path, "--csv", tmp_path / name, "--db", tmp_path / "r")
    refused(capfd, "bench", tmp_path / "instances.csv", "--db", tmp_path / "m.onnx")


def test_the_data_behind_a_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_text("precious")
        refused(capfd, "certify", "--model", MODEL, "--data", tmp_path, "--eps", "0.1", "--csv", tmp_path / name)
    (tmp_path / "deep" / "MNIST").mkdir(parents=True)
    (tmp_path / "deep" / "MNIST" / "x").write_text("precious")
    source = f"torchvision:MNIST:{tmp_path / 'deep'}"
    refused(capfd, "tightness", MODEL, "--data", source, "--json", tmp_path / "deep" / "MNIST" / "x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text("precious")
    (tmp_path / "r.toml").write_text("[data]\nsource = 'run/log.csv'\n")
    refused(capfd, "train", "--config", tmp_path / "r.toml", "--out", tmp_path / "run")
    (tmp_path / "results.csv").write_text("a table from before")  # beside the data, but none of them
    run(["certify", "--model", MODEL, "--data", str(tmp_path), "--eps", "0.1", "--csv", str(tmp_path / "results.csv")])
    assert "would overwrite" not in capfd.readouterr().err


def test_a_folder_is_asked_for_the_files_that_are_written_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pb").write_bytes(Path(MODEL).read_bytes())
    refused(capfd, "verify", tmp_path / "model.pb", SAT, "--serialise-assignments", tmp_path)
    (tmp_path / "runs").write_text("precious")
    (tmp_path / "cactus.svg").symlink_to(tmp_path / "runs")  # which would be written through
    refused(capfd, "report", tmp_path / "runs", "--figures", tmp_path, "-o", tmp_path / "r.html")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "model.onnx").write_text("precious")
    (tmp_path / "r.toml").write_text("[data]\nsource = 'r/model.onnx'\n")
    refused(capfd, "train", "--config", "r.toml")  # writes to the folder `r` by itself


def test_devices_and_streams_are_no_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = ["verify", MODEL, UNSAT, "--quiet", "--results", "/dev/null", "--json"]
    assert run([*line, "/dev/null"]) == 0 and capfd.readouterr().out == "unsat\n"
    assert run(["verify", MODEL, UNSAT, "--results", "-"]) == 2 and "--results -" in capfd.readouterr().err


@pytest.mark.parametrize("place", ["none/j", "", "m.onnx/j", "a" * 300])
def test_where_nothing_can_be_written(place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(Path(MODEL).read_bytes())
    for option in ("--json", "--results"):
        assert run(["verify", str(tmp_path / "m.onnx"), UNSAT, option, str(tmp_path / place)]) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("verifier: ") and err.count("\n") == 1 and "fault" not in err
