"""Bounding on several cores: a batch in parts, one thread each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from verifier.search.domains import Domains
from verifier.search.evaluate import Evaluation, evaluate, merge
from verifier.search.memory import one_memory_error
from verifier.search.query import Query

LEAST = 16
"""Domains below which a part is not worth a thread."""


class Workers:
    """Evaluates domains of one query on `threads` threads: numpy lets them compute side by side."""

    def __init__(self, query: Query, threads: int = 1) -> None:
        self._query, self.threads = query, max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def __call__(self, d: Domains, thorough: bool = True) -> Evaluation:
        """Bound every domain; the order is kept (`thorough`: see `evaluate`).

        Raises:
            MemoryError: also where a device ran out of its memory.
        """
        with one_memory_error():
            return self._bound(d, thorough)

    def _bound(self, d: Domains, thorough: bool) -> Evaluation:
        chunk = chunk_size(self._query)
        parts = min(self.threads, len(d) // LEAST)
        if self._pool is None or parts < 2:
            return evaluate(self._query, d, chunk, thorough=thorough)
        cuts = [np.arange(p, len(d), parts) for p in range(parts)]  # dealt out: neighbours cost alike
        results = self._pool.map(lambda at: evaluate(self._query, d.take(at), chunk, thorough=thorough), cuts)
        return merge(list(results), np.argsort(np.concatenate(cuts)))

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def chunk_size(query: Query) -> int:
    """Numbers in one block of backward rows: what stays in a processor's cache, more on a device."""
    return 262_144 if query.fast.place.kind == "numpy" else 100_000_000
