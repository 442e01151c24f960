"""Is one model better than another, or no worse than allowed? Tests for paired items, and what a suite can see. Pure.

All tests are one-sided and come in pairs: how unlikely the data are if the true difference is *at most* the margin
(small: shown to be more), and if it is *at least* the margin (small: shown to be less). A superiority test has a margin
of zero or above, a non-inferiority test one below zero; the arithmetic is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom, norm, t

from gem_core.evaluation.statistics import (
    Floats,
    Statistic,
    beyond_chance,
    expanded_bound,
    expanded_p_value,
    hierarchical_bootstrap,
    resampled_counts,
    resampled_means,
    resampled_statistic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gem_core.evaluation.counted_statistics import Counted, Reclustered

WHOLE = 100.0
"""Points that one question is worth: the largest difference that two answers to it can make."""
POWER = 0.8
"""Chance of seeing a difference that a suite is said to be able to see."""
RESAMPLES = 2000
FEWEST_TASKS = 5
"""Below, a bootstrap over tasks knows too little of how tasks differ."""


@dataclass(frozen=True)
class Evidence:
    """What paired items say about a difference (candidate minus reference, in points)."""

    difference: float
    low: float
    """The true difference is below this with probability `level` only."""
    high: float
    """And above this with probability `level` only: the two are an interval of confidence ``1 - 2 * level``."""
    level: float
    """One-sided."""
    better: float
    """p-value of "the difference is at most the margin"."""
    worse: float
    """p-value of "the difference is at least the margin"."""
    method: str
    """Of the p-values."""
    items: int
    """Paired items (or tasks, where tasks were resampled)."""

    @property
    def detectable(self) -> float:
        """The least distance from the margin that this many items show in `POWER` of all cases."""
        error = (self.high - self.low) / 2.0 / float(norm.isf(self.level))
        return error * float(norm.isf(self.level) + norm.ppf(POWER))

    def needed(self, distance: float) -> int | None:
        """Items needed to see a distance from the margin, in proportion to what these show; None for no distance."""
        return None if distance <= 0.0 else int(np.ceil(self.items * (self.detectable / distance) ** 2))


@dataclass(frozen=True)
class PairedItems:
    """One task (or one subject of a group) as two models answered it, item by item in the same order.

    Either `differences` of contributions in points, where the score is their mean; or the predictions of both with the
    gold and the statistic that the score is; or the difference as a function of how often each item is drawn.
    """

    weight: float
    """In the average; all weights add up to one."""
    differences: Floats | None = None
    statistic: Statistic | None = None
    ours: Floats | None = None
    theirs: Floats | None = None
    gold: Floats | None = None
    counted: Counted | None = None
    items: int = 0
    """With `counted`: how many there are."""
    clustered: Reclustered | None = None
    """With `counted`: where the score is of clusters, which other texts would have made otherwise."""
    alone: bool = False
    """One model's own against a number: contributions are in the place of differences, and `theirs` is None."""

    def __len__(self) -> int:
        if self.counted is not None:
            return self.items
        values = self.differences if self.differences is not None else self.gold
        return 0 if values is None else len(values)

    def resampled(self, rng: np.random.Generator) -> Floats:
        """The bootstrap distribution of this task's difference."""
        if self.differences is not None:
            return resampled_means(self.differences, resamples=RESAMPLES, rng=rng)
        if self.counted is not None:
            drawn = resampled_counts(self.counted, self.items, resamples=RESAMPLES, rng=rng)
            return drawn if self.clustered is None else self.clustered.widened(drawn, rng)
        if self.statistic is None or self.ours is None or self.gold is None or (self.theirs is None) != self.alone:
            raise ValueError("paired items need differences, or a statistic with both predictions and the gold")
        return resampled_statistic(self.statistic, self.ours, self.theirs, self.gold, resamples=RESAMPLES, rng=rng)


def weigh(items: Sequence[PairedItems], difference: float, margin: float, level: float) -> Evidence | None:
    """Test a difference against a margin, by the sharpest method that its items allow.

    Right or wrong answers to one task: McNemar's test against no margin, the binomial test of one model alone. Means
    otherwise: the closed form. Statistics that are no means: the paired bootstrap.

    Args:
        items: Every task behind the difference.
        difference: The difference of the two scores, in points.
        margin: What the difference is held against.
        level: One-sided.

    Returns:
        The evidence; None when a task has fewer than two items, whose spread nobody can tell.

    Raises:
        ValueError: Without tasks.
    """
    if not items:
        raise ValueError("no paired items")
    if any(len(task) < 2 for task in items):
        return None
    means = [task.differences for task in items if task.differences is not None]
    if len(means) < len(items):
        return _bootstrapped(items, difference, margin, level)
    alone = all(task.alone for task in items)
    evidence = paired_means(means, [task.weight for task in items], margin, level, alone=alone)
    if len(means) > 1 or not _right_or_wrong(means) or (margin != 0.0 and not alone):
        return evidence
    won, lost = int(np.sum(means[0] > 0)), int(np.sum(means[0] < 0))
    chance = float(np.clip(margin / WHOLE, 0.0, 1.0))
    better, worse = _mid_p(won, len(means[0]), chance) if alone else mcnemar(won, lost)
    method = "exact binomial test, mid-p" if alone else "McNemar's exact test, mid-p"
    return replace(evidence, better=better, worse=worse, method=method)


def mcnemar(won: int, lost: int) -> tuple[float, float]:
    """McNemar's exact test with the mid-p correction: one-sided p-values of "no better" and "no worse".

    Without the correction the test promotes less often than its level says, by up to half (Fagerland, Lydersen & Laake
    2013, "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact conditional").

    Args:
        won: Questions that only the candidate answered well.
        lost: Questions that only the reference answered well.

    >>> mcnemar(0, 0)
    (0.5, 0.5)
    """
    return _mid_p(won, won + lost, 0.5)


def _mid_p(won: int, trials: int, chance: float) -> tuple[float, float]:
    half = 0.5 * float(binom.pmf(won, trials, chance))
    return float(binom.sf(won, trials, chance)) + half, float(binom.cdf(won, trials, chance)) - half


def paired_means(
    differences: Sequence[Floats], weights: Sequence[float], margin: float, level: float, *, alone: bool = False
) -> Evidence:
    """Test a weighted mean of subject means: Student's paired test, stratified by subject (Welch's degrees of freedom).

    Right or wrong answers count two more questions, one won and one lost (Bonett & Price 2012, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data"): without them, two models that
    agree on five questions would be shown to be equal. The same where nothing varies at all.

    Args:
        differences: One array a subject, ``[questions]``, at least two each.
        weights: One a subject, adding up to one.
        margin: What the difference is held against.
        level: One-sided.
        alone: These are one model's answers: the two more are one right and one wrong (Agresti & Coull 1998).
    """
    sizes = np.array([len(subject) for subject in differences], dtype=np.float64)
    shares = np.asarray(weights, dtype=np.float64)
    difference = centre = float(sum(w * float(one.mean()) for w, one in zip(shares, differences, strict=True)))
    parts = shares**2 * np.array([subject.var(ddof=1) for subject in differences]) / sizes
    variance = float(parts.sum())
    if _right_or_wrong(differences) or variance == 0.0:
        questions = 1.0 / float((shares**2 / sizes).sum())  # as many equally weighted ones tell as much
        square = (questions - 1.0) * variance + difference**2  # their mean square
        centre = (difference * questions + alone * WHOLE) / (questions + 2.0)
        square = (questions * square + (2 - alone) * WHOLE**2) / (questions + 2.0)
        variance = (square - centre**2) / (questions + 2.0)
        degrees = max(questions - 1.0, 1.0)
    else:
        degrees = variance**2 / float((parts**2 / (sizes - 1.0)).sum())
    error = float(np.sqrt(variance))
    half = error * float(t.isf(level, degrees))
    score = (centre - margin) / error
    return Evidence(
        difference=difference,
        low=centre - half,
        high=centre + half,
        level=level,
        better=float(t.sf(score, degrees)),
        worse=float(t.cdf(score, degrees)),
        method="paired test of means",
        items=int(sizes.sum()),
    )


def weigh_over_tasks(
    points: Sequence[float], items: Sequence[Sequence[PairedItems]], margin: float, level: float, *, seed: int = 0
) -> Evidence | None:
    """Test an average over tasks as a statement about other tasks like these: the hierarchical bootstrap.

    Args:
        points: The difference on each task.
        items: Each task's items, several parts for a group; none where there are no records.
        margin: What the average is held against.
        level: One-sided.
        seed: Of the resampling.

    Returns:
        The evidence, counted in tasks; None for fewer than `FEWEST_TASKS` tasks.
    """
    if len(points) < FEWEST_TASKS:
        return None
    rng = np.random.default_rng(seed)
    own = [_resampled_whole(task, rng) for task in items]
    drawn = hierarchical_bootstrap(points, own, resamples=RESAMPLES, rng=rng)
    # Where tasks lie no further apart than their items explain, the spread is known from the items, not from the tasks.
    sample = max(len(points), 0 if beyond_chance(points, own) else sum(len(part) for task in items for part in task))
    evidence = _from_distribution(drawn, float(np.mean(points)), margin, level, sample, "hierarchical bootstrap")
    return replace(evidence, items=len(points))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values for several tests at once, in the given order.

    The chance of any wrong rejection among them stays below the level at which they are read.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _bootstrapped(
    items: Sequence[PairedItems], difference: float, margin: float, level: float, *, seed: int = 0
) -> Evidence | None:
    """Each task resampled by itself, then averaged as the score is."""
    rng = np.random.default_rng(seed)
    distributions = [task.weight * task.resampled(rng) for task in items]
    shortest = min(len(one) for one in distributions)
    if shortest < RESAMPLES // 2:
        return None  # most resamples had no spread at all
    drawn = np.sum([one[:shortest] for one in distributions], axis=0)
    smallest = min(len(task) for task in items)
    evidence = _from_distribution(drawn, difference, margin, level, smallest, "paired bootstrap")
    return replace(evidence, items=sum(len(task) for task in items))


def _resampled_whole(parts: Sequence[PairedItems], rng: np.random.Generator) -> Floats | None:
    """The bootstrap distribution of one task, whatever it weighs; None where it cannot be had."""
    if not parts or any(len(part) < 2 for part in parts):
        return None
    drawn = [part.weight * part.resampled(rng) for part in parts]
    shortest = min(len(one) for one in drawn)
    total = sum(part.weight for part in parts)
    if not shortest:
        return None
    return np.asarray(np.sum([one[:shortest] for one in drawn], axis=0) / total, dtype=np.float64)


def _from_distribution(
    drawn: Floats, difference: float, margin: float, level: float, sample: int, method: str
) -> Evidence:
    low, high = expanded_bound(drawn, level, sample)
    better, worse = expanded_p_value(drawn, margin, sample)
    return Evidence(
        difference=difference, low=low, high=high, level=level, better=better, worse=worse, method=method, items=sample
    )


def _right_or_wrong(differences: Sequence[Floats]) -> bool:
    return all(bool(np.isin(subject, (-WHOLE, 0.0, WHOLE)).all()) for subject in differences)
