"""The process in which complicated files are parsed: `python -m core.documents.reading.worker [MODULE ...]`.

It reads a line of JSON (`name`, `size`, `seconds`) and that many bytes from its input, and writes one line of JSON:
what was extracted, or `what` and `remedy`. It gives up its right to much memory first, and ends when its input does.
The modules are imported for the readers they register.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
from dataclasses import asdict
from typing import Any

from core.documents.reading.document import extract
from core.errors import UserError

# Parsers hold a file several times over; the largest that are accepted need about 2 GB.
MAX_MEMORY = 4_000_000_000
# A parent that was killed cannot end a hanging parser, which then does so itself.
ORPHAN_S = 30


def main() -> None:
    # Whatever a library prints must not come between our lines.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _limit_memory()
    _forbid_entities()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        data = sys.stdin.buffer.read(request["size"])
        # In a thread of C, which works while a parser keeps the interpreter to itself.
        faulthandler.dump_traceback_later(request["seconds"] + ORPHAN_S, exit=True, file=sys.stderr)
        answers.write(json.dumps(_answer(request["name"], data)) + "\n")
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


def _answer(name: str, data: bytes) -> dict[str, Any]:
    try:
        return asdict(extract(name, data))
    except UserError as error:
        return {"what": error.what, "remedy": error.remedy}
    except MemoryError:
        return {"what": "reading it needs too much memory.", "remedy": "Split it up, or save it in a simpler format."}
    except Exception as error:
        # Parsers of other people raise whatever comes up; it is the file's fault, and the person's to know.
        said = " ".join(str(error).split())[:200]
        reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return {"what": f"it is damaged ({reason}).", "remedy": "Open it in its own program and save it anew."}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit; the time limit remains.
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def _forbid_entities() -> None:
    """XML parsers of the standard library refuse entity declarations from here on, whoever calls them."""
    import defusedxml  # type: ignore[import-untyped]

    defusedxml.defuse_stdlib()


if __name__ == "__main__":
    main()
