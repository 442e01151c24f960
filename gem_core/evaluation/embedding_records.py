"""What mteb predicted for each item of a task, as one table for all kinds of tasks.

Columns: ``task`` (the leaf's name where a task has several subsets), ``subset``, ``split``, ``item`` (position, query
id, or level and repetition of a clustering), ``prediction`` and ``gold`` as JSON, since a prediction is a similarity, a
label for each of several classifiers, a ranking or an assignment to clusters, and ``contribution``: the item's share of
the task's score, from 0 to 1, where the score is a mean over items.

=================== ===================================== ==================================================
kind                prediction                            contribution
=================== ===================================== ==================================================
classification      label by each of ten classifiers      share of them that are right
retrieval           ten best documents                    the query's nDCG@10
clustering          cluster of each text, by repetition   the repetition's V-measure (gold: its texts and their labels)
similarity          cosine                                none: a correlation is no mean
pairs               five similarities, more being closer  none: neither is an average precision
=================== ===================================== ==================================================
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)

from gem_core.evaluation.clustering_draws import agrees, draws

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mteb.abstasks import AbsTask

    from gem_core.evaluation.clustering_draws import Draw

RANKS = 10
"""Documents kept of a ranking: what nDCG@10 looks at."""

SIMILARITIES = {
    "similarity_scores": 1,
    "cosine_scores": 1,
    "manhattan_distances": -1,
    "euclidean_distances": -1,
    "dot_scores": 1,
}
"""What mteb ranks pairs by, and the sign that makes more of it closer: its ``max_ap`` is that of the best."""

SCHEMA = pa.schema(
    {name: pa.string() for name in ("task", "subset", "split", "item", "prediction", "gold")}
    | {"contribution": pa.float64()}
)


class Item(NamedTuple):
    """One item: its id within subset and split, what was predicted, what is right, and its share of the score."""

    item: str
    prediction: Any
    gold: Any
    contribution: float | None


def leaf(task: str, subset: str, split: str, parts: int) -> str:
    """What a subset and split of a task is called: the task's own name where there is but one."""
    return task if parts == 1 else f"{task}/{subset}/{split}"


def records(task: AbsTask, predictions: dict[str, Any], scores: Mapping[str, Any]) -> pa.Table:
    """The table for the content of mteb's prediction file of `task`, whose data is still loaded.

    Args:
        task: As it was measured.
        predictions: Subset to split to what mteb kept.
        scores: mteb's scores: split to a list with one dictionary a subset.
    """
    found = {
        (subset, split): predicted
        for subset, splits in predictions.items()
        if subset != "mteb_model_meta"
        for split, predicted in splits.items()
    }
    rows = []
    drawn = {}
    if isinstance(task, AbsTaskClustering):
        every = [(subset, split) for split in task.eval_splits for subset in task.hf_subsets]
        drawn = draws(task, {part: _data(task, *part) for part in every})
    for (subset, split), predicted in found.items():
        data = _data(task, subset, split)
        scored = next(one for one in scores[split] if one["hf_subset"] == subset)
        where = {"task": leaf(task.metadata.name, subset, split, len(found)), "subset": subset, "split": split}
        for one in _items(task, predicted, data, scored, drawn.get((subset, split), {})):
            written = {"prediction": json.dumps(one.prediction), "gold": json.dumps(one.gold)}
            rows.append(where | written | {"item": one.item, "contribution": one.contribution})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _data(task: AbsTask, subset: str, split: str) -> Any:  # noqa: ANN401 - a data set of the datasets library
    return task.dataset[subset][split] if subset in task.dataset else task.dataset[split]


def _items(
    task: AbsTask,
    predicted: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    scored: dict[str, Any],
    drawn: dict[str, list[Draw]],
) -> Iterator[Item]:
    """The items of one subset and split, by the kind of task."""
    if isinstance(task, AbsTaskClassification):
        yield from _classified(predicted, _column(data, task.label_column_name))
    elif isinstance(task, AbsTaskPairClassification):
        gold = _column(data, task.label_column_name)
        each = zip(*([sign * one for one in predicted[name]] for name, sign in SIMILARITIES.items()), strict=True)
        for index, similarities in enumerate(each):
            yield Item(str(index), similarities, int(gold[index]) if index < len(gold) else None, None)
    elif isinstance(task, AbsTaskSTS):
        gold = _column(data, "score")
        for index, similarity in enumerate(predicted["cosine_scores"]):
            yield Item(str(index), similarity, gold[index] if index < len(gold) else None, None)
    elif isinstance(task, AbsTaskRetrieval):
        for query, documents in predicted.items():
            relevant = data["relevant_docs"].get(query, {})
            # Ties fall as in trec_eval, which mteb asks: the later name first.
            best = sorted(documents.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:RANKS]
            yield Item(query, best, relevant, _ndcg([name for name, _ in best], relevant))
    elif isinstance(task, AbsTaskClusteringLegacy):
        sets = predicted if predicted and isinstance(predicted[0], list) else [predicted]
        golds = _nested(data, task.label_column_name, len(sets))
        measures = scored.get("v_measures", [scored.get("v_measure")] * len(sets))
        for index, clusters in enumerate(sets):
            yield Item(str(index), clusters, golds[index], measures[index] if index < len(measures) else None)
    elif isinstance(task, AbsTaskClustering):
        for level, repetitions in predicted.items():
            measures = scored.get("v_measures", {}).get(level, [])
            for index, clusters in enumerate(repetitions):
                measure = measures[index] if index < len(measures) else None
                of_level = drawn.get(level, [])
                draw = of_level[index] if index < len(of_level) and agrees(of_level[index], clusters, measure) else None
                yield Item(f"{level}/{index}", clusters, draw._asdict() if draw else None, measure)


def _classified(predicted: list[list[Any]], gold: list[Any]) -> Iterator[Item]:
    for index, labels in enumerate(zip(*predicted, strict=True)):
        right = gold[index] if index < len(gold) else None
        single = right is not None and not isinstance(right, list)
        yield Item(str(index), labels, right, sum(label == right for label in labels) / len(labels) if single else None)


def _ndcg(ranking: list[str], relevant: Mapping[str, int]) -> float:
    """NDCG at `RANKS` with linear gains, as trec_eval computes it."""
    discounts = [1.0 / math.log2(rank + 2) for rank in range(RANKS)]
    gained = sum(relevant.get(name, 0) * discount for name, discount in zip(ranking, discounts, strict=False))
    best = sorted((gain for gain in relevant.values() if gain > 0), reverse=True)
    ideal = sum(gain * discount for gain, discount in zip(best, discounts, strict=False))
    return gained / ideal if ideal else 0.0


def _column(data: Any, name: str) -> list[Any]:  # noqa: ANN401 - a data set of the datasets library
    """A column's values; version 1 data sets hold all of a pair task in one row, as lists."""
    if name not in data.column_names:
        return []
    values = list(data[name])
    return list(values[0]) if len(values) == 1 and isinstance(values[0], list) else values


def _nested(data: Any, name: str, sets: int) -> list[Any]:  # noqa: ANN401 - a data set of the datasets library
    """A column that holds one list a set of texts, or the labels of the only set."""
    values = list(data[name]) if name in data.column_names else []
    if values and not isinstance(values[0], list):
        values = [values]
    return values if len(values) == sets else [None] * sets
