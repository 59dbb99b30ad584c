"""What a refusal says to do: who reads it should not have to ask."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verifier.graph.ops.table import FOLDED, converter
from verifier.graph.unroll import stands_for_others
from verifier.values.errors import ModelError

HINT = "; run `verifier info` on this model for what to do"
"""Where a node is not read."""
AGAIN = "; onnxruntime does not run this model either: mend it, or export it again"
"""Where the model contradicts itself."""
WRONG = (
    ("is not computed by any node", "the model is incomplete, and no runtime runs it: export it again"),
    ("which do not fit", "the model contradicts itself, and no runtime runs it: export it again"),
    ("holds NaN values", "these weights are no numbers: train the network again, or export an earlier state"),
)
"""What a refusal says where the model is wrong, and what to do about it."""
_OURS = ("is not constant", "depend", "is not supported", "are supported")
"""What is said of models that are right, and of more than is read."""
_NEWER = (
    (re.compile(r"support for domain ai\.onnx is till opset (\d+)"), "export it with operator set {} or an older one"),
    (re.compile(r"max supported IR version: (\d+)"), "save it with IR version {} (`model.ir_version`)"),
)
"""What onnxruntime says of models that are newer than it is, and what to do besides updating it."""


def known(node: Any) -> bool:
    """Whether a node's operator is read, in some form at least."""
    plain = converter(node.domain, node.op_type) is not None or node.op_type in FOLDED
    return plain or stands_for_others(node)


def contradicts(proto: Any, refused: ModelError, runs: Callable[[], bool]) -> ModelError:
    """A refusal of a node in other words, where onnxruntime (`runs()`) does not take the model either.

    Asked only where nothing but operators that are read stands in it: what has an operator of its own runs nowhere.
    """
    text = str(refused)
    for said, do in WRONG:
        if said in text and text.endswith(HINT):
            return ModelError(f"{text.removesuffix(HINT)}; {do}")
    ours = any(said in text for said in _OURS)
    if ours or not text.endswith(HINT) or not all(map(known, proto.graph.node)) or runs():
        return refused
    return ModelError(text.removesuffix(HINT) + AGAIN)


def newer(reason: str) -> str:
    """What to do about a model that onnxruntime does not run for the reason that it gives."""
    for said, do in _NEWER:
        if found := said.search(reason):
            return f"; {do.format(found[1])}, or update onnxruntime"
    return "; mend it until onnxruntime runs it, or export it again"


def fits_not(e: Exception, operator: str, line: str) -> str:
    """An error as a refusal: one of Python's or numpy's own says nothing to who has not read the code."""
    frame = e.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    own = frame is not None and "verifier" in Path(frame.tb_frame.f_code.co_filename).parts
    if type(e) is ValueError and own:
        return line
    return f"{operator} whose inputs and attributes do not fit together ({line.rstrip('.')})"
