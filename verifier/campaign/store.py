"""Results of campaigns, in one SQLite file: what is in it, how it is written and read.

A campaign asks many questions: of a benchmark its instances, of a data set its images.  Standard library only, so that
a report opens fast.  One writer, any number of readers (write-ahead log).

`runs`: one row a run.
    id        integer, in order of time
    kind      `bench` (of instances) or `certify` (of images, and of radii)
    tool      `verifier`, or the name of the file of results that was read in for comparison
    source    of `bench`: the folder or file of instances, or of results, absolute
    version   of `bench`: of the tool, with a digest of its source; '' of other tools
    settings  JSON object: all else that an answer may depend on, see `bench.Settings` and `question.described`
    machine   JSON object: system, processor, cores, memory_gb, host, python
    started   seconds since the epoch
    total     how many questions were asked when it was last run; 0 where nobody knows

`results`: one row a run and question.
    run, key  what was asked, a JSON list: of `bench` network, property, timeout; of `certify` image, eps
    digest    of `bench`: of the content of what was asked; a row counts for a resumed run only where it is equal
    verdict   see `rows.Row` and `points.Status`
    seconds   that it took; timeout: those that it was given
    reason    one line: what decided it, why it is undecided, or the error
    ended     seconds since the epoch
    detail    JSON object, see `rows.Row` and `images.Kept`
    witness   the counterexample, zlib-compressed (of `bench` a JSON object, of `certify` doubles), or null

`files`: digests of files by path, size and time of change, so that resuming reads none of them again.

Files of earlier versions are read as they are, and become files of this one when they are written to (`schema`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verifier.campaign import schema
from verifier.values.errors import Unwritten, UserError


@dataclass(frozen=True)
class Run:
    """A row of `runs`; see the module."""

    id: int
    kind: str
    tool: str
    source: str
    version: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    started: float
    total: int


@dataclass(frozen=True)
class Answered:
    """A row of `results`; see the module."""

    run: int
    key: tuple[Any, ...]
    verdict: str
    seconds: float
    timeout: float
    reason: str = ""
    ended: float = 0.0
    digest: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    witness: bytes | None = field(default=None, repr=False)


def runs(db: str | Path) -> list[Run]:
    """All runs of a file, the oldest first.

    Raises:
        UserError: it is not there, or not such a file.
    """
    with _reading(db) as c:
        return _runs(c)


def results(db: str | Path, *some: int) -> list[Answered]:
    """The results of runs so far, run by run, in the order in which they came.

    Raises:
        UserError: it is not there, or not such a file.
    """
    with _reading(db) as c:
        return [r for run in some for r in _results(c, run)]


class Store:
    """A file of results, open for writing; one process at a time.  Without a path it is in memory.

    Raises:
        UserError: it cannot be opened or made, is something else, or another process is writing to it.
        Unwritten: (of what writes) it cannot be kept any more.
    """

    def __init__(self, db: Path | None) -> None:
        self.path = db
        self._lock = None if db is None else _reserved(db)
        try:
            with _usable(db):
                self._c = sqlite3.connect(":memory:" if db is None else db, isolation_level=None, timeout=30.0)
                self._c.row_factory = sqlite3.Row
                found = schema.version(self._c)
                self._c.execute("PRAGMA journal_mode = WAL")
                self._c.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing, a power cut the last
                with _all_or_nothing(self._c) as c:
                    schema.prepare(c, found)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, and let others write to it."""
        if hasattr(self, "_c"):
            self._c.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, run: Run) -> int:
        """The number of this run: the one that it goes on with, or a new one (`run.id` does not matter)."""
        with self._writing() as c:
            names = ("kind", "tool", "source", "version", "settings")
            for r in _runs(c):
                if all(getattr(r, name) == getattr(run, name) for name in names):
                    c.execute("UPDATE runs SET total = ? WHERE id = ?", (run.total, r.id))
                    return r.id
            about = json.dumps(run.settings), json.dumps(run.machine), run.started, run.total
            values = (None, run.kind, run.tool, run.source, run.version, *about)
            return int(c.execute("INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?)", values).lastrowid or 0)

    def add(self, some: Iterable[Answered]) -> None:
        """Keep results, all or none; on return they survive the end of this process, however that comes."""
        with self._writing() as c:
            c.executemany(
                "INSERT OR REPLACE INTO results VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    (r.run, json.dumps(r.key), r.digest, r.verdict, r.seconds, r.timeout, r.reason, r.ended,
                     json.dumps(r.detail, allow_nan=False), r.witness)
                    for r in some
                ),
            )  # fmt: skip

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        return _runs(self._c)

    def results(self, run: int) -> list[Answered]:
        """The results of a run so far, in the order in which they came."""
        with _usable(self.path):
            return list(_results(self._c, run))

    def delete(self, some: list[int]) -> None:
        """Forget runs and their results, and give their room back."""
        with self._writing() as c:
            for table, name in (("results", "run"), ("runs", "id")):
                c.executemany(f"DELETE FROM {table} WHERE {name} = ?", [(number,) for number in some])
        with suppress(sqlite3.Error):  # which takes as much room again, for a moment
            self._c.execute("VACUUM")

    def digests(self) -> dict[str, tuple[int, int, str]]:
        """Path -> size in bytes, time of change in nanoseconds, SHA-256, as last seen."""
        with _usable(self.path):
            return {path: (size, at, digest) for path, size, at, digest in self._c.execute("SELECT * FROM files")}

    def learn(self, digests: dict[str, tuple[int, int, str]]) -> None:
        """Remember digests of files."""
        with self._writing() as c:
            c.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?)", [(p, *d) for p, d in digests.items()])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with _all_or_nothing(self._c) as c:
                yield c
        except sqlite3.Error as e:
            why = f"{self.path}: cannot be written ({e}); free some space, the same command goes on"
            raise Unwritten(why) from None


@contextmanager
def _all_or_nothing(c: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    c.execute("BEGIN IMMEDIATE")
    try:
        yield c
        c.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # where a disk is full it may have ended by itself
            c.execute("ROLLBACK")
        raise


@contextmanager
def _usable(db: Path | None) -> Iterator[None]:
    """What is wrong with a file of results, in one line."""
    try:
        yield
    except (sqlite3.Error, OSError, UserError, ValueError, TypeError, LookupError) as e:
        raise UserError(f"{db}: cannot be used as a file of results ({e}); choose another file") from None


@contextmanager
def _reading(db: str | Path) -> Iterator[sqlite3.Connection]:
    db = Path(db)
    if not db.is_file():
        raise UserError(f"{db}: no such file; `verifier bench` writes one")
    with _usable(db), _connected(db) as c, closing(sqlite3.connect(":memory:")) as copy:
        found = schema.version(c)
        if found is None:
            raise UserError("it is empty")
        if found != schema.VERSION:
            c.backup(copy)
            schema.prepare(copy, found)
            c = copy
        c.row_factory = sqlite3.Row
        yield c


@contextmanager
def _connected(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing.

    SQLite reads a file in write-ahead mode with the help of two others beside it, which it may have to make, and one
    whose writer was killed by mending it.  Where it may not, what is there is copied and read elsewhere.
    """
    with closing(sqlite3.connect(f"{db.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)) as c:
        try:
            c.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise
        else:
            yield c
            return
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for ending in ("", "-wal", "-journal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{db.resolve()}{ending}", f"{folder}/copy{ending}")
        with closing(sqlite3.connect(f"{folder}/copy", timeout=30.0)) as c:
            yield c


def _reserved(db: Path) -> int:
    """The file for this process alone; the system gives it back when the process ends, however it ends."""
    try:
        handle = os.open(db, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as e:
        why = f"cannot be used as a file of results, it cannot be written ({e.strerror})"
        raise UserError(f"{db}: {why}; choose another place") from None
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # a system without such locks: SQLite's own keep the file whole
        pass
    except OSError:
        os.close(handle)
        what = "another process (another bench or certify) is writing to it"
        raise UserError(f"{db}: {what}; wait, or choose another file") from None
    return handle


def _runs(c: sqlite3.Connection) -> list[Run]:
    found = (dict(r) for r in c.execute("SELECT * FROM runs ORDER BY id"))
    return [Run(**{**r, "settings": json.loads(r["settings"]), "machine": json.loads(r["machine"])}) for r in found]


def _results(c: sqlite3.Connection, run: int) -> Iterator[Answered]:
    for r in map(dict, c.execute("SELECT * FROM results WHERE run = ? ORDER BY ended, rowid", (run,))):
        yield Answered(**{**r, "key": tuple(json.loads(r["key"])), "detail": json.loads(r["detail"])})
