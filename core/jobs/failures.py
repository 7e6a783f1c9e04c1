"""Puts an exception that ended a job into the user's words: what happened, and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from core.errors import UserError

_DISK_FULL = ("no space left", "disk is full", "disk quota exceeded", "os error 28")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")

_FREE_THE_DISK = (
    "Free some space on the disk of the home folder, or delete jobs no longer needed. "
    "Then resume this one: what it saved is kept."
)
_NEED_LESS_MEMORY = (
    "Make the batch or the text length smaller, choose a smaller model, or close other programs. Then start it again."
)
_LOOK_AND_RESUME = "The traceback and the end of the log say where. Resume it to try again from what it saved."


def explain(error: BaseException) -> tuple[str, str]:
    """(what happened, what to do). Libraries wrap the errors of the system, so its causes count too."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return cause.what, cause.remedy
        if _is_disk_full(cause):
            return f"The disk is full: {_name(cause)}.", _FREE_THE_DISK
        if _says_out_of_memory(cause):
            return f"The memory was not enough: {_name(cause)}.", _NEED_LESS_MEMORY
    return f"Unexpected problem: {_name(error)}.", _LOOK_AND_RESUME


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory, of the GPU or of the machine, was not enough."""
    return any(_says_out_of_memory(cause) for cause in _causes(error) if not isinstance(cause, UserError))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return _says(error, _DISK_FULL)


def _says_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError by its name, since this module must not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # torch reports memory on the CPU as a plain RuntimeError; other errors may merely quote the words.
    return isinstance(error, OSError | RuntimeError) and _says(error, _OUT_OF_MEMORY)


def _says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    return any(phrase in str(error).lower() for phrase in phrases)


def _name(error: BaseException) -> str:
    """First line of the error's text, with its type: enough to look it up, short enough for a screen."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
