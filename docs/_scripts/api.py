"""The page of Python names, made from their docstrings whenever the pages are built (`docs/_scripts/hooks.py`)."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from enum import Enum
from typing import Any

import verifier
import verifier.train

HEAD = """\
# Python

Everything here is a name of the package: `import verifier`.  Each is imported when it is first used, so that
`import verifier` costs nothing.  Questions take a file, or what `load` returned.  Nothing is global; calls can run side
by side.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "Questions": ("verify", "bound", "find_range", "lipschitz", "jacobian", "monotone"),
    "Networks and input sets": ("load", "diagnose", "Box", "Ball", "input_set", "by_name"),
    "Properties": (
        "robustness", "robust", "output_range", "output_property", "monotonicity", "equivalent", "read", "Property",
        "write_vnnlib", "Query2",
    ),
    "A set of data": ("certify", "radii", "tightness"),
    "Answers": ("Result", "Verdict", "Diagnosis", "OutputBounds", "Lipschitz", "Monotone"),
    "Errors": ("VerifierError", "UserError", "UnsoundBound"),
}  # fmt: skip
"""What is not named here stands at the end."""

TRAINING = """
## Training

Names of `verifier.train`, which needs torch and is imported when it is first used ([how to](guide/train.md)).
"""
FIRST = ("Trainable", "box", "Loss", "Method", "Batch", "Robust", "METHODS")
"""Of `verifier.train`, what a loop of one's own needs; methods follow, then the rest."""

SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")


def page() -> str:
    """The page."""
    listed = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "More": tuple(n for n in verifier.__all__ if n not in listed)}
    parts = [HEAD]
    for title, names in groups.items():
        there = [n for n in names if n in verifier.__all__]
        if there:
            parts += [f"\n## {title}\n", *(_entry(n, getattr(verifier, n)) for n in there)]
    return "\n".join([*parts, TRAINING, *_training()])


def _training() -> list[str]:
    """Entries of `verifier.train`: `METHODS`, which is a table, as a list of its names."""
    public = {name: getattr(verifier.train, name) for name in verifier.train.__all__}
    methods = public["METHODS"]
    classes = {m.__name__: m for m in methods.values()}
    words = "\n".join(f"- `{word}`: `{m.__name__}`" for word, m in methods.items())
    rest = [n for n in public if n not in FIRST and n not in classes]
    order = [*FIRST, *classes, *rest]
    return [
        f"### METHODS\n\nWhat methods are called in a recipe.\n\n{words}\n" if n == "METHODS" else _entry(n, public[n])
        for n in order
    ]


def _entry(name: str, thing: Any) -> str:
    doc = rendered(inspect.getdoc(thing) or "")
    for base in inspect.getmro(thing)[1:] if inspect.isclass(thing) else ():
        if base.__module__.startswith("verifier.train"):
            doc += _fields(base, "Attributes that it shares with others")
    if thing is verifier.train.Recipe:
        for f in fields(thing):
            doc += _fields(f.default_factory, f"Keys of `[{f.name}]`")
    return f"### {name}\n\n```python\n{_head(name, thing)}\n```\n\n{doc}\n"


def _fields(cls: Any, title: str) -> str:
    """What a class says of its attributes, under a title; nothing where it says nothing."""
    _, head, behind = (cls.__doc__ or "").partition("    Attributes:\n")
    text = rendered(inspect.cleandoc("\n" + head + behind.partition("\n\n")[0]))
    return "\n\n" + text.replace("**Attributes**", f"**{title}**") if head else ""


def _head(name: str, thing: object) -> str:
    """How it is called, one argument a line where the line would be long."""
    if inspect.isclass(thing) and issubclass(thing, Enum):
        return "\n".join(f"{name}.{member.name}  # {member.value}" for member in thing)
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"class {name}({', '.join(b.__name__ for b in thing.__bases__)})"
    signature = inspect.signature(thing)  # type: ignore[arg-type]
    text = _plain(str(signature)).removesuffix(" -> None")
    if len(name) + len(text) <= 100:
        return name + text
    arguments = [_plain(str(p)) for p in signature.parameters.values()]
    kinds = [p.kind for p in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        arguments.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    end = text[text.rfind(")") :]
    return f"{name}(\n" + "".join(f"    {a},\n" for a in arguments) + end


def _plain(text: str) -> str:
    """A signature without quotes around its types."""
    text = re.sub(r"(?:ForwardRef\('([^']*)'\)|(: |-> )'([^']*)')", lambda m: m[1] or f"{m[2]}{m[3]}", text)
    return text.replace("<factory>", "...")


def rendered(doc: str) -> str:
    """A docstring as Markdown: sections become lists."""
    out: list[str] = []
    section = ""
    for line in doc.splitlines():
        head = re.fullmatch(rf"({'|'.join(SECTIONS)}):\s*(.*)", line)
        item = re.match(r"^    (\S[^:]*): (.*)$", line)
        if head:
            section = head[1]
            out += ["", f"**{section}**" + (f": {head[2]}" if head[2] else ""), ""]
        elif section and item:
            out.append(f"- `{item[1]}`: {item[2]}")
        elif section and line.startswith("    "):
            out.append("  " + line.strip())
        else:
            section = section if line.strip() == "" else ""
            out.append(line)
    return "\n".join(out)
