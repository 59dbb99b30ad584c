"""Running out of memory makes the batch smaller, not the answer worse."""

from __future__ import annotations

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from verifier.search import workers
from verifier.search.domains import Domains


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(chain(np.random.default_rng(3), (4, 20, 20, 20, 2)))
    box = -np.ones(4), np.ones(4)
    values = net.run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))[:, 0]
    top = values.max() + 0.6 * np.ptp(values)
    question = verifier.output_property(*box, [[([-1.0, 0.0], -top)]])
    expected = verifier.verify(net, question)
    assert expected.verdict == "unsat" and expected.stats["rounds"] > 3
    evaluate, refused = workers.evaluate, []

    def short(query: object, d: Domains, *rest: object) -> object:
        if len(d) > 2:
            refused.append(len(d))
            raise RuntimeError("CUDA out of memory") if len(refused) % 2 else MemoryError
        return evaluate(query, d, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "evaluate", short)
    result = verifier.verify(net, question)
    assert refused and result.verdict == "unsat" and result.stats["domains"] >= expected.stats["domains"] // 2
