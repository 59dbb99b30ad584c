"""Write `docs/operators.md` from the tables: which operators can be read, bounded and differentiated.

    python -m docs._scripts.operators            # write the page
    python -m docs._scripts.operators --check    # compare it with the committed one

What an ONNX operator becomes is tried out on the models that the law of operators is swept by.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from sortedcontainers import SortedSet

from docs._scripts.page import main
from tests.laws.onnx_cases import CASES
from tests.laws.onnx_discrete import ALIKE
from verifier.graph.aten_table import TABLE
from verifier.graph.derivative import jacobian
from verifier.graph.graph import Affine, Graph, Input
from verifier.graph.ops.curves import KINDS, RULES
from verifier.graph.ops.slopes import SLOPES
from verifier.graph.ops.steps import KINDS as STEPS
from verifier.graph.ops.table import FOLDED, supported
from verifier.relax.table import FAMILIES, relaxable
from verifier.run.model import boundable, load
from verifier.values.errors import VerifierError

PAGE = Path(__file__).resolve().parent.parent / "operators.md"
TRIES = 25

HEAD = """\
# Operators

*Made by `python -m docs._scripts.operators` from the tables of the package; not to be edited.*

`verifier info MODEL` says whether a model can be read, and names every node that cannot. Three things are asked of an
operator: that it can be **read** (all that are listed here can), that it can be **bounded** (then `verify` and `bound`
work), and that it has a **derivative** (then `lipschitz` and `monotone` do).

Operators that are not listed still run on constants, on inputs that a property fixes, and on what follows from these.
"""

ONNX = """
## ONNX

Operator sets 7 and later; older ones through onnx's converter. The third column says what is left to be relaxed after
reading and simplifying: nothing, where the operator is affine; else functions of [the last table](#inside), of which
one model may hold a few or none. "Partly": of some attributes or inputs. Every operator is compared with onnxruntime
over random attributes and inputs.

| operator | bounded | as | derivative |
| --- | --- | --- | --- |
"""

TORCH = """
## PyTorch

A `torch.nn.Module` is exported by `torch.export`, and read operator by operator. These ATen operators are known:

"""

INSIDE = """
## Inside

What remains of a network are affine operators and these. `lines`: a linear function below and one above. `forward`:
of one slope, for the walk down the network; without, an interval is carried on.

| function | lines | forward | derivative |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Example:
    """A random model of one operator.

    Attributes:
        helpers: other ONNX operators in it.
        graph: simplified; None where it can be read and not be bounded.
        kinds: nonlinear functions in it.
    """

    helpers: frozenset[str]
    graph: Graph | None
    kinds: frozenset[str]


def page() -> str:
    """The whole page."""
    found = {op: examples(op) for op in CASES if op not in FOLDED}
    own = {op: _union(e.kinds for e in each if not e.helpers) for op, each in found.items()}
    found |= {op: found[other] for op, other in ALIKE.items()}
    own |= {op: own[other] for op, other in ALIKE.items()}
    lines = (_line(op, found.get(op, []), own) for op in sorted({*CASES, *ALIKE}, key=str.lower))
    return HEAD + ONNX + "".join(lines) + TORCH + _torch() + INSIDE + _inside()


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _line(op: str, tried: list[Example], own: dict[str, frozenset[str]]) -> str:
    """One line of the table; what other operators of an example leave behind is not counted as this one's."""
    if not tried:
        return f"| `{op}` | yes | constants | yes |\n"
    bounded = _share([e.graph is not None for e in tried])
    kinds = _union(e.kinds - _union(own.get(h, frozenset()) for h in e.helpers) for e in tried) | own[op]
    differentiable = _share([_differentiable(e.graph) for e in tried if e.graph is not None])
    return f"| `{op}` | {bounded} | {', '.join(sorted(kinds, key=str.lower)) or 'affine'} | {differentiable} |\n"


def examples(op: str) -> list[Example]:
    """Random models of one operator that onnxruntime runs, with one output."""
    found: list[Example] = []

    @settings(
        max_examples=TRIES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @seed(1)
    @given(st.data())
    def collect(data: Any) -> None:
        case = CASES[op](data.draw)
        helpers = frozenset(n.op_type for n in case.nodes) - {op.rpartition(".")[2]}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.onnx"
            path.write_bytes(case.bytes())
            try:
                model = load(path)
                model.run(np.zeros((1, int(np.prod(model.input_shapes[0])))))
            except VerifierError:  # refused by onnxruntime, too, as the law says
                return
            if len(model.output_shapes) > 1:
                return
            try:
                graph = boundable(model)
            except VerifierError:
                found.append(Example(helpers, None, frozenset()))
                return
            known = all(_known(n.op) for n in graph.nodes)
            found.append(Example(helpers, graph if known else None, frozenset(nonlinear(graph))))

    with np.errstate(all="ignore"), warnings.catch_warnings(), only_random():
        warnings.simplefilter("ignore")
        collect()
    return found


@contextmanager
def only_random() -> Iterator[None]:
    """Hypothesis draws now and then a number that it has read in loaded modules: so the page would change with them."""
    none = providers.Constants(integers=SortedSet(), floats=SortedSet(), bytes=SortedSet(), strings=SortedSet())
    with patch.object(providers, "_get_local_constants", lambda: none):
        yield


def _known(op: Any) -> bool:
    return isinstance(op, (Affine, Input)) or relaxable(op)


def nonlinear(graph: Graph) -> set[str]:
    """Names of the nonlinear functions of a graph."""
    ops = (n.op for n in graph.nodes if not isinstance(n.op, (Affine, Input)))
    return {str(getattr(op, "kind", type(op).__name__.lower())) for op in ops}


def _differentiable(graph: Graph) -> bool:
    try:
        jacobian(graph)
    except VerifierError:
        return False
    return True


def _share(each: list[bool]) -> str:
    return "no" if not any(each) else "yes" if all(each) else "partly"


def _torch() -> str:
    """Names, each once: `view` and `_unsafe_view` are one to a reader."""
    names = sorted({name.strip("_") for name in TABLE}, key=str.lower)
    return " ".join(f"`{name}`" for name in names) + "\n"


def _inside() -> str:
    lines = []
    for kind in FAMILIES:
        name = kind.__name__
        forward = "yes" if FAMILIES[kind].parallel else "interval"
        if name == "Curve":
            lines += [(f"`{k}`", forward, "yes" if k in RULES else "no") for k in KINDS]
        elif name == "Step":
            lines += [(f"`{k}`", forward, "no: it jumps") for k in STEPS]
        else:
            lines.append((f"`{name.lower()}`", forward, "yes" if _has_rule(kind) else "no"))
    return "".join(f"| {name} | yes | {forward} | {rule} |\n" for name, forward, rule in lines)


def _has_rule(kind: type) -> bool:
    """Whether an operator says what its derivative is."""
    own = [k for k in kind.__mro__ if k.__module__.startswith("verifier.graph.ops")]
    return any(method in vars(k) for k in own for method in ("vjp", "chain"))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    assert {*CASES, *ALIKE} == set(supported()) and set(SLOPES) <= set(KINDS)
    main(PAGE, page)
