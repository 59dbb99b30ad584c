"""Running out of memory makes the batch smaller, not the answer worse."""

from __future__ import annotations

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from verifier.search import workers
from verifier.search.branch_and_bound import Search
from verifier.search.budget import Budget
from verifier.search.decide import NeuronSearch, by_neurons
from verifier.search.domains import Domains, roots
from verifier.search.inputs import InputSearch
from verifier.search.neurons import problem, tree
from verifier.search.neurons.splits import Splits
from verifier.search.query import Query, make_query
from verifier.search.subproblems import Stack
from verifier.values.arrays import Place


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(chain(np.random.default_rng(3), (4, 20, 20, 20, 2)))
    box = -np.ones(4), np.ones(4)
    values = net.run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))[:, 0]
    top = values.max() + 0.6 * np.ptp(values)
    question = verifier.output_property(*box, [[([-1.0, 0.0], -top)]])
    expected = verifier.verify(net, question)
    assert expected.verdict == "unsat" and expected.stats["rounds"] > 3
    evaluate, refused = workers.evaluate, []

    def short(query: object, d: Domains, *rest: object, **named: object) -> object:
        if len(d) > 2:
            refused.append(len(d))
            raise RuntimeError("CUDA out of memory") if len(refused) % 2 else MemoryError
        return evaluate(query, d, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "evaluate", short)
    result = verifier.verify(net, question)
    assert refused and result.verdict == "unsat" and result.stats["domains"] >= expected.stats["domains"] // 10


def question() -> Query:
    """Something that neuron splitting refutes in many parts."""
    graph = chain(np.random.default_rng(3), (4, 20, 20, 20, 2))
    values = Net(graph).run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))[:, 0]
    top = values.max() + 0.6 * np.ptp(values)
    prop = verifier.output_property(-np.ones(4), np.ones(4), [[([-1.0, 0.0], -top)]])
    return make_query(graph, prop.property(2) if hasattr(prop, "property") else prop, Place("numpy", "float32"))


def test_out_of_memory_while_splitting_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    query = question()
    expected = by_neurons(query, Budget(), lambda x, group: None)
    assert expected.verdict == "unsat" and expected.progress.rounds > 3
    ascend, refused = problem.ascend, []

    def short(F: object, r: object, o: object, *rest: object, **named: object) -> object:
        if len(o.ids) > 4:  # type: ignore[attr-defined]
            refused.append(len(o.ids))  # type: ignore[attr-defined]
            raise RuntimeError("CUDA out of memory") if len(refused) % 2 else MemoryError
        return ascend(F, r, o, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(problem, "ascend", short)
    result = by_neurons(query, Budget(), lambda x, group: None)
    assert refused and result.verdict == "unsat" and result.progress.bounded >= expected.progress.bounded // 2


@pytest.mark.parametrize("stage", ["root", "plant", "climb"])
def test_a_network_that_does_not_fit_is_given_up(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(problem if stage == "climb" else tree, stage, full)
    search = NeuronSearch(question(), Budget(), lambda x, group: None)
    assert search.advance(Budget()) is None
    assert search.given_up == {0} and not search.able and not search.refuted


def test_parts_that_were_not_sown_are_not_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    query = question()
    d = roots(query)
    planted = tree.plant(query, d, tree.root(query, d))
    splits = problem.NeuronSplits(planted, Budget(), lambda x, group: None)
    search, refused = Search(splits, Stack[Splits](), range(len(planted))), []
    settled = problem.NeuronSplits._settled

    def once(self: problem.NeuronSplits, *rest: object) -> object:
        if not refused:
            refused.append(1)
            raise MemoryError
        return settled(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(problem.NeuronSplits, "_settled", once)
    with pytest.raises(MemoryError):
        search.advance(Budget())
    assert search.verified < 1 and splits.waiting
    assert search.advance(Budget()) and not search.given_up and search.progress.rounds > 3


def test_a_single_part_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no smaller batch: it is not tried for ever."""
    graph = chain(np.random.default_rng(3), (2, 4, 1))
    prop = verifier.output_property(-np.ones(2), np.ones(2), [[([-1.0], 0.0)]])
    search, asked = InputSearch(make_query(graph, prop, Place("numpy", "float32")), lambda *_: None), list[int]()

    def never(d: Domains, *rest: object) -> object:
        asked.append(len(d))
        assert len(asked) < 20
        raise MemoryError

    monkeypatch.setattr(search.problem, "workers", never)
    with pytest.raises(MemoryError):
        search.advance(Budget())
    assert asked[-1] == 1
