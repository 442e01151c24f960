"""What a gate found, in one sentence for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gem_core.judging.gate_report import GateResult


def reason_of(result: GateResult, why: str | None = None) -> str:
    """The numbers, what was needed, and what a larger suite would have to be.

    Args:
        result: With everything but its reason; the candidate's value and a difference are there.
        why: Why a test could not be made.
    """
    return "; ".join(filter(None, (_numbers(result, why), _needed(result), _too_small(result))))


def _numbers(result: GateResult, why: str | None) -> str:
    said = f"{result.metric}{' (limited)' if result.more else ''} is {result.candidate:.2f}"
    if result.reference is not None:
        said += f" against {result.reference:.2f} ({result.difference:+.2f} points)"
    if result.interval is not None:
        low, high = result.interval
        said += f", {result.confidence:.0%} interval {low:+.2f} to {high:+.2f}"
    if result.p_value is not None:
        said += f", p = {result.p_value:.2g} ({result.method}, {result.items} items)"
    if why is not None:
        said += f", but {why}"
    return said


def _needed(result: GateResult) -> str:
    margin = f"{result.at_least:.2f}" if result.reference is None else f"{result.at_least:+.2f}"
    if result.test == "estimate":
        return f"at least {margin} is needed"
    return f"more than {margin} has to be shown (level {result.level:g})"


def _too_small(result: GateResult) -> str | None:
    """What an inconclusive test could have seen: the suite may be too small for the rule."""
    if result.verdict != "inconclusive" or result.detectable is None or result.items is None:
        return None
    said = f"{result.items} items show a distance of {result.detectable:.2f} points or more"
    if result.needed_items is not None and result.needed_items > result.items and result.at_least is not None:
        seen = -result.at_least if result.test == "non-inferiority" else (result.difference or 0.0) - result.at_least
        said += f", and {seen:.2f} needs about {result.needed_items:,} items"
    return said
