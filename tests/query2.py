"""A reading of VNN-LIB 2.0 that shares nothing with the verifier: what is declared, and what holds, by text alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

STANDARD = Path(__file__).resolve().parents[2] / "shared/vnnlib2"
"""The standard's example queries."""


@dataclass
class Net:
    """A declared network: its variables as (kind, name, type, shape, tensor)."""

    name: str
    equal_to: str
    variables: list[tuple[str, str, str, tuple[int, ...], str]]


def words(text: str) -> list[str]:
    """Tokens, comments left out."""
    return re.findall(r'"[^"]*"|\[[^\]]*\]|[()]|[^\s()\[\]"]+', re.sub(r";.*", "", text))


def tree(text: str) -> list[Any]:
    """Nested lists."""
    stack: list[list[Any]] = [[]]
    for word in words(text):
        if word == "(":
            stack.append([])
        elif word == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(word)
    return stack[0]


def nets(text: str) -> list[Net]:
    """The declared networks."""
    found = []
    for command in tree(text):
        if command[0] != "declare-network":
            continue
        equal = next((part[1] for part in command[2:] if part[0] == "equal-to"), "")
        variables = []
        for part in command[2:]:
            if part[0].startswith("declare-"):
                shape = tuple(int(d) for d in re.findall(r"\d+", part[3]))
                tensor = part[4].strip('"') if len(part) > 4 else ""
                variables.append((part[0][8:], part[1], part[2], shape, tensor))
        found.append(Net(command[1], equal, variables))
    return found


def holds2(text: str, values: Mapping[str, Any]) -> bool:
    """Whether every assertion holds for the variables' values, in rational arithmetic."""

    def value(e: Any) -> Fraction:
        if isinstance(e, list):
            terms = merge(e[1:])
            if e[0] == "-":
                return -terms[0] if len(terms) == 1 else terms[0] - sum(terms[1:], Fraction(0))
            result = terms[0]
            for term in terms[1:]:
                result = result + term if e[0] == "+" else result * term
            return result
        return Fraction(e)

    def merge(operands: list[Any]) -> list[Fraction]:
        """Values of operands: a name and the index behind it are one."""
        found, i = [], 0
        while i < len(operands):
            word = operands[i]
            if isinstance(word, str) and word in values:
                index: tuple[int, ...] = ()
                if i + 1 < len(operands) and isinstance(operands[i + 1], str) and operands[i + 1].startswith("["):
                    i += 1
                    index = tuple(int(d) for d in operands[i].strip("[]").split(","))
                found.append(Fraction(float(np.asarray(values[word])[index])))
            else:
                found.append(value(word))
            i += 1
        return found

    def true(e: Any) -> bool:
        if e[0] in ("and", "or"):
            return (all if e[0] == "and" else any)(true(part) for part in e[1:])
        a, b = merge(e[1:])
        return {"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b, "==": a == b, "=": a == b, "!=": a != b}[e[0]]

    return all(true(command[1]) for command in tree(text) if command[0] == "assert")


def assignment(text: str) -> dict[str, tuple[str, np.ndarray]]:
    """The standard's assignment: type and value of every variable, the format checked to the letter."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    lines = text.splitlines()
    while lines:
        head = re.fullmatch(r"([A-Za-z]\w*) (\w+) \[((?:\d+(?:,\d+)*)?)\]", lines.pop(0))
        assert head
        shape = tuple(int(d) for d in head[3].split(",") if d)
        size = int(np.prod(shape))
        numbers, lines = lines[:size], lines[size:]
        assert all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", n) for n in numbers) and len(numbers) == size
        found[head[1]] = head[2], np.array([float(n) for n in numbers]).reshape(shape)
    return found


def computed(net: Net, path: str, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Hidden variables, then outputs, as onnxruntime computes them."""
    model = onnx.load(path)
    own = [o.name for o in model.graph.output]
    hidden = [v[4] for v in net.variables if v[0] == "hidden"]
    for name in hidden:
        if name not in own:
            model.graph.output.add().name = name
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {}
    for given, x in zip(session.get_inputs(), inputs, strict=True):
        dtype = np.float64 if "double" in given.type else np.float32
        assert (x.astype(dtype) == x).all()
        feed[given.name] = x.astype(dtype).reshape([d if isinstance(d, int) else 1 for d in given.shape])
    return [np.asarray(y, np.float64) for y in session.run([*hidden, *own], feed)]


def recheck(text: str, files: Mapping[str, str], out: str) -> None:
    """Assert that an assignment names every variable in order, is what the models compute, and satisfies the query."""
    found = assignment(out)
    declared = [v for net in nets(text) for v in net.variables]
    assert list(found) == [v[1] for v in declared]
    for _, name, dtype, shape, _ in declared:
        assert found[name][0] == dtype.lower() and found[name][1].shape == shape
    for net in nets(text):
        inputs = [found[v[1]][1] for v in net.variables if v[0] == "input"]
        results = [v[1] for v in net.variables if v[0] != "input"]
        file = files.get(net.name) or files[net.equal_to]
        for name, y in zip(results, computed(net, file, inputs), strict=True):
            assert (found[name][1].reshape(-1) == y.reshape(-1)).all()
    assert holds2(text, {name: value for name, (_, value) in found.items()})


needs_standard = pytest.mark.skipif(not STANDARD.is_dir(), reason="the standard's examples are not here")
