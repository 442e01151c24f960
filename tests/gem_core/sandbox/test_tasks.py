from __future__ import annotations

import mteb
import numpy as np
import pytest
import torch
from mteb.models.model_meta import ModelMeta

from gem_core.sandbox import EMBEDDING_TASKS, LANGUAGE_GROUP
from gem_core.sandbox.exam import SUBJECTS
from gem_core.sandbox.tasks import embedding_tasks


class LetterCounts:
    """The simplest encoder there is: how often each letter occurs."""

    mteb_model_meta = ModelMeta.create_empty({"name": "tests/letter-counts", "revision": "1"})

    def encode(self, inputs, **_settings):
        texts = [text.lower() for batch in inputs for text in batch["text"]]
        return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], float)

    def similarity(self, first, second):
        first, second = (torch.nn.functional.normalize(torch.as_tensor(each), dim=-1) for each in (first, second))
        return first @ second.T

    def similarity_pairwise(self, first, second):
        return torch.nn.functional.cosine_similarity(torch.as_tensor(first), torch.as_tensor(second))


def test_all_tasks_run_and_score_between_chance_and_perfect(sandbox):
    results = mteb.evaluate(LetterCounts(), tasks=embedding_tasks(sandbox), cache=None, show_progress_bar=False)
    scores = {result.task_name: result.get_score() for result in results.task_results}
    assert set(scores) == set(EMBEDDING_TASKS)
    assert all(-1 < score < 1 for score in scores.values())


def test_the_revision_names_the_world(sandbox):
    assert {task.metadata.dataset["revision"] for task in embedding_tasks(sandbox)} == {sandbox.folder.name}


def test_tasks_are_chosen_by_name(sandbox):
    (task,) = embedding_tasks(sandbox, ["SandboxSTS"])
    assert task.metadata.name == "SandboxSTS"
    with pytest.raises(ValueError, match="SandboxSQS"):
        embedding_tasks(sandbox, ["SandboxSQS"])


def test_lm_eval_runs_the_group(sandbox):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    results = lm_eval.simple_evaluate(
        HFLM(pretrained=str(sandbox.base_model), device="cpu", batch_size=16),
        tasks=[LANGUAGE_GROUP],
        num_fewshot=5,
        task_manager=TaskManager(include_path=str(sandbox.exam), include_defaults=False),
        bootstrap_iters=0,
    )
    subjects = [results["results"][f"{LANGUAGE_GROUP}_{subject}"]["acc,none"] for subject in SUBJECTS]
    assert results["groups"][LANGUAGE_GROUP]["acc,none"] == pytest.approx(np.mean(subjects))
    first = results["samples"][f"{LANGUAGE_GROUP}_{SUBJECTS[0]}"][0]["arguments"][0][0]
    assert first.count("Answer:") == 6
