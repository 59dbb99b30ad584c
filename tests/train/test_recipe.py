"""Recipes: what a file says, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from verifier.train.method import box
from verifier.train.methods import METHODS
from verifier.train.methods.sabr import SABR
from verifier.train.recipe import DataOptions, ModelOptions, Recipe, ScheduleOptions, TrainOptions, parse, read
from verifier.values.errors import UserError

FULL = """
[data]
source = "digits"
held_out = 0.1
[model]
architecture = "mlp"
width = 10
depth = 3
[method]
name = "sabr"
lambda = 0.25
steps = 3
[schedule]
eps = 1
milestones = [3, 4]
[train]
weight = 0.5
patience = 2
"""


def test_a_file_becomes_a_recipe(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(FULL)
    r = read(path)
    assert r.method == SABR(lambda_=0.25, steps=3) and r.schedule.eps == 1.0 and r.schedule.milestones == (3, 4)
    assert r.model.depth == 3 and r.train.weight == 0.5 and r.data.held_out == 0.1
    assert parse({}) == Recipe()


def test_a_source_is_found_beside_the_recipe(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"")
    path = tmp_path / "a.toml"
    path.write_text('[data]\nsource = "d.npz"\n')
    assert read(path).data.source == str(tmp_path / "d.npz")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_can_be_named(name):
    assert type(parse({"method": {"name": name}}).method) is METHODS[name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[data]\nsorce = 'digits'", "data.sorce"),
        ("[dat]\nsource = 'digits'", r"\[dat\]"),
        ("data = 3", "data"),
        ("[method]\nname = 'ipb'", "'ipb'"),
        ("[method]\nname = 'ibp'\nlambda = 0.3", "method.lambda"),
        ("[method]\nname = 'sabr'\nlambda = 1.5", "lambda"),
        ("[method]\nname = 'sabr'\nsteps = 2.5", "method.steps"),
        ("[schedule]\neps = -0.1", "eps"),
        ("[schedule]\neps = nan", "schedule.eps"),
        ("[schedule]\neps = '0.1'", "schedule.eps"),
        ("[schedule]\nepochs = true", "schedule.epochs"),
        ("[schedule]\nmilestones = 3", "schedule.milestones"),
        ("[schedule]\nmilestones = [1.5]", "schedule.milestones"),
        ("[schedule]\nshape = 'cosine'", "cosine"),
        ("[schedule]\nramp_start = 9\nramp_end = 3", "ramp"),
        ("[train]\nbatch = 0", "train.batch"),
        ("[train]\nweight = 1.01", "train.weight"),
        ("[train]\npatience = 3", "held_out"),
        ("[data]\nheld_out = 1.0", "held_out"),
        ("[model]\nbn = 1", "model.bn"),
        ("[method]\nname = ['ibp']", "method.name"),
        ("[schedule]\nmilestones = [-1]", "schedule.milestones"),
        ("[schedule]\nfactor = -0.5", "schedule.factor"),
        ("[train]\nseed = -1", "train.seed"),
        ("[train]\nseed = 9223372036854775808", "train.seed"),
        ("[data]\nheld_out = 0.1\n[train]\npatience = -1", "train.patience"),
        ("[train]\nweight_start = 1.5", "train.weight_start"),
        ("[data]\nsource = ", "TOML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, text, said):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as e:
        read(path)
    assert str(path) in str(e.value) and "\n" not in str(e.value).strip()


def test_a_method_that_cuts_boxes_cuts_them_to_the_range_of_the_data():
    wide = {"data": {"lower": -1.0, "upper": 2.0}, "method": {"name": "mtl_ibp"}}
    assert (parse(wide).method.data_lower, parse(wide).method.data_upper) == (-1.0, 2.0)
    assert parse({"method": {"name": "mtl_ibp"}}).method == METHODS["mtl_ibp"](data_lower=0.0, data_upper=1.0)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize("bad", ["0.1", True, [1, "a"], float("nan"), 1.5j])
def test_recipes_made_in_python_are_as_those_of_files(bad: Any) -> None:
    """A value of another type is refused by its key, not somewhere in a run."""
    for part, cls, key in (
        ("schedule", ScheduleOptions, "eps"), ("schedule", ScheduleOptions, "epochs"), ("train", TrainOptions, "seed"),
        ("schedule", ScheduleOptions, "milestones"), ("train", TrainOptions, "weight_start"),
        ("model", ModelOptions, "width"), ("data", DataOptions, "limit"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"{part}.{key}"):
            Recipe(**{part: cls(**{key: bad})})
    with pytest.raises(UserError, match="data: a dict is no DataOptions"):
        Recipe(data={})  # type: ignore[arg-type]
    numbers: dict[str, Any] = {"eps": np.float64(0.2), "epochs": np.int64(30), "milestones": (np.int64(3),)}
    kept = Recipe(schedule=ScheduleOptions(**numbers))
    assert kept.schedule.eps == 0.2
    with pytest.raises(UserError, match="eps .*not negative"):
        box(torch.zeros(1, 2), None if bad is True else bad)
    with pytest.raises(UserError, match="domain .*the least and the largest"):
        box(torch.zeros(1, 2), 0.1, bad)
