"""A share of ONNX's own tests of operators: none is wrong, breaks or is refused in words that help nobody.

All of them: `python -m benchmarks.node_tests`.
"""

from __future__ import annotations

from collections import Counter

from benchmarks.node_tests import ask, cases

STRIDE, LARGEST = 10, 200
"""Every how many-th test is asked, and how many entries it may have."""
FAULTS = ("wrong", "mismatch", "crash", "refused unclearly")


def test_a_share_of_the_node_tests() -> None:
    small = [c for c in cases() if c.model is not None and 0 < c.x.size + sum(a.size for a in c.y.values()) <= LARGEST]
    found = [ask(case) for case in small[::STRIDE]]
    assert not [o for o in found if o.what in FAULTS]
    assert len(found) > 100 and Counter(o.what for o in found)["right"] > 0.7 * len(found)
