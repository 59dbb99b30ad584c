"""`verifier.bound`: enclosure, rows, norms, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verifier
from tests.cli.files import MODEL, dense
from tests.laws.cases import GRAPHS
from tests.laws.general_nets import network
from verifier.run import bound as bounds
from verifier.run.tensors import About

METHODS = ("interval", "forward", "crown", "alpha-crown")
RNG = np.random.default_rng(5)
WEIGHTS = [RNG.normal(size=(12, 4)), RNG.normal(size=(12, 12)), RNG.normal(size=(3, 12))]


def f(x: np.ndarray) -> np.ndarray:
    for i, W in enumerate(WEIGHTS):
        x = (np.maximum(x, 0) if i else x) @ W.astype(np.float32).astype(np.float64).T
    return x


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("bound") / "n.onnx"
    path.write_bytes(dense(*WEIGHTS))
    return verifier.load(path)


def points(ball: verifier.Ball, count: int = 4000) -> np.ndarray:
    """Points of a ball, most of them on its surface."""
    z = RNG.normal(size=(count, len(ball.center)))
    z[: count // 2] *= RNG.random((count // 2, len(ball.center))) < 0.4
    size = np.linalg.norm(z, ball.norm, axis=1, keepdims=True)
    return ball.center + ball.eps * (1 - 1e-12) * z / np.maximum(size, 1e-300)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_enclosed(net: Any, method: str, dtype: str) -> None:
    box = verifier.Box([-0.3, 0, 0.1, 0.2], [0.3, 0.4, 0.1, 0.5])
    lower, upper = verifier.bound(net, box, method=method, dtype=dtype)
    y = f(RNG.uniform(box.lower, box.upper, (4000, 4)))
    assert lower.shape == upper.shape == (3,)
    assert (lower <= y.min(0)).all() and (y.max(0) <= upper).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_method_is_never_looser_than_a_cheaper_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    name = ["general", "chain", "mirrored", "conv", "residual", "moves", "pooled", "general"][seed]
    graph, lower, upper = network(rng) if name == "general" else (GRAPHS[name](rng), None, None)
    if lower is None:
        center = rng.normal(size=graph.nodes[0].size)
        lower, upper = center - rng.random(len(center)), center + rng.random(len(center))
    monkeypatch.setattr(bounds, "about", lambda net, inputs: About(net, inputs))
    monkeypatch.setattr(bounds, "boundable", lambda net, *_: net)
    monkeypatch.setattr(bounds, "by_name", lambda *_: {})
    ball = verifier.Ball((lower + upper) / 2, float((upper - lower).max()), norm=2)
    for inputs in (verifier.Box(lower, upper), ball):
        for dtype in ("float64", "float32"):
            found = [verifier.bound(graph, inputs, m, dtype=dtype) for m in METHODS]
            for (l, u), (p, q) in zip(found, found[1:], strict=False):
                assert (l <= p).all() and (q <= u).all()


@pytest.mark.parametrize("box", [([-1, -3], [1, 3]), ([-0.5, -8], [3, 8])])
def test_crown_on_the_pendulum(box: tuple[list[float], list[float]]) -> None:
    plain, crown = (verifier.bound("models/pendulum.onnx", verifier.Box(*box), m) for m in ("interval", "crown"))
    assert (plain[0] <= crown[0]).all() and (crown[1] <= plain[1]).all()


@pytest.mark.parametrize("method", METHODS)
def test_rows(net: Any, method: str) -> None:
    box, rows = verifier.Box([-0.3] * 4, [0.3] * 4), np.array([[1, -1, 0], [0.5, 0.25, -2]])
    lower, upper = verifier.bound(net, box, method, rows=rows)
    y = f(RNG.uniform(box.lower, box.upper, (4000, 4))) @ rows.T
    assert (lower <= y.min(0)).all() and (y.max(0) <= upper).all()
    one = verifier.bound(net, box, method, rows=rows[0])
    assert one[0] == pytest.approx(lower[:1]) and one[1] == pytest.approx(upper[:1])
    l, u = verifier.bound(net, box, method)
    if "crown" in method:  # the difference of two outputs is known better than the outputs
        assert upper[0] - lower[0] < (u[0] - l[1]) - (l[0] - u[1])


def test_each_method_is_tighter_than_the_one_before(net: Any) -> None:
    widths = []
    for method in METHODS:
        lower, upper = verifier.bound(net, verifier.Box([-0.05] * 4, [0.05] * 4), method)
        widths.append(float((upper - lower).sum()))
    assert widths[0] > widths[1] >= widths[2] > widths[3] > 0


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_balls(net: Any, norm: int, method: str) -> None:
    ball = verifier.Ball([0.1, 0.2, -0.1, 0.3], 0.2, norm=norm)
    lower, upper = verifier.bound(net, ball, method)
    y = f(points(ball))
    assert (lower <= y.min(0)).all() and (y.max(0) <= upper).all()
    box_lower, box_upper = verifier.bound(net, ball.box(), method)
    assert (lower >= box_lower).all() and (upper <= box_upper).all()
    if method == "crown":
        assert (upper - lower < 0.9 * (box_upper - box_lower)).all()
    if method == "alpha-crown":
        l, u = verifier.bound(net, ball, "crown")
        assert (lower >= l - 1e-9).all() and (upper <= u + 1e-9).all()


def test_a_smaller_norm_is_a_smaller_ball(net: Any) -> None:
    widths = []
    for norm in (1, 2, float("inf")):
        lower, upper = verifier.bound(net, verifier.Ball([0.1, 0.2, -0.1, 0.3], 0.2, norm))
        widths.append(float((upper - lower).sum()))
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("norm", [1, 2, float("inf")])
def test_a_ball_cut_to_a_range(net: Any, norm: float) -> None:
    whole = verifier.Ball([0.1] * 4, 0.3, norm)
    cut = verifier.Ball([0.1] * 4, 0.3, norm, lo=0, hi=[0.2, 0.3, 0.4, 1])
    lower, upper = verifier.bound(net, cut)
    x = points(whole, 20000)
    x = x[((x >= 0) & (x <= [0.2, 0.3, 0.4, 1])).all(1)]
    y = f(x)
    assert len(x) > 20 and (lower <= y.min(0)).all() and (y.max(0) <= upper).all()
    assert (upper - lower).sum() < np.subtract(*verifier.bound(net, whole)[::-1]).sum()


@pytest.mark.parametrize("method", METHODS)
def test_a_point(net: Any, method: str) -> None:
    x = np.array([0.1, 0.2, -0.1, 0.3])
    for region in (verifier.Box(x, x), verifier.Ball(x, 0), verifier.Ball(x, 0, norm=2)):
        lower, upper = verifier.bound(net, region, method)
        y = f(x)
        assert (lower <= y).all() and (y <= upper).all() and (upper - lower < 1e-9).all()


def test_affine_networks_are_bounded_exactly(tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(dense([[3.0, -4.0]]))
    for norm, reach in ((1, 4), (2, 5), (float("inf"), 7)):
        lower, upper = verifier.bound(tmp_path / "n.onnx", verifier.Ball([1, 1], 0.5, norm))
        assert lower[0] == pytest.approx(-1 - 0.5 * reach) and upper[0] == pytest.approx(-1 + 0.5 * reach)
        assert lower[0] <= -1 - 0.5 * reach and upper[0] >= -1 + 0.5 * reach


def test_torch_module() -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    lower, upper = verifier.bound(verifier.load(module, torch.zeros(1, 3)), verifier.Ball(torch.zeros(3), 0.1))
    y = module(torch.rand(500, 3) * 0.2 - 0.1).detach().numpy()
    assert (lower <= y.min(0) + 1e-6).all() and (y.max(0) <= upper + 1e-6).all()


BOX = verifier.Box([-1, -1], [1, 1])
WRONG: list[tuple[Any, str]] = [
    (lambda: verifier.bound(MODEL, BOX, "guess"), "method 'guess': use one of interval, forward, crown"),
    (lambda: verifier.bound(MODEL, verifier.Box([0], [1])), "1 entries, the network 2 inputs"),
    (lambda: verifier.bound(MODEL, verifier.Ball(np.zeros(3), 1)), "3 entries, the network 2 inputs"),
    (lambda: verifier.bound(MODEL, BOX, rows=[[1, 2]]), "rows have 2 entries, the network 1 outputs"),
    (lambda: verifier.bound(MODEL, BOX, rows=[[np.nan]]), "rows"),
    (lambda: verifier.bound(MODEL, BOX, rows="abc"), "rows"),
    (lambda: verifier.bound(MODEL, BOX, rows=np.ones((1, 1, 1))), "rows"),
    (lambda: verifier.bound(MODEL, [-1, 1]), "list"),
    (lambda: verifier.bound(MODEL, BOX, device="tpu"), "device 'tpu'"),
    (lambda: verifier.bound(MODEL, BOX, dtype="float16"), "dtype 'float16'"),
    (lambda: verifier.bound("none.onnx", BOX), "no such file"),
]


@pytest.mark.parametrize(("use", "message"), WRONG)
def test_misuse(use: Any, message: str) -> None:
    with pytest.raises(verifier.UserError, match=message) as error:
        use()
    assert "\n" not in str(error.value)
