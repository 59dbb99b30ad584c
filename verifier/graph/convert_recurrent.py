"""Recurrent ONNX operators, one step after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_curves import activation
from verifier.graph.convert_kinks import above, below
from verifier.graph.convert_mixed import joined, moved
from verifier.graph.convert_products import product
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Concat

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_STEPS = 2048
State = tuple[Value, ...]


@dataclass(frozen=True)
class _Cell:
    """One direction: its weights, and its activation functions by number."""

    call: Call
    W: np.ndarray
    R: np.ndarray
    b: np.ndarray
    c: np.ndarray
    P: np.ndarray | None
    apply: Callable[[int, int], int]
    H: int

    def gates(self, x: int, h: Value) -> int:
        """`W x + R h + b + c` for all gates side by side, where `x` is `W x + b` already."""
        return _plus(self.call, x, _dense(self.call, self.R, self.c, h))

    def part(self, x: int, k: int, count: int = 1) -> int:
        """The k-th gate."""
        return self.call.take(x, self.call.positions(x)[:, k * self.H : (k + count) * self.H])


def _dense(call: Call, W: np.ndarray, b: np.ndarray, h: Value) -> Value:
    if isinstance(h, np.ndarray):
        return h @ W.T + b
    return call.add(Dense(W, b if b.any() else None), h)


def _plus(call: Call, x: int, y: Value) -> int:
    if isinstance(y, int):
        return total(call, [(1, x), (1, y)])
    return scale(call, x, None, y) if y.any() else x


def _times(call: Call, x: int, y: Value) -> Value:
    if isinstance(y, int):
        return product(call, x, y)
    return scale(call, x, y, None) if y.any() else np.zeros(np.broadcast_shapes(call.shape(x), y.shape))


def recurrent(call: Call) -> list[Value]:
    """LSTM, GRU and RNN."""
    x = call.activation(0)
    T, B, _ = call.shape(x)
    W, R = call.parameter(1), call.parameter(2)
    D, H, n = W.shape[0], R.shape[2], _GATES[call.op]
    if T > _STEPS:
        raise ValueError(f"{call.op} of {T} steps")
    if call.get("layout", 0):  # nor does onnxruntime
        raise ValueError(f"{call.op} with layout 1")
    lengths = call.constant(4).astype(np.int64) if call.has(4) else np.full(B, T)
    if lengths.shape != (B,) or ((lengths < 1) | (lengths > T)).any():
        raise ValueError(f"{call.op} of {B} sequences of lengths {lengths.tolist()}, of {T} steps at most")
    bias = call.parameter(3) if call.has(3) else np.zeros((D, 2 * n * H))
    starts = [_initial(call, i, D, B, H) for i in ((5, 6) if call.op == "LSTM" else (5,))]
    direction = call.get("direction", "forward")
    if D != (2 if direction == "bidirectional" else 1):
        raise ValueError(f"{call.op} with weights for {D} directions, {direction}")
    runs, ends = [], []
    for d in range(D):
        P = call.parameter(7)[d] if call.op == "LSTM" and call.has(7) else None
        cell = _Cell(call, W[d], R[d], bias[d, : n * H], bias[d, n * H :], P, _functions(call, d, D), H)
        backwards = direction == "reverse" or d == 1
        steps, end = _run(cell, x, tuple(s[d] for s in starts), lengths, backwards)
        runs.append(steps)
        ends.append(end)
    lead = lambda v: call.reshape(v, (1, *call.shape(v)))  # noqa: E731
    results: list[Value] = [np.zeros(0)] * (3 if call.op == "LSTM" else 2)
    if call.used[0]:
        each = [_joined(call, [lead(runs[d][t]) for d in range(D)]) for t in range(T)]
        results[0] = _joined(call, [lead(v) for v in each])
    for k in range(len(results) - 1):
        if len(call.used) > k + 1 and call.used[k + 1]:
            results[k + 1] = _joined(call, [lead(end[k]) for end in ends])
    return results


def _joined(call: Call, parts: list[int]) -> int:
    return call.add(Concat(0), *parts) if len(parts) > 1 else parts[0]


def _initial(call: Call, i: int, D: int, B: int, H: int) -> list[Value]:
    """The state that each direction starts with."""
    if not call.has(i):
        return [np.zeros((B, H)) for _ in range(D)]
    if call.is_constant(i):
        return list(np.broadcast_to(call.parameter(i), (D, B, H)))
    h = call.activation(i)
    return [call.take(h, call.positions(h)[d]) for d in range(D)]


def _functions(call: Call, d: int, D: int) -> Callable[[int, int], int]:
    """Activation functions of direction `d` by their number; parameters are dealt out to those that take some."""
    default = _FUNCTIONS[call.op]
    names = [n.decode() if isinstance(n, bytes) else n for n in call.get("activations") or default * D]
    alphas, betas = list(call.get("activation_alpha") or ()), list(call.get("activation_beta") or ())
    given = []
    for name in names:
        a = alphas.pop(0) if alphas and name.lower() in _ALPHA else None
        b = betas.pop(0) if betas and name.lower() in _BETA else None
        given.append((name, a, b))
    mine = given[d * len(default) : (d + 1) * len(default)]
    return lambda k, x: activation(call, mine[k][0], _clipped(call, x, k), mine[k][1], mine[k][2])


def _clipped(call: Call, x: int, k: int) -> int:
    """What goes into the k-th activation function, kept within `clip`; of a cell's state onnxruntime leaves it be."""
    most = call.get("clip")
    if most is None or k == 2:
        return x
    return below(call, above(call, x, np.array(-float(most))), np.array(float(most)))


_ALPHA, _BETA = ("leakyrelu", "elu", "hardsigmoid", "affine", "scaledtanh"), ("hardsigmoid", "affine", "scaledtanh")


def _run(cell: _Cell, x: int, state: State, lengths: np.ndarray, backwards: bool) -> tuple[list[int], list[int]]:
    """The hidden state at every place of the input, zero behind a sequence's end, and the last state."""
    call = cell.call
    T, B = call.shape(x)[:2]
    inputs = call.add(Dense(cell.W, cell.b if cell.b.any() else None), x)
    at, rows = call.positions(inputs), np.arange(B)
    step = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[call.op]
    time = np.arange(T)[:, None]
    place = np.where(time < lengths, lengths - 1 - time if backwards else time, -1)  # read at a step, and back
    steps: list[int] = []
    for k in range(int(lengths.max())):
        new = step(cell, call.take(inputs, at[np.maximum(place[k], 0), rows]), state)
        state = tuple(_kept(call, place[k] >= 0, a, b) for a, b in zip(new, state, strict=True))
        assert isinstance(state[0], int)
        steps.append(state[0])
    return _placed(call, steps, place), [v for v in state if isinstance(v, int)]


def _kept(call: Call, going: np.ndarray, new: Value, old: Value) -> Value:
    """The new state of the sequences that go on, the old one of those that have ended."""
    if going.all():
        return new
    both = joined(call, [new, old], 0)
    rows = np.arange(len(going))
    return moved(call, both, lambda a: a[np.where(going, rows, len(going) + rows)])


def _placed(call: Call, steps: list[int], place: np.ndarray) -> list[int]:
    """The states of steps, each a `(batch, size)`, in the order of the input."""
    if (place == place[:, :1]).all() and (place >= 0).all():
        return [steps[k] for k in place[:, 0]]
    every = call.add(Concat(0), *steps) if len(steps) > 1 else steps[0]
    at = call.positions(every).reshape(len(steps), *call.shape(steps[0]))
    rows = np.arange(place.shape[1])
    return [call.take(every, np.where(k[:, None] >= 0, at[np.maximum(k, 0), rows], -1)) for k in place]


def _lstm(cell: _Cell, x: int, state: State) -> State:
    h, c = state
    call, (i, o, f) = cell.call, range(3)
    z = cell.gates(x, h)
    gate = {k: cell.part(z, k) for k in range(4)}
    if cell.P is not None:
        for k in (i, f):
            gate[k] = _peep(cell, gate[k], c, k)
    used = cell.apply(0, gate[i])
    coupled = call.get("input_forget", 0)
    forget = scale(call, used, np.array(-1.0), np.array(1.0)) if coupled else cell.apply(0, gate[f])
    kept = _times(call, forget, c)
    new = product(call, used, cell.apply(1, gate[3]))
    c = _plus(call, new, kept)
    if cell.P is not None:
        gate[o] = _peep(cell, gate[o], c, o)
    return product(call, cell.apply(0, gate[o]), cell.apply(2, c)), c


def _peep(cell: _Cell, gate: int, c: Value, k: int) -> int:
    """The gate plus its weights times the cell's state."""
    assert cell.P is not None
    p = cell.P[k * cell.H : (k + 1) * cell.H]
    return _plus(cell.call, gate, scale(cell.call, c, p, None) if isinstance(c, int) else c * p)


def _gru(cell: _Cell, x: int, state: State) -> State:
    (h,) = state
    call, H = cell.call, cell.H
    first = _plus(call, cell.part(x, 0, 2), _dense(call, cell.R[: 2 * H], cell.c[: 2 * H], h))
    z, r = cell.apply(0, cell.part(first, 0)), cell.apply(0, cell.part(first, 1))
    R, c = cell.R[2 * H :], cell.c[2 * H :]
    if call.get("linear_before_reset", 0):
        inner = _times(call, r, _dense(call, R, c, h))
    else:
        inner = _dense(call, R, c, _times(call, r, h))
    n = cell.apply(1, _plus(call, cell.part(x, 2), inner))
    if isinstance(h, int):  # (1 − z)∘n + z∘h = n + z∘(h − n)
        return (total(call, [(1, n), (1, product(call, z, total(call, [(1, h), (-1, n)])))]),)
    return (total(call, [(1, n), (1, product(call, z, scale(call, n, np.array(-1.0), h)))]),)


def _rnn(cell: _Cell, x: int, state: State) -> State:
    return (cell.apply(0, cell.gates(x, state[0])),)
