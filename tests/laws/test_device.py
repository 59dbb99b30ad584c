"""Nothing that bounds or searches mixes what is on a device with what is on the host, and a device changes no answer.

`tests.device` stands for a GPU: it refuses what CUDA refuses, and more (indices from the host).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import verifier
from tests.device import Far, device
from verifier.graph.ops.product import Share
from verifier.search.budget import Budget
from verifier.search.decide import NeuronSearch
from verifier.search.inputs import InputSearch
from verifier.search.outcome import Progress
from verifier.search.query import make_query
from verifier.values.arrays import Place, counting
from verifier.values.precision import full_precision
from verifier.values.sets import Product

from .cases import GRAPHS, Rng, domains, points, property_of
from .general_nets import network

FAR = [Place("torch", dtype, "cuda") for dtype in ("float32", "float64")]
MODELS = ("digits_fc", "digits_conv", "pendulum")


class Stop(Exception):
    """So many rounds."""


def test_the_device_refuses_what_a_gpu_refuses() -> None:
    with device():
        far = torch.ones(3, device="cuda")
        assert isinstance(far, Far) and far.device.type == "cuda" and not isinstance(far.cpu(), Far)
        assert isinstance(counting(3, far), Far) and isinstance(torch.ones(3).to("cuda") + far * 2, Far)
        one = torch.nonzero(far > 0).reshape(-1)
        far[one] = 2.0
        assert far.cpu().tolist() == [2.0] * 3 and float(far.sum()) == 6.0
        for wrong in (
            lambda: far + torch.ones(3),
            lambda: torch.ones(3)[one],
            lambda: far[torch.arange(2)],
            lambda: far[np.arange(2)],
            lambda: torch.where(far > 0, torch.ones(3), far),
        ):
            with pytest.raises(RuntimeError):
                wrong()
        with pytest.raises(TypeError):
            np.asarray(far)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["crown", "alpha-crown"])  # (these do the others' work, too)
@pytest.mark.parametrize("name", MODELS)
def test_bounds(name: str, method: str, dtype: str) -> None:
    net = verifier.load(f"models/{name}.onnx")
    n = net.graph.nodes[net.graph.inputs[0]].size
    x = np.full(n, 0.2)
    half, low, up = verifier.Ball(x[: n // 2], 0.1, norm=2), x - 0.01, x + 0.01
    low[: n // 2], up[: n // 2] = half.box().lower, half.box().upper
    for ball in (verifier.Ball(x, 0.1, norm=2), Product((half,), (np.arange(n // 2),), low, up)):
        here = verifier.bound(net, ball, method, dtype=dtype)
        with device():
            there = verifier.bound(net, ball, method, dtype=dtype, device="cuda")
        for a, b in zip(here, there, strict=True):
            assert a == pytest.approx(b, rel=1e-4, abs=1e-4)


def asked(rng: Rng, kind: str) -> tuple[verifier.Property, object]:
    if kind == "general":
        graph, lower, upper = network(rng)
        while any(isinstance(n.op, Share) for n in graph.nodes):
            graph, lower, upper = network(rng)
    else:
        graph = GRAPHS[kind](rng)
        lower, upper = (a[0] for a in domains(rng, "plain", graph.nodes[0].size, 1))
    x = points(rng, lower[None], upper[None], 100)[0]
    y = graph.evaluate(x.reshape(len(x), *graph.nodes[0].shape))[0].reshape(len(x), -1)
    row = rng.normal(size=y.shape[1])
    least = (y @ row).min()
    d = least - 0.02 * (np.median(y @ row) - least) - 1e-3
    disjuncts = [[(row, np.zeros(len(lower)), d), (-row, np.ones(len(lower)) * 0.01, 1e3)]]
    return property_of(lower, upper, disjuncts), graph


@pytest.mark.parametrize("place", FAR, ids=lambda p: p.dtype)
@pytest.mark.parametrize("kind", ["chain", "leaky", "conv", "residual", "moves", "sources", "pooled", "general"])
def test_searches_of_both_kinds(kind: str, place: Place) -> None:
    bounded = 0
    prop, graph = asked(np.random.default_rng([*kind.encode()]), kind)
    for search_ in ("inputs", "neurons"):

        def enough(p: Progress) -> None:
            if p.rounds >= 2:
                raise Stop

        with device(), full_precision(place), np.errstate(all="ignore"):
            query = make_query(graph, prop, place)
            if search_ == "inputs":
                search = InputSearch(query, lambda x, group: None, enough, batch=16)
            else:
                search = NeuronSearch(query, Budget.seconds(30), lambda x, group: None, enough)
            try:
                search.advance(Budget.seconds(30))
            except Stop:
                pass
            bounded += search.progress.bounded
    assert bounded > 1


@pytest.mark.parametrize("spec", ["pendulum_pushes_back", "digits_fc_75_centre", "digits_conv_20_small"])
def test_whole_questions(spec: str) -> None:
    model = f"models/{spec.rsplit('_', 2)[0]}.onnx"
    with device():
        found = verifier.verify(model, f"specs/{spec}.vnnlib", timeout=60, device="cuda")
    assert found.verdict == "unsat" and "GPU" in found.stats["strategy"]


def test_certify() -> None:
    rng = np.random.default_rng(0)
    net = verifier.load("models/digits_conv.onnx")
    x = rng.random((6, 64)) * 0.2
    y = net.run(x.astype(np.float32)).reshape(6, -1).argmax(1)
    here = verifier.certify(net, x, y, 0.02, timeout=5)
    with device():
        there = verifier.certify(net, x, y, 0.02, timeout=5, device="cuda")
    assert [p.status for p in here.points] == [p.status for p in there.points]
