"""The texts that an evaluation measures on: sentences, queries, documents, questions with their answers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gem_core.errors import GemError
from gem_core.evaluation.catalogue import is_sandbox
from gem_core.evaluation.data_access import unreachable
from gem_core.evaluation.plan import plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gem_core.recipe import Evaluation
    from gem_core.settings import Settings

SPLITS = frozenset({"train", "validation", "dev", "test"})


def evaluation_texts(evaluation: Evaluation, settings: Settings) -> Iterator[tuple[str, str]]:
    """Task and text, of every task whose data can be reached; what was not measured for lack of data has no texts here.

    Loads the tasks' data, and mteb or lm-eval with it: seconds, and more for large retrieval corpora.
    """
    sandbox = None
    planned = plan(evaluation, settings.home)
    generation = evaluation.generation
    if evaluation.sandbox is not None and any(map(is_sandbox, [generation.prompts or "", *(t.task for t in planned)])):
        from gem_core.sandbox import build

        sandbox = build(settings.home, evaluation.sandbox)
    embedding = [task for task in planned if task.kind == "embedding"]
    if embedding:
        from mteb.abstasks.aggregated_task import AbsTaskAggregate

        from gem_core.evaluation.mteb import EmbeddingTasks

        tasks = EmbeddingTasks(settings.home, sandbox)
        for asked in embedding:
            task = tasks.make(asked)
            for part in task.metadata.tasks if isinstance(task, AbsTaskAggregate) else [task]:
                if not unreachable(part.load_data):
                    yield from (
                        (asked.task, text) for text in _strings(part.dataset, frozenset(part.metadata.eval_splits))
                    )
    if generation.prompts is not None:
        from gem_core.evaluation.prompts import prompts

        with contextlib.suppress(GemError):  # out of reach: nothing was measured on them
            yield from (("generation", text) for text in prompts(generation, settings, sandbox)[0])
    language = tuple(task.task for task in planned if task.kind == "language")
    if language:
        from gem_core.evaluation.language import LanguageTasks

        manager = LanguageTasks(language, settings.home, sandbox).manager
        for name in language:
            for leaf in _leaves(manager, name):
                yield from ((name, text) for text in _questions(leaf))


def _leaves(manager: Any, name: str) -> list[Any]:  # noqa: ANN401 - the harness's index and tasks
    """The tasks behind a name; none when their data cannot be reached."""
    loaded: dict[str, Any] = {}
    return [] if unreachable(lambda: loaded.update(manager.load([name]))) else list(loaded["tasks"].values())


def _strings(data: Any, splits: frozenset[str]) -> Iterator[str]:  # noqa: ANN401 - a data set, or mteb's dictionaries of them
    """Every text of the splits that are measured, however deep a task keeps them."""
    if isinstance(data, str):
        yield data
    elif hasattr(data, "column_names"):
        if isinstance(data.column_names, dict):  # several splits
            yield from _strings(dict(data), splits)
        else:
            for name in data.column_names:
                yield from (text for value in data[name] for text in _strings(value, splits))
    elif isinstance(data, dict):
        for key, value in data.items():
            if key not in SPLITS or key in splits:
                yield from _strings(value, splits)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _strings(value, splits)


def _questions(task: Any) -> Iterator[str]:  # noqa: ANN401 - the harness's task
    """Each question with its right answer, where they are texts."""
    for document in task.eval_docs:
        question, answer = task.doc_to_text(document), task.doc_to_target(document)
        if isinstance(answer, int):
            choices = task.doc_to_choice(document) if task.config.doc_to_choice is not None else []
            answer = choices[answer] if 0 <= answer < len(choices) else ""
        yield " ".join(part for part in (question, answer) if isinstance(part, str))
