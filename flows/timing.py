"""Where the time of a run went."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Progress = Callable[[str, float], None]


@dataclass
class Stopwatch:
    """Seconds by kind of work. What is not counted as work is orchestration."""

    started: float = field(default_factory=time.monotonic)
    work: dict[str, float] = field(default_factory=lambda: {"pre-training": 0.0, "training": 0.0, "scoring": 0.0})
    steps: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, seconds: float) -> None:
        """Count seconds of real work, as measured where it was done."""
        self.work[kind] += seconds

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the wall time of a step of the flow, waiting included."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = self.steps.get(name, 0.0) + time.monotonic() - begin

    @contextmanager
    def stages(self, kind: str) -> Iterator[Callable[[Progress], Progress]]:
        """Count the stage called ``kind`` of a function that reports its stages.

        Gives a wrapper for the function's progress callback; the time from the stage's first report to the next
        stage's, or to the end, is counted.
        """
        began: float | None = None

        def wrap(callback: Progress) -> Progress:
            def report(stage: str, fraction: float) -> None:
                nonlocal began
                if stage == kind and began is None:
                    began = time.monotonic()
                elif stage != kind and began is not None:
                    self.add(kind, time.monotonic() - began)
                    began = None
                callback(stage, fraction)

            return report

        yield wrap
        if began is not None:
            self.add(kind, time.monotonic() - began)

    def seconds(self) -> dict[str, float]:
        """Work by kind, ``orchestration`` (the rest) and ``total``."""
        total = time.monotonic() - self.started
        return {**self.work, "orchestration": total - sum(self.work.values()), "total": total}
