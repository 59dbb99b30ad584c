"""Nodes that stand for other nodes: branches, loops, functions, sequences; each is written out as plain nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verifier.graph import sequences
from verifier.graph.written import Host, attribute, body, given, inline, known, put, renamed, stack

MOST = 1000
"""Turns of a loop that are written out."""


def choose(host: Host, node: Any) -> bool:
    """If: the branch that a decided condition takes; of another condition both, and a choice between their results."""
    condition = host.values.get(node.input[0])
    branches = [body(node, f"{which}_branch") for which in ("then", "else")]
    if isinstance(condition, np.ndarray):
        taken = inline(host, branches[0 if condition.all() else 1], ())
        host.hang(node.input[0], list(node.output))
        for new, old in zip(node.output, taken, strict=True):
            host.alias(new, old)
        return True
    ends = [inline(host, branch, ()) for branch in branches]
    if any(name in host.lists for side in ends for name in side):
        raise ValueError("If of sequences whose condition depends on the network's input")
    for new, a, b in zip(node.output, *ends, strict=True):
        if host.shape(a) != host.shape(b):
            raise ValueError(
                f"If whose condition depends on the network's input and whose branches have results of shapes "
                f"{list(host.shape(a))} and {list(host.shape(b))}; only equal ones are supported"
            )
        put(host, "Where", [node.input[0], a, b], [new])
    return True


def loop(host: Host, node: Any) -> bool:
    """Loop: as many copies of its body as it turns."""
    turns, state = body(node), list(node.input[2:])
    most = int(known(host, node, 0, "how often Loop turns").reshape(-1)[0]) if given(node, 0) else None
    going = bool(known(host, node, 1, "whether Loop begins").all()) if given(node, 1) else True
    condition = node.input[1] if given(node, 1) else ""
    scans: list[list[str]] = [[] for _ in range(len(node.output) - len(state))]
    turn = 0
    while going and (most is None or turn < most):
        if turn == MOST:
            raise ValueError(f"Loop turns more than {MOST} times, which is not supported")
        ending = host.fresh(1)
        count, before = f"turn{ending}", condition or f"goes{ending}"
        host.place(count, np.array(turn, np.int64))
        if not condition:
            host.place(before, np.array(True))
        condition, *ends = inline(host, turns, [count, before, *state])
        value = host.values.get(condition)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"whether Loop goes on ('{condition}') depends on the network's input")
        going = bool(value.all())
        host.hang(condition, list(node.output))
        state = ends[: len(state)]
        for made, name in zip(scans, ends[len(state) :], strict=False):
            made.append(name)
        turn += 1
    for new, old in zip(node.output, state, strict=False):
        if new:
            host.alias(new, old)
    for new, made in zip(node.output[len(state) :], scans, strict=True):
        if new:
            stack(host, node, made, 0, new)
    return True


def scan(host: Host, node: Any) -> bool:
    """Scan: a copy of its body for each slice of what is scanned."""
    if host.opset < 9:
        raise ValueError("Scan of operator set 8; convert it to version 9 or later")
    count = int(attribute(node, "num_scan_inputs"))
    state, scanned = list(node.input[:-count]), list(node.input[-count:])
    made_of = len(node.output) - len(state)
    axes = list(attribute(node, "scan_input_axes", [0] * count))
    back = list(attribute(node, "scan_input_directions", [0] * count))
    axes = [a % len(host.shape(n)) for a, n in zip(axes, scanned, strict=True)]
    lengths = {host.shape(n)[a] for n, a in zip(scanned, axes, strict=True)}
    if len(lengths) != 1 or max(lengths) > MOST:
        raise ValueError(f"Scan over {' and '.join(map(str, sorted(lengths)))} entries; up to {MOST} are supported")
    (length,) = lengths
    scans: list[list[str]] = [[] for _ in range(made_of)]
    for turn in range(length):
        ending = host.fresh(count)
        slices = []
        for name, axis, reverse in zip(scanned, axes, back, strict=True):
            at, part = f"at_{name}{ending}", f"{name}{ending}"
            host.place(at, np.array(length - 1 - turn if reverse else turn, np.int64))
            put(host, "Gather", [name, at], [part], axis=axis)
            slices.append(part)
        ends = inline(host, body(node), [*state, *slices])
        state = ends[: len(state)]
        for made, name in zip(scans, ends[len(state) :], strict=True):
            made.append(name)
    for new, old in zip(node.output, state, strict=False):
        if new:
            host.alias(new, old)
    out_axes = attribute(node, "scan_output_axes", [0] * made_of)
    turned = attribute(node, "scan_output_directions", [0] * made_of)
    for new, made, axis, reverse in zip(node.output[len(state) :], scans, out_axes, turned, strict=True):
        if new:
            stack(host, node, made[::-1] if reverse else made, axis, new)
    return True


def cast_like(host: Host, node: Any) -> bool:
    """CastLike of a constant: a Cast to a type that is known, whatever numbers have it."""
    if not isinstance(host.values.get(node.input[0]), np.ndarray):
        return False
    put(host, "Cast", [node.input[0]], [node.output[0]], to=host.type_number(node.input[1]))
    return True


RULES: dict[str, Callable[[Host, Any], bool]] = {
    "CastLike": cast_like,
    "ConcatFromSequence": sequences.joined,
    "Identity": sequences.same,
    "If": choose,
    "Loop": loop,
    "Optional": sequences.optional,
    "OptionalGetElement": sequences.element,
    "OptionalHasElement": sequences.has_element,
    "Scan": scan,
    "SequenceAt": sequences.entry,
    "SequenceConstruct": sequences.construct,
    "SequenceEmpty": sequences.construct,
    "SequenceErase": sequences.erase,
    "SequenceInsert": sequences.insert,
    "SequenceLength": sequences.length_of,
    "SequenceMap": sequences.each,
    "SplitToSequence": sequences.parted,
}
"""What a node stands for; False where it is an ordinary one."""


def stands_for_others(node: Any) -> bool:
    """Whether a node may be one of those that are written out: by its operator, or as a function of ONNX's."""
    from onnx import defs

    domain = "" if node.domain == "ai.onnx" else node.domain
    if not domain and node.op_type in RULES:
        return True
    if not defs.has(node.op_type, domain=domain):
        return False
    schema = defs.get_schema(node.op_type, domain=domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def function(host: Host, node: Any, imports: Sequence[Any], types: dict[str, int]) -> bool:
    """An operator that ONNX defines as a function of others: its body in its place.  Whether there is one.

    Args:
        imports: the model's operator sets.
        types: for each of the node's inputs the number of its type.
    """
    import onnx
    from onnx import inliner

    domain = "" if node.domain == "ai.onnx" else node.domain
    version = next((o.version for o in imports if (o.domain or "") in (domain, node.domain)), 0)
    if not onnx.defs.has(node.op_type, max_inclusive_version=version or 1, domain=domain):
        return False
    schema = onnx.defs.get_schema(node.op_type, version, domain)
    if not (schema.has_function or schema.has_context_dependent_function):
        return False
    declared = [onnx.helper.make_tensor_value_info(n, t, host.shape(n)) for n, t in types.items()]
    outputs = [onnx.ValueInfoProto(name=o) for o in node.output if o]
    graph = onnx.helper.make_graph([node], "function", declared, outputs)
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    try:
        inlined = inliner.inline_selected_functions(model, [(domain, node.op_type)], False, True)
    except MemoryError:
        raise
    except Exception as e:  # whatever it makes of a node that breaks the rules of its operator
        raise ValueError(f"its body cannot be inlined: {str(e).splitlines()[0][:200] if str(e) else e!r}") from None
    nodes = inlined.graph.node
    if any(n.op_type == node.op_type and n.domain == node.domain for n in nodes):
        return False
    ending, names, written = host.fresh(len(nodes)), {n: n for n in types}, []
    for part in nodes:
        new = renamed(part, names, ending)
        for k, name in enumerate(part.output):
            if name and name in node.output:
                new.output[k] = names[name] = name
        written.append(new)
    host.write(written, ())
    return True
