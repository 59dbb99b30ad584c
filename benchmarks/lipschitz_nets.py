"""Networks for `benchmarks.lipschitz`: an MLP and a CNN on MNIST, a CNN on CIFAR-10 (Shi et al. 2022, section 5).

    python -m benchmarks.lipschitz_nets FOLDER     # trains what is not there yet, some minutes on one core

Data: `../shared/data`.  Inputs are in [0, 1].  Adam, learning rate 1e-3, no robust training: as published.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

SHARED = Path(__file__).resolve().parents[2] / "shared"


def networks() -> dict[str, tuple[str, nn.Sequential, int]]:
    """Name -> data set, untrained network, epochs."""
    wide = [nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10)]
    cnn = [nn.Conv2d(1, 8, 4), nn.ReLU(), nn.Conv2d(8, 8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(3872, 100), nn.ReLU()]
    deep = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(25088, 256)]
    return {
        "mnist_mlp": ("mnist", nn.Sequential(nn.Flatten(), *wide), 20),
        "mnist_cnn": ("mnist", nn.Sequential(*cnn, nn.Linear(100, 10)), 10),
        "cifar_cnn_4layer": ("cifar10", nn.Sequential(*deep, nn.ReLU(), nn.Linear(256, 10)), 3),
    }


def data(name: str) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Training and test images `[N, C, H, W]` in [0, 1], and their labels."""
    sys.path.insert(0, str(SHARED / "tools"))
    import data as shared  # type: ignore[import-not-found]

    def images(x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        return torch.tensor(x, dtype=torch.float32) / 255, torch.tensor(np.asarray(y), dtype=torch.int64)

    train, test = getattr(shared, name)()
    return images(*train), images(*test)


def train(network: nn.Sequential, name: str, epochs: int) -> float:
    """Train a network; returns its accuracy on the first 2,000 test images."""
    (x, y), (x_test, y_test) = data(name)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            cross_entropy(network(x[part]), y[part]).backward()
            optimiser.step()
    with torch.no_grad():
        guess = torch.cat([network(part).argmax(1) for part in x_test[:2000].split(250)])
    return float((guess == y_test[:2000]).float().mean())


def main() -> None:
    """Train what is missing."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (source, _, epochs) in networks().items():
        path = folder / f"{name}.pt"
        if not path.exists():
            torch.manual_seed(0)
            network = networks()[name][1]
            accuracy = train(network, source, epochs)
            torch.save(network.state_dict(), path)
            print(f"{name}: accuracy {accuracy:.3f} -> {path}")


if __name__ == "__main__":
    main()
