"""The worked examples of `docs/extending.md` run, and each of its laws fails where the page says that it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .blocks import ROOT, blocks, run

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """Whatever the page writes into tables of the package and of the tests is taken out again."""
    from tests.laws import test_clipping, test_neuron_search, test_operators
    from tests.relax import curve_cases
    from tests.train import cases, test_methods
    from verifier.graph.ops import curves, table
    from verifier.relax import shapes
    from verifier.train import methods
    from verifier.values import arrays_torch

    changed: list[tuple[Any, str]] = [
        (curves, "KINDS"), (curves, "RULES"), (shapes, "_PIECES"), (table, "CONVERTERS"), (curve_cases, "REFERENCE"),
        (curve_cases, "SPECIAL"), (test_operators, "AFFINE"), (methods, "METHODS"), (cases, "METHODS_TRIED"),
        (test_methods, "METHODS_TRIED"), (test_methods, "CLAIMS"),
    ]  # fmt: skip
    kept = [(getattr(m, name), dict(getattr(m, name))) for m, name in changed]
    scores, clip = test_neuron_search.SCORES, test_clipping.clip
    twins = dict(vars(arrays_torch))
    yield
    for name in set(vars(arrays_torch)) - set(twins):
        delattr(arrays_torch, name)
    for now, before in kept:
        now.clear()
        now.update(before)
    test_neuron_search.SCORES, test_clipping.clip = scores, clip


def test_the_examples_run(tmp_path: Path) -> None:
    assert run(PAGE, tmp_path) == sum(b.kind == "python" for b in blocks(PAGE)) > 10


MUTANTS = {
    "bend": ("shapes._s_shaped(where_slope_is)", "[shapes.Piece(-float('inf'), float('inf'), 1)]", "line on"),
    "adjoint": ("xp.flip(xp.flip(A, (-1,)).cumsum(-1), (-1,))", "A.cumsum(-1)", "Mismatched elements"),
    "use": ("used = A * 1.0 if use is None else np.where(use[:, :, None], A, 0.0)", "used = A", "a point is lost"),
    "narrower": ("batch.lower - more, batch.upper + more", "batch.lower + more, batch.upper - more", "assert"),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_the_laws_fail_where_the_page_says_so(what: str, tmp_path: Path) -> None:
    old, new, message = MUTANTS[what]
    text = PAGE.read_text()
    assert text.count(old) == 1
    page = tmp_path / "extending.md"
    page.write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match=message):
        run(page, tmp_path)
