"""The sandbox as it lies on disk: what it consists of, how large it is, and how its files are read and written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gem_core.sandbox.task_data import TaskSizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VERSION = 3
"""Raised whenever a change of this package changes what a seed yields, so that no stale cache is found."""

EMBEDDING_TASKS: tuple[str, ...] = (
    "SandboxSTS",
    "SandboxClassification",
    "SandboxClustering",
    "SandboxRetrieval",
    "SandboxPairClassification",
)
"""The names of the embedding tasks, in the order in which tables show them."""

LANGUAGE_GROUP = "sandbox_mmlu"
"""The lm-eval group of the MMLU-format exam."""


@dataclass(frozen=True)
class ModelSize:
    """The base model's architecture and the length of its pre-training; the defaults fit a minute on two cores."""

    vocabulary: int = 2048
    width: int = 128
    layers: int = 3
    heads: int = 4
    feed_forward: int = 384
    steps: int = 1200
    rows_per_step: int = 4
    row_length: int = 256
    """Tokens of a packed row; an exam of six questions has about 190."""


@dataclass(frozen=True)
class SandboxSpec:
    """Everything but the seed that decides what a sandbox contains; its digest is part of the folder's name."""

    entities_per_topic: int = 16
    held_out_per_topic: int = 5
    exam_share: float = 0.5
    """Part of the pre-training tokens that stands in exam documents."""
    training_rows: int = 12_000
    questions_per_subject: int = 120
    tasks: TaskSizes = field(default_factory=TaskSizes)
    model: ModelSize = field(default_factory=ModelSize)

    def digest(self) -> str:
        """Twelve hex digits over all fields and `VERSION`."""
        text = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Sandbox:
    """A built sandbox. All paths lie in `folder`, whose name is `<seed>-<digest>`."""

    seed: int
    folder: Path
    base_model: Path
    training_rows: Path
    exam: Path
    tasks_data: Path

    @classmethod
    def at(cls, folder: Path, seed: int) -> Sandbox:
        """The sandbox in `folder`, whether or not it is built yet."""
        return cls(
            seed=seed,
            folder=folder,
            base_model=folder / "base_model",
            training_rows=folder / "training_rows.parquet",
            exam=folder / "exam",
            tasks_data=folder / "tasks",
        )


def write_rows(path: Path, splits: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Write splits of rows as one JSON file; `read_rows` is its inverse."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: list(rows) for name, rows in splits.items()}, indent=1), encoding="utf-8")


def read_rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The splits that `write_rows` wrote to `path`.

    Raises:
        FileNotFoundError: the sandbox's folder was removed or never built.
    """
    splits: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return splits
