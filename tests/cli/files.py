"""Models and properties that the tests write, and a reading of both that shares nothing with the verifier."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
MODEL, UNSAT, SAT = (
    str(ROOT / p)
    for p in ("models/pendulum.onnx", "specs/pendulum_pushes_back.vnnlib", "specs/pendulum_limit_sat.vnnlib")
)


def model(nodes: Sequence[Any], tensors: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]) -> bytes:
    """An ONNX file."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "test",
        [info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in tensors.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def dense(*weights: Any) -> bytes:
    """Matrices `[m, n]` with a ReLU between one and the next."""
    nodes, tensors, last = [], {}, "x"
    for i, W in enumerate(weights):
        if i:
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"]))
            last = f"r{i}"
        nodes.append(helper.make_node("Gemm", [last, f"W{i}"], [f"h{i}"], transB=1))
        tensors[f"W{i}"], last = W, f"h{i}"
    return model(nodes, tensors, {"x": [1, np.shape(weights[0])[1]]}, {last: [1, np.shape(weights[-1])[0]]})


def spec(asserts: str, n: int = 2, m: int = 1, box: tuple[float, float] = (-1, 1)) -> str:
    """A property over a box."""
    lines = [f"(declare-const {v}_{i} Real)" for v, k in (("X", n), ("Y", m)) for i in range(k)]
    lines += [f"(assert (>= X_{i} {box[0]}))\n(assert (<= X_{i} {box[1]}))" for i in range(n)]
    return "\n".join([*lines, asserts]) + "\n"


def hard(folder: Path) -> list[str]:
    """A question over 8 inputs whose answer is `unsat`, and which takes more than minutes."""
    rng = np.random.default_rng(0)
    sizes = (8, 192, 192, 192, 1)
    weights = [rng.standard_normal((m, n)) * np.sqrt(2 / n) for n, m in zip(sizes, sizes[1:], strict=False)]
    (folder / "hard.onnx").write_bytes(dense(*weights))
    y = rng.uniform(-1, 1, (20000, 8))
    for i, W in enumerate(weights):
        y = (np.maximum(y, 0) if i else y) @ W.T
    (folder / "hard.vnnlib").write_text(spec(f"(assert (>= Y_0 {2 * float(y.max())}))", 8))
    return [str(folder / "hard.onnx"), str(folder / "hard.vnnlib")]


def start(*arguments: str, **how: Any) -> subprocess.Popen[str]:
    """A fresh process that runs the command line."""
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "verifier", *arguments]
    cwd = how.pop("cwd", ROOT)
    with interruptible():
        return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, env=environment, **how)


@contextmanager
def interruptible() -> Iterator[None]:
    """Processes that are started here can be interrupted: shells start what runs in the background without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def counterexample(text: str) -> tuple[list[float], list[float]]:
    """Inputs and outputs from `((X_0 v)` … `(Y_0 v))`; the format is checked to the letter."""
    number = r"-?(?:\d+\.\d+(?:e[+-]\d+)?|\d+e[+-]\d+)"
    assert re.fullmatch(rf"\((\([XY]_\d+ {number}\)\n)+\)\n", re.sub(r"\)\)\n$", ")\n)\n", text))
    pairs = re.findall(r"\(([XY])_(\d+) ([^)]*)\)", text)
    x, y = ([(int(i), float(v)) for letter, i, v in pairs if letter == which] for which in "XY")
    assert [i for i, _ in x] == list(range(len(x))) and [i for i, _ in y] == list(range(len(y)))
    assert "".join(letter for letter, _, _ in pairs) == "X" * len(x) + "Y" * len(y)
    return [v for _, v in x], [v for _, v in y]


def outputs(path: str, x: Sequence[float]) -> list[float]:
    """What onnxruntime computes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [d if isinstance(d, int) else 1 for d in given.shape]
    (y,) = session.run(None, {given.name: np.array(x, np.float32).reshape(shape)})
    return [float(v) for v in y.reshape(-1)]


def holds(path: str, x: Sequence[float], y: Sequence[float]) -> bool:
    """Whether every assertion of a property file holds, in exact arithmetic."""
    text = re.sub(r";.*", "", Path(path).read_text())
    words = iter(re.findall(r"[()]|[^\s()]+", text))
    values = {f"X_{i}": Fraction(v) for i, v in enumerate(x)} | {f"Y_{i}": Fraction(v) for i, v in enumerate(y)}

    def read(word: str) -> Any:
        if word != "(":
            return word
        items = []
        while (word := next(words)) != ")":
            items.append(read(word))
        return items

    def value(e: Any) -> Any:
        if isinstance(e, str):
            return values[e] if e in values else Fraction(e)
        head, *rest = e
        terms = [value(t) for t in rest]
        if head == "-" and len(terms) == 1:
            return -terms[0]
        return {
            "<=": lambda a, b: a <= b,
            ">=": lambda a, b: a >= b,
            "<": lambda a, b: a < b,
            ">": lambda a, b: a > b,
            "and": lambda *a: all(a),
            "or": lambda *a: any(a),
            "+": lambda *a: sum(a, Fraction(0)),
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
        }[head](*terms)

    commands = [read(word) for word in words]
    return all(value(c[1]) for c in commands if c[0] == "assert")
