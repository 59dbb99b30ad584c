"""Local Lipschitz constants: the reference cases of `../shared/lipschitz`, and networks trained on images.

python -m benchmarks.lipschitz reference [SECONDS]     # every case and eps against the peer and exact values
python -m benchmarks.lipschitz images FOLDER [SECONDS] # upper bounds by method (benchmarks.lipschitz_nets FOLDER first)
python -m benchmarks.lipschitz tabular                 # signs of derivatives of a network on scikit-learn's wine data
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import numpy as np
import torch
from torch import nn

import verifier
from benchmarks.lipschitz_nets import SHARED, data, networks
from verifier.graph.graph import Elementwise
from verifier.run.asked import Asked, ask
from verifier.run.model import boundable
from verifier.sensitivity.baselines import NEURONS, chain
from verifier.sensitivity.baselines.products import product_of_norms
from verifier.sensitivity.baselines.recurjac import recurjac, recurjac_entries
from verifier.sensitivity.baselines.semidefinite import lipsdp
from verifier.sensitivity.steps import intervals
from verifier.values.errors import ModelError

Found = tuple[float, float | None]
"""An upper bound of a constant, and a lower one where there is one."""


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
    """Upper bounds of the constant of the true class's output around the first test image, by method.

    Each in a process of its own, whose peak memory is told (0.4 GiB of it are PyTorch's libraries).
    """
    print("network           eps     method        upper     lower       s   GiB")
    for name, (source, network, _) in networks().items():
        network.load_state_dict(torch.load(f"{folder}/{name}.pt"))
        _, (x, y) = data(source)
        net, point, label = verifier.load(network, x[:1]), x[0].reshape(-1).double().numpy(), int(y[0])
        del x, y
        for eps in (0.002, 0.01) if source == "mnist" else (0.0005, 0.002):
            ball = verifier.Ball(point, eps, lo=0, hi=1)
            for method, bound in METHODS.items():
                print(
                    f"{name:17s} {eps:6.4f}  {method:8s}  {apart(partial(bound, net, ball, label, seconds))}",
                    flush=True,
                )


def apart(work: Callable[[], Found]) -> str:
    """What work returns and what it takes: seconds, and its process's peak memory in GiB."""
    here, there = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        start = time.monotonic()
        try:
            upper, lower = work()
            told = f"{upper:{'9.4f' if upper < 1e4 else '9.3e'}}  {'' if lower is None else format(lower, '.4f'):>8s}"
        except ModelError as e:
            told = f"refused: {e}"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        there.send(f"{told:19s}  {time.monotonic() - start:6.2f}  {memory:4.1f}")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    found = str(here.recv())
    process.join()
    return found


def product(net: Any, ball: verifier.Ball, label: int, seconds: float) -> Found:
    """Of norms, of the whole network."""
    return product_of_norms(boundable(net), inf), None


def semidefinite(net: Any, ball: verifier.Ball, label: int, seconds: float) -> Found:
    """LipSDP with interval bounds of what enters neurons; from ℓ2, so times the root of the number of inputs."""
    graph = boundable(net)
    count = sum(node.size for node in graph.nodes if isinstance(node.op, Elementwise))
    if count > NEURONS:
        raise ModelError(f"out of reach, {count:,} neurons of at most {NEURONS}")
    layers = chain(graph)
    known = intervals(graph, ball.box()).interval
    entering = [graph.nodes[layer.node].inputs[0] for layer in layers[:-1]]
    bounds = [tuple(np.ravel(end) for end in known[j]) for j in entering]
    row = np.eye(1, len(layers[-1].b), label)
    return lipsdp(layers, row, bounds, seconds=seconds) * np.sqrt(len(ball.center)), None


def interval(net: Any, ball: verifier.Ball, label: int, seconds: float) -> Found:
    """By interval arithmetic on the derivative's graph."""
    (low, high) = asked(net, ball, label).search(lambda: None).problem.entries
    return float(np.maximum(abs(low), abs(high)).sum()), None


def by_recurjac(net: Any, ball: verifier.Ball, label: int, seconds: float) -> Found:
    """RecurJac on the same derivative's graph."""
    what = asked(net, ball, label)
    return float(recurjac(what.graph, what.box, what.rows).max()), None


def crown(net: Any, ball: verifier.Ball, label: int, seconds: float) -> Found:
    """Bounds on the whole set."""
    search = asked(net, ball, label).search(lambda: None)
    search.root(climbing=False)
    return float(search.upper.max()), None


def searched(net: Any, ball: verifier.Ball, label: int, seconds: float) -> Found:
    """With branch and bound."""
    found = verifier.lipschitz(net, ball, inf, outputs=label, timeout=seconds, tolerance=1e-3)
    return found.upper, found.lower


def asked(net: Any, ball: verifier.Ball, label: int) -> Asked:
    """The question for one output."""
    return ask(boundable(net), ball, inf, label, None, "network", 1e-3, False)


METHODS = {
    "product": product,
    "LipSDP": semidefinite,
    "interval": interval,
    "RecurJac": by_recurjac,
    "CROWN": crown,
    "search": searched,
}


def tabular() -> None:
    """How many derivatives keep their sign around each sample, by RecurJac, by the root's bounds and by search."""
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
    graph, counts, spent = boundable(net), np.zeros(4, int), np.zeros(3)
    for k in range(0, len(x), 9):
        row = np.eye(1, 3, int(labels[k]))
        for i in range(13):
            low, high = x[k].copy(), x[k].copy()
            low[i], high[i] = 0.0, 1.0  # one feature over its whole range, as in Shi et al. 2022
            box, clock = verifier.Box(low, high), [time.monotonic()]
            theirs = recurjac_entries(graph, box, row)
            clock.append(time.monotonic())
            ours = verifier.jacobian(net, box, outputs=int(labels[k]))
            clock.append(time.monotonic())
            told = verifier.monotone(net, box, i, int(labels[k]), timeout=10).direction
            clock.append(time.monotonic())
            spent += np.diff(clock)
            signs = [lower[0, i] >= 0 or upper[0, i] <= 0 for lower, upper in (theirs, ours)]
            counts += [*signs, told not in ("neither", "unknown"), told == "unknown"]
    total = 13 * len(range(0, len(x), 9))
    for name, count, s in zip(("RecurJac", "CROWN", "search"), counts, (1e3 * spent / total).tolist(), strict=False):
        print(f"{name:9s} {count} of {total} signs ({count / total:.1%}), {s:.1f} ms each")
    print(f"open after search: {counts[3]}")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "reference":
        reference(float(rest[0]) if rest else 30.0)
    elif what == "images":
        images(rest[0], float(rest[1]) if len(rest) > 1 else 30.0)
    else:
        tabular()
