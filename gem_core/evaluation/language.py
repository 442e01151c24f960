"""Language tasks, measured by the lm-eval harness on the model as it generates.

A group counts as the plain (macro) average over its leaf tasks, as MMLU is reported (METHOD.md), whatever weights the
harness itself would use; the leaves are kept beside it.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lm_eval
import lm_eval.tasks
import numpy as np
import pyarrow as pa
import torch
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager
from peft import PeftModel

from gem_core.evaluation.catalogue import check, is_sandbox, language_names
from gem_core.evaluation.data_access import Unreachable, unreachable
from gem_core.evaluation.harness import Harness
from gem_core.evaluation.language_records import RECORDS, scores_and_rows
from gem_core.evaluation.quiet import without_prompt_bar
from gem_core.evaluation.store import Measured

if TYPE_CHECKING:
    from lm_eval.api.task import Task

    from gem_core.evaluation.plan import PlannedTask
    from gem_core.method.model import GemModel
    from gem_core.sandbox import Sandbox


@dataclass(frozen=True)
class LanguageTasks:
    """Makes lm-eval tasks by name, the sandbox world's own among them."""

    names: tuple[str, ...]
    home: Path
    """Where the harness's names are kept."""
    sandbox: Sandbox | None = None

    @cached_property
    def manager(self) -> TaskManager:
        """The harness's index of tasks, read from the folders that hold what is asked for: all its files take 10 s."""
        own = [name for name in self.names if not is_sandbox(name)]
        known = language_names(self.home).folders if own else {}
        root = Path(lm_eval.tasks.__file__).parent
        folders = [str(root / folder) for folder in sorted({folder for name in own for folder in known[name]})]
        return TaskManager(
            include_path=[*folders, *([str(self.sandbox.exam)] if self.sandbox else [])], include_defaults=False
        )

    def check(self) -> None:
        """Refuse names that nobody knows, before anything is measured.

        Raises:
            GemError: Naming the unknown tasks and what they may have meant.
        """
        check(self.names, "language", self.home)


class LanguageSuite:
    """The lm-eval harness with one model in it.

    An adapter is melted into the model's weights for good: the harness ties input and output embeddings anew, which
    finds no way through peft's wrappers. What the model computes, its embeddings included, stays the same. A lossless
    adapter stays where it is: it cannot be melted in, sleeps while the harness asks, and embeddings need it.
    """

    def __init__(self, model: GemModel, batch_size: int, tasks: LanguageTasks) -> None:
        if isinstance(model.network, PeftModel) and not model.lossless:
            model.network = model.network.merge_and_unload()
        self.model = Harness(model.causal_lm(), model.tokenizer, batch_size)
        self.tasks = tasks

    def measure(self, planned: PlannedTask, read_out: str = "") -> Measured | Unreachable:
        """Measure one task or group, with a record of every question. Language has no read-out."""
        began = time.monotonic()
        loaded: dict[str, Any] = {}
        if missing := unreachable(lambda: loaded.update(self.tasks.manager.load([planned.task]))):
            return missing
        leaves: dict[str, Task] = loaded["tasks"]
        for leaf in leaves.values():
            _set_fewshot(leaf, planned.settings["fewshot"])
        _seed()
        # lm_eval.simple_evaluate would also collect a report on the machine, which takes longer than a sandbox's exam.
        with without_prompt_bar():
            results = lm_eval.evaluate(
                self.model, loaded, limit=planned.settings["limit"], bootstrap_iters=0, log_samples=True
            )
        scores, rows = scores_and_rows(results, planned, is_group=list(leaves) != [planned.task])
        return Measured(scores, pa.Table.from_pylist(rows, schema=RECORDS), time.monotonic() - began)


def _set_fewshot(task: Task, fewshot: int | None) -> None:
    """The harness's own rule (``simple_evaluate``): a task that fixes zero examples keeps zero."""
    fixed = task.get_config("num_fewshot")
    if fewshot is not None and fixed != 0:
        task.set_config(key="num_fewshot", value=fewshot)
    elif fixed is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _seed() -> None:
    """The harness's own seeds, set anew for each task: a score must not depend on what was measured before it."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)  # tasks draw from numpy's global state
    torch.manual_seed(DEFAULT_OTHER_SEED)
