"""Embedding tasks, measured by the mteb package with a GemModel as the encoder.

mteb loads the data and computes the metrics; here is only what it cannot know: how our model embeds, what to keep of
each task, and that two checkpoints are two models (their revision is their content digest).
"""

from __future__ import annotations

import difflib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import mteb
import numpy as np
from mteb.abstasks import AbsTask, AbsTaskRetrieval
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.get_tasks import TASK_LIST
from mteb.models.model_meta import ModelMeta
from mteb.similarity_functions import cos_sim, pairwise_cos_sim

from gem_core.errors import GemError
from gem_core.evaluation.data_access import Unreachable, unreachable
from gem_core.evaluation.embedding_records import records
from gem_core.evaluation.plan import PlannedTask, is_sandbox
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from gem_core.sandbox import Sandbox

MEMO_BYTES = 2**30
"""Embeddings kept for texts that come again in another task; beyond this much, texts are embedded anew."""


class Embedder(Protocol):
    """What is asked of a model, or of a baseline beside it."""

    read_out: str
    """How a text becomes a vector."""

    def encode(self, texts: Sequence[str], *, batch_size: int, max_length: int) -> NDArray[np.float32]:
        """Unit vectors ``[texts, dimension]``, in the order of the texts."""
        ...


class MtebEncoder:
    """A GemModel behind mteb's ``EncoderProtocol``; a text that several tasks share is embedded once."""

    def __init__(self, model: Embedder, read_out: str, digest: str) -> None:
        self.model = model
        self.read_out = read_out
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"gem/{digest[:12]}", "revision": digest})
        self._memo: dict[str, NDArray[np.float32]] = {}
        self._memo_bytes = 0

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        batch_size: int,
        max_length: int,
        **_: Any,  # noqa: ANN401 - task metadata and prompt types, none of which move a GEM embedding
    ) -> NDArray[np.float32]:
        """Unit vectors ``[texts, dimension]`` of mteb's batches of texts, in their order."""
        texts = [text for batch in inputs for text in batch["text"]]
        known = {text: self._memo[text] for text in set(texts) & self._memo.keys()}
        if fresh := [text for text in dict.fromkeys(texts) if text not in known]:
            self.model.read_out = self.read_out
            vectors = self.model.encode(fresh, batch_size=batch_size, max_length=max_length)
            known.update(zip(fresh, vectors, strict=True))
            if self._memo_bytes + vectors.nbytes <= MEMO_BYTES:
                self._memo.update(zip(fresh, vectors, strict=True))
                self._memo_bytes += vectors.nbytes
        return np.stack([known[text] for text in texts])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - mteb's Array: numpy or torch
        """Cosine similarity of each with each."""
        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401
        """Cosine similarity pair by pair."""
        return pairwise_cos_sim(embeddings1, embeddings2)


@dataclass(frozen=True)
class EmbeddingTasks:
    """Makes mteb tasks by name, the sandbox world's own among them."""

    languages: tuple[str, ...]
    sandbox: Sandbox | None = None

    def check(self, names: Sequence[str]) -> None:
        """Refuse names that nobody knows, before anything is measured.

        Raises:
            GemError: Naming the unknown tasks and what they may have meant.
        """
        known = [task.metadata.name for task in TASK_LIST]
        if self.sandbox is not None:
            from gem_core.sandbox import EMBEDDING_TASKS

            known += EMBEDDING_TASKS
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                raise GemError(
                    f"unknown embedding task {name!r}; "
                    + (f"did you mean {' or '.join(near)}?" if near else "see mteb's list of tasks for the names")
                )

    def make(self, name: str) -> AbsTask:
        """A fresh task: mteb's tasks carry a random state, so one object must not be measured twice."""
        if self.sandbox is not None and is_sandbox(name):
            from gem_core.sandbox.tasks import embedding_tasks

            (task,) = embedding_tasks(self.sandbox, [name])
            return task
        return mteb.get_task(name, languages=list(self.languages), exclusive_language_filter=True)


class EmbeddingSuite:
    """The mteb package with one model in it; read-outs of the model share its weights and nothing else."""

    def __init__(self, model: Embedder, digest: str, tasks: EmbeddingTasks) -> None:
        self.model = model
        self.digest = digest
        self.tasks = tasks
        self._encoders: dict[str, MtebEncoder] = {}

    def measure(self, planned: PlannedTask, read_out: str) -> Measured | Unreachable:
        """Measure one task with one read-out, and keep what mteb predicted for each item."""
        began = time.monotonic()
        try:
            task = self.tasks.make(planned.task)
        except ValueError:  # mteb found no subset; the name was checked before
            return Unreachable(f"has no texts in {', '.join(self.tasks.languages)}")
        parts = task.metadata.tasks if isinstance(task, AbsTaskAggregate) else [task]
        for part in parts:
            if missing := unreachable(part.load_data):
                return missing
        if read_out not in self._encoders:
            self._encoders[read_out] = MtebEncoder(self.model, read_out, self.digest)
        options = {name: planned.settings[name] for name in ("batch_size", "max_length")}
        with tempfile.TemporaryDirectory() as folder:
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
            table = records(task, json.loads(predictions.read_text())) if predictions.is_file() else None
        score = TaskScore(
            task=planned.task,
            kind="embedding",
            read_out=read_out,
            metric=task.metadata.main_score,
            value=100.0 * float(result.get_score()),
            items=sum(map(_items, parts)),
            settings=planned.digest,
        )
        return Measured((score,), table, time.monotonic() - began)


def _items(task: AbsTask) -> int:
    """How many pairs, queries or texts a loaded task asks about."""
    count = 0
    for subset in task.hf_subsets:
        data = task.dataset if subset not in task.dataset and subset == "default" else task.dataset[subset]
        for split in task.eval_splits:
            count += len(data[split]["queries"] if isinstance(task, AbsTaskRetrieval) else data[split])
    return count
