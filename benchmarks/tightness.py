"""Propagation tightness at initialisation: the published networks, and what theory says.

python -m benchmarks.tightness networks [SEEDS]   # CNN3, CNN5, CNN7 on CIFAR-10 against the published values
python -m benchmarks.tightness theory             # closed forms against samples
python -m benchmarks.tightness picture FILE       # by layer of the three networks
python -m benchmarks.tightness training FILE      # by epoch of a CNN3 on digits, three methods (some minutes)
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import verifier
from benchmarks.lipschitz_nets import SHARED
from verifier.run.tightness import profile
from verifier.run.train import train
from verifier.train import theory
from verifier.train.architectures import build
from verifier.train.initialize import ibp
from verifier.train.methods import METHODS
from verifier.train.recipe import Recipe, ScheduleOptions, TrainOptions

PUBLISHED = {"cnn3": (0.0249, 0.01224), "cnn5": (3.44e-4, 7.87e-5), "cnn7": (8.52e-8, 9.89e-9)}
"""Local and linear tightness, Kaiming uniform (Mao et al. 2024, `depth_init_tightness.json` of their repository)."""
SHAPE, CLASSES = (3, 32, 32), 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
POINTS = 4
EPOCHS = 25


def network(name: str, seed: int) -> nn.Module:
    """A network as its published figures were measured: of normalised CIFAR-10 images, batch norm in CNN7 only."""
    torch.manual_seed(seed)
    return build(name, SHAPE, CLASSES, normalize=(MEAN, STD)).eval()


def points() -> tuple[torch.Tensor, np.ndarray]:
    """The first test images of CIFAR-10 (`../shared/data`), in [0, 1], and their classes."""
    import io

    from PIL import Image

    with np.load(SHARED / "data" / "cifar10_jpeg.npz") as stored:
        jpeg, at, y = stored["test_jpeg"], stored["test_offset"], stored["test_label"][:POINTS]
    found = [np.asarray(Image.open(io.BytesIO(jpeg[at[k] : at[k + 1]].tobytes()))) for k in range(POINTS)]
    return torch.tensor(np.stack(found).transpose(0, 3, 1, 2), dtype=torch.float32) / 255, y.astype(np.int64)


def networks(seeds: int) -> None:
    """One line a network and initialisation: mean over seeds, least to largest, published.

    Of margins, merged into the last layer, as published.  It matters: a difference of two uniform weights is smaller in
    mean magnitude, at equal variance, than a uniform weight, so that margins are (√3/2)/(√(2/3)) = 1.061 times tighter.
    """
    x, y = points()
    print("network  init     kind    mean      least     largest   published  seconds")
    for name in PUBLISHED:
        for init in ("kaiming", "ibp"):
            found: dict[str, list[float]] = {"local": [], "linear": []}
            spent = dict.fromkeys(found, 0.0)
            for seed in range(seeds):
                net = network(name, seed)
                if init == "ibp":
                    ibp(net)
                loaded = verifier.load(net, x[:1])
                for kind, values in found.items():
                    start = time.perf_counter()
                    with torch.no_grad():
                        values.append(verifier.tightness(loaded, x, kind=kind, margins=y))
                    spent[kind] += (time.perf_counter() - start) / seeds
            for k, (kind, values) in enumerate(found.items()):
                told = f"{PUBLISHED[name][k]:.3g}" if init == "kaiming" else "-"
                print(
                    f"{name:8s} {init:8s} {kind:7s} {np.mean(values):.3e} {min(values):.3e} {max(values):.3e} "
                    f"{told:10s} {spent[kind]:.2f}",
                    flush=True,
                )


def closed_forms() -> None:
    """Closed forms and samples of Gaussian linear networks."""
    rng = np.random.default_rng(0)
    print("two layers: width, closed form, sampled, ratio of the two")
    for d in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        told, met = theory.two_layers(d), sampled(rng, [100, d, 100], 20)
        print(f"{d:4d}  {told:.4f}  {met:.4f}  {met / told:.4f}")
    print("depth: layers, width, approximation, sampled, upper bound")
    for d in (20, 50, 200):
        for layers in (2, 3, 5, 8):
            met = sampled(rng, [d] * (layers + 1), 20)
            print(f"{layers}  {d:3d}  {theory.depth(layers, d):.3e}  {met:.3e}  {theory.depth_bound(layers, d):.3e}")
    print("embedding W Wᵀ: dimension, rank, growth of intervals and of the exact box; sampled")
    for d, k in ((100, 40), (100, 10), (200, 150)):
        W = np.linalg.qr(rng.normal(size=(20, d, k)))[0]
        ones = np.ones((d, 1))
        met = np.mean(abs(W) @ (abs(W.transpose(0, 2, 1)) @ ones)), np.mean(abs(W @ W.transpose(0, 2, 1)) @ ones)
        print(f"{d} {k}  " + "  ".join(f"{v:.3f}" for v in (*theory.embedding_growth(d, k), *met)))


def sampled(rng: np.random.Generator, sizes: list[int], times: int) -> float:
    """Ratio of the mean output radii of so many networks of Gaussian layers."""
    exact = bound = 0.0
    for _ in range(times):
        J = A = np.eye(sizes[0])
        for a, b in zip(sizes, sizes[1:], strict=False):
            W = rng.normal(size=(b, a)) / a
            J, A = W @ J, abs(W) @ A
        exact, bound = exact + abs(J).sum(), bound + A.sum()
    return exact / bound


def picture(path: Path) -> None:
    """Tightness up to each layer of the three networks, local and linear."""
    figure, ax = axes("layer", "Propagation tightness up to each layer, Kaiming initialisation")
    for name in PUBLISHED:
        color = None
        for kind, style in (("local", "o-"), ("linear", "o--")):
            layers = profile(network(name, 0), points()[0], kind=kind)
            values = [v for _, v in layers]
            (line,) = ax.semilogy(
                range(1, len(values) + 1), values, style, color=color, markersize=4, label=f"{name} {kind}"
            )
            color = line.get_color()
        for k, told in enumerate(PUBLISHED[name]):
            ax.semilogy([len(values)], [told], "kx", label="published" if name == "cnn7" and k else None)
    ax.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def training(path: Path) -> None:
    """Local tightness after each epoch, as a run logs it; the last epoch of each method is printed."""
    figure, ax = axes("epoch", "Local tightness while a CNN3 is trained on digits, eps 0.1")
    print("method   tightness  natural  verified (interval or linear bounds)")
    for name in ("ibp", "sabr", "pgd"):
        recipe = Recipe(
            method=METHODS[name](),
            schedule=ScheduleOptions(eps=0.1, epochs=EPOCHS, ramp_end=EPOCHS / 2, lr=2e-3, milestones=(19, 23)),
            train=TrainOptions(batch=64),
        )
        with tempfile.TemporaryDirectory() as folder:
            out = train(recipe, Path(folder))
        values = [row["tightness"] for row in out.trained.log]
        ax.semilogy(range(1, EPOCHS + 1), values, label=name)
        print(f"{name:8s} {values[-1]:.4f}     {out.test.natural:.3f}    {out.test.verified:.3f}", flush=True)
    ax.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def axes(x: str, title: str) -> tuple[Any, Any]:
    """A figure of tightness."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.set_xlabel(x)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_ylabel("tightness")
    ax.set_title(title)
    ax.grid(alpha=0.3)
    return figure, ax


if __name__ == "__main__":
    if sys.argv[1:2] == ["networks"]:
        networks(int((sys.argv[2:] or ["3"])[0]))
    elif sys.argv[1:] == ["theory"]:
        closed_forms()
    elif sys.argv[1:2] == ["picture"] and len(sys.argv) == 3:
        picture(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["training"] and len(sys.argv) == 3:
        training(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
