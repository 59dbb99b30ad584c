"""By how much `verifier.verify` overruns its timeout in one process, where nothing cuts it off.

    python -m benchmarks.overrun LIST.csv --timeout 1 3 5 [--only FAMILY,FAMILY] [--per N]

LIST.csv has columns benchmark, onnx and vnnlib, paths relative to it.  Of each benchmark the first N questions of every
network are asked.  It prints what took longest beyond its time, loading the model and reading the property counted.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from pathlib import Path

import verifier
from verifier.values.errors import VerifierError


def main() -> None:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--timeout", type=float, nargs="+", default=[1.0, 3.0, 5.0])
    parser.add_argument("--only", default="")
    parser.add_argument("--per", type=int, default=1)
    args = parser.parse_args()
    with args.list.open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    some = set(filter(None, args.only.split(",")))
    seen: Counter[str] = Counter()
    found: list[tuple[float, float, str]] = []
    for row in rows:
        if some and row["benchmark"] not in some or seen[row["onnx"]] >= args.per:
            continue
        seen[row["onnx"]] += 1
        for timeout in args.timeout:
            start = time.monotonic()
            try:
                told = str(
                    verifier.verify(
                        args.list.parent / row["onnx"], args.list.parent / row["vnnlib"], timeout=timeout
                    ).verdict
                )
            except VerifierError as e:
                told = str(e)[:60]
            over = time.monotonic() - start - timeout
            found.append((over, timeout, f"{row['benchmark']} {Path(row['onnx']).name} {told}"))
            if over > 0.2:
                print(f"{over:6.2f} s over {timeout:g} s: {found[-1][2]}", flush=True)
    bad = sum(over > max(1.0, 0.05 * timeout) for over, timeout, _ in found)
    print(f"{len(found)} asked; {bad} more than 1 s (or a twentieth) over; the longest:")
    for over, timeout, what in sorted(found, reverse=True)[:10]:
        print(f"{over:6.2f} s over {timeout:g} s: {what}")


if __name__ == "__main__":
    main()
