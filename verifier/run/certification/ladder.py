"""Images through the rungs: whole batches through the cheap ones, what these leave one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from math import prod

import numpy as np

from verifier.executor.tasks import End, Executor, Task
from verifier.run.certification import attack as attacks
from verifier.run.certification.points import ImageBatch, Point, Status
from verifier.run.certification.rungs import Margins, crown, interval, linear
from verifier.run.certification.setting import Setting
from verifier.run.certification.single import request
from verifier.search.memory import one_memory_error

NUMBERS = 2e6
"""Numbers that the rows of one block of images may hold in the widest layer."""
WORK = 2e9
"""Multiply-adds that bounding all neurons of a block of images by walking back may cost."""
FEW = 8
"""Fewer images at once spare next to nothing."""
GRACE = 30.0
"""Seconds beyond its timeout after which an image is ended: no step that ignores the clock is as long."""
AT_ONCE = 1024
"""Images that are begun together, at most: what a kill may lose is their unwritten bounds."""

Points = list[Point]
Rung = Callable[[Setting, ImageBatch], Margins]


def climb(s: Setting, b: ImageBatch, timeout: float, executor: Executor) -> Iterator[Points]:
    """What becomes of images, as it becomes known: each exactly once.

    Args:
        timeout: seconds for one image beyond the cheap rungs.
        executor: takes what these leave, one by one; see `single.answering`.
    """
    rest = []
    for at in range(0, len(b), AT_ONCE):
        rest.append((yield from cheap(s, b.take(slice(at, at + AT_ONCE)), timeout)))
    left = [(r, k) for r in rest for k in range(len(r))]
    asked = ((n, request(r, k, timeout)) for n, (r, k) in enumerate(left))
    for end in executor.run(Task(n, a, a["timeout"] + GRACE) for n, a in asked):
        if end is not None:
            r, k = left[end.id]
            yield [_decided(r.take(slice(k, k + 1)), end, timeout)]


def _decided(b: ImageBatch, end: End, timeout: float) -> Point:
    """What became of a batch of one image, from how its task ended."""
    b = b.after(end.seconds)
    if "result" in end.told:
        told = end.told["result"]
        witness = None if told["witness"] is None else np.array(told["witness"], np.float64)
        return b.point(0, Status(told["status"]), timeout, told["reason"], witness)
    if end.how == "late":
        return b.point(0, Status.UNKNOWN, timeout, "ended: it had overrun its time")
    return b.point(0, Status.ERROR, timeout, f"its process ended with {end.how}" + (f": {end.log}" if end.log else ""))


def cheap(s: Setting, b: ImageBatch, timeout: float) -> Generator[Points, None, ImageBatch]:
    """Yield what the batched rungs decide; returns the images that they leave."""
    b, points = _natural(s, b, timeout)
    yield points
    rungs: list[tuple[Status, Rung, int]] = [
        (Status.INTERVAL, interval, int(NUMBERS / s.widest)),
        (Status.CROWN, linear, int(NUMBERS / (s.widest * (s.classes - 1)))),
    ]
    for status, bound, block in rungs:
        b, points = _rung(s, b, timeout, status, bound, block)
        yield points
    b, points = _attacked(s, b, timeout)
    yield points
    several = _several(s)
    if several >= FEW:  # else it pays more to keep what it finds, see `single`
        b, points = _rung(s, b, timeout, Status.CROWN, crown, several)
        yield points
    return b


def _natural(s: Setting, b: ImageBatch, timeout: float) -> tuple[ImageBatch, Points]:
    start = time.perf_counter()
    b, right = attacks.predict(s, b)
    b = b.after(time.perf_counter() - start)
    return b.take(np.flatnonzero(right)), [b.point(int(k), Status.INCORRECT, timeout) for k in np.flatnonzero(~right)]


def _rung(
    s: Setting, b: ImageBatch, timeout: float, status: Status, bound: Rung, block: int
) -> tuple[ImageBatch, Points]:
    """The images that a rung leaves, and points of those that it proves (or breaks on)."""
    if not len(b):
        return b, []
    start = time.perf_counter()
    proved, broken = np.zeros(len(b), bool), dict[int, str]()
    stack = [np.arange(at, min(at + max(1, block), len(b))) for at in range(0, len(b), max(1, block))]
    while stack:
        some = stack.pop()
        try:
            with one_memory_error():
                proved[some] = bound(s, b.take(some)).proved
        except Exception as e:  # a batch that breaks is halved, so that what is wrong with one image costs one
            if len(some) > 1:
                stack += np.array_split(some, 2)
            elif not isinstance(e, MemoryError):  # (for want of memory the next rung may do)
                broken[int(some[0])] = f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
    b = b.after(time.perf_counter() - start)
    points = [b.point(int(k), status, timeout) for k in np.flatnonzero(proved)]
    points += [b.point(k, Status.ERROR, timeout, why) for k, why in broken.items()]
    proved[list(broken)] = True
    return b.take(np.flatnonzero(~proved)), points


def _attacked(s: Setting, b: ImageBatch, timeout: float) -> tuple[ImageBatch, Points]:
    if not len(b):
        return b, []
    start = time.perf_counter()
    try:
        with one_memory_error():
            found = attacks.attack(s, b)
    except Exception:  # a search that breaks finds nothing: the images' own will say why
        return b.after(time.perf_counter() - start), []
    b = b.after(time.perf_counter() - start)
    points = [b.point(k, Status.ATTACKED, timeout, witness=w) for k, w in enumerate(found) if w is not None]
    return b.take(np.array([k for k, w in enumerate(found) if w is None], np.int64)), points


def _several(s: Setting) -> int:
    """How many images CROWN takes at once: many for small networks, where a call costs more than its arithmetic."""
    work = s.graph.work
    neurons = sum(prod(s.graph.nodes[j].shape) for j in s.exact.sources)
    return int(min(WORK / max(1, 2 * neurons * work), NUMBERS / (s.widest * (s.classes - 1))))
