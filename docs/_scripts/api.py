"""The page of Python names, made from their docstrings whenever the pages are built (`docs/_scripts/hooks.py`)."""

from __future__ import annotations

import inspect
import re
from enum import Enum

import verifier

HEAD = """\
# Python

Everything here is a name of the package: `import verifier`.  Each is imported when it is first used, so that
`import verifier` costs nothing.  Questions take a file, or what `load` returned.  Nothing is global; calls can run side
by side.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "Questions": ("verify", "bound", "find_range", "lipschitz", "jacobian", "monotone"),
    "Networks and input sets": ("load", "Box", "Ball"),
    "Properties": (
        "robustness", "robust", "output_range", "output_property", "monotonicity", "equivalent", "read", "Property",
        "Query2",
    ),
    "A set of data": ("certify", "radii", "tightness"),
    "Answers": ("Result", "Verdict", "Lipschitz", "Monotone"),
    "Errors": ("VerifierError", "UserError", "UnsoundBound"),
}  # fmt: skip
"""What is not named here stands at the end."""

SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")


def page() -> str:
    """The page."""
    listed = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "More": tuple(n for n in verifier.__all__ if n not in listed)}
    parts = [HEAD]
    for title, names in groups.items():
        there = [n for n in names if n in verifier.__all__]
        if there:
            parts += [f"\n## {title}\n", *(_entry(n) for n in there)]
    return "\n".join(parts)


def _entry(name: str) -> str:
    thing = getattr(verifier, name)
    return f"### {name}\n\n```python\n{_head(name, thing)}\n```\n\n{rendered(inspect.getdoc(thing) or '')}\n"


def _head(name: str, thing: object) -> str:
    """How it is called, one argument a line where the line would be long."""
    if inspect.isclass(thing) and issubclass(thing, Enum):
        return "\n".join(f"{name}.{member.name}  # {member.value}" for member in thing)
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"class {name}({', '.join(b.__name__ for b in thing.__bases__)})"
    signature = inspect.signature(thing)  # type: ignore[arg-type]
    text = re.sub(r"'([^']*)'", r"\1", str(signature)).removesuffix(" -> None")
    text = re.sub(r"<factory>", "...", text)
    if len(name) + len(text) <= 100:
        return name + text
    arguments = [re.sub(r": '([^']*)'", r": \1", str(p)) for p in signature.parameters.values()]
    kinds = [p.kind for p in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        arguments.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    end = text[text.rfind(")") :]
    return f"{name}(\n" + "".join(f"    {a.replace('<factory>', '...')},\n" for a in arguments) + end


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
