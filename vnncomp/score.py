"""Scores by the rules of VNN-COMP 2026.

    python vnncomp/score.py INSTANCES.csv NAME=FOLDER|NAME=VERDICTS,SECONDS ...

A tool is the folder that `run_all.py` wrote, or two columns of INSTANCES.csv (of such a tool, counterexamples are not
at hand and are taken to be right).  INSTANCES.csv has a first line with benchmark, onnx, vnnlib, timeout_s.

* A right answer is 10 points, a wrong one -150, any other 0.  An answer after the timeout is none; start-up counts.
* `sat` needs a counterexample that holds when it is replayed with zero tolerance; without one, or with one that does
  not, it is -150.  If only its inputs need 1e-4 it is 10 points, and refutes nobody.  What the replay cannot read is 0.
* `unsat` is wrong where some tool has a counterexample that holds exactly.
* A benchmark's score is 100 times the points over the best tool's; the sum over benchmarks ranks.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RIGHT, WRONG = 10, -150
CORRECT, TOLERATED, UNSUPPORTED, TRUSTED = "correct", "correct_up_to_tolerance", "unsupported", "trusted"


@dataclass(frozen=True)
class Answer:
    """What a tool says of an instance; `check` is what replaying its counterexample gave ('' for other verdicts)."""

    verdict: str
    seconds: float
    check: str = ""


@dataclass(frozen=True)
class Instance:
    """A question: benchmark, files, seconds, and each tool's answer by name."""

    benchmark: str
    timeout: float
    answers: dict[str, Answer]


def points(instance: Instance, tool: str) -> int:
    """Of one tool for one instance."""
    a = instance.answers.get(tool, Answer("", 0.0))
    if a.verdict not in ("sat", "unsat") or a.seconds > instance.timeout:
        return 0
    if a.verdict == "unsat":
        return WRONG if any(exact(o, instance.timeout) for o in instance.answers.values()) else RIGHT
    if a.check == UNSUPPORTED:
        return 0
    return RIGHT if a.check in (CORRECT, TOLERATED, TRUSTED) else WRONG


def exact(a: Answer, timeout: float) -> bool:
    """Whether an answer settles that there is a counterexample."""
    return a.verdict == "sat" and a.check in (CORRECT, TRUSTED) and a.seconds <= timeout


def scores(instances: list[Instance], tools: list[str]) -> dict[str, dict[str, float]]:
    """Benchmark -> tool -> score, 0 to 100 (less where answers are wrong)."""
    result = {}
    for name in dict.fromkeys(i.benchmark for i in instances):
        sums = {t: sum(points(i, t) for i in instances if i.benchmark == name) for t in tools}
        best = max(sums.values())
        result[name] = {t: 100.0 * s / best if best > 0 else min(0.0, float(s)) for t, s in sums.items()}
    return result


def table(instances: list[Instance], tools: list[str]) -> str:
    """Markdown: for each benchmark and tool the score, answers solved and points lost."""
    found = scores(instances, tools)
    lines = ["| benchmark | n | " + " | ".join(f"{t}: score | solved | wrong" for t in tools) + " |"]
    lines.append("| --- |" + " ---: |" * (1 + 3 * len(tools)))
    for name, score in [*found.items(), ("all", {t: sum(s[t] for s in found.values()) for t in tools})]:
        some = [i for i in instances if name in ("all", i.benchmark)]
        cells = [name, str(len(some))]
        for t in tools:
            got = [points(i, t) for i in some]
            cells += [f"{score[t]:.1f}", str(got.count(RIGHT)), str(got.count(WRONG))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def answers(place: str, rows: list[dict[str, str]], root: Path) -> list[Answer]:
    """One tool's, for the rows of the list in order."""
    if Path(place).is_dir():
        return _of_folder(Path(place), rows, root)
    verdicts, seconds = place.split(",")
    return [Answer(r[verdicts], float(r[seconds] or 0), TRUSTED if r[verdicts] == "sat" else "") for r in rows]


def _of_folder(folder: Path, rows: list[dict[str, str]], root: Path) -> list[Answer]:
    with open(folder / "results.csv", newline="") as f:
        found = {(line[1], line[2]): (number, line) for number, line in enumerate(csv.reader(f))}
    result = []
    for row in rows:
        number, line = found.get((row["onnx"], row["vnnlib"]), (-1, ["", "", "", "0", "", "0"]))
        check = _checked(root, row, folder / f"{number}.counterexample") if line[4] == "sat" else ""
        result.append(Answer(line[4], float(line[5]), check))
    return result


def _checked(root: Path, row: dict[str, str], path: Path, check: Callable[[Path, Path, str], str] | None = None) -> str:
    if check is None:
        from replay import replay as check
    if row["onnx"].startswith("["):
        return UNSUPPORTED
    return check(root / row["onnx"], root / row["vnnlib"], path.read_text() if path.exists() else "")


def main() -> None:
    """Print the table, and why counterexamples did not count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", type=Path)
    parser.add_argument("tools", nargs="+", metavar="NAME=…")
    parser.add_argument("--timeout", type=float, default=float("inf"), help="cap of every timeout, seconds")
    a = parser.parse_args()
    with open(a.instances, newline="") as f:
        rows = list(csv.DictReader(f))
    names, found = [], []
    for text in a.tools:
        name, _, place = text.partition("=")
        names.append(name)
        found.append(answers(place, rows, a.instances.parent))
    instances = []
    for k, row in enumerate(rows):
        of = {name: some[k] for name, some in zip(names, found, strict=True)}
        instances.append(Instance(row["benchmark"], min(float(row["timeout_s"]), a.timeout), of))
        for name, answer in of.items():
            if answer.check not in ("", CORRECT, TRUSTED):
                print(f"{name}: {row['onnx']} {row['vnnlib']}: {answer.check}")
    print(table(instances, names))


if __name__ == "__main__":
    main()
