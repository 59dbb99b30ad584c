"""Every refusal of a model says what is wrong, where, and what to do; and it is true."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph.advice import AGAIN, HINT
from verifier.run.model import boundable, load, single
from verifier.values.errors import ModelError

F = np.float32
ONES = lambda *shape: np.ones(shape, F)  # noqa: E731


def made(op: str, inputs: list[Any], shape: Any = (1, 3, 4, 4), opset: int = 13, ir: int = 8, **how: Any) -> Any:
    """One node that reads `x`, and constants."""
    names = ["x" if a is None else f"c{i}" for i, a in enumerate(inputs)]
    initial = [numpy_helper.from_array(np.asarray(a), n) for a, n in zip(inputs, names, strict=True) if a is not None]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    graph = helper.make_graph([helper.make_node(op, names, ["y"], **how)], "g", ends[:1], ends[1:], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def lost() -> Any:
    model = made("Add", [None, ONES(1)])
    model.graph.ClearField("initializer")
    return model


WRONG: dict[str, Any] = {
    "MatMul": made("MatMul", [None, ONES(5, 2)]),
    "Gemm": made("Gemm", [None, ONES(5, 2)], (1, 4)),
    "Conv": made("Conv", [None, ONES(2, 5, 3, 3)]),
    "Conv larger": made("Conv", [None, ONES(2, 3, 9, 9)]),
    "Add": made("Add", [None, ONES(5)]),
    "Reshape": made("Reshape", [None, np.array([2, 50])]),
    "Concat": made("Concat", [None, ONES(1, 3, 5, 4)], axis=1),
    "Transpose": made("Transpose", [None], perm=[0, 1, 2]),
    "Softmax": made("Softmax", [None], axis=7),
    "Softmax of a word": made("Softmax", [None], axis="a"),
    "Squeeze": made("Squeeze", [None, np.array([1])]),
    "Gather": made("Gather", [None, np.array([7])], axis=1),
    "BatchNormalization": made("BatchNormalization", [None, *[ONES(5)] * 4]),
    "MaxPool": made("MaxPool", [None], kernel_shape=[9, 9]),
    "Split": made("Split", [None, np.array([1, 7])], axis=1),
    "TopK": made("TopK", [None, np.array([9])], axis=1),
    "DepthToSpace": made("DepthToSpace", [None], blocksize=5),
    "Flatten": made("Flatten", [None], axis=9),
    "GroupNormalization": made("GroupNormalization", [None, ONES(3), ONES(3)], num_groups=2, opset=21),
    "Conv of nothing": made("Conv", [None]),
    "a tensor that nothing computes": lost(),
}
"""Models that contradict themselves: nobody runs them, and no list of operators helps."""

OTHERS: dict[str, tuple[Any, str]] = {
    "an operator that nobody knows": (made("Foo", [None]), "run `verifier info` on this model"),
    "places that depend on the input": (made("Mod", [None, None], fmod=1), "run `verifier info` on this model"),
    "too many to sort": (made("TopK", [None, np.array([9])], (1, 5000), axis=1), "at most 64 are supported"),
    "NaN": (made("Add", [None, np.full(4, np.nan, F)]), "train the network again, or export an earlier state"),
    "a large input": (made("Relu", [None], (1, 100_000, 100_000)), "export the network for smaller inputs"),
    "a newer operator set": (made("Relu", [None], opset=99), "export it with operator set "),
    "a newer file": (made("Relu", [None], ir=99), "save it with IR version "),
    "an open shape": (made("Relu", [None], (1, "n", 3)), "export it with the others given"),
    "nothing to vary": (made("Relu", [np.full(2, np.inf, F)]), "choose others: --output NAME"),
}


def refusal(model: Any) -> str:
    with pytest.raises(ModelError) as e:
        boundable(single(load(model)))
    text = str(e.value)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_contradicts_itself_is_to_be_mended(name: str) -> None:
    text = refusal(WRONG[name])
    assert re.search("node 'y'", text) and "verifier info" not in text
    assert text.endswith(AGAIN) or text.endswith(
        "the model contradicts itself, and no runtime runs it: export it again"
    )
    found = verifier.diagnose(WRONG[name])
    assert "export it again" in found.problems[0].advice and not found.readable


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_refused_says_what_to_do(name: str) -> None:
    model, words = OTHERS[name]
    assert words in refusal(model)


def test_what_is_not_read_is_not_called_wrong() -> None:
    """onnxruntime runs it, or would for other numbers: the model is right, and more than we read."""
    for op, inputs, how in (("Reshape", [None, None], {}), ("TopK", [None, np.array([9])], {"axis": 1})):
        model = made(op, inputs, (1, 5000), **how)
        if op == "Reshape":
            model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64))
            model.graph.node[1].input[1] = "at"
        assert refusal(model).endswith(HINT)


def test_words_of_python_are_put_into_ours() -> None:
    text = refusal(WRONG["Softmax of a word"])
    assert "(Softmax): Softmax whose inputs and attributes do not fit together ('<='" in text
