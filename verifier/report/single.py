"""The page for one answer of `verify`: what a page of results shows of an instance, for this one alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from verifier.campaign.bench import KIND, TOOL
from verifier.campaign.rows import Counterexample, Row, pack, stem
from verifier.campaign.store import Run
from verifier.report.content import Content, RunGroup, label
from verifier.report.page import page
from verifier.run.machine import machine, version


def answer_page(
    asked: dict[str, Any], verdict: str, reason: str, stats: dict[str, Any], found: Counterexample | None
) -> str:
    """The page as HTML.

    Args:
        asked: the question: `model` (a file, or one a name of network), `spec`, `timeout` and more settings.
        verdict, reason, stats: as of `run.verify.Result`; `seconds` of stats are of the whole process.
        found: the counterexample, for `sat`.
    """
    model, spec = asked["model"], str(asked["spec"])
    onnx = f"[{', '.join(repr(pair) for pair in model.items())}]" if isinstance(model, dict) else str(model)
    names = ("domains", "open", "gap", "strategy", "facts", "phases", "parts")
    told = {name: stats[name] for name in names if stats.get(name) is not None}
    limit = asked.get("timeout")
    row = Row(
        1, "", onnx, spec, float("inf") if limit is None else float(limit), "", str(verdict), float(stats["seconds"]),
        reason, ended=time.time(), packed=None if found is None else pack(found), memory=_memory(), **told,
    )  # fmt: skip
    settings = {k: v for k, v in asked.items() if k not in ("model", "spec") and v is not None}
    run = Run(1, KIND, TOOL, os.getcwd(), version(), settings, machine(), time.time() - row.seconds, 1)
    content = Content(RunGroup(label([run]), [run], [row]), None, [(row, None)])
    files = [*(model.values() if isinstance(model, dict) else [model]), spec]
    title = f"{verdict}: {Path(spec).name} on {' and '.join(dict.fromkeys(stem(str(f)) for f in files[:-1]))}"
    return page(content, alone=title, files=files)


def _memory() -> int:
    """The most that this process has held, in bytes; 0 where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
