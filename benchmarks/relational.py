"""What following the differences of two copies of a network brings: domains and seconds with and without.

    OMP_NUM_THREADS=1 python benchmarks/relational.py [--limit 20]

The pairs of `tests/pairs.py`, and harder ones of the same kinds.  "apart" bounds the copies side by side, "differences"
bounds how far they are from each other from the start, "both" is what `verify` does: it begins with the first and goes
on with the second where that suits the open domains.  Counterexamples are not tried, so what is `sat` is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.pairs import PAIRS, Pair, equivalent, monotone, steady
from verifier.run.apart import apart
from verifier.run.clock import keep_memory
from verifier.run.model import boundable
from verifier.run.pose import pose
from verifier.search.budget import Budget
from verifier.search.inputs import InputSearch
from verifier.search.query import make_query
from verifier.values.arrays import Place

HARDER = [
    equivalent("1_1", 0.2, 0.1, "unsat", pruned=0.02),
    equivalent("1_1", 0.3, 0.2, "unsat", pruned=0.01),
    equivalent("1_1", 0.1, 0.05, "unsat", pruned=0.1),
    equivalent("1_1", 0.1, 0.02, "unsat", bits=12),
    monotone("1_1", 3, 0.1, 0.03, "unsat"),
    steady("1_1", 0.1, 0.002, 0.05, "unsat"),
]
WAYS = ("apart", "differences", "both")


def nothing(x, group):
    """No counterexample is tried."""


def measured(pair: Pair, folder: Path, limit: float) -> list[tuple[str, int, float]]:
    """Verdict, domains and seconds, one way after the other."""
    (folder / "q.vnnlib").write_text(pair.text)
    posed = pose(pair.models(folder), folder / "q.vnnlib")
    graph, place = boundable(posed.net), Place("numpy", "float32")
    query = make_query(graph, posed.prop, place)
    found = []
    for way in WAYS:
        start = time.perf_counter()
        if way == "both":
            search = InputSearch(query, nothing, other=lambda: apart(posed.net, graph, posed.prop, place))
        else:
            other = None if way == "apart" else apart(posed.net, graph, posed.prop, place)
            if way == "differences" and other is None:
                found.append(("none", 0, 0.0))
                continue
            search = InputSearch(other or query, nothing)
        done = search.advance(Budget.seconds(limit))
        found.append((str(done.verdict) if done else "timeout", search.progress.bounded, time.perf_counter() - start))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=20.0)
    limit = parser.parse_args().limit
    keep_memory()
    print(f"{'':58}" + "".join(f"{way:>26}" for way in WAYS))
    with tempfile.TemporaryDirectory() as folder:
        for pair in (*PAIRS, *HARDER):
            if pair.verdict == "unsat":
                cells = (f"{v:>8} {n:>8,} {s:>7.2f}s" for v, n, s in measured(pair, Path(folder), limit))
                print(f"{pair.name:58}" + "".join(cells))


if __name__ == "__main__":
    main()
