"""Training from a recipe to a network in a file: the story on one page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from verifier.run.export import export
from verifier.train.data import Data, read
from verifier.train.evaluate import Accuracy, accuracy
from verifier.train.loop import Trained, fit
from verifier.train.model import Trainable
from verifier.train.recipe import Recipe
from verifier.values.errors import Unwritten, UserError


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a recipe.

    Attributes:
        trained: the network and its log.
        test: accuracies of the test part at the recipe's eps, verified by interval bounds or by linear ones.
        model: the ONNX file.
    """

    trained: Trained
    test: Accuracy
    model: Path


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    tick: Callable[[int, int], None] | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Train what the recipe says; `folder` gets `checkpoint.pt`, `log.csv` and `model.onnx`.

    Args:
        recipe: how, and on what.
        folder: made where it is missing.
        resume: go on from the checkpoint that lies in the folder.
        device: `cpu` or `cuda`.
        tick, report: told how it goes (see `train.loop`).

    Raises:
        UserError: data, recipe or folder cannot be used; the loss is no longer a number.
        Unwritten: the folder cannot be written to any more; its `found` is the outcome, but for the ONNX file.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: torch sees no GPU; use --device cpu")
    if resume and not (folder / "checkpoint.pt").exists():
        raise UserError(f"{folder}: has no checkpoint.pt to go on from; leave --resume out, or name the run's folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{folder}: no folder can be made there ({e.strerror})") from None
    if not resume and (folder / "checkpoint.pt").exists():
        raise UserError(f"{folder}: holds a run already; go on with it by --resume, or name another folder")
    data = read(recipe.data.source, recipe.data.limit or None)
    data.within(recipe.data.lower, recipe.data.upper)  # the test part, too, before hours are spent on the other
    writer = _board(folder)
    log: list[dict[str, Any]] = []

    def told(row: dict[str, Any]) -> None:
        log.append(row)
        if writer is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(key, value, row["epoch"])
        if report is not None:
            report(row)

    try:
        trained = fit(recipe, data, folder=folder, resume=resume, device=device, tick=tick, report=told)
    finally:
        if writer is not None:
            writer.close()
    example = torch.from_numpy(data.x_test[:1])
    trained.module.to("cpu")
    outcome = Outcome(trained, tested(recipe, data, trained), folder / "model.onnx")
    try:
        export(trained.module, example, outcome.model)
    except Unwritten as e:
        raise Unwritten(str(e), outcome) from None
    return outcome


def tested(recipe: Recipe, data: Data, trained: Trained) -> Accuracy:
    """Accuracies of the test part, by linear bounds where intervals do not do."""
    example = torch.from_numpy(data.x_test[:1])
    net = Trainable(trained.module, example)
    return accuracy(net, data.x_test, data.y_test, recipe.schedule.eps, recipe.data, linear=True)


def _board(folder: Path) -> Any:
    """TensorBoard's writer, where it is installed."""
    with suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder))
    return None


def changed(recipe: Recipe, source: str | None, seed: int | None, epochs: int | None) -> Recipe:
    """The recipe with what the command line says in its place."""
    if source is not None:
        recipe = replace(recipe, data=replace(recipe.data, source=source))
    if seed is not None:
        recipe = replace(recipe, train=replace(recipe.train, seed=seed))
    if epochs is not None:
        recipe = replace(recipe, schedule=replace(recipe.schedule, epochs=epochs))
    return recipe
