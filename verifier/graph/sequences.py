"""Sequences and optional values of tensors, as names of tensors: nodes that make and take them compute nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.graph.written import Host, attribute, body, given, inline, known, put, stack


def _sequence(host: Host, node: Any, i: int = 0) -> tuple[str, ...]:
    held = host.lists.get(node.input[i])
    if held is None:
        raise ValueError(f"input '{node.input[i]}' is no sequence that is known here")
    return held


def _position(host: Host, node: Any, i: int, length: int) -> int:
    """A position in a sequence."""
    at = int(known(host, node, i, f"the position in {node.op_type}").reshape(-1)[0])
    if not -length <= at < length:
        raise ValueError(f"position {at} of a sequence of {length}")
    return at % length


def construct(host: Host, node: Any) -> bool:
    """SequenceConstruct and SequenceEmpty."""
    host.lists[node.output[0]] = tuple(node.input)
    return True


def insert(host: Host, node: Any) -> bool:
    """SequenceInsert."""
    held = list(_sequence(host, node))
    at = int(known(host, node, 2, "the position in SequenceInsert").reshape(-1)[0]) if given(node, 2) else len(held)
    if not -len(held) <= at <= len(held):
        raise ValueError(f"position {at} of a sequence of {len(held)}")
    held.insert(at, node.input[1])
    host.lists[node.output[0]] = tuple(held)
    return True


def erase(host: Host, node: Any) -> bool:
    """SequenceErase."""
    held = _sequence(host, node)
    at = _position(host, node, 1, len(held)) if given(node, 1) else len(held) - 1
    host.lists[node.output[0]] = held[:at] + held[at + 1 :]
    return True


def entry(host: Host, node: Any) -> bool:
    """SequenceAt."""
    held = _sequence(host, node)
    host.alias(node.output[0], held[_position(host, node, 1, len(held))])
    return True


def length_of(host: Host, node: Any) -> bool:
    """SequenceLength."""
    host.place(node.output[0], np.array(len(_sequence(host, node)), np.int64))
    return True


def joined(host: Host, node: Any) -> bool:
    """ConcatFromSequence."""
    held, axis = _sequence(host, node), int(attribute(node, "axis"))
    if attribute(node, "new_axis", 0):
        stack(host, node, held, axis, node.output[0])
    elif not held:
        raise ValueError("ConcatFromSequence of an empty sequence")
    else:
        put(host, "Concat", held, [node.output[0]], axis=axis)
    return True


def parted(host: Host, node: Any) -> bool:
    """SplitToSequence."""
    shape, axis = host.shape(node.input[0]), int(attribute(node, "axis", 0))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of a tensor with {len(shape)} axes")
    axis %= len(shape)
    size = known(host, node, 1, "the sizes of SplitToSequence") if given(node, 1) else np.array(1)
    each = int(size) if size.ndim == 0 else 0
    if size.ndim == 0 and not 0 < each <= max(shape[axis], 1):
        raise ValueError(f"SplitToSequence of {shape[axis]} entries into parts of {each}")
    starts = list(range(0, shape[axis], each)) if each else [int(v) for v in np.cumsum([0, *size])[:-1]]
    ends = [*starts[1:], shape[axis]]
    single = not given(node, 1) and not attribute(node, "keepdims", 1)
    parts = []
    for start, end in zip(starts, ends, strict=True):
        ending = host.fresh(1)
        new, at = f"{node.input[0]}{ending}", f"at{ending}"
        host.place(at, np.array(start, np.int64) if single else np.arange(start, end, dtype=np.int64))
        put(host, "Gather", [node.input[0], at], [new], axis=axis)
        parts.append(new)
    host.lists[node.output[0]] = tuple(parts)
    return True


def each(host: Host, node: Any) -> bool:
    """SequenceMap: a copy of its body for each entry."""
    count = len(_sequence(host, node))
    made: list[list[str]] = [[] for _ in node.output]
    for i in range(count):
        inputs = [(host.lists[n] or ())[i] if n in host.lists else n for n in node.input]
        for part, name in zip(made, inline(host, body(node), inputs), strict=True):
            part.append(name)
    for new, part in zip(node.output, made, strict=True):
        host.lists[new] = tuple(part)
    return True


def optional(host: Host, node: Any) -> bool:
    """Optional: the value itself, or none."""
    if given(node, 0):
        host.alias(node.output[0], node.input[0])
    else:
        host.lists[node.output[0]] = None
    return True


def element(host: Host, node: Any) -> bool:
    """OptionalGetElement."""
    if node.input[0] in host.lists and host.lists[node.input[0]] is None:
        raise ValueError(f"the optional value '{node.input[0]}' is not there")
    host.alias(node.output[0], node.input[0])
    return True


def has_element(host: Host, node: Any) -> bool:
    """OptionalHasElement."""
    absent = not given(node, 0) or (node.input[0] in host.lists and host.lists[node.input[0]] is None)
    host.place(node.output[0], np.array(not absent))
    return True


def same(host: Host, node: Any) -> bool:
    """Identity, of sequences and optional values."""
    if node.input[0] not in host.lists:
        return False
    host.alias(node.output[0], node.input[0])
    return True
