"""Bootstrap intervals and distributions for two models that answered the same questions. Pure.

Closed-form and exact tests, and what a suite is large enough to see, are in :mod:`gem_core.evaluation.significance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, rankdata, t

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]
"""Predictions and golds, each ``[resamples, items]``, to ``[resamples]`` values in points."""

_BATCH = 100
"""Resamples drawn at a time: 100 times MMLU's 14,042 questions are 11 MB of indices."""


def paired_bootstrap(
    differences: Sequence[Floats],
    weights: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a weighted mean of subject means of paired differences.

    Questions are resampled within their subject and averaged as the score itself is (the macro average over subjects),
    so that the interval speaks about more questions of these subjects, not about other subjects. Since both models
    answered each question, only the questions on which they differ add to its width.

    Args:
        differences: One array a subject, shape ``[questions]``: points of the candidate minus the reference's.
        weights: One weight a subject; they add up to one for an average.
        confidence: Level of the two-sided interval.
        resamples: Bootstrap resamples.
        seed: Of the resampling; equal input and seed give the equal interval.

    Returns:
        Lower and upper end, in the unit of the differences; None when a subject has a single question, whose spread
        nobody can tell.

    Raises:
        ValueError: Without subjects, or with as many weights as there are not subjects.
    """
    if not differences or len(weights) != len(differences):
        raise ValueError(f"{len(differences)} subjects and {len(weights)} weights")
    if any(len(subject) < 2 for subject in differences):
        return None

    def mean_of_means(*subjects: Floats, axis: int) -> Floats:
        parts = [weight * subject.mean(axis=axis) for weight, subject in zip(weights, subjects, strict=True)]
        return np.sum(parts, axis=0, dtype=np.float64)

    result = bootstrap(
        tuple(differences),
        mean_of_means,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=_BATCH,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def resampled_means(differences: Floats, *, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of resampled paired differences, shape ``[resamples]``."""
    drawn = (rng.integers(0, len(differences), (count, len(differences))) for count in _batches(resamples))
    return np.concatenate([differences[rows].mean(axis=1) for rows in drawn])


def resampled_statistic(
    statistic: Statistic, ours: Floats, theirs: Floats | None, gold: Floats, *, resamples: int, rng: np.random.Generator
) -> Floats:
    """Differences of a statistic that is no mean over items (a correlation), both models on the same resampled items.

    Args:
        statistic: For example :func:`spearman`.
        ours: The candidate's predictions, ``[items]``.
        theirs: The reference's, for the same items in the same order; None for the statistic of the candidate alone.
        gold: What they are to agree with, ``[items]``.
        resamples: How many resamples.
        rng: Draws the items.

    Returns:
        Candidate minus reference in points, ``[resamples]``; a resample in which all golds or predictions are equal has
        no correlation and is left out.
    """
    parts = []
    for count in _batches(resamples):
        rows = rng.integers(0, len(gold), (count, len(gold)))
        own = statistic(ours[rows], gold[rows])
        parts.append(own if theirs is None else own - statistic(theirs[rows], gold[rows]))
    drawn = np.concatenate(parts)
    return drawn[np.isfinite(drawn)]


def resampled_counts(
    difference: Callable[[Floats], Floats], items: int, *, resamples: int, rng: np.random.Generator
) -> Floats:
    """Differences of a statistic that is a function of how often each item was drawn, about their own estimate.

    Texts that are drawn twice make any clustering look better, a bad one most of all: V-measures of resamples are too
    high, and their differences too small. So the resamples tell the spread, and the items themselves where it lies.

    Args:
        difference: Counts ``[resamples, items]`` to ``[resamples]`` points.
        items: How many there are.
        resamples: How many resamples.
        rng: Draws the items.

    Returns:
        Candidate minus reference in points, ``[resamples]``, without the resamples that have none.
    """
    parts = []
    for count in _batches(resamples):
        rows = rng.integers(0, items, (count, items)) + items * np.arange(count)[:, None]
        parts.append(difference(np.bincount(rows.ravel(), minlength=count * items).reshape(count, items).astype(float)))
    drawn = np.concatenate(parts)
    drawn = drawn[np.isfinite(drawn)]
    estimate = difference(np.ones((1, items)))[0]
    return drawn + (estimate - drawn.mean()) if len(drawn) else drawn


def spearman(predictions: Floats, gold: Floats) -> Floats:
    """Spearman's rank correlation in points, row by row: ``[resamples, items]`` twice to ``[resamples]``.

    Ties share ranks; a row without spread gives NaN.
    """
    return pearson(rankdata(predictions, axis=-1), rankdata(gold, axis=-1))


def pearson(predictions: Floats, gold: Floats) -> Floats:
    """Pearson's correlation in points, row by row; NaN for a row without spread."""
    one = predictions - predictions.mean(axis=-1, keepdims=True)
    two = gold - gold.mean(axis=-1, keepdims=True)
    spread = np.sqrt((one**2).sum(axis=-1) * (two**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100.0 * (one * two).sum(axis=-1) / spread, dtype=np.float64)


def hierarchical_bootstrap(
    points: Sequence[float], drawn: Sequence[Floats | None], *, resamples: int, rng: np.random.Generator
) -> Floats:
    """Resampled averages over tasks: tasks are drawn first, then items within each drawn task.

    So the spread is that of other tasks like these, and not only of other items of these tasks. What tasks differ by
    holds the chance of their items already: drawing items within drawn tasks as they are would count it twice, and show
    next to nothing of what is there (Davison & Hinkley 1997, "Bootstrap methods and their application", section 3.8).
    So tasks are drawn as far apart as they lie beyond that chance.

    Args:
        points: The difference on each task.
        drawn: Each task's own bootstrap distribution, ``[any]``; None where it has no per-item records, and its
            difference then counts as it is.
        resamples: How many averages.
        rng: Draws tasks and items.

    Returns:
        Averages, ``[resamples]``.
    """
    centres = np.asarray(points, dtype=np.float64)
    centres = centres.mean() + np.sqrt(beyond_chance(points, drawn)) * (centres - centres.mean())
    distributions = [
        np.full(resamples, centre) if own is None else centre + rng.choice(own, resamples) - own.mean()
        for centre, own in zip(centres, drawn, strict=True)
    ]
    tasks = rng.integers(0, len(points), (resamples, len(points)))
    columns = rng.integers(0, resamples, (resamples, len(points)))
    return np.asarray(np.stack(distributions)[tasks, columns].mean(axis=1), dtype=np.float64)


def beyond_chance(points: Sequence[float], drawn: Sequence[Floats | None]) -> float:
    """The share of the variance between tasks that the chance of their items does not explain; arguments as above."""
    between = float(np.var(points, ddof=1))
    by_chance = float(np.mean([0.0 if own is None else own.var() for own in drawn]))
    return max(0.0, 1.0 - by_chance / between) if between > 0.0 else 0.0


def expanded_bound(drawn: Floats, level: float, sample: int) -> tuple[float, float]:
    """Lower and upper bound of a bootstrap distribution, each at `level`, widened for small samples.

    The plain percentile interval of n values is too narrow by the factor ``sqrt((n - 1) / n)`` and by the normal
    quantile in place of Student's; the *expanded* percentile interval mends both (Hesterberg 2015, "What teachers
    should know about the bootstrap", section 5.3).
    """
    tail = float(norm.cdf(-_expansion(sample) * t.isf(level, sample - 1)))
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return float(low), float(high)


def expanded_p_value(drawn: Floats, margin: float, sample: int) -> tuple[float, float]:
    """One-sided p-values of "at most `margin`" and "at least `margin`": the levels at which the bounds reach it."""
    share = (float(np.sum(drawn < margin)) + 0.5 * float(np.sum(drawn == margin)) + 0.5) / (len(drawn) + 1.0)
    score = float(norm.ppf(share)) / _expansion(sample)
    return float(t.cdf(score, sample - 1)), float(t.sf(score, sample - 1))


def _expansion(sample: int) -> float:
    return float(np.sqrt(sample / (sample - 1)))


def _batches(resamples: int) -> list[int]:
    return [min(_BATCH, resamples - start) for start in range(0, resamples, _BATCH)]
