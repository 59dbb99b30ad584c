"""A share of `benchmarks/exporters.py`: what exporters write of common modules is read, and bounds hold samples.

All modules are here, operator sets in turns: what TorchScript's exporter writes of each, the other exporter of every
second one and of what the first cannot write, and every third module as it is.
"""

from __future__ import annotations

import pytest

from benchmarks.exporters import MODULE, UNWRITTEN, WELL, cell
from benchmarks.exporters_nets import NETS

SCRIPT, DYNAMO = (13, 18, 20, 22, 23), (18, 23, 20, 24, 22)
HOW = ("", " plain", " batch")
"""What is said to an exporter: nothing, not to optimise, an open batch."""


@pytest.mark.filterwarnings("ignore")  # TorchScript has been deprecated
@pytest.mark.parametrize("name", NETS)
def test_read_and_bounded(name: str) -> None:
    k, net = list(NETS).index(name), NETS[name]
    module = net.made()
    first = cell(net, module, f"script{HOW[k % 3]}", SCRIPT[k % 5])
    cells = {"script": first}
    if first.sign == UNWRITTEN or k % 2:
        cells["dynamo"] = cell(net, module, f"dynamo{HOW[k // 2 % 3]}", DYNAMO[k // 2 % 5])
    if k % 3 == 2:
        cells[MODULE] = cell(net, module, MODULE, 0)
    if "dynamo" in cells:
        assert cells["dynamo"].sign != UNWRITTEN, cells["dynamo"].said
    wrong = {how: c for how, c in cells.items() if c.sign not in (WELL, UNWRITTEN)}
    assert not wrong
    assert any(c.sign == WELL for c in cells.values())


def test_a_wrong_reading_is_noticed() -> None:
    """A cell is no better than what it looks at: of another module's weights it says so."""
    net = NETS["mlp"]
    module, other = net.made(), net.made()
    other[0].weight.data *= 1.01
    assert cell(net, other, "script", 18).sign == WELL
    from benchmarks.exporters import exported, outcome

    assert outcome(net, module, exported(other, net.example(), "script", 18)).sign == "v"
