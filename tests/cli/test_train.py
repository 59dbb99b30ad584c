"""`verifier train` as a user meets it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import verifier

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
[data]
source = "data.npz"
[model]
architecture = "mlp"
width = 12
bn = true
[method]
name = "mtl_ibp"
alpha = 0.3
steps = 2
[schedule]
eps = 0.05
epochs = {epochs}
ramp_end = 2
milestones = [3]
lr = 0.01
[train]
batch = 32
"""


@pytest.fixture
def recipe(tmp_path):
    def write(epochs=4, text=RECIPE):
        rng = np.random.default_rng(0)
        y = rng.integers(0, 3, 260)
        x = np.clip(0.5 + 0.3 * np.eye(3)[y] + 0.05 * rng.normal(size=(260, 3)), 0, 1).astype(np.float32)
        np.savez(tmp_path / "data.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
        path = tmp_path / "recipe.toml"
        path.write_text(text.replace("{epochs}", str(epochs)))
        return path

    return write


def _command(*arguments):
    return [sys.executable, "-m", "verifier", "train", *map(str, arguments)]


def _run(*arguments, cwd=None):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(_command(*arguments), capture_output=True, text=True, cwd=cwd, env=env)


def _weights(folder):
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    return torch.cat([v.double().reshape(-1) for v in state["module"].values()])


def test_a_recipe_becomes_a_network(recipe, tmp_path):
    done = _run("--config", recipe(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["eps"] == "0.05" and float(lines["natural"].rstrip("%")) > 80 and "%" in lines["verified"]
    folder = tmp_path / "recipe"
    with (folder / "log.csv").open() as f:
        log = list(csv.DictReader(f))
    assert [row["epoch"] for row in log] == ["1", "2", "3", "4"] and float(log[-1]["tightness"]) > 0
    data = verifier.train.read_data(tmp_path / "data.npz")
    net = verifier.load(folder / "model.onnx")
    natural = (net.run(data.x_test).argmax(1) == data.y_test).mean()
    assert lines["natural"] == f"{natural:.2%}"
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("events")) == [
        "checkpoint.pt",
        "log.csv",
        "model.onnx",
    ]
    assert "Traceback" not in done.stderr and "4 epochs" in done.stderr


def test_a_killed_run_ends_in_the_same_weights(recipe, tmp_path):
    config = recipe(epochs=40)
    assert _run("--config", config, "--out", tmp_path / "whole", "--quiet").returncode == 0
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    part, kills, rng = tmp_path / "part", 0, np.random.default_rng(1)
    while True:
        resumed = ["--resume"] if (part / "checkpoint.pt").exists() else []
        process = subprocess.Popen(_command("--config", config, "--out", part, "--quiet", *resumed), env=env)
        for _ in range(600):  # until it has come further
            if process.poll() is not None or ((part / "log.csv").exists() and kills < 3):
                break
            time.sleep(0.05)
        time.sleep(0.3 * rng.random())
        if process.poll() is not None or kills == 3:
            assert process.wait() == 0
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 1
    assert torch.equal(_weights(part), _weights(tmp_path / "whole"))
    same = [(tmp_path / d / "log.csv").read_text().splitlines() for d in ("part", "whole")]
    assert [line.rpartition(",")[0] for line in same[0]] == [line.rpartition(",")[0] for line in same[1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("eps = 0.05", "epz = 0.05"), "schedule.epz"),
        (('name = "mtl_ibp"', 'name = "mtl"'), "'mtl'"),
        (('source = "data.npz"', 'source = "none.npz"'), "none.npz"),
        (("lr = 0.01", "lr = 1e30"), "no longer a finite number"),
        (('architecture = "mlp"', 'architecture = "cnn3"'), "images"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(recipe, tmp_path, change, said):
    done = _run("--config", recipe(text=RECIPE.replace(*change)), "--out", tmp_path / "run", "--quiet")
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_folder_with_a_run_is_not_overwritten(recipe, tmp_path):
    config = recipe(epochs=1)
    assert _run("--config", config, "--out", tmp_path / "a", "--quiet").returncode == 0
    before = (tmp_path / "a" / "checkpoint.pt").read_bytes()
    again = _run("--config", config, "--out", tmp_path / "a", "--quiet")
    assert again.returncode == 2 and "--resume" in again.stderr
    assert (tmp_path / "a" / "checkpoint.pt").read_bytes() == before
    more = _run("--config", config, "--out", tmp_path / "a", "--quiet", "--resume", "--epochs", 2)
    assert more.returncode == 0
    other = _run("--config", config, "--out", tmp_path / "a", "--quiet", "--resume", "--seed", 7)
    assert other.returncode == 2 and "another recipe" in other.stderr


def test_help_needs_no_torch():
    code = "import sys; from verifier.cli import app; app.run(['train', '--help']); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("recipe_file", sorted((ROOT / "benchmarks" / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_the_recipes_of_the_benchmarks_are_read(recipe_file):
    verifier.train.read_recipe(recipe_file)
