"""Entries of the store put together to the scores of a model; benchmarks become averages over their tasks. Pure."""

from __future__ import annotations

import hashlib
from statistics import fmean
from typing import TYPE_CHECKING

from gem_core.evaluation.scores import Scores, TaskScore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gem_core.evaluation.plan import PlannedTask
    from gem_core.evaluation.store import Entry

MEAN = "mean over tasks"
"""A benchmark's metric: what mteb's leaderboard calls Mean (Task)."""


def assemble(
    digest: str,
    reference: str,
    entries: Iterable[tuple[tuple[PlannedTask, str], Entry | None]],
    missing: dict[str, str],
) -> Scores:
    """The scores of a model.

    Args:
        digest: The model's.
        reference: What people call it.
        entries: Every planned task with its read-out, and what is known of it; None where nothing is.
        missing: Metric to reason, for those of which nothing is known.
    """
    known = list(entries)
    scores: dict[TaskScore, None] = {}
    for (task, _), entry in known:
        for score in entry.scores if entry else ():
            part = task.benchmark and score.subtask_of is None
            scores[score.model_copy(update={"subtask_of": task.benchmark}) if part else score] = None
    missing = dict(missing)
    for benchmark in dict.fromkeys(task.benchmark for (task, _), _ in known if task.benchmark):
        parts = [(task, out, entry) for (task, out), entry in known if task.benchmark == benchmark]
        absent = sorted({task.task for task, _, entry in parts if entry is None})
        if absent:
            missing[f"embedding.{benchmark}"] = f"of its tasks {', '.join(absent)} could not be measured"
        else:
            scores |= dict.fromkeys(_averages(benchmark, [(out, entry) for _, out, entry in parts if entry]))
    # A task that is missing from a benchmark alone is the benchmark's to tell.
    alone = {task.metric for (task, _), _ in known if not task.benchmark}
    whole = {f"embedding.{task.benchmark}" for (task, _), _ in known if task.benchmark}
    seconds = sum({id(entry): entry.seconds for _, entry in known if entry}.values())
    return Scores(
        model=digest,
        reference=reference,
        tasks=tuple(scores),
        missing={metric: reason for metric, reason in missing.items() if metric in alone | whole},
        seconds=round(seconds, 3),
    )


def _averages(benchmark: str, parts: list[tuple[str, Entry]]) -> Iterator[TaskScore]:
    """The plain average over a benchmark's tasks, by read-out."""
    for out in dict.fromkeys(out for out, _ in parts):
        tasks = [entry.scores[0] for read_out, entry in parts if read_out == out]
        settings = "".join(sorted(task.settings for task in tasks))
        yield TaskScore(
            task=benchmark,
            kind="embedding",
            read_out=out,
            metric=MEAN,
            value=fmean(task.value for task in tasks),
            items=sum(task.items for task in tasks),
            limited=any(task.limited for task in tasks),
            settings=hashlib.sha256(settings.encode()).hexdigest(),
        )
