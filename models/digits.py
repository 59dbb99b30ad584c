"""Two classifiers of handwritten digits: `digits_fc.onnx` (64-32-32-10) and `digits_conv.onnx` (two convolutions).

Data: the 1,797 images of 8x8 pixels that scikit-learn ships (`load_digits`), pixel values 0..16 divided by 16; every
fifth image is held out.  Training is in float64 on images moved one gradient-sign step, so that the networks have some
robustness to speak of.

    python -m models.digits            # train and write both files
    python -m models.digits --check    # train and compare with the committed files
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from models.export import main

EPS = 0.06
"""How far a pixel moves during training."""


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `[1797, 64]` in [0, 1], their labels, and which of them are held out."""
    digits = load_digits()
    return digits.data / 16.0, digits.target, np.arange(len(digits.target)) % 5 == 0


def train(network: nn.Sequential, shape: tuple[int, ...], epochs: int = 40, batch: int = 64) -> nn.Sequential:
    """Train `network` on the images that are not held out, viewed as `[-1, *shape]`; print the accuracy on the rest."""
    images, labels, held_out = data()
    x = torch.from_numpy(images[~held_out]).view(-1, *shape)
    y = torch.from_numpy(labels[~held_out])
    steps = epochs * -(-len(x) // batch)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=steps)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(batch):
            moved = x[part].requires_grad_()
            (slope,) = torch.autograd.grad(cross_entropy(network(moved), y[part]), moved)
            moved = (x[part].detach() + EPS * slope.sign()).clamp(0, 1)
            optimiser.zero_grad()
            (cross_entropy(network(moved), y[part]) + cross_entropy(network(x[part].detach()), y[part])).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        guess = network(torch.from_numpy(images[held_out]).view(-1, *shape)).argmax(1).numpy()
    print(f"accuracy on {held_out.sum()} held-out images: {np.mean(guess == labels[held_out]):.3f}")
    return network


def fully_connected() -> tuple[nn.Sequential, tuple[int, ...]]:
    """The fully connected network, trained, and the shape of its input."""
    torch.manual_seed(1)
    wide = {"dtype": torch.float64}
    layers = [nn.Linear(64, 32, **wide), nn.ReLU(), nn.Linear(32, 32, **wide), nn.ReLU(), nn.Linear(32, 10, **wide)]
    return train(nn.Sequential(*layers), (64,)), (64,)


def convolutional() -> tuple[nn.Sequential, tuple[int, ...]]:
    """The convolutional network, trained, and the shape of its input."""
    torch.manual_seed(2)
    wide = {"dtype": torch.float64}
    layers = [
        nn.Conv2d(1, 6, 3, stride=2, padding=1, **wide),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2, padding=1, **wide),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 10, **wide),
    ]
    return train(nn.Sequential(*layers), (1, 8, 8)), (1, 8, 8)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, {"digits_fc": fully_connected, "digits_conv": convolutional}))
