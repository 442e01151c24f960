"""The exam as an lm-eval task group on disk, and the function with which lm-eval reads its questions.

lm-eval's own way to local files goes through the cache of `datasets` in the user's home; `load_questions`, which the
YAML names as `custom_dataset`, leaves nothing there.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gem_core.sandbox.exam import SUBJECTS, Question, ask, description
from gem_core.sandbox.store import LANGUAGE_GROUP, read_rows, write_rows

if TYPE_CHECKING:
    from datasets import DatasetDict

    from gem_core.sandbox.world import World

SHOTS = 5
"""Solved examples before each question, the size of the `dev` split."""

_FUNCTION_LINE = f"custom_dataset: !function {__name__}.load_questions\n"
"""Written by hand: PyYAML cannot dump lm-eval's `!function` tag."""


def make_exam(world: World, questions_per_subject: int) -> dict[str, dict[str, list[Question]]]:
    """Subject to split (`dev`, `test`) to questions, all of the test side, no question twice within a subject.

    Raises:
        ValueError: the world is too small for that many different questions.
    """
    rng = random.Random(f"exam-{world.seed}")
    exam = {}
    for subject in SUBJECTS:
        found: dict[str, Question] = {}
        for _ in range(50 * (questions_per_subject + SHOTS)):
            question = ask(rng, subject, "test")
            found.setdefault(f"{question.question}{question.choices}", question)
            if len(found) == questions_per_subject + SHOTS:
                break
        else:
            raise ValueError(f"this world has only {len(found)} different questions about {subject}")
        asked = list(found.values())
        exam[subject] = {"dev": asked[:SHOTS], "test": asked[SHOTS:]}
    return exam


def write_exam(folder: Path, final: Path, exam: dict[str, dict[str, list[Question]]], revision: str) -> None:
    """Write data and YAML to `folder`, which will be renamed to `final`: the paths in the YAML point there."""
    for subject, splits in exam.items():
        rows = {
            split: [{"question": one.question, "choices": list(one.choices), "answer": one.answer} for one in questions]
            for split, questions in splits.items()
        }
        write_rows(folder / f"{subject}.json", rows)
        task = {
            "task": f"{LANGUAGE_GROUP}_{subject}",
            "task_alias": subject,
            "description": description(subject),
            "dataset_kwargs": {"file": str((final / f"{subject}.json").resolve())},
            "test_split": "test",
            "fewshot_split": "dev",
            "num_fewshot": SHOTS,
            "fewshot_config": {"sampler": "first_n"},
            "output_type": "multiple_choice",
            "doc_to_text": "Question: {{question}}\nAnswer:",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0, "sandbox": revision},
        }
        text = yaml.safe_dump(task, sort_keys=False, width=120)
        (folder / f"{LANGUAGE_GROUP}_{subject}.yaml").write_text(text + _FUNCTION_LINE, encoding="utf-8")
    group = {
        "group": LANGUAGE_GROUP,
        "task": [f"{LANGUAGE_GROUP}_{subject}" for subject in exam],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
        "metadata": {"version": 1.0},
    }
    (folder / f"{LANGUAGE_GROUP}.yaml").write_text(yaml.safe_dump(group, sort_keys=False), encoding="utf-8")


def load_questions(file: str, **_metadata: object) -> DatasetDict:
    """The splits of one subject. lm-eval adds its own and the task's metadata as further keywords; none is needed.

    Raises:
        FileNotFoundError: the sandbox was moved or removed after it was built.
    """
    from datasets import Dataset, DatasetDict

    splits = read_rows(Path(file))
    return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})
