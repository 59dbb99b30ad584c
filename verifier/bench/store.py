"""Results of runs over many instances, in one SQLite file: what is in it, how it is written and read.

Standard library only, so that a report opens fast.  One writer, any number of readers (write-ahead log).

`runs`: one row a run, that is, a source at one version of one tool under one set of settings.
    id        integer, in order of time
    tool      `verifier`, or the name of the file of results that was read in for comparison
    source    the folder or file of instances, or of results, absolute
    version   of the tool, with a digest of its source; '' of other tools
    settings  JSON object: device, threads, memory_gb, fresh, cap (seconds, or null): all that an answer may depend on
    machine   JSON object: system, processor, cores, memory_gb, host, python
    started   seconds since the epoch
    total     how many instances the source had when it was last run

`results`: one row a run and instance.
    run, onnx, vnnlib, timeout   the key: files relative to the source's folder where they lie in it, as the list of
              instances writes them; seconds.  For a query over several networks `onnx` is the competition's field.
    digest    SHA-256 of the files' content and the timeout: a row counts for a resumed run only where it is equal
    category  the benchmark's name
    expected  `sat`, `unsat` where the list of instances says it, else ''
    verdict   `sat`, `unsat`, `unknown`, `timeout`, `memory` (ended at the memory limit), `error`
    seconds   from the start of the instance's process to its end, or to the kill
    reason    one line: what decided it, why it is undecided, or the error
    domains, open      parts bounded; parts left open; null where nothing was searched
    gap       the largest distance of an open part from being refuted (>= 0, in units of the property's rows), or null
    memory    peak resident memory of the process, bytes
    ended     seconds since the epoch
    detail    JSON object, see `Row`: strategy, facts, phases, parts, files
    witness   zlib-compressed JSON object, see `Found`; null without a counterexample

`files`: digests of files by path, size and time of change, so that resuming reads none of them again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verifier.values.errors import UserError

SOLVED = ("sat", "unsat")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, tool TEXT NOT NULL, source TEXT NOT NULL, version TEXT NOT NULL, settings TEXT NOT NULL,
    machine TEXT NOT NULL, started REAL NOT NULL, total INTEGER NOT NULL, UNIQUE (tool, source, version, settings));
CREATE TABLE IF NOT EXISTS results (
    run INTEGER NOT NULL REFERENCES runs, onnx TEXT NOT NULL, vnnlib TEXT NOT NULL, timeout REAL NOT NULL,
    digest TEXT NOT NULL, category TEXT NOT NULL, expected TEXT NOT NULL, verdict TEXT NOT NULL, seconds REAL NOT NULL,
    reason TEXT NOT NULL, domains INTEGER, open INTEGER, gap REAL, memory INTEGER, ended REAL NOT NULL,
    detail TEXT NOT NULL, witness BLOB, PRIMARY KEY (run, onnx, vnnlib, timeout));
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, digest TEXT NOT NULL);
"""
_VERSION = 1
"""Of the schema, in the file's `user_version`."""


@dataclass(frozen=True)
class Run:
    """A row of `runs`; see the module."""

    id: int
    tool: str
    source: str
    version: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    started: float
    total: int


@dataclass(frozen=True)
class Found:
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
    """A row of `results`; see the module.

    Attributes:
        strategy: what was chosen, in one line; '' where nothing was.
        facts: what it was chosen from: a mapping of names to numbers and words.
        phases: seconds by phase (load, import, attack, prepare, search).
        parts: what is open at the end, worst first: for each a mapping with `disjunct` (number in the property), `gap`,
            `open` (parts), and where neurons are split `undecided` (neurons of either sign at the root).
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
    def found(self) -> Found | None:
        """The counterexample, unpacked."""
        return None if self.packed is None else Found(**json.loads(zlib.decompress(self.packed)))

    @property
    def name(self) -> tuple[str, str]:
        """Stems of network and property: what an instance is called wherever its files lie."""
        return stem(self.onnx), stem(self.vnnlib)


def contradict(a: str, b: str) -> bool:
    """Whether two verdicts cannot both be right."""
    return {a, b} == {"sat", "unsat"}


def stem(path: str) -> str:
    """A file's name without folders and endings; other text as it is."""
    name = path if path.lstrip().startswith("[") else path.replace("\\", "/").rsplit("/", 1)[-1]
    for ending in (".gz", ".onnx", ".vnnlib"):
        name = name.removesuffix(ending)
    return name


def pack(found: Found) -> bytes:
    """As the column `witness` holds it."""
    return zlib.compress(json.dumps(vars(found)).encode(), 1)


def runs(db: str | Path) -> list[Run]:
    """All runs of a file, the oldest first.

    Raises:
        UserError: it is not there, or not such a file.
    """
    with _reading(db) as c:
        return [_run(r) for r in c.execute("SELECT * FROM runs ORDER BY id")]


def rows(db: str | Path, run: int) -> list[Row]:
    """The results of a run so far, in the order in which they came.

    Raises:
        UserError: it is not there, or not such a file.
    """
    with _reading(db) as c:
        return [_row(r) for r in c.execute("SELECT * FROM results WHERE run = ? ORDER BY ended, rowid", (run,))]


def pairs(mine: list[Row], theirs: list[Row]) -> list[tuple[Row, Row | None]]:
    """Each row of a run with the one of another run about the same instance, if there is just one.

    Instances go by the stems of their files; where that is not enough, by the category, too.
    """
    count = Counter(r.name for r in theirs)
    by_name = {r.name: r for r in theirs if count[r.name] == 1}
    by_category = {(r.category, *r.name): r for r in theirs}
    return [(r, by_category.get((r.category, *r.name), by_name.get(r.name))) for r in mine]


class Store:
    """A file of results, open for writing; one process at a time.

    Raises:
        UserError: it cannot be opened or made, or is something else.
    """

    def __init__(self, db: Path) -> None:
        self.path = db
        try:
            self._c = sqlite3.connect(db, isolation_level=None, timeout=30.0)
        except sqlite3.Error as e:
            raise _refusal(db, e) from None
        try:
            self._c.row_factory = sqlite3.Row
            _check(self._c, db, new=True)
            self._c.execute("PRAGMA journal_mode = WAL")
            self._c.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing, a power cut the last rows
            with self._all_or_nothing() as c:
                for statement in _SCHEMA.split(";"):
                    c.execute(statement)
                c.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.Error, UserError) as e:
            self._c.close()
            raise (e if isinstance(e, UserError) else _refusal(db, e)) from None

    def close(self) -> None:
        """Close the file."""
        self._c.close()

    def begin(self, run: Run) -> int:
        """The number of this run: the one that it goes on with, or a new one (`run.id` does not matter)."""
        key = (run.tool, run.source, run.version, json.dumps(run.settings, sort_keys=True))
        with self._all_or_nothing() as c:
            c.execute(
                "INSERT INTO runs (tool, source, version, settings, machine, started, total) VALUES (?,?,?,?,?,?,?)"
                " ON CONFLICT DO UPDATE SET total = excluded.total",
                (*key, json.dumps(run.machine), run.started, run.total),
            )
            where = "tool = ? AND source = ? AND version = ? AND settings = ?"
            found = c.execute(f"SELECT id FROM runs WHERE {where}", key).fetchone()
        return int(found["id"])

    def add(self, row: Row) -> None:
        """Keep a result; on return it survives the end of this process, however that comes."""
        detail = json.dumps({name: getattr(row, name) for name in _DETAIL}, allow_nan=False)
        values = {**{name: getattr(row, name) for name in _PLAIN}, "detail": detail, "witness": row.packed}
        marks = ",".join("?" * len(values))
        self._c.execute(f"INSERT OR REPLACE INTO results ({','.join(values)}) VALUES ({marks})", list(values.values()))

    def add_all(self, some: list[Row]) -> None:
        """Keep many results at once."""
        with self._all_or_nothing():
            for row in some:
                self.add(row)

    def rows(self, run: int) -> list[Row]:
        """The results of a run so far, in the order in which they came."""
        return [_row(r) for r in self._c.execute("SELECT * FROM results WHERE run = ? ORDER BY ended, rowid", (run,))]

    def delete(self, some: list[int]) -> None:
        """Forget runs and their results, and give their room back."""
        with self._all_or_nothing() as c:
            for table, name in (("results", "run"), ("runs", "id")):
                c.executemany(f"DELETE FROM {table} WHERE {name} = ?", [(number,) for number in some])
        with suppress(sqlite3.Error):  # which takes as much room again, for a moment
            self._c.execute("VACUUM")

    def digests(self) -> dict[str, tuple[int, int, str]]:
        """Path -> size in bytes, time of change in nanoseconds, SHA-256, as last seen."""
        found = self._c.execute("SELECT path, size, changed, digest FROM files")
        return {r["path"]: (r["size"], r["changed"], r["digest"]) for r in found}

    def learn(self, digests: dict[str, tuple[int, int, str]]) -> None:
        """Remember digests of files."""
        with self._all_or_nothing() as c:
            c.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?)", [(p, *d) for p, d in digests.items()])

    @contextmanager
    def _all_or_nothing(self) -> Iterator[sqlite3.Connection]:
        self._c.execute("BEGIN IMMEDIATE")
        try:
            yield self._c
        except BaseException:
            self._c.execute("ROLLBACK")
            raise
        self._c.execute("COMMIT")


_PLAIN = (
    "run", "onnx", "vnnlib", "timeout", "digest", "category", "expected", "verdict", "seconds", "reason", "domains",
    "open", "gap", "memory", "ended",
)  # fmt: skip
"""Columns that are fields of `Row`."""
_DETAIL = ("strategy", "facts", "phases", "parts", "files")
"""Fields of `Row` that the column `detail` holds; files of earlier versions have fewer."""


@contextmanager
def _reading(db: str | Path) -> Iterator[sqlite3.Connection]:
    db = Path(db)
    if not db.is_file():
        raise UserError(f"{db}: no such file; `verifier bench` writes one")
    try:
        with _connected(db) as c:
            c.row_factory = sqlite3.Row
            _check(c, db)
            yield c
    except (sqlite3.Error, OSError) as e:
        raise _refusal(db, e) from None


@contextmanager
def _connected(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing.

    SQLite reads a file in write-ahead mode with the help of two others beside it, which it may have to make.  In a
    folder where it may not, what is there is copied and read elsewhere.
    """
    with closing(sqlite3.connect(f"{db.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)) as c:
        try:
            c.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            if os.access(db.resolve().parent, os.W_OK):
                raise
        else:
            yield c
            return
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for ending in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{db.resolve()}{ending}", f"{folder}/copy{ending}")
        with closing(sqlite3.connect(f"{folder}/copy", timeout=30.0)) as c:
            yield c


def _check(c: sqlite3.Connection, db: Path, new: bool = False) -> None:
    """Refuse a database of something else, or of another version."""
    version = c.execute("PRAGMA user_version").fetchone()[0]
    empty = c.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if version != _VERSION and not (new and empty):
        what = f"holds results in version {version} of the format" if version else "is a database of something else"
        raise UserError(f"{db}: {what}, not results in version {_VERSION}; choose another file")


def _refusal(db: Path, e: sqlite3.Error | OSError) -> UserError:
    return UserError(f"{db}: cannot be used as a file of results ({e}); choose another file")


def _run(r: sqlite3.Row) -> Run:
    values = dict(r)
    return Run(**{**values, "settings": json.loads(values["settings"]), "machine": json.loads(values["machine"])})


def _row(r: sqlite3.Row) -> Row:
    return Row(**{name: r[name] for name in _PLAIN}, **json.loads(r["detail"]), packed=r["witness"])
