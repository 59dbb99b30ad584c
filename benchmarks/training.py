"""Methods of certified training side by side: accuracies after training, and what the search proves.

python -m benchmarks.training FOLDER --data SOURCE [--seeds N] [--count N] [--timeout S] [--only TEXT]

FOLDER keeps every run (`verifier train`) and its results (`verifier certify`); the same command goes on where it was
stopped.  SOURCE are the data of the recipes `configs/mnist_*.toml`.  The table at the end is of all that is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from verifier.train.recipe import read

CONFIGS = Path(__file__).parent / "configs"


def main() -> None:
    """Train and certify what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000, help="test images that are certified")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds for the search on one image")
    parser.add_argument("--only", default="", help="recipes whose name has this in it")
    a = parser.parse_args()
    configs = sorted(c for c in CONFIGS.glob("mnist_*.toml") if a.only in c.stem)
    for seed in range(a.seeds):
        for config in configs:
            out = a.folder / f"{config.stem}_{seed}"
            train(config, out, a.data, seed)
            certify(out, a.data, read(config).schedule.eps, a.count, a.timeout)
    print(table(a.folder, configs, a.seeds))


def train(config: Path, out: Path, data: str, seed: int) -> None:
    """A run, from its beginning or from its checkpoint; `seconds.txt` has what it took (the last call of several)."""
    if (out / "model.onnx").exists():
        return
    begun = time.perf_counter()
    resume = ["--resume"] if (out / "checkpoint.pt").exists() else []
    program("train", "--config", config, "--data", data, "--out", out, "--seed", seed, "--threads", 1, *resume)
    (out / "seconds.txt").write_text(f"{time.perf_counter() - begun:.1f}\n")


def certify(out: Path, data: str, eps: float, count: int, timeout: float) -> None:
    """Certified accuracy on the first images of the test set."""
    program(
        "certify", "--model", out / "model.onnx", "--data", data, "--eps", eps, "--count", count, "--timeout", timeout,
        "--db", out / "certified.sqlite", "--json", out / "certified.json",
    )  # fmt: skip


def program(*arguments: object) -> None:
    """Run the program as a user does."""
    subprocess.run([sys.executable, "-m", "verifier", *map(str, arguments)], check=True, stdout=sys.stderr)


def table(folder: Path, configs: list[Path], seeds: int) -> str:
    """One line a recipe: means over the seeds, standard deviations where there are several."""
    lines = [
        "| recipe | seeds | images | natural | not attacked | certified | by intervals | unknown | training s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for config in configs:
        runs = [folder / f"{config.stem}_{seed}" for seed in range(seeds)]
        found = [
            summary(json.loads((r / "certified.json").read_text())) for r in runs if (r / "certified.json").exists()
        ]
        if not found:
            continue
        seconds = [float((r / "seconds.txt").read_text()) for r in runs if (r / "seconds.txt").exists()]
        columns = [spread([f[k] for f in found]) for k in ("natural", "attacked", "certified", "interval", "unknown")]
        cells = [config.stem, str(len(found)), f"{found[0]['images']:g}", *columns, f"{statistics.mean(seconds):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(content: dict) -> dict[str, float]:
    """Shares of one run."""
    n, counts = content["images"], content["counts"]
    part = {k: content[k] for k in ("natural", "attacked", "certified", "images")}
    return part | {
        k: counts.get(name, 0) / n for k, name in (("interval", "certified-interval"), ("unknown", "unknown"))
    }


def spread(values: list[float]) -> str:
    """Mean, and deviation, in per cent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
