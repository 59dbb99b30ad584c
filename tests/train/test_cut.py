"""Where networks are cut in two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from verifier.graph.graph import Affine, Input
from verifier.train.cut import cut
from verifier.train.methods.taps import TAPS
from verifier.train.model import Trainable
from verifier.values.errors import ModelError

from .cases import (
    NETS,
    K,
    data,
    loss,
    trainable,
)

_LINEAR = (Affine, Input)


@pytest.mark.parametrize("name", NETS)
def test_a_cut_network_is_the_network(name: str) -> None:
    net, d = trainable(name), data(name)
    graph, found = net.clean(d.x).graph, 0
    for layers in range(5):
        try:
            place = cut(graph, layers)
        except ModelError as e:
            assert f"with {layers} nonlinear layers" in str(e) and "\n" not in str(e)
            continue
        values = graph.values(d.x)
        torch.testing.assert_close(place.behind.evaluate(values[place.node])[0], values[graph.outputs[0]])
        assert sum(not isinstance(n.op, _LINEAR) for n in place.behind.nodes) == layers
        found += 1
    # Behind each activation, and before the first one.
    layers = {"residual": 4, "conv_bn": 4, "pool": 4, "dense": 3, "conv": 3, "rows": 2, "average": 2, "bumps": 3}
    assert found >= 2 and found == layers.get(name, found)


def test_where_a_network_is_cut() -> None:
    """Straight after a nonlinear layer where it can be; where a branch passes over that, before the next."""
    net, d = trainable("residual"), data("residual", 0.1)
    graph = net.clean(d.x).graph
    one, two, three = (i for i, n in enumerate(graph.nodes) if not isinstance(n.op, _LINEAR))
    assert [cut(graph, k).node for k in (0, 2)] == [three, one]
    assert (cut(graph, 1).node,) == graph.nodes[three].inputs and (cut(graph, 3).node,) == graph.nodes[one].inputs
    values = graph.values(d.x)
    assert not torch.allclose(cut(graph, 1).behind.evaluate(values[two])[0], values[graph.outputs[0]])
    with pytest.raises(ModelError, match="with 4 nonlinear layers .* numbers that can be: 0, 1, 2, 3"):
        cut(graph, 4)
    with pytest.raises(ModelError, match="with 4 nonlinear"):
        loss(TAPS(attacked=4), net, d)


def test_the_latent_box_is_behind_the_activation() -> None:
    """Not behind the next affine layer, though the numbers of layers are the same."""
    net, d = trainable("dense"), data("dense", 0.1)
    graph = net.clean(d.x).graph
    bends = [i for i, n in enumerate(graph.nodes) if not isinstance(n.op, _LINEAR)]
    assert [cut(graph, k).node for k in (1, 0)] == bends


def test_a_branch_over_every_place_is_seen() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, K)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(torch.relu(x))) + x)

    net = Trainable(Skip().double(), torch.zeros(1, 6, dtype=torch.float64))
    with pytest.raises(ModelError, match="numbers that can be: none"):
        loss(TAPS(), net, data("dense"))
