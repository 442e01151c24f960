"""How the jobs' entry points end: a :class:`GemError` becomes the one line that the submitting side shows."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from gem_core.errors import GemError
from ray_jobs.jobs import ERROR_MARK, Progress


def run(main: Callable[[], None]) -> None:
    """Run an entry point; exits with status 1 and a last line ``error: …`` on a :class:`GemError`."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        main()
    except GemError as error:
        say(f"{ERROR_MARK}{' '.join(str(error).split())}")
        sys.exit(1)


def argument(usage: str) -> Path:
    """The one path that an entry point is given, absolute.

    Args:
        usage: How it is called, as in ``python -m ray_jobs.train RUN_FOLDER``.

    Raises:
        GemError: None was given, or several.
    """
    if len(sys.argv) != 2:
        raise GemError(f"usage: {usage}")
    return Path(sys.argv[1]).resolve()


def say(line: str | Progress) -> None:
    """Write a line to the job's log, at once."""
    sys.stdout.write(f"{line.line() if isinstance(line, Progress) else line}\n")
    sys.stdout.flush()
