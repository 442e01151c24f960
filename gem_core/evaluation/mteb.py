"""Embedding tasks, measured by the mteb package with a GemModel as the encoder.

mteb loads the data and computes the metrics; here is only what it cannot know: how our model embeds, what to keep of
each task, and that two checkpoints are two models (their revision is their content digest).
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import mteb
import numpy as np
from mteb.abstasks import AbsTask, AbsTaskRetrieval
from mteb.abstasks.abstask import get_abstask_prompt
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.models.model_meta import ModelMeta
from mteb.similarity_functions import cos_sim, pairwise_cos_sim
from mteb.types import PromptType

from gem_core.evaluation.catalogue import check, is_sandbox
from gem_core.evaluation.data_access import Unreachable, unreachable
from gem_core.evaluation.embedding_records import leaf, records
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Measured
from gem_core.evaluation.whole_columns import whole_columns
from gem_core.method.model_parts import BARE
from gem_core.method.read_out import PLAIN, TOGETHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mteb.abstasks.task_metadata import TaskMetadata
    from numpy.typing import NDArray

    from gem_core.evaluation.plan import PlannedTask
    from gem_core.sandbox import Sandbox

MEMO_BYTES = 2**30
"""Embeddings kept for texts that come again in another task; beyond this much, texts are embedded anew."""


class Embedder(Protocol):
    """What is asked of a model, or of a baseline beside it."""

    read_out: str
    """How a text becomes a vector."""

    def encode(
        self, texts: Sequence[str], *, batch_size: int, max_length: int, template: str, refuse_blank: bool
    ) -> NDArray[np.float32]:
        """Unit vectors ``[texts, dimension]``, in the order of the texts, each wrapped in the template.

        A text without a token is refused or gives zeros.
        """
        ...


class TextVectors:
    """Embeddings by one read-out; a text is embedded once, whichever tasks ask for it."""

    def __init__(self, model: Embedder, read_out: str) -> None:
        self.model = model
        self.read_out = read_out
        self._memo: dict[str, dict[str, NDArray[np.float32]]] = {}
        self._memo_bytes = 0

    def of(
        self, texts: Sequence[str], *, batch_size: int, max_length: int, template: str = BARE
    ) -> NDArray[np.float32]:
        """Unit vectors ``[texts, dimension]``, in the order of the texts; one without a token is zeros.

        So is it in sentence-transformers; a blank item of a task is no reason to lose the others.
        """
        memo = self._memo.setdefault(template, {})
        known = {text: memo[text] for text in set(texts) & memo.keys()}
        if fresh := [text for text in dict.fromkeys(texts) if text not in known]:
            self.model.read_out = self.read_out
            vectors = self.model.encode(
                fresh, batch_size=batch_size, max_length=max_length, template=template, refuse_blank=False
            )
            known.update(zip(fresh, vectors, strict=True))
            if self._memo_bytes + vectors.nbytes <= MEMO_BYTES:
                memo.update(zip(fresh, vectors, strict=True))
                self._memo_bytes += vectors.nbytes
        return np.stack([known[text] for text in texts])


class MtebEncoder:
    """A GemModel behind mteb's ``EncoderProtocol``.

    Args:
        vectors: Its embeddings.
        digest: Its identity.
        part: Which of how many equal parts of each vector is this encoder's: two read-outs may share a pass.
    """

    def __init__(self, vectors: TextVectors, digest: str, part: tuple[int, int] = (0, 1)) -> None:
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"gem/{digest[:12]}", "revision": digest})
        self._vectors = vectors
        self._part, self._parts = part

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        task_metadata: TaskMetadata,
        prompt_type: PromptType | None = None,
        batch_size: int,
        max_length: int,
        instruction: Mapping[str, str | None] | None = None,
        **_: Any,  # noqa: ANN401 - what mteb tells besides, which moves no embedding
    ) -> NDArray[np.float32]:
        """Unit vectors ``[texts, dimension]`` of mteb's batches of texts, in their order.

        Args:
            inputs: The batches.
            task_metadata: Of the task that asks; its own instruction is in it.
            prompt_type: Whether these are a retrieval task's queries or its documents.
            batch_size: Texts a batch.
            max_length: Tokens a text.
            instruction: The plan's: a template, and the task's instruction if it is not mteb's own.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        template = template_of(task_metadata, prompt_type, instruction)
        vectors = self._vectors.of(texts, batch_size=batch_size, max_length=max_length, template=template)
        if self._parts == 1:
            return vectors
        own = np.split(vectors, self._parts, axis=1)[self._part]
        unit: NDArray[np.float32] = own / np.linalg.norm(own, axis=1, keepdims=True).clip(min=1e-12)
        return unit

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - mteb's Array: numpy or torch
        """Cosine similarity of each with each."""
        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401
        """Cosine similarity pair by pair."""
        return pairwise_cos_sim(embeddings1, embeddings2)


def template_of(
    task: TaskMetadata, prompt_type: PromptType | None, instruction: Mapping[str, str | None] | None
) -> str:
    """What a task's texts are wrapped in: documents in nothing, all others in the plan's template."""
    template = instruction and instruction["template"]
    if instruction is None or not template or prompt_type is PromptType.document:
        return BARE
    if "{instruction}" not in template:
        return template
    own = instruction["instruction"] or (task.prompt.get("query") if isinstance(task.prompt, dict) else task.prompt)
    if not own and not is_sandbox(task.name):
        own = get_abstask_prompt(task.name)
    return template.replace("{instruction}", own) if own else BARE


@dataclass(frozen=True)
class EmbeddingTasks:
    """Makes mteb tasks by name, the sandbox world's own among them."""

    home: Path
    """Where mteb's names are kept."""
    sandbox: Sandbox | None = None

    def check(self, names: Sequence[str]) -> None:
        """Refuse names that nobody knows, before anything is measured.

        Raises:
            GemError: Naming the unknown task and what it may have meant.
        """
        check(names, "embedding", self.home)

    def make(self, planned: PlannedTask) -> AbsTask:
        """A fresh task: mteb's tasks carry a random state, so one object must not be measured twice."""
        if self.sandbox is not None and is_sandbox(planned.task):
            from gem_core.sandbox.tasks import embedding_tasks

            (task,) = embedding_tasks(self.sandbox, [planned.task])
            return task
        if planned.benchmark:
            subsets, splits = planned.settings["subsets"], planned.settings["splits"]
            return mteb.get_task(planned.task, hf_subsets=subsets, eval_splits=splits)
        languages = planned.settings["languages"]
        return mteb.get_task(planned.task, languages=languages, exclusive_language_filter=True)


class EmbeddingSuite:
    """The mteb package with one model in it.

    Args:
        model: What embeds.
        digest: Its identity.
        tasks: Makes the tasks.
        outs: The read-outs that will be asked for. A base's two come from one pass over each text.
    """

    def __init__(self, model: Embedder, digest: str, tasks: EmbeddingTasks, outs: Sequence[str]) -> None:
        self.tasks = tasks
        if tuple(outs) == PLAIN:
            both = TextVectors(model, TOGETHER)
            parts = {out: (number, len(PLAIN)) for number, out in enumerate(PLAIN)}
            self._encoders = {out: MtebEncoder(both, digest, part) for out, part in parts.items()}
        else:
            self._encoders = {out: MtebEncoder(TextVectors(model, out), digest) for out in outs}

    def measure(self, planned: PlannedTask, read_out: str) -> Measured | Unreachable:
        """Measure one task with one read-out, and keep what mteb predicted for each item."""
        began = time.monotonic()
        try:
            task = self.tasks.make(planned)
        except ValueError:  # mteb found no subset; the name was checked before
            return Unreachable(f"has no texts in {', '.join(planned.settings.get('languages', ('these subsets',)))}")
        parts = task.metadata.tasks if isinstance(task, AbsTaskAggregate) else [task]
        for part in parts:
            if missing := unreachable(part.load_data):
                return missing
        options = {name: planned.settings[name] for name in ("batch_size", "max_length", "instruction")}
        with tempfile.TemporaryDirectory() as folder, whole_columns():
            result = mteb.evaluate(
                self._encoders[read_out],
                task,
                encode_kwargs=options | {"show_progress_bar": False},
                cache=None,
                co2_tracker=False,
                prediction_folder=folder,
                show_progress_bar=False,
            ).task_results[0]
            predictions = Path(folder) / task.prediction_file_name
            kept = json.loads(predictions.read_text()) if predictions.is_file() else {}
            table = records(task, kept, result.scores) if kept else None
        score = TaskScore(
            task=planned.task,
            kind="embedding",
            read_out=read_out,
            metric=task.metadata.main_score,
            value=100.0 * float(result.get_score()),
            items=sum(sum(_items(part).values()) for part in parts),
            settings=planned.digest,
        )
        leaves = () if isinstance(task, AbsTaskAggregate) else _leaves(task, score, result.scores)
        return Measured((score, *leaves), table, time.monotonic() - began)


def _leaves(task: AbsTask, whole: TaskScore, scores: Mapping[str, Any]) -> Iterator[TaskScore]:
    """The score of each subset and split of a task that has several: languages are kept apart."""
    items = _items(task)
    if len(items) < 2:
        return
    for split, of_subsets in scores.items():
        for scored in of_subsets:
            subset = scored["hf_subset"]
            yield whole.model_copy(
                update={
                    "task": leaf(whole.task, subset, split, len(items)),
                    "value": 100.0 * float(scored["main_score"]),
                    "items": items[subset, split],
                    "subtask_of": whole.task,
                }
            )


def _items(task: AbsTask) -> dict[tuple[str, str], int]:
    """How many pairs, queries, texts or sets of texts a loaded task asks about, by subset and split."""
    counts = {}
    for subset in task.hf_subsets:
        data = task.dataset if subset not in task.dataset and subset == "default" else task.dataset[subset]
        for split in task.eval_splits:
            rows = data[split]["queries"] if isinstance(task, AbsTaskRetrieval) else data[split]
            counts[subset, split] = len(rows)
    return counts
