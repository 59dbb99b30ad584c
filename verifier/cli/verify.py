"""`verifier verify`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import Any

from verifier.cli.progress import Watch
from verifier.cli.write import Answer, check_folder, is_stream, write_tensors
from verifier.run.clock import keep_memory, since_start
from verifier.values.errors import Unwritten, UserError
from verifier.values.log import note
from verifier.values.verdict import Verdict

GRACE = 0.15
"""Seconds before the timeout at which the verdict is due, so that it is printed in time."""
DRAWING = 1.0
"""Seconds that a page may take, or half of what there is."""
MOST = 10
"""Open disjuncts that `--explain` lists."""
LEAST = 0.5
"""Seconds for reading the input where the timeout leaves none: bad input is refused whatever the timeout."""


def command(
    model: str | dict[str, str],
    spec: str,
    timeout: float | None,
    results: Path | None,
    certificate: Path | None,
    json: Path | None,
    device: str,
    quiet: bool,
    assignments: Path | None = None,
    accept_real: bool = False,
    explain: bool = False,
    page: Path | None = None,
    chosen: argparse.Namespace | None = None,
) -> None:
    """Answer, print, write files; see `verifier verify --help`.

    `chosen` says which inputs are fixed and which outputs stay, if any.
    """
    if certificate is not None:
        raise UserError("--certificate: certificates are not available yet; leave the option out")
    if assignments is not None:
        _check_names(spec)
        check_folder(assignments)
    watch = Watch(quiet, timeout)
    report = _Report(results, json, watch, assignments, explain, page)
    limit = None if timeout is None or timeout == float("inf") else timeout
    report.asked = {"model": model, "spec": spec, "timeout": limit, "device": device, "accept_real": accept_real}
    left = None if timeout is None else max(0.0, timeout - since_start() - GRACE)
    if left is not None and page is not None:
        left -= min(DRAWING, 0.5 * left)
    timer = threading.Timer(_due(left), report.late)  # a step that takes too long must not delay the verdict
    timer.daemon = True
    if left is not None:
        timer.start()
    keep_memory()
    from verifier.run.verify import verify

    try:
        result = verify(
            _restricted(model, chosen, report.asked),
            spec,
            left,
            device=device,
            accept_real=accept_real,
            watch=watch.note,
            explain=report.explained,
        )
    except KeyboardInterrupt:
        watch.say(f"stopped while {watch.line}")
        raise
    finally:
        timer.cancel()
        watch.close()
    if explain:
        _ended(result)
    report.done(result)


def _restricted(model: Any, chosen: argparse.Namespace | None, asked: dict[str, Any]) -> Any:
    """The model with the inputs that are fixed and the outputs that are left; noted in what is asked."""
    some = {name: value for name in ("input", "output") if (value := getattr(chosen, name, None))}
    if not some:
        return model
    if not isinstance(model, str):
        raise UserError(f"--{next(iter(some))}: it is of one MODEL; leave it out with several networks")
    from verifier.cli.inputs import network

    asked |= some
    assert chosen is not None
    return network(chosen)


def _check_names(spec: str) -> None:
    """Refuse, before the search, to write variables by name where they have none."""
    from verifier.spec.query2 import Query2
    from verifier.spec.vnnlib import read

    if not isinstance(read(spec), Query2):
        raise UserError("--serialise-assignments: only queries of version 2.0 have variables with names; leave it out")


def _ended(result: Any) -> None:
    """Where the time went, and what is open."""
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.stats["phases"].items())
    print(f"verifier: phases: {phases}", file=sys.stderr)
    if "domains" in result.stats:
        s = result.stats
        print(f"verifier: parts: {s['domains']:,} bounded, {s['closed']:,} closed, {s['open']:,} open", file=sys.stderr)
    for part in result.stats.get("parts", [])[:MOST]:
        gap = "never bounded" if part["gap"] is None else f"{part['gap']:.3g} from refuted"
        neurons = f", {part['undecided']:,} neurons undecided at the root" if "undecided" in part else ""
        print(
            f"verifier: open: disjunct {part['disjunct']}, {gap}, in {part['open']:,} parts{neurons}", file=sys.stderr
        )


def _due(left: float | None) -> float:
    """Seconds until the clock takes the word; `done` silences it."""
    return min(left + GRACE / 2 if left else LEAST, threading.TIMEOUT_MAX)


class _Report:
    """Prints one verdict, once, whoever comes first: the search or the clock."""

    def __init__(
        self,
        results: Path | None,
        json: Path | None,
        watch: Watch,
        assignments: Path | None = None,
        explain: bool = False,
        page: Path | None = None,
    ) -> None:
        self._results, self._json, self._watch, self._lock = results, json, watch, threading.Lock()
        self._assignments = assignments
        self._explain, self._page = explain, page
        self.asked: dict[str, Any] = {}
        self._chosen: dict[str, Any] = {}

    def explained(self, strategy: str, facts: dict[str, Any]) -> None:
        """What was chosen from what, before it is done."""
        self._chosen = {"strategy": strategy, "facts": facts}
        if self._explain:
            from verifier.run.facts import lines

            self._watch.close()
            for line in lines(strategy, facts):
                print(f"verifier: {line}", file=sys.stderr)

    def done(self, result: Any) -> None:
        """Print and write a result."""
        self._lock.acquire()  # and never released: one verdict
        text = "" if result.witness is None else result.witness.text() + "\n"
        answer = self._write(result.verdict, text, result.reason, result)
        for line in (*result.stats.get("remarks", ()), f"{result.reason} ({since_start():.2f} s)"):
            self._watch.say(line)
        answer.done()

    def late(self) -> None:
        """The time is up and the search has not come back: say so and leave."""
        if not self._lock.acquire(blocking=False):
            return
        reason, status = f"out of time while {self._watch.line}", 0
        try:
            self._watch.close()
            answer = self._write(Verdict.TIMEOUT, "", reason, None)
            self._watch.say(f"{reason} ({since_start():.2f} s)")
            answer.done()
        except Unwritten as e:
            print(f"verifier: {e}", file=sys.stderr)
            status = 3
        except Exception as e:
            print(f"verifier: {type(e).__name__}: {e}: a fault of verifier; please report it", file=sys.stderr)
            status = 1
        finally:
            os._exit(status)

    def _so_far(self) -> dict[str, Any]:
        """What is known of a search that has not come back."""
        p = self._watch.last
        if p is None:
            return {"seconds": since_start(), **self._chosen}
        gap = p.worst if p.worst < float("inf") else None
        counts = {"domains": p.bounded, "open": p.open, "closed": p.closed, "gap": gap}
        return {"seconds": since_start(), **counts, **self._chosen}

    def _write(self, verdict: Verdict, text: str, reason: str, result: Any) -> Answer:
        """The verdict first: it is not lost where a file cannot be written."""
        note("cli", "%s: %s", verdict, reason)
        answer, stats = Answer(), self._so_far() if result is None else result.stats
        streamed = self._json is not None and is_stream(self._json)  # which has the counterexample, too
        answer.say(f"{verdict}\n{'' if streamed else text}".rstrip("\n"))
        answer.write(self._results, lambda: f"{verdict}\n{text}")
        more = {"stats": stats, "question": self.asked}
        answer.write(self._json, lambda: _as_json(verdict, reason, result, more))
        if (folder := self._assignments) is not None and result is not None and result.witness is not None:
            answer.also(lambda: write_tensors(folder, result.witness))
        if self._page is not None:
            from verifier.report.single import answer_page

            seen = {**stats, "seconds": since_start()}
            answer.write(self._page, lambda: answer_page(self.asked, verdict, reason, seen, _found(self.asked, result)))
        return answer


def _found(asked: dict[str, Any], result: Any) -> Any:
    """The counterexample as a page shows it."""
    if result is None or result.witness is None:
        return None
    from verifier.campaign.answer import found

    return found(result.witness, asked["spec"], result.stats.get("facts", {}))


def _as_json(verdict: Verdict, reason: str, result: Any, more: dict[str, Any]) -> str:
    import json

    from verifier import __version__
    from verifier.run.machine import machine

    witness = None if result is None else result.witness
    found = None if witness is None else {"x": witness.flat.tolist(), "y": witness.y.tolist()}
    if found is not None and witness is not None:
        from verifier.run.violated import constraints
        from verifier.spec.vnnlib import read

        found["disjunct"] = witness.disjunct
        if len(witness.shapes) > 1:
            from verifier.run.tensors import parted

            found["inputs"] = {name: part.tolist() for name, part in parted(witness.shapes, witness.flat)}
        if witness.remark:
            found["outputs"] = witness.remark
        found["constraints"] = constraints(read(more["question"]["spec"]), witness)
        if witness.tensors:
            found["variables"] = {t.name: t.values.tolist() for t in witness.tensors}
    about = {"version": __version__, "machine": machine(), "seconds": since_start()}
    record = {"verdict": verdict, "reason": reason, "witness": found, **more, **about}
    return json.dumps(record, indent=1, allow_nan=False) + "\n"
