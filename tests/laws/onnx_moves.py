"""Cases of ONNX operators that move entries or tell shapes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from hypothesis import strategies as st
from onnx import numpy_helper

from .onnx_models import Case, Draw, ints, numbers, shapes, smaller


def flatten(draw: Draw) -> Case:
    shape = draw(shapes(0))
    m = Case(shape, draw(st.sampled_from([9, 13])))
    m.node("Flatten", "x", axis=draw(st.none() | ints(0 if m.opset < 11 else -len(shape), len(shape))))
    return m


def reshape(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape, draw(st.sampled_from([7, 14])))
    target = draw(st.permutations(shape))
    split = draw(ints(0, len(target)))
    target = [*target[:split], prod(target[split:])] if draw(st.booleans()) else target
    target = [0 if i < len(shape) and shape[i] == d and draw(st.booleans()) else d for i, d in enumerate(target)]
    if draw(st.booleans()):
        target[draw(ints(0, len(target) - 1))] = -1
    m.node("Reshape", "x", m.tensor(np.array(target, np.int64)))
    return m


def axes_moved(op: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        m = Case(shape, draw(st.sampled_from([7, 11, 13])))
        if op == "Squeeze":
            ones = [i for i, d in enumerate(shape) if d == 1]
            axes = draw(st.lists(st.sampled_from(ones), min_size=1, unique=True)) if ones else None
            rank = len(shape)
        else:
            rank = len(shape) + 2
            axes = draw(st.lists(ints(0, rank - 1), min_size=2, max_size=2, unique=True))
        if axes and m.opset >= 11:
            axes = [a - rank if draw(st.booleans()) else a for a in axes]
        if m.opset < 13:
            m.node(op, "x", axes=axes)
        else:
            m.node(op, "x", *([m.tensor(np.array(axes, np.int64))] if axes else []))
        return m

    return case


def transpose(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape)
    m.node("Transpose", "x", perm=draw(st.none() | st.permutations(range(len(shape)))))
    return m


def concat(draw: Draw) -> Case:
    shape = draw(shapes())
    axis = draw(ints(0, len(shape) - 1))
    m = Case(shape)
    (y,) = m.node("Neg", "x")
    shape[axis] = draw(ints(1, 3))
    m.tensor(numbers(draw, shape), "c")
    names = draw(st.permutations(["x", *draw(st.lists(st.sampled_from(["x", y, "c"]), max_size=3))]))
    m.node("Concat", *names, axis=axis - (len(shape) if draw(st.booleans()) else 0))
    return m


def slice_(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape, draw(st.sampled_from([7, 13])))
    axes = draw(st.none() | st.lists(ints(0, len(shape) - 1), min_size=1, unique=True))
    count = len(shape) if axes is None else len(axes)
    bound = ints(-6, 6) | st.sampled_from([-(2**63), 2**63 - 1, 2**31 - 1])
    starts, ends = ([draw(bound) for _ in range(count)] for _ in range(2))
    if m.opset < 10:
        m.node("Slice", "x", starts=starts, ends=ends, axes=axes)
        return m
    steps = draw(st.none() | st.lists(st.sampled_from([1, 2, -1, -2]), min_size=count, max_size=count))
    inputs = [m.tensor(np.array(v, np.int64)) for v in (starts, ends)]
    inputs += [m.tensor(np.array(axes, np.int64))] if axes is not None else [""]
    inputs += [m.tensor(np.array(steps, np.int64))] if steps is not None else [""]
    while not inputs[-1]:
        inputs.pop()
    m.node("Slice", "x", *inputs)
    return m


def gather(draw: Draw) -> Case:
    shape = draw(shapes())
    axis = draw(ints(-len(shape), len(shape) - 1))
    n = shape[axis]
    index = draw(st.lists(ints(-n, n - 1), min_size=1, max_size=4))
    a = np.array(index[0] if draw(st.booleans()) else index, np.int64)
    m = Case(shape)
    m.node("Gather", "x", m.tensor(a), axis=axis)
    return m


def split(draw: Draw) -> Case:
    shape = draw(shapes())
    axis = draw(ints(0, len(shape) - 1))
    m = Case(shape, draw(st.sampled_from([7, 13])))
    sizes = draw(st.lists(ints(1, 3), min_size=1, max_size=3))
    even = draw(st.booleans())
    sizes = [sizes[0]] * len(sizes) if even else sizes
    shape[axis] = sum(sizes)
    a, inputs = {"axis": axis}, ["x"]
    if not even and m.opset < 13:
        a["split"] = sizes
    elif not even:
        inputs.append(m.tensor(np.array(sizes, np.int64)))
    names = m.node("Split", *inputs, outputs=len(sizes), **a)
    m.outputs = names[draw(ints(0, len(names) - 1)) :]
    return m


def pad(draw: Draw) -> Case:
    shape = draw(st.lists(ints(3, 4), min_size=1, max_size=3))
    m = Case(shape, draw(st.sampled_from([7, 13, 18])))
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge"]))
    pads = [draw(ints(-1 if mode == "constant" else 0, 2)) for _ in range(2 * len(shape))]
    value = draw(st.sampled_from([None, 0.0, 1.5])) if mode == "constant" else None
    if m.opset < 11:
        m.node("Pad", "x", pads=pads, value=value, mode=mode)
        return m
    inputs = ["x", m.tensor(np.array(pads, np.int64)), *([m.tensor(np.array(value, np.float32))] if value else [])]
    if m.opset >= 18 and draw(st.booleans()):
        axis = draw(ints(-len(shape), len(shape) - 1))
        inputs[1] = m.tensor(np.array(pads[:2], np.int64))
        inputs = [*inputs, *([""] if len(inputs) == 2 else []), m.tensor(np.array([axis], np.int64))]
    m.node("Pad", *inputs, mode=mode)
    return m


def expand(draw: Draw) -> Case:
    big = draw(shapes())
    m = Case(smaller(draw, big) or [1])
    m.node("Expand", "x", m.tensor(np.array(smaller(draw, big) if draw(st.booleans()) else big, np.int64)))
    return m


def tile(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape)
    m.node("Tile", "x", m.tensor(np.array([draw(ints(1, 3)) for _ in shape], np.int64)))
    return m


def depth_to_space(draw: Draw) -> Case:
    b = draw(ints(1, 3))
    m = Case([draw(ints(1, 2)), b * b * draw(ints(1, 2)), 2, 3])
    m.node("DepthToSpace", "x", blocksize=b, mode=draw(st.sampled_from([None, "DCR", "CRD"])))
    return m


def dropout(draw: Draw) -> Case:
    m = Case([2, 3], draw(st.sampled_from([7, 13])))
    m.node("Dropout", "x", outputs=draw(ints(1, 2)))
    return m


def shape_arithmetic(op: str) -> Callable[[Draw], Case]:
    """What exporters write for `x.view(x.size(0), -1)` and the like."""

    def case(draw: Draw) -> Case:
        symbolic = draw(st.booleans())
        m = Case(["N" if symbolic else 1, draw(ints(1, 3)), 4])
        if op == "Size":
            (n,) = m.node("Size", "x")
            (n,) = m.node("Unsqueeze", n, m.tensor(np.array([0])))
            (t,) = m.node("Concat", m.tensor(np.array([1])), n, axis=0)
            m.shape[0] = 1
        elif op == "Shape":
            (s,) = m.node("Shape", "x")
            (n,) = m.node("Gather", s, m.tensor(np.array(0)), axis=0)
            (n,) = m.node("Unsqueeze", n, m.tensor(np.array([0])))
            (n,) = m.node("Mul", n, m.tensor(np.array([2])))
            (n,) = m.node("Div", n, m.tensor(np.array([2])))
            (t,) = m.node("Concat", n, m.tensor(np.array([-1])), axis=0)
        else:
            (k,) = m.node("Constant", value=numpy_helper.from_array(np.array([1], np.int64)))
            value = numpy_helper.from_array(np.array([-1], np.int64)) if draw(st.booleans()) else None
            (t,) = m.node("ConstantOfShape", k, value=value)
            if value is None:
                (t,) = m.node("Sub", t, m.tensor(np.array([1])))
        m.node("Reshape", "x", t)
        return m

    return case
