"""ATen operators that are functions of every entry."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log, pi
from typing import Any

import torch
from torch import Tensor

from verifier.graph.aten import one_row, scaled, spread, total
from verifier.graph.aten_call import Activation, Call, Rule, refuse
from verifier.graph.aten_products import div, product, size
from verifier.graph.ended import Side, may_end, sheltered
from verifier.graph.ops.affine import Add, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Take
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step


def relu(c: Call) -> Activation:
    """ReLU and LeakyReLU."""
    slope = c.constant(c.args.get("negative_slope", 0.0))  # rounded to the type, as the kernel does
    return c.add(Relu(float(slope)), c.activation())


def clamp(c: Call) -> Activation:
    """Clamping to numbers or tensors."""
    low, high = (c.args.get(k, c.args.get(f"{k}_val")) for k in ("min", "max"))
    if any(isinstance(v, (Tensor, Activation)) for v in (low, high)):
        x = c.activation()
        x = x if low is None else extreme(c, x, low, 1)
        return x if high is None else extreme(c, x, high, -1)
    return between(c, -inf if low is None else low, inf if high is None else high)


def between(c: Call, low: float, high: float, x: Activation | None = None) -> Activation:
    """`max(x, a) = a + relu(x − a)`, then `min(x, b) = b − relu(b − x)`."""
    x, low = x or c.activation(), min(low, high)  # torch lets the upper bound win
    if low > -inf:
        x = x if low == 0 else total(c, x, 1, -low, 1)
        x = c.add(Relu(), x)
        x = x if low == 0 else total(c, x, 1, low, 1)
    if high < inf:
        x = total(c, high, 1, c.add(Relu(), total(c, high, 1, x, -1)), -1)
    return x


def extreme(c: Call, x: Activation, y: Any, sign: int) -> Activation:
    """`max(x, y) = y + relu(x − y)`, or (sign -1) `min(x, y) = y − relu(y − x)`; y may be constant."""
    step = c.add(Relu(), total(c, x, sign, y, -sign))
    return total(c, step, sign, y, 1)


def extreme_of(sign: int) -> Rule:
    """maximum and minimum of two tensors."""

    def rule(c: Call) -> Activation:
        a, b = c.args["self"], c.args["other"]
        return extreme(c, a, b, sign) if isinstance(a, Activation) else extreme(c, b, a, sign)

    return rule


def curve(kind: str, *parameters: float, factor: float = 1.0, shift: float = 0.0, inner: float = 1.0) -> Rule:
    """`factor·f(inner·x) + shift`, by the kind of f."""

    def rule(c: Call) -> Activation:
        x = scaled(c, c.activation(), inner)
        y = scaled(c, c.add(Curve(kind, parameters), x), factor)
        return total(c, y, 1, shift, 1) if shift else y

    return rule


def step(kind: str) -> Rule:
    """A step function."""

    def rule(c: Call) -> Activation:
        if c.args.get("decimals"):
            refuse("it rounds to decimals; round a multiple instead, and divide")
        return c.add(Step(kind), c.activation())

    return rule


def elu(c: Call) -> Activation:
    """ELU, SELU and CELU."""
    name = c.op.name().partition("::")[2].partition(".")[0]
    if name == "selu":
        a, b, gain = 1.6732632423543772, 1.0, 1.0507009873554805
    elif name == "celu":
        a = b = c.number(c.args["alpha"])
        gain = 1.0
    else:
        a, gain = c.number(c.args["alpha"]), c.number(c.args["scale"])
        b = 1.0 / c.number(c.args["input_scale"])
    return c.add(Curve("elu", (a, b, gain)), c.activation())


def gelu(c: Call) -> Activation:
    """GELU, exact or by tanh."""
    return c.add(Curve("gelu_tanh" if c.args["approximate"] == "tanh" else "gelu"), c.activation())


def softplus(c: Call) -> Activation:
    """`log(1 + exp(beta·x)) / beta`; what the kernel leaves off above the threshold is below single precision."""
    x, beta, threshold = c.activation(), c.number(c.args["beta"]), c.number(c.args["threshold"])
    z = scaled(c, x, beta)
    y = scaled(c, c.add(Curve("softplus"), z), 1.0 / beta)
    if threshold >= 16 and c.dtype == torch.float32 or threshold >= 36:
        return y
    above = c.add(Step("positive"), total(c, z, 1, -threshold, 1))
    return c.add(Add((1, 1)), y, product(c, above, c.add(Add((1, -1)), x, y)))


def log_sigmoid(c: Call) -> Activation:
    """`−softplus(−x)`."""
    return scaled(c, c.add(Curve("softplus"), scaled(c, c.activation(), -1)), -1)


def hard_sigmoid(c: Call) -> Activation:
    """`min(max(x + 3, 0), 6) / 6`."""
    return scaled(c, between(c, 0.0, 6.0, total(c, c.activation(), 1, 3.0, 1)), 1.0 / 6.0)


def threshold(c: Call) -> Activation:
    """x above a threshold, a value elsewhere."""
    x, t, value = c.activation(), c.number(c.args["threshold"]), c.number(c.args["value"])
    y = c.add(Step("threshold", t), x)
    if value == 0.0:
        return y
    above = c.add(Step("positive"), total(c, x, 1, -t, 1))
    return c.add(Add((1, 1)), y, total(c, scaled(c, above, -value), 1, value, 1))


def prelu(c: Call) -> Activation:
    """`relu(x) − w∘relu(−x)`; the slopes stay the module's own."""
    x, w = c.activation(), c.constant(c.args["weight"])
    if w.numel() > 1:
        x = x if x.lead else refuse("its slopes stand along the batch axis")
        w = w.reshape(-1, *([1] * (len(x.shape) - 1)))
    below = c.add(Scale(w.reshape(()) if w.numel() == 1 else w), c.add(Relu(), scaled(c, x, -1)))
    return c.add(Add((1, -1)), c.add(Relu(), x), below)


def absolute(c: Call) -> Activation:
    """`|x|`."""
    return size(c, c.activation())


def acos(c: Call) -> Activation:
    """`π/2 − asin(x)`."""
    return total(c, c.add(Curve("asin"), c.activation()), -1, pi / 2, 1)


def truncate(c: Call) -> Activation:
    """x without what follows its decimal point."""
    x = c.activation()
    sides = [c.add(Step("floor"), c.add(Relu(), v)) for v in (x, scaled(c, x, -1))]
    return c.add(Add((1, -1)), *sides)


def power(c: Call) -> Activation:
    """Powers: of activations to numbers, of numbers to activations, of activations to each other."""
    x, p = c.args["self"], c.args["exponent"]
    if isinstance(x, Activation) and not isinstance(p, Activation):
        return _to_constant(c, x, p)
    if isinstance(x, Activation):
        return c.add(Curve("exp"), product(c, c.add(Curve("log"), x), p))
    base = torch.as_tensor(x, dtype=torch.float64)
    if bool((base <= 0).any()):
        refuse("a base that is not positive is raised to a power that depends on the input")
    return c.add(Curve("exp"), scaled(c, p, base.log() if base.ndim else log(float(base))))


def _to_constant(c: Call, x: Activation, p: Any) -> Activation:
    p = torch.as_tensor(p, dtype=torch.float64)
    if p.numel() > 1 and not bool((p == p.reshape(-1)[0]).all()):
        refuse("it raises to several different powers")
    x, e = spread(c, x, torch.broadcast_shapes(c.full(x), p.shape)), float(p.reshape(-1)[0])
    if e == 0.0:
        return total(c, scaled(c, x, 0.0), 1, 1.0, 1)
    if e == 1.0:
        return x
    return c.add(Curve("square") if e == 2.0 else Curve("power", (e,)), x)


# --- comparisons: truth values are the numbers 0 and 1 ---


def compare(kind: str, turned: bool = False, opposite: bool = False) -> Rule:
    """A step of `self − other`, or (turned) of `other − self`, or one less that."""

    def rule(c: Call) -> Activation:
        sign = -1 if turned else 1
        y = c.add(Step(kind), total(c, c.args["self"], sign, c.args["other"], -sign))
        return _not(c, y) if opposite else y

    return rule


def _not(c: Call, x: Activation) -> Activation:
    return total(c, 1.0, 1, x, -1)


def logical(op: str) -> Rule:
    """Logic on truth values: `a and b = relu(a + b − 1)`."""

    def rule(c: Call) -> Activation:
        if op == "not":
            return _not(c, c.activation())
        a, b = c.args["self"], c.args["other"]
        both = c.add(Relu(), total(c, total(c, a, 1, b, 1), 1, -1.0, 1))
        if op == "and":
            return both
        return total(c, total(c, a, 1, b, 1), 1, scaled(c, both, 1.0 if op == "or" else 2.0), -1)

    return rule


def where(c: Call) -> Activation:
    """A choice between two: `b + condition∘(a − b)`, or a choice of entries where the condition is constant."""
    return _chosen(c, c.args["condition"], c.args["self"], c.args["other"])


def masked_fill(c: Call) -> Activation:
    """A value where the mask is true."""
    return _chosen(c, c.args["mask"], c.args["value"], c.args["self"])


def _chosen(c: Call, condition: Any, a: Any, b: Any) -> Activation:
    if not isinstance(condition, Activation):
        keep, nothing = condition.to(c.device), torch.zeros((), dtype=c.dtype, device=c.device)
        sides = [torch.where(m, nothing if isinstance(v, Activation) else c.constant(v), nothing)
                 for v, m in ((a, keep), (b, ~keep))]  # fmt: skip
        y: Any = sides[0] + sides[1]  # minus infinity in it is for a softmax to take in
        for v, m in ((a, keep), (b, ~keep)):
            if isinstance(v, Activation):
                y = total(c, _kept(c, v, m), 1, y, 1)
        return y
    a, b = (
        replace(v, at=sheltered(c.builder, v.at, c.name, Side(condition.at, sign))) if isinstance(v, Activation) else v
        for v, sign in ((a, 1), (b, -1))
    )
    if isinstance(a, Activation) or isinstance(b, Activation):
        if any(isinstance(v, Activation) and may_end(c.builder, v.at) for v in (a, b)):
            return total(c, _gated(c, a, condition, 1), 1, _gated(c, b, condition, -1), 1)
        gap: Any = total(c, a, 1, b, -1)
        return total(c, product(c, condition, gap), 1, b, 1)
    return total(c, scaled(c, condition, a - b), 1, b, 1)


def _kept(c: Call, v: Activation, keep: Tensor) -> Activation:
    """v where a constant mask holds, else zero, whatever v is there: it may have no value."""
    if not may_end(c.builder, v.at):
        return scaled(c, v, keep)
    v = spread(c, v, torch.broadcast_shapes(c.full(v), keep.shape))
    keep = keep.expand(c.full(v))
    keep = (one_row(keep) if v.lead else keep).reshape(-1)
    return c.add(Take(c.index(torch.where(keep, torch.arange(len(keep), device=keep.device), -1)), v.shape), v)


def _gated(c: Call, v: Any, condition: Activation, sign: int) -> Activation:
    """v where the condition holds (sign 1) or does not (-1), else zero, whatever v is there: it may have no value."""
    if not isinstance(v, Activation):
        return scaled(c, condition if sign > 0 else _not(c, condition), v)
    side = total(c, scaled(c, condition, sign), 1, -0.5 * sign, 1)
    shape = torch.broadcast_shapes(c.full(v), c.full(side))
    pair = [c.reshape(p, (*p.shape, 1)) for p in (spread(c, v, shape), spread(c, side, shape))]
    return c.add(Gate(), c.add(Concat(len(pair[0].shape) - 1), *pair))


def converted(c: Call) -> Activation:
    """A change of type: nothing but where truth values are made."""
    x = c.activation()
    return _not(c, c.add(Step("zero"), x)) if c.args.get("dtype") == torch.bool else x


def heaviside(c: Call) -> Activation:
    """1 above zero, 0 below, a value at zero."""
    x, at = c.args["self"], c.args["values"]
    if not isinstance(x, Activation):
        keep = c.constant(x)
        return total(c, scaled(c, at, keep == 0), 1, keep > 0, 1)
    above, zero = c.add(Step("positive"), x), c.add(Step("zero"), x)
    if isinstance(at, Activation):
        return total(c, above, 1, product(c, zero, at), 1)
    return total(c, above, 1, scaled(c, zero, at), 1)


def defined(answer: float) -> Rule:
    """isnan, isinf and isfinite: known of real numbers, where all that is computed before has a value."""

    def rule(c: Call) -> Activation:
        return total(c, scaled(c, _whole(c), 0.0), 1, answer, 1)

    return rule


def numbers(c: Call) -> Activation:
    """nan_to_num, which leaves numbers as they are."""
    return _whole(c)


def _whole(c: Call) -> Activation:
    x = c.activation()
    if may_end(c.builder, x.at):
        refuse("it asks whether a root, logarithm or quotient has a value; choose with torch.where, or clamp before")
    return x


def remainder(kind: str) -> Rule:
    """`x − c·floor(x / c)`, or (fmod) with the quotient cut off."""

    def rule(c: Call) -> Activation:
        x, divisor = c.activation(), c.args["other"]
        if isinstance(divisor, Activation):
            refuse("the remainder of a division by something that depends on the input")
        return total(c, x, 1, scaled(c, rounded(c, divided(c), kind), divisor), -1)

    return rule


def divided(c: Call) -> Activation:
    """The call's quotient, not rounded."""
    return div(replace(c, args=c.args | {"rounding_mode": None}))


def quotient_rounded(c: Call) -> Activation:
    """A quotient, rounded or not."""
    mode = c.args.get("rounding_mode", "floor" if "floor_divide" in c.op.name() else None)
    return divided(c) if mode is None else rounded(c, divided(c), mode)


def rounded(c: Call, x: Activation, kind: str) -> Activation:
    """x without what follows its decimal point (trunc), or the whole number below (floor)."""
    return c.add(Step("floor"), x) if kind == "floor" else truncate(replace(c, args={"self": x}))


def blended(c: Call) -> Activation:
    """addcmul, addcdiv and lerp: `self + value·a∘b`, `self + value·a/b`, `self + weight∘(end − self)`."""
    x = c.args["self"]
    if "end" in c.args:
        gap, by = (_minus(c, c.args["end"], x), c.args["weight"])
        return _plus(c, x, _times(c, gap, by))
    a, b = c.args["tensor1"], c.args["tensor2"]
    if "addcdiv" in c.op.name():
        y = (
            divided(replace(c, args={"self": a, "other": b}))
            if isinstance(a, Activation) or isinstance(b, Activation)
            else (c.constant(a) / c.constant(b))
        )
    else:
        y = _times(c, a, b)
    return _plus(c, x, _times(c, y, c.args["value"]))


def _times(c: Call, a: Any, b: Any) -> Any:
    if isinstance(a, Activation) and isinstance(b, Activation):
        return product(c, a, b)
    if isinstance(a, Activation) or isinstance(b, Activation):
        return scaled(c, a, b) if isinstance(a, Activation) else scaled(c, b, a)
    return a * b


def _plus(c: Call, a: Any, b: Any) -> Any:
    return total(c, a, 1, b, 1) if isinstance(a, Activation) or isinstance(b, Activation) else a + b


def _minus(c: Call, a: Any, b: Any) -> Any:
    return total(c, a, 1, b, -1) if isinstance(a, Activation) or isinstance(b, Activation) else a - b


def log_add_exp(c: Call) -> Activation:
    """`log(exp a + exp b) = b + softplus(a − b)`."""
    a, b = c.args["self"], c.args["other"]
    return total(c, c.add(Curve("softplus"), total(c, a, 1, b, -1)), 1, b, 1)


def random(c: Call) -> Activation:
    """Refused: dropout that drops, and what else draws."""
    refuse("it draws random numbers, as dropout does in training; export in evaluation mode: module.eval()")


def of_the_batch(c: Call) -> Activation:
    """Refused: batch norm by the statistics of the batch."""
    refuse("it normalises by the statistics of the batch; export in evaluation mode (module.eval()), with running ones")
