"""`core.jobs.run` with the handlers of the tests: `python -m tests.jobs.runner ID`."""

from __future__ import annotations

import sys

from core.jobs import launcher, run
from tests.jobs import handlers


def prepare() -> None:
    """Let this process know the handlers of the tests, and start its jobs so that they do too."""
    handlers.register()
    launcher.use(launcher.LocalLauncher("tests.jobs.runner"))


if __name__ == "__main__":
    prepare()
    sys.exit(run.main(int(sys.argv[1])))
