"""Writing a whole sandbox into an empty folder: the order of the stages and what each leaves there."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from gem_core.sandbox.base_model import PreTraining, pretrain
from gem_core.sandbox.exam import exam_document
from gem_core.sandbox.exam_tasks import make_exam, write_exam
from gem_core.sandbox.store import VERSION, Sandbox, SandboxSpec, write_rows
from gem_core.sandbox.task_data import make_task_data
from gem_core.sandbox.text import training_text
from gem_core.sandbox.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAM_QUESTIONS = 6
"""Questions of an exam document: five shots and the one that is asked."""

_PROSE_TOKENS, _EXAM_TOKENS = 28, 105
"""Mean length of a prose text and of an exam document in tokens, to draw about as many texts as are read."""

_EXAM_ROWS = 0.1
"""Share of exam documents in the fine-tuning rows, over training entities only."""


def write_sandbox(
    folder: Path, final: Path, seed: int, spec: SandboxSpec, progress: Callable[[str, float], None]
) -> None:
    """Fill `folder`, which will be renamed to `final`. The world and all data follow from `seed` and `spec`.

    The weights do too on one machine with one number of threads; elsewhere sums are rounded in another order.
    """
    progress("world", 0.0)
    sandbox = Sandbox.at(folder, seed)
    world = make_world(seed, spec.entities_per_topic, spec.held_out_per_topic)
    write_exam(sandbox.exam, Sandbox.at(final, seed).exam, make_exam(world, spec.questions_per_subject), final.name)
    for name, splits in make_task_data(world, spec.tasks).items():
        write_rows(sandbox.tasks_data / f"{name}.json", splits)
    pq.write_table(pa.table({"text": fine_tuning_rows(world, spec)}), sandbox.training_rows)
    texts = pretraining_texts(world, spec)
    progress("world", 1.0)
    report = pretrain(sandbox.base_model, seed, texts, spec.model, lambda share: progress("pre-training", share))
    text = json.dumps(_record(world, spec, report), indent=2)
    (folder / "sandbox.json").write_text(text + "\n", encoding="utf-8")


def pretraining_texts(world: World, spec: SandboxSpec) -> list[str]:
    """What the base model reads, in reading order: prose and solved exams about all entities."""
    rng = random.Random(f"pre-training-{world.seed}")
    tokens = spec.model.steps * spec.model.rows_per_step * spec.model.row_length
    prose = int(tokens * (1 - spec.exam_share) / _PROSE_TOKENS) + 1
    exams = int(tokens * spec.exam_share / _EXAM_TOKENS) + 1
    texts = [training_text(rng, world, world.entities) for _ in range(prose)]
    texts += [exam_document(rng, EXAM_QUESTIONS) for _ in range(exams)]
    rng.shuffle(texts)
    return texts


def fine_tuning_rows(world: World, spec: SandboxSpec) -> list[str]:
    """What a GEM fine-tuning reads: prose and solved exams that mention training entities only."""
    rng = random.Random(f"fine-tuning-{world.seed}")
    entities = world.training_entities
    return [
        exam_document(rng, EXAM_QUESTIONS) if rng.random() < _EXAM_ROWS else training_text(rng, world, entities)
        for _ in range(spec.training_rows)
    ]


def _record(world: World, spec: SandboxSpec, report: PreTraining) -> dict[str, object]:
    return {
        "seed": world.seed,
        "version": VERSION,
        "spec": asdict(spec),
        "entities": len(world.entities),
        "held_out_entities": len(world.held_out_entities),
        "facts": sum(len(entity.facts) for entity in world.entities),
        "pretraining": asdict(report),
    }
