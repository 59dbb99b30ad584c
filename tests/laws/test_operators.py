"""Laws of operators: they compute what onnxruntime computes, and affine ones have the adjoint they claim."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from verifier.graph.from_onnx import check, load
from verifier.graph.graph import Affine
from verifier.graph.ops.adjoint import Adjoint, Constant, Tangent
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Concat, Repeat, Reshape, Take, Transpose
from verifier.graph.ops.table import supported
from verifier.graph.passes.runner import simplify
from verifier.values.errors import ModelError

from .onnx_cases import CASES
from .onnx_discrete import ALIKE
from .onnx_models import ints, numbers, shapes, smaller

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_supported_operator_has_a_case() -> None:
    assert {*CASES, *ALIKE} == set(supported()) and CASES.keys() >= set(ALIKE.values())


@pytest.mark.parametrize("op", sorted(CASES))
@quick
@given(data=st.data())
def test_agrees_with_onnxruntime(op: str, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    case = CASES[op](data.draw)
    path = Path(tmp_path_factory.getbasetemp()) / f"{op}.onnx"
    path.write_bytes(case.bytes())
    try:
        model = load(path)
    except ModelError as e:  # only what onnxruntime does not accept either, or what is empty
        assert "does not depend" not in str(e)
        refused(path.read_bytes(), case, e)
        assume(False)
    try:
        model.session()
        model.run(*(np.zeros((1, int(np.prod(s)))) for s in model.input_shapes))
    except ModelError:
        assume(False)
    check(model)
    check(model, simplify(model.graph))


def refused(data: bytes, case: Any, error: ModelError) -> None:
    """Fails if onnxruntime runs a model that was refused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    x = np.ones([1 if isinstance(d, str) else d for d in case.shape], np.float32)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        y = session.run(None, {"x": x})
    except Exception:  # onnxruntime has no common type of error
        return
    if "entries that depend on the input; at most" in str(error):
        return  # a limit of ours, which the line says: of many entries comparisons are too many
    if "leave gaps" in str(error) or "larger than its input" in str(error):
        return  # onnxruntime divides a negative size towards zero and reads past the input; we refuse
    sensible = all(a.size and (abs(a) < 1e30).all() for a in y)  # no window of padding only
    assert not sensible, f"onnxruntime accepts what was refused: {error}"


@dataclass
class AffineCase:
    op: Affine
    shapes: list[tuple[int, ...]]


def _dense(draw: Any) -> AffineCase:
    lead, n, m = draw(st.lists(ints(1, 3), max_size=2)), draw(ints(1, 4)), draw(ints(1, 4))
    W: Any = numbers(draw, [m, n])
    b = numbers(draw, [m]) if draw(st.booleans()) else None
    return AffineCase(Dense(W, b), [(*lead, n)])


def _scale(draw: Any) -> AffineCase:
    shape = draw(shapes())
    s, t = (numbers(draw, smaller(draw, shape)) if draw(st.booleans()) else None for _ in range(2))
    return AffineCase(Scale(s, t), [tuple(shape)])


def _add(draw: Any) -> AffineCase:
    signs = tuple(draw(st.lists(st.sampled_from([1, -1]), min_size=1, max_size=3)))
    return AffineCase(Add(signs), [tuple(draw(shapes()))] * len(signs))


def _sum(draw: Any) -> AffineCase:
    shape = draw(shapes())
    axes = tuple(sorted(draw(st.sets(ints(0, len(shape) - 1)))))
    return AffineCase(Sum(axes, draw(st.booleans())), [tuple(shape)])


def _conv(draw: Any) -> AffineCase:
    r, g = draw(ints(1, 2)), draw(ints(1, 2))
    inputs, outputs = g * draw(ints(1, 2)), g * draw(ints(1, 2))
    kernel, stride, dilation = ([draw(ints(1, 3)) for _ in range(r)] for _ in range(3))
    pads = tuple((draw(ints(0, 2)), draw(ints(0, 2))) for _ in range(r))
    b = numbers(draw, [outputs]) if draw(st.booleans()) else None
    op = Conv(numbers(draw, [outputs, inputs // g, *kernel]), b, tuple(stride), pads, tuple(dilation), g)
    return AffineCase(op, [(inputs, *(d * (k - 1) + draw(ints(1, 5)) for k, d in zip(kernel, dilation, strict=True)))])


def _reshape(draw: Any) -> AffineCase:
    shape = draw(shapes())
    return AffineCase(Reshape(tuple(draw(st.permutations(shape)))), [tuple(shape)])


def _transpose(draw: Any) -> AffineCase:
    shape = draw(shapes())
    return AffineCase(Transpose(tuple(draw(st.permutations(range(len(shape)))))), [tuple(shape)])


def _take(draw: Any) -> AffineCase:
    shape = tuple(draw(shapes()))
    index = draw(st.lists(ints(-1, int(np.prod(shape)) - 1), min_size=1, max_size=8))  # repeats and zeros
    return AffineCase(Take(np.array(index), (1, len(index))), [shape])


def _concat(draw: Any) -> AffineCase:
    shape = draw(shapes())
    axis = draw(ints(0, len(shape) - 1))
    sizes = draw(st.lists(ints(1, 3), min_size=1, max_size=3))
    return AffineCase(Concat(axis), [(*shape[:axis], n, *shape[axis + 1 :]) for n in sizes])


def _repeat(draw: Any) -> AffineCase:
    return AffineCase(Repeat(draw(ints(1, 3))), [tuple(draw(shapes()))])


PLAIN = {
    "Add": _add, "Concat": _concat, "Conv": _conv, "Dense": _dense, "Repeat": _repeat, "Reshape": _reshape,
    "Scale": _scale, "Sum": _sum, "Take": _take, "Transpose": _transpose,
}  # fmt: skip


def _adjoint(draw: Any) -> AffineCase:
    case, rows = PLAIN[draw(st.sampled_from(sorted(PLAIN)))](draw), draw(ints(1, 3))
    which = draw(ints(0, len(case.shapes) - 1))
    op = Adjoint(case.op, which, rows, tuple(case.shapes))
    return AffineCase(op, [(rows, *case.op.shape(*case.shapes))])


def _tangent(draw: Any) -> AffineCase:
    case, rows = PLAIN[draw(st.sampled_from(sorted(PLAIN)))](draw), draw(ints(1, 3))
    return AffineCase(Tangent(case.op, rows), [(rows, *s) for s in case.shapes])


def _constant(draw: Any) -> AffineCase:
    return AffineCase(Constant(numbers(draw, draw(shapes()))), [tuple(draw(shapes()))])


AFFINE = {**PLAIN, "Adjoint": _adjoint, "Constant": _constant, "Tangent": _tangent}


@pytest.mark.parametrize(
    ("name", "kind"), [*((n, k) for n in sorted(AFFINE) for k in ("numpy", "torch")), ("Dense", "sparse")]
)
@quick
@given(data=st.data())
def test_affine_laws(name: str, kind: str, data: Any) -> None:
    """⟨A, f(x) − f(0)⟩ = ⟨adjoint(A), x⟩; shapes are as announced; absolute() dominates; terms are counted."""
    case = AFFINE[name](data.draw)
    op, shapes_in = case.op, case.shapes
    convert: Any = np.asarray
    if kind == "torch":
        import torch

        convert = torch.from_numpy
        op = op.cast(lambda a: torch.from_numpy(np.ascontiguousarray(a)))
    elif kind == "sparse":
        from scipy.sparse import csr_array

        op = Dense(csr_array(op.W), op.b)  # type: ignore[attr-defined]
    out = op.shape(*shapes_in)
    x = [convert(numbers(data.draw, (2, *s))) for s in shapes_in]
    zero = [a * 0 for a in x]
    A = convert(numbers(data.draw, (3, *out)))
    y, y0 = op.evaluate(*x), op.evaluate(*zero)
    assert tuple(np.broadcast_shapes(tuple(y.shape), (2, *out))) == tuple(y.shape) == (2, *out)
    back = op.adjoint(A, *shapes_in)
    assert [tuple(b.shape) for b in back] == [(3, *s) for s in shapes_in]
    flat = lambda a: np.asarray(a).reshape(len(a), -1)  # noqa: E731
    left = flat(A) @ flat(y - y0).T
    right = sum(flat(b) @ flat(a).T for b, a in zip(back, x, strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(flat(op.linear(*x)), flat(y - y0), rtol=1e-12, atol=1e-12)
    size = op.absolute()
    magnitude = flat(size.evaluate(*(abs(a) for a in x)))
    assert (magnitude >= abs(flat(y)) * (1 - 1e-12)).all()
    assert all((np.asarray(s) >= abs(np.asarray(b)) * (1 - 1e-12)).all()
               for s, b in zip(size.adjoint(abs(A), *shapes_in), back, strict=True))  # fmt: skip
    ones = [convert(np.ones((1, *s))) for s in shapes_in]
    unit = op.absolute() if op.exact else _ones(op)
    assert np.asarray(unit.evaluate(*ones)).max(initial=0) <= op.terms(*shapes_in)
    counts = unit.adjoint(convert(np.ones((1, *out))), *shapes_in)
    assert max(np.asarray(c).max(initial=0) for c in counts) <= op.terms(*shapes_in)


def _ones(op: Affine) -> Affine:
    """The operator with one for every parameter that is not zero, which counts products."""

    def one(a: Any) -> Any:
        if "int" in str(a.dtype):  # an index
            return a
        return (a != 0).astype(np.float64) if hasattr(a, "astype") else (a != 0).double()

    return op.absolute().cast(one)


@quick
@given(data=st.data())
def test_casting_keeps_the_function(data: Any) -> None:
    case = AFFINE[data.draw(st.sampled_from(sorted(AFFINE)))](data.draw)
    x = [numbers(data.draw, (2, *s)) for s in case.shapes]
    half = case.op.cast(lambda a: np.asarray(a, np.float32) if a.dtype == np.float64 else a)
    y, z = case.op.evaluate(*x), half.evaluate(*(a.astype(np.float32) for a in x))
    assert z.dtype == np.float32
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PLAIN))
@quick
@given(data=st.data())
def test_transposed_and_batched(name: str, data: Any) -> None:
    """What stands in for adjoints and linear parts on several rows is these, on each row."""
    case, K = PLAIN[name](data.draw), data.draw(ints(1, 3))
    op, shapes_in = case.op, case.shapes
    x = [numbers(data.draw, (2, K, *s)) for s in shapes_in]
    many = op.batched(K, *shapes_in) or Tangent(op, K)
    y = many.evaluate(*x)
    assert y.shape == (2, *many.shape(*((K, *s) for s in shapes_in)))
    for k in range(K):
        np.testing.assert_allclose(y[:, k], op.linear(*(a[:, k] for a in x)), rtol=1e-12, atol=1e-12)
    A = numbers(data.draw, (2, K, *op.shape(*shapes_in)))
    back = op.transposed(K, *shapes_in)
    wanted = [np.stack(part, 1) for part in zip(*(op.adjoint(A[:, k], *shapes_in) for k in range(K)), strict=True)]
    for i, expected in enumerate(wanted):
        one = Adjoint(op, i, K, tuple(shapes_in)) if back is None else back[i]
        got = A * one if isinstance(one, int) else one.evaluate(A)
        assert got.shape == (2, K, *shapes_in[i])
        np.testing.assert_allclose(got, expected.reshape(got.shape), rtol=1e-12, atol=1e-12)
