"""A process of its own for what other libraries take apart: its memory and time are limited, and it may crash.

A few kilobytes can unpack to more than the machine has, and a damaged file can end the process that reads it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import core
from core.data.files.model import File
from core.data.files.stream import CHUNK_BYTES, Source
from core.errors import UserError

# A million rows of four short columns, nearly a full sheet of Excel, take 0.4 GB and 16 s.
MEMORY_BYTES = 2**30
# Of the processor; a Parquet file of some gigabytes, read to its end, takes minutes.
SECONDS = 600


def answers(file: File, packed: bool, module: str, *arguments: str, refusal: str, remedy: str) -> Iterator[Any]:
    """What a module prints that gets the content as its standard input: JSON lines.

    Raises UserError with `refusal`, the reason and `remedy` for what the module refuses, or if it had to be stopped.
    """
    command = [sys.executable, "-m", module, *arguments]
    with _on_disk(file, packed) as stream, tempfile.TemporaryFile() as said:
        root = Path(core.__file__).parents[1]
        child = subprocess.Popen(command, stdin=stream, stdout=subprocess.PIPE, stderr=said, cwd=root)
        assert child.stdout
        try:
            for line in child.stdout:
                if line.endswith(b"\n"):  # The last one may be cut off.
                    yield json.loads(line)
            status = child.wait()
        finally:
            child.stdout.close()
            child.kill()
            child.wait()
        if status:
            said.seek(0)
            reason = said.read().decode(errors="replace").strip().splitlines()[-1:] if status == 1 else []
            what = reason[0] if reason else "it is damaged, or takes more memory or time than a file may"
            raise UserError(f"{file.name} {refusal}: {what}.", remedy)


def limit() -> None:
    """Called by the module: from here on this process may use no more than it should."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def say(value: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Called by the module: answer with a value; `default` makes one that JSON knows of any other."""
    sys.stdout.write(json.dumps(value, default=default) + "\n")


def refuse(error: Exception) -> None:
    """Called by the module: end it with the first line of an error as the reason."""
    sys.exit(str(error).partition("\n")[0][:200].rstrip(".") or type(error).__name__)


@contextmanager
def _on_disk(file: File, packed: bool) -> Iterator[IO[bytes]]:
    """The unpacked content as a file that another process can read."""
    if file.path and not packed:
        with file.path.open("rb") as stream:
            yield stream
        return
    with Source(file, packed) as source, tempfile.TemporaryFile() as copy:
        while data := source.read(CHUNK_BYTES):
            copy.write(data)
        copy.seek(0)
        yield copy
