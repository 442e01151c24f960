"""What follows when a gate stays open and asks for more items: which tasks, how many more, and at what level. Pure.

Looking a second time errs a second time. A gate that may be looked at twice is therefore read at half its level both
times (Bonferroni): over both looks it passes candidates that are just not good enough no more often than it says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gem_core.evaluation import pairing
from gem_core.recipe.evaluation import LanguageTask
from gem_core.recipe.gates import SCORES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gem_core.evaluation.scores import Scores
    from gem_core.judging.gate_report import GateReport
    from gem_core.recipe import Evaluation, Gate

SLACK = 1.25
"""How many more items than are said to be needed: that number is an estimate itself."""


def looked_at_twice(gates: Sequence[Gate], candidate: Scores) -> frozenset[str]:
    """The gates that a second look may follow: tests that ask for more items, of tasks that a limit cut short."""
    return frozenset(
        gate.name
        for gate in gates
        if gate.inconclusive == "more-items"
        and gate.test != "estimate"
        and gate.kind in SCORES
        and any(score.limited for score in pairing.measured(candidate, gate.metric))
    )


def read_at_half(gates: Sequence[Gate], names: Collection[str]) -> tuple[Gate, ...]:
    """The gates, those of these names at half their level."""
    return tuple(gate.model_copy(update={"level": gate.level / 2}) if gate.name in names else gate for gate in gates)


def on_more_items(evaluation: Evaluation, report: GateReport, candidate: Scores) -> Evaluation | None:
    """The evaluation with the limits that the open gates need, the others as they are.

    Args:
        evaluation: What was measured.
        report: What the gates said of it.
        candidate: The candidate's scores.

    Returns:
        None where nothing more is to be had, or nothing more would be decided by it.
    """
    if report.verdict != "inconclusive" or report.next_step != "more-items":
        return None
    factors: dict[tuple[str, str], float] = {}
    for result in report.results:
        if result.verdict != "inconclusive" or not result.more or result.items is None:
            continue
        # At no distance from the margin no number is enough: all that there are.
        factor = SLACK * result.needed_items / result.items if result.needed_items is not None else math.inf
        for score in pairing.measured(candidate, result.metric):
            if score.limited:
                key = (score.kind, score.subtask_of or score.task)
                factors[key] = max(factors.get(key, 1.0), factor)
    for (kind, task), factor in factors.items():
        if kind == "language":
            evaluation = _ask_more(evaluation, task, factor)
    if written := [factor for (kind, _), factor in factors.items() if kind == "generation"]:
        generation = evaluation.generation
        limit = _raised(generation.limit, max(written))
        limit = None if limit is None or limit >= generation.count else limit
        evaluation = evaluation.model_copy(update={"generation": generation.model_copy(update={"limit": limit})})
    return evaluation if factors else None


def _ask_more(evaluation: Evaluation, task: str, factor: float) -> Evaluation:
    language = evaluation.language
    own = language.by_task.get(task, LanguageTask())
    limit = _raised(own.limit if "limit" in own.model_fields_set else language.limit, factor)
    by_task = language.by_task | {task: own.model_copy(update={"limit": limit})}
    return evaluation.model_copy(update={"language": language.model_copy(update={"by_task": by_task})})


def _raised(limit: int | None, factor: float) -> int | None:
    return None if limit is None or math.isinf(factor) else math.ceil(limit * factor)
