"""Import of a `torch.nn.Module`: exported to ATen, walked onto our operators, compared with the module.

The graph's parameters are the module's own tensors (or views of them) wherever it uses them as they are, so bounds are
differentiable in the weights and follow an optimiser's in-place steps.  What is computed once, at import: batch-norm
statistics, and parameters that the module computes with first (weight norm, `2 * p`); import again after those change.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from verifier.graph.aten_call import Activation, Call, refuse
from verifier.graph.aten_table import SUPPORTED, TABLE, unlike
from verifier.graph.compare import moved
from verifier.graph.graph import Affine, Builder, Graph, Input, Shape
from verifier.graph.ops.affine import Scale
from verifier.values.arrays import Array, Place
from verifier.values.errors import ModelError, UnsoundBound
from verifier.values.rounding import gamma, tiny, unit
from verifier.values.shown import Shown

_FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False, repr=False)
class TorchModel(Shown):
    """A module and the graph of what it computes.

    Attributes:
        graph: the network.
        module: the original.
        input_shapes, output_shapes: without the batch axis.
        input_dtype: `"float32"` or `"float64"`.
        device: where the module computes.
        chunk: how many inputs the module takes at once; None for any number.
    """

    graph: Graph
    module: nn.Module
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    input_dtype: str
    device: str
    chunk: int | None = None

    def _said(self) -> list[tuple[str, Any]]:
        """What it is of, inputs, outputs and size."""
        ends = [("input", list(s)) for s in self.input_shapes] + [("output", list(s)) for s in self.output_shapes]
        return [("module", type(self.module).__name__), *ends, *self.graph.said(self.input_dtype)]

    def run(self, x: Array) -> np.ndarray:
        """Outputs `[B, m]` of the module itself, in its own type, for flat inputs `[B, n]`; as doubles."""
        x = torch.as_tensor(x).detach().to(device=self.device, dtype=getattr(torch, self.input_dtype))
        n, chunk = len(x), self.chunk or max(len(x), 1)
        x = torch.cat([x, x[-1:].expand(-n % chunk, -1)])  # the last chunk filled up
        with _evaluating(self.module), torch.no_grad():
            return np.concatenate([self._outputs(part) for part in x.split(chunk)])[:n]

    def _outputs(self, x: Tensor) -> np.ndarray:
        leaves = pytree.tree_leaves(self.module(x.reshape(len(x), *self.input_shapes[0])))
        parts = [y.to("cpu", torch.float64).reshape(len(x), -1) for y in leaves]
        return torch.cat(parts, 1).numpy()


def load_module(module: nn.Module, example: Tensor) -> Graph:
    """The graph of what `module` computes in evaluation mode; see `load_torch`."""
    return load_torch(module, example).graph


def load_torch(module: nn.Module, example: Tensor) -> TorchModel:
    """Import a module.

    Args:
        module: any module of one tensor argument; it is put in evaluation mode for the import and left as it was.
        example: an input `[B, ...]` with the batch axis in front; B = 1 is best.

    Raises:
        ModelError: when the module cannot be traced or uses an operator that is not supported.
        UnsoundBound: when the graph computes something else than the module.
    """
    who = type(module).__name__
    if not isinstance(example, Tensor) or example.dtype not in _FLOATS or example.ndim < 2 or len(example) < 1:
        raise ModelError(f"{who}: the example must be a float32 or float64 tensor with a batch axis in front, [B, ...]")
    with _evaluating(module):
        exported = _export(module, example)
        graph = _walk(exported, module, example)
    shape = tuple(example.shape[1:])
    outputs = tuple(graph.nodes[i].shape for i in graph.outputs)
    dtype = str(example.dtype).removeprefix("torch.")
    model = TorchModel(graph, module, (shape,), outputs, dtype, str(example.device), chunk=len(example))
    return _compared(model, example, _coarsest(exported))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and back to what each submodule had."""
    before = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, training in before.items():
            m.training = training


def _export(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module, (example.detach(),), strict=False)
            # An empty table decomposes nothing that has a rule of ours, but makes in-place operators functional.
            return exported.run_decompositions({})
    except Exception as e:  # the tracer runs the user's own code: anything may come
        raise ModelError(f"{type(module).__name__}: torch.export cannot trace it: {_line(e)}") from e


def _line(e: Exception) -> str:
    """The first line of a message."""
    return next(iter(str(e).strip().splitlines()), type(e).__name__)[:300]


def _walk(exported: torch.export.ExportedProgram, module: nn.Module, example: Tensor) -> Graph:
    who, builder = type(module).__name__, Builder()
    signature = exported.graph_signature
    if any(spec.kind != OutputKind.USER_OUTPUT for spec in signature.output_specs):
        raise ModelError(f"{who}: its forward changes its own buffers or its input, which is not supported")
    own = {
        **dict(module.named_buffers(remove_duplicate=False)),
        **dict(module.named_parameters(remove_duplicate=False)),
    }
    specs = {spec.arg.name: spec for spec in signature.input_specs}
    start = builder.add(Input(tuple(example.shape[1:])), name="input")
    env: dict[torch.fx.Node, Any] = {}
    needed: set[torch.fx.Node] = set()
    for node in reversed(exported.graph.nodes):
        if node.op == "output" or node in needed:
            needed.update(node.all_input_nodes)
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            spec = specs[node.name]
            if spec.kind == InputKind.USER_INPUT:
                env[node] = Activation(start, builder.nodes[start].shape)
            else:
                env[node] = own[spec.target] if spec.target in own else exported.constants[spec.target]
        elif node in needed:
            env[node] = _step(node, env, builder, example, who)
    (returned,) = exported.graph.output_node().args
    results: Any = [env.get(node) for node in pytree.tree_leaves(returned)]
    if not results or not all(isinstance(r, Activation) for r in results):
        raise ModelError(f"{who}: each of its outputs must be a tensor that depends on the input")
    if not all(r.lead for r in results):
        raise ModelError(f"{who}: each of its outputs must have the batch axis in front")
    graph = builder.graph([start], [r.at for r in results])
    for made in graph.nodes:
        if isinstance(made.op, Scale) and made.op.t is not None and not bool(torch.isfinite(made.op.t).all()):
            raise ModelError(f"{who}: {made.name} adds infinity, and no softmax takes it in")
    return graph


def _step(node: torch.fx.Node, env: dict[torch.fx.Node, Any], builder: Builder, example: Tensor, who: str) -> Any:
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
        return _apply(node, target, given, builder, len(example), example.dtype)
    except (ValueError, TypeError, IndexError, RuntimeError) as e:  # of a rule, or of torch on odd arguments
        name = str(target).removesuffix(f".{getattr(target, '_overloadname', '')}")
        path, kind = next(reversed((node.meta.get("nn_module_stack") or {"": ("", who)}).values()))
        where = f"{path} ({kind.rsplit('.', 1)[-1]})" if path else "its own forward"
        raise ModelError(f"{who}: {name} in {where}: {_line(e)}; supported are {SUPPORTED}") from e


def _fold(target: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator on constants alone, computed now."""
    if torch.Tag.nondeterministic_seeded in target.tags:
        refuse("it draws random numbers")
    if target._schema.is_mutable:
        refuse("it changes a parameter in place")
    return target(*args, **kwargs)


def _apply(
    node: torch.fx.Node, target: torch._ops.OpOverload, given: Any, builder: Builder, batch: int, kind: torch.dtype
) -> Any:
    rule = TABLE.get(target.overloadpacket.__name__)
    if rule is None:
        refuse("it is not supported")
    schema = target._schema.arguments
    args = {a.name: a.default_value for a in schema if a.has_default_value()}
    args |= dict(zip((a.name for a in schema), given[0], strict=False)) | given[1]
    meta = node.meta["val"]
    values = [meta] if isinstance(meta, Tensor) else list(meta)
    first = values[0]
    if first.dtype not in (*_FLOATS, torch.bool):
        refuse(f"its result has type {str(first.dtype).removeprefix('torch.')}, not float32 or float64")
    given_types = [v.dtype for n in node.all_input_nodes if isinstance(v := n.meta.get("val"), Tensor)]
    if why := unlike(target.overloadpacket.__name__, first.dtype, given_types):
        refuse(why)
    if not all(isinstance(d, int) for value in values for d in value.shape):
        refuse("its size depends on values; index by positions, not by a mask")
    dtype = first.dtype if first.dtype in _FLOATS else kind  # truth values are the numbers 0 and 1
    call = Call(builder, node.name, target, args, batch, tuple(first.shape[1:]), dtype, first.device)
    result = rule(call)
    several = [result] if isinstance(result, Activation) else result
    settled = [call.settled(y, tuple(value.shape)) for y, value in zip(several, values, strict=False)]
    return settled[0] if isinstance(result, Activation) else settled


def _coarsest(exported: torch.export.ExportedProgram) -> str:
    """float32 where any step of the module computes in it."""
    values = pytree.tree_leaves([n.meta.get("val") for n in exported.graph.nodes])
    return "float32" if any(isinstance(v, Tensor) and v.dtype == torch.float32 for v in values) else "float64"


def _compared(model: TorchModel, example: Tensor, dtype: str) -> TorchModel:
    """The model, once its graph agrees with its module on a few inputs; finds out what `chunk` must be."""
    graph = model.graph.cast(lambda a: Place("torch", "float64").array(a.detach()))
    generator = torch.Generator().manual_seed(0)
    given, n = example.detach().cpu().flatten(1), len(example)
    for noise in (0.0, 1.0, 10.0):
        x = given + noise * torch.randn(given.shape, generator=generator, dtype=given.dtype)
        y = model.run(x)
        if not np.isfinite(y).all():
            raise ModelError(f"{type(model.module).__name__}: its outputs are not finite numbers")
        error, allowed = _deviation(graph, x, y, dtype)
        if not (error <= allowed).all():
            k = np.argmax(error - allowed)
            raise UnsoundBound(
                f"{type(model.module).__name__}: the imported graph differs from the module by {error.flat[k]:.3g}, "
                f"of which rounding explains {allowed.flat[k]:.3g}"
            )
    x = given[:1] + torch.randn(n + 2, given.shape[1], generator=generator, dtype=given.dtype)
    with suppress(Exception):  # a module may be written for one batch size: then inputs go through it in such chunks
        free = replace(model, chunk=None)
        error, allowed = _deviation(graph, x, free.run(x), dtype)
        if (error <= allowed).all():
            return free
    return model


def _deviation(graph: Graph, x: Tensor, y: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`|graph(x) − y|`, and how much of it the rounding of `dtype` explains; `[B, m]` both."""
    with torch.no_grad():
        values = graph.values(x.double().reshape(len(x), *graph.nodes[graph.inputs[0]].shape))
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
    flat = [torch.cat([part[i].reshape(len(x), -1) for i in graph.outputs], 1).numpy() for part in (values, errors)]
    return np.abs(flat[0] - y), flat[1]
