"""Which measurements an evaluation asks for, and under which settings: the key of every cached score.

Light on purpose: a flow asks here, in milliseconds and without torch, mteb or lm-eval, whether a model is already
measured. The settings digest of a task covers everything that can move its score but two things. The *read-out* is left
out because a base (mean or last-token pooling) and its candidate (special tokens) differ in it by design and are
compared all the same. The *machine* is left out because a flow cannot know it beforehand; float32 on CPU and GPU agrees
to about 1e-4 points. A data set's revision needs no mention: mteb's version pins it, and a sandbox world's digest pins
its own. lm-eval pins few: its scores carry a digest of what was asked, and are not compared where that differs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gem_core.errors import GemError
from gem_core.evaluation.catalogue import benchmark_tasks, is_sandbox
from gem_core.near_matches import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gem_core.evaluation.catalogue import BenchmarkTask
    from gem_core.evaluation.scores import Kind
    from gem_core.recipe import Evaluation, LanguageEvaluation
    from gem_core.recipe.evaluation import EmbeddingEvaluation

METHOD = 4
"""Raised whenever this package measures differently under the same settings, so that old scores are not reused."""

MODEL_LIBRARIES = ("peft", "tokenizers", "torch", "transformers")
"""What a model's tokens, states and likelihoods are computed by."""
EMBEDDING_LIBRARIES = ("mteb", "scikit-learn", "scipy", *MODEL_LIBRARIES)
"""mteb fits scikit-learn's classifiers and clusterings, and takes correlations from scipy."""

READ_OUTS = (("special",), ("mean", "last"))
"""The read-outs of a model with special tokens, and of a plain base."""


@dataclass(frozen=True)
class PlannedTask:
    """One requested task (or group) and the settings that its score belongs to."""

    kind: Kind
    task: str
    settings: dict[str, Any]
    benchmark: str | None = None
    """The mteb benchmark that the task was asked for as a part of."""

    @property
    def digest(self) -> str:
        """64 hex digits over the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def metric(self) -> str:
        """How gates and tables name it: ``embedding.STS12``."""
        return f"{self.kind}.{self.task}"


def read_outs(folder: Path) -> tuple[str, ...]:
    """How a model folder's texts become vectors: by its special tokens, or, for a base, by either plain pooling."""
    return READ_OUTS[0] if (folder / "gem.json").exists() else READ_OUTS[1]


def plan(evaluation: Evaluation, home: Path | None = None, reader: str | None = None) -> tuple[PlannedTask, ...]:
    """The requested tasks, each once, embedding tasks first, those of benchmarks behind those asked for by themselves.

    Args:
        evaluation: What to measure.
        home: Where the list of benchmarks is kept, if any are asked for; ``GEM_HOME`` when None.
        reader: Content digest of the base that reads continuations, which belongs to the settings of their scores.

    Raises:
        GemError: For a benchmark that mteb does not know, or an instruction for a task that nothing asks for, with near
            matches.
    """
    embedding, language = evaluation.embedding, evaluation.language
    parts = {name: benchmark_tasks(name, home) for name in embedding.benchmarks}
    _check_instructions(embedding, {*embedding.tasks, *(part.task for asked in parts.values() for part in asked)})
    shared = {"method": METHOD, "dtype": evaluation.dtype}
    of_embedding = {
        "batch_size": embedding.batch_size,
        "max_length": embedding.max_length,
        "versions": _versions(*EMBEDDING_LIBRARIES),
    }

    def instructed(task: str) -> dict[str, Any]:
        own = {"template": embedding.template, "instruction": embedding.instructions.get(task)}
        return of_embedding | {"instruction": None if embedding.template == "{text}" else own}

    by_language = {"languages": sorted(embedding.languages)}
    of_language = {"batch_size": language.batch_size, "versions": _versions("lm-eval", *MODEL_LIBRARIES)}

    def planned(kind: Kind, task: str, settings: dict[str, Any], benchmark: str | None = None) -> PlannedTask:
        world = _world(evaluation.sandbox) if is_sandbox(task) and evaluation.sandbox is not None else None
        return PlannedTask(kind, task, {"kind": kind, "task": task, "world": world} | shared | settings, benchmark)

    return (
        *(planned("embedding", task, instructed(task) | by_language) for task in dict.fromkeys(embedding.tasks)),
        *(
            planned("embedding", part.task, instructed(part.task) | _parts(part), benchmark)
            for benchmark, asked in parts.items()
            for part in asked
        ),
        *(planned("language", task, of_language | _asked(language, task)) for task in dict.fromkeys(language.tasks)),
        *(planned("generation", task, asked | {"reader": reader}) for task, asked in _written(evaluation)),
    )


def _check_instructions(embedding: EmbeddingEvaluation, tasks: set[str]) -> None:
    """Refuse an instruction that would never be read. Only here are the tasks of benchmarks known."""
    for name in (name for name in embedding.instructions if name not in tasks):
        refusal = f"evaluation.embedding.instructions names {name!r}, which neither tasks nor benchmarks ask for"
        raise GemError("; ".join(filter(None, (refusal, did_you_mean(name, tasks)))))


def _written(evaluation: Evaluation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way to write continuations, and what decides them: prompts, decoding, versions."""
    generation = evaluation.generation
    if generation.prompts is None:
        return
    from gem_core.evaluation.prompts import SANDBOX, state_of

    of_sandbox = generation.prompts == SANDBOX and evaluation.sandbox is not None
    settings = generation.model_dump(exclude={"decoding", "revision", "temperature"}) | {
        "state": _world(evaluation.sandbox or 0) if of_sandbox else state_of(generation),
        "versions": _versions(*MODEL_LIBRARIES),
    }
    for decoding in dict.fromkeys(generation.decoding):
        yield decoding, settings | ({"temperature": generation.temperature} if decoding == "sampled" else {})


def _parts(part: BenchmarkTask) -> dict[str, Any]:
    """What a benchmark asks of a task, in the place of languages."""
    return {"subsets": list(part.subsets), "splits": list(part.splits)}


def _asked(language: LanguageEvaluation, task: str) -> dict[str, Any]:
    """Examples and limit of one task."""
    asked = {"fewshot": language.fewshot, "limit": language.limit}
    own = language.by_task.get(task)
    return asked | (own.model_dump(exclude_unset=True) if own else {})


def _world(seed: int) -> str:
    """What decides a sandbox world: its seed, and the digest of how worlds are made."""
    from gem_core.sandbox import SandboxSpec

    return f"{seed}-{SandboxSpec().digest()}"


def _versions(*distributions: str) -> dict[str, str]:
    return {name: version(name) for name in distributions}
