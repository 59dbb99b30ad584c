"""Common questions in one line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verifier.spec import builders
from verifier.spec.property import Property
from verifier.values import given
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.errors import PropertyError
from verifier.values.sets import Product
from verifier.values.shown import Shown


@dataclass(frozen=True, repr=False)
class Robustness(Shown):
    """Is some input of a set not classified as `label`?"""

    inputs: Ball | Box | Product
    label: int

    def _said(self) -> list[tuple[str, Any]]:
        """The class, and the set."""
        return [("label", self.label), ("set", type(self.inputs).__name__), *self.inputs._said()]

    def property(self, n_outputs: int, classes: np.ndarray | None = None) -> Property:
        """The property for a network of so many outputs.

        Args:
            classes: `[K]` which of them are the classes' scores; all when None.

        Raises:
            PropertyError: the label is not one of the classes.
        """
        at = np.arange(n_outputs) if classes is None else classes
        if isinstance(self.inputs, Ball):
            b = self.inputs
            found = builders.robustness(b.center, b.eps, self.label, len(at), b.lo, b.hi, norm=b.norm)
            A = np.zeros((len(found.d), n_outputs))
            A[:, at] = found.A_y
            return replace(found, A_y=A)
        if len(at) < 2 or not 0 <= self.label < len(at):
            raise PropertyError(f"robustness: label {self.label} of {len(at)} classes; give 0 <= label < classes")
        rows = []
        for rival in (k for k in range(len(at)) if k != self.label):
            row = np.zeros(n_outputs)
            row[at[self.label]], row[at[rival]] = 1, -1
            rows.append([(row, 0.0)])
        box = self.inputs.box()
        return builders.on_set(builders.output_property(box.lower, box.upper, rows, "robustness"), self.inputs)


def middle(inputs: Ball | Box | Product) -> np.ndarray:
    """A set's centre, `[n]`."""
    return 0.5 * inputs.lower + 0.5 * inputs.upper if isinstance(inputs, Box) else inputs.center


def robustness(inputs: Ball | Box | Product, label: int) -> Any:
    """The question whether every input of a set is classified as `label` (`unsat` means yes, robust).

    Args:
        inputs: a ball, a box, or what `input_set` makes of several.

    Raises:
        PropertyError: it is no set, or the label no whole number from 0.
    """
    if not isinstance(inputs, (Ball, Box, Product)):
        raise PropertyError(f"inputs {given.shown(inputs)}: give a Ball or a Box")
    return Robustness(inputs, given.whole("label", label, least=0))
