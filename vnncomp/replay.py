"""Replay a counterexample as the competition of 2026 does: zero tolerance, and nothing in common with the verifier.

The outputs that the tool wrote down are ignored.  The input, rounded to the network's type, goes through onnxruntime
on the CPU; bounds of inputs are compared in that type, everything over outputs in double precision, all of it exactly.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-4
"""What inputs may leave their bounds by for 10 points that refute nobody."""
CORRECT, TOLERATED, UNSUPPORTED = "correct", "correct_up_to_tolerance", "unsupported"


def replay(onnx: Path, vnnlib: Path, text: str) -> str:
    """`correct`, `correct_up_to_tolerance`, `unsupported` (more than this reader knows), or what is wrong."""
    given = [(k, float(v)) for k, v in re.findall(r"\(\s*([XY]_\d+)\s+([^\s()]+)\s*\)", text)]
    xs = [v for k, v in given if k[0] == "X"]
    if text.split()[:1] != ["sat"] or not given:
        return "missing: no counterexample"
    if [k for k, _ in given if k[0] == "X"] != [f"X_{i}" for i in range(len(xs))]:
        return "malformed: inputs are not X_0, X_1, … in order"
    if not all(map(math.isfinite, xs)):
        return "malformed: an input is not a finite number"
    assertions = [e[1] for e in expressions(read(vnnlib).decode()) if e and e[0] == "assert"]
    if any(word(a) for a in assertions):
        return UNSUPPORTED
    x, y = computed(read(onnx), xs)
    if x is None:
        return f"malformed: {len(xs)} inputs do not fit the network"
    values = {f"X_{i}": v for i, v in enumerate(x)} | {f"Y_{i}": float(v) for i, v in enumerate(y)}
    if all(holds(a, values, 0.0) for a in assertions):
        return CORRECT
    return TOLERATED if all(holds(a, values, TOLERANCE) for a in assertions) else "not a counterexample"


def read(path: Path) -> bytes:
    """A file's content, unpacked."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def computed(model: bytes, xs: list[float]) -> tuple[Any, Any]:
    """Inputs in the network's type and its outputs; None where they do not fit."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # remarks on how the file was exported are not about the counterexample
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    feed, at = {}, 0
    for value in session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in value.shape]
        size = math.prod(shape)
        if at + size > len(xs):
            return None, None
        feed[value.name] = np.array(xs[at : at + size], dtypes[value.type]).reshape(shape)
        at += size
    if at != len(xs):
        return None, None
    y = np.concatenate([np.asarray(o, np.float64).ravel() for o in session.run(None, feed)])
    return np.concatenate([a.ravel() for a in feed.values()]), y


def expressions(text: str) -> Iterator[Any]:
    """The parenthesised expressions of a file."""
    stack: list[list[Any]] = []
    for token in re.findall(r"[()]|[^\s()]+", re.sub(r";[^\n]*", "", text)):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield done
        else:
            stack[-1].append(token)


def word(e: Any) -> bool:
    """Whether something in an expression is beyond this reader."""
    if isinstance(e, str):
        return not re.fullmatch(r"[XY]_\d+|[-+]?(\d|\.\d)\S*", e)
    return e[0] not in ("and", "or", "<=", "<", ">=", ">", "==", "=", "+", "-", "*") or any(map(word, e[1:]))


def holds(e: Any, values: dict[str, Any], slack: float) -> bool:
    """Whether an assertion holds; `slack` is for comparisons over inputs alone."""
    if e[0] in ("and", "or"):
        return (all if e[0] == "and" else any)(holds(part, values, slack) for part in e[1:])
    if "Y_" in str(e):
        a, b = (number(part, {k: float(v) for k, v in values.items() if k in str(e)}) for part in e[1:])
    else:
        a, b = (number(part, values) for part in e[1:])
        if slack:
            a, b = float(a), float(b)
            return bool({"<": a <= b + slack, ">": a >= b - slack, "=": abs(a - b) <= slack}[e[0][0]])
    return bool({"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b, "==": a == b, "=": a == b}[e[0]])


def number(e: Any, values: dict[str, Any]) -> Any:
    """The value of a term."""
    if isinstance(e, str):
        return values[e] if e[0] in "XY" else float(e)
    terms = [number(t, values) for t in e[1:]]
    if e[0] == "+":
        return sum(terms[1:], terms[0])
    if e[0] == "*":
        return math.prod(terms[1:], start=terms[0])
    return -terms[0] if len(terms) == 1 else terms[0] - sum(terms[2:], terms[1])
