"""Twenty properties of pairs of ACAS Xu networks, as VNN-LIB 2.0 text."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

MODELS = Path(__file__).resolve().parents[2] / "shared/benchmarks/acasxu/onnx"
MIDDLE = np.array([-0.3, -0.1, -0.1, 0.3, 0.3])
N = 5


@dataclass(frozen=True)
class Pair:
    """A query.

    Attributes:
        name, verdict: what it is called and what is expected.
        text: the query.
        first, second: which network f is, and g ("" where it is equal to f).
        box: lower and upper ends of f's inputs X.
        near: how far g's inputs Z may be above X: 0 where they are equal; -1 where nothing links them.
        moved: which entries of Z may differ.
        pruned: share of the smallest weights of g that are zero; bits: of its weights (0: all).
    """

    name: str
    verdict: str
    text: str
    first: str
    second: str = ""
    box: tuple[np.ndarray, np.ndarray] = field(default=(MIDDLE, MIDDLE))
    near: float = 0.0
    moved: tuple[int, ...] = ()
    pruned: float = 0.0
    bits: int = 0

    def models(self, folder: Path) -> dict[str, str]:
        """The files, g's written where it has other weights."""
        f = str(MODELS / f"ACASXU_run2a_{self.first}_batch_2000.onnx.gz")
        if not self.second:
            return {"f": f}
        g = str(MODELS / f"ACASXU_run2a_{self.second}_batch_2000.onnx.gz")
        return {"f": f, "g": changed(g, folder, self.pruned, self.bits) if self.pruned or self.bits else g}


def changed(path: str, folder: Path, pruned: float, bits: int) -> str:
    """The network with small weights set to zero, or all rounded to so many bits."""
    to = folder / f"{Path(path).name.split('.')[0]}_{pruned}_{bits}.onnx"
    model = onnx.load_from_string(gzip.open(path).read())
    for tensor in model.graph.initializer:
        a = numpy_helper.to_array(tensor).copy()
        if a.ndim == 2:
            if pruned:
                a[abs(a) < np.quantile(abs(a), pruned)] = 0
            if bits:
                step = abs(a).max() / 2 ** (bits - 1)
                a = (np.round(a / step) * step).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(a, tensor.name))
    onnx.save(model, to)
    return str(to)


def _head(relation: str, box: tuple[np.ndarray, np.ndarray]) -> str:
    """Declarations and the box of X."""
    text = (
        "(vnnlib-version <2.0>)\n"
        f"(declare-network f (declare-input X real [1,1,1,{N}]) (declare-output Y real [1,{N}]))\n"
        f"(declare-network g ({relation} f) (declare-input Z real [1,1,1,{N}]) (declare-output W real [1,{N}]))\n"
    )
    return text + "".join(
        f"(assert (and (<= {box[0][k]:.6f} X[0,0,0,{k}]) (<= X[0,0,0,{k}] {box[1][k]:.6f})))\n" for k in range(N)
    )


def _same(entries: Sequence[int]) -> str:
    return "".join(f"(assert (== X[0,0,0,{k}] Z[0,0,0,{k}]))\n" for k in entries)


def monotone(net: str, i: int, width: float, margin: float, verdict: str, j: int = 0, rising: bool = True) -> Pair:
    """Output j falls by `margin` or more when input i grows and the others stay (rises, where it should fall)."""
    box = (MIDDLE, MIDDLE + width)
    high, low = ("Y", "W") if rising else ("W", "Y")
    text = _head("equal-to", box) + _same([k for k in range(N) if k != i])
    text += f"(assert (and (<= X[0,0,0,{i}] Z[0,0,0,{i}]) (<= Z[0,0,0,{i}] {box[1][i]:.6f})))\n"
    text += f"(assert (>= {high}[0,{j}] (+ {low}[0,{j}] {margin})))\n"
    name = f"monotone {net} x{i}, width {width}, margin {margin}"
    return Pair(name, verdict, text, net, "", box, width, (i,))


def steady(net: str, width: float, near: float, margin: float, verdict: str, j: int = 0) -> Pair:
    """Inputs less than `near` apart have an output j that differs by `margin` or more."""
    box = (MIDDLE, MIDDLE + width)
    text = _head("equal-to", box)
    for k in range(N):
        text += f"(assert (and (<= X[0,0,0,{k}] Z[0,0,0,{k}]) (<= Z[0,0,0,{k}] (+ X[0,0,0,{k}] {near}))))\n"
        text += f"(assert (<= Z[0,0,0,{k}] {box[1][k]:.6f}))\n"
    text += f"(assert (or (>= Y[0,{j}] (+ W[0,{j}] {margin})) (>= W[0,{j}] (+ Y[0,{j}] {margin}))))\n"
    name = f"equal-to {net}, width {width}, inputs {near} apart, margin {margin}"
    return Pair(name, verdict, text, net, "", box, near, tuple(range(N)))


def equivalent(net: str, width: float, eps: float, verdict: str, pruned: float = 0.0, bits: int = 0) -> Pair:
    """An output of the network and of its pruned or quantised copy is more than eps apart."""
    box = (MIDDLE, MIDDLE + width)
    apart = [f"(> (- {a}[0,{j}] {b}[0,{j}]) {eps})" for j in range(N) for a, b in ("YW", "WY")]
    text = _head("isomorphic-to", box) + _same(range(N)) + f"(assert (or {' '.join(apart)}))\n"
    what = f"{pruned:.1%} pruned" if pruned else f"{bits} bits"
    return Pair(
        f"equivalent {net}, {what}, width {width}, eps {eps}", verdict, text, net, net, box, 0.0, (), pruned, bits
    )


def disagree(first: str, second: str, width: float, j: int, k: int, verdict: str) -> Pair:
    """Two networks on one input: the first one's least output is j, the second one's is k."""
    box = (MIDDLE, MIDDLE + width)
    text = _head("isomorphic-to", box) + _same(range(N))
    text += "".join(f"(assert (<= Y[0,{j}] Y[0,{i}]))\n" for i in range(N) if i != j)
    text += "".join(f"(assert (<= W[0,{k}] W[0,{i}]))\n" for i in range(N) if i != k)
    return Pair(f"isomorphic-to {first} {second}, width {width}, {j} and {k}", verdict, text, first, second, box)


PAIRS = [
    monotone("1_1", 0, 0.05, 0.05, "unsat"),
    monotone("1_1", 0, 0.05, 0.001, "sat"),
    monotone("1_1", 3, 0.05, 0.03, "unsat"),
    monotone("1_1", 3, 0.1, 0.1, "unsat"),
    monotone("2_2", 1, 0.05, 0.2, "unsat"),
    monotone("3_7", 4, 0.1, 0.005, "sat", 2),
    steady("1_1", 0.05, 0.002, 0.05, "unsat"),
    steady("1_1", 0.1, 0.005, 0.2, "unsat"),
    steady("4_4", 0.05, 0.01, 0.3, "unsat"),
    steady("4_4", 0.1, 0.01, 0.001, "sat"),
    equivalent("1_1", 0.1, 0.05, "unsat", pruned=0.02),
    equivalent("1_1", 0.2, 0.2, "unsat", pruned=0.02),
    equivalent("1_1", 0.2, 0.05, "unsat", pruned=0.005),
    equivalent("1_2", 0.1, 0.1, "unsat", pruned=0.01),
    equivalent("1_1", 0.1, 0.05, "unsat", bits=10),
    equivalent("1_1", 0.1, 0.02, "sat", bits=8),
    disagree("1_1", "1_2", 0.1, 0, 1, "sat"),
    disagree("1_1", "1_2", 0.05, 1, 0, "unsat"),
    disagree("2_4", "3_5", 0.1, 0, 1, "unsat"),
    disagree("1_4", "4_4", 0.5, 0, 0, "sat"),
]
