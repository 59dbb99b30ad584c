"""Progress in a notebook: one line below the cell, by itself, while a question takes time; nothing anywhere else.

What a question was answered is told to whoever listens (`values.log`), too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from verifier.values.log import note
from verifier.values.shown import Shown

P = ParamSpec("P")
R = TypeVar("R")

FIRST, AGAIN = 1.0, 0.2
"""Seconds before the line appears, and between two changes of it."""


def shows(words: Callable[..., str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a question tell a notebook how it goes, where nobody else watches.

    Args:
        words: what the line says, from what the question's `watch` is called with.
    """

    def around(question: Callable[P, R]) -> Callable[P, R]:
        @wraps(question)
        def asked(*args: P.args, **kwargs: P.kwargs) -> R:
            display = _display() if kwargs.get("watch") is None else None
            line = None if display is None else _Line(display, words)
            if line is not None:
                kwargs["watch"] = line.note
            try:
                answer = question(*args, **kwargs)
            finally:
                if line is not None:
                    line.close()
            if isinstance(answer, Shown):
                note(question.__name__, "%r", answer)
            return answer

        return asked

    return around


def _display() -> Callable[..., Any] | None:
    """IPython's way to show something, in a kernel (of Jupyter, VS Code, Colab); None elsewhere."""
    ipython = sys.modules.get("IPython")  # never imported: who is in a notebook has it
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return getattr(import_module("IPython.display"), "display", None)


class _Line:
    """One line, changed in place, gone at the end."""

    def __init__(self, display: Callable[..., Any], words: Callable[..., str]) -> None:
        self._display, self._words = display, words
        self._next = time.monotonic() + FIRST
        self._handle: Any = None

    def note(self, *told: Any) -> None:
        """Take note of how it goes."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + AGAIN
        self._show(self._words(*told))

    def close(self) -> None:
        """Take it away."""
        if self._handle is not None:
            self._show("")

    def _show(self, text: str) -> None:
        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def searching(phase: str, progress: Any) -> str:
    """Of `verify`."""
    if progress is None:
        return phase
    return f"{phase}: {progress.bounded:,} parts bounded, {progress.open:,} open, largest gap {progress.worst:.3g}"


def narrowing(phase: str, found: Any) -> str:
    """Of `lipschitz`, `monotone` and `jacobian`."""
    from verifier.sensitivity.search import DerivativeSearch  # whoever calls this has loaded it; `verify` has not

    search = found if isinstance(found, DerivativeSearch) else getattr(found, "search", None)
    if not isinstance(search, DerivativeSearch):
        return phase  # nothing is searched yet
    return f"{phase}: {search.bounded:,} parts bounded, {len(search.frontier):,} open"


def certifying(standing: Any) -> str:
    """Of `certify`."""
    counts = ", ".join(f"{n:,} {status}" for status, n in sorted(standing.counts.items()))
    return f"{standing.done:,} of {standing.total:,} images: {counts}"


def bisecting(standing: Any) -> str:
    """Of `radii`."""
    return f"radii of {standing.done:,} of {standing.total:,} images"
