"""Values that print in one line and are a small table in a notebook, however many numbers they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from verifier.values.errors import UserError

MOST = 6
"""Numbers of an array that are printed."""
WIDE = 100
"""Characters of a text that are printed."""


class Shown:
    """A value that says in a few words what it is; a subclass gives `_said`.

    Names and reasons may come from files of others: what cannot be printed is replaced, and pages get them escaped.
    """

    def _said(self) -> list[tuple[str, Any]]:
        """What is said of it: names and values, the most important first."""
        raise NotImplementedError

    def _below(self) -> str:
        """HTML that stands below the table."""
        return ""

    def __repr__(self) -> str:
        """One line."""
        return f"{type(self).__name__}({', '.join(f'{name}: {brief(value)}' for name, value in self._said())})"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return table(((name, value) for name, value in self._said()), caption=type(self).__name__) + self._below()


def brief(value: Any) -> str:
    """A value in few characters, on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, np.ndarray):
        some = np.ravel(value)
        words = [f"{float(v):.4g}" for v in some[:MOST]]
        if some.size > MOST:
            words = [*words[: MOST - 1], "...", f"{float(some[-1]):.4g}"]
        return f"[{' '.join(words)}]" + (f" ({'x'.join(map(str, value.shape))})" if some.size > MOST else "")
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= WIDE else f"{text[: WIDE - 3]}..."


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = (), caption: str = "") -> str:
    """An HTML table; the first cell of a row names it where there is no head."""
    from html import escape  # only here: its list of entities is long

    parts = [f"<caption>{escape(caption)}</caption>"] if caption else []
    if head:
        parts.append("<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>")
    for first, *rest in rows:
        mark = "td" if head else "th"
        cells = [f"<{mark}>{escape(brief(first))}</{mark}>", *(f"<td>{escape(brief(value))}</td>" for value in rest)]
        parts.append("<tr>" + "".join(cells) + "</tr>")
    return "<table>" + "".join(parts) + "</table>"


def picture(shape: Sequence[int], before: Any, after: Any, caption: str) -> str:
    """An image, another one and their difference as HTML; empty where numbers of this shape are no image.

    Args:
        shape: of one input; empty where it is not known.
        before: `[n]` numbers, or None.  after: `[n]` numbers.
    """
    from html import escape

    from verifier.values.images import layout, png, uri  # only here: it draws

    found = layout(shape, len(after))
    if found is None or not np.isfinite(after).all():
        return ""
    both = before is not None and len(before) == len(after) and bool(np.isfinite(before).all())
    try:
        drawn = png(found, before, after) if both else png(found, after)
    except UserError as e:  # what draws is not installed: the table above stands
        return f"<p>{escape(str(e))}</p>"
    style = "image-rendering:pixelated;min-height:96px"
    said = escape(brief(caption))
    return f'<figure><img alt="{said}" style="{style}" src="{uri(drawn)}"><figcaption>{said}</figcaption></figure>'
