"""Modules written as ONNX: what onnxruntime computes is what the module computes, or nothing is written."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import verifier.run.export as door
from verifier.run.export import export
from verifier.train.architectures import build
from verifier.values.errors import ModelError, UnsoundBound, UserError


def _run(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x.numpy()})[0]


@pytest.mark.parametrize(("name", "bn"), [("cnn3", True), ("cnn5", False), ("mlp", True)])
def test_the_file_computes_what_the_module_does(tmp_path, name, bn):
    torch.manual_seed(0)
    net = build(name, (3, 9, 8), 4, width=4, bn=bn, normalize=([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))
    net(torch.rand(16, 3, 9, 8))  # batch norms get statistics of their own
    net[1].eval()  # one part is frozen
    modes = [m.training for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.rand(6, 3, 9, 8)
    export(net, x[:1], tmp_path / "a.onnx")
    assert [m.training for m in net.modules()] == modes and not net[1].training
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in state.items())
    net.eval()
    for n in (1, 6):
        np.testing.assert_allclose(_run(tmp_path / "a.onnx", x[:n]), net(x[:n]).detach().numpy(), atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


class _Sneaky(nn.Module):
    """Computes something else while it is being written."""

    def forward(self, x):
        return x * (3.0 if torch.compiler.is_compiling() else 2.0)


class _Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(("module", "error"), [(_Sneaky(), UnsoundBound), (_Branching(), ModelError)])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, module, error):
    (tmp_path / "a.onnx").write_bytes(b"before")
    with pytest.raises(error) as e:
        export(module, torch.ones(1, 3), tmp_path / "a.onnx")
    assert "\n" not in str(e.value)
    assert (tmp_path / "a.onnx").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="written") as e:
        export(nn.Linear(3, 2), torch.ones(1, 3), tmp_path / "none" / "a.onnx")
    assert "\n" not in str(e.value)


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    """The comparison is on: with weights changed behind the exporter's back it finds the difference."""
    compare = door._compare

    def changed(module, example, path):
        with torch.no_grad():
            module.weight[0, 0] += 1
        compare(module, example, path)

    monkeypatch.setattr(door, "_compare", changed)
    with pytest.raises(UnsoundBound):
        export(nn.Linear(3, 2), torch.ones(1, 3), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
