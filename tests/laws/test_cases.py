"""Small models that once went wrong (../shared/cases): none is answered wrongly or breaks, each gets what is right.

The commands come from `cases.md` there, so a case that is added is run, too; what is right stands here, by name.  Every
question is a process of its own: a crash, a hang and an exit status are what a user would see.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.cli.files import ROOT, counterexample, holds, outputs, start

FOLDER = ROOT.parent / "shared" / "cases"
HANGS = 120
"""Seconds after which a process is called stuck: six times what it is given, for machines that are busy."""
VERBS = ("info", "lipschitz", "bound", "verify")
ASK = """
import sys, math, verifier
verb, model = sys.argv[1:]
try:
    net = verifier.load(model)
    n = sum(math.prod(s) for s in net.input_shapes)
    box = verifier.Box([-1.0] * n, [1.0] * n)
    if verb == "bound":
        for a, b in zip(*verifier.bound(net, box)):
            print(float(a), float(b))
    else:
        found = verifier.lipschitz(net, box, timeout=10)
        print(found.lower, found.upper)
except verifier.VerifierError as e:
    print(f"verifier: {e}", file=sys.stderr)
    sys.exit(2)
"""
"""A question asked from Python; what cannot be used ends it as it ends the command line."""


@dataclass(frozen=True)
class Case:
    """A row of the table: its name, what is asked (command lines), and what stands there as right."""

    name: str
    asked: tuple[tuple[str, ...], ...]
    right: str


@dataclass(frozen=True)
class Said:
    """What a process said."""

    asked: tuple[str, ...]
    status: int
    out: str
    err: str

    @property
    def verdict(self) -> str:
        """The first line."""
        return self.out.split("\n", 1)[0]

    def refused(self, *words: str) -> bool:
        """In one line, which names these."""
        line = self.err.strip()
        return self.status == 2 and "\n" not in line and all(word in line for word in words)

    def numbers(self) -> list[float]:
        """Of standard output."""
        return [float(word) for word in self.out.split() if re.fullmatch(r"-?(\d+(\.\d+)?(e[+-]\d+)?|inf)", word)]


def cases() -> list[Case]:
    """The rows of the table."""
    if not (FOLDER / "cases.md").exists():
        return []
    rows = [line.strip("| \n").split(" | ") for line in (FOLDER / "cases.md").read_text().splitlines()]
    return [Case(r[0], commands(r[1]), r[3]) for r in rows if len(r) == 4 and re.search(r"\.onnx", r[1])]


def commands(text: str) -> tuple[tuple[str, ...], ...]:
    """Command lines of a cell; without a verb it is `verify`."""
    (model,) = re.findall(r"\w+\.onnx", text)
    spec = re.findall(r"\w+\.vnnlib", text)
    if whole := re.fullmatch(r"`(lipschitz \S+ .*)`", text):
        return (tuple(whole[1].split()),)
    verbs = [verb for verb in VERBS if re.search(rf"\b{verb}\b", text)] or ["verify"]
    return tuple((verb, model, *(spec if verb == "verify" else ())) for verb in verbs)


CASES = cases()
NAMES = {case.name: case for case in CASES}
pytestmark = pytest.mark.skipif(not CASES, reason="../shared/cases is not there")


@functools.cache
def answers(name: str) -> tuple[Said, ...]:
    """What the program says to each question of a case."""
    return tuple(answer(*asked) for asked in NAMES[name].asked)


def answer(verb: str, model: str, *more: str) -> Said:
    """What it says to one."""
    if verb in ("bound", "lipschitz") and not more:
        command = [sys.executable, "-c", ASK, verb, str(FOLDER / model)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True, env=_environment())
    else:
        given = [str(FOLDER / word) if word.endswith((".onnx", ".vnnlib")) else word for word in (model, *more)]
        limits = [] if verb in ("info", "bound") else ["--timeout", "20"]
        process = start(verb, *given, *limits, *(["--quiet"] if limits else []))
    try:
        out, err = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    return Said((verb, model, *more), process.returncode, out, err)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def true_sat(said: Said) -> bool:
    """A counterexample that is one: onnxruntime gives these outputs, and they satisfy the property exactly."""
    _, model, spec = said.asked
    x, y = counterexample(said.out[4:])
    return outputs(str(FOLDER / model), x) == y and holds(str(FOLDER / spec), x, y)


def sat(said: Said) -> bool:
    """The verdict, and its counterexample."""
    return said.verdict == "sat" and true_sat(said)


def verdict(*which: str) -> Callable[[Said], bool]:
    """One of these verdicts."""
    return lambda said: said.status == 0 and said.verdict in which


def wraps(node: str) -> Callable[[Said], bool]:
    """A counterexample of onnxruntime, or a refusal with the node and numbers."""
    return lambda said: sat(said) or (said.refused(f"({node})") and re.search(r"\d", said.err) is not None)


def read(said: Said) -> bool:
    """It can be looked at."""
    return said.status == 0 and said.out.startswith("file")


def near(*expected: float) -> Callable[[Said], bool]:
    """These numbers, but for rounding."""
    return lambda said: said.status == 0 and said.numbers() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def around(*values: tuple[float, float]) -> Callable[[Said], bool]:
    """Bounds, one pair an output, that are finite, hold what is taken, and are at most twice as wide and one more."""

    def holds_all(said: Said) -> bool:
        found = said.numbers()
        pairs = list(zip(found[::2], found[1::2], strict=True))
        return len(pairs) == len(values) and all(
            a <= low and high <= b and b - a <= 2 * (high - low) + 1
            for (a, b), (low, high) in zip(pairs, values, strict=True)
        )

    return holds_all


def settled(constant: float) -> Callable[[Said], bool]:
    """A Lipschitz constant whose bounds have met."""
    return lambda said: said.status == 0 and said.numbers()[:2] == pytest.approx([constant] * 2, rel=1e-3)


def finite(said: Said) -> bool:
    """Bounds there are."""
    return said.status == 0 and len(said.numbers()) >= 2 and all(abs(v) < 1e6 for v in said.numbers())


def one_line(*words: str) -> Callable[[Said], bool]:
    """Refused, with these words."""
    return lambda said: said.refused(*words)


def either(*ways: Callable[[Said], bool]) -> Callable[[Said], bool]:
    """One of these."""
    return lambda said: any(way(said) for way in ways)


RIGHT: dict[str, tuple[Callable[[Said], bool], ...]] = {
    "float → int32 beyond 2³¹": (wraps("Cast"),),
    "int32 product that wraps": (wraps("Mul"),),
    "CastLike to int8": (wraps("CastLike"),),
    "cancellation in float32": (either(verdict("unknown", "timeout"), one_line()),),
    "a box that is one point, a unit undecided": (verdict("unsat", "unknown"),),
    "no literal over outputs, infinite outputs": (either(verdict("unknown", "timeout"), sat, one_line()),),
    "min > max": (near(1, 1, 1, 1, 1, 1),),
    "a root behind Where": (around((0, 1), (0, 1)),),
    "large logits": (read,),
    "output_shape beyond the natural size": (read,),
    "outputs that are no tensors": (either(verdict("unsat"), one_line("probs")),),
    "strict contradiction": (verdict("unsat"),),
    "padded max pooling": (settled(3.0),),
    "int8 weights": (sat,),
    "two inputs": (read, settled(2.0), around((-2, 2), (-2, 2)), verdict("unsat")),
    "nodes out of order": (read,),
    "a constant cast like an activation": (read,),
    "only operators of other domains": (either(read, one_line("ai.onnx.ml", "Normalizer")),),
    "empty output": (one_line("output"), one_line("output")),
    "attention as torch writes it from operator set 23 on": (finite,),
    "float32 input, float64 weights": (verdict("unsat"),),
    "classes counted by OneHot": (verdict("unsat"),),
    "a scikit-learn regressor with a scaler": (verdict("unsat", "sat", "unknown", "timeout"),),
}
"""What is right for each question of a case."""
WAITING: set[str] = set()
"""Refused so far; until they are read, only that they are neither answered wrongly nor break."""


def marked(waiting: set[str]) -> list[object]:
    """The cases, some of them expected to fail, which is noticed when they don't."""
    why = pytest.mark.xfail(strict=True, reason="not there yet")
    return [pytest.param(c.name, marks=[why] if c.name in waiting else [], id=c.name) for c in CASES]


def test_every_case_is_known() -> None:
    assert {case.name for case in CASES} <= RIGHT.keys() and WAITING <= RIGHT.keys()
    assert all(len(RIGHT[case.name]) == len(case.asked) for case in CASES)


@pytest.mark.parametrize("name", NAMES)
def test_never_wrong(name: str) -> None:
    never = set(re.findall(r"never `(\w+)`", NAMES[name].right, re.IGNORECASE))
    if NAMES[name].right == "the same":
        never = {"unsat"}
    for said in answers(name):
        assert said.status in (0, 2), said.err
        assert "Traceback" not in said.err and "report it" not in said.err
        assert said.status == 0 or len(said.err.strip().splitlines()) == 1
        assert said.status == 0 or said.out == "" or said.asked[0] == "info"  # which tells what it can read
        assert said.verdict not in never
        assert said.verdict != "sat" or true_sat(said)


@pytest.mark.parametrize("name", marked(WAITING))
def test_what_is_right(name: str) -> None:
    for said, right in zip(answers(name), RIGHT[name], strict=True):
        assert right(said), said
