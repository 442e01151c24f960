"""Which scores a metric speaks of, whether two models' can be compared, and their items side by side. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import fmean
from typing import TYPE_CHECKING, Any

from gem_core.evaluation.assembly import MEAN
from gem_core.recipe.gates import several, split_names

if TYPE_CHECKING:
    from gem_core.evaluation.scores import Scores, TaskScore
    from gem_core.evaluation.significance import PairedItems

Records = Callable[["TaskScore"], Mapping[str, Mapping[str, float]] | None]
"""Points of each item by leaf task and item id (:meth:`ScoreStore.items`), or None where there are none."""
Predictions = Callable[["TaskScore"], Mapping[str, tuple[Any, Any]] | None]
"""Prediction and gold of each item by its id (:meth:`ScoreStore.predictions`), for scores that are no mean of items."""

ADDS_UP = 0.01
"""Points by which a score may differ from what its records give: rounding, and no more."""


class Unpaired(Exception):  # noqa: N818 - an answer, not a failure
    """Why the items of two models do not pair up, in a few words."""


def metrics_of(scores: Scores, metric: str) -> tuple[str, ...]:
    """The single tasks that `metric` speaks of, asked for and missing ones included: ``embedding.STS12`` ...

    A wildcard that meets no requested task looks among the leaves of groups (``language.mmlu_*``).
    """
    kind, _, names = metric.partition(".")
    if names and not several(names):
        return (metric,)
    known = [one for one in dict.fromkeys((*scores.metrics(), *scores.missing)) if one.startswith(f"{kind}.")]
    if not names:
        return tuple(known)
    leaves = [f"{kind}.{score.task}" for score in scores.tasks if score.kind == kind and score.subtask_of is not None]
    found: dict[str, None] = {}
    for pattern in split_names(names):
        wanted = f"{kind}.{pattern}"
        matched = [one for one in known if fnmatchcase(one, wanted)] or [
            one for one in leaves if fnmatchcase(one, wanted)
        ]
        found |= dict.fromkeys(matched or [wanted])  # a name that nothing answers to is missing, not left out
    return tuple(found)


def measured(scores: Scores, metric: str) -> tuple[TaskScore, ...]:
    """The scores whose average is `metric`; empty when any part of it is missing."""
    if not several(metric.partition(".")[2]):
        return scores.measured(metric)
    parts = [scores.measured(one) for one in metrics_of(scores, metric)]
    return tuple(score for part in parts for score in part) if all(parts) else ()


def value(scores: Scores, metric: str) -> float | None:
    """The value of `metric` in points, or None when a part of it is missing."""
    parts = measured(scores, metric)
    return fmean(score.value for score in parts) if parts else None


def flaw(scores: Scores, metric: str) -> str | None:
    """What is wrong with one model's measurement of `metric`; None when it can be used."""
    kind = metric.partition(".")[0]
    keys = Counter((one.task, one.read_out, one.metric, one.subtask_of) for one in scores.tasks if one.kind == kind)
    twice = sorted({key[0] for key, times in keys.items() if times > 1})
    if twice:
        return f"holds {', '.join(twice)} twice: nobody can tell which counts"
    parts = _parts(scores, metric)
    if not parts:
        single = next((one for one in metrics_of(scores, metric) if not scores.measured(one)), metric)
        return f"is missing ({scores.why_missing(single)})"
    if not all(math.isfinite(part.value) for part in parts):
        return "is not a number"
    empty = [part.task for part in parts if part.items < 1]
    return f"was measured on no items ({', '.join(empty)})" if empty else None


def unequal(candidate: Scores, reference: Scores, metric: str) -> str | None:
    """How the two measurements of `metric` differ in more than the model; None when they do not."""
    ours, theirs = ({part.task: part for part in _parts(scores, metric)} for scores in (candidate, reference))
    if ours.keys() != theirs.keys():
        return f"measured on different tasks: {', '.join(sorted(ours.keys() ^ theirs.keys()))}"
    for task, our in ours.items():
        their = theirs[task]
        if (our.settings, our.metric) != (their.settings, their.metric):
            return f"settings differ: {task} was measured with other settings or versions; measure both again"
        if our.items != their.items:
            return f"settings differ: {task} has {our.items} items here and {their.items} there"
        if None not in (our.questions, their.questions) and our.questions != their.questions:
            return f"settings differ: {task} asked other questions then, its data has changed; measure both again"
    return None


def pairs(
    candidate: Scores,
    reference: Scores | None,
    metric: str,
    records: Records | None,
    predictions: Predictions | None,
) -> Iterator[list[PairedItems]]:
    """The items of each task of `metric`, a list for a task since a group has several leaves; weights add up to one.

    A benchmark's items are those of its tasks, and a task's those of its subsets where its score is their average.
    Without a reference the candidate's points are held against nothing: a threshold.

    Raises:
        Unpaired: There are no records, they do not pair up one to one, or they are not those of the scores.
    """
    pair = _Pair(candidate, reference, records, predictions)
    scores = pair.of(metric)
    for ours, theirs in scores:
        yield list(pair.items(ours, theirs, 1.0 / len(scores)))


def by_task(
    candidate: Scores,
    reference: Scores | None,
    metric: str,
    records: Records | None,
    predictions: Predictions | None,
) -> Iterator[tuple[float, list[PairedItems]]]:
    """The difference on each task of `metric`, and its items: none where they do not pair up.

    A benchmark counts as its tasks, each as much as a task that was asked for by itself.
    """
    pair = _Pair(candidate, reference, records, predictions)
    for ours, theirs in pair.of(metric):
        for our, their in pair.leaves(ours, theirs) if ours.metric == MEAN else ((ours, theirs),):
            try:
                items = list(pair.items(our, their, 1.0))
            except Unpaired:
                items = []
            yield our.value - (their.value if their else 0.0), items


@dataclass(frozen=True)
class _Pair:
    """A candidate and what it is held against, with their records."""

    candidate: Scores
    reference: Scores | None
    records: Records | None
    predictions: Predictions | None

    def of(self, metric: str) -> list[tuple[TaskScore, TaskScore | None]]:
        """The scores behind a metric, each with its counterpart."""
        theirs = {} if self.reference is None else {score.task: score for score in measured(self.reference, metric)}
        return [(score, theirs.get(score.task)) for score in measured(self.candidate, metric)]

    def leaves(self, ours: TaskScore, theirs: TaskScore | None) -> list[tuple[TaskScore, TaskScore | None]]:
        """The parts that a score is the average of; the score itself where it is no average."""
        others = {leaf.task: leaf for leaf in self.reference.leaves(theirs)} if self.reference and theirs else {}
        return [(leaf, others.get(leaf.task)) for leaf in self.candidate.leaves(ours)]

    def items(self, ours: TaskScore, theirs: TaskScore | None, weight: float) -> Iterator[PairedItems]:
        """The items of one score; those of its parts where only they have any."""
        if self.reference is not None and theirs is None:
            raise Unpaired(f"only one of the two was measured on {ours.task}")
        our = self.records(ours) if self.records else None
        leaves = self.leaves(ours, theirs)
        if our is not None:
            their = self.records(theirs) if self.records and theirs else None
            other = {leaf.task: leaf for _, leaf in leaves if leaf}
            yield from _means(tuple(leaf for leaf, _ in leaves), our, their, other, weight)
        elif leaves[0][0] is ours:
            yield _statistic(ours, theirs, self.predictions, weight)
        else:
            for leaf, counterpart in leaves:
                yield from self.items(leaf, counterpart, weight / len(leaves))


def _means(
    leaves: tuple[TaskScore, ...],
    ours: Mapping[str, Mapping[str, float]],
    theirs: Mapping[str, Mapping[str, float]] | None,
    others: Mapping[str, TaskScore],
    weight: float,
) -> Iterator[PairedItems]:
    """Contributions that average to the scores."""
    import numpy as np

    from gem_core.evaluation.significance import PairedItems

    for leaf in leaves:
        our = _whole(leaf, ours.get(leaf.task))
        their = _whole(others[leaf.task], (theirs or {}).get(leaf.task)) if others else dict.fromkeys(our, 0.0)
        if our.keys() != their.keys():
            raise Unpaired(f"the items of {leaf.task} are not the same")
        differences = np.array([our[item] - their[item] for item in our])
        yield PairedItems(weight=weight / len(leaves), differences=differences, alone=not others)


def _whole(score: TaskScore, items: Mapping[str, float] | None) -> Mapping[str, float]:
    """Records that are complete and add up to their score."""
    if not items:
        raise Unpaired(f"there are no per-item records of {score.task}")
    if len(items) != score.items:
        raise Unpaired(f"the records of {score.task} hold {len(items)} distinct items, its score {score.items}")
    mean = fmean(items.values())
    if not abs(mean - score.value) <= ADDS_UP:
        raise Unpaired(f"the records of {score.task} average {mean:.2f}, its score is {score.value:.2f}")
    return items


def _statistic(
    ours: TaskScore, theirs: TaskScore | None, predictions: Predictions | None, weight: float
) -> PairedItems:
    """Predictions and golds, for a score that is no mean over items."""
    import numpy as np

    from gem_core.evaluation.significance import PairedItems
    from gem_core.evaluation.statistics import pearson, spearman

    our, their = ((predictions(score) if predictions and score else None) for score in (ours, theirs))
    if not our or (theirs is not None and not their):
        raise Unpaired(f"there are no per-item records of {ours.task} from which its score could be had again")
    if their and (our.keys() != their.keys() or any(our[item][1] != their[item][1] for item in our)):
        raise Unpaired(f"the items of {ours.task} are not the same")
    statistic = {"cosine_spearman": spearman, "cosine_pearson": pearson}.get(ours.metric)
    if statistic is None:
        return _counted(ours, theirs, our, {item: their[item] for item in our} if their else None, weight)
    one, gold = (np.array(column) for column in zip(*our.values(), strict=True))
    two = np.array([their[item][0] for item in our]) if their else None
    for score, predicted in ((ours, one), (theirs, two)):
        if predicted is not None:
            _adds_up(score, float(statistic(predicted[None], gold[None])[0]))
    return PairedItems(weight=weight, statistic=statistic, ours=one, theirs=two, gold=gold, alone=two is None)


def _counted(
    ours: TaskScore,
    theirs: TaskScore | None,
    our: Mapping[str, tuple[Any, Any]],
    their: Mapping[str, tuple[Any, Any]] | None,
    weight: float,
) -> PairedItems:
    """Average precisions and V-measures, which follow from how often each item is drawn."""
    import numpy as np

    from gem_core.evaluation.counted_statistics import Clusterings, of_records
    from gem_core.evaluation.significance import PairedItems

    one, two = (of_records(ours.metric, records) if records else None for records in (our, their))
    if one is None or (their is not None and (two is None or one[0] != two[0])):
        raise Unpaired(f"there are no per-item records of {ours.task} from which its score could be had again")
    items, value = one
    other = two[1] if two else None
    for score, measure in ((ours, value), (theirs, other)):
        if measure is not None:
            _adds_up(score, float(measure(np.ones((1, items)))[0]))
    clustered = None
    if isinstance(value, Clusterings):
        clustered = value.against(other if isinstance(other, Clusterings) else None, items)
    return PairedItems(
        weight=weight,
        items=items,
        counted=lambda counts: value(counts) - (0.0 if other is None else other(counts)),
        clustered=clustered,
        alone=other is None,
    )


def _adds_up(score: TaskScore | None, again: float) -> None:
    """Refuse records that are not those of their score."""
    if score is not None and not abs(again - score.value) <= ADDS_UP:
        raise Unpaired(f"the records of {score.task} give {again:.2f}, its score is {score.value:.2f}")


def _parts(scores: Scores, metric: str) -> list[TaskScore]:
    """The scores behind a metric, groups and their leaves."""
    return [part for score in measured(scores, metric) for part in dict.fromkeys((score, *scores.leaves(score)))]
