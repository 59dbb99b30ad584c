"""A model and a property, in whatever form they are given, to one network and one property that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from verifier.graph import from_onnx
from verifier.graph.opened import in_memory
from verifier.run.model import Network, computed, load, name_of, one_input_one_output, remarks, single
from verifier.spec.assignment import Tensor
from verifier.spec.property import Array, Property
from verifier.spec.vnnlib import read
from verifier.spec.witness import Witness
from verifier.values.errors import ModelError, PropertyError

if TYPE_CHECKING:
    from verifier.spec.query2 import Declared, Query2, Variable


class Question(Protocol):
    """Something that becomes a property once the number of outputs is known."""

    def property(self, n_outputs: int) -> Property:
        """The property for a network of so many outputs."""
        ...


@dataclass(frozen=True, eq=False)
class Posed:
    """What is asked.

    Attributes:
        net: one network with one input and one output.
        prop: the property, over the same numbers of variables.
        query: the query that they were made of, where there is one.
    """

    net: Network
    prop: Property
    query: Query2 | None = None

    def names(self) -> list[str]:
        """What the outputs are called, products of variables left out."""
        if self.query is None:
            return [f"Y_{i}" for i in range(self.prop.n_outputs)]
        return [v.entry(i) for net in self.query.networks for v in net.results for i in range(v.size)]

    def told(self, witness: Witness | None) -> Witness | None:
        """A counterexample as a user is told it: in the shape of the input; in the words of a query, all variables."""
        if witness is None:
            return None
        witness = replace(witness, near=self._middle(witness.disjunct), remark=computed(self.net))
        if self.query is None:
            from verifier.run import tensors as of  # only where there is a counterexample

            shapes = of.tensors(self.net)
            x = witness.flat.reshape(shapes[0][1]) if len(shapes) == 1 else witness.flat
            return replace(witness, x=x, shapes=shapes)
        x = witness.flat[self.query.expand]
        y = witness.y[: len(witness.y) - len(self.prop.monomials)]
        tensors: list[Tensor] = []
        at = [0, 0]
        for v in self.query.variables():
            side = 0 if v.kind == "input" else 1
            values = (x, y)[side][at[side] : at[side] + v.size]
            at[side] += v.size
            tensors.append(Tensor(v.name, v.dtype, v.shape, values))
        near = None if witness.near is None else witness.near[self.query.expand]
        shapes = tuple((v.name, v.shape) for v in self.query.variables() if v.kind == "input")
        return replace(witness, x=x, y=y, tensors=tuple(tensors), shapes=shapes, near=near)

    def _middle(self, disjunct: int) -> Array | None:
        """`[n]` the middle of a disjunct's inputs, where they are finitely many."""
        if self.prop.ball is not None:
            return np.asarray(self.prop.ball.center)
        k = self.prop.box[disjunct]
        middle = 0.5 * self.prop.lower[k] + 0.5 * self.prop.upper[k]
        return middle if np.isfinite(middle).all() else None


def pose(model: Any, prop: Any, accept_real: bool = False) -> Posed:
    """Read, load, join.

    Args:
        model: what `load` takes or returned, or a mapping from the names of a query's networks to such.
        prop: a VNN-LIB file, a `Property`, a `Query2`, or a question such as `robustness(ball, label)`; None where
            the model is a question that brings its networks along.
        accept_real: whether a query over floating-point types may be answered in real arithmetic.

    Raises:
        UserError: input that cannot be used.
    """
    question = read(prop) if isinstance(prop, (str, Path)) else prop
    if not isinstance(question, Property):
        from verifier.run.relations import Asked  # only here: these are slow to import, and rarely needed
        from verifier.spec.query2 import Query2

        if question is None:
            if not isinstance(model, Asked):
                raise PropertyError("no property is given: give a VNN-LIB file, or what `monotonicity(...)` returns")
            question, model = model, None
        if isinstance(question, Asked):
            model, question = question.posed(model)
            accept_real = True  # there is nothing declared that it could go against
        if isinstance(question, Query2):
            return _bound(question, model, accept_real)
    net = single(_only(model, question))
    if isinstance(question, Property):
        found = question
    elif hasattr(question, "property"):
        found = question.property(sum(prod(s) for s in net.output_shapes))
    else:
        raise PropertyError(
            f"{type(question).__name__} is not a property: give a VNN-LIB file or what `robustness` returns"
        )
    fits(net, found)
    return Posed(net, found)


def fits(net: Network, prop: Property) -> None:
    """Refuse a network without exactly one input and one output, and a property over other numbers of variables."""
    one_input_one_output(net)
    for what, shape, have in (
        ("input", net.input_shapes[0], prop.n_inputs),
        ("output", net.output_shapes[0], prop.n_outputs),
    ):
        need = prod(shape)
        if need != have:
            raise PropertyError(
                f"{prop.source}: it has {have} {what} variables, but {name_of(net)} has {need} {what}s "
                f"(shape {list(shape)}); use the property and the network that belong together{_as_read(net)}"
            )


def _as_read(net: Any) -> str:
    """What a refusal adds where a network was not read as it stands in its file."""
    return "".join(f" ({line})" for line in remarks(net))


def _only(model: Any, question: Any) -> Network:
    """The one network that a property of version 1.0 is about."""
    if isinstance(model, Mapping):
        if len(model) != 1:
            source = getattr(question, "source", "the property")
            raise PropertyError(f"{source}: it is about one network, not {len(model)}; give one model")
        (model,) = model.values()
    return load(model)


def _bound(query: Query2, models: Any, accept_real: bool) -> Posed:
    """The query's networks bound to models, joined."""
    from verifier.run.joint import Joint, Part

    if not accept_real:
        _refuse_floats(query)
    files = _named(query, models)
    loaded: dict[str, Any] = {}
    parts = []
    at = 0
    for net in query.networks:
        root = net.equal_to or net.name
        if root not in loaded:
            also = [v.tensor for other in query.networks if root in (other.name, other.equal_to) for v in other.hidden]
            loaded[root] = _load(files[root], list(dict.fromkeys(also)))
        model = loaded[root]
        outputs = _matched(query, net, model)
        inputs = []
        for v in net.inputs:
            inputs.append(query.expand[at : at + v.size])
            at += v.size
        parts.append(Part(model, tuple(inputs), outputs))
    joint = Joint(tuple(parts), query.property.n_inputs, query.property.monomials)
    fits(joint, query.property)
    return Posed(joint, query.property, query)


def _refuse_floats(query: Query2) -> None:
    """Real arithmetic is what is proved; the standard wants consent where a query asks about another one."""
    for v in query.variables():
        if v.dtype != "real":
            raise PropertyError(
                f"{query.source}:{v.line}: {v.name} is declared {v.dtype}, but proofs hold in real arithmetic, not in "
                f"{v.dtype}; declare it real, or consent with --accept-real (accept_real=True in Python)"
            )


def _named(query: Query2, models: Any) -> dict[str, Any]:
    """For every network that is not equal to another one: its model."""
    needed = [net.name for net in query.networks if not net.equal_to]
    if not isinstance(models, Mapping):
        if len(needed) > 1:
            raise PropertyError(
                f"{query.source}: it is about the networks {', '.join(needed)}; give a model for each: "
                + " ".join(f"--network {name}=FILE" for name in needed)
            )
        return {needed[0]: models}
    by_name = {net.name: net for net in query.networks}
    for name in models:
        if name not in by_name:
            raise PropertyError(f"{query.source}: no network `{name}` is declared; it has {', '.join(by_name)}")
    found = dict(models)
    for net in query.networks:
        target = net.equal_to
        if target and net.name in found:
            given = found.pop(net.name)
            if not _same(given, found.setdefault(target, given)):
                raise PropertyError(
                    f"{query.source}:{net.line}: {net.name} is equal-to {target}, but {_called(given)} is another "
                    f"model; give the same one, or leave {net.name} out"
                )
    for name in needed:
        if name not in found:
            raise PropertyError(f"{query.source}: no model for network {name}; add --network {name}=FILE")
    return found


def _same(a: Any, b: Any) -> bool:
    """Whether two models are the same: one object, or files of the same content."""
    if a is b or a == b:
        return True
    if not (isinstance(a, (str, Path)) and isinstance(b, (str, Path))):
        return False
    try:
        return Path(a).read_bytes() == Path(b).read_bytes()
    except OSError as e:
        raise ModelError(f"{e.filename}: cannot be read: {e.strerror}") from None


def _called(model: Any) -> str:
    """A file's path, or another model's name."""
    return str(model) if isinstance(model, (str, Path)) else name_of(model)


def _load(model: Any, also: list[str]) -> Any:
    """The network, with tensors inside it among its outputs."""
    if not also:
        return load(model)
    if isinstance(model, from_onnx.Model):
        model = model.source
    if not (isinstance(model, (str, Path)) or in_memory(model)):
        raise ModelError(f"{name_of(model)}: hidden variables need an ONNX model; export the network")
    return from_onnx.load(model, also)


def _matched(query: Query2, net: Declared, model: Any) -> tuple[int, ...]:
    """Which outputs of the model the declared hidden variables and outputs are; refuses what does not fit."""
    names = list(getattr(model, "output_names", range(len(model.output_shapes))))
    own = getattr(model, "own_outputs", len(names))
    for what, declared, count in (("input", net.inputs, len(model.input_shapes)), ("output", net.outputs, own)):
        if len(declared) != count:
            raise PropertyError(
                f"{query.source}:{net.line}: {net.name} declares {len(declared)} {what}s, but {name_of(model)} has "
                f"{count}; declare them all, in the model's order{_as_read(model)}"
            )
    hidden = [names.index(v.tensor) for v in net.hidden]
    where = [*hidden, *range(own)]
    shapes = [*model.input_shapes, *(model.output_shapes[k] for k in where)]
    types = _types(model, where)
    for v, shape, dtype in zip((*net.inputs, *net.results), shapes, types, strict=True):
        if [d for d in v.shape if d != 1] != [d for d in shape if d != 1]:
            raise _unlike(query, v, f"shape {list(v.shape)}", f"{list(shape)}", model)
        if dtype and v.dtype not in ("real", dtype):
            raise _unlike(query, v, f"element type {v.dtype}", dtype, model)
    return tuple(where)


def _unlike(query: Query2, v: Variable, said: str, found: str, model: Any) -> PropertyError:
    return PropertyError(
        f"{query.source}:{v.line}: {v.name} has {said}, but {found} in {name_of(model)}; declare what the model has"
    )


def _types(model: Any, outputs: list[int]) -> list[str]:
    """Element types of all inputs and of some outputs; empty where unknown."""
    if not isinstance(model, from_onnx.Model) or model.reference is not None:
        return [""] * (len(model.input_shapes) + len(outputs))
    session = model.session()
    known = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
    ends = session.get_outputs()
    given = [*session.get_inputs(), *(ends[k] for k in outputs)]
    return [known.get(value.type, "") for value in given]
