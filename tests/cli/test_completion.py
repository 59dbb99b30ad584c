"""Completion scripts, in a real shell where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from verifier.cli.app import run
from verifier.cli.completion import SHELLS, script
from verifier.cli.options import parser

BASH = shutil.which("bash")


def complete(words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of some words."""
    (folder / "completion").write_text(script("bash", parser()))
    code = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _verifier; printf "%s\\n" "${COMPREPLY[@]}"'
    command = [str(BASH), "--norc", "-c", code, str(folder / "completion"), *words]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and found.stderr == "", found.stderr
    return [line for line in found.stdout.splitlines() if line]


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    files = tmp_path / "files"
    for name in ("a net.onnx", "a.vnnlib"):
        (files / name).touch()
    assert complete(["verifier", "ver"], files) == ["verify"]
    assert {"verify", "certify", "completion", "--help"} <= set(complete(["verifier", ""], files))
    assert complete(["verifier", "verify", "--time"], files) == ["--timeout"]
    assert set(complete(["verifier", "verify", "a", "b", "--device", ""], files)) == {"auto", "cpu", "cuda"}
    assert complete(["verifier", "bound", "--method", "=", "al"], files) == ["alpha-crown"]
    assert complete(["verifier", "bound", "--method", "="], files)[0] == "interval"
    assert complete(["verifier", "verify", "a"], files) == ["a net.onnx", "a.vnnlib"]
    assert complete(["verifier", "verify", "--log", "a."], files) == ["a.vnnlib"]
    assert complete(["verifier", "verify", "--timeout", ""], files) == []
    assert set(complete(["verifier", "completion", ""], files)) == set(SHELLS)
    assert complete(["verifier", "nothing", "--"], files) == []


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_sourced_as_it_says(tmp_path: Path) -> None:
    import sys

    program = tmp_path / "verifier"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m verifier "$@"\n')
    program.chmod(0o755)
    code = 'PATH="$0:$PATH"; source <(verifier completion bash); complete -p verifier'
    found = subprocess.run([str(BASH), "--norc", "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert found.stdout == "complete -F _verifier verifier\n", found.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_is_there(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("# ")
    (commands,) = (a.choices for a in parser()._actions if isinstance(a.choices, dict))
    for name, command in commands.items():
        assert name in out
        for action in command._actions:
            assert all((o if shell != "fish" else f"-l {o[2:]}") in out for o in action.option_strings if o[:2] == "--")
    if shell == "zsh":
        assert "bashcompinit" in out
    if shell == "fish":
        assert out.count("'") - out.count("\\'") == 2 * (out.count(" '")) and "%%" not in out
    if (program := shutil.which(shell)) is not None:
        assert subprocess.run([program, "-n"], input=out, text=True, timeout=60).returncode == 0


def test_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "csh"]) == 2
    assert "invalid choice: 'csh'" in capsys.readouterr().err
