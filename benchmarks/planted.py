"""Random questions that have a counterexample, over random networks of every operator: none may be `unsat`.

    python -m benchmarks.planted --seed 1 --count 2000 [--jobs 2] [--only Cast,Mul] [--timeout 1] [--out DIR]

A network is an operator with random attributes (the models that the law of operators is drawn from) between two random
affine layers, in single or double precision; or (`--only lattice`) several that jump, one behind the other, with the
point on a jump (see `lattices`).  A point is planted in a random box, and the property is made to hold
there, as onnxruntime computes it, with a margin that rounding does not reach.  No search for counterexamples runs and
no candidate is tried, so an `unsat` is an error of the bounds or of what is read; most questions end with their time.
What went wrong is written to DIR, model and property, with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import verifier
from benchmarks import lattices
from tests.laws.onnx_cases import CASES
from tests.laws.onnx_models import Case
from verifier.run import cells
from verifier.run import verify as door
from verifier.values.errors import UserError

WRONG = ("unsat", "sat", "error")
"""What must not come out; nothing is tried, so nothing can be `sat`."""
MARGIN = 1e-2
MOST = 64
"""Outputs and inputs of the operator up to which a question is asked."""


def _island(kind: int) -> Any:
    """Arithmetic in another type amid the network: what it can overflow, wrap or round."""

    def make(draw: Any) -> Case:
        m = Case([1, draw(st.integers(1, 4))], opset=draw(st.sampled_from([13, 19])))
        factor = np.array(draw(st.sampled_from([1, 2, 3, 7, 50])))
        (y,) = m.node("Cast", "x", to=kind)
        for op in draw(st.lists(st.sampled_from(["Mul", "Add", "Sub", "square"]), max_size=2)):
            other = y if op == "square" else m.tensor(factor.astype(helper.tensor_dtype_to_np_dtype(kind)))
            (y,) = m.node("Mul" if op == "square" else op, y, other)
        m.node("Cast", y, to=TensorProto.FLOAT)
        return m

    return make


def _attention(draw: Any) -> Case:
    m = Case([draw(st.integers(1, 3)), draw(st.integers(1, 4))])
    (t,) = m.node("Transpose", "x", perm=[1, 0])
    (s,) = m.node("Softmax", m.node("MatMul", "x", t)[0], axis=1)
    m.node("MatMul", s, "x")
    return m


_TYPES = ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "DOUBLE")
ALL = {
    **CASES,
    **{f"island {k.lower()}": _island(getattr(TensorProto, k)) for k in _TYPES},
    "island attention": _attention,
}
"""What questions are about: every operator, and some things that take several."""
LATTICE = "lattice"
"""Questions that are made another way: see `lattices`."""


@dataclass(frozen=True)
class Planted:
    """A model and a property text that a point satisfies."""

    model: bytes
    text: str
    x: np.ndarray
    y: np.ndarray


class _Blind:
    """A judge of candidates who has seen nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __call__(self, *_: Any) -> None:
        return None


@contextmanager
def blind() -> Iterator[None]:
    """Verification that looks for no counterexamples."""
    nothing = _Blind()
    with (
        patch.object(door, "attack", nothing),
        patch.object(door, "Replay", _Blind),
        patch.object(door, "Candidates", _Blind),
        patch.object(cells, "_witness", nothing),
    ):
        yield


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _inner(case: Case) -> tuple[Any, tuple[int, ...], tuple[int, ...], int] | None:
    """The case's model, the shapes of its input and output, and the output's type; None where it does not run."""
    proto = onnx.load_model_from_string(case.bytes())
    shape = tuple(int(d) if isinstance(d, int) else 1 for d in case.shape)
    try:
        session = _session(proto.SerializeToString())
        y = session.run(None, {"x": np.ones(shape, np.float32)})[0]
    except Exception:  # what onnxruntime does not run is no question
        return None
    if not isinstance(y, np.ndarray) or not 0 < y.size <= MOST or not 0 < np.prod(shape) <= MOST:
        return None
    return proto, shape, y.shape, helper.np_dtype_to_tensor_dtype(y.dtype)


def wrapped(case: Case, rng: np.random.Generator) -> tuple[bytes, int, int] | None:
    """A model `[1, n]` to `[1, m]` around a case, with n and m."""
    found = _inner(case)
    if found is None:
        return None
    proto, shape, out, kind = found
    n, m, size = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(np.prod(out))
    scale = float(rng.choice([0.3, 1.0, 1.0, 3.0, 100.0, 1e5]))
    stored = {
        "in_W": rng.normal(size=(n, int(np.prod(shape)))) * scale, "in_b": rng.normal(size=int(np.prod(shape))) * scale,
        "out_W": rng.normal(size=(size, m)) / size,
    }  # fmt: skip
    if rng.random() < 0.3:  # whole numbers meet jumps exactly
        stored = {k: np.rint(a * 2) for k, a in stored.items()}
    tensors = [numpy_helper.from_array(a.astype(np.float32), k) for k, a in stored.items()]
    tensors += [numpy_helper.from_array(np.array(s, np.int64), k) for k, s in (("in_s", shape), ("out_s", (1, size)))]
    before = [
        helper.make_node("MatMul", ["input", "in_W"], ["in_h"]),
        helper.make_node("Add", ["in_h", "in_b"], ["in_z"]),
        helper.make_node("Reshape", ["in_z", "in_s"], ["x"]),
    ]
    last = proto.graph.output[0].name
    after = [
        helper.make_node("Cast", [last], ["out_f"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["out_f", "out_s"], ["out_v"]),
        helper.make_node("MatMul", ["out_v", "out_W"], ["output"]),
    ]
    if kind == TensorProto.FLOAT:
        after = [helper.make_node("Reshape", [last, "out_s"], ["out_v"]), after[2]]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*before, *proto.graph.node, *after], "planted",
        [info("input", TensorProto.FLOAT, [1, n])], [info("output", TensorProto.FLOAT, [1, m])],
        [*proto.graph.initializer, *tensors],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    return made.SerializeToString(), n, m


def _doubled(model: bytes) -> bytes:
    """The model in double precision."""
    proto = onnx.load_model_from_string(model)
    for t in proto.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
    for node in proto.graph.node:
        for a in node.attribute:
            if node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
                a.i = TensorProto.DOUBLE
            if a.type == onnx.AttributeProto.TENSOR and a.t.data_type == TensorProto.FLOAT:
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(np.float64), a.t.name))
    for v in (*proto.graph.input, *proto.graph.output):
        v.type.tensor_type.elem_type = TensorProto.DOUBLE
    return proto.SerializeToString()


def _literal(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, holds: bool) -> str:
    """A literal that holds at the point with a margin, or one that may not."""
    kind = rng.integers(4)
    i, j = int(rng.integers(len(y))), int(rng.integers(len(y)))
    a, b = float(np.round(rng.normal(), 2)), float(np.round(rng.normal(), 2))
    if kind == 0 and i != j:
        term, value = f"(- Y_{i} Y_{j})", y[i] - y[j]
    elif kind == 1:
        term, value = f"(+ (* {a!r} Y_{i}) (* {b!r} Y_{j}))", a * y[i] + b * y[j]
    elif kind == 2:
        k = int(rng.integers(len(x)))
        term, value = f"(+ (* {a!r} Y_{i}) (* {b!r} X_{k}))", a * y[i] + b * x[k]
    else:
        term, value = f"Y_{i}", y[i]
    size = 1e-3 + abs(y).max() + (abs(x).max() if kind == 2 else 0.0)
    off = (MARGIN if holds else float(rng.normal())) * size
    above = rng.random() < 0.5
    bound = float(value - off if above else value + off)
    return f"({('>', '>=')[rng.integers(2)] if above else ('<', '<=')[rng.integers(2)]} {term} {bound!r})"


def planted(case: Case, rng: np.random.Generator) -> Planted | None:
    """A question about a case; None where the point has no finite outputs, or the model does not run."""
    made = wrapped(case, rng)
    if made is None:
        return None
    model, n, m = made
    dtype = "float32"
    if rng.random() < 0.15:
        model, dtype = _doubled(model), "float64"
    center, radius = rng.normal(size=n) * rng.choice([0.5, 1.0, 10.0]), rng.choice([1e-3, 0.05, 0.5, 2.0], size=n)
    radius = radius * (rng.random(n) > 0.1)
    lower, upper = (np.asarray(v, np.float32).astype(float) for v in (center - radius, center + radius))
    t = rng.random(n) if rng.random() < 0.7 else rng.integers(0, 2, n)
    x = np.clip((lower + t * (upper - lower)).astype(dtype).astype(float), lower, upper)
    try:
        y = np.asarray(_session(model).run(None, {"input": x.astype(dtype)[None]})[0], float).reshape(-1)
    except Exception:  # not in this type
        return None
    if not np.isfinite(y).all():
        return None
    lines = [f"(declare-const {v}_{i} Real)" for v, k in (("X", n), ("Y", m)) for i in range(k)]
    for i in range(n):
        lines += [f"(assert (>= X_{i} {float(lower[i])!r}))", f"(assert (<= X_{i} {float(upper[i])!r}))"]
    count, true = int(rng.integers(1, 4)), int(rng.integers(3))
    parts = []
    for d in range(count):
        literals = [_literal(rng, x, y, d == true % count) for _ in range(int(rng.integers(1, 4)))]
        parts.append(f"(and {' '.join(literals)})")
    lines.append(f"(assert (or {' '.join(parts)}))")
    return Planted(model, "\n".join(lines) + "\n", x, y)


def ask(q: Planted, timeout: float, folder: Path) -> tuple[str, str]:
    """The verdict without any search for counterexamples, `refused` or `error`; and the reason."""
    model, prop = folder / "model.onnx", folder / "property.vnnlib"
    model.write_bytes(q.model)
    prop.write_text(q.text)
    try:
        with blind():
            result = verifier.verify(model, prop, timeout=timeout)
        return str(result.verdict), result.reason
    except UserError as e:  # one that names a place in the property would be a fault of the text above
        return "error" if str(e).startswith(f"{prop}:") else "refused", str(e)
    except Exception as e:  # whatever comes is what is looked for
        return "error", f"{type(e).__name__}: {e}"


def sweep(op: str, first: int, count: int, timeout: float, out: Path | None) -> tuple[str, Counter[str], list[str]]:
    """Ask `count` questions about an operator: counts of what came out, and a line for each failure."""
    counts: Counter[str] = Counter()
    said: list[str] = []
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def put(number: int, q: Planted | None) -> None:
            if q is None:
                return
            verdict, reason = ask(q, timeout, folder)
            counts[verdict] += 1
            if verdict in WRONG:
                said.append(f"{op} seed {first} number {number}: {verdict}: {reason[:200]}; at x = {q.x.tolist()}")
                if out is not None:
                    kept = out / f"{op}-{first}-{number}"
                    kept.mkdir(parents=True, exist_ok=True)
                    for file in folder.iterdir():
                        shutil.copy(file, kept)

        @seed(first)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def one(data: Any) -> None:
            number = next(numbers)
            put(number, planted(ALL[op](data.draw), np.random.default_rng([first, number])))

        if op == LATTICE:
            for number in range(count):
                made = lattices.question(np.random.default_rng([first, number]))
                put(number, None if made is None else Planted(*made))
        else:
            one()
    return op, counts, said


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, print a table; 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="questions, over all operators")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="operators, with commas between")
    parser.add_argument("--timeout", type=float, default=0.3, help="seconds a question")
    parser.add_argument("--out", type=Path, default=Path("planted-failures"))
    given_ = parser.parse_args(arguments)
    ops = sorted(set(given_.only.split(",")) if given_.only else [*ALL, LATTICE])
    each = max(1, -(-given_.count // len(ops)))
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    lines: list[str] = []
    tasks = [(op, given_.seed, each, given_.timeout, given_.out) for op in ops]
    with ProcessPoolExecutor(max_workers=given_.jobs) as pool:
        for op, counts, said in pool.map(sweep, *zip(*tasks, strict=True)):
            totals[op] = counts
            lines += said
            print("\n".join(said), end="\n" if said else "", file=sys.stderr, flush=True)
    columns = ("unsat", "sat", "error", "unknown", "timeout", "refused")
    print(f"{'operator':32s} {'asked':>6s} " + " ".join(f"{c:>8s}" for c in columns))
    for op in [*ops, "all"]:
        row = sum(totals.values(), Counter()) if op == "all" else totals[op]
        print(f"{op:32s} {row.total():6d} " + " ".join(f"{row[c]:8d}" for c in columns))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
