"""How a comparison speaks: its rows and its verdict as plain sentences. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gem_core.evaluation.scores import Scores
    from gem_core.judging.difference import Difference


def in_words(row: Difference, confidence: float) -> str:
    """A comparable row as a sentence; ``confidence`` is the level of its interval."""
    if row.verdict == "equal":
        return "no difference"
    change = f"{row.difference:+.2f} points"
    if row.interval is None:
        return f"{change}, and no per-item records to tell how sure that is"
    low, high = row.interval
    numbers = f"{change} ({confidence:.0%} interval {low:+.2f} to {high:+.2f}"
    numbers += ", over other tasks like these)" if row.over == "tasks" else ")"
    if row.verdict != "unclear":
        return f"{row.verdict}: {numbers}"
    shown = f"; so many {row.over} show differences from {row.detectable:.1f} points" if row.detectable else ""
    return f"no clear difference: {numbers}{shown}"


def verdict_in_words(first: Scores, second: Scores, rows: list[Difference]) -> str:
    """The verdict: kind by kind, then how the single tasks went."""
    if first.model == second.model:
        return f"{first.reference} and {second.reference} are the same model: their content digests are equal"
    averages = [row for row in rows if row.level == "average"]
    if not averages:
        return f"{first.reference} and {second.reference} cannot be compared: no task was measured equally of both"
    said = "; ".join(f"in {row.label}, {row.reason}" for row in averages)
    tasks = [row for row in rows if row.level == "task"]
    words = ("better", "worse", "unclear", "no interval", "equal")
    counts = ((word, sum(row.verdict == word for row in tasks)) for word in words)
    shares = ", ".join(f"{number} {word}" for word, number in counts if number)
    refused = sum(not row.comparable for row in tasks)
    rest = f"; {count(refused, 'task')} cannot be compared" if refused else ""
    return f"{second.reference} against {first.reference}: {said}. Task by task: {shares}{rest}"


def count(number: int, what: str) -> str:
    """A number of things: ``1 task``, ``2 tasks``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
