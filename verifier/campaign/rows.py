"""Instances of a benchmark with what became of them: a run's results as `bench` and a report see them."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verifier.campaign.store import Answered, results

SOLVED = ("sat", "unsat")


@dataclass(frozen=True)
class Counterexample:
    """A counterexample, as it was replayed.

    Attributes:
        x, y: `[n]`, `[m]` inputs and outputs.
        lower, upper: `[n]` the input box of the property that x lies in; empty where it is not known.
        shape: of the model's input without its batch dimension; empty where there are several.
        text: the counterexample in the competition's format.
        variables: for a query of version 2.0 the values by name of variable.
        constraints: what of the property it satisfies, a line each with the numbers (see `run.violated`).
    """

    x: list[float]
    y: list[float]
    lower: list[float]
    upper: list[float]
    shape: list[int]
    text: str
    variables: dict[str, Any] = field(default_factory=dict)
    constraints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """An instance and its result.

    Attributes:
        run: the number of the run.
        category: the benchmark's name.
        onnx, vnnlib: files relative to the source's folder where they lie in it, as the list of instances writes them.
            For a query over several networks `onnx` is the competition's field.
        timeout: seconds.
        expected: `sat`, `unsat` where the list of instances says it, else ''.
        verdict: `sat`, `unsat`, `unknown`, `timeout`, `memory` (ended at the memory limit), `error`.
        seconds: from the start of the instance's process to its end, or to the kill.
        reason: one line: what decided it, why it is undecided, or the error.
        domains, open: parts bounded; parts left open; None where nothing was searched.
        gap: the largest distance of an open part from being refuted (>= 0, in units of the property's rows), or None.
        memory: peak resident memory of the process, bytes.
        ended: seconds since the epoch.
        digest: SHA-256 of the files' content and the timeout.
        strategy: what was chosen, in one line; '' where nothing was.
        facts: what it was chosen from: a mapping of names to numbers and words.
        phases: seconds by phase (load, import, attack, prepare, search).
        parts: what is open at the end, worst first: for each a mapping with `disjunct` (number in the property), `gap`,
            `open` (parts), and where neurons are split `undecided` (neurons of either sign at the root).
        packed: the counterexample, see `pack`.
        files: SHA-256 of the network's and the property's files by path.
    """

    run: int
    category: str
    onnx: str
    vnnlib: str
    timeout: float
    expected: str
    verdict: str
    seconds: float
    reason: str = ""
    domains: int | None = None
    open: int | None = None
    gap: float | None = None
    memory: int | None = None
    ended: float = 0.0
    digest: str = ""
    strategy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    packed: bytes | None = field(default=None, repr=False)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, float]:
        """What it is called in the file: network, property, timeout."""
        return self.onnx, self.vnnlib, self.timeout

    @property
    def solved(self) -> bool:
        """Whether it was answered."""
        return self.verdict in SOLVED

    @property
    def wrong(self) -> bool:
        """Whether the answer contradicts the expected one."""
        return contradict(self.verdict, self.expected)

    @property
    def found(self) -> Counterexample | None:
        """The counterexample, unpacked."""
        return None if self.packed is None else Counterexample(**json.loads(zlib.decompress(self.packed)))

    @property
    def name(self) -> tuple[str, str]:
        """Stems of network and property: what an instance is called wherever its files lie."""
        return stem(self.onnx), stem(self.vnnlib)

    def kept(self) -> Answered:
        """As the file of results has it."""
        alike = {name: getattr(self, name) for name in _ALIKE}
        return Answered(
            key=self.key, witness=self.packed, detail={name: getattr(self, name) for name in _DETAIL}, **alike
        )


_ALIKE = ("run", "verdict", "seconds", "timeout", "reason", "ended", "digest")
_DETAIL = ("category", "expected", "domains", "open", "gap", "memory", "strategy", "facts", "phases", "parts", "files")
"""What `detail` of a result holds; files of earlier versions have fewer."""


def row(r: Answered) -> Row:
    """A result of `bench`."""
    alike = {name: getattr(r, name) for name in _ALIKE}
    return Row(onnx=r.key[0], vnnlib=r.key[1], packed=r.witness, **alike, **r.detail)


def rows(db: str | Path, *some: int) -> list[Row]:
    """The results of runs so far, run by run, in the order in which they came.

    Raises:
        UserError: the file is not there, or not such a file.
    """
    return [row(r) for r in results(db, *some)]


def contradict(a: str, b: str) -> bool:
    """Whether two verdicts cannot both be right."""
    return {a, b} == {"sat", "unsat"}


def stem(path: str) -> str:
    """A file's name without folders and endings; other text as it is."""
    name = path if path.lstrip().startswith("[") else path.replace("\\", "/").rsplit("/", 1)[-1]
    for ending in (".gz", ".onnx", ".vnnlib"):
        name = name.removesuffix(ending)
    return name


def pack(found: Counterexample) -> bytes:
    """As a file of results holds it."""
    return zlib.compress(json.dumps(vars(found)).encode(), 1)


def pairs(mine: list[Row], theirs: list[Row]) -> list[tuple[Row, Row | None]]:
    """Each row of a run with the one of another run about the same instance, if there is just one.

    Instances go by the stems of their files; where that is not enough, by the category, too.
    """
    count = Counter(r.name for r in theirs)
    by_name = {r.name: r for r in theirs if count[r.name] == 1}
    by_category = {(r.category, *r.name): r for r in theirs}
    return [(r, by_category.get((r.category, *r.name), by_name.get(r.name))) for r in mine]
