"""Random formulas of VNN-LIB, and what they mean in exact arithmetic: shares nothing with the reader."""

from fractions import Fraction

from hypothesis import strategies as st

from verifier.spec.clauses import Clauses
from verifier.spec.property import Property

N, M = 2, 2
HEAD = "".join(f"(declare-const {v}_{i} Real)\n" for v, k in (("X", N), ("Y", M)) for i in range(k))
BOX = "".join(f"(assert (<= X_{i} 2))(assert (>= X_{i} -2))" for i in range(N))


def show(e) -> str:
    return e if isinstance(e, str) else "(" + " ".join(map(show, e)) + ")"


def value(e, env) -> Fraction:
    if isinstance(e, str):
        return env[e] if e in env else Fraction(e)
    first, *rest = (value(a, env) for a in e[1:])
    if e[0] == "+":
        return sum(rest, first)
    if e[0] == "-":
        return first - sum(rest) if rest else -first
    for factor in rest:
        first *= factor
    return first


def holds(e, env) -> bool:
    if e[0] == "and":
        return all(holds(a, env) for a in e[1:])
    if e[0] == "or":
        return any(holds(a, env) for a in e[1:])
    if e[0] == "not":
        return not holds(e[1], env)
    a, b = value(e[1], env), value(e[2], env)
    return {"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b, "=": a == b}[e[0]]


def satisfied(p: Property, x: list[Fraction], y: list[Fraction], outward: bool) -> bool:
    """Whether the point is in the property, rounded outward (for proofs) or inward (for witnesses)."""
    low, high, d = (p.lower, p.upper, p.d) if outward else (p.inner_lower, p.inner_upper, p.inner_d)
    for j in range(p.n_disjuncts):
        k = p.box[j]
        if not all(Fraction(a) <= v <= Fraction(b) for a, v, b in zip(low[k], x, high[k], strict=True)):
            continue
        for i in p.literals(j):
            total = sum((Fraction(a) * v for a, v in zip(p.A_y[i], y, strict=True)), Fraction(0))
            if p.A_x is not None:
                total += sum(Fraction(a) * v for a, v in zip(p.A_x[i], x, strict=True))
            if total > Fraction(d[i]) or (total == Fraction(d[i]) and p.strict[i] and not outward):
                break
        else:
            if p.clauses is None or all(clause_holds(p.clauses, c, [*x, *y], outward) for c in p.clauses.of(j)):
                return True
    return False


def clause_holds(c: Clauses, k: int, at: list[Fraction], outward: bool) -> bool:
    """Clause k, alternative by alternative; what stands in one is a literal, or an earlier clause."""
    L, nest = len(c.d), c.nest
    for a in range(nest.first[k], nest.first[k + 1]):
        for i in nest.member[nest.start[a] : nest.start[a + 1]].tolist():
            if i >= L:
                assert i - L < k
                if not clause_holds(c, i - L, at, outward):
                    break
                continue
            total = sum((Fraction(c.value[t]) * at[c.column[t]] for t in range(c.term[i], c.term[i + 1])), Fraction(0))
            bound = Fraction((c.d if outward else c.inner_d)[i])
            if total > bound or (total == bound and c.strict[i] and not outward):
                break
        else:
            return True
    return False


# -- random formulas --------------------------------------------------------------------------------------------------

names = st.sampled_from([f"{v}_{i}" for v, k in (("X", N), ("Y", M)) for i in range(k)])
exact_numbers = st.sampled_from(["0", "1", "-1", "0.5", ".5", "1.", "+0.25", "-1e0", "5e-1", "2.5E-1", "0.50", "1.5"])
rough_numbers = st.sampled_from(["0.1", "-0.1", "1e-1", "0.30000000000000000001", "0.3", "-.7", "0.7000", "1e-30",
                                 "0.1000000000000000055511151231257827", "-1.2345678901234567"])  # fmt: skip
comparisons = st.sampled_from(["<=", "<", ">=", ">", "="])


def formulas(numbers):
    plain = st.tuples(comparisons, names | numbers, names | numbers)
    terms = st.recursive(
        names | numbers,
        lambda t: st.one_of(
            st.lists(t, min_size=1, max_size=3).map(lambda a: ("+", *a)),
            st.lists(t, min_size=1, max_size=3).map(lambda a: ("-", *a)),
            st.tuples(numbers, t).map(lambda a: ("*", *a)),
            st.tuples(t, numbers).map(lambda a: ("*", *a)),
        ),
        max_leaves=4,
    )
    atoms = plain | plain | st.tuples(comparisons, terms, terms)
    several = st.sampled_from(["and", "or"])
    return st.recursive(
        atoms,
        lambda f: (
            st.tuples(several, st.lists(f, min_size=1, max_size=4)).map(lambda a: (a[0], *a[1]))
            | f.map(lambda a: ("not", a))
        ),
        max_leaves=10,
    )


ticks = st.integers(-9, 9).map(lambda k: Fraction(k, 4))


def points():
    return st.tuples(st.lists(ticks, min_size=N, max_size=N), st.lists(ticks, min_size=M, max_size=M))


def environment(x, y):
    return {f"X_{i}": v for i, v in enumerate(x)} | {f"Y_{i}": v for i, v in enumerate(y)}


def in_box(x) -> bool:
    return all(-2 <= v <= 2 for v in x)


def text_of(asserted) -> bytes:
    return (HEAD + BOX + "".join(f"(assert {show(f)})\n" for f in asserted)).encode()
