"""Parts of a set: halves cover what they halve, and a pool loses nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verifier.search import subproblems
from verifier.search.subproblems import Stack, joined
from verifier.sensitivity import regions
from verifier.sensitivity.regions import BestFirst, Parts, children


def parts(rng: np.random.Generator, D: int, N: int = 4, k: int = 3, goals: int = 5) -> Parts:
    low, lower = rng.normal(size=(D, k)), -rng.random((D, N)) - 0.01
    pick = rng.integers(0, N + k, D)
    return Parts(
        rng.integers(0, goals, D), np.round(rng.normal(size=D), 1), lower, rng.random((D, N)) + 0.01,
        np.zeros((D, N), np.int8), low, low + rng.random((D, k)), pick, rng.integers(0, 9, D),
    )  # fmt: skip


def test_children_cover() -> None:
    rng = np.random.default_rng(0)
    s = parts(rng, 40)
    before = joined([s, s])
    both = children(s)
    assert len(both) == 80
    for name in ("goal", "bound"):
        assert (getattr(both, name) == getattr(before, name)).all()
    assert (both.depth == before.depth + 1).all()
    for name in ("lower", "upper", "sign", "low", "high"):
        assert (getattr(s, name) == getattr(before, name)[:40]).all(), "the parents stay as they were"
    for i, pick in enumerate(s.pick):
        one, two = i, i + 40
        if pick < 4:
            assert both.sign[one, pick] == 1 and both.sign[two, pick] == -1
            assert both.lower[one, pick] == 0 == both.upper[two, pick]
            assert both.upper[one, pick] == s.upper[i, pick] and both.lower[two, pick] == s.lower[i, pick]
        else:
            j = pick - 4
            assert both.low[one, j] == both.high[two, j] == 0.5 * s.low[i, j] + 0.5 * s.high[i, j]
            assert both.high[one, j] == s.high[i, j] and both.low[two, j] == s.low[i, j]
            assert not both.sign[[one, two]].any()
        differ = sum((getattr(both, n) != getattr(before, n)).sum() for n in ("lower", "upper", "low", "high"))
    assert differ == 80, "one end of each half moved"


def test_pool_loses_nothing() -> None:
    """Against a plain list: the largest come first, what is settled is closed, the most is what was left out."""
    rng = np.random.default_rng(1)
    settled, plain, out = np.full(5, -np.inf), [], np.full(5, -np.inf)
    pool = BestFirst(5, lambda: settled)
    for _ in range(150):
        if rng.random() < 0.6:
            s = parts(rng, int(rng.integers(0, 400)))
            pool.push(s)
            plain += list(zip(s.goal.tolist(), s.bound.tolist(), s.low[:, 0].tolist(), strict=True))
        settled = np.maximum(settled, np.round(rng.normal(size=5), 1) - 1.5)
        count = int(rng.integers(1, 300))
        if not len(pool):
            continue
        got = pool.pop(count)
        for g, b, _ in plain:
            if b <= settled[g]:
                out[g] = max(out[g], b)
        plain = sorted((p for p in plain if p[1] > settled[p[0]]), key=lambda p: -p[1])
        if not len(got):
            assert not plain
        else:
            assert len(got) == min(count, len(plain))
            taken = list(zip(got.goal.tolist(), got.bound.tolist(), got.low[:, 0].tolist(), strict=True))
            assert sorted(b for _, b, _ in taken) == sorted(b for _, b, _ in plain[: len(got)])
            assert set(taken) <= set(plain)
            plain = list(set(plain) - set(taken))
        most = out.copy()
        for g, b, _ in plain:
            most[g] = max(most[g], b)
        assert (pool.most() == most).all()
        assert len(pool) == len(plain)


def failing(m: pytest.MonkeyPatch, owner: Any, name: str, at: int) -> None:
    """Call number `at` of a function finds no memory."""
    real, calls = getattr(owner, name), iter(range(1, 1000))

    def short(*args: Any) -> Any:
        if next(calls) == at:
            raise MemoryError
        return real(*args)

    m.setattr(owner, name, short)


POOLS: list[Any] = [lambda: BestFirst(5, lambda: np.full(5, -np.inf)), Stack]


@pytest.mark.parametrize("make", POOLS, ids=["best first", "stack"])
@pytest.mark.parametrize("name", ["joined", "take"])
def test_no_memory_loses_nothing(name: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step of popping fails for want of memory, what waited waits, so that no bound falls."""
    rng, failed, pool = np.random.default_rng(1), 0, make()
    for _ in range(3):
        pool.push(parts(rng, 300))
    for at in range(1, 8):
        share, count = pool.share, len(pool)
        with monkeypatch.context() as m:
            for owner in (Parts,) if name == "take" else (regions, subproblems):
                failing(m, owner, name, at)
            try:
                s = pool.pop(700)
                share, count = share - s.share.sum(), count - len(s)
            except MemoryError:
                failed += 1
        assert len(pool) == count and pool.share == pytest.approx(share)
        pool.push(parts(rng, 900))
    assert failed


def test_what_is_put_back_needs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is put back, for want of memory perhaps, is there, in order or not."""
    pool = Stack[Parts]()
    with monkeypatch.context() as m:
        failing(m, Parts, "take", 1)
        pool.push(parts(np.random.default_rng(1), 50))
    assert len(pool) == 50


def test_what_is_no_number_waits() -> None:
    """A bound that is no number settles nothing: its part is popped, and counts as an infinite one until then."""
    rng = np.random.default_rng(2)
    pool = BestFirst(5, lambda: np.full(5, -np.inf))
    s = parts(rng, 9)
    s.bound[[2, 5]] = np.nan
    pool.push(s)
    assert len(pool) == 9
    assert (pool.most()[s.goal[[2, 5]]] == np.inf).all()
    assert np.isnan(pool.pop(2).bound).all()
    assert len(pool.pop(9)) == 7
