"""What the quality gates said of a candidate: numbers, verdict and reason of each. Kept as JSON with the version."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gem_core.recipe.gates import Inconclusive

Verdict = Literal["pass", "fail", "inconclusive"]
NextStep = Literal["promote", "refuse", "human", "more-items"]


class GateResult(BaseModel):
    """What one gate found. Numbers are points; None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    name: str
    metric: str
    against: str
    candidate: float | None = None
    reference: float | None = None
    difference: float | None = None
    """Candidate minus reference; against a threshold the candidate itself."""
    interval: tuple[float, float] | None = None
    """Of the difference, over more questions of the same subjects; None where there are no per-item records."""
    confidence: float | None = None
    """Level of the interval."""
    at_least: float | None = None
    at_most: float | None = None
    test: str = "estimate"
    level: float | None = None
    """Of the test, one-sided; None where the estimate decides."""
    p_value: float | None = None
    """Of "no better than `at_least`"; small where that can be ruled out."""
    method: str | None = None
    """Of the test."""
    items: int | None = None
    """How many were paired for it."""
    detectable: float | None = None
    """The least distance from `at_least` that so many items show in four of five cases."""
    needed_items: int | None = None
    """How many would show the distance at hand."""
    more: bool = False
    """Whether its tasks have items that a limit left out."""
    inconclusive: Inconclusive = "refuse"
    """What the gate asks for where it is inconclusive."""
    verdict: Verdict
    reason: str
    """One plain sentence with the numbers."""


class GateReport(BaseModel):
    """The verdict on a candidate: the worst of its gates."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    verdict: Verdict
    results: tuple[GateResult, ...]
    candidate: str
    """Content digests of those who were compared."""
    baseline: str
    champion: str | None

    @property
    def next_step(self) -> NextStep:
        """What the verdict leads to: an inconclusive report to the strictest of what its open gates ask for."""
        if self.verdict != "inconclusive":
            return "promote" if self.verdict == "pass" else "refuse"
        asked = {result.inconclusive for result in self.results if result.verdict == "inconclusive"}
        steps: tuple[NextStep, ...] = ("refuse", "more-items", "human")
        return next((step for step in steps if step in asked), "refuse")

    @property
    def exhausted(self) -> bool:
        """Whether the tests that stay open and ask for more items have had all there are."""
        open_ones = [result for result in self.results if result.verdict == "inconclusive" and result.items is not None]
        asking = [result for result in open_ones if result.inconclusive == "more-items"]
        return bool(asking) and not any(result.more for result in asking)

    @property
    def needed_items(self) -> int | None:
        """Items that the most demanding of the inconclusive gates needs; None where that is not known."""
        needs = [r.needed_items for r in self.results if r.verdict == "inconclusive" and r.needed_items is not None]
        return max(needs, default=None)

    def sentence(self) -> str:
        """The verdict and what decided it, in one line for people."""
        if not self.results:
            return "inconclusive: the recipe has no gates, so there is nothing to judge by"
        if self.verdict == "pass":
            return f"pass: all {len(self.results)} gates are met"
        deciding = [result for result in self.results if result.verdict == self.verdict]
        return f"{self.verdict}: " + "; ".join(f"{result.name}: {result.reason}" for result in deciding)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a gate, for tables."""
        return [result.model_dump(mode="json") for result in self.results]
