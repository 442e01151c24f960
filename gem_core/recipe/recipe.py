"""The description of a post-training run: frozen, validated, digestible.

A recipe is what a team keeps in version control. It holds every choice of the GEM method (arXiv 2506.04344) that
changes a result and nothing about the machine it runs on, except ``resources``, which changes no result.
Loading, overriding and printing one is in :mod:`gem_core.recipe.files`.
"""

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gem_core.recipe import served
from gem_core.recipe.evaluation import Evaluation
from gem_core.recipe.gates import Gate
from gem_core.recipe.method import Adaptation, Data, Objective, SpecialTokens, Training
from gem_core.recipe.section import PositiveInt, Section

NAME_PATTERN = r"^[a-z][a-z0-9._-]{0,62}$"


class BaseModelSource(Section):
    """Where the base model comes from, and which state of it."""

    source: str = Field(min_length=1)
    """A hub id (``meta-llama/Llama-3.2-1B``), ``s3://bucket/prefix``, a folder, or ``sandbox:SEED``."""
    revision: str | None = None
    """A hub commit, tag or branch; a branch is resolved to the commit it names when the run starts."""


class Resources(Section):
    """What a training asks of the cluster. Changes no result."""

    workers: PositiveInt = 1
    """Data-parallel Ray Train workers."""
    cpus_per_worker: PositiveInt = 1
    """Also the torch threads a worker: two workers of two threads on two cores slow each other down fivefold."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs a worker."""
    max_failures: int = Field(default=2, ge=0)
    """How often a job restarts from its last checkpoint after a lost worker."""


class Recipe(Section):
    """A whole post-training run."""

    name: str = Field(pattern=NAME_PATTERN)
    """The registered model: its versions are what this recipe's runs produce."""
    description: str = ""
    """One sentence for people."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Everything random in the training follows from it."""
    base_model: BaseModelSource
    """What is post-trained."""
    special_tokens: SpecialTokens = SpecialTokens()
    """The summarising tokens."""
    adaptation: Adaptation = Adaptation()
    """Which weights move."""
    data: Data
    """What it is trained on."""
    objective: Objective = Objective()
    """What is minimised."""
    training: Training = Training()
    """How long and how fast."""
    evaluation: Evaluation = Evaluation()
    """How it is measured."""
    gates: tuple[Gate, ...] = ()
    """What it has to meet. A recipe without gates promotes nothing by itself."""
    promotion: Literal["automatic", "manual", "shadow"] = "automatic"
    """What a passing version becomes: ``automatic``: champion. ``manual``: ``challenger``, until a person approves or
    declines it. ``shadow``: ``shadow``, to run beside the champion; ``gem promote`` moves it on."""
    approval_hours: float = Field(default=0.0, ge=0.0, le=24 * 30)
    """How long a ``manual`` run waits for a person. With 0 it ends at once, and an approval promotes all the same."""
    resources: Resources = Resources()
    """What the training asks of the cluster."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        start, steps = self.objective.contrastive_start, self.training.steps
        if self.objective.contrastive.rows != "none" and start >= steps:
            raise ValueError(
                f"objective.contrastive_start ({start}) leaves no contrastive step of training.steps ({steps}); "
                "lower it, or set objective.contrastive.rows=none"
            )
        if self.adaptation.method == "full" and self.objective.keep_language > 0:
            raise ValueError(
                "objective.keep_language needs adaptation.method=lora: the base is the weights with the adapter off"
            )
        if self.adaptation.null_space is not None and self.adaptation.method == "full":
            raise ValueError("adaptation.null_space confines an adapter; set adaptation.method=lora, or unset it")
        if self.adaptation.scope == "special":
            self._lossless_fits()
        if self.training.attention == "flash_attention_2" and self.needs_mask:
            raise ValueError(
                "training.attention=flash_attention_2 takes no mask, but rows of this recipe need one; set sdpa"
            )
        served.check(self.data, self.objective, lossless=self.adaptation.scope == "special")
        if self.objective.contrastive.rows != "none" and self.objective.contrastive.bag_of_words == 1:
            self._words_alone_fit()
        names = [gate.name for gate in self.gates]
        if len(set(names)) < len(names):
            raise ValueError("gates need distinct names")
        benchmarks = {f"embedding.{name}" for name in self.evaluation.embedding.benchmarks}
        if any(gate.over == "tasks" and not gate.averages and gate.metric not in benchmarks for gate in self.gates):
            raise ValueError("over: tasks is for a test of an average over tasks")
        return self

    def _lossless_fits(self) -> None:
        """With the adapter at the special tokens alone, other text has nothing to learn and nothing to lose."""
        if self.adaptation.method == "full":
            raise ValueError("adaptation.scope=special needs adaptation.method=lora: full training moves every text")
        if self.objective.keep_language > 0:
            raise ValueError(
                "objective.keep_language has no meaning with adaptation.scope=special: the language model is the base"
            )
        if self.adaptation.null_space is not None:
            raise ValueError(
                "adaptation.null_space has no meaning with adaptation.scope=special: other text is the base's; unset it"
            )

    def _words_alone_fit(self) -> None:
        """Where words take the place of contrast, nothing that only contrast reads may be asked for."""
        if any(source.pairs for source in self.data.sources):
            raise ValueError(
                "objective.contrastive.bag_of_words=1 contrasts nothing, which is all that pairs serve; lower it"
            )
        if self.objective.contrastive.dimensions:
            raise ValueError(
                "objective.contrastive.dimensions shortens what is contrasted, and with bag_of_words=1 nothing is; "
                "lower it, or leave dimensions out"
            )

    @property
    def needs_mask(self) -> bool:
        """Whether any of its rows is not plain causal."""
        blind = self.special_tokens.blind and self.special_tokens.count > 1
        objective = self.objective
        cut_rows = objective.raw_share < 1 or any("raw" not in source.use for source in self.data.sources)
        views = objective.contrastive.rows != "none"
        hidden = objective.contrastive.dropout_kind == "mask" and objective.contrastive.dropout > 0
        apart = self.adaptation.scope == "special"  # special tokens read a prefix that went before them
        return apart or (cut_rows and (objective.bottleneck or blind)) or (views and (blind or hidden))

    def digest(self) -> str:
        """64 hex digits over everything that can change a result of the run."""
        return _digest(self.model_dump(mode="json", exclude={"description", "resources"}))

    def training_digest(self) -> str:
        """64 hex digits over what shapes the weights: evaluation, gates and promotion may change without retraining."""
        return _digest(self.shaping())

    def shaping(self) -> dict[str, Any]:
        """The part that shapes the weights, as JSON: what a trained model keeps of its recipe."""
        fields = {"seed", "special_tokens", "adaptation", "data", "objective", "training"}
        return self.model_dump(mode="json", include=fields)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
