"""Checkpoints: whole or refused, never half read; a write that fails leaves the last one."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.train.test_loop import _data, _recipe, _weights
from verifier.train import checkpoint
from verifier.train.loop import Run, fit
from verifier.values.errors import UserError

SHORT = {"epochs": 1}


@pytest.fixture
def kept(tmp_path):
    fit(_recipe(schedule=SHORT), _data(), folder=tmp_path)
    return tmp_path / "checkpoint.pt"


def test_what_is_kept_comes_back_bit_by_bit(kept):
    run = Run(_recipe(), _data(), None, "cpu")
    run.restore(checkpoint.load(kept), kept)
    again = Run(_recipe(schedule=SHORT), _data(), None, "cpu")
    again.epoch()
    assert run.epochs == 1 and torch.equal(_weights(run.module), _weights(again.module))
    assert torch.equal(run.order.get_state(), again.order.get_state())


KEYS = ("recipe", "epochs", "log", "module", "adam", "average", "order", "noise", "best")


@pytest.mark.parametrize("key", KEYS)
def test_a_part_that_is_missing_is_named_in_one_line(kept, key):
    state = checkpoint.load(kept)
    checkpoint.save(kept, {k: v for k, v in state.items() if k not in (key, "version")})
    with pytest.raises(UserError, match=r"checkpoint\.pt") as e:
        fit(_recipe(), _data(), folder=kept.parent, resume=True)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "change",
    [
        {"noise": torch.zeros(16, dtype=torch.uint8)},  # the state of a generator on another device
        {"adam": {"state": {}, "param_groups": []}},
        {"adam": 3},
        {"epochs": "many"},
        {"log": 1},
        {"best": 5},
        {"best": {"epoch": 1, "score": [1.0, 1.0], "weights": {"other": torch.zeros(3)}}},
    ],
)
def test_parts_that_do_not_fit_are_refused(kept, change):
    state = checkpoint.load(kept)
    checkpoint.save(kept, {k: v for k, v in state.items() if k != "version"} | change)
    with pytest.raises(UserError, match=r"checkpoint\.pt") as e:
        fit(_recipe(), _data(), folder=kept.parent, resume=True)
    assert "\n" not in str(e.value)


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.train.test_loop import _data, _recipe
from verifier.train.loop import fit
from verifier.values.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    fit(_recipe(), _data(), folder=Path(sys.argv[1]), resume=True)
except UserError as e:
    sys.stderr.write(str(e))
    sys.exit(7)
"""


def test_a_full_disk_costs_nothing_that_was_there(kept):
    before = kept.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, kept.parent], capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == 7 and "\n" not in done.stderr and "checkpoint.pt" in done.stderr, done.stderr
    assert kept.read_bytes() == before
    assert sorted(p.name for p in kept.parent.iterdir()) == ["checkpoint.pt", "log.csv"]


def test_a_log_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(UserError, match=r"log\.csv") as e:
        fit(_recipe(schedule=SHORT), _data(), folder=tmp_path)
    assert "\n" not in str(e.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.train.test_loop import _data, _recipe
from verifier.train.loop import fit
def tick(done, of):
    if done == 8:  # in the middle of an epoch
        os.kill(os.getpid(), signal.SIGKILL)
fit(_recipe("sabr"), _data(), folder=Path(sys.argv[1]), tick=tick)
"""


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoint.load(tmp_path / "checkpoint.pt")["epochs"] == 2
    again = fit(_recipe("sabr"), _data(), folder=tmp_path, resume=True)
    assert torch.equal(_weights(again.module), _weights(fit(_recipe("sabr"), _data()).module))
