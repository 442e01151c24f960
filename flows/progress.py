"""Progress of long steps: a bar on a terminal, a line now and then elsewhere.

A flow reports through :func:`report`; who runs the flow decides what is shown, with :func:`shown_on`.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)


class View(Protocol):
    """Shows how far a step has come."""

    def update(self, step: str, fraction: float, detail: str) -> None:
        """Show ``step`` at ``fraction`` (0 to 1); 1 completes it."""


class Lines:
    """A line when a step begins, at each quarter, and when it ends: for logs."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._shown: dict[str, float] = {}

    def update(self, step: str, fraction: float, detail: str) -> None:
        """Write a line if the step moved by a quarter or ended."""
        before = self._shown.get(step, -1.0)
        if fraction - before >= 0.25 or (fraction >= 1.0 > before):
            self._shown[step] = fraction
            self._write(f"{step} {fraction:4.0%}  {detail}".rstrip())


class Bars:
    """One bar a step, with its elapsed time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def update(self, step: str, fraction: float, detail: str) -> None:
        """Draw the step's bar."""
        if step not in self._bars:
            self._bars[step] = self._progress.add_task(step, total=1.0, detail="")
        self._progress.update(self._bars[step], completed=min(fraction, 1.0), detail=detail)


_view: ContextVar[View | None] = ContextVar("view", default=None)


def report(step: str, fraction: float, detail: str = "") -> None:
    """Tell whoever watches how far ``step`` has come."""
    view = _view.get()
    if view is None:
        view = Lines(log.info)
        _view.set(view)
    view.update(step, fraction, detail)


@contextmanager
def shown_on(console: Console) -> Iterator[None]:
    """Show progress on ``console``: bars if it is a terminal, lines if it is not."""
    if not console.is_terminal:
        token = _view.set(Lines(lambda line: console.print(line, soft_wrap=True)))
        try:
            yield
        finally:
            _view.reset(token)
        return
    columns = (
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        token = _view.set(Bars(progress))
        try:
            yield
        finally:
            _view.reset(token)
