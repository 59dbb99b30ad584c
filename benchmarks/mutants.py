"""What `benchmarks/mutation.py` changes, one thing at a time, and how a changed module takes the place of the real one.

Turned are comparisons (or their edge is moved), plus and minus, minimum and maximum, and and or; left out are summands,
rounding factors, negations and statements; functions that answer yes or no are made to answer one of them always.
"""

from __future__ import annotations

import ast
import copy
import functools
import gc
import importlib.abc
import importlib.util
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FUNCTION = 0x3  # the flags of a function's code (CO_OPTIMIZED, CO_NEWLOCALS); the body of a class has not both

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
    nth: int = 1  # of those with one text and change in the module, from above

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


@functools.cache
def source(module: str) -> str:
    """As it was when it was first asked for: what is edited meanwhile is not what the tests were learned with."""
    return file_of(module).read_text()


def mutants(module: str) -> list[Mutant]:
    """All of a module."""
    tree, found, silent = ast.parse(source(module)), [], set[ast.AST]()
    for node in ast.walk(tree):  # messages and types
        inside = list(ast.iter_child_nodes(node)) if isinstance(node, (ast.Raise, ast.Assert)) else []
        inside += [t for name in ("annotation", "returns") if (t := getattr(node, name, None)) is not None]
        silent |= {n for part in inside for n in ast.walk(part)}
    for k, node in enumerate(ast.walk(tree)):
        for v, (what, _) in enumerate(variants(node) if node not in silent else ()):
            text = f"def {node.name}" if isinstance(node, ast.FunctionDef) else ast.unparse(node)
            found.append(Mutant(module, k, v, getattr(node, "lineno", 0), " ".join(text.split())[:100], what))
    times = Counter[tuple[str, str]]()
    for at, m in sorted(enumerate(found), key=lambda item: item[1].line):
        times[m.text, m.what] += 1
        found[at] = replace(m, nth=times[m.text, m.what])
    return found


def mutated(m: Mutant) -> ast.Module:
    """The module with the change."""
    tree = ast.parse(source(m.module))
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

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the tree."""
        exec(compile(self.tree, self.file, "exec"), module.__dict__)


def imported_as(module: str) -> str:
    """A module's name in Python."""
    return "verifier." + module.replace("/", ".")


def file_of(module: str) -> Path:
    """A module's file."""
    return ROOT / "verifier" / f"{module}.py"


Key = tuple[str, str, int]
"""Of a function: its module's file, its full name there, its first line."""


def key(code: types.CodeType) -> Key:
    """Of a function's code."""
    return code.co_filename, code.co_qualname, code.co_firstlineno


Pairs = list[tuple[types.CodeType, types.CodeType]]
"""Functions, before and after."""


def differing(m: Mutant) -> Pairs | None:
    """The outermost functions in which a mutant differs; None if what runs at import differs, too."""
    file = str(file_of(m.module))
    return _differing(compile(source(m.module), file, "exec"), compile(mutated(m), file, "exec"))


def _differing(old: types.CodeType, new: types.CodeType) -> Pairs | None:
    """Of two bodies of a module or a class."""
    inner = [[c for c in code.co_consts if isinstance(c, types.CodeType)] for code in (old, new)]
    outer = [
        (code.co_code, code.co_names, [repr(c) for c in code.co_consts if not isinstance(c, types.CodeType)])
        for code in (old, new)
    ]
    if outer[0] != outer[1] or len(inner[0]) != len(inner[1]):
        return None
    found = Pairs()
    for a, b in zip(*inner, strict=True):
        if a == b:
            continue
        more = [(a, b)] if a.co_flags & FUNCTION == FUNCTION else _differing(a, b)
        if more is None:
            return None
        found += more
    return found


Alive = dict[Key, list[types.FunctionType]]


def living() -> Alive:
    """The functions of `verifier` that there are in this process, decorated ones and methods among them."""
    found = Alive()
    for f in gc.get_objects():
        if type(f) is types.FunctionType and (f.__module__ or "").startswith("verifier."):
            found.setdefault(key(f.__code__), []).append(f)
    return found


def possible(pairs: Pairs, alive: Alive) -> bool:
    """Whether functions can be changed where they are."""
    return all(key(a) in alive and len(a.co_freevars) == len(b.co_freevars) for a, b in pairs)


def put(pairs: Pairs, alive: Alive) -> None:
    """Change functions where they are."""
    for a, b in pairs:
        for f in alive[key(a)]:
            f.__code__ = b
