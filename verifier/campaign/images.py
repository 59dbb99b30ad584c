"""What `certify` and `radii` share: points of one question, kept as they come, and processes that decide images."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from verifier.campaign.store import Answered, Run, Store
from verifier.executor.local import Local, Work
from verifier.executor.tasks import Executor, Here
from verifier.graph.from_onnx import Model
from verifier.run import strategy
from verifier.run.certification.points import Point, Status
from verifier.run.certification.setting import Setting
from verifier.run.certification.single import answering
from verifier.run.machine import machine
from verifier.run.model import name_of
from verifier.values.errors import Unwritten, UserError
from verifier.values.log import note

KIND = "certify"
_SAID = {"model": "another model", "data": "other data", "ball": "another norm or range", "eps": "another eps"}


@dataclass(frozen=True)
class ImagesDone:
    """How far a run has come: `done` images of `total`, `resumed` of them known before; `counts` by status."""

    done: int
    total: int
    resumed: int = 0
    counts: Counter[Status] = field(default_factory=Counter)


class Kept:
    """Points of one question by image and radius: those that a file of results has, and those that come.

    Attributes:
        points: all of them.  lost: why they are not kept in the file any more; empty while they are.
    """

    def __init__(self, store: Store, about: dict[str, str], total: int) -> None:
        """Those of a question.

        Args:
            about: what they are of, see `question.described`, with `eps`.  total: how many images are asked about.

        Raises:
            UserError: the file has results of another question.
        """
        for other in (r.settings for r in store.runs() if r.kind == KIND):
            for name in (name for name, value in about.items() if other.get(name) != value):
                was = f" ({other[name]}, not {about[name]})" if name in ("eps", "ball") and name in other else ""
                raise UserError(f"{store.path}: holds results for {_SAID[name]}{was}; give another file, or delete it")
        self._store, self.lost = store, ""
        self._run = store.begin(Run(0, KIND, "verifier", "", "", dict(about), machine(), time.time(), total))
        self.points = {(p.index, p.eps): p for p in map(_point, store.results(self._run))}

    def add(self, some: list[Point]) -> None:
        """Keep points; those that stood for an error or a shorter trial are replaced.

        Where they cannot be written, `lost` says why; from then on they are kept in memory alone.
        """
        for p in some:
            note(KIND, "%r", p)
        self.points |= {(p.index, p.eps): p for p in some}
        try:
            if some and not self.lost:
                self._store.add(_answered(self._run, p) for p in some)
        except Unwritten as e:
            self.lost = str(e)


def executor(s: Setting, jobs: int, device: str) -> Executor:
    """What decides images one by one: this process, or several of their own.

    Raises:
        UserError: several, and the model is no file that they could read.
    """
    if jobs == 1:
        return Here(answering(s))
    file = s.net.source if isinstance(s.net, Model) and s.net.decided is None else None
    if not isinstance(file, Path) or not file.is_file():
        raise UserError(f"{name_of(s.net)}: several jobs need an ONNX file; export the network, or use one job")
    ends = {name: None if end is None else end.tolist() for name, end in (("lo", s.lo), ("hi", s.hi))}
    setup = {"model": str(file.resolve()), "norm": s.norm, "device": device, **ends}
    threads = max(1, strategy.cores() // jobs)
    return Local(jobs, Work("verifier.run.certification.single:ready", setup, threads, keep=True))


def _answered(run: int, p: Point) -> Answered:
    witness = None if p.witness is None else zlib.compress(np.asarray(p.witness, np.float64).tobytes(), 1)
    told = {"label": p.label, "predicted": p.predicted}
    return Answered(run, (p.index, p.eps), p.status, p.seconds, p.timeout, p.reason, time.time(), "", told, witness)


def _point(r: Answered) -> Point:
    witness = None if r.witness is None else np.frombuffer(zlib.decompress(r.witness), np.float64)
    index, eps = r.key
    label, predicted = r.detail["label"], r.detail["predicted"]
    return Point(index, label, predicted, eps, Status(r.verdict), r.seconds, r.timeout, r.reason, witness)
