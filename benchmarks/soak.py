"""Many questions of all kinds in one process: memory stays flat, files and threads constant.

    python -m benchmarks.soak                # 2,000 calls
    python -m benchmarks.soak --calls 300

After each hundred calls it prints memory (MB), files and threads.  Exit status 1 if, since the first hundred, memory
has grown by more than 5 MB, or there are more files or threads.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import verifier

ROOT = Path(__file__).resolve().parent.parent
MODELS, SPECS = ROOT / "models", ROOT / "specs"
FIRST, MOST = 100, 5.0
"""Calls that may set up what is set up once, and megabytes that those after them may add."""


@dataclass(frozen=True)
class Held:
    """What the process holds: resident memory in MB, open files, threads."""

    memory: float
    files: int
    threads: int

    @staticmethod
    def now() -> Held:
        """After collecting what is in cycles."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        count = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
        return Held(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, *count)


def network(sizes: tuple[int, ...], kind: str, seed: int) -> Any:
    """Random dense layers with units of a kind between them."""
    rng, nodes, tensors, last = np.random.default_rng(seed), [], [], "x"
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        if i:
            nodes.append(helper.make_node(kind, [last], [f"r{i}"]))
            last = f"r{i}"
        W = (rng.standard_normal((n, m)) * np.sqrt(2 / n)).astype(np.float32)
        tensors.append(numpy_helper.from_array(W, f"W{i}"))
        nodes.append(helper.make_node("Gemm", [last, f"W{i}"], [f"h{i}"]))
        last = f"h{i}"
    x, y = (
        helper.make_tensor_value_info(v, TensorProto.FLOAT, [1, s]) for v, s in (("x", sizes[0]), (last, sizes[-1]))
    )
    graph = helper.make_graph(nodes, "random", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def question(n: int, m: int, k: int, far: float) -> Any:
    """Some output is above `far`, on a box that no other call has."""
    center = np.full(n, 0.01 * (k % 50))
    return verifier.output_property(center - 0.5, center + 0.5, [[(-np.eye(m)[j], -far)] for j in range(m)])


def calls(folder: Path) -> Iterator[Callable[[], object]]:
    """All kinds of questions in turn, for ever."""
    pendulum, digits = MODELS / "pendulum.onnx", MODELS / "digits_fc.onnx"
    broken, text = folder / "broken.onnx", folder / "broken.vnnlib"
    broken.write_bytes(b"no model")
    text.write_text("(declare-const X_0 Real)(assert (>= X_0 ")
    hard = verifier.load(network((8, 96, 96, 1), "Relu", 0))
    box = verifier.Box([-1, -3], [1, 3])
    for k in itertools.count():
        small = network((3, 8, 2), ("Relu", "Sigmoid", "Floor", "Exp", "Abs")[k % 5], k % 7)
        yield lambda: verifier.verify(pendulum, SPECS / "pendulum_limit_sat.vnnlib", timeout=10)
        yield lambda: verifier.verify(pendulum, SPECS / "pendulum_limit_unsat.vnnlib", timeout=10)
        yield lambda: verifier.verify(digits, SPECS / "digits_fc_0_small.vnnlib", timeout=10)
        yield lambda s=small, k=k: verifier.verify(s, question(3, 2, k, 1e3), timeout=10)  # type: ignore[misc]
        yield lambda s=small, k=k: verifier.verify(s, question(3, 2, k, -1e3), timeout=10)  # type: ignore[misc]
        yield lambda k=k: verifier.verify(hard, question(8, 1, k, 9.0), timeout=0.1)  # type: ignore[misc]
        yield lambda: verifier.verify(broken, SPECS / "pendulum_limit_sat.vnnlib")
        yield lambda: verifier.verify(pendulum, text)
        yield lambda: verifier.load(folder / "none.onnx")
        for method in ("interval", "crown", "alpha"):
            yield lambda how=method: verifier.bound(pendulum, box, method=how)  # type: ignore[misc]
        yield lambda: verifier.lipschitz(pendulum, box, timeout=0.1)
        yield lambda: verifier.monotone(pendulum, box, input=1, timeout=0.1)
        yield lambda: verifier.verify(verifier.monotonicity(pendulum, input=0, box=box), timeout=0.1)


def soak(count: int, told: Callable[[str], object] = print) -> list[str]:
    """Ask so many times; what grew, in words."""
    with tempfile.TemporaryDirectory() as folder:
        some, before, grown = calls(Path(folder)), Held.now(), list[str]()
        for i in range(1, count + 1):
            with contextlib.suppress(verifier.UserError):
                next(some)()
            if i % FIRST and i != count:
                continue
            now = Held.now()
            told(f"{i:5} calls: {now.memory:6.1f} MB, {now.files} files, {now.threads} threads")
            if i == FIRST:
                before = now
            elif i > FIRST:
                grown = [f"{now.memory - before.memory:.1f} MB"] if now.memory > before.memory + MOST else []
                grown += [f"{what}: {a} to {b}" for what, a, b in (("files", before.files, now.files),
                          ("threads", before.threads, now.threads)) if b > a]  # fmt: skip
    return grown


def main() -> int:
    """Ask, and say whether anything grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    grown = soak(parser.parse_args().calls)
    print("it grew by " + ", ".join(grown) if grown else "nothing grew")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
