"""`verifier train`: what it writes is what it says, and what it cannot use costs one line."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from verifier.cli.app import run
from verifier.train import checkpoint

EPS = 0.06
RECIPE = """
[data]
source = "data.npz"
[model]
architecture = "mlp"
width = 8
depth = 2
bn = true
[method]
name = "sabr"
steps = 2
[schedule]
eps = 0.06
epochs = {epochs}
ramp_end = {ramp}
lr = {lr}
milestones = [6]
[train]
batch = 32
"""


def _write(folder: Path, epochs: int = 5, lr: str = "0.01") -> Path:
    """A recipe and the data it names."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 260)
    x = np.clip(0.5 + 0.2 * np.eye(3)[y].repeat(2, 1) + 0.1 * rng.normal(size=(260, 6)), 0, 1).astype(np.float32)
    np.savez(folder / "data.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(epochs=epochs, ramp=min(3, epochs), lr=lr))
    return path


def _outputs(model: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(out)


def _refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line about input that cannot be used."""
    assert run(["train", *arguments, "--quiet"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    return err


def test_the_table_is_that_of_the_file_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = _write(tmp_path)
    assert run(["train", "--config", str(config), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    table = {line.split()[0]: float(line.split()[1].rstrip("%")) for line in out.splitlines()}
    assert list(table) == ["eps", "natural", "verified"] and table["eps"] == EPS
    with np.load(tmp_path / "data.npz") as data:
        x, y = data["x_test"], data["y_test"]
    model = tmp_path / "out" / "model.onnx"
    right = _outputs(model, x).argmax(1) == y
    assert table["natural"] == pytest.approx(100 * right.mean(), abs=0.01) and right.mean() > 0.5
    rng = np.random.default_rng(1)
    for _ in range(100):
        corner = np.clip(x + EPS * rng.choice([-1, 1], x.shape), 0, 1).astype(np.float32)
        right &= _outputs(model, corner).argmax(1) == y
    assert 0 < table["verified"] <= 100 * right.mean() + 0.01
    with (tmp_path / "out" / "log.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3, 4, 5] and float(rows[-1]["eps"]) == EPS
    assert not {p.name for p in (tmp_path / "out").iterdir()} - {"checkpoint.pt", "log.csv", "model.onnx"}


def test_a_run_is_not_written_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config, out = _write(tmp_path, epochs=1), tmp_path / "out"
    assert run(["train", "--config", str(config), "--out", str(out), "--quiet"]) == 0
    capfd.readouterr()
    before = (out / "checkpoint.pt").read_bytes()
    assert "--resume" in _refused(capfd, "--config", str(config), "--out", str(out))
    assert "another recipe" in _refused(capfd, "--config", str(config), "--out", str(out), "--resume", "--seed", "9")
    assert (out / "checkpoint.pt").read_bytes() == before


def test_nothing_to_go_on_with_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    said = _refused(capfd, "--config", str(_write(tmp_path, epochs=1)), "--out", str(out), "--resume")
    assert "no checkpoint.pt to go on from" in said and not out.exists()


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = _write(tmp_path, epochs=25)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    words = ["train", "--config", str(config), "--quiet", "--out"]
    process = subprocess.Popen([sys.executable, "-m", "verifier", *words, str(halves)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while not (halves / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert 1 <= checkpoint.load(halves / "checkpoint.pt")["epochs"] <= 25  # whole, whenever it was killed
    assert run([*words, str(halves), "--resume"]) == 0
    assert run([*words, str(whole)]) == 0
    capfd.readouterr()
    a, b = (checkpoint.load(folder / "checkpoint.pt") for folder in (whole, halves))
    assert a["epochs"] == b["epochs"] == 25
    assert all(torch.equal(v, b["module"][k]) for k, v in a["module"].items())
    x = np.random.default_rng(0).random((5, 6), np.float32)
    np.testing.assert_array_equal(_outputs(whole / "model.onnx", x), _outputs(halves / "model.onnx", x))


def test_a_loss_that_is_no_number_costs_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = _write(tmp_path, lr="1e30")
    assert "finite" in _refused(capfd, "--config", str(config), "--out", str(tmp_path / "out"))
    kept = tmp_path / "out" / "checkpoint.pt"
    assert not kept.exists() or all(torch.isfinite(v).all() for v in checkpoint.load(kept)["module"].values())


def test_what_cannot_be_used_costs_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config, out = _write(tmp_path), str(tmp_path / "out")
    assert "none.toml" in _refused(capfd, "--config", str(tmp_path / "none.toml"), "--out", out)
    assert "nowhere" in _refused(capfd, "--config", str(config), "--out", out, "--data", "nowhere")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(config.read_text().replace("steps = 2", "stepz = 2"))
    said = _refused(capfd, "--config", str(wrong), "--out", out)
    assert "wrong.toml" in said and "method.stepz" in said
    assert "epochs" in _refused(capfd, "--config", str(config), "--out", out, "--epochs", "0")
    assert "seed" in _refused(capfd, "--config", str(config), "--out", out, "--seed=-3")
    assert "threads" in _refused(capfd, "--config", str(config), "--out", out, "--threads=-1")
    if not torch.cuda.is_available():
        assert "cuda" in _refused(capfd, "--config", str(config), "--out", out, "--device", "cuda")
    (tmp_path / "file").write_text("")
    assert "file" in _refused(capfd, "--config", str(config), "--out", str(tmp_path / "file"))
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_test_part_out_of_range_is_refused_before_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = _write(tmp_path)
    with np.load(tmp_path / "data.npz") as f:
        parts = dict(f)
    parts["x_test"][7] = 1.5
    np.savez(tmp_path / "data.npz", **parts)
    assert "x_test" in _refused(capfd, "--config", str(config), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out" / "checkpoint.pt").exists()
