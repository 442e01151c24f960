"""The table of an ablation: variants over their seeds, and how far each is from the recipe itself."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from gem_core.evaluation.statistics import spearman
from gem_core.studies.ablation import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gem_core.studies.ablation import Result

RESAMPLES, AT_ONCE = 1000, 100
"""Of the interval, and how many of them are drawn together."""


class Row(BaseModel):
    """A variant over all its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    seeds: tuple[int, ...]
    points: dict[str, float]
    """Means over seeds, by task."""
    mean: float | None
    """Over tasks; none where one is missing."""
    difference: float | None
    """From the reference."""
    interval: tuple[float, float] | None
    """95 %, over the items of the tasks, seeds averaged; only where all tasks are correlations."""
    drift: float | None = None
    """Of the language from the base's, in nats a token; nothing where nothing was trained."""


def rows_of(results: Sequence[Result], tasks: Sequence[str]) -> list[Row]:
    """The table's rows, in the order of the results. Pure; equal results give equal intervals."""
    by_variant: dict[str, list[Result]] = {}
    for result in results:
        by_variant.setdefault(result.variant, []).append(result)
    reference = by_variant.get(REFERENCE, [])
    made = []
    for name, runs in by_variant.items():
        points = {
            task: fmean(run.points[task] for run in runs) for task in tasks if all(task in r.points for r in runs)
        }
        anchor = [fmean(run.points[task] for run in reference) for task in tasks if _all_have(reference, task)]
        mean = fmean(points.values()) if points and len(points) == len(tasks) else None
        comparable = name != REFERENCE and mean is not None and len(anchor) == len(tasks) and bool(reference)
        made.append(
            Row(
                variant=name,
                seeds=tuple(run.seed for run in runs),
                points=points,
                mean=mean,
                difference=mean - fmean(anchor) if comparable and mean is not None else None,
                interval=_interval(runs, reference, tasks) if comparable else None,
                drift=fmean(drifts) if (drifts := [run.drift for run in runs if run.drift is not None]) else None,
            )
        )
    return made


def _all_have(runs: Sequence[Result], task: str) -> bool:
    return bool(runs) and all(task in run.points for run in runs)


def _interval(runs: Sequence[Result], reference: Sequence[Result], tasks: Sequence[str]) -> tuple[float, float] | None:
    """Of the mean difference over tasks: items are drawn anew for both, and seeds averaged within a draw."""
    if not all(task in run.predictions for run in [*runs, *reference] for task in tasks):
        return None
    generator = np.random.default_rng(0)
    drawn = np.zeros(RESAMPLES)
    for task in tasks:
        gold = np.array(reference[0].golds[task])
        for start in range(0, RESAMPLES, AT_ONCE):
            items = generator.integers(len(gold), size=(AT_ONCE, len(gold)))
            ours, theirs = (
                np.mean([spearman(np.array(run.predictions[task])[items], gold[items]) for run in side], axis=0)
                for side in (runs, reference)
            )
            drawn[start : start + AT_ONCE] += (ours - theirs) / len(tasks)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def markdown(rows: Sequence[Row], tasks: Sequence[str]) -> str:
    """The table for docs/results.md."""
    lines = [f"| variant | {' | '.join(tasks)} | mean | difference (95 % interval) | drift | seeds |"]
    lines.append(f"| --- |{' --- |' * (len(tasks) + 4)}")
    for row in rows:
        cells = [_points(row.points.get(task)) for task in tasks]
        change = "–" if row.difference is None else f"{row.difference:+.2f}"
        if row.interval is not None:
            change += f" ({row.interval[0]:+.2f} to {row.interval[1]:+.2f})"
        drift = "–" if row.drift is None else f"{row.drift:.4f}"
        seeds = ", ".join(map(str, row.seeds))
        lines.append(f"| {row.variant} | {' | '.join(cells)} | {_points(row.mean)} | {change} | {drift} | {seeds} |")
    return "\n".join(lines) + "\n"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
