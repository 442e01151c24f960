"""Sends a training's numbers to MLflow from a thread of its own, many steps at a time: no step waits for a server."""

import logging
import queue
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from gem_core.errors import GemError
from gem_core.records.tracking import Tracking

SECONDS_BETWEEN_CALLS = 3.0
SECONDS_TO_SETTLE = 10.0
POINTS_A_RUN = 2000
"""A curve needs no more; longer trainings are thinned evenly."""

logger = logging.getLogger(__name__)


class MetricsWriter:
    """Use as a context manager around the training; without a run it does nothing.

    A server out of reach costs no training: what could not be written is tried again with the next batch, and its loss
    is logged in the end.
    """

    def __init__(self, tracking_uri: str | None, mlflow_run: str | None, *, steps: int) -> None:
        self._run = mlflow_run
        self._tracking = Tracking(tracking_uri) if tracking_uri else None
        self._stride = -(-steps // POINTS_A_RUN)
        self._steps = steps
        self._queue = queue.SimpleQueue[tuple[int, dict[str, float]]]()
        self._ended = threading.Event()
        self._asked = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._write, name="gem-metrics", daemon=True)

    def __enter__(self) -> Self:
        if self._run and self._tracking:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step; returns at once."""
        if self._run and (step % self._stride == 0 or step in (1, self._steps)):
            self._queue.put((step, dict(metrics)))

    def settle(self) -> None:
        """Wait until all that was added has been written, or tried: a checkpoint is not to be ahead of the record."""
        if self._thread.is_alive():
            self._answered.clear()
            self._asked.set()
            self._answered.wait(SECONDS_TO_SETTLE)

    def _write(self) -> None:
        waiting: list[tuple[int, dict[str, float]]] = []
        while True:
            asked = self._asked.wait(SECONDS_BETWEEN_CALLS)
            self._asked.clear()
            last = self._ended.is_set()
            while not self._queue.empty():
                waiting.append(self._queue.get())
            try:
                if waiting and self._run and self._tracking:
                    self._tracking.log_steps(self._run, waiting)
                waiting = []
            except GemError as error:
                if last:
                    logger.warning("The metrics of %d steps did not reach MLflow: %s", len(waiting), error)
            if asked:
                self._answered.set()
            if last:
                return
