"""Write the example properties (VNN-LIB 1.0) and `instances.csv`; with `--prove`, work out the verdicts exactly.

A property describes a counterexample: `unsat` means that none exists, so that what the header says holds.  The expected
verdicts are those of `exact.py`, and `sat` ones are replayed in onnxruntime; margins are chosen so that rounding cannot
decide them.

    python -m specs.make            # write the files
    python -m specs.make --check    # compare with the committed files
    python -m specs.make --prove    # check every expected verdict with a mixed-integer program (about a minute)
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CLEAR = 0.02
"""Expected verdicts rest on a margin of at least this much."""


@dataclass(frozen=True)
class Literal:
    """A constraint `sum of coefficient * variable <= bound`, variables named as in VNN-LIB (`X_0`, `Y_3`)."""

    terms: tuple[tuple[str, str], ...]
    bound: str

    def text(self) -> str:
        """The constraint as VNN-LIB."""
        match self.terms:
            case (("1", name),):
                return f"(<= {name} {self.bound})"
            case (("-1", name),):
                return f"(>= {name} {negated(self.bound)})"
            case (("1", one), ("-1", other)) if self.bound == "0":
                return f"(<= {one} {other})"
        parts = [name if c == "1" else f"(* {c} {name})" for c, name in self.terms]
        return f"(<= (+ {' '.join(parts)}) {self.bound})"

    def row(self, kind: str, count: int) -> np.ndarray:
        """Coefficients `[count]` of the variables `X` or `Y`."""
        row = np.zeros(count)
        for c, name in self.terms:
            if name.startswith(kind):
                row[int(name[2:])] += float(c)
        return row


@dataclass(frozen=True)
class Question:
    """One instance: a model, what is asked, the box of inputs, constraints that always hold, and the alternatives."""

    name: str
    model: str
    expected: str
    says: str
    box: tuple[tuple[str, str], ...]
    outputs: int
    alternatives: tuple[tuple[Literal, ...], ...]
    always: tuple[Literal, ...] = ()
    timeout: int = 60

    def text(self) -> str:
        """The property as VNN-LIB 1.0, under a comment that says what it means."""
        lines = [f"; {line}" for line in self.says.splitlines()]
        lines += [f"; model {self.model}, expected {self.expected}", ""]
        lines += [f"(declare-const X_{i} Real)" for i in range(len(self.box))]
        lines += [f"(declare-const Y_{i} Real)" for i in range(self.outputs)]
        lines.append("")
        for i, (lower, upper) in enumerate(self.box):
            lines += [f"(assert (>= X_{i} {lower}))", f"(assert (<= X_{i} {upper}))"]
        lines.append("")
        lines += [f"(assert {a.text()})" for a in self.always]
        ands = [f"(and {' '.join(a.text() for a in case)})" for case in self.alternatives]
        lines += ["(assert (or", *(f"    {a}" for a in ands), "))"]
        return "\n".join(lines) + "\n"


def negated(number: str) -> str:
    """The decimal number with the other sign."""
    return "0" if Decimal(number) == 0 else str(-Decimal(number))


def at_most(name: str, bound: str) -> Literal:
    """`name <= bound`."""
    return Literal((("1", name),), bound)


def at_least(name: str, bound: str) -> Literal:
    """`name >= bound`."""
    return Literal((("-1", name),), negated(bound))


def beaten(label: int) -> tuple[tuple[Literal, ...], ...]:
    """Some other digit gets a score at least that of `label`."""
    others = [k for k in range(10) if k != label]
    return tuple((Literal((("1", f"Y_{label}"), ("-1", f"Y_{k}")), "0"),) for k in others)


def clean(number: Decimal) -> str:
    """The number without trailing zeros or exponent."""
    return f"{number.normalize():f}"


def picture(pixels: Sequence[int]) -> str:
    """An 8x8 image as eight lines of pixel values 0..16, which `demo.py` reads back."""
    return "\n".join("|" + "".join(f"{p:3d}" for p in pixels[8 * r : 8 * r + 8]) + "|" for r in range(8))


def digit(name: str, model: str, expected: str, index: int, eps: str = "0", free: Sequence[int] = ()) -> Question:
    """Is image `index` still read as what it is, when every pixel moves by `eps` and those in `free` are anything?"""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels, label = [int(p) for p in digits.data[index]], int(digits.target[index])
    box = []
    for i, p in enumerate(pixels):
        centre, reach = Decimal(p) / 16, Decimal(1) if i in free else Decimal(eps)
        box.append((clean(max(centre - reach, Decimal(0))), clean(min(centre + reach, Decimal(1)))))
    moved = f"the pixels {', '.join(map(str, free))} take any value" if free else f"every pixel moves by at most {eps}"
    says = f"image {index} of the digits, a {label}, is still read as {label} when {moved} (pixels / 16 in [0, 1])"
    return Question(name, model, expected, f"{says}\n{picture(pixels)}", tuple(box), 10, beaten(label))


def pendulum() -> list[Question]:
    """Questions about the controller `pendulum.onnx`: X_0 the angle, X_1 the velocity, Y_0 the torque."""
    model = "models/pendulum.onnx"
    wide, strip = (("-1", "1"), ("-3", "3")), (("-0.6", "0.6"), ("-3", "3"))
    near_line = (
        Literal((("4", "X_0"), ("1", "X_1")), "0.1"),
        Literal((("-4", "X_0"), ("-1", "X_1")), "0.1"),
    )

    def beyond(limit: str) -> tuple[tuple[Literal, ...], ...]:
        return (at_least("Y_0", limit),), (at_most("Y_0", negated(limit)),)

    def limit(expected: str, most: str) -> Question:
        says = f"for angles within 1 rad and velocities within 3 rad/s the torque stays within {most} N m"
        return Question(f"pendulum_limit_{expected}", model, expected, says, wide, 1, beyond(most))

    def line(expected: str, most: str) -> Question:
        says = f"near the line 4 angle + velocity = 0 (within 0.1) the torque stays within {most} N m"
        return Question(f"pendulum_line_{expected}", model, expected, says, strip, 1, beyond(most), near_line)

    back = Question(
        "pendulum_pushes_back",
        model,
        "unsat",
        "leaning by 0.2 rad or more and not yet coming back, the torque pushes back with more than 3 N m",
        wide,
        1,
        (
            (at_least("X_0", "0.2"), at_least("X_1", "0"), at_least("Y_0", "-3")),
            (at_most("X_0", "-0.2"), at_most("X_1", "0"), at_most("Y_0", "3")),
        ),
    )
    return [limit("unsat", "15.2"), limit("sat", "15"), back, line("unsat", "2.2"), line("sat", "1.85")]


def questions() -> list[Question]:
    """Every example, in the order of `instances.csv`."""
    fc, conv = "models/digits_fc.onnx", "models/digits_conv.onnx"
    return [
        digit("digits_fc_0_small", fc, "unsat", 0, "0.08"),
        digit("digits_fc_45_small", fc, "unsat", 45, "0.05"),
        digit("digits_fc_75_centre", fc, "unsat", 75, free=(27, 28, 35, 36)),
        digit("digits_fc_35_large", fc, "sat", 35, "0.2"),
        digit("digits_fc_70_large", fc, "sat", 70, "0.15"),
        digit("digits_conv_20_small", conv, "unsat", 20, "0.08"),
        digit("digits_conv_50_large", conv, "sat", 50, "0.15"),
        *pendulum(),
    ]


def prove(question: Question) -> tuple[str, float]:
    """The exact verdict and the margin it rests on: how far the best alternative is from turning around."""
    from specs.exact import layers, replay, slack

    path = HERE.parent / question.model
    network = layers(path)
    lower, upper = np.array(question.box, dtype=float).T
    best, witness = float("-inf"), None
    for case in question.alternatives:
        literals = (*question.always, *case)
        A_x = np.array([a.row("X", len(lower)) for a in literals])
        A_y = np.array([a.row("Y", question.outputs) for a in literals])
        t, x = slack(network, lower, upper, A_x, A_y, np.array([float(a.bound) for a in literals]))
        if t > best:
            best, witness = t, x
    verdict = "sat" if best > 0 else "unsat"
    if verdict == "sat":
        y = replay(path, np.clip(witness, lower, upper))
        if not any(
            all(a.row("Y", len(y)) @ y < float(a.bound) for a in c if a.row("Y", len(y)).any())
            for c in question.alternatives
        ):
            raise RuntimeError(f"{question.name}: the counterexample does not replay in onnxruntime")
    return verdict, abs(best)


def files() -> dict[str, str]:
    """Name and content of every file this script writes."""
    every = questions()
    rows = [f"{q.model},specs/{q.name}.vnnlib,{q.timeout},{q.expected}" for q in every]
    table = "\n".join(["model,spec,timeout,expected", *rows]) + "\n"
    return {f"{q.name}.vnnlib": q.text() for q in every} | {"instances.csv": table}


def main() -> int:
    """Write, check or prove; returns the exit status."""
    summary = re.split(r"\n\n", __doc__ or "")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the committed files")
    parser.add_argument("--prove", action="store_true", help="work out every verdict exactly")
    arguments = parser.parse_args()
    wrong = 0
    if arguments.prove:
        for question in questions():
            verdict, margin = prove(question)
            good = verdict == question.expected and margin >= CLEAR
            wrong += not good
            mark = "" if good else "   NOT AS EXPECTED"
            print(f"{question.name:24s} {verdict:6s} margin {margin:.3f}{mark}", flush=True)
        return int(wrong > 0)
    for name, content in files().items():
        path = HERE / name
        if arguments.check:
            same = path.exists() and path.read_text() == content
            wrong += not same
            print(f"{name}: {'same' if same else 'DIFFERENT'}")
        else:
            path.write_text(content)
            print(f"{name}: written")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
