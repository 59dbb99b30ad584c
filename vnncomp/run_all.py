"""Run the competition's scripts over a list of instances, as the competition does.

    python vnncomp/run_all.py INSTANCES.csv OUT [--tool FOLDER] [--timeout S] [--only TEXT]

INSTANCES.csv has a first line with (at least) benchmark, onnx, vnnlib, timeout_s; paths from its folder.  OUT gets
`results.csv` (category, network, property, seconds of preparation, result, seconds) and the counterexamples.
Standard library only: it runs outside the tool's environment.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PREPARE = 600.0
"""Seconds that preparation may take."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tool", type=Path, default=HERE, help="folder of the three scripts")
    parser.add_argument("--timeout", type=float, default=float("inf"), help="cap of every timeout, seconds")
    parser.add_argument("--only", default="", help="benchmarks, with commas between")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    with open(a.instances, newline="") as f:
        rows = [r for r in csv.DictReader(f) if not a.only or r["benchmark"] in a.only.split(",")]
    with open(a.out / "results.csv", "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        for number, row in enumerate(rows):
            limit = min(float(row["timeout_s"]), a.timeout)
            line = one(a.tool, row["benchmark"], a.instances.parent, row, limit, a.out / f"{number}.counterexample")
            writer.writerow(line)
            f.flush()
            print(*line, flush=True)


def one(tool: Path, category: str, root: Path, row: dict[str, str], limit: float, place: Path) -> list[str]:
    """Prepare and run an instance; its line of the table."""
    onnx = row["onnx"] if row["onnx"].startswith("[") else str((root / row["onnx"]).resolve())
    files = [onnx, str((root / row["vnnlib"]).resolve())]
    start = time.monotonic()
    prepared = subprocess.run([tool / "prepare_instance.sh", "v1", category, *files], timeout=PREPARE, check=False)
    preparation = time.monotonic() - start
    if prepared.returncode:
        return [category, row["onnx"], row["vnnlib"], f"{preparation:.3f}", "prepare_instance_error", "0"]
    start = time.monotonic()
    subprocess.run([tool / "run_instance.sh", "v1", category, *files, place, f"{limit:g}"], check=False)
    seconds = time.monotonic() - start
    words = place.read_text().split(None, 1) if place.exists() else []
    verdict = words[0] if words else "no_result_in_file"
    if verdict != "sat":
        place.unlink(missing_ok=True)
    return [category, row["onnx"], row["vnnlib"], f"{preparation:.3f}", verdict, f"{seconds:.3f}"]


if __name__ == "__main__":
    main()
