"""How many domains a second one core bounds: CROWN with all intermediate bounds, by batch size.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/domains.py MODEL SPEC [--matrix]

The domains are a real search's own: the frontier is taken after it has grown (breadth first), so that shares of
undecided neurons are what a search meets.  With `--matrix` the machine's rate for the products involved is measured,
too, and the rate that they alone would allow.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from verifier.run.clock import keep_memory
from verifier.run.model import boundable, load
from verifier.search.domains import Domains, roots
from verifier.search.evaluate import evaluate
from verifier.search.inputs import split
from verifier.search.query import Query, make_query
from verifier.search.subproblems import joined
from verifier.search.workers import chunk_size
from verifier.spec.vnnlib import read
from verifier.values.arrays import Place


def frontier(query: Query, least: int) -> Domains:
    """Open domains of a breadth-first search, at least so many (repeated if the search never has so many)."""
    d = roots(query)
    best = d
    while 0 < len(d) < least:
        r = evaluate(query, d, chunk_size(query))
        d, _ = split(query, d, r, np.flatnonzero(r.alive.any(1)))
        best = d if len(d) > len(best) else best
    if len(d) < least:
        best = joined([best] * (1 + least // len(best)))
    else:
        best = d
    return best.take(np.arange(least))


def rate(work, least: float = 0.5) -> float:
    """Seconds one call takes, at its best over several rounds."""
    work()
    best, until = float("inf"), time.perf_counter() + least
    while time.perf_counter() < until:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("spec")
    parser.add_argument("--matrix", action="store_true")
    a = parser.parse_args()
    keep_memory()
    query = make_query(boundable(load(a.model)), read(a.spec), Place("numpy", "float32"))
    print("batch  domains/s")
    for batch in (16, 64, 256, 512, 1024, 2048):
        d = frontier(query, batch)
        seconds = rate(lambda d=d: evaluate(query, d, chunk_size(query)))
        print(f"{batch:5d}  {batch / seconds:9.0f}")
    if a.matrix:
        rng = np.random.default_rng(0)
        A, W = rng.normal(size=(2000, 50)).astype("f4"), rng.normal(size=(50, 50)).astype("f4")
        seconds = rate(lambda: A @ W)
        print(
            f"matrix product [2000,50]x[50,50]: {2 * A.size * 50 / seconds / 1e9:.0f} GFLOP/s, "
            f"{seconds / 2000 * 1e9:.0f} ns a row; "
            f"elementwise multiply {rate(lambda: A * A) / 2000 * 1e9:.0f} ns a row"
        )


if __name__ == "__main__":
    main()
