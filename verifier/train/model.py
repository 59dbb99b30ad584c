"""A module to be trained: its graph with live weights, and clean passes that settle the batch norms.

Batch norm is where certified training goes wrong most easily.  Here the rule is one: a clean pass in training mode
takes the statistics of its own batch (and moves the stored ones); everything that follows on that batch, attacks and
bounds alike, sees the same numbers, as constants of the network but with their gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from verifier.graph.from_torch import load_torch
from verifier.graph.graph import Builder, Graph, Node, Operator
from verifier.graph.ops.affine import Dense, Scale, Standardize
from verifier.graph.ops.conv import Conv
from verifier.values.errors import ModelError


@dataclass(frozen=True, eq=False)
class Pass:
    """One clean pass, and the network as it was in it.

    Attributes:
        graph: the network with the batch norms' statistics settled and their scales merged into the layers before
            them; its parameters are functions of the module's.  Its nodes are the same in every pass of one model.
        x: `[B, *shape]` the inputs.
        logits: `[B, K]` the outputs, as the module gives them.
    """

    graph: Graph
    x: Tensor
    logits: Tensor

    def detached(self) -> Graph:
        """The graph without gradients in the weights, for attacks."""
        return self.graph.cast(lambda a: a.detach() if isinstance(a, Tensor) else a)


def _one_input(module: nn.Module, example: Any) -> None:
    """Refuse a module of several inputs: batches, attacks and balls are of one tensor."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # a forward that says nothing of itself
        parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and (p.kind in plain or p.kind == p.KEYWORD_ONLY)]
    if len(needed) > 1 or not isinstance(example, Tensor):
        takes = f"forward takes {', '.join(needed)}" if len(needed) > 1 else f"example is a {type(example).__name__}"
        raise ModelError(
            f"{type(module).__name__}: training needs one input tensor, and its {takes}; wrap it in a module whose "
            "forward takes all inputs behind one another and splits them"
        )


class Trainable:
    """A module whose graph uses its parameters as they are.

    Attributes:
        module: the original; its optimiser changes the graph with it.
        graph: what it computes, batch norms apart (`ops.affine.Standardize`).
        shape: of one input.  classes: how many outputs it has.
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        """Import `module`, given an input `[B, *shape]`.

        Raises:
            ModelError: it cannot be imported, has several inputs or outputs, computes new parameters from its own
                before it uses them (they would stay what they are now), or has random parts (dropout, as a module or
                as a function).
        """
        name = type(module).__name__
        _one_input(module, example)
        for path, part in module.named_modules():
            if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
                raise ModelError(
                    f"{name}: {path or 'it'} is a {type(part).__name__}: bounds know no dropout; remove it"
                )
        if (draws := random_operation(module, example)) is not None:
            raise ModelError(
                f"{name}: {draws} is random in training mode: bounds know no such thing; remove it (F.dropout?)"
            )
        model = load_torch(module, example)
        if len(model.output_shapes) != 1 or len(model.output_shapes[0]) != 1:
            shapes = ", ".join(str(list(s)) for s in model.output_shapes)
            raise ModelError(f"{name}: training needs one output of class scores [K]; it has {shapes}")
        computed: list[str] = []
        self._views: list[Tensor] = []
        for node in model.graph.nodes:
            node.op.cast(lambda a, at=node.name: _check(a, at, computed, self._views))  # type: ignore[misc]
        if computed:
            raise ModelError(
                f"{name}: {computed[0]} uses numbers computed from parameters, which would not follow the training; "
                "make the result itself the parameter"
            )
        self.module, self.graph, self.shape = module, model.graph, model.input_shapes[0]
        self.classes = model.output_shapes[0][0]
        self._norms = {
            id(m.running_mean): m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        }

        self._norm_of, self._freed = _walk(self.graph)
        self._example, self._parts = example[:1].detach(), _parts(module)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy imports its own module: the graph of this one goes on using this one's parameters."""
        return type(self), (self.module, self._example)

    def check(self, x: Tensor) -> None:
        """See that the graph is still the module's, and that numbers are precise enough to bound anything.

        Raises:
            ModelError: a part of the module was replaced or moved since it was imported; half precision.
        """
        name = type(self.module).__name__
        now = _parts(self.module)
        other = [k for k in now.keys() | self._parts.keys() if now.get(k) is not self._parts.get(k)]
        if other or any(_storage(a) != _storage(a._base) for a in self._views):
            raise ModelError(
                f"{name}: {min(other, default='a parameter') or 'it'} is no longer what was imported (replaced, "
                "loaded by assign=True, or moved to another type or device); make a new Trainable of it"
            )
        if torch.is_autocast_enabled(x.device.type):
            raise ModelError(f"{name}: autocast is on: bounds in half precision say nothing; leave it for the loss")
        own = next((p.dtype for p in self.module.parameters()), x.dtype)
        if x.dtype not in (torch.float32, torch.float64) or x.dtype != own:
            what = f"inputs are of {x.dtype}, parameters of {own}".replace("torch.", "")
            raise ModelError(f"{name}: {what}; give both in float32, or both in float64")

    def clean(self, x: Tensor) -> Pass:
        """The outputs for `x` `[B, *shape]`, and the network as they were computed by it.

        Where the module is in training mode its batch norms take the batch's statistics and move their stored ones, as
        the module itself would have done; otherwise they use the stored ones.

        Raises:
            ModelError: see `check`.
        """
        self.check(x)
        nodes: tuple[Node, ...] = self.graph.nodes
        values: list[Any] = [None] * len(nodes)
        ops: list[Any] = []
        for i, node in enumerate(nodes):
            op: Any = node.op
            if isinstance(op, Standardize):
                op = self._settled(op, values[node.inputs[0]])
            ops.append(op)
            if i in self.graph.inputs:
                values[i] = x
            elif i in self._norm_of:  # a norm's own scale, together with its statistics': one pass over the numbers
                before = ops[self._norm_of[i]]
                shift = before.t if op.s is None else before.t * op.s
                s, t = before.s if op.s is None else before.s * op.s, shift if op.t is None else shift + op.t
                values[i] = torch.addcmul(t, values[nodes[self._norm_of[i]].inputs[0]], s)
            elif i not in self._norm_of.values():
                values[i] = op.evaluate(*(values[j] for j in node.inputs))
            for j in self._freed[i]:
                values[j] = None
        return Pass(merged(self.graph, ops), x, values[self.graph.outputs[0]])

    def refresh(self, batches: Iterable[Tensor]) -> None:
        """Take the batch norms' stored statistics anew from clean inputs, every batch counting by its size.

        Layer by layer in one walk, as each batch's own statistics are used for what follows it.
        """
        norms = [m for m in self._norms.values() if m.track_running_stats]
        if not norms:
            return
        before, training = [m.momentum for m in norms], self.module.training
        self.module.train()
        seen = 0
        try:
            with torch.no_grad():
                for x in batches:
                    for m in norms:
                        m.momentum = len(x) / (seen + len(x))
                    self.clean(x)
                    seen += len(x)
        finally:
            for m, momentum in zip(norms, before, strict=True):
                m.momentum = momentum
            self.module.train(training)

    def _settled(self, op: Standardize, x: Tensor | None) -> Scale:
        """A batch norm's scale and shift: of this batch in training mode, as stored otherwise."""
        assert x is not None and op.statistics is not None
        norm = self._norms.get(id(op.statistics[0]))
        column = (-1,) + (1,) * (x.ndim - 2)
        if norm is None or not norm.training:
            mean, var = op.statistics
        else:
            var, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
            self._move(norm, mean.detach(), var.detach(), x.numel() // x.shape[1])
        s = torch.rsqrt(var + op.eps)
        return Scale(s.reshape(column), (-mean * s).reshape(column))

    @staticmethod
    @torch.no_grad()
    def _move(norm: nn.modules.batchnorm._BatchNorm, mean: Tensor, var: Tensor, count: int) -> None:
        """Stored statistics moved towards the batch's, the variance without bias, as torch does."""
        if count < 2:
            raise ModelError("batch norm in training mode needs more than one value a channel; use larger batches")
        assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        share = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(var * (count / (count - 1)), share)


def _parts(module: nn.Module) -> dict[str, Any]:
    """All that a graph hangs on, by name: modules, parameters and buffers."""
    return dict((*module.named_modules(), *module.named_parameters(), *module.named_buffers()))


def _storage(a: Tensor | None) -> int:
    """Where the numbers of a tensor lie."""
    return 0 if a is None else a.untyped_storage().data_ptr()


def random_operation(module: nn.Module, example: Tensor) -> str | None:
    """The name of an operation that draws random numbers when the module is in training mode; None where none does.

    Raises:
        ModelError: the module does not run in training mode.
    """
    found: list[str] = []

    class Draws(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if torch.Tag.nondeterministic_seeded in func.tags:
                found.append(func._schema.name.removeprefix("aten::"))
            return func(*args, **(kwargs or {}))

    modes = {m: m.training for m in module.modules()}
    own = {k: b.detach().clone() for k, b in module.named_buffers()}  # statistics move in copies
    state = torch.get_rng_state()
    module.train()
    try:
        with torch.no_grad(), Draws():
            torch.func.functional_call(module, own, (torch.cat([example, example]),))
    except Exception as e:  # whatever the module raises, it is the module's
        why = " ".join(str(e).split())[:200]
        raise ModelError(f"{type(module).__name__}: does not run on two inputs in training mode ({why})") from None
    finally:
        torch.set_rng_state(state)
        for m, training in modes.items():
            m.training = training
    return found[0] if found else None


def _walk(graph: Graph) -> tuple[dict[int, int], list[list[int]]]:
    """Each scale that alone follows a norm's statistics -> their node; and whose value nobody needs after each node."""
    users: dict[int, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            users.setdefault(j, []).append(i)
    norm_of = {
        users[i][0]: i
        for i, node in enumerate(graph.nodes)
        if isinstance(node.op, Standardize)
        and len(users.get(i, ())) == 1
        and i not in graph.outputs
        and type(graph.nodes[users[i][0]].op) is Scale
    }
    last = {j: max(ks) for j, ks in users.items() if j not in graph.outputs}
    for k, i in norm_of.items():
        j = graph.nodes[i].inputs[0]
        if j in last:
            last[j] = max(last[j], k)
    return norm_of, [[j for j, i in last.items() if i == k] for k in range(len(graph.nodes))]


def _check(a: Tensor, at: str, computed: list[str], views: list[Tensor]) -> Tensor:
    """Note a node's name where its parameter is neither the module's own nor a view of one; and the views."""
    if isinstance(a, Tensor):
        if a._is_view():
            views.append(a)
        own = a._base if a._is_view() else a
        if own is not None and own.grad_fn is not None:
            computed.append(at)
    return a


def merged(graph: Graph, ops: list[Operator]) -> Graph:
    """The graph with operators `ops`, scales of channels merged into the convolution or dense layer before them.

    Which nodes are merged depends on the graph alone, not on numbers.
    """
    users = [0] * len(graph.nodes)
    for node in graph.nodes:
        for j in node.inputs:
            users[j] += 1
    builder, at = Builder(), [0] * len(graph.nodes)
    for i, node in enumerate(graph.nodes):
        op = ops[i]
        if isinstance(op, Scale) and users[j := node.inputs[0]] == 1 and j not in graph.outputs:
            before = builder.nodes[at[j]]
            joined = _joined(before.op, op)
            if joined is not None:
                builder.nodes[at[j]] = replace(before, op=joined)
                at[i] = at[j]
                continue
        at[i] = builder.add(op, [at[j] for j in node.inputs], node.name)
    return builder.graph([at[i] for i in graph.inputs], [at[i] for i in graph.outputs])


def _joined(before: Operator, scale: Scale) -> Operator | None:
    """`scale` after `before` as one layer, where both act channel by channel."""
    if not isinstance(before, (Conv, Dense)):
        return None
    channels, rank = before.W.shape[0], before.W.ndim - 2 if isinstance(before, Conv) else 0
    for a in (scale.s, scale.t):
        if a is not None and tuple(a.shape) not in ((channels,) + (1,) * rank, (1,) * (rank + 1)):
            return None
    W, b = before.W, before.b
    if scale.s is not None:
        s = scale.s.reshape(-1)
        W = W * s.reshape(-1, *(1,) * (W.ndim - 1))
        b = None if b is None else b * s
    if scale.t is not None:
        t = scale.t.reshape(-1).expand(channels)
        b = t if b is None else b + t
    return replace(before, W=W, b=b)
