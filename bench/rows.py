"""A large dataset: importing it, looking through it, changing it; against pandas on the same file.

    python -m bench.rows [--rows 1000000]

A file of about 1 kB a row is made of random words and imported in a process of its own, with and without a search for
near duplicates; printed are its peak memory (VmHWM, Linux only) and the longest wait of a neighbour that writes to the
records all the time. Then pages, searches and edits are timed, each the median of three. The peer loads the file with
pandas.read_json and searches the joined texts with str.contains, as one would in a notebook.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.machine import describe

VOCABULARY = 20_000
WORDS = 120
NOWHERE = "zzqxj"
IMPORT = """
import json, re, sys, time
from pathlib import Path
from core.data.dataset import File, import_dataset
from core.data.splits import SplitPlan
began, phases = time.perf_counter(), {}
def note(done, total, message):
    phases.setdefault(message, time.perf_counter() - began)
plan = SplitPlan(keep_near_duplicates_together=sys.argv[2] == "near")
dataset = import_dataset("bench", File("bench.jsonl", path=Path(sys.argv[1])), plan=plan, on_progress=note)
# Not ru_maxrss, which starts with what the process that started this one had used.
peak = int(re.search("VmHWM:(.*) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"id": dataset.id, "peak": peak, "seconds": time.perf_counter() - began, "phases": phases}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LOWEST_RUNG_HOME"] = str(Path(folder) / "home")
        path = Path(folder) / "bench.jsonl"
        _write(path, options.rows)
        print(f"{options.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB")
        _delete(_import(path, "near"))
        dataset_id = _import(path, "plain")
        ours = _ours(dataset_id, options.rows)
        theirs = _pandas(path)
    for name, seconds in (ours | theirs).items():
        print(f"{name}: {1000 * seconds:,.1f} ms")
    print(f"pandas load / our first page: {theirs['pandas, load'] / ours['first page']:,.0f}")
    print(f"pandas search / our search of everything: {theirs['pandas, search'] / ours['search, found nowhere']:.2f}")


def _write(path: Path, rows: int) -> None:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=chance.randint(3, 11))) for _ in range(VOCABULARY)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            question = f"Ticket {number}: {' '.join(chance.choices(words, k=WORDS))}"
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": words[number % 77]}]
            file.write(json.dumps({"messages": turns, "label": f"kind {number % 77}"}) + "\n")


def _import(path: Path, likeness: str) -> int:
    with _neighbour() as waits:
        done = subprocess.run([sys.executable, "-c", IMPORT, str(path), likeness], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    phases = ", ".join(f"{message.lower()} from {seconds:.0f} s" for message, seconds in found["phases"].items())
    print(f"import ({likeness}): {found['seconds']:.0f} s, peak memory {found['peak']:,.0f} MiB ({phases})")
    print(f"  a neighbour waited {max(waits):.2f} s at most")
    return int(found["id"])


def _delete(dataset_id: int) -> None:
    from core.data.dataset import ERASER, delete_dataset

    with _neighbour() as waits:
        seconds = _once(lambda: delete_dataset(dataset_id))
        began = time.perf_counter()
        for thread in threading.enumerate():
            if thread.name == ERASER:
                thread.join()
        erased = seconds + time.perf_counter() - began
    print(f"delete: {seconds:.1f} s, erased after {erased:.0f} s; a neighbour waited {max(waits):.2f} s at most")


@contextmanager
def _neighbour() -> Iterator[list[float]]:
    """Somebody who writes a row again and again, as a running job does; the seconds that each time took."""
    from core.store.database import session
    from core.store.tables import Job

    with session() as db:
        db.add(job := Job(kind="bench", status="done"))
    waits: list[float] = []
    over = threading.Event()

    def write() -> None:
        with session() as db:
            db.get_one(Job, job.id).done += 1

    def keep_writing() -> None:
        while not over.wait(0.05):
            waits.append(_once(write))

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


def _ours(dataset_id: int, rows: int) -> dict[str, float]:
    from core.data.rows import Filter, edit, labels_of, page, put_back, remove, restore

    def looked(filter: Filter = Filter(), offset: int = 0) -> Callable[[], object]:  # noqa: B008 - frozen
        return lambda: page(dataset_id, filter, offset, 10)

    found = {
        "first page": _median(looked()),
        "page in the middle": _median(looked(offset=rows // 3)),
        "search, found everywhere": _median(looked(Filter(search="ticket"))),
        "search, found once": _median(looked(Filter(search=f"TICKET {rows // 2}:"))),
        "search, found nowhere": _median(looked(Filter(search=NOWHERE))),
        "one label": _median(looked(Filter(label="kind 5"))),
        "only noted, of which there are none": _median(looked(Filter(only="noted"))),
        "labels": _median(lambda: labels_of(dataset_id)),
    }
    row = page(dataset_id, Filter(), 0, 1).rows[0]
    text = row.messages[0]["content"]
    found["edit an answer"] = _once(lambda: edit(row.id, turns=[text], reference="new", label=None))
    found["edit a prompt"] = _once(lambda: edit(row.id, turns=[f"{text} more"], reference="new", label=None))
    found["restore"] = _once(lambda: restore(row.id))
    found["remove"] = _once(lambda: remove([row.id]))
    found["put back"] = _once(lambda: put_back([row.id]))
    return found


def _pandas(path: Path) -> dict[str, float]:
    import pandas as pd

    began = time.perf_counter()
    frame = pd.read_json(path, lines=True)
    texts = frame["messages"].map(lambda turns: "\n".join(turn["content"] for turn in turns).casefold())
    loaded = time.perf_counter() - began
    search = _median(lambda: frame[texts.str.contains(NOWHERE, regex=False)].head(10))
    return {"pandas, load": loaded, "pandas, search": search}


def _once(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _median(call: Callable[[], object]) -> float:
    return statistics.median(_once(call) for _ in range(3))


if __name__ == "__main__":
    main()
