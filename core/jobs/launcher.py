"""Starting, watching and ending the processes that do the work.

A process is named by its pid together with its start time: pids are used again, surely so after a reboot.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

import psutil

from core.settings import REPOSITORY, get_settings

# Start times are counted from the boot, which the kernel tells to the second and moves when the clock is set.
SAME_START_S = 2.0


class Launcher(Protocol):
    """Where jobs run. The queue speaks to it; nothing else does."""

    def start(self, job_id: int, log: Path) -> tuple[int, float]:
        """Start the job's process, its output appended to `log`; (pid, start time), or raises OSError."""

    def is_alive(self, pid: int, started: float) -> bool:
        """Whether that very process still runs."""

    def terminate(self, pid: int) -> None:
        """Ask the process, and those it started, to end."""

    def kill(self, pid: int) -> None:
        """End them without asking."""


class LocalLauncher:
    """Detached processes on this machine: they survive the app, its terminal and its being killed."""

    def __init__(self, module: str = "core.jobs.run") -> None:
        self.module = module

    def start(self, job_id: int, log: Path) -> tuple[int, float]:
        settings = get_settings()
        # The child works in another folder, so what could be relative to ours is given in full.
        environment = os.environ | {
            "LOWEST_RUNG_HOME": str(settings.home),
            "LOWEST_RUNG_DATABASE_URL": settings.database_url,
        }
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", self.module, str(job_id)],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=flags,
            )
        started = start_time(process.pid)
        # Someone must collect the exit status, or the ended process stays in the process table while we run.
        threading.Thread(target=process.wait, name=f"job-{job_id}", daemon=True).start()
        return process.pid, started

    def is_alive(self, pid: int, started: float) -> bool:
        try:
            process = psutil.Process(pid)
            # A zombie has ended; only its parent has not asked yet (in some containers nobody ever does).
            same = abs(process.create_time() - started) < SAME_START_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def terminate(self, pid: int) -> None:
        _end(pid, by_force=False)

    def kill(self, pid: int) -> None:
        _end(pid, by_force=True)


def start_time(pid: int) -> float:
    """Start of a process, in seconds since the epoch."""
    return float(psutil.Process(pid).create_time())


def _end(pid: int, *, by_force: bool) -> None:
    """Signal the process and those it started; one that has already gone is fine."""
    try:
        if sys.platform != "win32" and os.getsid(pid) == pid:
            os.killpg(pid, signal.SIGKILL if by_force else signal.SIGTERM)
            return
        # A job in the foreground shares its group with whoever called it, perhaps a script: spare that.
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            process.kill() if by_force else process.terminate()
    except (ProcessLookupError, psutil.NoSuchProcess):
        pass


_current: Launcher = LocalLauncher()


def current() -> Launcher:
    """The launcher this process uses."""
    return _current


def use(launcher: Launcher) -> None:
    """Use another launcher from here on."""
    global _current
    _current = launcher
