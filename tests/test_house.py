"""The rules of the house that no linter knows."""

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "verifier").rglob("*.py"))
MOST_LINES = 400

BENCHMARKS = """
acas[_\\s]?xu cartpole cctsdb cersyve cgan cifar collins cora dist_?shift dubins_?rejoin eran
imagenet linearizenn lsnc lunar_?lander malbeware metaroom ml4acopf mnist nn4sys oval
relu_?splitter rl_benchmarks rul safe_?nlp soundnessbench sri tll tllverify tllverifybench
traffic_?signs? vggnet vit yolo
""".split()
BENCHMARK = re.compile(rf"(?<![a-z])(?:{'|'.join(BENCHMARKS)})(?![a-z])", re.IGNORECASE)

READER = "verifier/train/data.py"
"""Reads data sets, which have names, in the formats they come in.  Of a pickle it executes nothing: see its tests."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every absolute import, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module


def public_without_docstring(body: list[ast.stmt]) -> Iterator[str]:
    """Public functions and classes of a module, and public methods of its public classes, that say nothing.

    Overloads and setters are described where the function itself is.
    """
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        spoken_for = {"overload", "setter", "override"}
        marks = {n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", "") for n in node.decorator_list}
        if not ast.get_docstring(node) and not marks & spoken_for:
            yield f"{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from public_without_docstring(node.body)


@pytest.fixture(params=FILES, ids=named)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_are_files() -> None:
    assert len(FILES) > 20


def test_length(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_no_print_outside_cli(path: Path) -> None:
    if "cli" in path.relative_to(ROOT).parts:
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert [n.lineno for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"] == []


def test_no_star_import(path: Path) -> None:
    tree = ast.parse(path.read_text())
    froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert [n.lineno for n in froms if any(alias.name == "*" for alias in n.names)] == []


def test_no_eval_or_pickle(path: Path) -> None:
    tree = ast.parse(path.read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert [n.lineno for n in calls if n.func.id in {"eval", "exec"}] == []
    unsafe = {"pickle", "dill", "cloudpickle"} if named(path) != READER else {"dill", "cloudpickle"}
    assert [line for line, name in imported(tree) if name.split(".")[0] in unsafe] == []


def test_no_benchmark_name(path: Path) -> None:
    """One strategy for all: nothing may be chosen by the name of a benchmark, so none is ever mentioned."""
    if named(path) == READER:
        return
    found = [(i, m[0]) for i, s in enumerate(path.read_text().splitlines(), 1) for m in BENCHMARK.finditer(s)]
    assert found == []
    assert not BENCHMARK.search(named(path))


def test_public_names_are_described(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert list(public_without_docstring(tree.body)) == []
    assert path.name == "__init__.py" or ast.get_docstring(tree)


@functools.cache
def owners_of() -> Mapping[str, list[str]]:
    """Top-level module -> distributions that bring it."""
    return importlib.metadata.packages_distributions()


def test_imports_are_dependencies(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(d for extra in extras if extra not in ("dev", "docs") for d in extras[extra])]
    listed = {re.split(r"[^A-Za-z0-9._-]", d, maxsplit=1)[0].lower() for d in wanted}
    owners = owners_of()
    for line, name in imported(ast.parse(path.read_text())):
        top = name.split(".")[0]
        if top == "verifier" or top in sys.stdlib_module_names:
            continue
        assert {o.lower() for o in owners.get(top, [top])} & listed, f"line {line}: {top} is not in pyproject.toml"


def test_versions_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name, _ in pins}
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in ("all", "train")}
    for wanted in [*project["dependencies"], *(r for rs in extras.values() for r in rs)]:
        assert re.split(r"[^A-Za-z0-9._-]", wanted, maxsplit=1)[0].lower() in pinned
    assert all("+" not in version for _, version in pins), "a local version is found on one machine only"


def test_modules_that_decide_soundness_are_mutated() -> None:
    """A new one needs a line in the table: which tests were written for it."""
    table = tomllib.loads((ROOT / "benchmarks" / "mutation.toml").read_text())
    decide = [f for part in ("relax", "bounds", "search") for f in sorted((ROOT / "verifier" / part).rglob("*.py"))]
    named_ = [f.relative_to(ROOT / "verifier").with_suffix("").as_posix() for f in decide if f.name != "__init__.py"]
    known = {*table["covered"], *table["left_out"]}
    assert [n for n in named_ if n not in known] == [], "add a line to benchmarks/mutation.toml"
    assert [n for n in known if not (ROOT / "verifier" / f"{n}.py").exists()] == []
    tests = {t.split("::")[0] for some in table["covered"].values() for t in some}
    assert [t for t in tests if not (ROOT / t).exists()] == []
    assert all(why for why in table["left_out"].values())
    assert all(k["module"] in known and k["why"] for k in table["harmless"])


@pytest.mark.parametrize(
    "text", ["acasxu", "ACAS Xu", "acasxu_2023", "cifar10", "vit_block", "is_mnist", "tllverifybench"]
)
def test_the_search_for_names_finds(text: str) -> None:
    assert BENCHMARK.search(text)


@pytest.mark.parametrize("text", ["vital", "removal", "oval_", "rule", "decorate", "operand"])
def test_the_search_for_names_spares(text: str) -> None:
    assert bool(BENCHMARK.search(text)) == (text == "oval_")


def test_a_missing_docstring_is_seen() -> None:
    source = 'class Given:\n    """Said."""\n    def told(self): ...\n    def _own(self): ...\ndef f(): ...\n'
    assert list(public_without_docstring(ast.parse(source).body)) == ["3 told", "5 f"]
