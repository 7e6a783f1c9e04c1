"""Checking examples: how long 100,000 lines take, and how much memory a million.

    python -m bench.check [--lines 100000] [--many 1000000]

The time is of the whole check (read, detect, validate, duplicates), each measured in a process of its own; the peer is
what nobody can do without, `json.loads` of every line of the same file. Prints seconds, their ratio and peak memory.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import describe

# The best of these is the least disturbed by whatever else runs.
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, file = options.measure
        print(json.dumps({"seconds": MEASURES[what](Path(file)), "megabytes": _peak_megabytes()}))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few.jsonl", Path(folder) / "many.jsonl"
        write(few, options.lines)
        found = {what: min(_measured(what, few)["seconds"] for _ in range(ROUNDS)) for what in MEASURES}
        print(f"check of {options.lines:,} lines ({few.stat().st_size / 1e6:.0f} MB): {found['check']:.2f} s")
        print(f"reading the records alone: {found['records']:.2f} s; json.loads of each line: {found['json']:.2f} s")
        print(f"check / json.loads: {found['check'] / found['json']:.1f}")
        write(many, options.many)
        large = _measured("check", many)
        print(
            f"check of {options.many:,} lines ({many.stat().st_size / 1e6:.0f} MB): {large['seconds']:.1f} s, "
            f"peak memory {large['megabytes']:.0f} MB"
        )


def write(path: Path, lines: int) -> None:
    """A chat file of so many lines: two or four turns each, as tickets are, no two alike, one in a thousand broken."""
    rng = random.Random(7)
    words = [
        f"{a}{b}" for a in ("pay", "card", "ship", "log", "bill", "sync") for b in ("ment", "er", "ing", "s", "ed")
    ]
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            turns = [{"role": "system", "content": "You sort tickets."}]
            for turn in range(rng.choice((1, 1, 2))):
                text = " ".join(rng.choices(words, k=30))
                turns.append({"role": "user", "content": f"Ticket {number}.{turn}: {text}?"})
                turns.append(
                    {"role": "assistant", "content": json.dumps({"team": rng.choice(words), "number": number})}
                )
            record = json.dumps({"messages": turns, "label": rng.choice(words)}, ensure_ascii=False)
            file.write((record[:-1] if number % 1000 == 999 else record) + "\n")


def _check(path: Path) -> float:
    from core.data.check import check
    from core.data.files import File

    start = time.perf_counter()
    report = check(File(path.name, path=path))
    seconds = time.perf_counter() - start
    assert report.examples + report.errors == report.records, report.by_code
    return seconds


def _records(path: Path) -> float:
    from core.data.files import File, detect_kind, records

    start = time.perf_counter()
    file = File(path.name, path=path)
    assert sum(record.value is not None for record in records(file, detect_kind(file)))
    return time.perf_counter() - start


def _json(path: Path) -> float:
    start = time.perf_counter()
    with path.open("rb") as file:
        for line in file:
            try:
                json.loads(line)
            except json.JSONDecodeError:
                continue
    return time.perf_counter() - start


MEASURES = {"check": _check, "records": _records, "json": _json}


def _measured(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.check", "--measure", what, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _peak_megabytes() -> float:
    """Of this process alone; ru_maxrss would start with what the process that started it had used."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
