"""Common questions in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from verifier.spec import builders
from verifier.spec.property import Property
from verifier.values import given
from verifier.values.box import Ball, Box
from verifier.values.errors import PropertyError
from verifier.values.shown import Shown


@dataclass(frozen=True, repr=False)
class Robustness(Shown):
    """Is some input of a set not classified as `label`?"""

    inputs: Ball | Box
    label: int

    def _said(self) -> list[tuple[str, Any]]:
        """The class, and the set."""
        return [("label", self.label), ("set", type(self.inputs).__name__), *self.inputs._said()]

    def property(self, n_outputs: int) -> Property:
        """The property for a network of so many classes.

        Raises:
            PropertyError: the label is not one of them.
        """
        if isinstance(self.inputs, Ball):
            b = self.inputs
            return builders.robustness(b.center, b.eps, self.label, n_outputs, b.lo, b.hi, norm=b.norm)
        if n_outputs < 2 or not 0 <= self.label < n_outputs:
            raise PropertyError(f"robustness: label {self.label} of {n_outputs} classes; give 0 <= label < classes")
        rows = []
        for rival in (k for k in range(n_outputs) if k != self.label):
            row = np.zeros(n_outputs)
            row[self.label], row[rival] = 1, -1
            rows.append([(row, 0.0)])
        return builders.output_property(self.inputs.lower, self.inputs.upper, rows, "robustness")


def robustness(inputs: Ball | Box, label: int) -> Any:
    """The question whether every input of a ball or box is classified as `label` (`unsat` means yes, robust).

    Raises:
        PropertyError: it is no set, or the label no whole number from 0.
    """
    if not isinstance(inputs, (Ball, Box)):
        raise PropertyError(f"inputs {given.shown(inputs)}: give a Ball or a Box")
    return Robustness(inputs, given.whole("label", label, least=0))
