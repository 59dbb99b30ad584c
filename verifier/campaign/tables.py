"""Tables of results: the competition's, and those of other tools or versions, to be put beside."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from verifier.campaign.rows import Row
from verifier.values.errors import UserError, why

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
_ENDED = re.compile("timeout|error|no_result|memory|crash|killed")
"""What tools and scripts call it, in words of their own, where there is no answer."""
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
            reader = csv.reader(f, skipinitialspace=True)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: cannot be read as a table of results ({why(e)})") from None
    if not lines:
        raise UserError(f"{path}: is empty; a table of results is due")
    first = [cell.strip() for cell in lines[0][1]]
    columns, rest = _COMPETITION, lines
    if "onnx" in first or "model" in first:
        columns, rest = _named(path, first), lines[1:]
    rows = [_row(path, number, cells, columns) for number, cells in rest]
    if not any(r.verdict != "error" or _ENDED.search(r.reason or r.verdict) for r in rows):
        raise UserError(f"{path}: no line of it has a result such as sat, unsat or timeout; a table of results is due")
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


def _row(path: Path, number: int, cells: list[str], columns: dict[str, int]) -> Row:
    cell = {name: cells[i].strip() if i < len(cells) else "" for name, i in columns.items()}
    word = cell["verdict"].lower()
    verdict = _WORDS.get(word, word if word in _VERDICTS else "error")
    try:
        if not (cell["onnx"] and cell["vnnlib"] and word and (cell["seconds"] or columns is not _COMPETITION)):
            raise ValueError
        seconds, timeout = float(cell["seconds"] or 0), float(cell.get("timeout") or 0)
        if not (0 <= seconds < math.inf and 0 <= timeout < math.inf):
            raise ValueError
    except ValueError:
        raise UserError(
            f"{path}:{number}: no row of a table of results: {','.join(cells)[:80]}; write category, network, "
            "property, seconds of preparation, result, seconds, or name the columns in the first line"
        ) from None
    reason = "" if word == verdict or not word else word
    return Row(0, cell.get("category", ""), cell["onnx"], cell["vnnlib"], timeout, "", verdict, seconds, reason)
