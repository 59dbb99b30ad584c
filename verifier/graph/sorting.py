"""Which entries to compare, and when, so that all are in order in the end whatever they are."""

from __future__ import annotations


def exchanges(n: int) -> list[list[tuple[int, int]]]:
    """Batcher's sorting network for n entries: rounds of disjoint pairs of places, whose entries are put in order."""
    rounds: list[list[tuple[int, int]]] = []
    p = 1
    while p < n:
        k = p
        while k:
            pairs = [
                (i + j, i + j + k)
                for j in range(k % p, n - k, 2 * k)
                for i in range(min(k, n - j - k))
                if (i + j) // (2 * p) == (i + j + k) // (2 * p)
            ]
            rounds.append(pairs)
            k //= 2
        p *= 2
    return [pairs for pairs in rounds if pairs]
