"""Every option that takes a value: one that cannot be used ends in status 2 and one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.files import dense
from verifier.cli.app import run

NO_TIME = ("abc", "-1", "nan", "-inf", "", "1,2")
NO_NUMBER = ("abc", "nan", "", "1,2")
NO_WHOLE = ("a", "1.5", "", "nan", "1,2")
WHERE = {
    "--eps": (*NO_NUMBER, "-1", "inf"),
    "--input": ("", "abc", "0", "0,0,0", "nan,0", "inf,0", "0;0"),
    "--lo": NO_NUMBER,
    "--hi": NO_NUMBER,
    "--ball": ("3", "x", ""),
}
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "verify": {"--timeout": NO_TIME, "--device": ("tpu",)},
    "lipschitz": {
        **WHERE,
        "--timeout": NO_TIME,
        "--tolerance": (*NO_NUMBER, "-1"),
        "--norm": ("a", "0", "", "1,2,3", "nan", "-1", "inf,0"),
        "--outputs": ("99", "-9", "a", "", "1.5", "0,99", "nan"),
        "--margins": ("99", "-9", *NO_WHOLE),
    },
    "monotone": {
        **WHERE,
        "--timeout": NO_TIME,
        "--tolerance": (*NO_NUMBER, "-1"),
        "--input-index": ("2", "-1", *NO_WHOLE),
        "--output-index": ("5", "-4", *NO_WHOLE),
    },
    "tightness": {**WHERE, "--kind": ("x",)},
    "certify": {
        "--timeout": NO_TIME,
        "--eps": (*NO_NUMBER, "-1", "inf", "1/0", "1/2/3", "8/"),
        "--norm": ("3", "a"),
        "--lo": (*NO_NUMBER, "2"),
        "--hi": (*NO_NUMBER, "-1"),
        "--count": ("0", "-1", *NO_WHOLE),
        "--range": ("a", "1", "2:1", "-1:2", "1:1", ""),
        "--jobs": ("0", "-1", *NO_WHOLE),
        "--device": ("tpu",),
    },
    "bench": {
        "--timeout": NO_TIME,
        "--jobs": ("0", "-1", *NO_WHOLE),
        "--threads": ("-1", *NO_WHOLE),
        "--memory": ("-1", *NO_NUMBER),
    },
    "bound": {"--method": ("x",), "--device": ("tpu",)},
    "train": {"--seed": ("-1", *NO_WHOLE), "--epochs": ("0", "-1", *NO_WHOLE), "--threads": ("-1", *NO_WHOLE)},
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """A command line that works, of every command."""
    here = tmp_path_factory.mktemp("values")
    net, prop, data, recipe = (str(here / n) for n in ("net.onnx", "p.vnnlib", "data.npz", "r.toml"))
    Path(net).write_bytes(dense([[1.0, -1.0], [2.0, 0.5], [0.0, 1.0]]))
    declared = [*(f"(declare-const X_{i} Real)" for i in range(2)), *(f"(declare-const Y_{i} Real)" for i in range(3))]
    bounds = [f"(assert ({op} X_{i} {v}))" for i in range(2) for op, v in (("<=", 1), (">=", 0))]
    Path(prop).write_text("\n".join([*declared, *bounds, "(assert (>= Y_0 9))"]))
    np.savez(data, x=np.full((3, 2), 0.5), y=np.array([0, 1, 2]))
    Path(recipe).write_text("[data]\nsource = 'digits'\n")
    (here / "instances.csv").write_text(f"{net},{prop},1\n")
    at = ["--input", "0,0", "--eps", "0.1"]
    return {
        "verify": ["verify", net, prop],
        "bound": ["bound", net, prop],
        "lipschitz": ["lipschitz", net, *at],
        "monotone": ["monotone", net, *at, "--input-index", "0"],
        "tightness": ["tightness", net, *at],
        "certify": ["certify", "--model", net, "--data", data, "--eps", "0.01", "--timeout", "0"],
        "bench": ["bench", str(here / "instances.csv"), "--db", str(here / "r.sqlite")],
        "train": ["train", "--config", recipe, "--out", str(here / "out")],
    }


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, options in OPTIONS.items() for o in options])
def test_refused(command: str, option: str, words: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, one line on standard error that names the option or what it is about, nothing on standard output."""
    for value in OPTIONS[command][option]:
        assert run([*words[command], f"{option}={value}"]) == 2, value
        out, err = capsys.readouterr()
        assert not out, value
        assert err.startswith("verifier: "), value
        assert len(err.splitlines()) == 1, err


@pytest.mark.parametrize("command", [c for c in OPTIONS if c not in ("bench", "train")])
def test_without_it_the_command_works(
    command: str, words: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """So that what is refused above is refused for its value."""
    assert run(words[command]) == 0
    assert capsys.readouterr().out
