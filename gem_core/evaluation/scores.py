"""What a measurement of a model is: one score a task, and the averages that gates and tables speak of."""

import math
from statistics import fmean
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Kind = Literal["embedding", "language", "generation"]
AVERAGED: tuple[Kind, ...] = ("embedding", "language")
"""Kinds whose tasks have an average; how likely, varied and long continuations are, is three things."""


class TaskScore(BaseModel):
    """One task, measured once."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    task: str
    """The task's name in mteb or lm-eval; of continuations, how they were written and what was looked at."""
    kind: Kind
    """``embedding`` (mteb), ``language`` (lm-eval) or ``generation`` (continuations)."""
    read_out: str
    """How a text became a vector: ``special``, ``mean`` or ``last``; empty for other tasks."""
    metric: str
    """The library's name of the number: ``cosine_spearman``, ``acc`` ..."""
    value: float
    """Points from 0 to 100, higher is better; a metric with ``higher_is_better`` false stays in its own unit."""
    higher_is_better: bool = True
    """False for perplexities and the like: shown, but never part of an average or a gate."""
    stderr: float | None = None
    """Standard error of `value`, in its unit, where the library gives one."""
    items: int
    """Pairs, queries, texts or questions measured."""
    limited: bool = False
    """True for a quick look at a part of the task."""
    settings: str
    """The settings digest (:mod:`gem_core.evaluation.plan`): only scores of equal digests are comparable."""
    questions: str | None = None
    """Digest of what was asked, where the harness tells: a hub may change the data under its name."""
    subtask_of: str | None = None
    """The group that this task was measured as a part of (an MMLU subject's is ``mmlu``)."""
    records: str | None = None
    """The per-item records: a Parquet file, relative to the score store."""


class Scores(BaseModel):
    """Everything measured of one model under one evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    model: str
    """The model's content digest."""
    reference: str
    """What people call it: the folder or hub id it was measured under."""
    tasks: tuple[TaskScore, ...]
    """Requested tasks and the leaves of requested groups, by read-out where a model has several."""
    missing: dict[str, str] = {}
    """Metrics that were asked for and could not be measured (``embedding.STS12``), each with the reason."""
    seconds: float = 0.0
    """What the measuring took, loading and imports excluded; for cached scores what it took then."""

    def value(self, metric: str) -> float | None:
        """The value of `metric` in points, or None when a part of it is missing.

        Args:
            metric: ``embedding`` or ``language``: the plain average over the requested tasks, a group counting once.
                ``embedding.NAME`` or ``language.NAME``: one task, group, or leaf of a group.
        """
        parts = self.measured(metric)
        return fmean(score.value for score in parts) if parts else None

    def measured(self, metric: str) -> tuple[TaskScore, ...]:
        """The scores whose average is `metric`: one for a task; empty when any part is missing."""
        kind, _, name = metric.partition(".")
        candidates = [score for score in self._comparable(kind) if score.read_out in ("", self.best_read_out())]
        if name:
            named = [score for score in candidates if score.task == name]
            # A task that was asked for by itself goes before the same task as a leaf of a group.
            return tuple(sorted(named, key=lambda score: score.subtask_of is not None)[:1])
        whole = tuple(score for score in candidates if score.subtask_of is None)
        requested = {score.task for score in self._comparable(kind) if score.subtask_of is None}
        complete = len(whole) == len(requested) and not any(key.startswith(f"{kind}.") for key in self.missing)
        return whole if complete else ()

    def metrics(self) -> tuple[str, ...]:
        """Everything that :meth:`value` can be asked for, averages first, leaves of groups left out."""
        names: list[str] = []
        for kind in get_args(Kind):
            tasks = dict.fromkeys(score.task for score in self._comparable(kind) if score.subtask_of is None)
            names += [kind] if tasks and kind in AVERAGED else []
            names += [f"{kind}.{task}" for task in tasks]
        return tuple(names)

    def limited(self, metric: str) -> bool:
        """Whether `metric` speaks of a part of its items only: a quick look."""
        return any(score.limited for score in self.measured(metric))

    def limited_metrics(self) -> tuple[str, ...]:
        """The metrics that are a quick look."""
        return tuple(metric for metric in self.metrics() if self.limited(metric))

    def parts(self, metric: str) -> tuple[TaskScore, ...]:
        """The scores that a single embedding task or benchmark is the average of: its subsets, or its tasks."""
        whole = self.measured(metric) if metric.startswith("embedding.") else ()
        return tuple(leaf for score in whole for leaf in self.leaves(score) if leaf is not score)

    def points(self) -> dict[str, float]:
        """All metrics that have a value, with it."""
        values = {metric: self.value(metric) for metric in self.metrics()}
        return {metric: value for metric, value in values.items() if value is not None}

    def leaves(self, score: TaskScore) -> tuple[TaskScore, ...]:
        """The leaves of a group's score; the score itself when it is no group."""
        subtasks = tuple(
            leaf
            for leaf in self._comparable(score.kind)
            if leaf.subtask_of == score.task and leaf.read_out == score.read_out
        )
        return subtasks or (score,)

    def why_missing(self, metric: str) -> str:
        """In a few words, why ``value(metric)`` is None."""
        kind, _, name = metric.partition(".")
        # One task writes, several scores are read off it: they are missing together.
        together = not name or kind == "generation"
        reasons = {key: why for key, why in self.missing.items() if key == metric or together}
        reasons = {key: why for key, why in reasons.items() if key.startswith(f"{kind}.")}
        if reasons:
            return "; ".join(f"{key.partition('.')[2]}: {why}" for key, why in sorted(reasons.items()))
        if any(score.task == name for score in self.tasks):
            return "only measured by a number of which lower is better"
        return f"no {kind} task was measured" if not name else f"{name} was not measured"

    def best_read_out(self) -> str | None:
        """The read-out with the best average over embedding tasks: one encoder is chosen for all tasks, not one each.

        A read-out that gave something other than a number is chosen before all others: a broken measurement of the
        base must stop a comparison, not be passed over for a weaker base. None without embedding tasks.
        """
        by_read_out: dict[str, list[float]] = {}
        for score in self._comparable("embedding"):
            if score.subtask_of is None:
                by_read_out.setdefault(score.read_out, []).append(score.value)

        def rank(read_out: str) -> tuple[bool, int, float]:
            values = by_read_out[read_out]
            broken = not all(math.isfinite(value) for value in values)
            return broken, len(values), 0.0 if broken else fmean(values)

        return max(by_read_out, key=rank, default=None)

    def _comparable(self, kind: str) -> list[TaskScore]:
        return [score for score in self.tasks if score.kind == kind and score.higher_is_better]
