"""The package as users get it: a wheel without this checkout, with its base alone, with everything, elsewhere typed."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from verifier.values.errors import UserError
from verifier.values.extras import EXTRAS, need

from .docs.blocks import ROOT, blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


class Installed:
    """A wheel in an environment of its own, whose other packages are links to those of this one.

    There is just what the wheel's own description asks for, and what that asks for in turn: no network is needed.
    """

    def __init__(self, folder: Path) -> None:
        source = folder / "source"  # building leaves folders behind
        shutil.copytree(ROOT / "verifier", source / "verifier", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        pip = (sys.executable, "-m", "pip")
        build = ("wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source)
        subprocess.run((*pip, *build), check=True)
        (self.wheel,) = folder.glob("*.whl")
        self.bin = folder / "venv" / "bin"
        subprocess.run((sys.executable, "-m", "venv", "--without-pip", folder / "venv"), check=True)
        into = ("--python", self.bin / "python", "install", "--quiet", "--no-deps", "--no-index", self.wheel)
        subprocess.run((*pip, *into), env=_plain(), check=True)
        (self._site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        self.cwd = folder / "elsewhere"
        for name in ("models", "specs", "benchmarks/configs"):
            shutil.copytree(ROOT / name, self.cwd / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        with zipfile.ZipFile(self.wheel) as z:
            self.files = z.namelist()
            (about,) = (z.read(name).decode() for name in self.files if name.endswith("METADATA"))
        self.needs = [Requirement(r) for r in Parser().parsestr(about).get_all("Requires-Dist", [])]

    def link(self, *extras: str) -> None:
        """The packages that the base needs, or some extras do."""
        todo = [r for r in self.needs if any(_wanted(r, e) for e in extras or ("",))]
        done = {"verifier"}
        while todo:
            r = todo.pop()
            if r.name in done:
                continue
            done.add(r.name)
            dist = importlib.metadata.distribution(r.name)
            assert r.specifier.contains(dist.version, prereleases=True), f"{r}: {dist.version} is installed"
            for part in {f.parts[0] for f in dist.files or ()} - {"..", "__pycache__"}:
                if not (self._site / part).exists():
                    (self._site / part).symlink_to(Path(str(dist.locate_file(part))))
            todo += [s for s in map(Requirement, dist.requires or ()) if _wanted(s, "")]

    def run(self, command: Sequence[str], status: int = 0) -> str:
        """What a command prints on standard output; on standard error where it is to fail."""
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        env = _plain() | {"PATH": path}
        done = subprocess.run(command, cwd=self.cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == status, f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr if status else done.stdout


def _plain() -> dict[str, str]:
    """The variables of this process but for those that lead Python elsewhere."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def _wanted(r: Requirement, extra: str) -> bool:
    return r.marker is None or r.marker.evaluate({"extra": extra})


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("wheel"))
    made.link()
    return made


SHELL, PYTHON = (next(b.text for b in blocks(ROOT / "README.md") if b.kind == kind) for kind in ("sh", "python"))
COMMANDS = [line.split("#")[0].split() for line in SHELL.splitlines()]
LESS = {"certify": ["--count", "3"]}
"""So that what takes minutes takes seconds; so do the schedule's epochs."""
REFUSED = {
    ("verify", "--report"): "report", ("train",): "torch", ("certify", "--data"): "data", ("report",): "report",
}  # fmt: skip
"""Words of README's commands for which the base is not enough, and the extra that is."""


def refusing(command: list[str]) -> str | None:
    return next((extra for words, extra in REFUSED.items() if {*words} <= {*command}), None)


def test_the_base_runs_what_it_can_and_names_the_extra_for_the_rest(installed: Installed) -> None:
    """No torch, no matplotlib, nothing that only a page, a GPU or training needs."""
    listed = installed.run([str(installed.bin / "python"), "-c", "import torch"], status=1)
    assert "No module named 'torch'" in listed
    refused = set()
    for _, *command in COMMANDS:
        extra = refusing(command)
        if command[0] == "certify":
            command[command.index("run/model.onnx")] = "models/digits_fc.onnx"  # nothing was trained
        told = installed.run(["verifier", *command], status=2 if extra else 0)
        if extra:
            refused.add(extra)
            assert re.fullmatch(rf"verifier: .*pip install 'verifier\[{extra}\]'\n", told), told
    assert refused == {"report", "torch", "data"}
    code = """
import verifier
net = verifier.load("models/pendulum.onnx")
box = verifier.Box([-1, -3], [1, 3])
for ask in (lambda: verifier.tightness(net, [0, 0]), lambda: verifier.verify(net, "specs/pendulum_limit_sat.vnnlib",
            device="cuda"), lambda: verifier.train.IBP, lambda: verifier.train.read_data("digits")):
    try:
        ask()
    except verifier.UserError as e:
        print(e)
from verifier.sensitivity.baselines.semidefinite import lipsdp
try:
    lipsdp(net.graph)
except verifier.UserError as e:
    print(e)
"""
    lines = installed.run([str(installed.bin / "python"), "-c", code]).splitlines()
    assert [line.split("[")[-1] for line in lines] == ["torch]'", "torch]'", "torch]'", "data]'", "sdp]'"], lines


def test_with_everything_the_rest_runs(installed: Installed) -> None:
    """Training for two epochs and certifying a few images, the rest as it stands."""
    installed.link("all", *EXTRAS.keys() - {"train"})
    recipe = installed.cwd / "benchmarks" / "configs" / "digits_ibp.toml"
    text = recipe.read_text()
    for name, value in (("epochs", "2"), ("ramp_end", "1"), ("milestones", "[2]"), ("width", "2")):
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1
    recipe.write_text(text)
    for _, *command in COMMANDS:
        if refusing(command) or command[0] == "bench":  # (whose results are reported)
            installed.run(["verifier", *command, *LESS.get(command[0], [])])
    assert {"page.html", "report.html", "run"} <= {p.name for p in installed.cwd.iterdir()}
    code = f"{PYTHON}\nprint(result.verdict, verifier.__file__)"
    verdict, place = installed.run([str(installed.bin / "python"), "-c", code]).split()
    assert verdict == "sat" and Path(place).is_relative_to(installed.bin.parent)


def test_what_is_in_the_wheel(installed: Installed) -> None:
    ours = {p.relative_to(ROOT).as_posix() for p in (ROOT / "verifier").rglob("*") if p.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    assert "verifier/py.typed" in ours
    assert {name for name in installed.files if ".dist-info/" not in name} == ours


def test_extras_are_those_of_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"verifier[{','.join(e for e in EXTRAS if e != 'train')}]"]
    owners = importlib.metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        listed = {Requirement(r).name for r in extras[extra]}
        assert {owners.get(m, [m])[0].lower() for m in modules} == listed


def test_every_dependency_has_a_lower_bound_and_none_a_pin() -> None:
    """Pins are for constraints.txt: a library that insists on a version cannot stand beside another that does."""
    extras = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in ("dev", "docs", "all")}
    for r in map(Requirement, [*PROJECT["dependencies"], *(r for rs in extras.values() for r in rs)]):
        assert [s.operator for s in r.specifier] == [">="], r


def test_what_is_missing_is_named() -> None:
    need("this", "report")
    need("this", "torch", "torch")
    EXTRAS_GONE = "no_such_module_of_ours"
    with pytest.raises(UserError, match=rf"^this: {EXTRAS_GONE} is not installed; pip install 'verifier\[sdp\]'$"):
        need("this", "sdp", EXTRAS_GONE)


# -- other systems ----------------------------------------------------------------------------------------------------

WINDOWS = """
import ctypes, os, signal, sys, time
import numpy, onnx, onnxruntime, scipy.optimize, torch, matplotlib, rich.progress, cvxpy, sqlite3, subprocess
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for where, names in (
    (os, ("fork", "wait4", "sysconf", "sched_getaffinity", "memfd_create", "getuid", "geteuid", "register_at_fork")),
    (signal, ("SIGKILL", "SIGALRM", "setitimer")), (time, ("clock_gettime", "CLOCK_BOOTTIME")),
):
    for name in names:
        delattr(where, name)
plain = ctypes.CDLL

class CDLL(plain):
    def __init__(self, name, *more, **how):
        if name is None:
            raise TypeError("argument of type 'NoneType' is not iterable")
        super().__init__(name, *more, **how)

ctypes.CDLL = CDLL
import importlib, pkgutil, verifier
names = [m.name for m in pkgutil.walk_packages(verifier.__path__, "verifier.") if m.name != "verifier.__main__"]
for name in names:
    importlib.import_module(name)
from verifier.cli.app import run
from verifier.cli.main import main  # (what it sets up for the process is the process's)
print("imported", len(names))
page, model, sat, unsat, instances, folder = sys.argv[1:]
print("status", run(["verify", model, unsat, "--report", page]))
print("status", run(["verify", model, sat, "--quiet", "--json", page + ".json"]))
print("status", run(["lipschitz", model, "--input", "0,0", "--eps", "0.01", "--quiet"]))
print("status", run(["bench", instances, "--db", folder + "/a.sqlite"]))
"""


def test_a_system_without_fork(tmp_path: Path) -> None:
    """As on Windows: every module can be imported, `verify` answers, `bench` says what it lacks."""
    from .cli.files import MODEL, SAT, UNSAT

    page, instances = tmp_path / "page.html", ROOT / "specs" / "instances.csv"
    words = [str(page), MODEL, SAT, UNSAT, str(instances), str(tmp_path)]
    command = [sys.executable, "-c", WINDOWS, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("imported", "status", "sat", "unsat"))]
    assert lines[1:] == ["unsat", "status 0", "sat", "status 0", "status 0", "status 2"], done.stdout + done.stderr
    assert int(lines[0].split()[1]) > 300
    assert done.stderr.splitlines()[-1].endswith("this system has no fork")
    assert "unsat" in page.read_text()


# -- types ------------------------------------------------------------------------------------------------------------

USER = """
from typing import assert_type

import numpy as np

import verifier
from verifier import Ball, Box, UserError, VerifierError
from verifier.run.model import Network

net = verifier.load("a.onnx")
assert_type(net, Network)
result = verifier.verify(net, "a.vnnlib", timeout=60)
assert_type(result, verifier.Result)
assert_type(result.verdict, verifier.Verdict)
found = verifier.lipschitz(net, Box([-1, -3], [1, 3]), timeout=30)
assert_type(found, verifier.Lipschitz)
assert_type(found.lower, float)
assert_type(verifier.monotone(net, Ball(np.zeros(2), 0.1), input=1), verifier.Monotone)
assert_type(verifier.bound(net, Box([0], [1])), verifier.OutputBounds)
assert_type(verifier.read("a.vnnlib"), verifier.Property | verifier.Query2)
verifier.train.IBP()
verifier.train.read_data("digits").classes + 1
try:
    raise UserError("a")
except VerifierError:
    pass
verifier.verfy(net)  # wrong
verifier.verify(net, "a.vnnlib", timeout="soon")  # wrong
verifier.train.ibp  # wrong
"""


def test_a_users_checker_sees_types(tmp_path: Path) -> None:
    """mypy, in its strictest setting, on a script beside an installed package (large ones are not looked into)."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "verifier").symlink_to(ROOT / "verifier")
    script, settings = tmp_path / "script.py", tmp_path / "mypy.ini"
    script.write_text(USER)
    slow = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in ("torch", "onnx", "onnxruntime", "scipy"))
    quiet = "[mypy-verifier.*]\nignore_errors = True\n"  # as of anything installed
    settings.write_text(f"[mypy]\nstrict = True\nmypy_path = {site}\n{quiet}{slow}")
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", tmp_path / "cache", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    wrong = [k for k, line in enumerate(USER.splitlines(), 1) if line.endswith("# wrong")]
    ours = [line for line in done.stdout.splitlines() if line.startswith("script.py")]
    assert [int(line.split(":")[1]) for line in ours if ": error:" in line] == wrong, done.stdout


@pytest.mark.parametrize("name", ["verifier", "verifier.train"])
def test_checkers_and_python_see_the_same_names(name: str) -> None:
    module = __import__(name, fromlist=["x"])
    tree = ast.parse(Path(module.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    told = {(a.asname, f"{n.module}.{a.name}") for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    told = {(n, where) for n, where in told if n and not n.startswith("_") and n != "train"}
    had = {n: f"{where}.{n}" for n, where in module._WHERE.items()}
    renamed = {n for n in had if n in ("read_data", "read_recipe")}
    assert told == {(n, where) for n, where in had.items() if n not in renamed}
    assert all(getattr(module, n).__name__ == n for n in had.keys() - renamed if isinstance(getattr(module, n), type))
