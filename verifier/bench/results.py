"""Tables of results: the competition's, and those of other tools or versions, to be put beside."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from verifier.bench.store import Row
from verifier.values.errors import UserError

_COLUMNS = {
    "category": ("category", "benchmark"),
    "onnx": ("onnx", "model", "network"),
    "vnnlib": ("vnnlib", "spec", "property"),
    "verdict": ("verdict", "result", "peer_verdict"),
    "seconds": ("seconds", "runtime", "run_time", "time", "wall_s", "peer_wall_s"),
    "timeout": ("timeout", "timeout_s"),
}
"""What columns may be called, the first one first; without a first line of names they are the competition's."""
_COMPETITION = dict(category=0, onnx=1, vnnlib=2, verdict=4, seconds=5)
_WORDS = {"holds": "unsat", "violated": "sat", "timed-out": "timeout", "memory": "memory"}
_VERDICTS = ("sat", "unsat", "unknown", "timeout", "error")


def table(rows: list[Row]) -> str:
    """The competition's format: category, network, property, seconds of preparation, result, seconds.

    What ended at a limit of memory is an `error` there.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for r in rows:
        verdict = r.verdict if r.verdict in _VERDICTS else "error"
        writer.writerow([r.category, r.onnx, r.vnnlib, "0.0", verdict, f"{r.seconds:.4f}"])
    return text.getvalue()


def read(path: Path) -> list[Row]:
    """Another tool's results: in the competition's format, or with a first line that names columns.

    Known names: category or benchmark; onnx, vnnlib; verdict or result (or peer_verdict); seconds, runtime or wall_s
    (or peer_wall_s); timeout.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            lines = [row for row in csv.reader(f, skipinitialspace=True) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: cannot be read as a table of results ({e})") from None
    if not lines:
        raise UserError(f"{path}: is empty; a table of results is due")
    first = [cell.strip() for cell in lines[0]]
    columns, rest = _COMPETITION, lines
    if "onnx" in first or "model" in first:
        columns, rest = _named(path, first), lines[1:]
    rows = [_row(path, cells, columns) for cells in rest]
    return list({(r.onnx, r.vnnlib, r.timeout): r for r in rows}.values())


def _named(path: Path, first: list[str]) -> dict[str, int]:
    columns = {}
    for name, words in _COLUMNS.items():
        found = [first.index(word) for word in words if word in first]
        if found:
            columns[name] = found[0]
        elif name not in ("category", "timeout"):
            raise UserError(f"{path}: no column {' or '.join(words)}; name the columns in the first line")
    return columns


def _row(path: Path, cells: list[str], columns: dict[str, int]) -> Row:
    cell = {name: cells[i].strip() if i < len(cells) else "" for name, i in columns.items()}
    word = cell["verdict"].lower()
    verdict = _WORDS.get(word, word if word in _VERDICTS else "error")
    try:
        seconds, timeout = float(cell["seconds"] or 0), float(cell.get("timeout") or 0)
    except ValueError:
        raise UserError(f"{path}: cannot be read as a table of results: {','.join(cells)[:80]}") from None
    reason = "" if word == verdict or not word else word
    return Row(0, cell.get("category", ""), cell["onnx"], cell["vnnlib"], timeout, "", verdict, seconds, reason)
