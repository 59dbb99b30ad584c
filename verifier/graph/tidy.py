"""What is done to a file's graph before it is read: old operator sets are converted, nodes are put in order."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verifier.values.errors import ModelError

_MOST = 300
"""Characters of a message that are shown."""
OLDEST = 7
"""The first version of ONNX's operators that is read; older ones are converted to it."""


def one_line(e: BaseException) -> str:
    """The first line of a message; of a long one its beginning and its end, where runtimes say what is wrong."""
    text = next(iter(str(e).splitlines()), "") or type(e).__name__
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} … {text[-_MOST // 2 :]}"


def standard(proto: Any) -> int:
    """The version of ONNX's own operators that a model uses; 0 where it uses none."""
    return next((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def converted(path: Path | str, proto: Any) -> Any:
    """The model with operators of version `OLDEST`, as onnx's converter writes it; itself if they are as new.

    Raises:
        ModelError: the converter cannot do it.
    """
    version = standard(proto)
    if not 0 < version < OLDEST:
        return proto
    from onnx import version_converter

    whole = type(proto).FromString(proto.SerializeToString())
    there = {v.name for v in whole.graph.input}
    for tensor in whole.graph.initializer:  # as files were at that time, and the converter still expects them
        if tensor.name not in there:
            declared = whole.graph.input.add()
            declared.name = tensor.name
            declared.type.tensor_type.elem_type = tensor.data_type
            declared.type.tensor_type.shape.SetInParent()
            for d in tensor.dims:
                declared.type.tensor_type.shape.dim.add().dim_value = d
    try:
        newer = version_converter.convert_version(whole, OLDEST)
        newer.graph.ClearField("value_info")  # of what it has added it may not know the type
        return newer
    except MemoryError:
        raise
    except Exception as e:  # its errors have no common type
        raise ModelError(
            f"{path}: operator set {version} is too old, and onnx's converter cannot bring it to version {OLDEST} "
            f"({one_line(e)}); export it again with a newer one"
        ) from None


def ordered(path: Path | str, proto: Any) -> Any:
    """The model with every node behind those whose results it reads, else in the order of the file.

    Raises:
        ModelError: nodes read each other's results in a circle, or two compute one tensor.
    """
    nodes = list(proto.graph.node)
    order = in_order(path, nodes)
    if order == list(range(len(nodes))):
        return proto
    sorted_one = type(proto).FromString(proto.SerializeToString())
    kept = list(sorted_one.graph.node)
    sorted_one.graph.ClearField("node")
    sorted_one.graph.node.extend(kept[i] for i in order)
    return sorted_one


def in_order(path: Path | str, nodes: Sequence[Any]) -> list[int]:
    """A stable order of nodes (Kahn's, the first node that is ready next); see `ordered`."""
    maker: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in maker:
                raise ModelError(f"{path}: node '{name}' ({node.op_type}): another node computes that tensor, too")
            maker[name] = i
    needs = [{maker[n] for n in _free(node) if n in maker} for node in nodes]
    if all(max(some, default=-1) < i for i, some in enumerate(needs)):
        return list(range(len(nodes)))
    readers: list[list[int]] = [[] for _ in nodes]
    for i, some in enumerate(needs):
        for j in some:
            readers[j].append(i)
    waits = [len(some) for some in needs]
    ready = [i for i, count in enumerate(waits) if not count]
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for k in readers[i]:
            waits[k] -= 1
            if not waits[k]:
                heapq.heappush(ready, k)
    if len(order) < len(nodes):
        node = nodes[next(i for i, count in enumerate(waits) if count)]
        name = next((o for o in node.output if o), node.name)
        raise ModelError(f"{path}: node '{name}' ({node.op_type}): it depends on its own result")
    return order


def _free(node: Any) -> set[str]:
    """Names of the tensors that a node needs: of what its subgraphs read those that they do not have themselves."""
    needed = set(node.input)
    for a in node.attribute:
        if a.HasField("g"):
            own = {v.name for v in (*a.g.input, *a.g.initializer)} | {o for n in a.g.node for o in n.output}
            needed |= {o.name for o in a.g.output}.union(*(_free(n) for n in a.g.node)) - own
    return needed


def all_read(graph: Any) -> set[str]:
    """Names of the tensors that somebody reads, in subgraphs too."""
    return {o.name for o in graph.output}.union(*(names_read(node) for node in graph.node))


def names_read(node: Any) -> set[str]:
    """Names of the tensors that a node reads, in subgraphs too."""
    return set(node.input).union(*(all_read(a.g) for a in node.attribute if a.HasField("g")))
