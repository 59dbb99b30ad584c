"""The files behind what an option names: weights beside a model, images of a data set, instances of a list.

Asked for only where something that exists is to be written to: it might be one of them.  What cannot be read has no
files; the command will say why.
"""

from __future__ import annotations

import argparse
import mmap
from contextlib import suppress
from pathlib import Path

from verifier.values.errors import UserError


def of_model(model: str, _: argparse.Namespace) -> list[Path]:
    """A model (or the competition's field of several), and the files that hold its weights."""
    from verifier.run.networks import field, is_field

    files = [model]
    if is_field(model) and not Path(model).exists():
        try:
            files = list(field(model).values())
        except UserError:
            files = []
    return [p for name in files for p in (Path(name), *weights(Path(name)))]


def of_numbers(text: str, _: argparse.Namespace) -> list[Path]:
    """Of `[NAME=]FILE`; a name may hold the sign, too."""
    parts = text.split("=")
    return [Path("=".join(parts[k:])) for k in range(1, len(parts))]


def of_network(text: str, a: argparse.Namespace) -> list[Path]:
    """Of `NAME=FILE`."""
    return of_model(text.partition("=")[2], a)


def weights(model: Path) -> list[Path]:
    """The files beside a model that its tensors are stored in."""
    try:
        with model.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"location") < 0:  # the key that each of them has: most models need no reading here
                return []
        import onnx

        graph = onnx.load(str(model), load_external_data=False).graph
    except Exception:  # no model, empty, unreadable: the command will say so
        return []
    names = {e.value for t in graph.initializer for e in t.external_data if e.key == "location"}
    return [model.parent / name for name in sorted(names)]


def of_data(source: str, _: argparse.Namespace) -> list[Path]:
    """The files of a data set."""
    from verifier.train.data import files

    return files(source)


def of_recipe(path: Path, a: argparse.Namespace) -> list[Path]:
    """A recipe, and the data that it names, unless the command line names others."""
    import tomllib

    found = [Path(path)]
    if a.data is None:
        with suppress(OSError, ValueError, AttributeError):
            source = str(tomllib.loads(Path(path).read_text(encoding="utf-8")).get("data", {}).get("source", "digits"))
            found += of_data(source, a) + of_data(str(Path(path).parent / source), a)
    return found


def of_instances(source: Path, _: argparse.Namespace) -> list[Path]:
    """The lists of a benchmark, and all that they name."""
    from verifier.campaign.instances import lists, read

    with suppress(UserError):
        named = {Path(f) for i in read(source) for f in i.files}
        return [*lists(source), *named, *(w for p in named if p.suffix == ".onnx" for w in weights(p))]
    return []


def of_table(path: Path, _: argparse.Namespace) -> list[Path]:
    """A file of results, and what SQLite keeps beside it."""
    return [Path(f"{path}{ending}") for ending in ("", "-wal", "-shm", "-journal")]
