"""Pairs of ACAS Xu networks, and a property with products: both verdicts, each checked by something else.

`sat` is replayed by text, onnxruntime and rational numbers alone; `unsat` is attacked by random points and gradients.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import verifier
from tests.cli.files import dense
from tests.pairs import MODELS, PAIRS, Pair
from tests.query2 import holds2, recheck

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the networks are not here")


class Replica:
    """An ACAS Xu network in double precision on numpy: `relu` layers, read from the file by the order of its nodes."""

    def __init__(self, path: str) -> None:
        import gzip

        opened = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
        with opened as file:
            graph = onnx.load_from_string(file.read()).graph
        tensors = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer}
        self.steps: list[tuple[str, np.ndarray]] = []
        for node in graph.node:
            constant = next((tensors[i] for i in node.input if i in tensors), np.zeros(0))
            if node.op_type in ("MatMul", "Add", "Sub", "Relu"):
                self.steps.append((node.op_type, constant))
            assert node.op_type in ("MatMul", "Add", "Sub", "Relu", "Flatten", "Reshape", "Constant")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.both(x)[0]

    def both(self, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Outputs, and which rectifiers are on."""
        on = []
        for kind, a in self.steps:
            if kind == "MatMul":
                x = x @ a
            elif kind == "Relu":
                on.append(x > 0)
                x = np.maximum(x, 0)
            else:
                x = x + a.reshape(-1) if kind == "Add" else x - a.reshape(-1)
        return x, on

    def gradient(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Rows `g` over the outputs at x, as rows over the inputs."""
        on = self.both(x)[1]
        for kind, a in reversed(self.steps):
            if kind == "MatMul":
                g = g @ a.T
            elif kind == "Relu":
                g = g * on.pop()
        return g


def attacked(pair: Pair, files: dict[str, str], points: int = 3000, steps: int = 30) -> bool:
    """Whether a random point, or one that gradients of random rows lead to, satisfies the query."""
    rng = np.random.default_rng(0)
    lower, upper = (a.astype(np.float64) for a in pair.box)
    f, g = Replica(files["f"]), Replica(files.get("g", files["f"]))
    x = rng.uniform(lower, upper, (points, 5))
    far = np.zeros(5)
    far[list(pair.moved)] = pair.near
    top = np.where(far > 0, upper, np.inf)  # where Z is apart from X, it has X's upper end
    z = np.minimum(x + far * rng.random((points, 5)), top)
    a, b = rng.normal(size=(2, points, 5)) * (rng.random((2, points, 5)) < 0.4)
    b = np.where(rng.random((points, 1)) < 0.7, -a, b)  # mostly differences of outputs
    for _ in range(steps + 1):
        y, w = f(x), g(z)
        for k in satisfying(pair.text, x, z, y, w):
            values = {n: v[k].reshape(1, 5) if n in "YW" else v[k].reshape(1, 1, 1, 5) for n, v in
                      zip("XZYW", (x, z, y, w), strict=True)}  # fmt: skip
            if holds2(pair.text, values):
                return True
        dx, dz = f.gradient(x, a), g.gradient(z, b)
        if not pair.moved:
            dx = dz = dx + dz
        elif len(pair.moved) < 5:
            dx = dx + np.where(far > 0, 0.0, dz)
        x = np.clip(x + 0.1 * (upper - lower) * np.sign(dx), lower, upper)
        z = np.minimum(np.clip(z + 0.1 * far * np.sign(dz), x, x + far), top)
    return False


def satisfying(text: str, x: np.ndarray, z: np.ndarray, y: np.ndarray, w: np.ndarray) -> list[int]:
    """The few points nearest to satisfying the query's last assertions, by their largest or smallest differences."""
    d = y - w
    near = [*np.argsort(d, 0)[:2].ravel(), *np.argsort(-d, 0)[:2].ravel()]
    least = (y.argmin(1) * 5 + w.argmin(1)).tolist()
    first = {v: k for k, v in reversed(list(enumerate(least)))}
    return sorted({int(k) for k in (*near, *first.values())})


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name)
def test_pairs(pair: Pair, tmp_path: Path) -> None:
    files = pair.models(tmp_path)
    (tmp_path / "q.vnnlib").write_text(pair.text)
    result = verifier.verify(files, tmp_path / "q.vnnlib", timeout=120)
    assert result.verdict == pair.verdict
    if pair.verdict == "sat":
        recheck(pair.text, {k: unpacked(v, tmp_path) for k, v in files.items()}, result.witness.text())
    else:
        assert not attacked(pair, files)


def test_there_are_twenty_of_every_kind() -> None:
    assert len(PAIRS) == len({p.name for p in PAIRS}) == 20
    assert Counter(p.verdict for p in PAIRS)["sat"] >= 5 and Counter(p.verdict for p in PAIRS)["unsat"] >= 10
    assert {p.name.split()[0] for p in PAIRS} == {"monotone", "equal-to", "equivalent", "isomorphic-to"}


def test_the_attack_finds_what_there_is(tmp_path: Path) -> None:
    """What passes as `unsat` above is not an attack that finds nothing."""
    found = [attacked(p, p.models(tmp_path)) for p in PAIRS if p.verdict == "sat"]
    assert sum(found) >= len(found) - 1


def unpacked(path: str, folder: Path) -> str:
    """The file without compression."""
    import gzip

    if not path.endswith(".gz"):
        return path
    to = folder / Path(path).name.removesuffix(".gz")
    to.write_bytes(gzip.open(path).read())
    return str(to)


def cruise(folder: Path) -> str:
    """A controller of an adaptive cruise control: acceleration from own speed v, relative speed u and distance d.

    It follows `0.4·(d − 10 − 1.4·v) + 0.8·u`, cut to −3 .. 2, by three rectifiers; a fourth input is always one.
    """
    law = np.array([[-0.4 * 1.4, 0.8, 0.4]])
    first = np.concatenate([np.append(law, -4.0 + 3.0)[None], np.append(law, -4.0 - 2.0)[None], np.eye(4)[3:]])
    path = folder / "cruise.onnx"
    path.write_bytes(dense(first, np.array([[1.0, -1.0, -3.0]])))
    return str(path)


@pytest.mark.parametrize(("least", "verdict"), [(2.0, "unsat"), (1.4, "unsat"), (1.0, "sat"), (0.5, "sat")])
def test_adaptive_cruise(least: float, verdict: str, tmp_path: Path) -> None:
    """Products of inputs, and of the output and an input.

    Unsafe: the cars approach (u < 0), stopping that within the distance d takes a deceleration `u²/(2d)` of `least` or
    more, though not above 2.9, and the controller brakes less: `u² + 2·a·d >= 0`.
    """
    text = (
        "(vnnlib-version <2.0>)\n(declare-network acc (declare-input X real [1,4]) (declare-output Y real [1,1]))\n"
        "(assert (and (>= X[0,0] 15.0) (<= X[0,0] 30.0)))\n(assert (and (>= X[0,1] -12.0) (<= X[0,1] -5.0)))\n"
        "(assert (and (>= X[0,2] 10.0) (<= X[0,2] 60.0)))\n(assert (== X[0,3] 1.0))\n"
        f"(assert (>= (* X[0,1] X[0,1]) (* {2 * least} X[0,2])))\n"
        "(assert (<= (* X[0,1] X[0,1]) (* 5.8 X[0,2])))\n"
        "(assert (>= (+ (* X[0,1] X[0,1]) (* 2.0 Y[0,0] X[0,2])) 0.0))\n"
    )
    file = cruise(tmp_path)
    (tmp_path / "q.vnnlib").write_text(text)
    result = verifier.verify(file, tmp_path / "q.vnnlib", timeout=60)
    v, u, d = np.random.default_rng(0).uniform([15, -12, 10], [30, -5, 60], (400_000, 3)).T
    a = np.clip(0.4 * (d - 10 - 1.4 * v) + 0.8 * u, -3, 2)
    unsafe = (u**2 >= 2 * least * d) & (u**2 <= 5.8 * d) & (u**2 + 2 * a * d >= 0)
    assert result.verdict == verdict and unsafe.any() == (verdict == "sat")
    if verdict == "sat":
        recheck(text, {"acc": file}, result.witness.text())
