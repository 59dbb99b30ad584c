"""A benchmark, interrupted in every way, loses nothing and repeats nothing."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.test_store import RUN
from tests.cli.files import MODEL, ROOT, SAT, UNSAT, hard
from tests.executor.test_local import gone, wait
from verifier.campaign.bench import Settings, State, _judged, bench
from verifier.campaign.instances import Instance
from verifier.campaign.rows import Row, rows
from verifier.campaign.store import Store, runs
from verifier.executor.tasks import End
from verifier.values.errors import UserError

DRIVER = """
import sys
from pathlib import Path
import verifier.campaign.bench as b
b.version = lambda: "fixed"  # the source may change while this test runs
told = [0]

def watch(state):
    for told[0] in range(told[0] + 1, len(state.rows) - state.resumed + 1):
        print(flush=True)

b.bench(Path(sys.argv[1]), Path(sys.argv[2]), b.Settings(jobs=2, threads=1, memory_gb=1.0), watch=watch)
"""


def write(folder: Path, *lines: str) -> Path:
    (folder / "instances.csv").write_text("".join(line + "\n" for line in lines))
    return folder / "instances.csv"


def test_results_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    source = write(tmp_path, f"{MODEL},{UNSAT},20,unsat", f"{MODEL},{SAT},20,unsat", f"gone.onnx,{SAT},20")
    seen: list[tuple[int, int]] = []
    db = tmp_path / "r.sqlite"
    state = bench(source, db, Settings(jobs=2), watch=lambda s: seen.append((len(s.rows), len(s.left))))
    assert (state.total, state.resumed, state.left) == (3, 0, []) and seen[0] == (0, 3) and seen[-1] == (3, 0)
    first = {r.vnnlib + r.onnx: r for r in rows(db, state.run)}
    unsat, sat, error = first[UNSAT + MODEL], first[SAT + MODEL], first[SAT + "gone.onnx"]
    assert (unsat.verdict, unsat.wrong, unsat.found) == ("unsat", False, None)
    assert unsat.domains and unsat.memory and unsat.strategy and unsat.phases["load"] > 0 and unsat.category
    assert (sat.verdict, sat.wrong) == ("sat", True)
    found = sat.found
    assert found is not None and len(found.x) == 2 and found.shape and found.text.startswith("((X_0 ")
    assert all(l <= x <= u for l, x, u in zip(found.lower, found.x, found.upper, strict=True))
    assert error.verdict == "error" and "gone.onnx" in error.reason and error.ended > 0
    again = bench(source, db, Settings(jobs=2))
    assert (again.run, again.resumed, again.left) == (state.run, 3, [])
    assert {r.ended for r in rows(db, state.run)} == {r.ended for r in first.values()}
    (run,) = runs(db)
    assert run.total == 3 and run.settings["device"] == "auto" and run.machine["cores"] >= 1 and "+" in run.version


def test_other_settings_are_another_run_and_changed_files_are_run_again(tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "a.onnx")
    shutil.copy(UNSAT, tmp_path / "p.vnnlib")
    source, db = write(tmp_path, "a.onnx,p.vnnlib,20", f"a.onnx,{UNSAT},20"), tmp_path / "r.sqlite"
    state = bench(source, db)
    assert bench(source, db, Settings(cap=10.0)).run != state.run
    assert len(runs(db)) == 2
    shutil.copy(SAT, tmp_path / "p.vnnlib")
    after = bench(source, db)
    assert (after.run, after.resumed, after.total) == (state.run, 1, 2)
    assert sorted(r.verdict for r in rows(db, state.run)) == ["sat", "unsat"]


def test_part_of_a_run(tmp_path: Path) -> None:
    source, db = write(tmp_path, f"{MODEL},{UNSAT},20", f"{MODEL},{SAT},20"), tmp_path / "r.sqlite"
    state = bench(source, db, only="pushes")
    assert state.total == 1
    assert [bench(source, db).resumed, len(rows(db, state.run))] == [1, 2]


def test_another_tools_results_are_a_run_of_their_own(tmp_path: Path) -> None:
    source, db = write(tmp_path, f"{MODEL},{UNSAT},20"), tmp_path / "r.sqlite"
    (tmp_path / "peer.csv").write_text(f"onnx,vnnlib,verdict,seconds\n{MODEL},{UNSAT},sat,3\nx,y,unsat,1\n")
    for _ in range(2):
        state = bench(source, db, beside=tmp_path / "peer.csv")
    assert [(r.tool, r.total) for r in runs(db)] == [("verifier", 1), ("peer", 2)]
    assert [r.verdict for r in rows(db, 2)] == ["sat", "unsat"] and len(state.others) == 2


def test_two_at_once_on_one_file_are_refused(tmp_path: Path) -> None:
    source, db = write(tmp_path, f"{MODEL},{UNSAT},20"), tmp_path / "r.sqlite"

    def second(_: State) -> None:
        with pytest.raises(UserError, match="another bench"):
            bench(source, db)

    bench(source, db, watch=second)
    assert len(rows(db, 1)) == 1


def test_refusals(tmp_path: Path) -> None:
    source = write(tmp_path, f"{MODEL},{UNSAT},20")
    for settings, words in ((Settings(jobs=0), "jobs"), (Settings(jobs=2, memory_gb=1e6), "at once")):
        with pytest.raises(UserError, match=words):
            bench(source, tmp_path / "r", settings)
    with pytest.raises(UserError, match="cannot be written"):
        bench(source, tmp_path / "no" / "r")
    assert not (tmp_path / "r").exists()


INSTANCE = Instance("c", "a", "p", 10.0, "sat", "/a", "/p")
END: dict[str, Any] = {"how": "exit", "seconds": 1.0, "memory": 10**8, "log": ""}


@pytest.mark.parametrize(
    ("end", "verdict", "words"),
    [
        ({"result": {"verdict": "unsat", "reason": "r"}}, "unsat", "r"),
        ({"result": {"verdict": "unsat", "reason": "r"}, "seconds": 10.1}, "timeout", "too late"),
        ({"result": {"verdict": "unknown", "reason": "r"}, "seconds": 10.1}, "unknown", "r"),
        ({"result": {"verdict": "memory", "reason": "r"}}, "memory", "r"),
        ({"how": "late", "progress": {"domains": 5, "open": 2, "gap": 0.5}}, "timeout", "killed"),
        ({"how": "memory"}, "memory", "--memory"),
        ({"how": "signal 11 (Segmentation fault)", "log": "boom"}, "error", "boom"),
        ({"how": "signal 6 (Aborted)", "memory": 9 * 10**8}, "memory", "--memory"),
        ({"how": "status 1"}, "error", "status 1"),
        ({}, "error", "exit"),
    ],
)
def test_what_an_end_means(end: dict[str, Any], verdict: str, words: str) -> None:
    told = {k: v for k, v in end.items() if k not in END}
    about = {**END, **{k: v for k, v in end.items() if k in END}}
    row = _judged(3, INSTANCE, End(0, **about, told=told), {"f": "d"}, 1e9)
    assert row.verdict == verdict and words in row.reason and row.run == 3 and row.files == {"f": "d"}
    if "progress" in end:
        assert (row.domains, row.open, row.gap) == (5, 2, 0.5)


def test_estimate() -> None:
    done = [Row(1, "a", str(k), "p", 60.0, "", "sat", float(s)) for k, s in enumerate((1, 3))]
    left = [replace(INSTANCE, category="a", timeout=60.0), replace(INSTANCE, category="b", timeout=40.0)]
    assert State(1, done, 0, left, [], 2).estimate == pytest.approx((2 + 20) / 2)


def test_killed_at_twenty_moments(tmp_path: Path) -> None:
    """What is in the file stays as it is, nothing is there twice, and no process outlives the killed one."""
    easy = [f"{ROOT / 'models' / m},{ROOT / 'specs' / p},{20 + k}" for k in range(6) for m, p in (
        ("pendulum.onnx", "pendulum_limit_sat.vnnlib"), ("digits_fc.onnx", "digits_fc_35_large.vnnlib"))]  # fmt: skip
    lines = [line for k in range(150) for line in [f"gone{k}.onnx,{SAT},9", *easy[k : k + 1]]]
    source, db = write(tmp_path, *lines), tmp_path / "r.sqlite"
    mark, rng, kept = uuid.uuid4().hex, random.Random(0), dict[tuple[str, str, float], float]()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_MARK": mark}
    stages = []

    def run() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", DRIVER, str(source), str(db)], env=env, stdout=subprocess.PIPE)

    for k in range(21):
        process = run()
        assert process.stdout is not None
        if k < 20:
            for _ in range(rng.choice((0, 1, 2, 5, 10))):  # results, then a little time into what comes next
                process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == (-signal.SIGKILL if k < 20 else 0)
        wait(lambda: all(map(gone, marked(mark))))
        if db.is_file() and db.stat().st_size and runs_so_far(db):
            after = {r.key: r.ended for r in rows(db, 1)}
            assert kept.items() <= after.items()
            kept = after
        stages.append(len(kept))
    assert stages[-1] == len(lines) and len(runs(db)) == 1
    assert {r.verdict for r in rows(db, 1)} == {"sat", "error"}
    assert len({0 < s < len(lines) for s in stages}) == 2  # some were killed in the middle


def runs_so_far(db: Path) -> bool:
    try:
        return bool(runs(db))
    except UserError:  # killed before the tables were made
        return False


def marked(mark: str) -> list[int]:
    """Processes whose environment has the mark."""
    found = []
    for p in Path("/proc").iterdir():
        if p.name.isdigit():
            try:
                if mark.encode() in (p / "environ").read_bytes():
                    found.append(int(p.name))
            except OSError:
                continue
    return found


def test_interrupted_inside(tmp_path: Path) -> None:
    """Ctrl-C: what has ended is kept, and the same call goes on."""
    net, prop = hard(tmp_path)
    source, db = write(tmp_path, f"{MODEL},{UNSAT},20", f"{net},{prop},3"), tmp_path / "r.sqlite"

    def stop(state: State) -> None:
        if state.rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(source, db, watch=stop)
    (kept,) = rows(db, 1)
    state = bench(source, db)
    assert state.resumed == 1 and kept in state.rows
    assert [r.verdict for r in state.rows] == ["unsat", "timeout"]
    assert state.rows[1].parts and state.rows[1].gap is not None


def test_settings_are_shared_out() -> None:
    done = Settings(jobs=1).complete()
    assert done.threads >= 1 and 0 < done.memory_gb and asdict(done)["jobs"] == 1
    assert Settings(jobs=64).complete().threads == 1
    assert Settings(threads=3, memory_gb=0.5).complete() == Settings(threads=3, memory_gb=0.5)


def test_the_store_is_the_one_of_the_run(tmp_path: Path) -> None:
    """A run of other settings in the same file does not count."""
    store = Store(tmp_path / "r.sqlite")
    number = store.begin(RUN)
    store.add([Row(number, "c", MODEL, UNSAT, 20.0, "", "timeout", 20.0).kept()])
    store.close()
    state = bench(write(tmp_path, f"{MODEL},{UNSAT},20"), tmp_path / "r.sqlite")
    assert state.resumed == 0 and state.rows[0].verdict == "unsat"


def test_a_counterexample_tells_its_constraints_and_files_their_digests(tmp_path: Path) -> None:
    (tmp_path / "instances.csv").write_text(f"{MODEL},{SAT},20\n")
    (row,) = bench(tmp_path, tmp_path / "r.sqlite", Settings()).rows
    (kept,) = rows(tmp_path / "r.sqlite", 1)
    for r in (row, kept):
        assert r.found is not None and len(r.found.constraints) == 1 and r.found.constraints[0].startswith("Y_0 ")
        assert {Path(k).name: v for k, v in r.files.items()} == {
            Path(f).name: hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in (MODEL, SAT)
        }
