"""Which mistakes in the modules that decide soundness would no test notice?

Each mutant is one of these modules with one change: a comparison turned or its edge moved, plus for minus, a summand or
a rounding factor left out, minimum for maximum, a negation or a statement left out, a constant returned.  The tests
that cover the module run on it, in a process forked from one that has imported the libraries already.  What survives is
a mistake that nobody would notice, or harmless; those known to be harmless, and why, are in `mutation.toml`.

    python -m benchmarks.mutation --sample 200 --seed 0     # some of all modules
    python -m benchmarks.mutation --only values/ball        # all of one

Exit status 1 if something survives that `mutation.toml` does not know.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "benchmarks" / "mutation.toml"
_READ = tomllib.loads(KNOWN.read_text())
COVERED: dict[str, list[str]] = _READ["covered"]
"""Module -> arguments of pytest: what covers it, the quickest first."""
HARMLESS = {(k["module"], k["text"], k["what"]) for k in _READ["harmless"]}
LONGEST = 4.0
"""How many times as long as the unchanged module's a mutant's tests may take."""

TURNED: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
SWAPPED = {"minimum": "maximum", "fmin": "fmax", "min": "max", "amin": "amax", "any": "all", "below": "above",
           "floor": "ceil", "up": "down"}  # fmt: skip
SWAPPED |= {b: a for a, b in SWAPPED.items()}
ROUNDING = ("gamma", "unit", "tiny", "slack", "error", "grain", "rounded")


@dataclass(frozen=True)
class Mutant:
    """One change: of the module's `node`th node (as `ast.walk` has it), the `variant`th one."""

    module: str
    node: int
    variant: int
    line: int
    text: str
    what: str

    def __str__(self) -> str:
        return f"{self.module}.py:{self.line}: {self.what} in `{self.text}`"


def named(node: ast.AST) -> str:
    """What a call or a name is called."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def changed(node: Any, **fields: Any) -> Any:
    """A copy with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place, and what that is called."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in TURNED.get(type(node.ops[0]), ()):
            yield f"{type(node.ops[0]).__name__} to {other.__name__}", changed(node, ops=[other()])
    elif isinstance(node, ast.BinOp):
        yield from arithmetic(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        yield "negation dropped", node.operand
    elif isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield f"{type(node.op).__name__} to {type(other).__name__}", changed(node, op=other)
    elif isinstance(node, ast.Call):
        yield from calls(node)
    elif isinstance(node, (ast.AugAssign, ast.Raise)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Yield))
    ):
        yield "statement dropped", ast.Pass()
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Subscript, ast.Attribute)):
        yield "statement dropped", ast.Pass()
    elif isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "bool":
        for value in (True, False):
            yield f"returns {value}", changed(node, body=[ast.Return(ast.Constant(value))])


def arithmetic(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    """Of sums: the other sign, or without what is added; of products: without a factor that is about rounding."""
    if isinstance(node.op, (ast.Add, ast.Sub)):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield f"{type(node.op).__name__} to {type(other).__name__}", changed(node, op=other)
        yield "summand dropped", node.left
    elif isinstance(node.op, ast.Mult):
        for side, rest in ((node.right, node.left), (node.left, node.right)):
            if any(named(n) in ROUNDING for n in ast.walk(side)):
                yield "factor dropped", rest
    elif isinstance(node.op, (ast.BitAnd, ast.BitOr)):
        other = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
        yield f"{type(node.op).__name__} to {type(other).__name__}", changed(node, op=other)


def calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    """Of minima, the maximum; no rounding."""
    name = named(node)
    if name in SWAPPED and isinstance(node.func, ast.Attribute):
        yield f"{name} to {SWAPPED[name]}", changed(node, func=changed(node.func, attr=SWAPPED[name]))
    elif name in SWAPPED and isinstance(node.func, ast.Name):
        yield f"{name} to {SWAPPED[name]}", changed(node, func=changed(node.func, id=SWAPPED[name]))
    if name in ("gamma", "unit", "tiny"):
        yield f"no {name}", ast.Constant(0.0)
    elif name in ("nextafter", "below", "above") and node.args:
        yield f"no {name}", node.args[0]


def mutants(module: str) -> list[Mutant]:
    """All of a module."""
    tree, found, silent = ast.parse((ROOT / "verifier" / f"{module}.py").read_text()), [], set[ast.AST]()
    for node in ast.walk(tree):  # messages and types
        inside = list(ast.iter_child_nodes(node)) if isinstance(node, (ast.Raise, ast.Assert)) else []
        inside += [t for name in ("annotation", "returns") if (t := getattr(node, name, None)) is not None]
        silent |= {n for part in inside for n in ast.walk(part)}
    for k, node in enumerate(ast.walk(tree)):
        for v, (what, _) in enumerate(variants(node) if node not in silent else ()):
            text = f"def {node.name}" if isinstance(node, ast.FunctionDef) else ast.unparse(node)
            found.append(Mutant(module, k, v, getattr(node, "lineno", 0), " ".join(text.split())[:100], what))
    return found


def mutated(m: Mutant) -> ast.Module:
    """The module with the change."""
    tree = ast.parse((ROOT / "verifier" / f"{m.module}.py").read_text())
    old = list(ast.walk(tree))[m.node]
    new = list(variants(old))[m.variant][1]

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return ast.copy_location(new, node) if node is old else self.generic_visit(node)

    return ast.fix_missing_locations(Put().visit(tree))


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a tree."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.name, self.tree = "verifier." + module.replace("/", "."), tree
        self.file = str(ROOT / "verifier" / f"{module}.py")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Of that module, this as its loader."""
        return importlib.util.spec_from_file_location(name, self.file, loader=self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the tree."""
        exec(compile(self.tree, self.file, "exec"), module.__dict__)


def started(module: str, m: Mutant | None) -> int:
    """A process, by its number, in which the tests that cover a module run; it exits with 0 if they pass."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    import pytest

    if m is not None:
        sys.meta_path.insert(0, Instead(module, mutated(m)))
    status = 70
    with contextlib.suppress(BaseException):
        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *COVERED[module]]))
    os._exit(status)


def ended(child: int, limit: float) -> int | None:
    """The exit status of a process, None when it took longer than `limit` seconds and was killed."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def explained(m: Mutant) -> bool:
    """Whether `mutation.toml` says why nobody need notice."""
    return (m.module, m.text, m.what) in HARMLESS


def main() -> int:
    """Run, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="how many mutants of all (0: every one)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], metavar="MODULE", help="of these modules alone")
    args = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["CI"] = "1"  # the same examples every time
    import onnx  # noqa: F401  # what every process needs, once
    import onnxruntime  # noqa: F401
    import pytest  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch  # noqa: F401

    every = [m for module in args.only or COVERED for m in mutants(module)]
    if args.sample:
        every = random.Random(args.seed).sample(every, min(args.sample, len(every)))
    limit: dict[str, float] = {}
    survived, start = 0, time.monotonic()
    for i, m in enumerate(sorted(every, key=lambda m: (m.module, m.line))):
        if m.module not in limit:
            begin = time.monotonic()
            if ended(started(m.module, None), 600) != 0:
                print(f"{m.module}: its tests fail without any change", flush=True)
                return 2
            limit[m.module] = LONGEST * (time.monotonic() - begin) + 5
        if ended(started(m.module, m), limit[m.module]) == 0:
            known = explained(m)
            survived += not known
            print(f"{'harmless' if known else 'SURVIVED'} {m}", flush=True)
        print(f"\r{i + 1}/{len(every)} {time.monotonic() - start:.0f} s", end="", file=sys.stderr)
    print(f"{len(every)} mutants, {survived} that nobody noticed and nobody explained")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
