"""Parsing in a process of its own, so that a file that hangs or crashes its parser costs itself only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from core.documents.reading.document import Extracted
from core.errors import UserError
from core.settings import REPOSITORY

# A thousand pages take a few seconds; what needs longer than this hangs.
TIME_LIMIT_S = 120.0


class Parser:
    """A worker process, started with the first file and used for all that follow; one that dies is replaced.

    `modules` register readers of their own in it. Not for several threads at once.
    """

    def __init__(self, time_limit_s: float = TIME_LIMIT_S, modules: Sequence[str] = ()) -> None:
        self.time_limit_s = time_limit_s
        self.modules = modules
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def parse(self, name: str, data: bytes) -> Extracted:
        """What the reader of this suffix makes of `data`. Raises UserError, without the name, when it cannot."""
        process = self._process or self._start()
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            process.kill()

        timer = threading.Timer(self.time_limit_s, give_up)
        timer.start()
        try:
            answer = _ask(process, name, data, self.time_limit_s)
        finally:
            timer.cancel()
        if answer is None:
            self._end()
            if hung.is_set():
                raise UserError(
                    f"reading it was given up after {self.time_limit_s:.0f} seconds.",
                    "Split it up, or save it in a simpler format.",
                )
            raise UserError(f"its parser {_how(process)}.", "Open it in its own program and save it anew.")
        if "what" in answer:
            raise UserError(answer["what"], answer["remedy"])
        return Extracted(answer["text"], answer["title"], tuple(answer["pages"]), answer["meta"])

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "core.documents.reading.worker", *self.modules],
            cwd=REPOSITORY,
            # Reserving memory for every core would use up the limit before the first page.
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self._process

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        # Waits for it, and closes its pipes.
        self._process.communicate()
        self._process = None


def _ask(process: subprocess.Popen[bytes], name: str, data: bytes, seconds: float) -> dict[str, Any] | None:
    """The worker's answer; none when it died over it."""
    assert process.stdin and process.stdout
    request = {"name": name, "size": len(data), "seconds": seconds}
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n" + data)
        process.stdin.flush()
        line = process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None
    except OSError:
        return None


def _how(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, for a sentence."""
    code = process.wait()
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (exit status {code})"
