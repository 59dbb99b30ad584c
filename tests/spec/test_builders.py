"""Properties from arrays: the box is exact to the last bit, and the literals mean what they say."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.spec.builders import output_property, robustness
from verifier.values.errors import PropertyError

doubles = st.floats(-1e6, 1e6)


@given(doubles, st.floats(0, 1e6))
def test_ball_is_rounded_outward_and_inward(center: float, eps: float) -> None:
    p = robustness([center], eps, 0, 2)
    low, high = Fraction(center) - Fraction(eps), Fraction(center) + Fraction(eps)
    outer_low, outer_high = p.lower[0, 0], p.upper[0, 0]
    assert Fraction(outer_low) <= low < Fraction(np.nextafter(outer_low, np.inf))
    assert Fraction(outer_high) >= high > Fraction(np.nextafter(outer_high, -np.inf))
    inner_low, inner_high = p.inner_lower[0, 0], p.inner_upper[0, 0]
    assert Fraction(inner_low) >= low > Fraction(np.nextafter(inner_low, -np.inf))
    assert Fraction(inner_high) <= high < Fraction(np.nextafter(inner_high, np.inf))


def test_robustness_has_one_disjunct_a_rival_and_is_cut_to_the_range() -> None:
    p = robustness(np.full((2, 2), 0.5, np.float32), 0.75, label=1, n_classes=3, lo=0, hi=[1, 1, 1, 0.25])
    assert p.lower.tolist() == [[0, 0, 0, 0]]
    assert p.upper.tolist() == [[1, 1, 1, 0.25]]
    assert p.inner_upper.tolist() == p.upper.tolist()
    assert p.n_disjuncts == 2
    assert p.A_x is None
    assert [p.literals(j).tolist() for j in range(2)] == [[0], [1]]
    assert p.A_y.tolist() == [[-1, 1, 0], [0, 1, -1]]
    assert p.d.tolist() == [0, 0]
    assert not p.strict.any()


def test_output_property_stores_equal_half_spaces_once() -> None:
    p = output_property([0, 0], [1, 1], [[([1, -1], 2.0), ([0, 1], 0.5)], [([1, -1], 2.0)]])
    assert p.n_disjuncts == 2
    assert len(p.d) == 2
    (shared,) = p.literals(1)
    assert p.A_y[shared].tolist() == [1, -1]
    assert p.d[shared] == 2
    assert shared in p.literals(0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: robustness([0.0], -1, 0, 2),
        lambda: robustness([0.0], 1, 2, 2),
        lambda: robustness([0.0], 1, 0, 1),
        lambda: robustness([], 1, 0, 2),
        lambda: robustness([np.nan], 1, 0, 2),
        lambda: robustness([1e308], 1e308, 0, 2),
        lambda: robustness([5.0], 1, 0, 2, lo=0, hi=1),
        lambda: robustness([5.0, 1.0, 1.0], [1, 2], 0, 2),
        lambda: robustness(["a"], 1, 0, 2),
        lambda: output_property([0], [1, 2], [[([1], 0)]]),
        lambda: output_property([1], [0], [[([1], 0)]]),
        lambda: output_property([0], [np.inf], [[([1], 0)]]),
        lambda: output_property([0], [1], []),
        lambda: output_property([0], [1], [[([1], 0), ([1, 2], 0)]]),
        lambda: output_property([0], [1], [[([1], np.nan)]]),
    ],
)
def test_misuse_is_a_property_error(call) -> None:
    with pytest.raises(PropertyError) as error:
        call()
    assert "\n" not in str(error.value)
