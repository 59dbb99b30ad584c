"""One instance, answered in a process of its own, and told line by line to whoever waits."""

from __future__ import annotations

import base64
import time
from typing import Any

from verifier.campaign.rows import Counterexample, pack
from verifier.executor.tasks import Answer, Send
from verifier.run.clock import keep_memory, since_start
from verifier.values.errors import UserError, VerifierError

GRACE = 0.15
"""Seconds before the timeout at which the search ends, so that the answer is told in time."""
EVERY = 0.2
"""Seconds between two notes of progress."""


def ready(_: dict[str, Any]) -> Answer:
    """What a process does, see `executor.local.Work`."""
    keep_memory()
    return answer


def answer(request: dict[str, Any], send: Send) -> None:
    """Decide, and send mappings: what was `chosen`, `progress` now and then, the `result`, for `sat` what was `found`.

    Args:
        request: model, spec, timeout (seconds since the start of the process), device.
    """
    noted = time.monotonic()

    def note(phase: str, progress: Any) -> None:
        nonlocal noted
        if progress is not None and time.monotonic() >= noted + EVERY:
            noted = time.monotonic()
            send({"progress": {"domains": progress.bounded, "open": progress.open, "gap": number(progress.worst)}})

    def chosen(strategy: str, facts: dict[str, Any]) -> None:
        send({"chosen": {"strategy": strategy, "facts": facts}})

    model, spec, device = request["model"], request["spec"], request["device"]
    try:
        from verifier.run.verify import verify

        left = max(0.0, request["timeout"] - since_start() - GRACE)
        result = verify(model, spec, left, device=device, accept_real=True, watch=note, explain=chosen)
    except VerifierError as e:
        # A library that finds no memory says so in its own words, which become part of ours.
        memory = isinstance(e, UserError) and ("bad_alloc" in str(e) or "bad allocation" in str(e))
        send({"result": _failure("memory" if memory else "error", str(e))})
        return
    except MemoryError:
        send({"result": _failure("memory", "out of memory; allow more, or run fewer at once")})
        return
    except Exception as e:
        send({"result": _failure("error", f"{type(e).__name__}: {e}: a fault of verifier; please report it")})
        return
    stats = dict(result.stats)
    names = ("domains", "open", "phases", "parts")
    told = {name: stats[name] for name in names if name in stats}
    gap = number(stats.get("gap"))
    send({"result": {"verdict": str(result.verdict), "reason": result.reason, "gap": gap, **told}})
    if result.witness is not None:
        send({"found": base64.b64encode(pack(found(result.witness, spec, stats.get("facts", {})))).decode()})


def number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and abs(value) < float("inf") else None


def _failure(verdict: str, reason: str) -> dict[str, Any]:
    return {"verdict": verdict, "reason": " ".join(reason.split())}


def found(witness: Any, spec: str, facts: dict[str, Any]) -> Counterexample:
    """The counterexample with the box it lies in; the property is read again, the answer has been told."""
    from verifier.run.violated import constraints
    from verifier.spec.query2 import Query2
    from verifier.spec.vnnlib import read

    question = read(spec)
    prop = question.property if isinstance(question, Query2) else question
    box = int(prop.box[witness.disjunct])
    lower, upper = prop.lower[box], prop.upper[box]
    if isinstance(question, Query2):
        lower, upper = lower[question.expand], upper[question.expand]
    variables = {t.name: t.values.tolist() for t in witness.tensors}
    shape = list(facts.get("input_shape", []))
    x, y = witness.flat.tolist(), witness.y.tolist()
    ends, told = (lower.tolist(), upper.tolist()), constraints(question, witness)
    return Counterexample(x, y, *ends, shape, witness.text(), variables, told)
