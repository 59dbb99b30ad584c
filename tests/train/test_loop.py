"""Training runs: deterministic, resumable bit by bit, honest when they fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from verifier.train import checkpoint
from verifier.train.data import Data
from verifier.train.evaluate import accuracy
from verifier.train.loop import Run, fit
from verifier.train.methods import METHODS
from verifier.train.model import Trainable
from verifier.train.recipe import DataOptions, parse
from verifier.values.errors import UserError


def _data(seed=0, n=64):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = np.clip(0.5 + 0.25 * np.eye(3)[y].repeat(2, 1) + 0.05 * rng.normal(size=(n, 6)), 0, 1).astype(np.float32)
    return Data(x[: n - 16].reshape(-1, 6), y[: n - 16], x[n - 16 :].reshape(-1, 6), y[n - 16 :], 3)


def _recipe(method="ibp", data=None, train=None, schedule=None, **fields):
    return parse(
        {
            "data": data or {},
            "model": {"architecture": "mlp", "width": 8, "depth": 2, "bn": True},
            "method": {"name": method, **fields},
            "schedule": {"eps": 0.05, "epochs": 4, "ramp_end": 1.0, "milestones": [2], "lr": 0.01, **(schedule or {})},
            "train": {"batch": 16, **(train or {})},
        }
    )


def _weights(module):
    return torch.cat([v.detach().reshape(-1).double() for v in module.state_dict().values()])


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_is_a_function_of_its_recipe(method):
    a, b = (fit(_recipe(method), _data()) for _ in range(2))
    assert torch.equal(_weights(a.module), _weights(b.module))
    other = fit(_recipe(method, train={"seed": 1}), _data())
    assert not torch.equal(_weights(a.module), _weights(other.module))


EXTRAS = [
    ({}, {}),
    ({"average": 1}, {}),
    ({"patience": 3, "clip": 0.0}, {"held_out": 0.25}),
    ({"l1": 1e-3, "weight": 0.6, "stabilize": 0.0}, {}),
    ({"average": 1}, {"held_out": 0.25}),
    ({"weight": 0.7, "weight_start": 0.1}, {"limit": 0}),
]


@pytest.mark.parametrize(("train", "data"), EXTRAS)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_ends_in_the_same_weights(tmp_path, train, data, stop):
    recipe = _recipe("sabr", data, train, {"ramp_end": 3.0})
    whole = fit(recipe, _data())
    run = Run(recipe, _data(), None, "cpu")
    for _ in range(stop):
        run.epoch()
        checkpoint.save(tmp_path / "checkpoint.pt", run.state())
    torch.manual_seed(99)  # nothing may hang on torch's own generator
    again = fit(recipe, _data(), folder=tmp_path, resume=True)
    assert torch.equal(_weights(whole.module), _weights(again.module))
    assert [r["loss"] for r in whole.log] == [r["loss"] for r in again.log] and len(again.log) >= stop
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(again.log) + 1


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    fit(_recipe(schedule={"epochs": 1}), _data(), folder=tmp_path)
    for other in (_recipe("pgd"), _recipe(schedule={"eps": 0.06}), _recipe(train={"seed": 5})):
        with pytest.raises(UserError, match="another recipe"):
            fit(other, _data(), folder=tmp_path, resume=True)
    with pytest.raises(UserError, match="another network"):
        fit(_recipe(), _data(), nn.Sequential(nn.Linear(6, 3)), folder=tmp_path, resume=True)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    data = _data()
    fit(_recipe(schedule={"epochs": 1}), data, folder=tmp_path)
    y = data.y_train.copy()
    y[0] = (y[0] + 1) % data.classes
    for other in (replace(data, y_train=y), replace(data, x_train=data.x_train * np.float32(0.5))):
        with pytest.raises(UserError, match="other data"):
            fit(_recipe(), other, folder=tmp_path, resume=True)
    fit(_recipe(), replace(data, x_test=data.x_test[:1], y_test=data.y_test[:1]), folder=tmp_path, resume=True)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no checkpoint" * 9])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    fit(_recipe(schedule={"epochs": 1}), _data(), folder=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="not a checkpoint"):
        fit(_recipe(), _data(), folder=tmp_path, resume=True)


def test_a_checkpoint_executes_nothing(tmp_path):
    import os
    import pickle
    import zipfile

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save({"version": 1, "x": torch.zeros(2)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Hostile(), 2) if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "b.pt")
    assert not (tmp_path / "executed").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    recipe = _recipe(schedule={"epochs": 3})

    def report(row):
        if row["epoch"] == 2:
            with torch.no_grad():
                module[0].weight.fill_(torch.nan)

    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(UserError, match="epoch 3: the loss is no longer") as e:
        fit(recipe, _data(), module, folder=tmp_path, report=report)
    assert "\n" not in str(e.value)
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    assert state["epochs"] == 2 and all(torch.isfinite(v).all() for v in state["module"].values())


def test_training_teaches():
    out = fit(_recipe(schedule={"epochs": 30, "ramp_end": 10.0, "milestones": [25]}), _data(n=400))
    found = accuracy(
        Trainable(out.module, torch.zeros(1, 6)), _data(n=400).x_test, _data(n=400).y_test, 0.05, DataOptions()
    )
    assert found.natural > 0.9 and found.verified > 0.8
    log = out.log
    assert log[0]["eps"] < log[5]["eps"] < log[-1]["eps"] == 0.05
    assert log[-1]["dead"] + log[-1]["active"] + log[-1]["unstable"] == pytest.approx(1)
    assert log[-1]["tightness"] > log[0]["tightness"]  # interval training makes networks tighter
    assert log[-1]["lr"] == pytest.approx(0.002) and log[-1]["loss"] < log[12]["loss"]


def test_the_test_part_is_never_looked_at():
    a = _data()
    b = replace(a, x_test=np.full_like(a.x_test, 0.3), y_test=np.zeros_like(a.y_test))
    recipe = _recipe(data={"held_out": 0.25}, train={"patience": 2})
    assert torch.equal(_weights(fit(recipe, a).module), _weights(fit(recipe, b).module))


def test_early_stopping_keeps_the_best_epoch():
    recipe = _recipe(
        data={"held_out": 0.25}, train={"patience": 2}, schedule={"epochs": 60, "ramp_end": 2.0, "lr": 0.05}
    )
    out = fit(recipe, _data())
    assert len(out.log) < 60 and out.best == len(out.log) - 2
    at = out.log[out.best - 1]
    scores = [(r["held_verified"], r["held_natural"]) for r in out.log if r["eps"] >= 0.05]
    assert (at["held_verified"], at["held_natural"]) == max(scores)


def test_averaged_weights_are_the_mean():
    recipe = _recipe(train={"average": 2}, schedule={"epochs": 4})
    run = Run(recipe, _data(), None, "cpu")
    seen = []
    while not run.done():
        run.epoch()
        seen.append([p.detach().clone() for p in run.module.parameters()])
    out = run.finish()
    for p, a, b in zip(out.module.parameters(), seen[2], seen[3], strict=True):
        torch.testing.assert_close(p.detach(), (a + b) / 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x_train": np.full((48, 6), 1.5, np.float32)}, "not within"),
        ({"classes": 9}, "9 classes"),
    ],
)
def test_data_that_does_not_fit(change, said):
    with pytest.raises(UserError, match=said):
        fit(_recipe(), replace(_data(), **change), nn.Sequential(nn.Linear(6, 3)))


def test_the_robust_share_follows_its_schedule():
    """The logged loss is the mix of the logged parts, batch by batch; with one batch an epoch it can be read off."""
    train = {"batch": 48, "weight": 0.8, "weight_start": 0.2, "stabilize": 0.0}
    out = fit(_recipe(train=train, schedule={"ramp_start": 1.0, "ramp_end": 3.0}), _data())
    for row, w in zip(out.log, (0.2, 0.5, 0.8, 0.8), strict=True):
        assert row["loss"] == pytest.approx((1 - w) * row["clean"] + w * row["robust"], rel=1e-5)


def test_averaged_weights_are_what_is_held_against_the_held_out_part():
    recipe = _recipe(data={"held_out": 0.25}, train={"average": 1}, schedule={"epochs": 5, "ramp_end": 1.0})
    out = fit(recipe, _data())
    part = _data().held_out(0.25, 0)
    found = accuracy(Trainable(out.module, torch.zeros(1, 6)), part.x_test, part.y_test, 0.05, DataOptions())
    at = out.log[out.best - 1]
    assert (found.natural, found.verified) == (at["held_natural"], at["held_verified"])
    run, seen = Run(recipe, _data(), None, "cpu"), []
    for _ in range(out.best):
        run.epoch()
        seen.append([p.detach().clone() for p in run.module.parameters()])
    seen = seen[1:] or seen
    for p, *own in zip(out.module.parameters(), *seen, strict=True):
        torch.testing.assert_close(p.detach(), torch.stack(own).mean(0))


@pytest.mark.parametrize("extra", [{}, {"average": 1}])
def test_a_lone_last_sample_does_not_stop_the_statistics(extra):
    data = _data()
    data = replace(data, x_train=data.x_train[:33], y_train=data.y_train[:33])  # batches of 16, 16 and 1
    out = fit(_recipe(train=extra, schedule={"epochs": 2}), data)
    assert all(torch.isfinite(v).all() for v in out.module.state_dict().values())


@pytest.mark.parametrize("seed", range(4))
def test_training_data_out_of_range_are_refused_wherever_they_fall(seed):
    data = _data()
    data.x_train[3] = 5
    with pytest.raises(UserError, match="x_train"):
        fit(_recipe(data={"held_out": 0.5}, train={"seed": seed}), data)


def test_nothing_is_proved_of_inputs_out_of_range():
    """Cutting their boxes to the range would turn them inside out: bounds of no width at all."""
    net = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[0].bias.zero_()
    x = np.array([[2.6, 2.5]], np.float32)  # 0.1 apart, radius 0.2
    with pytest.raises(UserError, match="range"):
        accuracy(Trainable(net, torch.zeros(1, 2)), x, np.array([0]), 0.2, DataOptions())
    assert accuracy(Trainable(net, torch.zeros(1, 2)), x, np.array([0]), 0.2, DataOptions(upper=3.0)).verified == 0


@pytest.mark.parametrize("change", [{"crop": 1}, {"flip": True}])
def test_only_images_are_moved(change):
    with pytest.raises(UserError, match="images"):
        fit(_recipe(data=change), _data())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x_train": np.zeros((0, 6), np.float32), "y_train": np.zeros(0, int)}, "x_train is empty"),
        ({"x_train": np.zeros((48, 6), np.uint8)}, "x_train is uint8"),
        ({"x_train": np.zeros((48, 6))}, "is of float32, the data of float64; convert one of them"),
        ({"x_test": np.zeros((16, 5), np.float32)}, r"x_test is float32 of shape \[16, 5\]"),
        ({"y_train": np.zeros(40, int)}, r"y_train is int64 of shape \[40\] for 48 inputs"),
        ({"y_train": np.zeros(48, np.float32)}, "y_train is float32"),
        ({"y_train": np.full(48, -1)}, "y_train goes from -1 to -1, but there are 3 classes"),
        ({"y_test": np.full(16, 3)}, "y_test goes from 3 to 3"),
    ],
)
def test_data_of_ones_own_that_do_not_belong_together(change, said):
    with pytest.raises(UserError, match=said):
        fit(_recipe(), replace(_data(), **change))


def test_classes_may_be_of_any_whole_type():
    data = _data()
    same = replace(data, y_train=data.y_train.astype(np.int16))
    assert torch.equal(*(_weights(fit(_recipe(), d).module) for d in (data, same)))


def test_a_network_with_nothing_to_train():
    with pytest.raises(UserError, match="no parameters"):
        fit(_recipe(), _data(), nn.Sequential(nn.Linear(6, 3)).requires_grad_(False))


def test_a_log_is_written_by_whoever_goes_on(tmp_path):
    """Also where all epochs are over: the process may have been killed between the checkpoint and the log."""
    fit(_recipe(), _data(), folder=tmp_path)
    before = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").unlink()
    fit(_recipe(), _data(), folder=tmp_path, resume=True)
    assert (tmp_path / "log.csv").read_text() == before
