"""The tables of a file of results, and how those of earlier versions become these."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from verifier.values.errors import UserError

VERSION = 2
"""Of the tables, in the file's `user_version`: 1 was of `bench` alone; `certify` had another file, without a number."""
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tool TEXT NOT NULL, source TEXT NOT NULL, version TEXT NOT NULL,
    settings TEXT NOT NULL, machine TEXT NOT NULL, started REAL NOT NULL, total INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS results (
    run INTEGER NOT NULL REFERENCES runs, key TEXT NOT NULL, digest TEXT NOT NULL, verdict TEXT NOT NULL,
    seconds REAL NOT NULL, timeout REAL NOT NULL, reason TEXT NOT NULL, ended REAL NOT NULL, detail TEXT NOT NULL,
    witness BLOB, PRIMARY KEY (run, key));
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, digest TEXT NOT NULL);
"""
_FROM_BENCH = """
INSERT INTO runs SELECT id, 'bench', tool, source, version, settings, machine, started, total FROM old_runs;
INSERT INTO results SELECT run, to_list(onnx, vnnlib, timeout), digest, verdict, seconds, timeout, reason, ended,
    to_object(detail, 'category', category, 'expected', expected, 'domains', domains, 'open', open, 'gap', gap,
    'memory', memory), witness FROM old_results ORDER BY rowid
"""
_FROM_CERTIFY = """
INSERT INTO runs SELECT 1, 'certify', 'verifier', '', '', json_group_object(name, value), '{}', 0, 0 FROM old_about
    WHERE name != 'format';
INSERT INTO results SELECT 1, to_list(image, eps), '', status, seconds, timeout, reason, 0,
    to_object('{}', 'label', label, 'predicted', predicted), witness FROM old_results ORDER BY rowid
"""
_EARLIER = {0: (("about", "results"), _FROM_CERTIFY), 1: (("runs", "results"), _FROM_BENCH)}
"""By version: the tables that become others, and how."""


def version(c: sqlite3.Connection) -> int | None:
    """Of a file; None where nothing is in it.

    Raises:
        UserError: it is of a newer version, or of something else; the message has no file's name.
    """
    number = int(c.execute("PRAGMA user_version").fetchone()[0])
    tables = {r[0] for r in c.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if number == 0 and not tables:
        return None
    if number > VERSION:
        raise UserError(f"it is in version {number} of the format, this program knows {VERSION}: update it")
    if not {"results", *_EARLIER.get(number, ((), ""))[0]} <= tables:
        raise UserError("it is a database of something else")
    return number


def prepare(c: sqlite3.Connection, found: int | None) -> None:
    """Make the tables, out of those of version `found` where there are some; inside a transaction."""
    old, fill = _EARLIER.get(VERSION if found is None else found, ((), ""))
    for table in old:
        c.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    c.create_function("to_list", -1, lambda *values: json.dumps(values))
    c.create_function("to_object", -1, _object)
    for statement in (*_TABLES.split(";"), *fill.split(";"), *(f"DROP TABLE old_{table}" for table in old)):
        c.execute(statement)
    c.execute(f"PRAGMA user_version = {VERSION}")


def _object(text: str, *more: Any) -> str:
    """The JSON object `text` with more members: names and values by turns."""
    return json.dumps({**dict(zip(more[::2], more[1::2], strict=True)), **json.loads(text)})
