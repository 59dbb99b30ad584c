"""Questions that bring their networks along: both verdicts against sampling, grids and mixed-integer programs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verifier
from tests.cli.files import dense, outputs
from tests.laws.test_exact import Instance, by_matrices
from verifier.graph.ops.affine import Dense
from verifier.values.errors import PropertyError

from ..laws.cases import stack

BOX = verifier.Box([-1.0, -0.5], [1.0, 1.0])


def weights(seed: int, widths: tuple[int, ...] = (2, 6, 5, 2)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(m, n)).astype(np.float32) / np.float32(np.sqrt(n))
        for n, m in zip(widths, widths[1:], strict=False)
    ]


def saved(folder: Path, seed: int, change: float = 0.0) -> str:
    """A file; its weights moved a little."""
    rng = np.random.default_rng(100 + seed)
    path = folder / f"{seed}_{change}.onnx"
    path.write_bytes(
        dense(*(W + np.float32(change) * rng.normal(size=W.shape).astype(np.float32) for W in weights(seed)))
    )
    return str(path)


def layers(path: str) -> list[np.ndarray]:
    import onnx
    from onnx import numpy_helper

    return [numpy_helper.to_array(t).astype(np.float64) for t in onnx.load(path).graph.initializer]


def side_by_side(paths: list[str], picks: list[np.ndarray], n: int) -> Any:
    """One network: the i-th copy sees the inputs `picks[i]`."""
    blocks = [layers(p) for p in paths]
    first = np.concatenate([b[0] @ np.eye(n)[k] for b, k in zip(blocks, picks, strict=True)])
    rest = []
    for Ws in zip(*(b[1:] for b in blocks), strict=True):
        rows, cols = zip(*(W.shape for W in Ws), strict=True)
        W, r, c = np.zeros((sum(rows), sum(cols))), 0, 0
        for part in Ws:
            W[r : r + part.shape[0], c : c + part.shape[1]] = part
            r, c = r + part.shape[0], c + part.shape[1]
        rest.append(W)
    return stack([Dense(W, np.zeros(len(W))) for W in (first, *rest)])


def exact(paths: list[str], picks: list[np.ndarray], lower: Any, upper: Any, a: Any, c: Any) -> float:
    """`min a·y` by a mixed-integer program, where `c·x <= 0` (about)."""
    graph = side_by_side(paths, picks, len(lower))
    literals = [(np.asarray(a, float), np.zeros(len(lower)), 0.0)]
    q = Instance(graph, np.asarray(lower, float), np.asarray(upper, float), [literals])
    return by_matrices(q, literals if c is None else [*literals, (np.zeros(len(a)), np.asarray(c, float) * 1e3, 0.0)])


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_monotone(seed: int, increasing: bool, tmp_path: Path) -> None:
    """The largest fall is found by a mixed-integer program; a little less is refuted, a little more proved."""
    path, sign = saved(tmp_path, seed), 1.0 if increasing else -1.0
    picks = [np.array([0, 1]), np.array([2, 1])]
    a = np.zeros(4)
    a[0], a[2] = -sign, sign
    worst = -exact([path, path], picks, [-1, -0.5, -1], [1, 1, 1], a, [1, 0, -1])
    assert worst >= -1e-6
    asked = {}
    for tolerance, verdict in ((max(0.0, worst - 0.02), "sat"), (worst + 0.02, "unsat")):
        if worst < 0.03 and verdict == "sat":
            continue
        question = verifier.monotonicity(path, input=0, box=BOX, output=0, increasing=increasing, tolerance=tolerance)
        result = verifier.verify(question, timeout=60)
        assert result.verdict == verdict
        asked[verdict] = result
    if "sat" in asked:
        x, z = (t.values for t in asked["sat"].witness.tensors if t.name in "XZ")
        y, w = (outputs(path, v.reshape(-1).tolist())[0] for v in (x, z))
        x, z = x.reshape(-1), z.reshape(-1)
        assert x[0] <= z[0] and x[1] == z[1] and (z <= BOX.upper).all() and (x >= BOX.lower).all()
        assert Fraction(sign) * (Fraction(w) - Fraction(y)) < -Fraction(max(0.0, worst - 0.02))


@pytest.mark.parametrize("seed", range(3))
def test_equivalent(seed: int, tmp_path: Path) -> None:
    f, g = saved(tmp_path, seed), saved(tmp_path, seed, 0.02)
    both = [np.array([0, 1])] * 2
    worst = 0.0
    for k in range(2):
        for sign in (1.0, -1.0):
            a = np.zeros(4)
            a[k], a[2 + k] = sign, -sign
            worst = max(worst, -exact([f, g], both, BOX.lower, BOX.upper, a, None))
    for eps, verdict in ((0.9 * worst, "sat"), (1.1 * worst, "unsat")):
        result = verifier.verify(verifier.equivalent(f, g, BOX, eps), timeout=60)
        assert result.verdict == verdict
        if verdict == "sat":
            x = result.witness.tensors[0].values.reshape(-1).tolist()
            gaps = [abs(Fraction(a) - Fraction(b)) for a, b in zip(outputs(f, x), outputs(g, x), strict=True)]
            assert max(gaps) > Fraction(eps)
            assert [t.name for t in result.witness.tensors] == ["X", "Y", "Z", "W"]


def test_a_network_is_equivalent_to_itself(tmp_path: Path) -> None:
    f = saved(tmp_path, 0)
    assert verifier.verify(verifier.equivalent(f, f, BOX, 0.0), timeout=60).verdict == "unsat"
    net = verifier.load(f)
    assert verifier.verify(verifier.equivalent(net, net, BOX, 0.0), timeout=60).verdict == "unsat"


@pytest.mark.parametrize("seed", range(3))
def test_output_range(seed: int, tmp_path: Path) -> None:
    f = saved(tmp_path, seed)
    ends = [s * exact([f], [np.array([0, 1])], BOX.lower, BOX.upper, [0.0, s], None) for s in (1.0, -1.0)]
    for step, verdict in ((0.01, "unsat"), (-0.01, "sat")):
        limits = {"lower": ends[0] - step, "upper": ends[1] + step}
        for kept in (limits, {"lower": limits["lower"]}, {"upper": limits["upper"]}):
            asked = verifier.output_range(f, BOX, output=1, **kept)
            result = verifier.verify(asked, timeout=60)
            assert result.verdict == verdict
            if verdict == "sat":
                y = outputs(f, result.witness.flat.tolist())[1]
                assert y < limits["lower"] or y > limits["upper"]
    low, high = verifier.find_range(f, BOX, output=1, timeout=20)
    width = ends[1] - ends[0]
    assert ends[0] - 0.02 * width < low <= ends[0] + 1e-6 and ends[1] - 1e-6 <= high < ends[1] + 0.02 * width
    hasty = verifier.find_range(f, BOX, output=1, timeout=0)
    assert hasty[0] <= low and high <= hasty[1]


@pytest.mark.parametrize("norm", [1, 2, float("inf")])
def test_robust(norm: float, tmp_path: Path) -> None:
    f, x = saved(tmp_path, 1), np.float32([0.8, 0.9])
    y = outputs(f, x.tolist())
    label = int(np.argmax(y))
    assert abs(y[0] - y[1]) > 0.05
    verdicts = set()
    for eps in (0.01, 5.0):
        result = verifier.verify(verifier.robust(f, x, eps, norm=norm), timeout=60)
        verdicts.add(str(result.verdict))
        if result.witness is not None:
            assert np.linalg.norm(result.witness.flat - x, norm) <= eps
            assert outputs(f, result.witness.flat.tolist())[label] <= max(outputs(f, result.witness.flat.tolist()))
    assert verdicts == {"sat", "unsat"}
    assert verifier.verify(verifier.robust(f, x, 0.001, norm=norm, label=1 - label), timeout=60).verdict == "sat"


def test_another_network_in_its_place(tmp_path: Path) -> None:
    f, g = saved(tmp_path, 1), saved(tmp_path, 1, 0.5)
    far = verifier.equivalent(f, g, BOX, 0.1)
    assert verifier.verify(far, timeout=60).verdict == "sat"
    assert verifier.verify(g, far, timeout=60).verdict == "unsat"  # g and g
    assert verifier.verify({"g": f}, far, timeout=60).verdict == "unsat"
    assert verifier.verify(verifier.load(f), verifier.output_range(g, BOX, upper=100.0), timeout=60).verdict == "unsat"


WRONG: list[tuple[Any, str]] = [
    (lambda f: verifier.monotonicity(f, input=2, box=BOX), "input 2 of 2; give a number from 0 to 1"),
    (lambda f: verifier.monotonicity(f, input=0, box=BOX, output=-1), "output -1: give"),
    (lambda f: verifier.monotonicity(f, input=0, box=BOX, tolerance=-1), "tolerance -1: give"),
    (
        lambda f: verifier.monotonicity(f, input=0, box=verifier.Box([0], [1])),
        "the box has 1 entries, the network 2 inputs",
    ),
    (
        lambda f: verifier.monotonicity(f, input=0, box=verifier.Ball([0, 0], 1, 2)),
        "give a Box, or a Ball of the maximum norm",
    ),
    (lambda f: verifier.equivalent(f, f, BOX, float("nan")), "eps nan: give"),
    (lambda f: verifier.robust(f, [0.0], 0.1), "x has 1 entries"),
    (lambda f: verifier.robust(f, [0.0, 0.0], 0.1, norm=3), "norm 3"),
    (lambda f: verifier.robust(f, [0.0, 0.0], 0.1, label=7), "label 7"),
    (lambda f: verifier.output_range(f, BOX), "give lower, upper or both"),
    (lambda f: verifier.output_range(f, BOX, lower=3, upper=1), "lower 3 exceeds upper 1"),
    (lambda f: verifier.output_range(f, BOX, upper=float("inf")), "upper inf: give a finite number"),
]


@pytest.mark.parametrize(("ask", "message"), WRONG)
def test_misuse(ask: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(PropertyError, match=message) as error:
        verifier.verify(ask(saved(tmp_path, 0)))
    assert "\n" not in str(error.value)


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    f = saved(tmp_path, 0)
    (tmp_path / "wide.onnx").write_bytes(dense(*weights(0, (3, 4, 2))))
    with pytest.raises(PropertyError, match="equivalent: .* has 2 inputs and 2 outputs, .* 3 and 2"):
        verifier.verify(verifier.equivalent(f, tmp_path / "wide.onnx", BOX, 0.1))
    with pytest.raises(PropertyError, match="no network `h` in this question; it has f, g"):
        verifier.verify({"h": f}, verifier.equivalent(f, f, BOX, 0.1))
    with pytest.raises(PropertyError, match="no property is given"):
        verifier.verify(f)
