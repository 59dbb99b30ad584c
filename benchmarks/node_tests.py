"""ONNX's own tests of operators, asked as questions: what is read, what it is worth, and what is refused in which line.

    python -m benchmarks.node_tests [--only OP,OP] [--jobs 2] [--list] [--refused]

The `onnx` package brings a model, inputs and outputs for every form of every operator, some small models and some that
torch has written.  Here the first input of floating-point numbers is free and all others are constants; what we compute
is compared with the stored outputs, and bounds on boxes around the point with what onnxruntime (or onnx's reference
evaluator) computes in them.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import sys
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from benchmarks.node_cases import Case, cases
from verifier.run import bound as bounding  # all that a test needs, before anybody changes it
from verifier.run import joint
from verifier.run.model import load
from verifier.values.box import Box
from verifier.values.errors import UnsoundBound, UserError

CLASSES = (
    "right",
    "refused clearly",
    "no runtime",
    "refused unclearly",
    "mismatch",
    "crash",
    "wrong",
    "no float input",
)
"""What can become of a test; of `no runtime` onnxruntime itself cannot run the model."""
RADII = (0.0, 1e-6, 1e-3, 0.1, 1.0)
POINTS, ROWS = 16, 48
"""Samples in a box, and outputs that are bounded."""
SMALL = 600
"""Entries of the input up to which bounds are linear, else intervals."""
LARGEST = 300_000
"""Entries of input or output beyond which a test is not asked."""
SECONDS = 60.0
"""How long one test may take."""
ACCURACY = {"float64": (1e-6, 1e-7), "float32": (1e-3, 1e-4), "float16": (2e-2, 2e-3), "bfloat16": (1e-1, 2e-2)}
"""Relative and absolute (per largest value) differences that are rounding."""
NAMED = re.compile(r"(node|input|output|tensor|operator|domain) '|operator \w+|onnxruntime (cannot|fails)")

WHICH = re.compile(r"node '[^']*' \((\w+)\)")
NAME = re.compile(r"^ONNX model in memory: |^ONNX model '[^']*': |(?<=node )'[^']*' (?=\()")


@dataclass(frozen=True)
class Outcome:
    """What became of a test: its class, and a line about it."""

    case: str
    kind: str
    op: str
    what: str
    line: str = ""
    notes: tuple[str, ...] = field(default=())


@np.errstate(all="ignore")
def ask(case: Case) -> Outcome:
    """What becomes of one test."""

    def outcome(what: str, line: str = "", *notes: str) -> Outcome:
        return Outcome(case.name, case.kind, case.op, what, line, notes)

    if case.model is None:
        return outcome("no float input")
    try:
        return outcome(*_questioned(case))
    except UnsoundBound as e:
        return outcome("mismatch", str(e))
    except UserError as e:
        line = str(e)
        if "onnxruntime cannot run" in line or "onnxruntime fails on" in line:
            return outcome("no runtime", line)
        return outcome("refused clearly" if _clear(e) else "refused unclearly", line)
    except Exception:
        return outcome("crash", traceback.format_exc().strip().replace("\n", " | ")[-600:])


def _clear(e: UserError) -> bool:
    """Whether a refusal is one line that names a thing, in words of ours: no error of Python or numpy shows through."""
    line = str(e)
    if "report it" in line or "\n" in line or not NAMED.search(line):
        return False
    cause = e.__cause__ or e.__context__
    if cause is None or isinstance(cause, UserError):
        return True
    if type(cause) is not ValueError:
        return "onnxruntime" in line or not isinstance(cause, (TypeError, KeyError, IndexError, AttributeError))
    last = traceback.extract_tb(cause.__traceback__)[-1].filename
    return "/verifier/" in last or "onnxruntime" in last


def _questioned(case: Case) -> tuple[str, ...]:
    """Class and line of a test that is read, or what it raises."""
    net: Any = load(case.model)
    if case.x.size > LARGEST or sum(a.size for a in case.y.values()) > LARGEST:
        return ("refused clearly", "input '' : too large for this script")
    whole = joint.flat(net)
    x = np.asarray(case.x, np.float64).reshape(-1)
    usual = np.isfinite(x)
    x = np.where(usual, x, 1.0)
    if not sum(net.graph.nodes[i].size for i in net.graph.outputs):
        return ("refused clearly", "its outputs have no entries")
    if wrong := _values(case, net, x, bool(usual.all())):
        ends = np.cumsum([prod(s) for s in net.output_shapes])[:-1]
        there = dict(zip(net.output_names, np.split(net.run(x[None])[0], ends), strict=True))
        if not _values(replace(case, y=there), net, x, True):
            return ("runtime differs", wrong)
        if not any(type(n.op).__name__ in ("Step", "Fit") for n in net.graph.nodes):  # at a jump bounds must hold both
            return ("wrong", wrong)
    unbounded = True
    for radius in RADII:
        wrong, known = _bounded(whole, case, net, x, radius)
        if wrong:
            return ("wrong", wrong)
        unbounded &= not known
    return ("right", "", "bounds are infinite") if unbounded else ("right",)


def _accuracy(net: Any, case: Case) -> tuple[float, float]:
    kinds = [net.input_dtype, *(a.dtype.name for a in case.y.values())]
    return max((ACCURACY[k] for k in kinds if k in ACCURACY), default=ACCURACY["float32"])


def _values(case: Case, net: Any, x: np.ndarray, usual: bool) -> str:
    """What is wrong with the values at the test's own point, or nothing."""
    shape = net.graph.nodes[net.graph.inputs[0]].shape
    ours = [np.asarray(a, np.float64)[0] for a in net.graph.evaluate(x.reshape(1, *shape))]
    rtol, atol = _accuracy(net, case)
    for name, a in zip(net.output_names, ours, strict=True):
        if name not in case.y or not usual:
            continue
        y = np.asarray(case.y[name], np.float64)
        if y.size != a.size:
            return f"output '{name}' has shape {list(a.shape)}, stored is {list(y.shape)}"
        y, a = y.reshape(-1), a.reshape(-1)
        told = np.isfinite(y)
        scale = np.abs(y[told]).max(initial=0.0)
        off = np.abs(y - a)[told] > rtol * np.abs(y[told]) + atol * max(scale, 1.0)
        if off.any() or np.isnan(a[told]).any():
            return f"output '{name}' is {a[told][off][:3]}, stored is {y[told][off][:3]}"
    return ""


def _bounded(whole: Any, case: Case, net: Any, x: np.ndarray, radius: float) -> tuple[str, bool]:
    """What is wrong with bounds on a box, or nothing, and whether they are finite somewhere."""
    rng = np.random.default_rng(len(x))
    low, high = x - radius * (1 + 0.1 * np.abs(x)), x + radius * (1 + 0.1 * np.abs(x))
    count = 1 if not radius else POINTS if x.size < 5_000 else 2
    some = rng.random((count, x.size))
    some[: count // 3] = np.rint(some[: count // 3])
    points = (low + some * (high - low)).astype(net.input_dtype).astype(np.float64)
    low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))
    found = whole.run(points)
    m = found.shape[1]
    rows = np.unique(rng.integers(0, m, ROWS)) if m > ROWS else np.arange(m)
    wanted = np.zeros((len(rows), m))
    wanted[np.arange(len(rows)), rows] = 1.0
    method = "crown" if x.size <= SMALL else "interval"
    lower, upper = bounding.bound(whole, Box(low, high), method, rows=wanted)
    rtol, atol = _accuracy(net, case)
    y = found[:, rows]
    slack = rtol * np.abs(y) + atol * max(1.0, np.abs(y[np.isfinite(y)]).max(initial=0.0))
    out = np.isfinite(y) & ((y < lower - slack) | (y > upper + slack))
    if out.any() or np.isnan(lower).any() or np.isnan(upper).any():
        p, k = np.argwhere(out)[0] if out.any() else (0, 0)
        return f"radius {radius}: {y[p, k]} outside [{lower[k]}, {upper[k]}]", True
    return "", bool(np.isfinite(lower).any() and np.isfinite(upper).any())


def run(asked: Sequence[Case], jobs: int) -> list[Outcome]:
    """Every outcome, in the order of the tests; one that ends its process, or never ends, is a crash."""
    found: dict[int, Outcome] = {}
    todo = [list(range(k, len(asked), jobs)) for k in range(jobs)]
    running: dict[Any, tuple[Any, list[int]]] = {}

    def begin(rest: list[int]) -> None:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=_work, args=([asked[i] for i in rest], there))
        process.start()
        there.close()
        running[here] = (process, rest)

    for rest in todo:
        if rest:
            begin(rest)
    while running:
        ready = wait(list(running), SECONDS) or list(running)
        for here in ready:
            process, rest = running[here]
            try:
                found[rest[0]] = here.recv() if here.poll() else _died(asked[rest[0]], "it takes too long")
            except EOFError:
                found[rest[0]] = _died(asked[rest[0]], "its process ended")
            died = found[rest[0]].line in ("it takes too long", "its process ended")
            running[here] = (process, rest[1:])
            if died or not rest[1:]:
                process.kill()
                process.join()
                here.close()
                del running[here]
                if rest[1:]:
                    begin(rest[1:])
    return [found[i] for i in range(len(asked))]


def _died(case: Case, how: str) -> Outcome:
    return Outcome(case.name, case.kind, case.op, "crash", how)


def _work(some: Sequence[Case], to: Connection) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for case in some:
        to.send(ask(case))


def shown(found: Sequence[Outcome]) -> Iterator[str]:
    """The table by operator, and totals."""
    by_operator: dict[str, Counter[str]] = defaultdict(Counter)
    for o in found:
        by_operator[o.op][o.what] += 1
    yield f"{'operator':32s}" + "".join(f"{c:>19s}" for c in CLASSES)
    for op in sorted(by_operator, key=str.lower):
        yield f"{op:32s}" + "".join(f"{by_operator[op][c] or '':>19}" for c in CLASSES)
    total = Counter(o.what for o in found)
    yield f"{'all':32s}" + "".join(f"{total[c]:>19}" for c in CLASSES)
    vague = sum(bool(o.notes) for o in found)
    node = [o for o in found if o.kind == "node" and o.what != "no float input"]
    yield f"node tests alone: {sum(o.what == 'right' for o in node)} right of {len(node)} that can be bounded"
    yield f"{len(found)} tests, {len(found) - total['no float input']} with an input that can be bounded; of those that"
    yield f"are right, {vague} have no finite bound on any box"


def refusals(found: Sequence[Outcome]) -> Iterator[str]:
    """What was not right, by operator, the most frequent first: each line once, with how often and an example."""
    grouped: dict[str, list[Outcome]] = defaultdict(list)
    for o in found:
        if o.what not in ("right", "no float input"):
            grouped[next(iter(WHICH.findall(o.line)), o.op)].append(o)
    for op, each in sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0])):
        yield f"{op} ({len(each)})"
        lines: dict[str, list[Outcome]] = defaultdict(list)
        for o in each:
            lines[f"{o.what}: {NAME.sub('', o.line)}"].append(o)
        for line, some in sorted(lines.items(), key=lambda item: -len(item[1])):
            yield f"    {len(some):3d} {line[:330]}  [{some[0].case}]"


def main(arguments: Sequence[str]) -> int:
    """Run and print; 1 if anything is wrong, a mismatch, a crash or refused unclearly."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="operators, or parts of tests' names, separated by commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="one line a test")
    parser.add_argument("--refused", action="store_true", help="only what was not right")
    options = parser.parse_args(arguments)
    asked = list(cases())
    if options.only:
        wanted = options.only.split(",")
        asked = [c for c in asked if c.op in wanted or any(len(w) > 4 and w.startswith("test_") and w in c.name
                                                           for w in wanted)]  # fmt: skip
    found = run(asked, options.jobs)
    if options.list:
        for o in found:
            print(f"{o.case:60s} {o.what:18s} {o.line[:300]} {' '.join(o.notes)}")
    if not options.refused:
        print("\n".join(shown(found)))
    print("\n".join(refusals(found)))
    return int(any(o.what in ("refused unclearly", "mismatch", "crash", "wrong") for o in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
