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

    Hub libraries report an unreachable server, a data set that is not there and a configuration that is not there by
    errors of these families. Only loading is run under them: an error while measuring is a bug and stays one.
    """
    import httpx

    try:
        load()
    except (OSError, ValueError, httpx.HTTPError) as error:
        text = str(error).strip() or type(error).__name__
        return Unreachable(f"its data cannot be loaded: {text.splitlines()[0][:200]}")
    return None
