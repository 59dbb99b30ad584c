"""The page for many results: seconds to write it, megabytes, and seconds until a browser has opened it.

python -m benchmarks.report [--rows N] [--runs N]

The results are made up: half of them counterexamples that are images, beside another tool's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.report.browser import browser, visit
from verifier.campaign.rows import Counterexample, Row, pack
from verifier.campaign.store import Run, Store
from verifier.report.content import collect
from verifier.report.page import page

FACTS = {
    "inputs": 784, "varying": 784, "outputs": 10, "disjuncts": 9, "boxes": 1, "units": {"Relu": 1024}, "affine": 5,
    "multiply_adds": 400_000, "input_shape": [1, 28, 28], "dtype": "float32",
}  # fmt: skip


def make(db: Path, n: int) -> None:
    """A file with a run of `n` results in five families and another tool's beside it, the same for the same `n`."""
    rng = np.random.default_rng(0)
    store = Store(db)
    settings = {"device": "cpu", "threads": 1, "memory_gb": 4.0, "fresh": False, "cap": None}
    machine = {"system": "Linux", "processor": "made up", "cores": 2, "memory_gb": 24.0}
    mine = store.begin(Run(0, "bench", "verifier", "/made/up/instances.csv", "0+made", settings, machine, 0.0, n))
    theirs = store.begin(Run(0, "bench", "other", "/made/up/other.csv", "", {}, {}, 1.0, n))
    store.add(_row(mine, k, rng).kept() for k in range(n))
    store.add(_row(theirs, k, rng, other=True).kept() for k in range(n))
    store.close()


def _row(run: int, k: int, rng: np.random.Generator, other: bool = False) -> Row:
    seconds = float(10 ** rng.uniform(-2, 1.5)) * (5 if other else 1)
    verdict = ("sat", "unsat", "sat", "timeout")[k % 4] if seconds < 60 else "timeout"
    names = (f"family_{k % 5}", f"onnx/network_{k % 7}.onnx", f"vnnlib/property_{k}.vnnlib", 60.0)
    if other:
        return Row(run, *names, "", verdict, seconds, ended=float(k))
    told = {
        "strategy": f"on the processor, {k % 3} threads",
        "facts": FACTS,
        "phases": {"load": 0.01, "search": seconds},
    }
    if verdict == "timeout":
        parts = [{"disjunct": j, "gap": float(rng.exponential()), "open": 7, "undecided": 300} for j in range(9)]
        why = f"out of time: {k} parts are open"
        return Row(run, *names, "", verdict, 60.0, why, 1000, k, parts[0]["gap"], 10**8, float(k), parts=parts, **told)
    packed = pack(_found(rng)) if verdict == "sat" else None
    return Row(run, *names, verdict, verdict, seconds, "found", 12, 0, None, 10**8, float(k), packed=packed, **told)


def _found(rng: np.random.Generator) -> Counterexample:
    """A bright disc on black ground, moved by up to 0.1 a pixel, in the precision of the networks that are asked."""
    across, down = np.meshgrid(np.arange(28) - rng.uniform(9, 18), np.arange(28) - rng.uniform(9, 18))
    image = np.where(across**2 + down**2 < rng.uniform(9, 49), rng.uniform(0.5, 1, (28, 28)), 0).ravel()
    lower, upper = (np.clip(image + e, 0, 1).astype(np.float32).tolist() for e in (-0.1, 0.1))
    x = np.clip(image + rng.choice([-0.1, 0, 0.1], image.shape), 0, 1).astype(np.float32).tolist()
    return Counterexample(x, rng.normal(size=10).tolist(), lower, upper, [1, 28, 28], "")


def main() -> None:
    """Make, write, open; print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5, help="times that the page is opened")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db, html = Path(folder) / "r.sqlite", Path(folder) / "r.html"
        make(db, a.rows)
        begun = time.perf_counter()
        html.write_text(page(collect(db)))
        print(f"written in {time.perf_counter() - begun:.2f} s, {html.stat().st_size / 1e6:.2f} MB")
        opened = sorted(visit(html, "return performance.now() / 1000")[0] for _ in range(a.runs)) if browser() else []
        print(f"opened in {opened[len(opened) // 2]:.2f} s ({a.runs} times: {opened})" if opened else "no browser here")


if __name__ == "__main__":
    main()
