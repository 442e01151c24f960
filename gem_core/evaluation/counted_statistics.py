"""Scores that are no mean over items, as functions of how often each item was drawn: for the bootstrap. Pure.

An item that is drawn twice counts twice, so nothing is sorted or clustered anew: 2,000 resamples of 300 pairs take
milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from gem_core.evaluation.statistics import Floats

Counted = Callable[[Floats], Floats]
"""How often each item was drawn, ``[resamples, items]``, to ``[resamples]`` values in points."""


@dataclass(frozen=True)
class Clusterings:
    """A V-measure that is the mean of those of several clusterings."""

    levels: tuple[tuple[Counted, ...], ...]
    """Each clustering's, ``[levels][repetitions]``; one level where the task has none."""
    sets: bool
    """Whether each has texts of its own; repetitions draw from the same ones."""

    def __call__(self, counts: Floats) -> Floats:
        """Of counts ``[resamples, items]``."""
        return np.asarray(np.mean([part(counts) for level in self.levels for part in level], axis=0), dtype=np.float64)

    def each(self, items: int) -> Floats:
        """The V-measure of each clustering, ``[levels, repetitions]``."""
        return np.array([[float(part(np.ones((1, items)))[0]) for part in level] for level in self.levels])

    def against(self, other: Clusterings | None, items: int) -> Reclustered:
        """How it, or the difference to another model's, varies from clustering to clustering."""
        return Reclustered(self.each(items) - (0.0 if other is None else other.each(items)), self.sets)


@dataclass(frozen=True)
class Reclustered:
    """What drawing texts does not show of a difference of V-measures: found anew, the clusters would have been others.

    k-means ends in one of many optima, so two equally good models differ by more than their texts explain: at a level
    of 5 %, a bootstrap of texts alone, in clusters as they were found, shows 14 to 40 % of equal models to be better.
    """

    differences: Floats
    """Of each clustering by itself, ``[levels, repetitions]``."""
    sets: bool
    """As in :class:`Clusterings`."""

    def widened(self, drawn: Floats, rng: np.random.Generator) -> Floats:
        """A bootstrap distribution over texts, as wide as it would be with clusters that are found anew.

        Sets have nothing in common, so the spread of their mean is all there is. Of repetitions it is what k-means
        adds; the texts, which they share, count twice: once in the clusters, and once for the clusters. (Simulated for
        seven shapes of data, the part of the clusters was 0.8 to 1.7 times that in them.)

        Returns:
            ``[resamples]``, or nothing for a single clustering, of which nobody knows how it would come out again.
        """
        count = self.differences.shape[1]
        if count < 2 or len(drawn) < 2:
            return drawn[:0]
        of_mean = float(self.differences.var(axis=1, ddof=1).mean()) / count
        if self.sets:
            centred, added = drawn - drawn.mean(), max(0.0, of_mean - float(drawn.var(ddof=1)))
        else:
            centred, added = np.sqrt(2.0) * (drawn - drawn.mean()), of_mean
        noise = np.sqrt(added) * rng.standard_t(count - 1, len(drawn))
        return np.asarray(drawn.mean() + centred + noise, dtype=np.float64)


def average_precision(scores: Floats, gold: Floats) -> Counted:
    """Scikit-learn's average precision of ranked pairs; tied scores are one threshold.

    Args:
        scores: Higher for likelier pairs, ``[items]``.
        gold: 1 for a pair, 0 for none, ``[items]``.
    """
    order = np.argsort(-scores, kind="stable")
    right = gold[order] > 0
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)

    def value(counts: Floats) -> Floats:
        drawn = counts[:, order]
        found = np.cumsum(drawn * right, axis=1)[:, ends]
        seen = np.cumsum(drawn, axis=1)[:, ends]
        gained = np.diff(found, axis=1, prepend=0.0)
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without a pair has none: not a number
            return np.asarray(100.0 * (gained * precision).sum(axis=1) / found[:, -1], dtype=np.float64)

    return value


def best_average_precision(scores: Floats, gold: Floats) -> Counted:
    """The largest average precision among several similarities, ``[items, similarities]``: mteb's ``max_ap``."""
    # Cosine, dot product and distance of unit vectors rank alike: each ranking is looked at once.
    ranked = {np.argsort(-column, kind="stable").tobytes(): column for column in scores.T}
    each = [average_precision(column, gold) for column in ranked.values()]
    return lambda counts: np.asarray(np.max([value(counts) for value in each], axis=0), dtype=np.float64)


def v_measure(texts: Sequence[int], clusters: Sequence[Any], labels: Sequence[Any], items: int) -> Counted:
    """Scikit-learn's V-measure of one clustering.

    Args:
        texts: Which item each clustered text is; an item may come several times.
        clusters: Of each.
        labels: The gold of each.
        items: Of which the texts are drawn.
    """
    _, cluster = np.unique([str(one) for one in clusters], return_inverse=True)
    _, label = np.unique([str(one) for one in labels], return_inverse=True)
    shape = int(label.max()) + 1, int(cluster.max()) + 1
    cell = label * shape[1] + cluster
    table = csr_matrix((np.ones(len(cell)), (np.asarray(texts), cell)), shape=(items, shape[0] * shape[1]))

    def value(counts: Floats) -> Floats:
        together = np.asarray(counts @ table).reshape(-1, *shape)
        together = together / np.maximum(together.sum(axis=(1, 2), keepdims=True), 1.0)
        of_labels, of_clusters = _entropy(together.sum(axis=2)), _entropy(together.sum(axis=1))
        mutual = of_labels + of_clusters - _entropy(together.reshape(len(together), -1))
        homogeneity = np.where(of_labels > 0, mutual / np.where(of_labels > 0, of_labels, 1.0), 1.0)
        completeness = np.where(of_clusters > 0, mutual / np.where(of_clusters > 0, of_clusters, 1.0), 1.0)
        both = homogeneity + completeness
        return np.asarray(200.0 * homogeneity * completeness / np.where(both > 0, both, 1.0), dtype=np.float64)

    return value


def of_records(metric: str, records: Mapping[str, tuple[Any, Any]]) -> tuple[int, Counted] | None:
    """The score that a task's records give, as a function of counts, and of how many items.

    Args:
        metric: mteb's name of it.
        records: Prediction and gold of each item, as the score store reads them.

    Returns:
        None where the metric is another, or the records do not hold what it takes.
    """
    if metric == "max_ap":
        if not all(isinstance(prediction, list) and isinstance(gold, int) for prediction, gold in records.values()):
            return None
        similarities, golds = zip(*records.values(), strict=True)
        return len(records), best_average_precision(np.array(similarities, dtype=np.float64), np.array(golds))
    if metric != "v_measure" or any(gold is None for _, gold in records.values()):
        return None
    if all(isinstance(gold, dict) for _, gold in records.values()):  # repetitions that draw from the same texts
        items = 1 + max(max(gold["texts"]) for _, gold in records.values())
        levels: dict[str, list[Counted]] = {}
        for name, (clusters, gold) in records.items():
            part = v_measure(gold["texts"], clusters, gold["labels"], items)
            levels.setdefault(name.rpartition("/")[0], []).append(part)
        return items, Clusterings(tuple(map(tuple, levels.values())), sets=False)
    if any(len(gold) != len(clusters) for clusters, gold in records.values()):
        return None
    items = sum(len(clusters) for clusters, _ in records.values())  # sets of texts, each clustered once
    begins = np.cumsum([0, *(len(clusters) for clusters, _ in records.values())])
    parts = tuple(
        v_measure(range(begin, begin + len(clusters)), clusters, gold, items)
        for begin, (clusters, gold) in zip(begins, records.values(), strict=False)
    )
    return items, Clusterings((parts,), sets=True)


def _entropy(shares: Floats) -> Floats:
    """Of distributions ``[resamples, outcomes]``, in nats."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1), dtype=np.float64)
