"""Quality gates: scores and rules in, a verdict with reasons out. Pure: nothing is read, measured or promoted here.

A gate passes only on a measured, comparable, finite difference. What is missing, not a number, or measured under other
settings is *inconclusive*: nobody was shown to be worse, and nothing is promoted on it.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from gem_core.evaluation import pairing
from gem_core.evaluation.pairing import Predictions, Records, Unpaired
from gem_core.evaluation.scores import Scores
from gem_core.judging.gate_reasons import reason_of
from gem_core.judging.gate_report import GateReport as GateReport
from gem_core.judging.gate_report import GateResult as GateResult
from gem_core.judging.gate_report import Verdict as Verdict
from gem_core.recipe.gates import FIGURES, Gate

if TYPE_CHECKING:
    from gem_core.evaluation.significance import Evidence

SHOWN_CONFIDENCE = 0.95
"""Level of the interval that is shown when a gate does not decide by a test."""
TIE = 1e-9
"""A difference this close to the margin meets it: 60.3 - 60.0 is a little less than 0.3 in floating point."""

_ORDER: tuple[Verdict, ...] = ("pass", "inconclusive", "fail")


def judge(
    candidate: Scores,
    baseline: Scores,
    champion: Scores | None,
    gates: Sequence[Gate],
    *,
    records: Records | None = None,
    predictions: Predictions | None = None,
    figures: Mapping[str, float] | None = None,
    machine: str | None = None,
) -> GateReport:
    """Hold a candidate against its base and the reigning champion.

    Args:
        candidate: Scores of the model that wants to be promoted.
        baseline: Scores of its base model.
        champion: Scores of the reigning champion; None when there is none, and gates against it then pass.
        gates: The rules; without any the verdict is ``inconclusive``.
        records: Contributions of single items, for scores that are their mean; without them no interval is shown, and
            gates that decide by a test are inconclusive.
        predictions: Predictions and golds of single items, for scores that are correlations.
        figures: What was measured of the candidate alone, by metric (``latency.text_ms``).
        machine: What the latencies among them were measured on.

    Returns:
        A report whose verdict is ``fail`` if any gate fails, else ``inconclusive`` if any is, else ``pass``.
    """
    references = {"base": baseline, "champion": champion, "threshold": None}

    def results_of(gate: Gate) -> list[GateResult]:
        if gate.kind in FIGURES:
            return [_judge_figure(gate, (figures or {}).get(gate.metric), machine)]
        return _judge_scores(candidate, references[gate.against], gate, records, predictions)

    results = tuple(chain.from_iterable(map(results_of, gates)))
    worst = max((result.verdict for result in results), key=_ORDER.index, default="inconclusive")
    return GateReport(
        verdict=worst,
        results=results,
        candidate=candidate.model,
        baseline=baseline.model,
        champion=champion.model if champion else None,
    )


def _judge_figure(gate: Gate, found: float | None, machine: str | None) -> GateResult:
    """A figure against its budget."""
    verdict: Verdict = "inconclusive"
    reason = f"{gate.metric} was not measured"
    budget = math.nan if gate.at_most is None else gate.at_most
    if found is not None and not math.isfinite(found):
        reason = f"{gate.metric} is not a number"
    elif found is not None:
        verdict = "pass" if found <= budget + TIE else "fail"
        where = f" on {machine}" if machine and gate.kind == "latency" else ""
        reason = f"{gate.metric} is {found:.4g}{where}; at most {budget:.4g} is allowed"
    return GateResult(**_rule(gate), candidate=found, difference=found, verdict=verdict, reason=reason)


def _judge_scores(
    candidate: Scores,
    reference: Scores | None,
    gate: Gate,
    records: Records | None,
    predictions: Predictions | None,
) -> list[GateResult]:
    """One result, or one for each task. Among several, a single failure is held to Holm's correction.

    Passing needs none: all of them have to, and each errs as often as its level says, so together less.
    """
    if not gate.each:
        return [_judge(candidate, reference, gate, records, predictions)[0]]
    known = pairing.metrics_of(reference, gate.metric) if reference else ()
    metrics = tuple(dict.fromkeys((*pairing.metrics_of(candidate, gate.metric), *known)))
    if not metrics:
        return [_judge(candidate, reference, gate, records, predictions)[0]]
    single = [gate.model_copy(update={"metric": one, "each": False}) for one in metrics]
    judged = [_judge(candidate, reference, one, records, predictions) for one in single]
    weighed = [evidence.worse if evidence else 1.0 for _, evidence in judged]
    results = [
        result.model_copy(update={"name": f"{gate.name}:{result.metric.partition('.')[2]}"}) for result, _ in judged
    ]
    if gate.test == "estimate":
        return results
    from gem_core.evaluation.significance import holm

    return [
        result.model_copy(
            update={"verdict": "inconclusive", "reason": f"{result.reason} (one of {len(results)} tests)"}
        )
        if result.verdict == "fail" and corrected > gate.level
        else result
        for result, corrected in zip(results, holm(weighed), strict=True)
    ]


def _judge(
    candidate: Scores, reference: Scores | None, gate: Gate, records: Records | None, predictions: Predictions | None
) -> "tuple[GateResult, Evidence | None]":
    value = pairing.value(candidate, gate.metric)
    other = pairing.value(reference, gate.metric) if reference else None
    more = any(score.limited for score in pairing.measured(candidate, gate.metric))
    known = {**_rule(gate), "candidate": value, "reference": other, "more": more}
    obstacle = _obstacle(candidate, reference, gate)
    if obstacle or value is None:
        return GateResult(**known, verdict="inconclusive", reason=obstacle), None
    if gate.against == "champion" and reference is None:
        return GateResult(**known, verdict="pass", reason="no champion yet, so this is the first model"), None
    difference = value - (other or 0.0)
    known |= {"difference": difference}
    margin = gate.at_least or 0.0
    if gate.test == "estimate":
        interval = _shown_interval(candidate, reference, gate.metric, records)
        known |= {"interval": interval, "confidence": SHOWN_CONFIDENCE if interval else None}
        verdict: Verdict = "pass" if difference >= margin - TIE else "fail"
        return _with_reason(known, verdict), None
    try:
        evidence = _evidence(candidate, reference, gate, records, predictions)
    except Unpaired as unpaired:
        return _with_reason(known, "inconclusive", why=str(unpaired)), None
    if evidence is None:
        return _with_reason(known, "inconclusive", why="there are too few of them to tell how sure that is"), None
    distance = -margin if gate.test == "non-inferiority" else evidence.difference - margin
    known |= {
        "interval": (evidence.low, evidence.high),
        "confidence": 1.0 - 2.0 * gate.level,
        "p_value": evidence.better,
        "method": evidence.method,
        "items": evidence.items,
        "detectable": evidence.detectable,
        "needed_items": evidence.needed(distance),
    }
    passes, fails = evidence.better <= gate.level, evidence.worse <= gate.level
    return _with_reason(known, "pass" if passes else "fail" if fails else "inconclusive"), evidence


def _rule(gate: Gate) -> dict[str, Any]:
    """What a result repeats of its gate."""
    tested = gate.test != "estimate"
    fields = ("name", "metric", "against", "at_least", "at_most", "test", "inconclusive")
    return {field: getattr(gate, field) for field in fields} | {"level": gate.level if tested else None}


def _with_reason(known: dict[str, Any], verdict: Verdict, why: str | None = None) -> GateResult:
    result = GateResult(**known, verdict=verdict, reason="")
    return result.model_copy(update={"reason": reason_of(result, why)})


def _obstacle(candidate: Scores, reference: Scores | None, gate: Gate) -> str | None:
    """Why nothing can be concluded from these scores; None when they can be compared."""
    scores = [("the candidate", candidate)]
    if reference is not None:
        scores.append(("the champion" if gate.against == "champion" else "the base", reference))
    for who, one in scores:
        flaw = pairing.flaw(one, gate.metric)
        if flaw:
            return f"{gate.metric} of {who} {flaw}"
    return pairing.unequal(candidate, reference, gate.metric) if reference is not None else None


def _evidence(
    candidate: Scores, reference: Scores | None, gate: Gate, records: Records | None, predictions: Predictions | None
) -> "Evidence | None":
    """What the items say; raises Unpaired where they cannot be held against each other."""
    from gem_core.evaluation.significance import weigh, weigh_over_tasks

    margin = gate.at_least or 0.0
    if gate.over == "items":
        items = [
            item for task in pairing.pairs(candidate, reference, gate.metric, records, predictions) for item in task
        ]
        difference = (pairing.value(candidate, gate.metric) or 0.0) - (
            pairing.value(reference, gate.metric) or 0.0 if reference else 0.0
        )
        return weigh(items, difference, margin, gate.level)
    tasks = list(pairing.by_task(candidate, reference, gate.metric, records, predictions))
    return weigh_over_tasks([points for points, _ in tasks], [items for _, items in tasks], margin, gate.level)


def _shown_interval(
    candidate: Scores, reference: Scores | None, metric: str, records: Records | None
) -> tuple[float, float] | None:
    """Paired bootstrap interval of the difference; None when the items cannot be paired one to one."""
    if records is None:
        return None
    from gem_core.evaluation.statistics import paired_bootstrap

    differences, weights = [], []
    try:
        for items in pairing.pairs(candidate, reference, metric, records, None):
            for item in items:
                if item.differences is None:
                    return None
                differences.append(item.differences)
                weights.append(item.weight)
    except Unpaired:
        return None
    return paired_bootstrap(differences, weights, confidence=SHOWN_CONFIDENCE)
