"""Disjuncts that contradict themselves are dropped, and only those."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import verifier
from tests.cli.files import dense, spec
from verifier.spec import farkas
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.values.verdict import Verdict

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def read(asserts: str, n: int = 2, m: int = 3, box: tuple[float, float] = (-1, 1)) -> Property:
    return parse(spec(asserts, n, m, box).encode())


def number(value: Fraction) -> str:
    """A decimal that is exactly this (denominators of powers of ten)."""
    digits = abs(value) * 10**9
    assert digits.denominator == 1
    text = f"{int(digits):010d}"
    return f"{'-' if value < 0 else ''}{text[:-9]}.{text[-9:]}"


CONTRADICTIONS = {
    "two outputs": "(assert (> Y_0 Y_1))(assert (> Y_1 Y_0))",
    "half strict": "(assert (>= Y_0 Y_1))(assert (> Y_1 Y_0))",
    "cycle of three": "(assert (> Y_0 Y_1))(assert (>= Y_1 Y_2))(assert (>= Y_2 Y_0))",
    "a constant": "(assert (< Y_0 0.1))(assert (> Y_0 0.1))",
    "a constant, half strict": "(assert (<= Y_0 0.1))(assert (> Y_0 0.1))",
    "a positive gap": "(assert (<= Y_0 0.1))(assert (>= Y_0 0.10000000000000000001))",
    "over a chain": "(assert (<= Y_0 Y_1))(assert (<= Y_1 0.3))(assert (> Y_0 0.3))",
    "inputs": "(assert (> X_0 X_1))(assert (> X_1 X_0))",
    "inputs' bounds": "(assert (> (+ X_0 X_1) 2))",
    "inputs' decimal bounds": "(assert (<= X_0 0.1))(assert (<= X_1 0.2))(assert (> (+ X_0 X_1) 0.3))",
    "a strict bound": "(assert (< X_0 0.1))(assert (>= Y_0 0.1))(assert (<= Y_0 X_0))",
    "both": "(assert (>= Y_0 (+ X_0 2)))(assert (<= Y_0 (* 0.5 X_0)))(assert (< Y_0 (* 0.25 X_0)))",
    "factors": "(assert (< (+ (* 3 Y_0) (* 7 Y_1)) 1))(assert (> (+ (* 1.5 Y_0) (* 3.5 Y_1)) 0.5))",
    "factors of three": "(assert (<= (+ (* 0.1 Y_0) (* 0.7 Y_1)) 0.3))(assert (<= (- Y_2 (* 0.2 Y_0)) -1.2))"
    "(assert (< (- (* -1.4 Y_1) Y_2) 0.6))",
    "a disjunction": "(assert (or (and (> Y_0 Y_1) (> Y_1 Y_0)) (and (< Y_0 2) (> Y_0 2))))",
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_dropped(name: str) -> None:
    assert read(CONTRADICTIONS[name]).n_disjuncts == 0


HARMLESS = {
    "a hyperplane": "(assert (<= Y_0 Y_1))(assert (<= Y_1 Y_0))",
    "a cycle": "(assert (<= Y_0 Y_1))(assert (<= Y_1 Y_2))(assert (<= Y_2 Y_0))",
    "a constant": "(assert (<= Y_0 0.1))(assert (>= Y_0 0.1))",
    "a corner": "(assert (>= (+ X_0 X_1) 2))",
    "a decimal corner": "(assert (<= X_0 0.1))(assert (<= X_1 0.2))(assert (>= (+ X_0 X_1) 0.3))",
    "a narrow gap": "(assert (< Y_0 0.10000000000000000001))(assert (> Y_0 0.1))",
    "factors": "(assert (< (+ (* 3 Y_0) (* 7 Y_1)) 1.0000000000000001))(assert (> (+ (* 1.5 Y_0) (* 3.5 Y_1)) 0.5))",
    "a strict bound that is not used": "(assert (< X_0 0.1))(assert (>= Y_0 0.1))(assert (<= Y_0 X_1))",
    "one alone": "(assert (< Y_0 Y_1))",
    "far away": "(assert (> Y_0 1e300))(assert (> (- Y_1 Y_0) 1e300))(assert (< Y_2 (- 0 Y_1)))",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_some_output_satisfies_stays(name: str) -> None:
    assert read(HARMLESS[name]).n_disjuncts == 1


def random_system(rng: np.random.Generator, shift: Fraction | None) -> str:
    """Literals that a point satisfies (`shift` None), or with a false combination: how far it is from true."""
    n, m, k = int(rng.integers(1, 3)), int(rng.integers(1, 4)), int(rng.integers(1, 5))
    one = rng.integers(-30, 31, (k, n + m)) * (rng.random((k, n + m)) < 0.7)
    rows = [[Fraction(int(c), 10) for c in row] for row in one]
    point = [Fraction(int(v), 100) for v in rng.integers(-99, 100, n + m)]
    right = [sum((c * p for c, p in zip(row, point, strict=True)), Fraction(0)) for row in rows]
    strict = [bool(rng.random() < 0.5) for _ in rows]
    if shift is None:
        right = [r + Fraction(int(rng.integers(0, 3)), 10**8) + Fraction(s, 10**9)
                 for r, s in zip(right, strict, strict=True)]  # fmt: skip
    else:
        factors = [Fraction(int(f)) for f in rng.integers(1, 9, k)]
        right = [Fraction(int(v), 10) for v in rng.integers(-50, 50, k)]
        rows.append([-sum((f * row[v] for f, row in zip(factors, rows, strict=True)), Fraction(0))
                     for v in range(n + m)])  # fmt: skip
        right.append(-sum((f * r for f, r in zip(factors, right, strict=True)), Fraction(0)) - shift)
        strict.append(shift == 0)
    names = [f"X_{i}" for i in range(n)] + [f"Y_{i}" for i in range(m)]
    text = []
    for i in rng.permutation(len(rows)):
        if any(rows[i]):
            terms = " ".join(f"(* {number(c)} {v})" for c, v in zip(rows[i], names, strict=True))
            text.append(f"(assert ({'<' if strict[i] else '<='} (+ {terms} 0) {number(right[i])}))")
        elif shift is not None:
            return random_system(rng, shift)
    return spec("\n".join(text), n, m, (-1, 1))


@pytest.mark.parametrize("seed", range(150))
def test_random_systems(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert parse(random_system(rng, None).encode()).n_disjuncts == 1
    for shift in (Fraction(0), Fraction(1, 10**9), Fraction(7)):
        assert parse(random_system(rng, shift).encode()).n_disjuncts == 0


def test_only_a_checked_combination_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the linear program says, factors that are not right to the last digit prove nothing."""
    rows = [
        farkas.Inequality({2: Fraction(1), 4: Fraction(-1)}, Fraction(0), True),
        farkas.Inequality({2: Fraction(-1), 4: Fraction(1)}, Fraction(0), True),
    ]
    one = Fraction(1)
    assert farkas._false(rows, [one, one])
    assert not farkas._false(rows, [one, one + Fraction(1, 10**30)])  # does not cancel
    assert not farkas._false(rows, [-one, -one])
    assert not farkas._false(rows, [one * 0, one * 0])
    loose = [rows[0], farkas.Inequality(rows[1].row, Fraction(1, 10**30), True)]
    assert not farkas._false(loose, [one, one])
    closed = [farkas.Inequality(r.row, r.right, False) for r in rows]
    assert not farkas._false(closed, [one, one])


def test_many_disjuncts_need_no_linear_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges, orders and rivals, as properties have them by the thousand, are told apart by what is cheap."""

    def never(rows: object) -> bool:
        raise AssertionError("a linear program")

    monkeypatch.setattr(farkas, "combination", never)
    rng = np.random.default_rng(0)
    parts = []
    for low in rng.uniform(-5, 5, 2000):
        a, b, c = rng.permutation(3)
        parts.append(f"(and (>= Y_{a} {low:.6f}) (<= Y_{a} {low + 0.01:.6f}) (<= Y_{b} Y_{c}))")
        parts.append(f"(and (<= Y_{a} Y_{b}) (<= Y_{b} Y_{c}) (>= Y_{a} {low:.6f}))")
        parts.append(f"(and (> Y_{a} {low:.6f}) (< Y_{a} {low:.6f}))")
    assert read(f"(assert (or {' '.join(parts)}))").n_disjuncts == 4000


def test_the_rest_of_a_property_stays() -> None:
    """Boxes and literals of what is left are those that it had."""
    left = read("(assert (or (and (> Y_0 Y_1) (> Y_1 Y_0)) (and (<= X_0 0.5) (>= Y_0 3)) (and (< Y_2 1) (> Y_2 1))))")
    assert left.n_disjuncts == 1
    (i,) = left.literals(0)
    assert left.A_y[i].tolist() == [-1, 0, 0] and left.d[i] == -3
    assert left.upper[left.box[0]].tolist() == [0.5, 1]


def test_verify_says_so(tmp_path: Path) -> None:
    """Whatever the network does: before anything is bounded."""
    (tmp_path / "m.onnx").write_bytes(dense(np.eye(2), np.ones((3, 2))))
    (tmp_path / "p.vnnlib").write_text(spec(CONTRADICTIONS["cycle of three"], 2, 3))
    found = verifier.verify(tmp_path / "m.onnx", tmp_path / "p.vnnlib", timeout=5)
    assert found.verdict is Verdict.UNSAT and "contradicts itself" in found.reason
    (tmp_path / "p.vnnlib").write_text(spec(HARMLESS["a cycle"], 2, 3))
    assert verifier.verify(tmp_path / "m.onnx", tmp_path / "p.vnnlib", timeout=5).verdict is Verdict.SAT


@pytest.mark.skipif(not CASES.exists(), reason="no shared cases")
def test_shared_case() -> None:
    found = verifier.verify(CASES / "two_wide.onnx", CASES / "contradiction.vnnlib", timeout=5)
    assert found.verdict is Verdict.UNSAT
