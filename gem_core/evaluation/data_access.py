"""Telling data that cannot be had from code that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Unreachable:
    """Data that cannot be had."""

    reason: str
    """Why, in one line."""


def unreachable(load: Callable[[], object]) -> Unreachable | None:
    """Run `load`; None when it worked, else why the data cannot be had.

    The libraries report an unreachable server, a data set or configuration that is not there, one that is broken or
    made by a script (RuntimeError), and a package that a task needs, by errors of these families. Only loading is run
    under them: an error while measuring is a bug and stays one.
    """
    import httpx2
    from datasets.exceptions import DatasetsError

    try:
        load()
    except ImportError as error:
        return Unreachable(f"it needs what is not installed: {_first_line(error)}")
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError, DatasetsError) as error:
        return Unreachable(f"its data cannot be loaded: {_first_line(error)}")
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
