"""What mteb predicted for each item of a task, as one table for all kinds of tasks.

Columns: ``subset``, ``split``, ``item`` (position or query id), ``prediction`` and ``gold``, the last two as JSON,
since a prediction is a similarity, a label for each of several classifiers, or a ranking.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mteb.abstasks import AbsTask

RANKS = 10
"""Documents kept of a ranking: what nDCG@10 looks at."""

_SCHEMA = pa.schema({name: pa.string() for name in ("subset", "split", "item", "prediction", "gold")})


def records(task: AbsTask, predictions: dict[str, Any]) -> pa.Table:
    """The table for the content of mteb's prediction file of `task`, whose data is still loaded."""
    rows = []
    for subset, splits in predictions.items():
        if subset == "mteb_model_meta":
            continue
        for split, predicted in splits.items():
            data = task.dataset[subset][split] if subset in task.dataset else task.dataset[split]
            for item, prediction, gold in _items(task, predicted, data):
                rows.append(
                    {
                        "subset": subset,
                        "split": split,
                        "item": item,
                        "prediction": json.dumps(prediction),
                        "gold": json.dumps(gold),
                    }
                )
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _items(task: AbsTask, predicted: Any, data: Any) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - mteb's shapes
    """Item, prediction and gold, by the four shapes in which mteb's tasks predict."""
    if isinstance(predicted, list):  # one list of labels a classifier
        gold = _column(data, getattr(task, "label_column_name", "label"))
        for index, labels in enumerate(zip(*predicted, strict=True)):
            yield str(index), labels, gold[index] if index < len(gold) else None
    elif "cosine_scores" in predicted:  # pairs
        gold = _column(data, getattr(task, "label_column_name", "score"))
        for index, similarity in enumerate(predicted["cosine_scores"]):
            yield str(index), similarity, gold[index] if index < len(gold) else None
    elif isinstance(data, dict) and "relevant_docs" in data:  # rankings: query -> document -> similarity
        for query, documents in predicted.items():
            best = sorted(documents.items(), key=lambda pair: pair[1], reverse=True)[:RANKS]
            yield query, best, data["relevant_docs"].get(query)
    else:  # clusterings: level -> one list of clusters a repetition
        for level, repetitions in predicted.items():
            for index, clusters in enumerate(repetitions):
                yield f"{level}/{index}", clusters, None


def _column(data: Any, name: str) -> list[Any]:  # noqa: ANN401 - a data set of the datasets library
    """A column's values; version 1 data sets hold all of a pair task in one row, as lists."""
    if name not in data.column_names:
        return []
    values = list(data[name])
    return list(values[0]) if len(values) == 1 and isinstance(values[0], list) else values
