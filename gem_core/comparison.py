"""Two models side by side: differences from the first to the second, paired intervals, a verdict in words. Pure.

A row says what a gate would see: the same rules pair the items and refuse unequal settings (:mod:`gem_core.gates`).
Averages are taken over the tasks that can be compared, and say so where others were left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from gem_core.gates import SHOWN_CONFIDENCE, TIE, judge
from gem_core.recipe import Gate

if TYPE_CHECKING:
    from gem_core.evaluation.pairing import Records
    from gem_core.evaluation.scores import Scores, TaskScore

Verdict = Literal["better", "worse", "unclear", "equal", "not comparable"]
Level = Literal["average", "category", "task", "part"]
Settings = Mapping[str, Mapping[str, Any]]
"""What was measured how: settings by their digest."""

KINDS = ("embedding", "language")
CATEGORIES = {
    "cosine_spearman": "semantic similarity",
    "max_ap": "pair classification",
    "accuracy": "classification",
    "ndcg_at_10": "retrieval",
    "v_measure": "clustering",
    "map_at_1000": "reranking",
}
"""What an embedding task asks for, told by the number that mteb scores it by."""


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
    items: int = 0
    """Items measured of the second model."""
    limited: bool = False
    """Measured on a part of a task only."""
    verdict: Verdict
    """Of the second model; ``unclear`` when the interval holds zero, or there is none."""
    reason: str
    """One plain sentence."""

    @property
    def comparable(self) -> bool:
        """Whether there is a difference to speak of."""
        return self.verdict != "not comparable"


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
    first: Scores, second: Scores, *, records: Records | None = None, settings: Settings | None = None
) -> ModelComparison:
    """Hold the second model against the first, task by task.

    Args:
        first: What is compared with.
        second: What is judged.
        records: Per-item records for paired intervals (:meth:`ScoreStore.items`).
        settings: The settings behind the digests in the scores, to say what they were and how they differ.
    """
    known = settings or {}
    first, second = _one_read_out(first, second), _one_read_out(second, first)
    metrics = dict.fromkeys(metric for scores in (first, second) for metric in (*scores.metrics(), *scores.missing))
    tasks = [_task(first, second, metric, "task", records, known) for metric in metrics if "." in metric]
    rows = [
        row
        for kind in KINDS
        for row in _kind(first, second, kind, [task for task in tasks if task.metric.startswith(kind)], records, known)
    ]
    return ModelComparison(
        first=first.reference,
        second=second.reference,
        first_digest=first.model,
        second_digest=second.model,
        sentence=_sentence(first, second, rows),
        rows=tuple(rows),
        settings={task.metric: _settings_of(first, second, task.metric, known) for task in tasks},
    )


def category_of(score: TaskScore) -> str:
    """What a task asks for, in the words of a table."""
    return CATEGORIES.get(score.metric, "other") if score.kind == "embedding" else "language"


def _kind(
    first: Scores, second: Scores, kind: str, tasks: list[Difference], records: Records | None, known: Settings
) -> Iterable[Difference]:
    """The rows of one kind: its average, its categories, their tasks, the parts of groups."""
    comparable = [task for task in tasks if task.comparable]
    if comparable:
        left_out = len(tasks) - len(comparable)
        label = f"{kind}, average of {_count(len(comparable), 'task')}" + (
            f" ({left_out} left out)" if left_out else ""
        )
        yield _average(first, second, kind, "average", label, comparable, records, known)
    for category in dict.fromkeys(task.category for task in tasks):
        members = [task for task in tasks if task.category == category]
        averaged = [task for task in members if task.comparable]
        if len(averaged) > 1 and len(averaged) < len(comparable):
            label = f"{category}, average of {len(averaged)} tasks"
            yield _average(first, second, kind, "category", label, averaged, records, known)
        for task in members:
            yield task
            for part in _parts(second, task.metric) if task.comparable else ():
                yield _task(first, second, part, "part", records, known)


def _average(
    first: Scores,
    second: Scores,
    kind: str,
    level: Level,
    label: str,
    tasks: list[Difference],
    records: Records | None,
    known: Settings,
) -> Difference:
    names = {task.metric.partition(".")[2] for task in tasks}
    ours, theirs = (_only(scores, kind, names) for scores in (first, second))
    row = _task(ours, theirs, kind, level, records, known)
    return row.model_copy(update={"label": label, "category": tasks[0].category if level == "category" else kind})


def _task(
    first: Scores, second: Scores, metric: str, level: Level, records: Records | None, known: Settings
) -> Difference:
    """One row, judged as a gate without a margin would."""
    gate = Gate(name="difference", metric=metric, against="base", at_least=0.0)
    result = judge(second, first, None, [gate], records=records).results[0]
    measured = second.measured(metric) or first.measured(metric)
    verdict = _verdict(result.difference, result.interval)
    return Difference(
        metric=metric,
        level=level,
        label=metric.partition(".")[2] or metric,
        category=category_of(measured[0]) if measured else metric.partition(".")[0],
        first=result.reference,
        second=result.candidate,
        difference=result.difference,
        interval=result.interval,
        items=sum(score.items for score in measured),
        limited=any(score.limited for score in measured),
        verdict=verdict,
        reason=_in_words(result.difference, result.interval, verdict)
        if result.difference is not None
        else _why_not(first, second, metric, result.reason, known),
    )


def _verdict(difference: float | None, interval: tuple[float, float] | None) -> Verdict:
    if difference is None:
        return "not comparable"
    if interval is None:
        return "equal" if abs(difference) <= TIE else "unclear"
    low, high = interval
    if low > TIE:
        return "better"
    if high < -TIE:
        return "worse"
    return "equal" if max(-low, high) <= TIE else "unclear"


def _in_words(difference: float, interval: tuple[float, float] | None, verdict: Verdict) -> str:
    if verdict == "equal":
        return "no difference on any item" if interval else "no difference"
    if interval is None:
        return f"{difference:+.2f} points, and no per-item records to tell how sure that is"
    numbers = f"{difference:+.2f} points ({SHOWN_CONFIDENCE:.0%} interval {interval[0]:+.2f} to {interval[1]:+.2f})"
    return f"no clear difference: {numbers}" if verdict == "unclear" else f"{verdict}: {numbers}"


def _why_not(first: Scores, second: Scores, metric: str, found: str, known: Settings) -> str:
    """Why a metric is not compared; names the settings that differ where they are known."""
    measured = [known.get(score.settings, {}) for score in _pair(first, second, metric)]
    if len(measured) < 2 or measured[0] == measured[1]:
        return found.replace("the candidate", second.reference).replace("the base", first.reference)
    ours, theirs = measured
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return "measured differently: " + "; ".join(f"{name} {ours.get(name)} and {theirs.get(name)}" for name in names)


def _settings_of(first: Scores, second: Scores, metric: str, known: Settings) -> dict[str, Any]:
    found = [dict(known.get(score.settings, {})) for score in _pair(first, second, metric)]
    if len(found) == 2 and found[0] != found[1]:
        return {"first": found[0], "second": found[1]}
    return found[0] if found else {}


def _pair(first: Scores, second: Scores, metric: str) -> tuple[TaskScore, ...]:
    """The score of a task in either model; one or none where it is missing."""
    return tuple(score for scores in (first, second) for score in scores.measured(metric)[:1])


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


def _sentence(first: Scores, second: Scores, rows: list[Difference]) -> str:
    """The verdict: kind by kind, then how the single tasks went."""
    if first.model == second.model:
        return f"{first.reference} and {second.reference} are the same model: their content digests are equal"
    averages = [row for row in rows if row.level == "average"]
    if not averages:
        return f"{first.reference} and {second.reference} cannot be compared: no task was measured equally of both"
    said = "; ".join(f"in {row.label}, {row.reason}" for row in averages)
    tasks = [row for row in rows if row.level == "task"]
    counts = ((word, sum(row.verdict == word for row in tasks)) for word in ("better", "worse", "unclear", "equal"))
    shares = ", ".join(f"{count} {word}" for word, count in counts if count)
    refused = sum(not row.comparable for row in tasks)
    rest = f"; {_count(refused, 'task')} cannot be compared" if refused else ""
    return f"{second.reference} against {first.reference}: {said}. Task by task: {shares}{rest}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
