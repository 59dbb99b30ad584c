"""Cases of ONNX operators that are whole layers at once: recurrent ones, and those of com.microsoft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .onnx_models import Case, Draw, ints, numbers

Make = Callable[[Draw], Case]


def recurrent(op: str) -> Make:
    def case(draw: Draw) -> Case:
        T, B, n, H = draw(ints(1, 3)), draw(ints(1, 2)), draw(ints(1, 3)), draw(ints(1, 2))
        direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
        D, gates = (2 if direction == "bidirectional" else 1), {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        m = Case([T, B, n], 14)
        lengths = np.array([draw(ints(1, T)) for _ in range(B)]) if draw(st.booleans()) else np.full(B, T)
        inputs = ["x", m.tensor(numbers(draw, [D, gates * H, n])), m.tensor(numbers(draw, [D, gates * H, H]))]
        inputs.append(m.tensor(numbers(draw, [D, 2 * gates * H])) if draw(st.booleans()) else "")
        inputs.append(m.tensor(lengths.astype(np.int32)) if draw(st.booleans()) else "")
        if draw(st.booleans()):
            inputs += [m.tensor(numbers(draw, [D, B, H])) for _ in range(2 if op == "LSTM" else 1)]
            if op == "LSTM" and draw(st.booleans()):
                inputs.append(m.tensor(numbers(draw, [D, 3 * H])))
        while not inputs[-1]:
            inputs.pop()
        a: dict[str, Any] = {"linear_before_reset": draw(ints(0, 1))} if op == "GRU" else {}
        a["clip"] = draw(st.sampled_from([None, None, 0.4]))
        a["input_forget"] = draw(ints(0, 1)) if op == "LSTM" else None
        if draw(st.booleans()):
            one = {"LSTM": ["HardSigmoid", "Softsign", "Relu"], "GRU": ["Sigmoid", "Relu"], "RNN": ["Relu"]}[op]
            a["activations"] = one * D
            if op == "LSTM":
                a["activation_alpha"], a["activation_beta"] = [0.3] * D, [0.4] * D
        names = m.node(op, *inputs, outputs=3 if op == "LSTM" else 2, hidden_size=H, direction=direction, **a)
        m.outputs = draw(st.sampled_from([names, names[1:], names[:1]]))
        return m

    return case


def fused(op: str) -> Make:
    """Operators of com.microsoft."""

    def case(draw: Draw) -> Case:
        m = Case([2, 3])
        a: dict[str, Any] = {"domain": "com.microsoft"}
        activation = draw(st.sampled_from(["Relu", "Tanh", "Sigmoid", "LeakyRelu"]))
        if op == "FusedGemm":
            leak = {"activation_alpha": 0.1} if activation == "LeakyRelu" else {}
            m.node(
                op,
                "x",
                m.tensor(numbers(draw, [3, 2])),
                m.tensor(numbers(draw, [2])),
                activation=activation,
                **leak,
                **a,
            )
        elif op == "FusedConv":
            m.shape = [1, 2, 4, 4]
            inputs = ["x", m.tensor(numbers(draw, [2, 2, 3, 3])), m.tensor(numbers(draw, [2]))]
            inputs += ["x"] if draw(st.booleans()) else []
            activation = draw(st.sampled_from([activation, "Clip", "HardSigmoid"]))
            given = {"LeakyRelu": [0.1], "Clip": [-0.5, 1.0], "HardSigmoid": [0.3, 0.5]}.get(activation)
            leak = {"activation_params": given} if given else {}
            m.node(op, *inputs, pads=[1, 1, 1, 1], activation=activation, **leak, **a)
        elif op == "FusedMatMul" and draw(st.booleans()):
            m.shape = [2, 3, 4]
            trans = {name: draw(ints(0, 1)) for name in ("transA", "transBatchA", "transB", "transBatchB")}
            rows = m.shape if not trans["transBatchA"] else [3, 2, 4]
            k = rows[1] if trans["transA"] else rows[2]
            inner = [5, k] if trans["transB"] else [k, 5]
            other = [rows[0], *inner] if not trans["transBatchB"] else [inner[0], rows[0], inner[1]]
            m.node(op, "x", m.tensor(numbers(draw, other)), **trans, **a)
        elif op == "FusedMatMul":
            t = draw(ints(0, 1))
            other = m.tensor(numbers(draw, [3, 3] if not t else [4, 3])) if draw(st.booleans()) else "x"
            t = 1 if other == "x" else t
            m.node(op, "x", other, transB=t, alpha=draw(st.sampled_from([None, 0.5])), **a)
        elif op in ("BiasGelu", "FastGelu"):
            inputs = ["x", m.tensor(numbers(draw, [3]))]
            m.node(op, *inputs[: 2 if op == "BiasGelu" else draw(ints(1, 2))], **a)
        else:
            m.shape = [1, 2, 3]
            (y,) = m.node("Tanh", "x")
            inputs = ["x", draw(st.sampled_from([y, m.tensor(numbers(draw, [1, 2, 3]))])), m.tensor(numbers(draw, [3]))]
            simple = op.startswith("SkipSimplified")
            inputs += [] if simple else [m.tensor(numbers(draw, [3]))]
            inputs += [m.tensor(numbers(draw, [3]))] if draw(st.booleans()) else []
            outputs = m.node(op, *inputs, outputs=4, epsilon=draw(st.sampled_from([None, 0.1])), **a)
            m.outputs = draw(
                st.sampled_from([outputs[:1], [outputs[0], outputs[3]]])
            )  # the rest onnxruntime leaves out
        return m

    return case


CASES: dict[str, Make] = {
    **{op: recurrent(op) for op in ("GRU", "LSTM", "RNN")},
    **{f"com.microsoft.{k}": fused(k)
       for k in ("BiasGelu", "FastGelu", "FusedConv", "FusedGemm", "FusedMatMul",
                 "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")},
}  # fmt: skip
