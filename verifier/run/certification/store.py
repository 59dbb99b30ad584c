"""Results by image, in an SQLite file that survives the process: what is written is never done again.

`about`: what the results are of, a name and a value a row: `format`, `model`, `data` (digests), `ball` (norm, range of
inputs), `eps`.
`results`: one row an image and radius, see `points.Point`; the counterexample as doubles, zlib-compressed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.run.certification.points import Point, Status
from verifier.values.arrays import to_numpy
from verifier.values.errors import UserError

FORMAT = "1"
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE results (
    image INTEGER NOT NULL, label INTEGER NOT NULL, predicted INTEGER NOT NULL, eps REAL NOT NULL,
    status TEXT NOT NULL, seconds REAL NOT NULL, timeout REAL NOT NULL, reason TEXT NOT NULL, witness BLOB,
    PRIMARY KEY (image, eps));
"""


class Store:
    """Points by image and radius: in a file, or (without a path) in memory alone.

    One process writes a file at a time.

    Attributes:
        points: what is known.  lost: why results are not kept any more; empty while they are.
    """

    def __init__(self, path: Path | None, about: dict[str, str]) -> None:
        """Open a file, or make it.

        Raises:
            UserError: it is of another question, no such file, in use, or cannot be written.
        """
        self.lost = ""
        self.path, self.points = path, dict[tuple[int, float], Point]()
        self._db: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            self._db = sqlite3.connect(path, timeout=0.2, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # two at once would do everything twice
            self._db.execute("BEGIN EXCLUSIVE")
            if not self._db.execute("SELECT name FROM sqlite_master").fetchall():
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._db.execute(statement)
                self._db.executemany("INSERT INTO about VALUES (?, ?)", [("format", FORMAT), *about.items()])
            known = dict(self._db.execute("SELECT name, value FROM about").fetchall())
            rows = self._db.execute("SELECT * FROM results").fetchall()
            self._db.execute("COMMIT")
            _same(path, known, {"format": FORMAT, **about})
            self.points = {(p.index, p.eps): p for p in map(_point, rows)}
        except (sqlite3.Error, ValueError, TypeError, zlib.error) as e:
            self.close()
            raise UserError(_why(path, e)) from None
        except UserError:
            self.close()
            raise

    def add(self, points: list[Point]) -> None:
        """Keep points, all or none; those that stood for an error or a shorter trial are replaced.

        Where they cannot be written, `lost` says why; from then on they are kept in memory alone.
        """
        rows = [
            (p.index, p.label, p.predicted, p.eps, str(p.status), p.seconds, p.timeout, p.reason,
             None if p.witness is None else zlib.compress(np.asarray(p.witness, np.float64).tobytes(), 1))
            for p in points
        ]  # fmt: skip
        if self._db is not None and rows:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(f"INSERT OR REPLACE INTO results VALUES ({','.join('?' * 9)})", rows)
                self._db.execute("COMMIT")
            except (sqlite3.Error, OverflowError) as e:
                self.lost = f"{self.path}: cannot be written ({e}); free some space, or give another"
                self.close()
        self.points |= {(p.index, p.eps): p for p in points}

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _same(path: Path, known: dict[str, str], about: dict[str, str]) -> None:
    """Refuse results of another question."""
    what = {"format": "another format", "model": "another model", "data": "other data", "ball": "another norm or range",
            "eps": "another eps"}  # fmt: skip
    for name, value in about.items():
        if known.get(name) != value:
            was = f" ({known[name]}, not {value})" if name in ("eps", "ball") and name in known else ""
            raise UserError(f"{path}: holds results for {what[name]}{was}; give another file, or delete it")


def _point(row: tuple[Any, ...]) -> Point:
    index, label, predicted, eps, status, seconds, timeout, reason, packed = row
    witness = None if packed is None else np.frombuffer(zlib.decompress(packed), np.float64)
    return Point(index, label, predicted, eps, Status(status), seconds, timeout, reason, witness)


def _why(path: Path, e: Exception) -> str:
    if "locked" in str(e):
        return f"{path}: another process is writing it; wait for it, or give another file"
    return f"{path}: cannot be used as a file of results ({e}); give another file"


def digest_data(x: np.ndarray, y: np.ndarray) -> str:
    """Of inputs `[N, n]` and classes `[N]`."""
    h = hashlib.sha256(repr((x.shape, x.dtype.str)).encode())
    h.update(np.ascontiguousarray(x).data)
    h.update(np.ascontiguousarray(y, np.int64).data)
    return h.hexdigest()


def digest_graph(graph: Graph) -> str:
    """Of what a network computes: operators, how they hang together, and all parameters."""
    h = hashlib.sha256(repr((graph.inputs, graph.outputs)).encode())
    for node in graph.nodes:
        h.update(repr((node.inputs, node.shape)).encode())
        _feed(h, node.op)
    return h.hexdigest()


def _feed(h: Any, value: Any) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        h.update(type(value).__name__.encode())
        for field in dataclasses.fields(value):
            _feed(h, getattr(value, field.name))
    elif hasattr(value, "tocsr"):
        for part in (value.data, value.indices, value.indptr):
            _feed(h, part)
    elif hasattr(value, "shape"):
        array = np.ascontiguousarray(to_numpy(value))
        h.update(repr((array.shape, array.dtype.str)).encode())
        h.update(array.tobytes())
    elif isinstance(value, (tuple, list)):
        h.update(f"({len(value)}".encode())
        for item in value:
            _feed(h, item)
    else:
        h.update(repr(value).encode() + b"\0")
