"""A query of VNN-LIB 2.0 as frozen data: declared networks, and assertions as polynomial comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from verifier.spec.formula import Exact
from verifier.spec.property import Property

INPUT, HIDDEN, OUTPUT = "input", "hidden", "output"

Monomial = tuple[int, ...]
"""Numbers of variable entries, sorted, one as often as its power; `()` is the constant 1."""
Polynomial = dict[Monomial, Exact]
"""Coefficients by monomial, none of them zero; not changed once made."""


@dataclass(frozen=True)
class Variable:
    """A tensor that a network declares.

    Attributes:
        name: as declared.
        kind: `input`, `hidden` or `output`.
        dtype: `real` or the name of an ONNX floating-point type.
        shape: as declared.
        tensor: for hidden ones the name of the tensor in the model, else empty.
        line: of the declaration.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    tensor: str
    line: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    def entry(self, i: int) -> str:
        """What entry i (row-major) is called: `X[0,2]`, or `X` for a scalar."""
        at = ",".join(str(int(k)) for k in np.unravel_index(i, self.shape)) if self.shape else ""
        return f"{self.name}[{at}]" if at else self.name


@dataclass(frozen=True)
class Declared:
    """A declared network.

    Attributes:
        name: as declared.
        equal_to, isomorphic_to: the name of the network that it refers to so, or empty.
        inputs, hidden, outputs: its variables in the order of declaration.
        line: of the declaration.
    """

    name: str
    equal_to: str
    isomorphic_to: str
    inputs: tuple[Variable, ...]
    hidden: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    line: int

    @property
    def results(self) -> tuple[Variable, ...]:
        """Hidden variables, then outputs."""
        return (*self.hidden, *self.outputs)


@dataclass(frozen=True)
class Comparison:
    """`polynomial op 0`, op one of `<`, `<=`, `==`, `!=`."""

    polynomial: Polynomial = field(hash=False)
    op: str
    line: int


@dataclass(frozen=True)
class Junction:
    """The conjunction (`and`) or disjunction (`or`) of its parts."""

    op: str
    parts: tuple[Junction | Comparison, ...]


@dataclass(frozen=True, eq=False)
class Query2:
    """A query.

    Entries of variables are numbered: all inputs of all networks in order of declaration, row-major; then, network by
    network, the hidden variables and the outputs.

    Attributes:
        networks: as declared.
        assertions: all must hold.
        property: the query over *reduced* inputs: inputs that an assertion makes equal are one.
        expand: `[n]` for every declared input entry the reduced input that it is.
        source: the file's name.
    """

    networks: tuple[Declared, ...]
    assertions: tuple[Junction | Comparison, ...]
    property: Property
    expand: NDArray[np.int64]
    source: str

    def variables(self) -> Iterator[Variable]:
        """All variables in the order of declaration."""
        for network in self.networks:
            yield from (*network.inputs, *network.hidden, *network.outputs)


def sizes(networks: tuple[Declared, ...]) -> tuple[int, int]:
    """How many entries all inputs have together, and all hidden variables and outputs."""
    n = sum(v.size for net in networks for v in net.inputs)
    return n, sum(v.size for net in networks for v in net.results)


def entry_name(networks: tuple[Declared, ...], i: int) -> str:
    """What input entry i of all networks is called."""
    for v in (v for net in networks for v in net.inputs):
        if i < v.size:
            return v.entry(i)
        i -= v.size
    raise IndexError(i)
