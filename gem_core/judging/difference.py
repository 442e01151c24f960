"""One line of a comparison, as a record."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["better", "worse", "unclear", "no interval", "equal", "not comparable"]
Level = Literal["average", "category", "task", "part"]
Over = Literal["items", "tasks"]


class Difference(BaseModel):
    """One line of a comparison. Numbers are points; None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    metric: str
    """``embedding`` and ``language`` (averages), or ``embedding.STS12``; a category's is ``embedding`` too."""
    level: Level
    """Average of a kind, average of a category, a task, or a part (leaf) of a group of tasks."""
    label: str
    """What people read: the task, or what it is the average of."""
    category: str
    first: float | None
    second: float | None
    difference: float | None = None
    """Second minus first."""
    interval: tuple[float, float] | None = None
    """Of the difference, from paired items; None where there are no per-item records."""
    over: Over = "items"
    """What the interval speaks of: more items of these tasks, or (an average) other tasks like these."""
    detectable: float | None = None
    """The least difference that so many items show in four of five cases."""
    items: int = 0
    """Items measured of the second model."""
    limited: bool = False
    """Measured on a part of a task only."""
    verdict: Verdict
    """Of the second model; ``unclear`` when the interval holds zero, ``no interval`` where nobody can tell how sure the
    difference is."""
    reason: str
    """One plain sentence."""

    @property
    def comparable(self) -> bool:
        """Whether there is a difference to speak of."""
        return self.verdict != "not comparable"
