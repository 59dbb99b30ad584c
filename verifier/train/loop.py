"""Training: epochs of steps, what is kept after each of them, and how a run goes on where it was stopped.

A run is a function of its recipe, its data and the machine's arithmetic.  All that is random comes from two generators
whose states are kept, and everything that changes with time is computed from the number of the step: a run that was
stopped at any moment and goes on ends in the same weights, bit by bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel

from verifier.train import checkpoint, initialize, log
from verifier.train.architectures import build
from verifier.train.augment import augmented
from verifier.train.data import Data
from verifier.train.evaluate import accuracy, lifeless, shares, tight
from verifier.train.method import Loss, box
from verifier.train.model import Trainable
from verifier.train.recipe import Recipe
from verifier.train.regularize import l1, stable
from verifier.values.errors import UserError
from verifier.values.log import note

Report = Callable[[dict[str, Any]], None]
"""Called after every epoch with its row of the log."""
Step = Callable[[int, int], None]
"""Called after every step with the number of steps done and of all steps."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run ended in.

    Attributes:
        module: the network, in evaluation mode.
        log: one row an epoch; see `Run.epoch`.
        best: the epoch whose weights these are.
    """

    module: nn.Module
    log: list[dict[str, Any]]
    best: int


def network(recipe: Recipe, data: Data) -> nn.Module:
    """The network that a recipe describes, with the weights it starts from."""
    m = recipe.model
    options = {k: v for k, v in (("width", m.width), ("bn", m.bn), ("depth", m.depth)) if v is not None}
    scale = None
    if m.normalize:
        axes = (0, *range(2, data.x_train.ndim)) if data.x_train.ndim > 2 else None
        mean, std = (np.atleast_1d(f(data.x_train, axis=axes, dtype=np.float64)) for f in (np.mean, np.std))
        scale = (mean.tolist(), np.maximum(std, 1e-6).tolist())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        try:
            net = build(m.architecture, data.shape, data.classes, normalize=scale, **options)
        except TypeError as e:
            raise UserError(f"[model]: {m.architecture} has no such option ({e})") from None
        if m.init == "ibp":
            initialize.ibp(net)
    return net


def fit(
    recipe: Recipe,
    data: Data,
    module: nn.Module | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    report: Report | None = None,
    tick: Step | None = None,
) -> Trained:
    """Train a network.

    Args:
        recipe: how.
        data: on what; its test part is never looked at.
        module: the network, trained in place; the recipe's own where None.
        folder: where `checkpoint.pt` and `log.csv` are kept, written after every epoch.
        resume: go on from that checkpoint; it must be of the same recipe.
        device: where to compute.
        report, tick: told how it goes.

    Raises:
        UserError: data and network don't fit, the loss is not a number (the checkpoint is of the epoch before), or the
            checkpoint is of another recipe.
    """
    run = Run(recipe, data, module, device)
    path = None if folder is None else folder / "checkpoint.pt"
    if resume and path is not None and path.exists():
        run.restore(checkpoint.load(path), path)
        log.write(path.parent, run.log)  # whoever was stopped between the two had not written it
    while not run.done():
        run.epoch(tick)
        note("train", "%s", run.log[-1])
        if path is not None:
            checkpoint.save(path, run.state())
            log.write(path.parent, run.log)
        if report is not None:
            report(run.log[-1])
    return run.finish()


class Run:
    """A run of training: its state changes epoch by epoch."""

    def __init__(self, recipe: Recipe, data: Data, module: nn.Module | None, device: str) -> None:
        """See `fit`."""
        data.check()
        replace(data, x_test=data.x_test[:0]).within(recipe.data.lower, recipe.data.upper)
        if (recipe.data.crop or recipe.data.flip) and len(data.shape) != 3:
            raise UserError(f"data.crop, data.flip: inputs of shape {list(data.shape)} are no images; leave them out")
        self.recipe = recipe
        self.digest = data.digest()
        self.data = data.held_out(recipe.data.held_out, recipe.train.seed) if recipe.data.held_out else data
        self.module = (network(recipe, self.data) if module is None else module).to(device)
        self.x = torch.from_numpy(self.data.x_train).to(device)
        self.y = torch.from_numpy(self.data.y_train).to(device).long()
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        if not parameters:
            raise UserError(f"{type(self.module).__name__}: has no parameters that can be trained")
        if parameters[0].dtype != self.x.dtype:
            what = f"is of {parameters[0].dtype}, the data of {self.x.dtype}".replace("torch.", "")
            raise UserError(f"{type(self.module).__name__}: {what}; convert one of them")
        self.net = Trainable(self.module, self.x[:1])
        if self.data.classes > self.net.classes:
            raise UserError(f"data: {self.data.classes} classes, the network has {self.net.classes} outputs")
        self.adam = torch.optim.Adam(parameters, lr=recipe.schedule.lr)
        self.order, self.noise = Generator(), Generator(device)
        self.order.manual_seed(recipe.train.seed)
        self.noise.manual_seed(recipe.train.seed + 1)
        self.average = AveragedModel(self.module) if recipe.train.average else None
        self.mean = Trainable(self.average.module, self.x[:1]) if self.average and recipe.data.held_out else None
        self.epochs = 0
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None

    def done(self) -> bool:
        """Whether all epochs are over, or none of the last was better than those before."""
        patience, best = self.recipe.train.patience, self.best
        stale = bool(patience) and best is not None and self.epochs - best["epoch"] >= patience
        return self.epochs >= self.recipe.schedule.epochs or stale

    def epoch(self, tick: Step | None = None) -> None:
        """One epoch, and its row of the log.

        The row: epoch (from 1), eps, lr, loss, clean and robust loss, natural and verified accuracy of the batches
        (verified: None where the method has no bounds of the whole box), shares of dead, active and undecided neurons
        in the last batch, tightness at a few training inputs, seconds; of the held-out part, where there is one,
        `held_natural` and `held_verified`; a note, where a whole layer is dead.
        """
        recipe, began, n = self.recipe, time.perf_counter(), len(self.x)
        ramp, rate, size = recipe.ramp(), recipe.rate(), recipe.train.batch
        steps = max(1, n // size) if n >= size else 1
        sums = torch.zeros(5, dtype=torch.float64, device=self.x.device)
        last: Loss | None = None
        self.module.train()
        for k, index in enumerate(self._batches(steps, size)):
            now = self.epochs + (k + 1) / steps
            for group in self.adam.param_groups:
                group["lr"] = rate.at(self.epochs)
            last, row = self._step(index, ramp.at(now), now)
            sums += row
            if tick is not None:
                tick(self.epochs * steps + k + 1, recipe.schedule.epochs * steps)
        assert last is not None
        mean = (sums / steps).tolist()
        if not all(np.isfinite(mean[:3])) or not _finite(self.module):
            raise UserError(
                f"epoch {self.epochs + 1}: the loss is no longer a finite number; the last checkpoint is of the epoch "
                "before: lower schedule.lr, or let eps grow more slowly"
            )
        self.epochs += 1
        if self.average is not None and self.epochs > recipe.train.average:
            self.average.update_parameters(self.module)
        self.log.append(
            {
                "epoch": self.epochs,
                "eps": ramp.at(self.epochs),
                "lr": rate.at(self.epochs - 1),
                **dict(zip(("loss", "clean", "robust", "natural"), mean, strict=False)),
                "verified": None if last.verified is None else mean[4],
                **shares(last),
                "tightness": tight(self.net, self.x),
                **self._held(),
                "seconds": time.perf_counter() - began,
                "note": lifeless(last),
            }
        )

    def _batches(self, steps: int, size: int) -> Iterator[Tensor]:
        """Every sample once but those that fill no batch, in random order."""
        order = torch.randperm(len(self.x), generator=self.order).to(self.x.device)
        return iter(order[: steps * size].split(size) if len(order) >= size else [order])

    def _step(self, index: Tensor, eps: float, now: float) -> tuple[Loss, Tensor]:
        """One step of the optimiser; the loss, and what is summed for the log."""
        recipe, t = self.recipe, self.recipe.train
        x, y = augmented(self.x[index], recipe.data.crop, recipe.data.flip, self.order), self.y[index]
        lower, upper = box(x, eps, (recipe.data.lower, recipe.data.upper))
        top = recipe.ramp().to
        progress = min(1.0, eps / top) if top else 1.0
        loss = recipe.method.loss(self.net, x, y, lower, upper, generator=self.noise, progress=progress)
        clean, robust = loss.clean.mean(), loss.robust.mean()
        w = recipe.share().at(now)
        total = (1 - w) * clean + w * robust if w < 1 else robust
        if t.l1:
            total = total + t.l1 * l1(self.module)
        if t.stabilize and progress < 1 and now < recipe.schedule.ramp_end and loss.layers:
            extra = stable(loss.clean_pass.graph, loss.layers, lower, upper)
            total = total + t.stabilize * (1 - progress) * extra
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        if t.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), t.clip)
        self.adam.step()
        verified = torch.zeros_like(loss.correct) if loss.verified is None else loss.verified & loss.correct
        row = [total.detach(), clean.detach(), robust.detach(), loss.correct.double().mean(), verified.double().mean()]
        return loss, torch.stack([r.double() for r in row])

    def _held(self) -> dict[str, float]:
        """Accuracies of the held-out part, once eps has come to its end; the best epoch's weights are kept."""
        recipe, net = self.recipe, self.net
        if not recipe.data.held_out:
            return {}
        if self.mean is not None and self.epochs > recipe.train.average:
            net = self.mean
            net.refresh(self._parts())
        found = accuracy(net, self.data.x_test, self.data.y_test, recipe.schedule.eps, recipe.data)
        full = recipe.ramp().at(self.epochs) >= recipe.ramp().to
        score = (found.verified, found.natural)
        if full and (self.best is None or score > tuple(self.best["score"])):
            weights = {k: v.detach().cpu().clone() for k, v in net.module.state_dict().items()}
            self.best = {"epoch": self.epochs, "score": list(score), "weights": weights}
        return {"held_natural": found.natural, "held_verified": found.verified}

    def finish(self) -> Trained:
        """The trained network: averaged, or of the best epoch; its batch norms' statistics taken anew."""
        best = self.epochs
        if self.best is not None:
            self.module.load_state_dict(self.best["weights"])
            best = self.best["epoch"]
        elif self.average is not None and self.epochs > self.recipe.train.average:
            self.module.load_state_dict(self.average.module.state_dict())
        if self.best is None:
            self.net.refresh(self._parts())
        return Trained(self.module.eval(), self.log, best)

    def _parts(self) -> list[Tensor]:
        """The training part in batches; a lone last sample, which has no variance, joins the batch before it."""
        parts = list(self.x.split(min(self.recipe.train.batch, len(self.x))))
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        return parts

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        return {
            "recipe": _plain(self.recipe),
            "data": self.digest,
            "epochs": self.epochs,
            "log": self.log,
            "module": self.module.state_dict(),
            "adam": self.adam.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "order": self.order.get_state(),
            "noise": self.noise.get_state(),
            "best": self.best,
        }

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Go on from a state.

        Raises:
            UserError: it is of another recipe, another network or another kind of device, or a part of it is missing.
        """
        if missing := [key for key in self.state() if key not in state]:
            raise UserError(f"{path}: has no part {missing[0]!r}; start again in another folder")
        if state["recipe"] != _plain(self.recipe):
            raise UserError(f"{path}: is of another recipe; give another folder, or the recipe it was made by")
        if state["data"] != self.digest:
            raise UserError(f"{path}: was trained on other data; give another folder, or the data it was made with")
        try:
            self.module.load_state_dict(state["module"])
        except RuntimeError as e:
            raise UserError(f"{path}: is of another network ({str(e).splitlines()[-1].strip()})") from None
        self.epochs, self.log, self.best = state["epochs"], state["log"], state["best"]
        whole = isinstance(self.epochs, int) and isinstance(self.log, list) and len(self.log) == self.epochs
        try:
            if not whole or not (self.best is None or _fits(self.best, state["module"])):
                raise ValueError("its log or its best epoch is not what is written there")
            self.adam.load_state_dict(state["adam"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.order.set_state(state["order"])
            self.noise.set_state(state["noise"])  # a generator of the CPU takes no state of the GPU's
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as e:
            why = str(e).partition("\n")[0]
            raise UserError(f"{path}: damaged, or made on another kind of device ({why}); go on where it was") from None


def _fits(best: dict[str, Any], weights: dict[str, Tensor]) -> bool:
    """Whether what is kept of the best epoch is whole, its weights being of the same network."""
    if not {"epoch", "score", "weights"} <= set(best):
        return False
    return {k: v.shape for k, v in best["weights"].items()} == {k: v.shape for k, v in weights.items()}


def _finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def _plain(recipe: Recipe) -> str:
    """A recipe as text, without the number of epochs: a finished run may be given more of them."""
    content = asdict(recipe) | {"method": [type(recipe.method).__name__, asdict(recipe.method)]}  # type: ignore[call-overload]
    content["schedule"].pop("epochs")
    content["data"].pop("source")
    return repr(content)
