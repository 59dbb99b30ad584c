"""Which instances a folder or a list holds, in the layouts of VNN-COMP."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from verifier.run.networks import field, is_field
from verifier.values.errors import UserError, why

LIST = "instances.csv"
VERSIONS = ("1.0", "2.0")
"""Folders that a benchmark with properties in both versions of the language has; the first is run."""

_COLUMNS = {
    "category": ("category", "benchmark"),
    "onnx": ("onnx", "model", "network"),
    "vnnlib": ("vnnlib", "spec", "property"),
    "timeout": ("timeout", "timeout_s"),
    "expected": ("expected", "expected_verdict"),
}
"""What columns may be called in a list's first line; without such a line they are onnx, vnnlib, timeout, expected."""


@dataclass(frozen=True)
class Instance:
    """A question from a list.

    Attributes:
        category: the benchmark's name.
        onnx, vnnlib: as the list writes them, from the source's folder.
        timeout: seconds.
        expected: `sat` or `unsat` where the list says so, else ''.
        model: a file, or one a name of network, absolute; spec: likewise.
    """

    category: str
    onnx: str
    vnnlib: str
    timeout: float
    expected: str
    model: str | dict[str, str]
    spec: str

    @property
    def key(self) -> tuple[str, str, float]:
        """What it is called in the file of results."""
        return self.onnx, self.vnnlib, self.timeout

    @property
    def files(self) -> list[str]:
        """All of them."""
        return [*(self.model.values() if isinstance(self.model, dict) else [self.model]), self.spec]


def read(source: Path, only: str = "", cap: float | None = None) -> list[Instance]:
    """The instances of a folder or a list, in order, repeated ones once.

    Args:
        source: a list `.csv`; or a folder with one, or with folders of benchmarks, each with a list or with folders
            `1.0` and `2.0` that have one.
        only: keep instances of which category, network or property match this; several with commas between.
        cap: no timeout is longer, seconds.

    Raises:
        UserError: nothing of that kind is there, or a line cannot be read.
    """
    found_lists = lists(source)
    root = source if source.is_dir() else source.parent
    found: dict[tuple[str, str, float], Instance] = {}
    for path in found_lists:
        for instance in _read(path, root):
            if cap is not None:
                instance = replace(instance, timeout=min(instance.timeout, cap))
            if _matches(instance, only):
                found.setdefault(instance.key, instance)
    if not found:
        raise UserError(f"{source}: no instance{f' matches {only}' if only else ''}; nothing to run")
    return list(found.values())


def lists(source: Path) -> list[Path]:
    """The lists of a folder, or the list that is given.

    Raises:
        UserError: there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; give a folder with {LIST}, or the list itself")
    at_hand = _of_benchmark(source)
    below = [path for folder in sorted(source.iterdir()) if folder.is_dir() for path in _of_benchmark(folder)]
    if not at_hand and not below:
        raise UserError(f"{source}: neither it nor a folder in it has {LIST}; give a folder of a benchmark")
    return at_hand or below


def _of_benchmark(folder: Path) -> list[Path]:
    places = [folder, *(folder / version for version in VERSIONS)]
    return [place / LIST for place in places if (place / LIST).is_file()][:1]


def _read(path: Path, root: Path) -> list[Instance]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            lines = [(reader.line_num, row) for reader in [csv.reader(f, skipinitialspace=True)] for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: cannot be read as a list ({why(e)}); write onnx,vnnlib,timeout") from None
    lines = [(number, row) for number, row in lines if any(cell.strip() for cell in row)]
    columns = dict(onnx=0, vnnlib=1, timeout=2, expected=3)
    first = [cell.strip() for cell in lines[0][1]] if lines else []
    named = {name: i for i, cell in enumerate(first) for name, words in _COLUMNS.items() if cell in words}
    if {"onnx", "vnnlib", "timeout"} <= named.keys():
        columns, lines = named, lines[1:]
    return [_instance(path, root, number, row, columns) for number, row in lines]


def _instance(path: Path, root: Path, number: int, row: list[str], columns: dict[str, int]) -> Instance:
    cells = {name: row[i].strip() if i < len(row) else "" for name, i in columns.items()}
    try:
        timeout = float(cells["timeout"])
    except ValueError:
        timeout = float("nan")
    if not 0 <= timeout < float("inf") or not cells["onnx"] or not cells["vnnlib"]:
        raise UserError(f"{path}:{number}: cannot be read as onnx,vnnlib,timeout in seconds: {','.join(row)[:80]}")
    folder = path.parent
    home = folder.parent if folder.name in VERSIONS else folder
    expected = cells.get("expected", "")
    expected = expected if expected in ("sat", "unsat") else ""
    category = cells.get("category") or home.resolve().name
    model: str | dict[str, str]
    if is_field(cells["onnx"]):
        onnx = cells["onnx"]
        try:
            model = {name: _file(folder, file) for name, file in field(onnx).items()}
        except UserError as e:
            raise UserError(f"{path}:{number}: {e}") from None
    else:
        onnx, model = _shown(folder, root, cells["onnx"]), _file(folder, cells["onnx"])
    vnnlib = _shown(folder, root, cells["vnnlib"])
    return Instance(category, onnx, vnnlib, timeout, expected, model, _file(folder, cells["vnnlib"]))


def _file(folder: Path, name: str) -> str:
    """Where a file lies: as it is called, compressed, or unpacked; what is nowhere is for its run to report.

    Also from the folder above the list's: lists that lie in a project are often written from its root.
    """
    tried = []
    for home in (folder.absolute(), folder.absolute().parent):
        path = home / name
        tried += [path, Path(f"{path}.gz"), path.with_suffix("") if path.suffix == ".gz" else path]
    return str(next((p for p in tried if p.is_file()), tried[0]))


def _shown(folder: Path, root: Path, name: str) -> str:
    path = Path(name)
    if path.is_absolute():
        return name
    return (folder.relative_to(root) / path).as_posix() if folder.is_relative_to(root) else name


def _matches(instance: Instance, only: str) -> bool:
    patterns = [p for p in only.split(",") if p]
    texts = (instance.category, instance.onnx, instance.vnnlib)
    return not patterns or any(p in t or fnmatchcase(t, p) for p in patterns for t in texts)
