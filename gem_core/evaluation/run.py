"""Measuring one model: what is cached is taken, what is missing is measured, task by task.

Each task is kept as soon as it is measured, so that a crash costs the task at hand and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gem_core.errors import GemError
from gem_core.evaluation.assembly import assemble
from gem_core.evaluation.catalogue import is_sandbox
from gem_core.evaluation.data_access import Unreachable
from gem_core.evaluation.plan import READ_OUTS, PlannedTask, plan, read_outs
from gem_core.evaluation.store import Measured, ScoreStore
from gem_core.identity import content_digest

if TYPE_CHECKING:
    from gem_core.evaluation.continuations import Reader
    from gem_core.evaluation.mteb import Embedder
    from gem_core.evaluation.scores import Scores
    from gem_core.method.model import GemModel
    from gem_core.recipe import Evaluation
    from gem_core.settings import Settings

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]


class Suite(Protocol):
    """A harness with a model in it."""

    def measure(self, planned: PlannedTask, read_out: str) -> Measured | Unreachable:
        """Measure one task; its data may be out of reach."""
        ...


def cached(
    model_digest: str, evaluation: Evaluation, settings: Settings, *, reference: str = "", reader: str | None = None
) -> Scores | None:
    """The scores of a model that is measured already, or None when anything is still to be measured.

    Takes milliseconds and imports neither torch nor mteb nor lm-eval. Which read-outs a digest has need not be known:
    a model is stored either with its special tokens' or with both plain ones.

    Args:
        model_digest: The model's.
        evaluation: What was to be measured.
        settings: Where scores are kept.
        reference: What people call the model.
        reader: Digest of the base that reads its continuations, where any are asked for.
    """
    store = ScoreStore(settings.scores)
    planned = plan(evaluation, settings.home, reader)
    for outs in READ_OUTS:
        measurements = list(_measurements(planned, outs))
        entries = [store.load(model_digest, task, out) for task, out in measurements]
        if entries and all(entries):
            return assemble(model_digest, reference, zip(measurements, entries, strict=True), {})
    return None


def evaluate(
    folder: Path,
    reference: str,
    evaluation: Evaluation,
    settings: Settings,
    *,
    digest: str | None = None,
    reader: Reader | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Measure the model in `folder`.

    A folder without ``gem.json`` is a base: its embedding tasks are measured with mean and with last-token pooling, and
    its better one is what a candidate is compared with.

    Args:
        folder: A model folder, as :meth:`GemModel.load` takes it.
        reference: What people call the model.
        evaluation: What to measure.
        settings: Where scores are kept and sandboxes are.
        digest: What the folder's content digest has to be, where the caller knows.
        reader: The base that reads its continuations, where any are asked for; its own base when unset.
        progress: Called with a line for people and the share that is done.

    Returns:
        All requested scores; tasks whose data cannot be had are in ``missing``, and the rest is measured.

    Raises:
        GemError: For a task name that nobody knows (with near matches), a folder that is no model or whose content is
            not what its digest says, a full disk.
    """
    found = content_digest(folder)
    if digest is not None and digest != found:
        raise GemError(
            f"{folder} is not the model it is said to be: its content digest is {found[:12]}, not {digest[:12]}; "
            "nothing is measured under another model's name"
        )
    digest = found
    store = ScoreStore(settings.scores)
    if reader is None and evaluation.generation.prompts is not None:
        from gem_core.evaluation.continuations import reader_of

        reader = reader_of(folder, settings)
    planned = plan(evaluation, settings.home, reader.digest if reader else None)
    measurements = list(_measurements(planned, read_outs(folder)))
    entries = {(task.digest, out): store.load(digest, task, out) for task, out in measurements}
    to_do = [(task, out) for task, out in measurements if entries[task.digest, out] is None]
    missing: dict[str, str] = {}
    report = progress or _silent
    if to_do:
        from gem_core.evaluation.quiet import quiet

        report("loading the model and the harnesses", 0.0)
        with quiet():
            measure = _measure(folder, digest, evaluation, settings, to_do, reader)
            for done, (task, out) in enumerate(to_do):
                report(" ".join(filter(None, (task.task, out))), done / len(to_do))
                measured = measure(task, out)
                if isinstance(measured, Unreachable):
                    missing[task.metric] = measured.reason
                else:
                    entries[task.digest, out] = store.save(digest, task, out, measured)
    for metric, reason in missing.items():
        log.warning("%s is not measured: %s", metric, reason)
    report("measured", 1.0)
    kept = [((task, out), entries[task.digest, out]) for task, out in measurements]
    return assemble(digest, reference, kept, missing)


def measure_encoder(
    encoder: Embedder, name: str, evaluation: Evaluation, settings: Settings
) -> dict[str, Measured | str]:
    """Measure the embeddings of anything that encodes, a baseline for example; nothing is cached.

    Args:
        encoder: What makes the vectors.
        name: Unlike any other encoder's.
        evaluation: Its embedding tasks are measured.
        settings: Where sandboxes are.

    Returns:
        What was measured by task, or the reason why not.

    Raises:
        GemError: For a task name that nobody knows.
    """
    from gem_core.evaluation.quiet import quiet

    to_do = [(task, encoder.read_out) for task in plan(evaluation, settings.home) if task.kind == "embedding"]
    with quiet():
        measure = _measure(encoder, name, evaluation, settings, to_do)
        found = {task.task: measure(task, out) for task, out in to_do}
    return {task: part.reason if isinstance(part, Unreachable) else part for task, part in found.items()}


def _measurements(planned: tuple[PlannedTask, ...], outs: tuple[str, ...]) -> Iterator[tuple[PlannedTask, str]]:
    """Every task with every read-out it is to be measured with: none (empty) for language tasks."""
    for task in planned:
        for out in outs if task.kind == "embedding" else ("",):
            yield task, out


def _measure(
    source: Path | Embedder,
    digest: str,
    evaluation: Evaluation,
    settings: Settings,
    to_do: list[tuple[PlannedTask, str]],
    reader: Reader | None = None,
) -> Callable[[PlannedTask, str], Measured | Unreachable]:
    """The function that measures one of `to_do`, with the model of a folder loaded once for all of them.

    All names are checked first: a misspelt one is refused before minutes are spent on the others.
    """
    from gem_core.method.model import GemModel

    embedding = tuple(dict.fromkeys(task.task for task, _ in to_do if task.kind == "embedding"))
    language = tuple(dict.fromkeys(task.task for task, _ in to_do if task.kind == "language"))
    writes = any(task.kind == "generation" for task, _ in to_do)
    prompted = (evaluation.generation.prompts or "",) if writes else ()
    sandbox = None
    if evaluation.sandbox is not None and any(map(is_sandbox, (*embedding, *language, *prompted))):
        from gem_core.sandbox import build

        sandbox = build(settings.home, evaluation.sandbox)
    suites: dict[str, Callable[[GemModel], Suite]] = {}
    if embedding:
        from gem_core.evaluation.mteb import EmbeddingSuite, EmbeddingTasks

        embedding_tasks = EmbeddingTasks(settings.home, sandbox)
        embedding_tasks.check(embedding)
        outs = tuple(dict.fromkeys(out for task, out in to_do if task.kind == "embedding"))
        suites["embedding"] = lambda model: EmbeddingSuite(model, digest, embedding_tasks, outs)
    if language:
        from gem_core.evaluation.language import LanguageSuite, LanguageTasks

        language_tasks = LanguageTasks(language, settings.home, sandbox)
        language_tasks.check()
        suites["language"] = lambda model: LanguageSuite(model, evaluation.language.batch_size, language_tasks)
    if writes and reader is not None:
        from gem_core.evaluation.continuations import ContinuationSuite

        suites["generation"] = lambda model: ContinuationSuite(model, evaluation, settings, reader, sandbox)
    model: Any = source
    if isinstance(source, Path):
        model = GemModel.load(source, settings=settings, dtype=evaluation.dtype)
        if model.digest != digest:
            raise GemError(f"{source} was changed while its measuring began; try again when nothing writes to it")
    ready = {kind: make(model) for kind, make in suites.items()}
    return lambda task, out: ready[task.kind].measure(task, out)


def _silent(_message: str, _share: float) -> None:
    """Progress that nobody asked for."""
