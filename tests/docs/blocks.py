"""Code blocks of a page: taken out, run in order, and what they print compared with what the page shows.

A block marked `sh` is run by bash, `python` in one interpreter that keeps its names from block to block.  A block
marked `text` right behind it shows what is printed.  Blocks of other kinds (`bash`, `toml`) are not run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python")
TIME = re.compile(r"\b\d+(?:\.\d+)?(?:e-?\d+)? ?s(?:econds)?\b")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
TOLERANCE = 2e-3
"""Relative: numbers of one machine against those of another."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        kind: first word of its head.  head: the rest.  line: where it starts, from 1.
        text: what is in it.  shown: the `text` block right behind it, or None.
    """

    kind: str
    head: str
    line: int
    text: str
    shown: str | None = None


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, those of output joined to what they are the output of."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    i, last_end = 0, -9
    while i < len(lines):
        fence = re.match(r"^( *)```(\S*)\s*(.*)$", lines[i])
        if not fence:
            i += 1
            continue
        indent, kind, head = fence.groups()
        end = next(j for j in range(i + 1, len(lines)) if lines[j] == f"{indent}```")
        text = "\n".join(line.removeprefix(indent) for line in lines[i + 1 : end])
        near = not any(lines[j].strip() for j in range(last_end + 1, i))
        if kind == "text" and near and found and found[-1].shown is None and last_end >= 0:
            b = found.pop()
            found.append(Block(b.kind, b.head, b.line, b.text, text))
        elif kind != "text":
            found.append(Block(kind, head, i + 1, text))
        last_end = end
        i = end + 1
    return found


def run(page: Path, folder: Path) -> int:
    """Run the blocks of a page in a folder; how many were run.  Fails with the page's line."""
    module = ModuleType("page")
    names, count = vars(module), 0
    sys.modules["page"] = module  # where dataclasses look for it
    with contextlib.chdir(folder):
        for b in blocks(page):
            if b.kind not in RUN:
                continue
            printed = _shell(b, page) if b.kind == "sh" else _python(b, page, names)
            count += 1
            if b.shown is not None:
                difference = differs(b.shown, printed)
                assert difference is None, f"{page.name}:{b.line}: {difference}\n--- printed:\n{printed}"
    return count


def _shell(b: Block, page: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "dumb"}
    done = subprocess.run(
        ["bash", "-e", "-c", b.text], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{page.name}:{b.line}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _python(b: Block, page: Path, names: dict[str, Any]) -> str:
    out = io.StringIO()
    code = compile("\n" * b.line + b.text, str(page), "exec")
    with contextlib.redirect_stdout(out):
        try:
            exec(code, names)
        except Exception:
            raise AssertionError(f"{page.name}:{b.line}:\n{traceback.format_exc(limit=-2)}") from None
    return out.getvalue()


def differs(shown: str, printed: str) -> str | None:
    """What is not as shown, or None.

    Times count for nothing, numbers are compared up to rounding, and a line `...` stands for any number of lines.
    """
    wanted = [line.rstrip() for line in shown.strip().splitlines()]
    got = [line.rstrip() for line in printed.strip().splitlines()]
    return None if _match(wanted, got) else next(_first(wanted, got), "other output than shown")


def _first(wanted: list[str], got: list[str]) -> Iterator[str]:
    for one, other in zip(wanted, got, strict=False):
        if one == "...":
            break
        if not same(one, other):
            yield f"shown {one!r}, printed {other!r}"
    if "..." not in wanted and len(wanted) != len(got):
        yield f"{len(wanted)} lines shown, {len(got)} printed"


def _match(wanted: list[str], got: list[str]) -> bool:
    if not wanted:
        return not got
    if wanted[0] == "...":
        return any(_match(wanted[1:], got[k:]) for k in range(len(got) + 1))
    return bool(got) and same(wanted[0], got[0]) and _match(wanted[1:], got[1:])


def same(shown: str, printed: str) -> bool:
    """Whether two lines say the same."""
    shown, printed = (TIME.sub("TIME", s) for s in (shown, printed))
    words, others = (re.sub(r"\s+", " ", NUMBER.sub("N", s)).strip() for s in (shown, printed))
    if words != others:
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(_near(float(a), float(b), whole=not re.search(r"[.e]", a + b)) for a, b in pairs)


def _near(a: float, b: float, whole: bool) -> bool:
    return a == b if whole else abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) + 1e-9
