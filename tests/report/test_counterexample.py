"""Counterexamples as pictures and as tables."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from verifier.campaign.rows import Counterexample
from verifier.report.counterexample import picture, table
from verifier.values.images import SIDE, layout


def found(shape: tuple[int, ...], x: np.ndarray | None = None, flat: bool = False) -> Counterexample:
    n = int(np.prod(shape))
    x = np.full(n, 0.5) if x is None else x.ravel()
    return Counterexample(x.tolist(), [1.0, 2.0], [0.0] * n, [1.0] * n, [n] if flat else list(shape), "")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28), (1, 28, 28, False)), ((28, 28), (1, 28, 28, False)), ((28, 28, 1), (1, 28, 28, False)),
        ((3, 32, 32), (3, 32, 32, False)), ((32, 30, 3), (3, 32, 30, True)), ((784,), (1, 28, 28, False)),
        ((1, 784), (1, 28, 28, False)), ((3072,), (3, 32, 32, False)), ((5,), None), ((1, 1, 1, 5), None),
        ((8, 3, 3), None), ((16, 9, 9), None), ((2, 3), None), ((65,), None), ((49,), None),
    ],
)  # fmt: skip
def test_what_counts_as_an_image(shape: tuple[int, ...], expected: tuple | None) -> None:
    assert layout(shape, int(np.prod(shape))) == expected


def test_no_picture_without_a_finite_box() -> None:
    f = found((8, 8))
    assert picture(f) is not None
    assert picture(replace(f, lower=[], upper=[])) is None
    assert picture(replace(f, upper=[float("inf"), *f.upper[1:]])) is None
    assert picture(found((5,))) is None


def shown(f: Counterexample) -> np.ndarray:
    png = picture(f)
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_picture_is_centre_counterexample_and_difference() -> None:
    x = np.full((10, 12), 0.5)
    x[2, 3], x[7, 8] = 1.0, 0.25
    image = shown(found((10, 12), x))
    assert image.shape == (10, 3 * 12 + 2, 3)
    centre, moved, difference = image[:, :12], image[:, 13:25], image[:, 26:]
    assert len(np.unique(centre)) == 1
    assert (moved[2, 3] == 255).all() and (moved[7, 8] == 0).all()
    assert difference[2, 3].tolist() == [255, 0, 0] and difference[7, 8].tolist() == [128, 128, 255]
    assert (difference[0, 0] == 255).all()


@pytest.mark.parametrize("last", [False, True])
def test_colours_stay_where_they_are(last: bool) -> None:
    x = np.full((3, 9, 9), 0.5)
    x[0, 4, 4], x[2, 1, 1] = 0.9, 0.1
    f = found((9, 9, 3), x.transpose(1, 2, 0)) if last else found((3, 9, 9), x)
    image = shown(f)
    moved, difference = image[:, 10:19], image[:, 20:]
    assert moved[4, 4, 0] == 255 and moved[1, 1, 2] == 0 and moved[4, 4, 1] == moved[4, 4, 2] == moved[0, 0, 0]
    assert difference[4, 4].tolist() == [255, 0, 0] and difference[1, 1].tolist() == [0, 0, 255]


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (SIDE + 1, 40), (333, 500)])
def test_large_pictures_lose_no_change(height: int, width: int) -> None:
    """Wherever one pixel moved, the difference shows it."""
    for i, j in itertools.product((0, height // 2, height - 1), (0, width // 3, width - 1)):
        x = np.full((height, width), 0.5)
        x[i, j] = 0.6
        image = shown(found((height, width), x))
        assert max(image.shape[:1]) <= SIDE
        assert ((image == [255, 0, 0]).all(2)).sum() == 1


def test_a_few_inputs_are_all_in_the_table() -> None:
    f = Counterexample([0.1, 5.0], [1.0], [0.0, -np.inf], [1.0, np.inf], [2], "")
    t = table(f)
    assert t["inputs"] == [["X_0", 0.0, 0.1, 1.0], ["X_1", None, 5.0, None]]
    assert (t["of"], t["moved"], t["outputs"], t["outputs_of"]) == (2, False, [1.0], 1)
    assert t["change"] == pytest.approx(0.4)
    assert table(Counterexample([0.1], [1.0], [], [], [], ""))["inputs"] == [["X_0", None, 0.1, None]]
    assert table(Counterexample([], [], [], [], [], "")) == {
        "inputs": [], "of": 0, "moved": False, "change": None, "outputs": [], "outputs_of": 0,
        "constraints": [],
    }  # fmt: skip


def test_of_many_inputs_those_that_moved_most() -> None:
    x = np.full(100, 0.5)
    x[[7, 60]] = 0.9, 0.0
    t = table(found((100,), x))
    names = [row[0] for row in t["inputs"]]
    assert len(names) == 12 and "X_7" in names and "X_60" in names and t["moved"] and t["change"] == 0.5
    assert len(table(replace(found((100,)), y=[0.0] * 99))["outputs"]) == 24
