"""Two programs timed in turns on one machine: a ratio with an interval, whatever else the machine is doing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` counts this process's own work: the one to trust on a machine that is shared."""


class Clocked:
    """What the clocks showed at marks a program set itself.

    Args:
        units: Work done between the first mark and the last, where two programs do not do the same.
    """

    def __init__(self, units: float = 1.0) -> None:
        self._units = units
        self._marks: list[dict[str, float]] = []

    def mark(self) -> None:
        """Read the clocks, once the device has done what it was told to."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._marks.append({clock: read() for clock, read in CLOCKS.items()})

    def spent(self) -> dict[str, float]:
        """Seconds from the first mark to the last, for a unit of work."""
        return {clock: (self._marks[-1][clock] - self._marks[0][clock]) / self._units for clock in CLOCKS}


@dataclass(frozen=True)
class Ratio:
    """How many times as fast the second program is as the first."""

    value: float
    low: float
    high: float
    first: float
    """Seconds of the first program, median."""
    second: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratios(first: Callable[[], Clocked], second: Callable[[], Clocked], rounds: int) -> dict[str, Ratio]:
    """Run both in turns, the order swapped each round, after one round that does not count.

    Returns:
        By clock, the geometric mean of the rounds' ratios with its 95 % bootstrap interval over rounds.
    """
    pairs = []
    for number in range(rounds + 1):
        if number % 2:
            one, two = first().spent(), second().spent()
        else:
            two, one = second().spent(), first().spent()
        pairs.append((one, two))
    return {clock: _ratio(np.array([(one[clock], two[clock]) for one, two in pairs[1:]])) for clock in CLOCKS}


def whole(program: Callable[[], object]) -> Callable[[], Clocked]:
    """A program that is timed from beginning to end."""

    def run() -> Clocked:
        clocked = Clocked()
        clocked.mark()
        program()
        clocked.mark()
        return clocked

    return run


def _ratio(pairs: np.ndarray) -> Ratio:
    logs = np.log(pairs[:, 0] / pairs[:, 1])
    draws = np.random.default_rng(0).integers(len(logs), size=(4000, len(logs)))
    low, high = np.exp(np.percentile(logs[draws].mean(axis=1), [2.5, 97.5]))
    first, second = np.median(pairs, axis=0)
    return Ratio(float(np.exp(logs.mean())), float(low), float(high), float(first), float(second))


def table(found: dict[str, Ratio], names: tuple[str, str], units: float, unit: str) -> None:
    """Print a markdown row for each clock."""
    print(f"| clock | {names[0]} ({unit}/s) | {names[1]} ({unit}/s) | ratio (95 % interval) |")
    print("| --- | --- | --- | --- |")
    for clock, ratio in found.items():
        print(f"| {clock} | {units / ratio.first:,.0f} | {units / ratio.second:,.0f} | {ratio} |")
