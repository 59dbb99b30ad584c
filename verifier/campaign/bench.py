"""A whole benchmark: what is left of it is run, result by result, into a file that survives whatever happens."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from verifier.campaign import tables
from verifier.campaign.instances import Instance, read
from verifier.campaign.rows import Row, row
from verifier.campaign.store import Run, Store, runs
from verifier.executor.local import Local, Work
from verifier.executor.tasks import End, Task
from verifier.run.machine import at_hand, machine, memory, version
from verifier.values.errors import UserError
from verifier.values.log import note

KIND, TOOL = "bench", "verifier"
KILL = 0.5
"""Seconds after the timeout at which a process that has not answered is killed."""
SHARE = 0.85
"""Of the machine's memory, what all instances at once may have, unless something else is asked for."""


@dataclass(frozen=True)
class Settings:
    """How instances are run; all of it but `jobs` is part of what makes a run.

    Attributes:
        jobs: how many at once.
        threads: cores of each; 0 shares those at hand out.
        memory_gb: of each, 10⁹ bytes; 0 shares most of the machine's out.
        device: `auto` (the processor), `cpu` or `cuda`.
        fresh: a new interpreter for each, so that seconds are those that a user would wait.
        cap: no timeout is longer, seconds.
    """

    jobs: int = 1
    threads: int = 0
    memory_gb: float = 0.0
    device: str = "auto"
    fresh: bool = False
    cap: float | None = None

    def complete(self) -> Settings:
        """With numbers for what is shared out.

        Raises:
            UserError: there is not so much.
        """
        cores, bytes_ = at_hand(), memory()
        if self.jobs < 1 or self.threads < 0 or not self.memory_gb >= 0:
            raise UserError("jobs and threads are whole numbers from 1 on, memory is positive")
        if self.jobs * self.memory_gb * 1e9 > bytes_:
            raise UserError(
                f"{self.jobs} instances of {self.memory_gb:g} GB at once: this machine has {bytes_ / 1e9:.1f} GB; "
                "give less with --memory, or run fewer with --jobs"
            )
        share = round(SHARE * bytes_ / self.jobs / 1e9, 1)
        return replace(self, threads=self.threads or max(1, cores // self.jobs), memory_gb=self.memory_gb or share)


@dataclass
class State:
    """Where a run stands; handed to whoever watches, at every result and a few times a second.

    Attributes:
        run: its number in the file of results.
        rows: what is answered, the latest last; resumed: how many of them were there at the start.
        new: those that have come since it was told last.
        left: instances without a result.
        others: another tool's results.
        jobs: how many at once.
    """

    run: int
    rows: list[Row]
    resumed: int
    left: list[Instance]
    others: list[Row]
    jobs: int
    new: list[Row] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Instances asked for."""
        return len(self.rows) + len(self.left)

    @property
    def estimate(self) -> float:
        """Seconds until the end, if what is left takes as long as what of its benchmark is done, or half its time."""
        spent: dict[str, list[float]] = {}
        for r in self.rows:
            spent.setdefault(r.category, []).append(r.seconds)
        mean = {category: sum(s) / len(s) for category, s in spent.items()}
        return sum(min(mean.get(i.category, i.timeout / 2), i.timeout) for i in self.left) / self.jobs


Watch = Callable[[State], None]
Key = tuple[str, str, float]
Digests = dict[Key, dict[str, str]]
"""Of every instance's files, by path."""


def bench(
    source: Path,
    db: Path,
    settings: Settings = Settings(),
    only: str = "",
    beside: Path | None = None,
    watch: Watch | None = None,
) -> State:
    """Run every instance of a folder or list that the file of results does not have yet.

    A run is a source at one version of this package under one set of settings; asked for again, it goes on where it
    ended, however it ended.  Instances whose files have changed since are run again.

    Args:
        source: see `instances.read`.
        db: the file of results; made where there is none.
        only: keep instances of which category, network or property match this.
        beside: another tool's results; they are copied into the file as a run of their own.
        watch: told where it stands.

    Raises:
        UserError: input that cannot be used, or somebody else is writing to the file.
        Unwritten: results cannot be kept any more; what `watch` was told last lacks the last one.
        Lost: the process that starts instances has ended; the same call goes on.
    """
    settings = settings.complete()
    instances = read(source, only, settings.cap)
    others = [] if beside is None else tables.read(beside)
    with Store(db) as store:
        digests = _digests(instances, store)
        number = store.begin(_described(source, settings, len(instances)))
        if beside is not None:
            _copy(store, beside, others)
        asked = {i.key: i for i in instances}
        known = [row(r) for r in store.results(number)]
        done = [r for r in known if r.key in asked and _digest(asked[r.key], digests[r.key]) == r.digest]
        left = [i for key, i in asked.items() if key not in {r.key for r in done}]
        state = State(number, done, len(done), left, others, settings.jobs)
        if watch is not None:
            watch(state)
        if left:
            _work(state, store, settings, digests, watch)
        return state


def delete(db: Path, some: list[int]) -> list[Run]:
    """Take runs out of a file of results; those that are gone.

    Raises:
        UserError: the file is none, is in use, or has no such run.
    """
    every = {r.id: r for r in runs(db)}
    for number in some:
        if number not in every:
            have = ", ".join(map(str, every)) or "none"
            raise UserError(f"{db}: has no run {number}; its runs are {have} (`verifier bench --db {db} --list`)")
    with Store(db) as store:
        store.delete(some)
    return [every[number] for number in dict.fromkeys(some)]


def _work(state: State, store: Store, settings: Settings, digests: Digests, watch: Watch | None) -> None:
    waiting = dict(enumerate(state.left))
    warm = "" if settings.fresh else "verifier.campaign.rehearsal:warm"
    work = Work("verifier.campaign.answer:ready", threads=settings.threads, warm=warm)
    with Local(settings.jobs, work) as executor:
        for end in executor.run([_task(k, i, settings) for k, i in waiting.items()]):
            state.new = []
            if end is not None:
                instance = waiting.pop(end.id)
                r = _judged(state.run, instance, end, digests[instance.key], settings.memory_gb * 1e9)
                note("bench", "%s: %s in %.2f s: %s", " ".join(r.name), r.verdict, r.seconds, r.reason)
                state.new = [r]
                state.rows.append(r)  # also where the file has no room for it
                state.left = list(waiting.values())
                store.add([r.kept()])
            if watch is not None:
                watch(state)


def _task(number: int, i: Instance, s: Settings) -> Task:
    request = {"model": i.model, "spec": i.spec, "timeout": i.timeout, "device": s.device}
    return Task(number, request, i.timeout + KILL, int(s.memory_gb * 1e9))


def _judged(run: int, i: Instance, end: End, files: dict[str, str], limit: float) -> Row:
    """A row of the file, from how a process ended."""
    told, noted = end.told.get("result"), end.told.get("progress", {})
    facts = {**end.told.get("chosen", {}), **{name: noted.get(name) for name in ("domains", "open", "gap")}}
    if told is not None:
        verdict, reason = told["verdict"], told["reason"]
        facts |= {k: v for k, v in told.items() if k not in ("verdict", "reason")}
        if verdict in ("sat", "unsat") and end.seconds > i.timeout:
            verdict, reason = "timeout", f"{verdict} after {end.seconds:.2f} s, too late: {reason}"
    elif end.how == "late":
        verdict, reason = "timeout", "did not answer in time and was killed"
    elif end.how == "memory" or end.memory > 0.8 * limit:
        verdict, reason = "memory", "ended at its limit of memory; allow more with --memory, or run fewer at once"
    else:
        verdict, reason = "error", f"its process ended on its own: {end.how}" + (f": {end.log}" if end.log else "")
    packed = base64.b64decode(end.told["found"]) if verdict == "sat" and "found" in end.told else None
    return Row(
        run, i.category, i.onnx, i.vnnlib, i.timeout, i.expected, verdict, end.seconds, reason,
        memory=end.memory, ended=time.time(), digest=_digest(i, files), packed=packed, files=files, **facts,
    )  # fmt: skip


def _copy(store: Store, path: Path, rows: list[Row]) -> None:
    """Another tool's results as a run; the same file again is the same run."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    number = store.begin(
        Run(0, KIND, path.stem, str(path.absolute()), content, {}, {}, path.stat().st_mtime, len(rows))
    )
    store.add(replace(r, run=number).kept() for r in rows)


def _described(source: Path, settings: Settings, total: int) -> Run:
    asked = {name: value for name, value in asdict(settings).items() if name != "jobs"}
    return Run(0, KIND, TOOL, str(source.absolute()), version(), asked, machine(), time.time(), total)


def _digests(instances: list[Instance], store: Store) -> Digests:
    """SHA-256 of every instance's files by path; a file that cannot be read has none, and its run will say why.

    Weights that lie beside a model in files of their own do not count.
    """
    known, new = store.digests(), dict[str, tuple[int, int, str]]()
    for path in {path for i in instances for path in i.files}:
        try:
            about = os.stat(path)
            seen = known.get(path)
            if seen is None or seen[:2] != (about.st_size, about.st_mtime_ns):
                with open(path, "rb") as f:
                    new[path] = (about.st_size, about.st_mtime_ns, hashlib.file_digest(f, "sha256").hexdigest())
        except OSError:
            known.pop(path, None)
    store.learn(new)
    known |= new
    return {i.key: {p: known[p][2] for p in i.files if p in known} for i in instances}


def _digest(i: Instance, files: dict[str, str]) -> str:
    """Of an instance: of its files' content and its timeout."""
    return hashlib.sha256(repr([i.timeout, *(files.get(p, "") for p in i.files)]).encode()).hexdigest()
