"""Quality gates: scores and rules in, a verdict with reasons out. Pure: nothing is read, measured or promoted here.

A gate passes only on a measured, comparable, finite difference. What is missing, not a number, or measured under other
settings is *inconclusive*: nobody was shown to be worse, and nothing is promoted on it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.recipe import Gate

Verdict = Literal["pass", "fail", "inconclusive"]
Records = Callable[[TaskScore], Mapping[str, Mapping[str, float]] | None]
"""Points of each item by leaf task and item id (:meth:`ScoreStore.items`), or None where there are none."""

SHOWN_CONFIDENCE = 0.95
"""Level of the interval that is shown when a gate does not decide by one."""
TIE = 1e-9
"""A difference this close to the margin meets it: 60.3 - 60.0 is a little less than 0.3 in floating point."""

_ORDER: tuple[Verdict, ...] = ("pass", "inconclusive", "fail")


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
    at_least: float
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


def judge(
    candidate: Scores,
    baseline: Scores,
    champion: Scores | None,
    gates: Sequence[Gate],
    *,
    records: Records | None = None,
) -> GateReport:
    """Hold a candidate against its base and the reigning champion.

    Args:
        candidate: Scores of the model that wants to be promoted.
        baseline: Scores of its base model.
        champion: Scores of the reigning champion; None when there is none, and gates against it then pass.
        gates: The rules; without any the verdict is ``inconclusive``.
        records: Per-item records for paired intervals; without them no interval is shown, and gates that decide by one
            are inconclusive.

    Returns:
        A report whose verdict is ``fail`` if any gate fails, else ``inconclusive`` if any is, else ``pass``.
    """
    references = {"base": baseline, "champion": champion, "threshold": None}
    results = tuple(_judge(candidate, references[gate.against], gate, records) for gate in gates)
    worst = max((result.verdict for result in results), key=_ORDER.index, default="inconclusive")
    return GateReport(
        verdict=worst,
        results=results,
        candidate=candidate.model,
        baseline=baseline.model,
        champion=champion.model if champion else None,
    )


def _judge(candidate: Scores, reference: Scores | None, gate: Gate, records: Records | None) -> GateResult:
    value = candidate.value(gate.metric)
    other = reference.value(gate.metric) if reference else None
    known: dict[str, Any] = {
        "name": gate.name,
        "metric": gate.metric,
        "against": gate.against,
        "at_least": gate.at_least,
        "candidate": value,
        "reference": other,
    }
    obstacle = _obstacle(candidate, reference, gate)
    if obstacle or value is None:
        return GateResult(**known, verdict="inconclusive", reason=obstacle)
    if gate.against == "champion" and reference is None:
        return GateResult(**known, verdict="pass", reason="no champion yet, so this is the first model")
    difference = value - (other or 0.0)
    confidence = gate.confidence or SHOWN_CONFIDENCE
    interval = _interval(candidate, reference, gate.metric, records, confidence) if records else None
    if gate.confidence is None:
        verdict: Verdict = "pass" if difference >= gate.at_least - TIE else "fail"
    else:
        verdict = _by_interval(interval, gate.at_least)
    return GateResult(
        **known,
        difference=difference,
        interval=interval,
        confidence=confidence if interval else None,
        verdict=verdict,
        reason=_reason(gate, value, other, difference, interval, confidence),
    )


def _obstacle(candidate: Scores, reference: Scores | None, gate: Gate) -> str | None:
    """Why nothing can be concluded from these scores; None when they can be compared."""
    scores = [("the candidate", candidate)]
    if reference is not None:
        scores.append(("the champion" if gate.against == "champion" else "the base", reference))
    for who, one in scores:
        value = one.value(gate.metric)
        if value is None:
            return f"{gate.metric} of {who} is missing ({one.why_missing(gate.metric)})"
        if not math.isfinite(value):
            return f"{gate.metric} of {who} is not a number"
    return _unequal(candidate, reference, gate.metric) if reference is not None else None


def _unequal(candidate: Scores, reference: Scores, metric: str) -> str | None:
    """How the two measurements of `metric` differ in more than the model; None when they do not."""
    ours, theirs = ({leaf.task: leaf for leaf in _parts(scores, metric)} for scores in (candidate, reference))
    if ours.keys() != theirs.keys():
        return f"measured on different tasks: {', '.join(sorted(ours.keys() ^ theirs.keys()))}"
    for task, our in ours.items():
        their = theirs[task]
        if (our.settings, our.metric) != (their.settings, their.metric):
            return f"settings differ: {task} was measured with other settings or versions; measure both again"
        if our.items != their.items:
            return f"settings differ: {task} has {our.items} items here and {their.items} there"
    return None


def _parts(scores: Scores, metric: str) -> list[TaskScore]:
    """The scores behind a metric, groups and their leaves."""
    measured = scores.measured(metric)
    return [part for score in measured for part in dict.fromkeys((score, *scores.leaves(score)))]


def _interval(
    candidate: Scores, reference: Scores | None, metric: str, records: Records, confidence: float
) -> tuple[float, float] | None:
    """Paired bootstrap interval of the difference; None when the items cannot be paired one to one."""
    import numpy as np

    from gem_core.evaluation.statistics import paired_bootstrap

    measured = candidate.measured(metric)
    differences, weights = [], []
    for score in measured:
        leaves = candidate.leaves(score)
        ours = records(score)
        theirs = {} if reference is None else _records_of(reference, metric, score.task, records)
        for leaf in leaves:
            our = (ours or {}).get(leaf.task)
            their = dict.fromkeys(our or (), 0.0) if reference is None else (theirs or {}).get(leaf.task)
            if not our or not their or our.keys() != their.keys():
                return None
            differences.append(np.array([our[item] - their[item] for item in our]))
            weights.append(1.0 / len(measured) / len(leaves))
    return paired_bootstrap(differences, weights, confidence=confidence)


def _records_of(scores: Scores, metric: str, task: str, records: Records) -> Mapping[str, Mapping[str, float]] | None:
    return next((records(score) for score in scores.measured(metric) if score.task == task), None)


def _by_interval(interval: tuple[float, float] | None, at_least: float) -> Verdict:
    if interval is None:
        return "inconclusive"
    low, high = interval
    if low >= at_least - TIE:
        return "pass"
    return "fail" if high < at_least - TIE else "inconclusive"


def _reason(
    gate: Gate,
    value: float,
    other: float | None,
    difference: float,
    interval: tuple[float, float] | None,
    confidence: float,
) -> str:
    if other is None:
        numbers = f"{gate.metric} is {value:.2f}"
    else:
        numbers = f"{gate.metric} is {value:.2f} against {other:.2f} ({difference:+.2f} points)"
    if interval:
        numbers += f", {confidence:.0%} interval {interval[0]:+.2f} to {interval[1]:+.2f}"
    elif gate.confidence is not None:
        numbers += ", and there are no per-item records to tell how sure that is"
    margin = f"{gate.at_least:.2f}" if other is None else f"{gate.at_least:+.2f}"
    return f"{numbers}; at least {margin} is needed"
