"""Which model stands for which network of a query, as the command line says it."""

from __future__ import annotations

import os
import re

from verifier.values.errors import UserError

_PAIR = r"\(\s*(?:'([^']*)'|\"([^\"]*)\")\s*,\s*(?:'([^']*)'|\"([^\"]*)\")\s*,?\s*\)"
_FIELD = re.compile(rf"\s*\[\s*(?:{_PAIR}\s*(?:,\s*{_PAIR}\s*)*,?\s*)?\]\s*")


def models(model: str | None, networks: list[str] | None) -> str | dict[str, str]:
    """The models: one file, or one a name.

    Args:
        model: what stands in place of MODEL: a file, or the competition's field `[('f','a.onnx'),('g','b.onnx')]`.
        networks: what `--network` was given, each `NAME=FILE`.

    Raises:
        UserError: neither is given, or one cannot be read.
    """
    if networks:
        pairs = []
        for text in networks:
            name, equals, path = text.partition("=")
            if not (name and equals and path):
                raise UserError(f"--network {text}: write NAME=FILE, as f=a.onnx")
            pairs.append((name, path))
        return _unique(pairs)
    if model is None:
        raise UserError("no model; give MODEL SPEC, or SPEC with --network NAME=FILE")
    if not model.lstrip().startswith("[") or os.path.exists(model):
        return model
    if not _FIELD.fullmatch(model):
        raise UserError(f"{model}: neither a file nor a list of pairs; write [('f','a.onnx'),('g','b.onnx')]")
    found = re.findall(_PAIR, model)
    if not found:
        raise UserError(f"{model}: an empty list of networks; write [('f','a.onnx'),('g','b.onnx')]")
    return _unique([(a or b, c or d) for a, b, c, d in found])


def _unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, path in pairs:
        if result.setdefault(name, path) != path:
            raise UserError(f"network {name}: given twice, as {result[name]} and {path}; leave one out")
    return result
