"""Quantised networks: robustness questions decided, against samples, and how far int8 networks are from float ones.

    OMP_NUM_THREADS=1 python benchmarks/quantised.py [--questions 100] [--limit 10] [--net digits] [--how qdq]

Trains a convolutional classifier of scikit-learn's digits and, where `../shared/data` is, an MLP of MNIST, has
onnxruntime quantise them, and asks `verify` whether images keep their class in boxes of several sizes.  Each `sat` is
replayed in onnxruntime, and of each `unsat` and open question samples of the box are tried.  With `--apart` it asks
instead whether both networks' outputs stay within several times what samples say of each other.  On a busy machine
give more seconds by the wall (`--wall`): what takes more than the limit of processor time counts as open.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import verifier
from tests.quantised import HOWS, network, quantised

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist_6k_train_10k_test.npz"
SIZES = {"digits": (0.01, 0.02, 0.04, 0.08, 0.16), "mnist": (0.002, 0.005, 0.01, 0.02, 0.04)}
"""Half the sides of boxes."""
SAMPLES = 2000


def images(source, shape):
    """Images `[P, *shape]` in [0, 1] and labels, to train on and to ask about."""
    from verifier.train.data import read

    d = read(source)
    return (d.x_train.reshape(-1, *shape), d.y_train), (d.x_test.reshape(-1, *shape), d.y_test)


def trained(data, sizes, channels=(), epochs=30):
    """Weights of a network: convolutions with so many channels, then layers of such sizes."""
    import torch

    torch.manual_seed(0)
    (x, y), _ = data
    layers, shape = [], x.shape[1:]
    for k, c in enumerate(channels):
        layers += [torch.nn.Conv2d(shape[0], c, 3, min(k + 1, 2), 1), torch.nn.ReLU()]
        shape = (c, *(-(-n // min(k + 1, 2)) for n in shape[1:]))
    layers.append(torch.nn.Flatten())
    n = int(np.prod(shape))
    for m in sizes:
        layers += [torch.nn.Linear(n, m), torch.nn.ReLU()]
        n = m
    net = torch.nn.Sequential(*layers[:-1])
    opt = torch.optim.Adam(net.parameters(), 2e-3, weight_decay=1e-4)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for at in order.split(64):
            noisy = x[at] + 0.1 * (2 * torch.rand_like(x[at]) - 1)
            loss = torch.nn.functional.cross_entropy(net(noisy), y[at])
            opt.zero_grad()
            loss.backward()
            opt.step()
    return [
        (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
        for layer in net
        if hasattr(layer, "weight")
    ]


def nets(wanted: str):
    """Name, weights and data of each network."""
    if wanted in ("", "digits"):
        data = images("digits", (1, 8, 8))
        yield "digits", trained(data, (32, 10), (8, 16)), data
    if wanted in ("", "mnist") and DATA.exists():
        data = images(DATA, (784,))
        yield "mnist", trained(data, (64, 32, 10), (), 15), data


def asked(net, name: str, points, labels, count: int, limit: float, wall: float, verbose: bool) -> None:
    """Ask so many questions, print a line."""
    said, seconds, wrong, missed, ours = {}, [], 0, 0, 0
    rng = np.random.default_rng(0)
    y = net.run(points.reshape(len(points), -1)[:300])
    right = np.flatnonzero(y.argmax(1) == labels[: len(y)])
    for k in range(count):
        eps = SIZES[name][k % len(SIZES[name])]
        i = right[k]
        ball = verifier.Ball(points[i].reshape(-1), eps, lo=0.0, hi=1.0)
        start = time.process_time()
        result = verifier.verify(net, verifier.robustness(ball, label=int(labels[i])), timeout=wall)
        seconds.append(time.process_time() - start)
        verdict = str(result.verdict) if seconds[-1] <= limit else "late"
        said.setdefault(eps, []).append(verdict)
        box = ball.box()
        t = rng.random((SAMPLES, len(box.lower)))
        t = np.where(rng.random((SAMPLES, 1)) < 0.5, np.rint(t), t)
        x = np.clip(box.lower + t * (box.upper - box.lower), box.lower, box.upper)
        x = np.clip(x.astype(np.float32), box.lower, box.upper).astype(np.float32)
        out = net.run(x)
        rival = np.delete(out, labels[i], 1).max(1) >= out[:, labels[i]]
        met = bool((rival & (x >= box.lower).all(1) & (x <= box.upper).all(1)).any())
        if verdict == "sat":
            again = net.run(result.witness.flat[None].astype(np.float32))[0]
            ours += int(np.delete(again, labels[i]).max() >= again[labels[i]])
        wrong += verdict == "unsat" and met
        missed += verdict not in ("sat", "unsat") and met
        if verbose:
            stats = result.stats
            phases = {n: round(v, 2) for n, v in stats["phases"].items()}
            print(
                k, i, eps, verdict, f"{seconds[-1]:.2f}", stats.get("domains"), stats.get("gap"), phases, result.reason
            )
    flat = [v for group in said.values() for v in group]
    decided = sum(v in ("sat", "unsat") for v in flat)
    each = "; ".join(f"{e:g}: {g.count('unsat')}/{g.count('sat')}/{len(g)}" for e, g in said.items())
    print(
        f"  decided {decided} of {count}; sat {flat.count('sat')}, replayed {ours}; wrong {wrong}; open, but sampled "
        f"{missed}; seconds of the processor: mean {np.mean(seconds):.2f}, median {np.median(seconds):.2f}, most "
        f"{max(seconds):.2f}\n    unsat/sat/asked by size {each}",
        flush=True,
    )


TIMES = (0.8, 2.0, 5.0, 9.0, 12.0)
"""How many times the distance that samples have is asked about."""


def asked_apart(float_net, net, name: str, points, count: int, limit: float) -> None:
    """Ask how far the quantised network is from the float one on boxes of each size, print a line for each size."""
    rng = np.random.default_rng(0)
    for eps in SIZES[name]:
        said, seconds, wrong = {k: [] for k in TIMES}, [], 0
        for i in range(count):
            box = verifier.Ball(points[i].reshape(-1), eps, lo=0.0, hi=1.0).box()
            x = rng.uniform(box.lower, box.upper, (SAMPLES, len(box.lower))).astype(np.float32)
            x = x[(x >= box.lower).all(1) & (x <= box.upper).all(1)]
            top = float(abs(net.run(x) - float_net.run(x)).max())
            for k in TIMES:
                start = time.process_time()
                result = verifier.verify(verifier.equivalent(float_net, net, box, k * top), timeout=limit)
                seconds.append(time.process_time() - start)
                said[k].append(str(result.verdict))
                wrong += said[k][-1] == "unsat" and k < 1
        each = "; ".join(f"{k:g}: {v.count('unsat')}/{v.count('sat')}/{len(v)}" for k, v in said.items())
        print(f"  {eps:g}: unsat/sat/asked by times {each}; wrong {wrong}; mean {np.mean(seconds):.2f} s", flush=True)


def main() -> None:
    """See above."""
    p = argparse.ArgumentParser()
    p.add_argument("--questions", type=int, default=100)
    p.add_argument("--limit", type=float, default=10.0)
    p.add_argument("--wall", type=float, default=0.0)
    p.add_argument("--net", default="")
    p.add_argument("--how", default="")
    p.add_argument("--all", action="store_true", help="per channel, and signed activations, too")
    p.add_argument("--apart", action="store_true", help="how far it is from the float network, instead")
    p.add_argument("--verbose", action="store_true")
    a = p.parse_args()
    for name, weights, data in nets(a.net):
        (x, _), (points, labels) = data
        model = network(weights, x.shape[1:])
        float_net = verifier.load(model)
        flat = points.reshape(len(points), -1)[:300]
        print(f"{name}: float accuracy {(float_net.run(flat).argmax(1) == labels[: len(flat)]).mean():.3f}")
        if a.how in ("", "float") and not a.apart:
            asked(float_net, name, points, labels, a.questions, a.limit, a.wall or a.limit, a.verbose)
        for how in HOWS:
            for per_channel, signed in ((False, False), (True, True)) if a.all else ((False, False),):
                if a.how not in ("", how):
                    continue
                q = verifier.load(quantised(model, how, x[:200], per_channel, signed))
                right = (q.run(flat).argmax(1) == labels[: len(flat)]).mean()
                print(f"{name} {how}{' per channel' * per_channel}{' signed' * signed}: accuracy {right:.3f}")
                if a.apart:
                    asked_apart(float_net, q, name, points, a.questions, a.wall or a.limit)
                    continue
                asked(q, name, points, labels, a.questions, a.limit, a.wall or a.limit, a.verbose)


if __name__ == "__main__":
    main()
