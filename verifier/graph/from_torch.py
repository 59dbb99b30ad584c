"""Import of a `torch.nn.Module`: exported to ATen, walked onto our operators, compared with the module.

The graph's parameters are the module's own tensors (or views of them) wherever it uses them as they are, so bounds are
differentiable in the weights and follow an optimiser's in-place steps.  What is computed once, at import: batch-norm
statistics, and parameters that the module computes with first (weight norm, `2 * p`); import again after those change.
"""

from __future__ import annotations

import operator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from verifier.graph.aten_call import Activation, Call, refuse
from verifier.graph.aten_table import SHAPED, SUPPORTED, TABLE, rounding, unlike, whole
from verifier.graph.compare import moved
from verifier.graph.ended import exposed
from verifier.graph.graph import Affine, Builder, Graph, Input, Shape
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.fit import Fit
from verifier.graph.torch_export import Example, evaluating, example_of, line, traced, unwrapped
from verifier.values.arrays import Array, Place
from verifier.values.errors import ModelError, UnsoundBound
from verifier.values.rounding import gamma, tiny, unit
from verifier.values.shown import Shown

_FLOATS = (torch.float32, torch.float64)
_SHORT = (torch.float16, torch.bfloat16)
"""Types whose operators compute in float32, and then round."""


@dataclass(frozen=True, eq=False, repr=False)
class TorchModel(Shown):
    """A module and the graph of what it computes.

    Attributes:
        graph: the network.
        module: the original.
        input_shapes, output_shapes: without the batch axis.
        input_dtype: `"float32"`, `"float64"` or `"float16"`.
        device: where the module computes.
        example: what it is called with.
        input_names: what its forward calls its inputs.
        chunk: how many inputs the module takes at once; None for any number.
    """

    graph: Graph
    module: nn.Module
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    input_dtype: str
    device: str
    example: Example
    input_names: tuple[str, ...]
    chunk: int | None = None

    def _said(self) -> list[tuple[str, Any]]:
        """What it is of, inputs, outputs and size."""
        ends = [("input", list(s)) for s in self.input_shapes] + [("output", list(s)) for s in self.output_shapes]
        return [("module", type(self.module).__name__), *ends, *self.graph.said(self.input_dtype)]

    def run(self, *x: Array) -> np.ndarray:
        """Outputs `[B, m]` of the module itself, in its own type, for flat inputs `[B, n]` each; as doubles."""
        kind, n = getattr(torch, self.input_dtype), len(x[0])
        chunk = self.chunk or max(n, 1)
        given = []
        for a in x:
            a = torch.as_tensor(a).detach().to(device=self.device, dtype=kind)
            given.append(torch.cat([a, a[-1:].expand(-n % chunk, -1)]).split(chunk))  # the last chunk filled up
        with evaluating(self.module), torch.no_grad():
            return np.concatenate([self._outputs(parts) for parts in zip(*given, strict=True)])[:n]

    def _outputs(self, x: tuple[Tensor, ...]) -> np.ndarray:
        given = [a.reshape(len(a), *shape) for a, shape in zip(x, self.input_shapes, strict=True)]
        leaves = pytree.tree_leaves(self.example.call(self.module, given))
        parts = [y.to("cpu", torch.float64).reshape(len(x[0]), -1) for y in leaves]
        return torch.cat(parts, 1).numpy()


def load_module(module: nn.Module, example: Any) -> Graph:
    """The graph of what `module` computes in evaluation mode; see `load_torch`."""
    return load_torch(module, example).graph


def load_torch(module: nn.Module | torch.export.ExportedProgram, example: Any = None) -> TorchModel:
    """Import a module.

    Args:
        module: any module of floating-point tensors, scripted, traced, compiled or in parallel as well, or an exported
            program; it is put in evaluation mode for the import and left as it was.
        example: an input `[B, ...]` with the batch axis in front (B = 1 is best); a tuple of several, or a mapping of
            them by the names that its forward has for them.  An exported program has its own.

    Raises:
        ModelError: when the module cannot be traced or uses an operator that is not supported.
        UnsoundBound: when the graph computes something else than the module.
    """
    if isinstance(module, torch.export.ExportedProgram) and example is None:
        args, kwargs = module.example_inputs
        example = kwargs or args
    module = unwrapped(module)
    if example is None:
        raise ModelError(
            f"{type(module).__name__}: give an example of its input, too, with the batch axis in front: "
            "load(module, example)"
        )
    given = example_of(type(module).__name__, example)
    with evaluating(module):
        exported = traced(module, given)
        graph, names = _walk(exported, module, given)
    outputs = tuple(graph.nodes[i].shape for i in graph.outputs)
    dtype = str(given.dtype).removeprefix("torch.")
    model = TorchModel(graph, module, given.shapes, outputs, dtype, str(given.device), given, names, chunk=given.batch)
    return _compared(model, _coarsest(exported))


def _walk(exported: torch.export.ExportedProgram, module: nn.Module, example: Example) -> tuple[Graph, tuple[str, ...]]:
    """The graph of a program, and its inputs' names."""
    who, builder = type(module).__name__, Builder()
    signature = exported.graph_signature
    if any(spec.kind != OutputKind.USER_OUTPUT for spec in signature.output_specs):
        raise ModelError(f"{who}: its forward changes its own buffers or its input, which is not supported")
    own = {
        **exported.state_dict,
        **exported.constants,
        **dict(module.named_buffers(remove_duplicate=False)),
        **dict(module.named_parameters(remove_duplicate=False)),
    }
    specs = {spec.arg.name: spec for spec in signature.input_specs}
    names = tuple(spec.arg.name for spec in signature.input_specs if spec.kind == InputKind.USER_INPUT)
    starts = [builder.add(Input(s), name="input" if len(names) == 1 else n)
              for s, n in zip(example.shapes, names, strict=True)]  # fmt: skip
    at = dict(zip(names, starts, strict=True))
    env: dict[torch.fx.Node, Any] = {}
    needed: set[torch.fx.Node] = set()
    for node in reversed(exported.graph.nodes):
        if node.op == "output" or node in needed:
            needed.update(node.all_input_nodes)
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            spec = specs[node.name]
            if spec.kind == InputKind.USER_INPUT:
                env[node] = Activation(at[node.name], builder.nodes[at[node.name]].shape)
            else:
                env[node] = own[spec.target]
        elif node in needed:
            env[node] = _step(node, env, builder, example, who)
    (returned,) = exported.graph.output_node().args
    results: Any = [env.get(node) for node in pytree.tree_leaves(returned)]
    if not results or not all(isinstance(r, Activation) for r in results):
        raise ModelError(f"{who}: each of its outputs must be a tensor that depends on the input")
    if not all(r.lead for r in results):
        raise ModelError(f"{who}: each of its outputs must have the batch axis in front")
    exposed(builder)
    graph = builder.graph(starts, [r.at for r in results])
    for made in graph.nodes:
        if isinstance(made.op, Scale) and made.op.t is not None and not bool(torch.isfinite(made.op.t).all()):
            raise ModelError(f"{who}: {made.name} adds infinity, and no softmax takes it in")
    return graph, names


def _step(node: torch.fx.Node, env: dict[torch.fx.Node, Any], builder: Builder, example: Example, who: str) -> Any:
    """The value of one node: an activation, a constant, or a list of them."""
    target = node.target
    given: Any = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: env[n])
    try:
        if target is operator.getitem:
            results, i = given[0]
            if not 0 <= i < len(results):
                refuse(f"result {i} of {node.all_input_nodes[0].target} is not supported")
            return results[i]
        if not isinstance(target, torch._ops.OpOverload):
            refuse("it is not supported")
        if not any(isinstance(env[n], (Activation, list)) for n in node.all_input_nodes):
            return _fold(target, *given)
        if target.overloadpacket.__name__ in SHAPED and not isinstance(_filling(given), Activation):
            return _fold(target, *_emptied(given, example))
        return _apply(node, target, given, builder, example)
    except (ValueError, TypeError, IndexError, RuntimeError) as e:  # of a rule, or of torch on odd arguments
        name = str(target).removesuffix(f".{getattr(target, '_overloadname', '')}")
        path, kind = next(reversed((node.meta.get("nn_module_stack") or {"": ("", who)}).values()))
        where = f"{path} ({kind.rsplit('.', 1)[-1]})" if path else "its own forward"
        raise ModelError(f"{who}: {name} in {where}: {line(e)}; supported are {SUPPORTED}") from e


def _fold(target: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator on constants alone, computed now."""
    if torch.Tag.nondeterministic_seeded in target.tags:
        refuse("it draws random numbers")
    if target._schema.is_mutable:
        refuse("it changes a parameter in place")
    return target(*args, **kwargs)


def _filling(given: Any) -> Any:
    """The number that an operator fills with, where it is one that fills."""
    (args, kwargs) = given
    return kwargs.get("value", args[1] if len(args) > 1 else None)


def _emptied(given: Any, example: Example) -> Any:
    """Arguments with zeros in the place of activations, of which only the shape matters."""

    def zeros(v: Any) -> Any:
        if not isinstance(v, Activation):
            return v
        return torch.zeros((example.batch,) * v.lead + v.shape, device=example.device)

    args, kwargs = given
    return tuple(zeros(v) for v in args), {k: zeros(v) for k, v in kwargs.items()}


def _apply(node: torch.fx.Node, target: torch._ops.OpOverload, given: Any, builder: Builder, example: Example) -> Any:
    name = target.overloadpacket.__name__
    rule = TABLE.get(name)
    if rule is None:
        refuse("it is not supported")
    schema = target._schema.arguments
    args = {a.name: a.default_value for a in schema if a.has_default_value()}
    args |= dict(zip((a.name for a in schema), given[0], strict=False)) | given[1]
    meta = node.meta["val"]
    values = [meta] if isinstance(meta, Tensor) else list(meta)
    first = values[0]
    kind = str(first.dtype).removeprefix("torch.")
    given_types = [v.dtype for n in node.all_input_nodes if isinstance(v := n.meta.get("val"), Tensor)]
    if first.dtype not in (*_FLOATS, *_SHORT, torch.bool) and not whole(name, first.dtype, given_types):
        refuse(f"its result has type {kind}, not float32 or float64")
    if why := unlike(name, first.dtype, given_types):
        refuse(why)
    if not all(isinstance(d, int) for value in values for d in value.shape):
        refuse("its size depends on values; index by positions, not by a mask")
    wide = torch.float64 if example.dtype == torch.float64 else torch.float32
    dtype = first.dtype if first.dtype in _FLOATS else wide  # truth values are the numbers 0 and 1
    call = Call(builder, node.name, target, args, example.batch, tuple(first.shape[1:]), dtype, first.device)
    rounds = first.dtype in _SHORT and rounding(name)
    result = rule(call)
    several = [result] if isinstance(result, Activation) else result
    settled = [call.settled(y, tuple(value.shape)) for y, value in zip(several, values, strict=False)]
    if rounds:
        settled = [call.add(Fit(kind, "rounds"), y) for y in settled]
    return settled[0] if isinstance(result, Activation) else settled


def _coarsest(exported: torch.export.ExportedProgram) -> str:
    """float32 where any step of the module computes in it, or in something shorter, whose rounding is a node."""
    values = pytree.tree_leaves([n.meta.get("val") for n in exported.graph.nodes])
    return (
        "float32" if any(isinstance(v, Tensor) and v.dtype in (torch.float32, *_SHORT) for v in values) else "float64"
    )


def _compared(model: TorchModel, dtype: str) -> TorchModel:
    """The model, once its graph agrees with its module on a few inputs; finds out what `chunk` must be.

    The example must have finite outputs.  What is drawn around it may leave the domain of a root or a logarithm: there
    the module's outputs are no numbers, and nothing is compared.
    """
    graph, who = model.graph.cast(lambda a: Place("torch", "float64").array(a.detach())), type(model.module).__name__
    generator = torch.Generator().manual_seed(0)
    given, n = [t.cpu().flatten(1) for t in model.example.tensors], model.example.batch
    for noise in (0.0, 0.01, 1.0, 10.0):
        x = [a + noise * torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in given]
        y = model.run(*x)
        if noise == 0.0 and not np.isfinite(y).all():
            raise ModelError(f"{who}: its outputs are not finite numbers; give an example where they are")
        error, allowed = _deviation(graph, x, y, dtype)
        off = ~(error <= allowed) & np.isfinite(y)
        if off.any():
            if not np.array_equal(model.run(*x), y):
                raise ModelError(
                    f"{who}: its outputs change from one call to the next: it counts, or draws random numbers"
                )
            k = np.argmax(np.where(off, np.nan_to_num(error - allowed, nan=np.inf), -np.inf))
            raise UnsoundBound(
                f"{who}: the imported graph differs from the module by {error.flat[k]:.3g}, "
                f"of which rounding explains {allowed.flat[k]:.3g}"
            )
    x = [a[:1] + torch.randn(n + 2, a.shape[1], generator=generator, dtype=a.dtype) for a in given]
    with suppress(Exception):  # a module may be written for one batch size: then inputs go through it in such chunks
        free = replace(model, chunk=None)
        y = free.run(*x)
        error, allowed = _deviation(graph, x, y, dtype)
        counted = np.isfinite(y)
        if counted.any(1).sum() > n and (error <= allowed)[counted].all():
            return free
    return model


def _deviation(graph: Graph, x: list[Tensor], y: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`|graph(x) − y|`, and how much of it the rounding of `dtype` explains; `[B, m]` both."""
    with torch.no_grad():
        n = len(x[0])
        values = graph.values(
            *(a.double().reshape(n, *graph.nodes[i].shape) for a, i in zip(x, graph.inputs, strict=True))
        )
        errors: list[Tensor] = []
        for node, value in zip(graph.nodes, values, strict=True):
            op, e = node.op, [errors[j] for j in node.inputs]
            if isinstance(op, Affine):
                a = op.absolute()
                error = a.linear(*e)
                if not op.exact:  # 16: kernels that transform (Winograd) sum more than the products they stand for
                    g = 16 * gamma(op.terms(*(graph.nodes[j].shape for j in node.inputs)) + 4, dtype)
                    error = error + g * a.evaluate(*(values[j].abs() + errors[j] for j in node.inputs)) + tiny(dtype)
            elif e:
                error = moved(op, values[node.inputs[0]], e[0], value, 4 * unit(dtype)) + tiny(dtype)
            else:
                error = torch.zeros_like(value)
            errors.append(error)
    flat = [torch.cat([part[i].reshape(n, -1) for i in graph.outputs], 1).numpy() for part in (values, errors)]
    with np.errstate(invalid="ignore"):  # infinity less itself is no number, which agrees with nothing
        return np.abs(flat[0] - y), flat[1]
