"""Which model stands for which network of a query, as the command line says it."""

from __future__ import annotations

import os

from verifier.run.networks import field, is_field, unique
from verifier.values.errors import UserError


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
        return unique(pairs)
    if model is None:
        raise UserError("no model; give MODEL SPEC, or SPEC with --network NAME=FILE")
    return field(model) if is_field(model) and not os.path.exists(model) else model
