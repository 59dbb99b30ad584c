"""Which mistakes in the modules that decide soundness would no test notice?

Each mutant is one of these modules with one change (`mutants.py`).  The tests are collected once, and it is learned how
long each takes and which functions it calls.  A mutant is a process forked from there, in which the function that
differs has other code; it runs the tests that call this function, the quickest first, up to the first that fails.
(Where what differs has run already, at import, what survives is imported anew with its tests.)  What survives is a
mistake that nobody would notice, or harmless; those known to be harmless, and why, are in `mutation.toml`.

    python -m benchmarks.mutation                           # some of a few modules: minutes
    python -m benchmarks.mutation --seed 7                  # of others
    python -m benchmarks.mutation --modules 0 --sample 0    # all: a night
    python -m benchmarks.mutation --only values/ball relax  # all of one, and of a folder

Exit status 1 if something survives that `mutation.toml` does not know.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.forks import bounded, forked, many
from benchmarks.learned import Known, Learned, tracing
from benchmarks.mutants import (
    ROOT,
    Instead,
    Key,
    Mutant,
    Pairs,
    differing,
    key,
    living,
    mutants,
    mutated,
    possible,
    put,
)

_READ = tomllib.loads((ROOT / "benchmarks" / "mutation.toml").read_text())
COVERED: dict[str, list[str]] = _READ["covered"]
"""Module -> arguments of pytest: what was written for it."""
HARMLESS = {(k["module"], k["text"], k["what"], k.get("nth", 0)) for k in _READ["harmless"]}
"""Module, text, change, and which one of several alike, from above (0: all of them)."""
MODULES = 12
"""How many modules are taken where none is named: to learn all tests takes as long as two runs of the suite."""
SAMPLE, LEAST = 100, 2
"""How many mutants are taken of all, and of each module at least."""
SPENT = 12.0
"""Seconds of a processor that is spent on one mutant: first on tests written for its module, then on others."""
LONGER = 5.0
"""How many times as long as it takes without a change a test may take of the processor, and two seconds more."""
WAITED = 20.0
"""How many times its tests' seconds a mutant may take on the wall's clock, and a minute more: it may wait."""


class Plugin:
    """Runs what it is told to instead of all tests once, and knows whether one has failed."""

    def __init__(self, instead: Callable[[Any, Plugin], None], ran: set[Key] | None = None) -> None:
        self.instead, self.ran, self.failed = instead, ran, list[str]()

    def pytest_collection(self, session: Any) -> None:
        """Before test modules are imported: the same examples every time, and none made smaller."""
        from hypothesis import HealthCheck, Phase, settings

        fixed, every = settings.get_profile("fixed"), list(HealthCheck)
        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", parent=fixed, phases=phases, suppress_health_check=every)
        settings.load_profile("mutants")
        if self.ran is not None:
            sys.settrace(tracing(self.ran))

    def pytest_runtestloop(self, session: Any) -> bool:
        """Instead of the tests."""
        sys.settrace(None)
        if not session.testsfailed:
            self.instead(session, self)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember failures."""
        if report.failed:
            self.failed.append(report.nodeid)

    def passes(self, items: Sequence[Any], limits: Sequence[float]) -> bool:
        """Run tests one after the other; whether all pass.  One that takes longer than its limit ends the process."""
        for item, limit, after in zip(items, limits, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, limit)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.failed:
                return False
        signal.setitimer(signal.ITIMER_PROF, 0)
        return True


def tested(arguments: Sequence[str], plugin: Plugin) -> int:
    """Collect tests, and do with them what the plugin says."""
    import pytest

    quiet = ["-q", "--capture=sys", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    return int(pytest.main([*quiet, *arguments], plugins=[plugin]))


def learn(items: Sequence[Any], plugin: Plugin, folder: Path, jobs: int) -> Iterator[tuple[str, float, list[Key]]]:
    """Of each test that passes, its name, how many seconds of a processor it takes, and which functions it calls."""

    def share(k: int) -> int:
        alone(items[0], folder)
        with open(folder / f"{k}.learned", "w", 1) as f:
            for item in items[k::parts]:
                calls, start = set[Key](), time.process_time()
                sys.settrace(tracing(calls))
                threading.settrace(tracing(calls))
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                sys.settrace(None)
                f.write(json.dumps([item.nodeid, time.process_time() - start, sorted(calls), plugin.failed]) + "\n")
                plugin.failed.clear()
        return 0

    parts = min(len(items), 64 * jobs)
    tasks = ((k, forked(functools.partial(share, k)), 3600.0) for k in range(parts))
    for k, status in many(jobs, tasks):
        for line in (folder / f"{k}.learned").read_text().splitlines():
            name, seconds, calls, failed = json.loads(line)
            if not failed:
                yield name, seconds, [(a, b, c) for a, b, c in calls]
        if status != 0:
            raise RuntimeError(f"the tests cannot be learned: exit status {status}")


def alone(item: Any, folder: Path) -> None:
    """Let the temporary files of this process be nobody else's."""
    item.config._tmp_path_factory._given_basetemp = folder / f"{os.getpid()}"


class Session:
    """What the process does that has collected the tests.

    It writes lines of JSON: `["learned", test, seconds, functions]`, `["failed", test]` where it does without a change,
    `["ended", mutant, status, number of tests]`, and `["anew", mutant, tests, their seconds]` for mutants that can only
    be imported anew.
    """

    def __init__(self, some: list[Mutant], known: dict[str, Learned], folder: Path, jobs: int) -> None:
        self.some, self.known, self.folder, self.jobs = some, known, folder, jobs
        self.ran = set[Key]()

    def work(self, pipe: int) -> int:
        """Collect, and go."""
        with open(pipe, "w", 1) as self.out:
            modules = {m.module for m in self.some}
            tests = sorted({t for module in modules for t in COVERED[module]})
            return tested(tests, Plugin(self._go, self.ran))

    def _say(self, *what: Any) -> None:
        self.out.write(json.dumps(what) + "\n")

    def _go(self, session: Any, plugin: Plugin) -> None:
        items = {item.nodeid: item for item in session.items}
        try:
            new = [i for n, i in items.items() if n not in self.known]
            for name, seconds, calls in learn(new, plugin, self.folder, self.jobs):
                self.known[name] = Learned(seconds, set(calls))
                self._say("learned", name, seconds, calls)
        except RuntimeError as e:
            self._say("stopped", str(e))
            return
        try:
            self._each(items, plugin)
        except Exception as e:  # pytest would keep it to itself
            self._say("stopped", f"{type(e).__name__}: {e}")

    def _each(self, items: dict[str, Any], plugin: Plugin) -> None:
        for name in items.keys() - self.known.keys():
            self._say("failed", name)
            del items[name]
        self.alive, self.items, self.plugin = living(), items, plugin
        gc.freeze()  # what is there stays shared; nothing of it is found by `living` from here on
        for (i, tests, ran), status in many(self.jobs, self._tasks()):
            self._end(i, tests, status, ran)

    def _end(self, i: int, tests: list[str], status: int | None, ran: bool) -> None:
        """Say what became of one; what survives and differs in what has run is tried again."""
        if status == 0 and ran and tests:
            self._say("anew", i, [(n, self.known[n].seconds) for n in tests])
        else:
            self._say("ended", i, status, len(tests))

    def _tasks(self) -> Iterator[tuple[Any, int, float]]:
        for i, m in enumerate(self.some):
            pairs = differing(m)
            calls = None if pairs is None else {key(a) for a, _ in pairs}
            ran = calls is None or bool(calls & self.ran)
            tests = self._ordered(m.module, None if ran else calls)
            seconds = sum(self.known[n].seconds for n in tests)
            if not tests or not pairs or not possible(pairs, self.alive):
                self._end(i, tests, 0, True)
            else:
                yield (i, tests, ran), forked(functools.partial(self._one, pairs, tests)), WAITED * seconds + 60

    def _ordered(self, module: str, calls: set[Key] | None) -> list[str]:
        """The tests that call a function (None: what was written for the module), its own first, quick ones first."""
        tests = [n for n in self.items if calls is None or calls & self.known[n].calls]
        own = {n for n in tests if any(n == t or n.startswith((t + "::", t + "/", t + "[")) for t in COVERED[module])}
        found, spent = list[str](), 0.0
        for n in sorted(tests, key=lambda n: (n not in own, self.known[n].seconds)):
            spent += self.known[n].seconds
            if spent <= SPENT and (n in own or calls is not None):
                found.append(n)
        return found

    def _one(self, pairs: Pairs, tests: list[str]) -> int:
        """Change the functions of this process and run the tests."""
        put(pairs, self.alive)
        return limited(self.plugin, [(self.items[n], self.known[n].seconds) for n in tests], self.folder)


def limited(plugin: Plugin, tests: Sequence[tuple[Any, float]], folder: Path) -> int:
    """Run tests, each with the seconds that it takes without a change; 0 if all pass."""
    bounded()
    alone(tests[0][0], folder)
    return 1 - plugin.passes([item for item, _ in tests], [LONGER * seconds + 2 for _, seconds in tests])


def anew(m: Mutant, tests: list[tuple[str, float]], folder: Path) -> int:
    """In a process that has imported nothing of ours: import the mutant and run the tests."""

    def go(session: Any, plugin: Plugin) -> None:
        items = {item.nodeid: item for item in session.items}
        status.append(limited(plugin, [(items[n], seconds) for n, seconds in tests], folder))

    status = list[int]()
    sys.meta_path.insert(0, Instead(m.module, mutated(m)))
    signal.setitimer(signal.ITIMER_PROF, 60)  # it may hang at import
    tested(sorted({n.split("::")[0] for n, _ in tests}), Plugin(go))
    return status[0] if status else 1


def explained(m: Mutant) -> bool:
    """Whether `mutation.toml` says why nobody need notice."""
    return any((m.module, m.text, m.what, nth) in HARMLESS for nth in (0, m.nth))


def chosen(names: Sequence[str], most: int, sample: int, seed: int) -> list[Mutant]:
    """Of each module that is named (or whose folder is) its share of a sample; 0: every mutant.

    Where none is named, of `most` of all modules (0: of every one).
    """
    modules = [m for m in COVERED if not names or any(m == n or m.startswith(n.rstrip("/") + "/") for n in names)]
    if most and not names:
        modules = random.Random(seed).sample(modules, min(most, len(modules)))
    every = {module: mutants(module) for module in modules}
    total, some = sum(map(len, every.values())), []
    for module, found in every.items():
        n = max(LEAST, math.ceil(sample * len(found) / total)) if sample else len(found)
        some += random.Random(f"{seed} {module}").sample(found, min(n, len(found)))
    return sorted(some, key=lambda m: (list(COVERED).index(m.module), m.line))


OUTCOMES = ("mutants", "killed", "survived", "harmless")


class Table:
    """What became of the mutants."""

    def __init__(self, some: list[Mutant]) -> None:
        self.rows = {m.module: dict.fromkeys(OUTCOMES, 0) for m in some}
        self.total, self.done, self.start = len(some), 0, time.monotonic()
        for m in some:
            self.rows[m.module]["mutants"] += 1

    def count(self, m: Mutant, killed: bool, tests: int = 1) -> None:
        """One has ended, or need not start."""
        what = "killed" if killed else "harmless" if explained(m) else "survived"
        self.rows[m.module][what] += 1
        self.done += 1
        if what == "survived":
            print(f"\rSURVIVED {m}" + ("" if tests else "  (no test calls it)"), flush=True)
        self.progress("")

    def progress(self, more: str) -> None:
        """One line that is overwritten."""
        seconds = time.monotonic() - self.start
        print(f"\r{self.done}/{self.total} mutants, {seconds:.0f} s {more}", end="", file=sys.stderr, flush=True)

    def show(self) -> int:
        """Print it; how many survived."""
        sums = {name: sum(row[name] for row in self.rows.values()) for name in OUTCOMES}
        print(f"\n{'module':32}{'mutants':>9}{'killed':>9}{'survived':>10}{'harmless':>10}")
        for module, row in [*self.rows.items(), ("all", sums)]:
            print(f"{module:32}{row['mutants']:9}{row['killed']:9}{row['survived']:10}{row['harmless']:10}")
        alive = sums["mutants"] - sums["harmless"]
        ratio, seconds = sums["killed"] / max(alive, 1), time.monotonic() - self.start
        print(f"{ratio:.1%} of {alive} mutants that are not known to be harmless were noticed, {seconds:.0f} s")
        return sums["survived"]


def run(some: list[Mutant], table: Table, known: Known, jobs: int) -> None:
    """All of it.

    Raises:
        RuntimeError: a test fails without any change, or the tests cannot be collected.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, later = Path(name), list[tuple[Mutant, list[tuple[str, float]]]]()
        reads, writes = os.pipe()
        child = forked(functools.partial(Session(some, known.of, folder, jobs).work, writes))
        os.close(writes)
        with open(reads) as lines:
            for kind, *what in map(json.loads, lines):
                if kind == "learned":
                    known.add(*what)
                    table.progress(f"{len(known.of)} tests learned")
                elif kind == "ended":
                    table.count(some[what[0]], what[1] != 0, what[2])
                elif kind == "anew":
                    later.append((some[what[0]], what[1]))
                elif kind == "failed":
                    print(f"\rleft out, as it fails without any change: {what[0]}", flush=True)
                else:
                    raise RuntimeError(what[0])
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) not in (0, 5):
            raise RuntimeError("the tests cannot be collected")
        tasks = (
            (m, forked(functools.partial(anew, m, tests, folder)), WAITED * sum(s for _, s in tests) + 120)
            for m, tests in later
        )
        for m, status in many(jobs, tasks):
            table.count(m, status != 0)


def main() -> int:
    """Run, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many mutants, about (0: every one)")
    parser.add_argument("--modules", type=int, default=MODULES, help="of how many modules (0: all), if none is named")
    parser.add_argument("--seed", type=int, default=0, help="another one takes others")
    parser.add_argument("--only", nargs="+", default=[], metavar="MODULE", help="of these modules or folders alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes at once")
    parser.add_argument("--recheck", action="store_true", help="run those that are known to be harmless, too")
    parser.add_argument("--learned", type=Path, help="a file that keeps what is learned of the tests for the next time")
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ |= {"CI": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # the same examples every time
    import onnx  # noqa: F401  # what every process needs, once
    import onnxruntime  # noqa: F401
    import pytest  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch  # noqa: F401

    some = chosen(args.only, args.modules, args.sample, args.seed)
    table = Table(some)
    for m in some:
        if explained(m) and not args.recheck:
            table.count(m, False)
    try:
        run([m for m in some if args.recheck or not explained(m)], table, Known(args.learned), args.jobs)
    except RuntimeError as e:
        print(f"\r{e}", file=sys.stderr)
        return 2
    return int(table.show() > 0)


if __name__ == "__main__":
    sys.exit(main())
