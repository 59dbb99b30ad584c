"""What clipping brings where inputs are split: domains with none, with the planes' boxes, and with combined rows, too.

    OMP_NUM_THREADS=1 python benchmarks/inputs.py INSTANCES.csv [--only acasxu] [--limit 20]

Every instance of the file (columns benchmark, onnx, vnnlib, expected, paths relative to it) that is not `sat`, by input
splitting alone.  Counterexamples are not tried.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from verifier.run.clock import keep_memory
from verifier.run.model import boundable, load
from verifier.search import evaluate, inputs
from verifier.search.budget import Budget
from verifier.search.query import Query, make_query
from verifier.spec.vnnlib import read
from verifier.values.arrays import Place

BOX, COMBINE = inputs.clip_any, evaluate._worth_combining


def nothing_clipped(lower, upper, A, b, uses, alive):
    """In place of `clip_any`."""
    return lower, upper, alive


def run(query: Query, box: bool, combine: bool, limit: float) -> tuple[str, int, float]:
    """Verdict, domains, seconds."""
    inputs.clip_any = BOX if box else nothing_clipped
    evaluate._worth_combining = COMBINE if combine else (lambda uses: False)
    search, begin = inputs.InputSearch(query, lambda x, group: None), time.perf_counter()
    done = search.advance(Budget.seconds(limit))
    return str(done.verdict if done else "timeout"), search.progress.bounded, time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", type=Path)
    parser.add_argument("--only", default="acasxu")
    parser.add_argument("--limit", type=float, default=20.0)
    a = parser.parse_args()
    keep_memory()
    total = np.zeros((3, 2))
    for row in csv.DictReader(a.instances.open()):
        if row["benchmark"] not in a.only.split(",") or row["expected"] == "sat":
            continue
        graph, prop = boundable(load(a.instances.parent / row["onnx"])), read(a.instances.parent / row["vnnlib"])
        query = make_query(graph, prop, Place("numpy", "float32"))
        found = [run(query, *how, a.limit) for how in ((False, False), (True, False), (True, True))]
        print(Path(row["onnx"]).name[:24], Path(row["vnnlib"]).name, *(f"{v} {n} {s:.2f}s" for v, n, s in found))
        total += np.array([f[1:] for f in found])
    for name, (n, s) in zip(("no clipping", "boxes clipped", "and rows combined"), total, strict=True):
        print(f"| {name} | {n:.0f} | {s:.1f} |")


if __name__ == "__main__":
    main()
