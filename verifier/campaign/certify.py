"""Certified accuracy of a data set, on one page."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from verifier.campaign.images import ImagesDone, Kept, executor
from verifier.campaign.store import Store
from verifier.run.certification.ladder import climb
from verifier.run.certification.points import RUNGS, Point, Status, batch
from verifier.run.certification.question import become, check, chosen, described, posed
from verifier.run.notebook import certifying, shows
from verifier.values import given
from verifier.values.errors import Unwritten
from verifier.values.shown import Shown, picture, table

inf = float("inf")
SHOWN, PICTURES = 10, 4
"""Images, and counterexamples as pictures, that a notebook shows."""


Watch = Callable[[ImagesDone], None]


@dataclass(frozen=True, eq=False, repr=False)
class Certified(Shown):
    """What is known of a data set.

    Attributes:
        points: one an image, in the order asked for.
        eps, norm: the balls.
        seconds: this call took.  resumed: images that were known before.
        shape: of the model's input.  near: by its place in the data, the image `[n]` of every counterexample.
    """

    points: list[Point]
    eps: float
    norm: float
    seconds: float
    resumed: int
    shape: tuple[int, ...] = ()
    near: dict[int, np.ndarray] = field(default_factory=dict)

    def _said(self) -> list[tuple[str, Any]]:
        """Shares, and of what."""
        shares = {"natural": self.natural, "attacked": self.attacked, "certified": self.certified}
        ball = f"eps {self.eps:g}, l{self.norm:g}"
        told = [(name, f"{share:.2%}") for name, share in shares.items()]
        return [("images", f"{len(self.points):,}"), ("ball", ball), *told, ("seconds", self.seconds)]

    def _below(self) -> str:
        """What became of how many, of the first images, and pictures of some counterexamples."""
        counts = Counter(p.status for p in self.points)
        parts = [table(((s, f"{counts[s]:,}") for s in Status if counts[s]), ("status", "images"))]
        rows = [(p.index, p.label, p.predicted, p.status, p.seconds) for p in self.points[:SHOWN]]
        parts.append(table(rows, ("image", "class", "predicted", "status", "seconds")))
        if len(self.points) > SHOWN:
            parts.append(f"<p>and {len(self.points) - SHOWN:,} more in <code>.points</code></p>")
        hit = [p for p in self.points if p.witness is not None][:PICTURES]
        words = "image {}, class {}: itself, counterexample, difference".format
        drawn = [picture(self.shape, self.near.get(p.index), p.witness, words(p.index, p.label)) for p in hit]
        return "".join([*parts, *drawn])

    def count(self, *statuses: Status) -> int:
        """Images of these statuses."""
        return sum(p.status in statuses for p in self.points)

    @property
    def natural(self) -> float:
        """Share that is classified right (of errors, by what the model said before)."""
        return self._share(sum(p.predicted == p.label and p.status is not Status.INCORRECT for p in self.points))

    @property
    def attacked(self) -> float:
        """Share that is classified right and for which no counterexample was found: no less than the true share.

        Errors count by what the model said before.
        """
        lost = sum(p.status is Status.ERROR and p.predicted == p.label for p in self.points)
        return self._share(self.count(*RUNGS, Status.UNKNOWN) + lost)

    @property
    def certified(self) -> float:
        """Share that is proved robust: no more than the true share."""
        return self.by(RUNGS[-1])

    def by(self, rung: Status) -> float:
        """Share that is proved by a rung or a cheaper one."""
        return self._share(self.count(*RUNGS[: RUNGS.index(rung) + 1]))

    def _share(self, n: int) -> float:
        return n / len(self.points) if self.points else float("nan")


@shows(certifying)
def certify(  # noqa: PLR0913
    model: Any,
    x: Any,
    y: Any,
    eps: float,
    *,
    norm: float = inf,
    lo: Any = None,
    hi: Any = None,
    timeout: float = 60.0,
    indices: Sequence[int] | None = None,
    db: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    watch: Watch | None = None,
) -> Certified:
    """Which images keep their class on a ball about each, by proof; for which a counterexample exists.

    Whole batches go through interval bounds, CROWN and a gradient search; what these leave is decided image by image by
    optimised slopes and branch and bound.  See `points.Status` for what can become of one.

    Args:
        model: a file, a model in memory, a torch module, or what `load` returned; one output a class.
        x: `[N, *shape]` images.  y: `[N]` their classes.
        eps: radius of the balls; norm: 1, 2 or infinity.
        lo, hi: the range of inputs, which balls are cut to: numbers, or arrays like one image.
        timeout: seconds for one image beyond the batched rungs; 0 for these alone.
        indices: which of the images; all, in order, when None.
        db: a file that gets every result as it comes.  A call with the same model, data, eps, norm and range goes on
            where the last one stopped, however it was ended; images left undecided are tried again with more time.
        jobs: images decided at once beyond the batched rungs, a process each (ONNX files only).
        device: `auto` (the processor), `cpu` or `cuda`.
        watch: told how it goes.

    Raises:
        UserError: sizes or ranges that do not fit, a model that cannot be bounded, a file of another question.
        Unwritten: results could not be kept in `db`; its `found` is what would have been returned.

    Sound because: bounds account for their rounding (`rungs`, `single`), counterexamples are replayed, and whatever
    raises, runs out of time or is no number is not counted as certified.
    """
    began = time.monotonic()
    eps, norm = given.number("eps", eps, least=0), given.norm("norm", norm)
    timeout, jobs = given.seconds("timeout", timeout), given.whole("jobs", jobs, least=1)
    db = None if db is None else given.path("db", db)
    given.call("watch", watch)
    s, points, labels = posed(model, x, y, norm, lo, hi, device)
    check(s, points)
    eps, wanted = float(eps), chosen(indices, len(labels))
    about = described(s, points, labels) | {"eps": repr(eps)}
    with executor(s, jobs, device) as each, Store(db) as store:
        known = Kept(store, about, len(wanted))
        before = [p for i in wanted if (p := known.points.get((i, eps))) is not None and p.settled(timeout)]
        settled, counts, done = {p.index for p in before}, Counter(p.status for p in before), len(before)
        todo = [i for i in wanted if i not in settled]
        for some in chain([[]], climb(s, batch(np.array(todo, np.int64), points, labels, eps), timeout, each)):
            known.add(some)
            counts.update(p.status for p in some)
            done += len(some)
            if watch is not None:
                watch(ImagesDone(done, len(wanted), len(before), counts.copy()))
        found = [known.points[i, eps] for i in wanted]
    classes = become(s, [(p.label, p.witness) for p in found])
    found = [replace(p, becomes=c) for p, c in zip(found, classes, strict=True)]
    near = {p.index: points[p.index] for p in found if p.witness is not None}
    shape = tuple(s.net.input_shapes[0])
    result = Certified(found, eps, norm, time.monotonic() - began, len(before), shape, near)
    if known.lost:
        raise Unwritten(known.lost, result)
    return result
