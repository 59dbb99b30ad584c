"""Bounds by norms and by semidefinite programming keep to the time there is, and hold whatever was left out."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from verifier.graph.graph import Graph
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.relu import Relu
from verifier.search.budget import Budget
from verifier.sensitivity.baselines import semidefinite, spectral
from verifier.sensitivity.baselines.products import product_of_norms
from verifier.sensitivity.baselines.semidefinite import lipsdp

from .test_products import chained


def network() -> Graph:
    rng = np.random.default_rng(0)
    W, V = rng.normal(size=(12, 5)), rng.normal(size=(3, 12))
    return chained((5,), Dense(W, np.ones(12)), Relu(), Dense(V))


def test_a_product_without_time() -> None:
    assert product_of_norms(network(), 2, Budget(0.0)) == inf


def test_what_takes_longer_than_there_is_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sharp = product_of_norms(network(), 2)
    monkeypatch.setattr(spectral, "PER_PRODUCT", 1e9)  # an eigenvalue decomposition would take for ever
    monkeypatch.setattr(spectral, "middle", lambda A: pytest.fail("it was begun"))
    assert sharp <= product_of_norms(network(), 2, Budget.seconds(100)) < inf


@pytest.mark.parametrize("seconds", [0.0, 100.0])
def test_a_solver_that_takes_too_long_to_set_up_is_not_asked(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    best = lipsdp(network())
    monkeypatch.setattr(semidefinite, "ENTRY", 1e9)
    monkeypatch.setattr("cvxpy.Variable", lambda *a, **more: pytest.fail("it was set up"))
    found = lipsdp(network(), seconds=seconds)
    assert best * (1 - 1e-6) <= found < inf


def test_no_more_is_made_to_hold_than_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    true = semidefinite.definite
    monkeypatch.setattr(semidefinite, "definite", lambda *a: asked.append(a) or true(*a))
    monkeypatch.setattr(semidefinite, "_solved", lambda q, start, solver, seconds: start)
    lipsdp(network(), seconds=100.0)
    many, asked[:] = len(asked), []
    assert lipsdp(network(), seconds=0.0) < inf and 1 <= len(asked) < many
