"""The largest radius that is proved for each image, and the least one at which it is attacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verifier.campaign.images import ImagesDone, Kept, executor
from verifier.campaign.store import Store
from verifier.run.certification.ladder import climb
from verifier.run.certification.points import ImageBatch, Point, Status
from verifier.run.certification.question import become, check, chosen, described, posed
from verifier.run.certification.setting import Setting
from verifier.run.notebook import bisecting, shows
from verifier.values import given
from verifier.values.errors import Unwritten
from verifier.values.shown import Shown

inf = float("inf")
MOST_HALVINGS = 1100.0
"""No interval of doubles can be halved more often."""
Watch = Callable[[ImagesDone], None]


@dataclass(frozen=True, repr=False)
class Radius(Shown):
    """What is known of one image's robust radius.

    Attributes:
        index, label, predicted: as of `Point`.
        proved: the largest radius that was proved; 0 where none was.
        by: the status of that proof; None where there is none.
        attacked: the distance of the nearest counterexample found, rounded up; infinite without one.
        witness: `[n]` it.
        becomes: the class that it becomes; None without one.
        seconds: of all trials.  trials: how many radii were tried.
        reason: one line: why proved and attacked have not met; empty where they have, or `most` was reached.
    """

    index: int
    label: int
    predicted: int
    proved: float
    by: Status | None
    attacked: float
    witness: np.ndarray | None
    seconds: float
    trials: int
    reason: str = ""
    becomes: int | None = None

    def _said(self) -> list[tuple[str, Any]]:
        """What is proved and what is attacked."""
        told = [("image", self.index), ("class", self.label), ("proved", self.proved), ("attacked", self.attacked)]
        return [*told, *([("reason", self.reason)] if self.reason else []), ("trials", self.trials)]


@shows(bisecting)
def radii(  # noqa: PLR0913
    model: Any,
    x: Any,
    y: Any,
    most: float,
    *,
    tolerance: float | None = None,
    norm: float = inf,
    lo: Any = None,
    hi: Any = None,
    timeout: float = 60.0,
    indices: Sequence[int] | None = None,
    db: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    watch: Watch | None = None,
) -> list[Radius]:
    """The largest certified radius of each image, by bisection between what is proved and what is not.

    All images are bisected side by side, each trial like one image of `certify`.  A radius is reported only
    if a trial at just that radius proved it; one that runs out of time counts as neither proved nor attacked, and the
    bisection goes on below it.

    Args:
        most: the largest radius to try.
        tolerance: how near proved and unproved radii must come; a hundredth of `most` when None.
        timeout: seconds for one image, which all its trials share, beyond the batched rungs.
        model, x, y, norm, lo, hi, indices, db, jobs, device: see `certify`.
        watch: told how it goes.

    Raises:
        UserError, Unwritten: as of `certify`.
    """
    most, norm = given.number("most", most, above=0), given.norm("norm", norm)
    near = most / 100 or most if tolerance is None else given.number("tolerance", tolerance, above=0)
    timeout, jobs = given.seconds("timeout", timeout), given.whole("jobs", jobs, least=1)
    db = None if db is None else given.path("db", db)
    given.call("watch", watch)
    s, points, labels = posed(model, x, y, norm, lo, hi, device)
    check(s, points)
    wanted = chosen(indices, len(labels))
    about = described(s, points, labels) | {"eps": f"up to {most!r}"}
    with executor(s, jobs, device) as each, Store(db) as store:
        known = Kept(store, about, len(wanted))
        trials: dict[int, list[Point]] = {i: [] for i in wanted}
        for p in known.points.values():
            if p.index in trials and p.settled(timeout):
                trials[p.index].append(p)
        while True:
            tries = {i: e for i in wanted if (e := _next(s, points[i], trials[i], most, near)) is not None}
            if watch is not None:
                watch(ImagesDone(len(wanted) - len(tries), len(wanted)))
            if not tries:
                break
            left = {i: _share(trials[i], tries[i], timeout, near) for i in tries}
            for some in climb(s, _batch(tries, left, points, labels), timeout, each):
                known.add(some)
                for p in some:
                    trials[p.index].append(p)
        found = [_radius(s, points[i], trials[i], most, near) for i in wanted]
    classes = become(s, [(r.label, r.witness) for r in found])
    found = [replace(r, becomes=c) for r, c in zip(found, classes, strict=True)]
    if known.lost:
        raise Unwritten(known.lost, found)
    return found


def _batch(tries: dict[int, float], left: dict[int, float], x: np.ndarray, y: np.ndarray) -> ImageBatch:
    index, zero = np.array(list(tries), np.int64), np.zeros(len(tries))
    eps, seconds = (np.array(list(v.values())) for v in (tries, left))
    return ImageBatch(index, x[index], y[index], eps, zero.astype(np.int64) - 1, zero, seconds)


def _share(trials: list[Point], eps: float, timeout: float, near: float) -> float:
    """Seconds for a trial: of what the image has left, as much as for each that may follow, so that none takes all."""
    left = max(0.0, timeout - sum(p.seconds for p in trials))
    below = eps - _proved(trials)  # what a failure leaves to halve
    return left / (1 + max(0, math.ceil(min(MOST_HALVINGS, math.log2(below / near)))))


def _next(s: Setting, x: np.ndarray, trials: list[Point], most: float, near: float) -> float | None:
    """The next radius to try; None where there is nothing to gain."""
    if not trials:
        return most
    if any(p.status in (Status.INCORRECT, Status.ERROR) for p in trials):
        return None
    proved, top = _proved(trials), min(_unproved(s, x, trials), most)
    middle = (proved + top) / 2
    return middle if top - proved > near and proved < middle < top else None


def _proved(trials: Iterable[Point]) -> float:
    return max((p.eps for p in trials if p.status.certified), default=0.0)


def _unproved(s: Setting, x: np.ndarray, trials: Iterable[Point]) -> float:
    """The least radius that is known to be attacked, or was tried in vain."""
    found = (distance(x, p.witness, s.norm) for p in trials if p.witness is not None)
    return min([*found, *(p.eps for p in trials if p.status is Status.UNKNOWN)], default=inf)


def distance(x: np.ndarray, z: np.ndarray, norm: float) -> float:
    """Of points `[n]`, rounded up."""
    away = np.nextafter(abs(x - z), inf)
    if norm == inf:
        return float(away.max())
    total = math.fsum(away) if norm == 1 else math.sqrt(math.nextafter(math.fsum(away * np.nextafter(away, inf)), inf))
    return math.nextafter(math.nextafter(total, inf), inf)


def _radius(s: Setting, x: np.ndarray, trials: list[Point], most: float, near: float) -> Radius:
    best = max((p for p in trials if p.status.certified), key=lambda p: p.eps, default=None)
    hits = [(distance(x, p.witness, s.norm), p.witness) for p in trials if p.witness is not None]
    nearest, witness = min(hits, key=lambda h: h[0], default=(inf, None))
    proved = 0.0 if best is None else best.eps
    wrong = next((p for p in trials if p.status in (Status.INCORRECT, Status.ERROR)), None)
    open_ = min((p for p in trials if p.status is Status.UNKNOWN), key=lambda p: p.eps, default=None)
    reason = ""
    if wrong is not None:
        reason = wrong.reason or "classified as another"
    elif open_ is not None and open_.eps < nearest:
        reason = f"undecided at {open_.eps:g}: {open_.reason}"
    seconds, first = sum(p.seconds for p in trials), trials[0]
    by = None if best is None else best.status
    return Radius(first.index, first.label, first.predicted, proved, by, nearest, witness, seconds, len(trials), reason)
