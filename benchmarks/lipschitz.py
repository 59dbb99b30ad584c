"""Local Lipschitz constants: the reference cases of `../shared/lipschitz`, and networks trained on images.

python -m benchmarks.lipschitz reference [SECONDS]     # every case and eps against the peer and exact values
python -m benchmarks.lipschitz images FOLDER [SECONDS] # upper bounds by method (benchmarks.lipschitz_nets FOLDER first)
python -m benchmarks.lipschitz tabular                 # signs of derivatives of a network on scikit-learn's wine data
"""

from __future__ import annotations

import json
import resource
import sys
import time
from math import inf

import numpy as np
import torch
from torch import nn

import verifier
from benchmarks.lipschitz_nets import SHARED, data, networks
from verifier.run.lipschitz import ask
from verifier.run.model import boundable
from verifier.sensitivity.baselines.products import product_of_norms


def reference(seconds: float) -> None:
    """One line a case: root and search against the peer's, in float64 on one core."""
    print("case                  eps    root/peer  root s (peer)   lower      upper      gap      exact      parts  s")
    for case in ("fc_2_16_16_2", "fc_10_50_50_10", "conv_1x8x8", "tanh_2_16_16_2", "sigmoid_10_50_50_10"):
        stored = np.load(SHARED / "lipschitz" / f"{case}.npz")
        told = json.loads((SHARED / "lipschitz" / f"{case}.json").read_text())["eps"]
        net, x = verifier.load(_module(case, stored), _example(stored)), stored["x0"].reshape(-1).astype(np.float64)
        for eps, peer in told.items():
            box = verifier.Box(x - float(eps), x + float(eps))
            start = time.monotonic()
            search = ask(boundable(net), box, inf, None, None, case, 1e-6, False).search(lambda: None)
            search.root(climbing=False)
            root, crown = time.monotonic() - start, peer["crown"]
            worst = (search.upper / np.array(crown["per_output"])).max()
            found = verifier.lipschitz(net, box, inf, timeout=seconds, tolerance=1e-6)
            exact = peer.get("exact_milp", peer["sampled_lower"])["linf_lipschitz"]
            print(
                f"{case:21s} {eps:6s} {worst:.7f}  {root:.3f} ({crown['seconds']:.3f})  {found.lower:.6f}  "
                f"{found.upper:.6f}  {found.upper / found.lower - 1:.1e}  {exact:.6f}  {found.stats['parts']:6d}  "
                f"{found.stats['seconds']:.2f}"
            )


def _module(case: str, stored: dict[str, np.ndarray]) -> nn.Sequential:
    if case.startswith("conv"):
        image = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)]
        module = nn.Sequential(*image)
    else:
        kind, *sizes = case.split("_")
        activation = {"fc": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[kind]
        found: list[nn.Module] = []
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            found += [nn.Linear(int(a), int(b)), activation()]
        module = nn.Sequential(*found[:-1])
    module.load_state_dict({k: torch.tensor(stored[k]).float() for k in stored if k != "x0"})
    return module


def _example(stored: dict[str, np.ndarray]) -> torch.Tensor:
    x = torch.tensor(stored["x0"]).float()
    return x.reshape(1, 1, 8, 8) if x.numel() == 64 else x.reshape(1, -1)


def images(folder: str, seconds: float) -> None:
    """Upper bounds of the constant of the true class's output around the first test image, by method."""
    print("network            eps     product   interval    CROWN      search     lower    s CROWN  s  GiB  parts")
    for name, (source, network, _) in networks().items():
        network.load_state_dict(torch.load(f"{folder}/{name}.pt"))
        _, (x, y) = data(source)
        net, point, label = verifier.load(network, x[:1]), x[0].reshape(-1).double().numpy(), int(y[0])
        for eps in (0.002, 0.01) if source == "mnist" else (0.0005, 0.002):
            ball = verifier.Ball(point, eps, lo=0, hi=1)
            start = time.monotonic()
            search = ask(boundable(net), ball, inf, label, None, name, 1e-3, False).search(lambda: None)
            search.root(climbing=False)
            root = time.monotonic() - start
            plain = interval(search)
            found = verifier.lipschitz(net, ball, inf, outputs=label, timeout=seconds, tolerance=1e-3)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            product = product_of_norms(boundable(net), inf)
            print(
                f"{name:18s} {eps:6.4f}  {product:.4g}  {plain:9.4g}  {search.upper.max():9.4f}  {found.upper:9.4f}  "
                f"{found.lower:9.4f}  {root:6.2f}  {found.stats['seconds']:6.1f}  {memory:.1f}  {found.stats['parts']}"
            )


def interval(search: object) -> float:
    """The bound by interval arithmetic on the derivative's graph."""
    problem = search.problem  # type: ignore[attr-defined]
    (low, high) = problem.entries
    return float(np.maximum(abs(low), abs(high)).sum())


def tabular() -> None:
    """How many derivatives keep their sign around each sample, by the root's bounds and by search."""
    from sklearn.datasets import load_wine

    wine = load_wine()
    x = (wine.data - wine.data.min(0)) / (wine.data.max(0) - wine.data.min(0))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    inputs, labels = torch.tensor(x).float(), torch.tensor(wine.target)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
    net = verifier.load(network, inputs[:1])
    counts = np.zeros(3, int)
    for k in range(0, len(x), 9):
        for i in range(13):
            low, high = x[k].copy(), x[k].copy()
            low[i], high[i] = 0.0, 1.0  # one feature over its whole range, as in Shi et al. 2022
            lower, upper = verifier.jacobian(net, verifier.Box(low, high), outputs=int(labels[k]))
            told = verifier.monotone(net, verifier.Box(low, high), i, int(labels[k]), timeout=10).direction
            counts += [lower[0, i] >= 0 or upper[0, i] <= 0, told not in ("neither", "unknown"), told == "unknown"]
    total = 13 * len(range(0, len(x), 9))
    print(f"{total} features at samples: CROWN keeps the sign of {counts[0]}, search of {counts[1]}, open {counts[2]}")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "reference":
        reference(float(rest[0]) if rest else 30.0)
    elif what == "images":
        images(rest[0], float(rest[1]) if len(rest) > 1 else 30.0)
    else:
        tabular()
