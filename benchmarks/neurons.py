"""What each part of neuron splitting brings: domains and seconds with and without it.

    OMP_NUM_THREADS=1 python benchmarks/neurons.py INSTANCES.csv [--only a,b] [--limit 10] [--scales 1,1.2] [--out FILE]

Every instance of the file (columns benchmark, onnx, vnnlib, expected, paths relative to it) that bounding alone does
not decide is searched with each plan, from one and the same planted tree; `--scales` also asks about boxes that many
times as wide.  Counterexamples are not tried, so what is counted is refutation.  Printed are the instances that every
plan could be given, and for each plan how many it refuted, and, over those that all but the hopeless plans refuted,
domains and seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from verifier.bounds.ascend import Rates
from verifier.run.clock import keep_memory
from verifier.run.model import boundable, load
from verifier.search.branch_and_bound import Search
from verifier.search.branching.relaxed import BaBSR, Filtered, Intercept, Violation
from verifier.search.budget import Budget
from verifier.search.domains import roots
from verifier.search.neurons import tree
from verifier.search.neurons.problem import NeuronSplits, Plan
from verifier.search.outcome import Progress
from verifier.search.query import make_query
from verifier.search.subproblems import Stack
from verifier.spec.vnnlib import read
from verifier.values.arrays import Place
from verifier.values.verdict import Verdict

USUAL = Plan()


def rates(steps: int) -> Rates:
    """The usual rates with another number of steps."""
    return replace(USUAL.rates, steps=steps)


PLANS = {
    "usual": USUAL,
    "no clipping": replace(USUAL, clip=0),
    "10 neurons clipped": replace(USUAL, clip=10),
    "150 neurons clipped": replace(USUAL, clip=150),
    "cuts always": replace(USUAL, cuts=True),
    "cuts always, no clipping": replace(USUAL, cuts=True, clip=0),
    "no climbing (CROWN)": replace(USUAL, rates=rates(0)),
    "1 step": replace(USUAL, rates=rates(1)),
    "5 steps": replace(USUAL, rates=rates(5)),
    "10 steps": replace(USUAL, rates=rates(10)),
    "intercept alone": replace(USUAL, branching=Filtered(Intercept(), 1)),
    "violation alone": replace(USUAL, branching=Filtered(Violation(), 1)),
    "BaBSR alone": replace(USUAL, branching=Filtered(BaBSR(), 1)),
    "BaBSR, 8 looked at": replace(USUAL, branching=Filtered(BaBSR(), 8)),
    "violation, 8 looked at": replace(USUAL, branching=Filtered(Violation(), 8)),
    "intercept, 3 looked at": replace(USUAL, branching=Filtered(Intercept(), 3)),
    "neurons' bounds not climbed": replace(USUAL, steps=0),
}


def planted(model: Path, spec: Path, scale: float) -> tree.Tree | None:
    """The tree of a property's first box, or None where bounding alone refutes all."""
    prop = read(spec)
    center, half = (prop.lower + prop.upper) / 2, (prop.upper - prop.lower) / 2 * scale
    prop = replace(prop, lower=center - half, upper=center + half) if scale != 1 else prop
    query = make_query(boundable(load(model)), prop, Place("numpy", "float32"))
    first = roots(query).take(np.array([0]))
    found = tree.root(query, first)
    return tree.plant(query, first, found) if found.alive.any() else None


def run(start: tree.Tree, plan: Plan, limit: float) -> tuple[bool, int, float]:
    """Whether it was refuted, domains, seconds."""
    progress, begin = Progress(), time.perf_counter()
    with np.errstate(all="ignore"):
        budget = Budget.seconds(limit)
        problem = NeuronSplits(start, budget, lambda x, group: None, plan)
        done = Search(problem, Stack(), range(len(start)), progress).decide(budget)
    return done is not None and done.verdict is Verdict.UNSAT, progress.bounded, time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=float, default=10.0)
    parser.add_argument("--scales", default="1")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    keep_memory()
    only, results = set(filter(None, a.only.split(","))), {}
    for row in csv.DictReader(a.instances.open()):
        if (only and row["benchmark"] not in only) or row["expected"] == "sat":
            continue
        for scale in map(float, a.scales.split(",")):
            start = planted(a.instances.parent / row["onnx"], a.instances.parent / row["vnnlib"], scale)
            if start is None:
                continue
            usual = run(start, USUAL, a.limit)
            if not usual[0] or usual[1] <= len(start):  # hopeless, or nothing to split
                continue
            name = f"{row['benchmark']} {Path(row['vnnlib']).name} x{scale}"
            results[name] = {plan: run(start, PLANS[plan], a.limit) for plan in PLANS}
            print(name, {plan: (n, round(s, 2)) for plan, (_, n, s) in results[name].items()}, flush=True)
            if a.out:
                a.out.write_text(json.dumps(results))
    table(results)


def table(results: dict) -> None:
    """Geometric means against the usual plan, over the instances that both refuted."""
    print(f"{len(results)} instances\n\n| plan | refuted | domains / usual | seconds / usual |")
    print("| --- | --- | --- | --- |")
    for plan in PLANS:
        pairs = [(r[plan], r["usual"]) for r in results.values() if r[plan][0]]
        ratio = [np.exp(np.mean([np.log(p[k] / u[k]) for p, u in pairs])) for k in (1, 2)] if pairs else [np.nan] * 2
        print(f"| {plan} | {len(pairs)} | {ratio[0]:.2f} | {ratio[1]:.2f} |")


if __name__ == "__main__":
    main()
