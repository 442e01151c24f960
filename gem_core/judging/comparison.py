"""Two models side by side: differences from the first to the second, paired intervals, a verdict in words. Pure.

A row says what a gate would see (:mod:`gem_core.judging.gates`): the same rules pair the items and refuse unequal
settings. Averages are taken over the tasks that can be compared, and say so where others were left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from gem_core.evaluation.assembly import MEAN
from gem_core.evaluation.scores import AVERAGED
from gem_core.judging.comparison_words import count, in_words, verdict_in_words
from gem_core.judging.difference import Difference, Level, Over, Verdict
from gem_core.judging.gates import SHOWN_CONFIDENCE, TIE, judge
from gem_core.recipe import Gate

if TYPE_CHECKING:
    from gem_core.evaluation.pairing import Predictions, Records
    from gem_core.evaluation.scores import Scores, TaskScore
    from gem_core.judging.gates import GateResult

Settings = Mapping[str, Mapping[str, Any]]
"""What was measured how: settings by their digest."""

KINDS = ("embedding", "language", "generation")
CATEGORIES = {
    "cosine_spearman": "semantic similarity",
    "max_ap": "pair classification",
    "accuracy": "classification",
    "ndcg_at_10": "retrieval",
    "v_measure": "clustering",
    "map_at_1000": "reranking",
}
"""What an embedding task asks for, told by the number that mteb scores it by."""


class ModelComparison(BaseModel):
    """The whole comparison: what is said of the second model, seen from the first."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    first: str
    """References, and content digests."""
    second: str
    first_digest: str
    second_digest: str
    confidence: float = SHOWN_CONFIDENCE
    """Level of the intervals, of each for itself."""
    sentence: str
    """The verdict in words."""
    rows: tuple[Difference, ...]
    """By kind: its average, then its categories and their tasks, each group before its parts."""
    settings: dict[str, dict[str, Any]]
    """Of the measurements in ``rows``, by metric; where the two differ, ``{"first": ..., "second": ...}``."""

    def at(self, *levels: Level) -> tuple[Difference, ...]:
        """The rows of these levels, in order."""
        return tuple(row for row in self.rows if row.level in levels)


def compare(
    first: Scores,
    second: Scores,
    *,
    records: Records | None = None,
    predictions: Predictions | None = None,
    settings: Settings | None = None,
) -> ModelComparison:
    """Hold the second model against the first, task by task.

    Args:
        first: What is compared with.
        second: What is judged.
        records: Per-item records for paired intervals (:meth:`ScoreStore.items`).
        predictions: The same for scores that are correlations.
        settings: The settings behind the digests in the scores, to say what they were and how they differ.
    """
    first, second = _opened(first), _opened(second)
    first, second = _one_read_out(first, second), _one_read_out(second, first)
    pair = _Pair(first, second, records, predictions, settings or {})
    metrics = dict.fromkeys(metric for scores in (first, second) for metric in (*scores.metrics(), *scores.missing))
    tasks = [pair.row(metric, "task") for metric in metrics if "." in metric]
    rows = [
        row for kind in KINDS for row in _kind(pair, kind, [task for task in tasks if task.metric.startswith(kind)])
    ]
    return ModelComparison(
        first=first.reference,
        second=second.reference,
        first_digest=first.model,
        second_digest=second.model,
        sentence=verdict_in_words(first, second, rows),
        rows=tuple(rows),
        settings={task.metric: pair.settings_of(task.metric) for task in tasks},
    )


def category_of(score: TaskScore) -> str:
    """What a task asks for, in the words of a table."""
    if score.kind == "embedding":
        return CATEGORIES.get(score.metric, "other")
    return "continuations" if score.kind == "generation" else score.kind


@dataclass(frozen=True)
class _Pair:
    """Two models' scores, and what is known behind them."""

    first: Scores
    second: Scores
    records: Records | None
    predictions: Predictions | None
    settings: Settings

    def row(self, metric: str, level: Level) -> Difference:
        """One metric, judged as a gate without a margin would."""
        result = self._judged(metric, "items")
        over: Over = "items"
        if level in ("average", "category") and result.difference is not None and result.interval is None:
            of_tasks = self._judged(metric, "tasks")
            result, over = (of_tasks, "tasks") if of_tasks.interval is not None else (result, over)
        measured = self.second.measured(metric) or self.first.measured(metric)
        row = Difference(
            metric=metric,
            level=level,
            label=metric.partition(".")[2] or metric,
            category=category_of(measured[0]) if measured else metric.partition(".")[0],
            first=result.reference,
            second=result.candidate,
            difference=result.difference,
            interval=result.interval,
            over=over,
            detectable=result.detectable,
            items=sum(score.items for score in measured),
            limited=any(score.limited for score in measured),
            verdict=self._verdict(result),
            reason="",
        )
        reason = in_words(row, SHOWN_CONFIDENCE) if row.comparable else self._why_not(metric, result.reason)
        return row.model_copy(update={"reason": reason})

    def average(self, kind: str, level: Level, label: str, tasks: list[Difference]) -> Difference:
        """The average over some tasks."""
        names = {task.metric.partition(".")[2] for task in tasks}
        ours, theirs = (_only(scores, kind, names) for scores in (self.first, self.second))
        row = replace(self, first=ours, second=theirs).row(kind, level)
        return row.model_copy(update={"label": label, "category": tasks[0].category if level == "category" else kind})

    def settings_of(self, metric: str) -> dict[str, Any]:
        """What a task was measured by; what of both, where that differs."""
        found = [dict(self.settings.get(score.settings, {})) for score in self._scores(metric)]
        if len(found) == 2 and found[0] != found[1]:
            return {"first": found[0], "second": found[1]}
        return found[0] if found else {}

    def _judged(self, metric: str, over: Over) -> GateResult:
        level = (1.0 - SHOWN_CONFIDENCE) / 2.0
        gate = Gate(
            name="difference", metric=metric, against="base", at_least=0.0, test="superiority", level=level, over=over
        )
        report = judge(self.second, self.first, None, [gate], records=self.records, predictions=self.predictions)
        return report.results[0]

    def _verdict(self, result: GateResult) -> Verdict:
        if result.difference is None:
            return "not comparable"
        if self.first.model == self.second.model:
            return "equal"
        if result.interval is None:
            return "equal" if abs(result.difference) <= TIE else "no interval"
        verdicts: dict[str, Verdict] = {"pass": "better", "fail": "worse", "inconclusive": "unclear"}
        return verdicts[result.verdict]

    def _why_not(self, metric: str, found: str) -> str:
        """Why a metric is not compared; names the settings that differ where they are known."""
        measured = [self.settings.get(score.settings, {}) for score in self._scores(metric)]
        if len(measured) < 2 or measured[0] == measured[1]:
            return found.replace("the candidate", self.second.reference).replace("the base", self.first.reference)
        ours, theirs = measured
        names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        return "measured differently: " + "; ".join(f"{name} {ours.get(name)} and {theirs.get(name)}" for name in names)

    def _scores(self, metric: str) -> tuple[TaskScore, ...]:
        """The score of a task in either model; one or none where it is missing."""
        return tuple(score for scores in (self.first, self.second) for score in scores.measured(metric)[:1])


def _kind(pair: _Pair, kind: str, tasks: list[Difference]) -> Iterable[Difference]:
    """The rows of one kind: its average, its categories, their tasks, the parts of groups."""
    comparable = [task for task in tasks if task.comparable]
    if comparable and kind in AVERAGED:
        left_out = len(tasks) - len(comparable)
        label = f"{kind}, average of {count(len(comparable), 'task')}"
        label += f" ({left_out} left out)" if left_out else ""
        yield pair.average(kind, "average", label, comparable)
    for category in dict.fromkeys(task.category for task in tasks):
        members = [task for task in tasks if task.category == category]
        averaged = [task for task in members if task.comparable]
        if 1 < len(averaged) < len(comparable):
            yield pair.average(kind, "category", f"{category}, average of {len(averaged)} tasks", averaged)
        for task in members:
            yield task
            for part in _parts(pair.second, task.metric) if task.comparable else ():
                yield pair.row(part, "part")


def _opened(scores: Scores) -> Scores:
    """The scores with the tasks of benchmarks in the place of their averages; a task counts once."""
    benchmarks = {task.task for task in scores.tasks if task.metric == MEAN}
    kept: dict[tuple[str | None, ...], TaskScore] = {}
    for task in sorted(scores.tasks, key=lambda task: task.subtask_of in benchmarks):  # asked for by themselves first
        whole = None if task.subtask_of in benchmarks else task.subtask_of
        if task.metric != MEAN:
            kept.setdefault((task.kind, task.task, task.read_out, whole), task.model_copy(update={"subtask_of": whole}))
    return scores.model_copy(update={"tasks": tuple(kept.values())})


def _one_read_out(scores: Scores, other: Scores) -> Scores:
    """The scores with one read-out for all texts: the best on the tasks that the other model has too."""
    shared = {task.task for task in scores.tasks} & {task.task for task in other.tasks}
    best = _only(scores, "embedding", shared).best_read_out() or scores.best_read_out()
    kept = tuple(task for task in scores.tasks if task.kind != "embedding" or task.read_out == best)
    return scores.model_copy(update={"tasks": kept})


def _only(scores: Scores, kind: str, names: set[str]) -> Scores:
    """The scores with these tasks of a kind, and the leaves of groups among them."""
    kept = tuple(
        task
        for task in scores.tasks
        if task.kind == kind and (task.subtask_of in names or (task.subtask_of is None and task.task in names))
    )
    return scores.model_copy(update={"tasks": kept, "missing": {}})


def _parts(scores: Scores, metric: str) -> tuple[str, ...]:
    """The metrics of the leaves of a group; none for a single task."""
    (score,) = scores.measured(metric)
    leaves = scores.leaves(score)
    return () if leaves == (score,) else tuple(f"{leaf.kind}.{leaf.task}" for leaf in leaves)
