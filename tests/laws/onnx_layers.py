"""Cases of ONNX operators that mix entries: products of matrices, norms, reductions, placing, resizing, recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from .onnx_models import Case, Draw, ints, numbers, shapes

Make = Callable[[Draw], Case]


def matmul(draw: Draw) -> Case:
    n, k, p = (draw(ints(1, 3)) for _ in range(3))
    lead = draw(st.lists(ints(1, 2), max_size=2))
    m = Case([*lead, n, k])
    (a,) = m.node("Tanh", "x")
    shape = draw(st.sampled_from([[k], [*lead, k, n], [*lead[1:], k, p]]))
    # The other side is made of the input's own entries.
    (flat,) = m.node("Reshape", "x", m.tensor(np.array([-1, 1])))
    total = int(np.prod(shape))
    (b,) = m.node("Gather", flat, m.tensor(np.arange(total) % (int(np.prod([*lead, n, k])))), axis=0)
    (b,) = m.node("Reshape", b, m.tensor(np.array(shape)))
    m.node("MatMul", a, b)
    return m


def gemm(draw: Draw) -> Case:
    n, k = draw(ints(1, 3)), draw(ints(1, 3))
    m = Case([n, k])
    (y,) = m.node("Tanh", "x")
    ta = draw(ints(0, 1))
    c = [m.tensor(numbers(draw, [1]))] if draw(st.booleans()) else []
    alpha, beta = (draw(st.sampled_from([None, 0.5, -2.0])) for _ in range(2))
    m.node("Gemm", "x", y, *c, transA=ta, transB=1 - ta, alpha=alpha, beta=beta)
    return m


EQUATIONS = (
    "bij,bjk->bik bij,bkj->bik bij,bij->b bij,bij->bij bij,jk bii->bi bij->jb bij-> ...ij,...jk->...ik bij,j->bi "
    "bij,ik->bkj bij,bjk,bkl->bil bij,kl->bijkl bij,bi->bj"
).split()


def einsum(draw: Draw) -> Case:
    equation = draw(st.sampled_from(EQUATIONS))
    m = Case([2, 3, 3])
    names = ["x"]
    for term in equation.partition("->")[0].split(",")[1:]:
        shape = [{"b": 2}.get(c, 3) for c in term.replace("...", "b")]
        if draw(st.booleans()):
            names.append(m.tensor(numbers(draw, shape)))
        else:
            (flat,) = m.node("Reshape", "x", m.tensor(np.array([-1])))
            index = np.arange(int(np.prod(shape))) % 18
            (y,) = m.node("Gather", *m.node("Tanh", flat), m.tensor(index), axis=0)
            names += m.node("Reshape", y, m.tensor(np.array(shape)))
    order = draw(st.booleans()) and len(names) == 2
    left, arrow, right = equation.partition("->")
    if order:
        names = names[::-1]
        left = ",".join(reversed(left.split(",")))
    m.node("Einsum", *names, equation=left + arrow + right)
    return m


def reduction(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        m = Case(shape, draw(st.sampled_from([11, 18, 20])))
        axes = draw(st.none() | st.lists(ints(0, len(shape) - 1), min_size=1, unique=True))
        axes = axes and [a - len(shape) if draw(st.booleans()) else a for a in axes]
        a: dict[str, Any] = {"keepdims": draw(st.sampled_from([None, 0, 1]))}
        inputs = m.node("Add", *m.node("Abs", "x"), m.tensor(0.1)) if op == "ReduceLogSum" else ["x"]
        if m.opset < 18:
            a["axes"] = axes
        elif axes is not None:
            inputs = [*inputs, m.tensor(np.array(axes, np.int64))]
        m.node(op, *inputs, **a)
        return m

    return case


def arg(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        m = Case(shape)
        y = m.node("Round", "x")[0] if draw(st.booleans()) else "x"
        axis = draw(ints(-len(shape), len(shape) - 1))
        last, keep = (draw(st.sampled_from([None, 0, 1])) for _ in range(2))
        (z,) = m.node(op, y, axis=axis, keepdims=keep, select_last_index=last)
        m.node("Cast", z, to=1)
        return m

    return case


def soft(op: str, *others: Make) -> Make:
    def case(draw: Draw) -> Case:
        if others and draw(ints(0, 2)) == 0:
            return draw(st.sampled_from(others))(draw)
        shape = draw(shapes())
        m = Case(shape, draw(st.sampled_from([9, 13])))
        axis = draw(ints(0 if m.opset < 13 else -len(shape), len(shape) - 1))
        (y,) = m.node("Mul", "x", m.tensor(draw(st.sampled_from([1.0, 5.0]))))
        m.node(op, y, axis=draw(st.sampled_from([None, axis])) if m.opset >= 13 or len(shape) > 1 else axis)
        return m

    return case


def masked(draw: Draw) -> Case:
    """Attention masks of minus infinity, added or chosen."""
    n = draw(ints(2, 4))
    m = Case([2, n, n], draw(st.sampled_from([9, 13])))
    keep = np.tril(np.ones((n, n), bool)) if draw(st.booleans()) else np.eye(n) + numbers(draw, [n, n]) > 0.5
    if draw(st.booleans()):
        (y,) = m.node("Add", "x", m.tensor(np.where(keep, 0.0, -np.inf)))
    else:
        (y,) = m.node("Where", m.tensor(keep), "x", m.tensor(-np.inf))
    m.node("Softmax", y, axis=-1 if m.opset > 9 else 2)
    return m


def layer_norm(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = [draw(ints(1, 3)), draw(ints(1, 3)), draw(ints(2, 4))]
        opset = {"LayerNormalization": 17, "RMSNormalization": 23}.get(op, 13)
        m = Case(shape, opset)
        axis = draw(st.sampled_from([-1, 1, 2]))
        inputs = ["x", m.tensor(numbers(draw, shape[axis:]))]
        if op == "LayerNormalization" and draw(st.booleans()):
            inputs.append(m.tensor(numbers(draw, shape[axis:])))
        most = {"LayerNormalization": 3, "SimplifiedLayerNormalization": 2}.get(op, 1)
        names = m.node(op, *inputs, outputs=most, axis=axis, epsilon=draw(st.sampled_from([None, 0.1])))
        m.outputs = draw(st.sampled_from([names[:1], names, names[1:] or names]))
        return m

    return case


def spatial_norm(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = [draw(ints(1, 2)), 4, draw(ints(2, 3)), 2]
        if op == "GroupNormalization":
            groups = draw(st.sampled_from([1, 2, 4]))
            m = Case(shape, draw(st.sampled_from([18, 21])))
            n = groups if m.opset < 21 else 4
            c = [m.tensor(numbers(draw, [n])) for _ in range(2)]
            m.node(op, "x", *c, num_groups=groups, epsilon=draw(st.sampled_from([None, 0.1])))
        elif op == "InstanceNormalization":
            m = Case(shape)
            m.node(
                op, "x", *(m.tensor(numbers(draw, [4])) for _ in range(2)), epsilon=draw(st.sampled_from([None, 0.1]))
            )
        elif op == "MeanVarianceNormalization":
            m = Case(shape)
            m.node(op, "x", axes=draw(st.sampled_from([None, [2, 3], [1], [0, 3]])))
        elif op == "LRN":
            m = Case(shape)
            m.node(op, "x", size=draw(st.sampled_from([1, 3, 5])), alpha=draw(st.sampled_from([None, 0.3])),
                   beta=draw(st.sampled_from([None, 0.5])), bias=draw(st.sampled_from([None, 2.0])))  # fmt: skip
        elif op == "LpNormalization":
            m = Case(shape)
            m.node(op, "x", axis=draw(st.sampled_from([None, 1, -2])), p=draw(st.sampled_from([None, 1, 2])))
        else:
            m = Case(shape)
            m.node(op, "x", p=draw(st.sampled_from([None, 1, 2, 3])))
        return m

    return case


def conv_transpose(draw: Draw) -> Case:
    r, groups = draw(ints(1, 2)), draw(ints(1, 2))
    shape = [draw(ints(1, 2)), groups * draw(ints(1, 2)), *(draw(ints(1, 4)) for _ in range(r))]
    kernel, stride, dilation = ([draw(ints(1, 3)) for _ in range(r)] for _ in range(3))
    m = Case(shape, 11)
    a: dict[str, Any] = {"strides": stride, "dilations": dilation, "group": groups}
    how = draw(st.sampled_from(["pads", "pads", "none", "auto", "shape"]))
    extra = [draw(ints(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    if how == "pads":
        a["pads"] = [draw(ints(0, 1)) for _ in range(2 * r)]
        a["output_padding"] = extra
    elif how == "auto":
        a["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    elif how == "shape":
        full = [(n - 1) * t + d * (k - 1) + 1 for n, t, d, k in zip(shape[2:], stride, dilation, kernel, strict=True)]
        a["output_shape"] = [max(1, f - draw(ints(0, 2))) for f in full]
        a["auto_pad"] = draw(st.sampled_from([None, "SAME_UPPER"]))
    inputs = ["x", m.tensor(numbers(draw, [shape[1], draw(ints(1, 2)), *kernel]))]
    if draw(st.booleans()):
        inputs.append(m.tensor(numbers(draw, [groups * m.tensors[0].dims[1]])))
    m.node("ConvTranspose", *inputs, **a)
    return m


def resize(draw: Draw) -> Case:
    mode = draw(st.sampled_from(["nearest", "nearest", "linear", "cubic"]))
    lead = [1, draw(ints(1, 2))]
    shape = [*lead, draw(ints(1, 4)), draw(ints(1, 4))]
    m = Case(shape, draw(st.sampled_from([10, 11, 13, 18])))
    scales = np.array([1, 1, *(draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 0.75])) for _ in range(2))], np.float32)
    if m.opset == 10:
        m.node("Resize", "x", m.tensor(scales), mode="nearest" if mode == "cubic" else mode)
        return m
    coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    a: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from([None, *coordinates]))}
    if mode == "nearest":
        rounding = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        a["nearest_mode"] = draw(st.sampled_from([None, *rounding]))
    if mode == "cubic":
        a["cubic_coeff_a"] = draw(st.sampled_from([None, -0.5]))
        a["exclude_outside"] = draw(st.sampled_from([None, 1]))
    if mode == "linear" and m.opset >= 18:
        a["antialias"] = draw(st.sampled_from([None, 1]))
    if mode == "linear" and draw(ints(0, 2)) == 0:  # of a part, with a value for what lies outside
        a = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 0.7}
        roi = m.tensor(np.array([0, 0, -0.2, 0.1, 1, 1, 0.8, 1.3], np.float32))
        m.node("Resize", "x", roi, m.tensor(scales), **a)
        return m
    empty = "" if m.opset >= 13 else m.tensor(np.zeros(0, np.float32))
    if draw(st.booleans()):
        m.node("Resize", "x", empty, m.tensor(scales), **a)
    else:
        sizes = np.array([*lead, *(draw(ints(1, 6)) for _ in range(2))])
        if m.opset == 18 and draw(st.booleans()):
            sizes, a["axes"] = sizes[2:], [2, 3]
            a["keep_aspect_ratio_policy"] = draw(st.sampled_from([None, "not_larger", "not_smaller"]))
        m.node("Resize", "x", empty, empty, m.tensor(sizes), **a)
    return m


def upsample(draw: Draw) -> Case:
    m = Case([1, 2, draw(ints(1, 3)), draw(ints(1, 3))], draw(st.sampled_from([7, 9])))
    scales = [1.0, 1.0, draw(st.sampled_from([1.0, 1.5, 2.0])), draw(st.sampled_from([2.0, 3.0]))]
    mode = draw(st.sampled_from([None, "nearest", "linear"]))
    if m.opset < 9:
        m.node("Upsample", "x", scales=scales, mode=mode)
    else:
        m.node("Upsample", "x", m.tensor(np.array(scales, np.float32)), mode=mode)
    return m


def scatter(op: str) -> Make:
    def case(draw: Draw) -> Case:
        m = Case([3, 4], 9 if op == "Scatter" else draw(st.sampled_from([16, 18])))
        (y,) = m.node("Tanh", "x")
        rng = np.random.default_rng(draw(ints(0, 999)))
        if op == "ScatterND":
            depth = draw(ints(1, 2))
            index = np.stack([rng.integers(-d, d, 3) for d in (3, 4)[:depth]], -1)
            size = [3, *([4] if depth == 1 else [])]
        else:
            index, size = rng.integers(-3, 3, (3, 4)), [3, 4]
            index = abs(index) if op == "Scatter" else index
            index, size = (index[:2], [2, 4]) if draw(st.booleans()) else (index, size)
            index = np.minimum(index, 2)
        if draw(st.booleans()):
            updates = m.tensor(numbers(draw, size))
        else:
            (z,) = m.node("Gather", *m.node("Reshape", y, m.tensor(np.array([-1]))),
                          m.tensor(rng.integers(0, 12, int(np.prod(size)))), axis=0)  # fmt: skip
            (updates,) = m.node("Reshape", z, m.tensor(np.array(size)))
        active = updates.startswith("Reshape")
        data = m.tensor(numbers(draw, [3, 4])) if active and draw(st.booleans()) else "x"
        a: dict[str, Any] = {}
        if op != "ScatterND":
            a["axis"] = draw(st.sampled_from([None, 0]))
        if op != "Scatter":
            a["reduction"] = draw(st.sampled_from([None, "none", "add"] + ["mul", "max", "min"] * (m.opset >= 18)))
        (z,) = m.node(op, data, m.tensor(index.astype(np.int64)), updates, **a)
        m.node("Sub", z, "x")
        return m

    return case


def gathered(op: str) -> Make:
    def case(draw: Draw) -> Case:
        rng = np.random.default_rng(draw(ints(0, 999)))
        m = Case([2, 3, 4])
        if op == "GatherElements":
            axis = draw(ints(-3, 2))
            n = [2, 3, 4][axis]
            m.node(op, "x", m.tensor(rng.integers(-n, n, (2, draw(ints(1, 3)), 2))), axis=axis)
        elif op == "GatherND":
            b = draw(ints(0, 1))
            index = rng.integers(-3, 3, (2, 1, 1)) if b else rng.integers(-2, 2, (2, 2))
            m.node(op, "x", m.tensor(index), batch_dims=b)
        elif op == "Compress":
            axis = draw(st.sampled_from([None, 1, -1]))
            m.node(op, "x", m.tensor(rng.random(24 if axis is None else [2, 3, 4][axis]) < 0.6), axis=axis)
        elif op == "ReverseSequence":
            m.node(op, "x", m.tensor(rng.integers(1, 3, 3)), batch_axis=1, time_axis=0)
        elif op == "Trilu":
            m.opset = 14
            k = [m.tensor(np.array(draw(ints(-2, 2))))] if draw(st.booleans()) else []
            m.node(op, "x", *k, upper=draw(st.sampled_from([None, 0, 1])))
        elif op == "SpaceToDepth":
            m.shape = [1, 2, 4, 6]
            m.node(op, "x", blocksize=2)
        else:
            axis = draw(ints(-3, 2))
            m.opset = 14
            m.node(op, "x", m.tensor(np.array(axis)), exclusive=draw(st.sampled_from([None, 0, 1])),
                   reverse=draw(st.sampled_from([None, 0, 1])))  # fmt: skip
        return m

    return case


def branch(draw: Draw) -> Case:
    """An If whose condition is known."""
    m = Case([2, 3])
    sides = [
        helper.make_graph([helper.make_node(op, ["x"], [op])], op, [], [helper.make_tensor_value_info(op, 1, [2, 3])])
        for op in ("Relu", "Tanh")
    ]
    (y,) = m.node("If", m.tensor(np.array(draw(st.booleans()))), then_branch=sides[0], else_branch=sides[1])
    m.node("Neg", y)
    return m


def mean(draw: Draw) -> Case:
    m = Case([2, 3])
    (y,) = m.node("Relu", "x")
    m.tensor(numbers(draw, [3]), "c")
    m.node("Mean", *draw(st.permutations(["x", *draw(st.lists(st.sampled_from([y, "c"]), max_size=3))])))
    return m


CASES: dict[str, Make] = {
    "ArgMax": arg("ArgMax"),
    "ArgMin": arg("ArgMin"),
    "Compress": gathered("Compress"),
    "ConvTranspose": conv_transpose,
    "CumSum": gathered("CumSum"),
    "Einsum": einsum,
    "GatherElements": gathered("GatherElements"),
    "GatherND": gathered("GatherND"),
    "GlobalLpPool": spatial_norm("GlobalLpPool"),
    "GroupNormalization": spatial_norm("GroupNormalization"),
    "If": branch,
    "InstanceNormalization": spatial_norm("InstanceNormalization"),
    "LRN": spatial_norm("LRN"),
    "LayerNormalization": layer_norm("LayerNormalization"),
    "LogSoftmax": soft("LogSoftmax"),
    "LpNormalization": spatial_norm("LpNormalization"),
    "Mean": mean,
    "MeanVarianceNormalization": spatial_norm("MeanVarianceNormalization"),
    "RMSNormalization": layer_norm("RMSNormalization"),
    **{f"Reduce{k}": reduction(f"Reduce{k}")
       for k in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Min", "Prod", "SumSquare")},
    "Resize": resize,
    "ReverseSequence": gathered("ReverseSequence"),
    "Scatter": scatter("Scatter"),
    "ScatterElements": scatter("ScatterElements"),
    "ScatterND": scatter("ScatterND"),
    "SimplifiedLayerNormalization": layer_norm("SimplifiedLayerNormalization"),
    "Softmax": soft("Softmax", masked),
    "SpaceToDepth": gathered("SpaceToDepth"),
    "Trilu": gathered("Trilu"),
    "Upsample": upsample,
}  # fmt: skip
