"""The sandbox's embedding tasks as real `mteb` tasks: what `mteb.evaluate` runs on them is its own code.

A task reads the rows that `build` wrote and nothing else, so it needs no network. Its dataset revision is the name of
the sandbox's folder (seed and digest): results over two different worlds are never taken for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata

from gem_core.sandbox.store import EMBEDDING_TASKS, Sandbox, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_Loaded: TypeAlias = "DatasetDict | dict[str, dict[str, dict[str, Any]]]"
"""A split to its rows, or for retrieval a subset to a split to its three parts."""


class _SandboxTask(AbsTask):
    """What the five tasks share: where the data is, and that `load_data` reads it from there."""

    data_loaded: bool = False
    data_name: str
    """The stem of the task's file in the sandbox's `tasks_data`."""

    folder: Path
    """Where that file is. Set, like mteb's `metadata`, on the class that `embedding_tasks` makes for one sandbox:
    mteb drops an instance's own metadata when it unloads a task."""

    def load_data(self, num_proc: int | None = None, **kwargs: object) -> None:
        """Read the task's rows from the sandbox's folder, once."""
        if self.data_loaded:
            return
        self.dataset = self._read()
        self.data_loaded = True

    def _read(self) -> _Loaded:
        splits = read_rows(self.folder / f"{self.data_name}.json")
        return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})


class SandboxSTS(_SandboxTask, AbsTaskSTS):
    """Pairs of sentences, scored 0 to 5 by how much of topic, entity and statement they share."""

    data_name = "sts"


class SandboxClassification(_SandboxTask, AbsTaskClassification):
    """Sentences by topic, learned from 8 of each."""

    data_name = "classification"


class SandboxClustering(_SandboxTask, AbsTaskClustering):
    """Sentences by topic, without a teacher."""

    data_name = "clustering"
    # mteb's defaults are for large sets: a fraction of 4 % would leave a dozen texts, 16,384 a bootstrap.
    max_fraction_of_documents_to_embed = None
    max_documents_per_cluster = 256
    input_column_name = "text"
    label_column_name = "label"


class SandboxPairClassification(_SandboxTask, AbsTaskPairClassification):
    """Paraphrases against sentences of the same form about a neighbour."""

    data_name = "pair_classification"
    label_column_name = "label"


class SandboxRetrieval(_SandboxTask, AbsTaskRetrieval):
    """Short statements as queries, and documents that say it in other words among others."""

    data_name = "retrieval"

    def _read(self) -> _Loaded:
        corpus, queries, relevant = (
            read_rows(self.folder / f"{name}.json")["test"] for name in ("corpus", "queries", "relevant")
        )
        judged: dict[str, dict[str, int]] = {}
        for row in relevant:
            judged.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
        split = {
            "corpus": Dataset.from_list(corpus),
            "queries": Dataset.from_list(queries),
            "relevant_docs": judged,
            "top_ranked": None,
        }
        return {"default": {"test": split}}


_CLASSES: dict[str, tuple[type[_SandboxTask], str, str, str]] = {
    "SandboxSTS": (SandboxSTS, "STS", "cosine_spearman", "t2t"),
    "SandboxClassification": (SandboxClassification, "Classification", "accuracy", "t2c"),
    "SandboxClustering": (SandboxClustering, "Clustering", "v_measure", "t2c"),
    "SandboxRetrieval": (SandboxRetrieval, "Retrieval", "ndcg_at_10", "t2t"),
    "SandboxPairClassification": (SandboxPairClassification, "PairClassification", "max_ap", "t2t"),
}
"""Name of a task to its class, `mteb`'s type of it, main score and category."""


def embedding_tasks(sandbox: Sandbox, names: Sequence[str] | None = None) -> list[AbsTask]:
    """The tasks called `names` over the data of `sandbox`, or all of `EMBEDDING_TASKS`.

    Raises:
        ValueError: a name is not one of `EMBEDDING_TASKS`.
    """
    wanted = EMBEDDING_TASKS if names is None else tuple(names)
    unknown = [name for name in wanted if name not in _CLASSES]
    if unknown:
        raise ValueError(f"unknown embedding tasks {unknown}; there are {list(EMBEDDING_TASKS)}")
    return [
        type(name, (_CLASSES[name][0],), {"metadata": _metadata(sandbox, name), "folder": sandbox.tasks_data})()
        for name in wanted
    ]


def _metadata(sandbox: Sandbox, name: str) -> TaskMetadata:
    task_class, task_type, main_score, category = _CLASSES[name]
    return TaskMetadata(
        name=name,
        description=f"{task_class.__doc__} Held-out entities and wordings of a small invented world.",
        reference=None,
        dataset={"path": f"sandbox/{task_class.data_name}", "revision": sandbox.folder.name},
        type=task_type,
        category=category,
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=main_score,
        date=("2025-01-01", "2025-12-31"),
        domains=["Constructed", "Written"],
        task_subtypes=[],
        license="apache-2.0",
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation="",
    )
